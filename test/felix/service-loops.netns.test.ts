// Packets to addresses in the announced ranges of Services, on the real kernel in both families: a node whose router sends it the
// ranges, as it announces them, and a world behind the router.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import type { ServiceLoops } from '../../felix/input.ts'
import { netnsPath } from '../../kernel/netns.ts'
import type { Family } from '../../lib/ip.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { ANSWER_MS } from '../slowness.ts'
import { IP_PROTOCOL, listenRaw } from './frames.ts'
import { isRoot, openNetns, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { openPort } from './ports.ts'
import { type Net, startFelix, twoNodes } from './two-nodes.ts'
import type { World } from './worlds.ts'

const run = promisify(execFile)

const FAMILIES = ['ipv4', 'ipv6'] as const
const POD = { ipv4: '10.244.1.5', ipv6: 'fd00:1::5' } as const
const NODE = { ipv4: '192.168.10.11', ipv6: '2001:db8:1::11' } as const
const FAR_NODE = { ipv4: '192.168.20.12', ipv6: '2001:db8:2::12' } as const
const ROUTER = { ipv4: '192.168.10.1', ipv6: '2001:db8:1::1' } as const
const OUTSIDE = { ipv4: '203.0.113.9', ipv6: '2001:db8:9::9' } as const
const SERVICE = { ipv4: '10.96.0.1', ipv6: 'fd00:96::1' } as const
const UNUSED = { ipv4: '10.96.0.9', ipv6: 'fd00:96::9' } as const
/** Those of Services, and some in which others have their addresses too. */
const RANGES = [
  ...['10.96.0.0/16', 'fd00:96::/112', '10.244.0.0/16', 'fd00:1::/64'],
  ...['192.168.0.0/16', '2001:db8:1::/64', '2001:db8:2::/64'],
]
const PORT = 7777
const COUNTER = 'to an address of Services that nobody has'

if (!isRoot)
  test('addresses of Services on the real kernel', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  let net: Net
  let world: TestNetns

  const pools = [
    { cidr: '10.244.0.0/16', ipip: 'Never', vxlan: 'Never', isExchanged: true },
    { cidr: 'fd00:1::/64', ipip: 'Never', vxlan: 'Never', isExchanged: true },
    { cidr: '10.96.0.0/16', ipip: 'Never', vxlan: 'Never', isExchanged: true, forServicesOnly: true },
  ] as const satisfies World['pools']

  /** Felix anew, with these settings. */
  const restart = async (serviceLoops?: ServiceLoops) => {
    const [a] = net.nodes
    await a.felix.close()
    a.felix = startFelix(a, {
      world: {
        config: {
          ...{ vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 0, vxlanMtu: 0, workloadRouteProtocol: 3 },
          ...(serviceLoops && { serviceLoops }),
        },
        pools,
        remotes: [{ name: 'n2', address: FAR_NODE.ipv4, ipv6Address: FAR_NODE.ipv6 }],
      },
      addresses: [POD.ipv6],
    })
    await a.felix.inSync()
  }
  const send = (family: Family) => {
    using from = openPort(world, OUTSIDE[family])
    from.send(UNUSED[family], PORT)
  }
  const counted = async () => (await net.nodes[0].felix.droppedPackets()).get(COUNTER) ?? 0

  test.before(async () => {
    net = await twoNodes({ podMacs: true })
    const [a, b] = net.nodes
    world = await openNetns()
    await net.router.kernel.createLink({
      kind: 'veth',
      name: 'out',
      peer: { name: 'eth0', netns: netnsPath(world.name) },
    })
    net.router.kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
    for (const name of ['all', 'eth0']) a.pod.kernel.writeSysctl('ipv6', ['conf', name, 'disable_ipv6'], '0')
    const commands: readonly (readonly [{ name: string }, string])[] = [
      [net.router, 'link set out up'],
      [net.router, 'addr add 203.0.113.1/24 dev out'],
      [net.router, 'addr add 2001:db8:9::1/64 dev out nodad'],
      [net.router, `addr add ${ROUTER.ipv6}/64 dev lan1 nodad`],
      [net.router, 'addr add 2001:db8:2::1/64 dev lan2 nodad'],
      ...['10.96.0.0/16', '10.244.1.0/26'].map(each => [net.router, `route add ${each} via ${NODE.ipv4}`] as const),
      ...['fd00:96::/112', 'fd00:1::/64'].map(each => [net.router, `-6 route add ${each} via ${NODE.ipv6}`] as const),
      [world, 'link set lo up'],
      [world, 'link set eth0 up'],
      [world, `addr add ${OUTSIDE.ipv4}/24 dev eth0`],
      [world, `addr add ${OUTSIDE.ipv6}/64 dev eth0 nodad`],
      [world, 'route add default via 203.0.113.1'],
      [world, '-6 route add default via 2001:db8:9::1'],
      [a.host, `addr add ${NODE.ipv6}/64 dev eth0 nodad`],
      [a.host, `-6 route add default via ${ROUTER.ipv6}`],
      [b.host, `addr add ${FAR_NODE.ipv6}/64 dev eth0 nodad`],
      [b.host, '-6 route add default via 2001:db8:2::1'],
      [a.pod, `addr add ${POD.ipv6}/128 dev eth0 nodad`],
      [a.pod, '-6 route add fe80::ecee:eeff:feee:eeee dev eth0'],
      [a.pod, '-6 route add default via fe80::ecee:eeff:feee:eeee dev eth0'],
    ]
    for (const [{ name }, command] of commands) await run(systemProgram('ip'), ['-n', name, ...command.split(' ')])
    // as kube-proxy leads a Service to its endpoint
    for (const [table, family] of [
      ['ip', 'ipv4'],
      ['ip6', 'ipv6'],
    ] as const)
      nft(
        netnsPath(a.host.name),
        ['-f', '-'],
        `table ${table} service { chain prerouting { type nat hook prerouting priority dstnat; ${table} daddr ${SERVICE[family]} dnat to ${POD[family]}; }; }`,
      )
    await restart()
    // neighbours of IPv6 are known once the link-local addresses are
    await eventually('IPv6 works', async () => {
      using pod = openPort(a.pod, POD.ipv6, PORT)
      using from = openPort(world, OUTSIDE.ipv6)
      from.send(POD.ipv6, PORT)
      return (await pod.heard(200)) !== undefined
    })
    // the node too must know the router: what waits for its answer would go round later, and be counted by another test
    await eventually('the node knows the router', async () => {
      using router = openPort(net.router, ROUTER.ipv6, PORT)
      using pod = openPort(a.pod, POD.ipv6)
      pod.send(ROUTER.ipv6, PORT)
      return (await router.heard(200)) !== undefined
    })
  })
  test.after.always(async () => {
    await net?.[Symbol.asyncDispose]()
    await world?.close()
  })

  for (const family of FAMILIES) {
    test.serial(
      `what comes to an address of Services that nobody has is dropped, or refused, and without that goes round: ${family}`,
      async t => {
        // with IPv6 neighbours are asked for by the same protocol, so that it says nothing
        using errors = listenRaw(world, IP_PROTOCOL.icmp)
        const heardError = async () => family === 'ipv6' || eventually('an error comes back', () => errors.heard() > 0)
        await restart()
        send(family)
        await heardError()
        t.is(await counted(), 0)
        await restart({ action: 'drop', ranges: RANGES })
        errors.heard()
        send(family)
        await eventually('it is dropped', async () => (await counted()) === 1)
        t.is(errors.heard(), 0)
        await restart({ action: 'reject', ranges: RANGES })
        send(family)
        await eventually('it is refused', async () => (await counted()) === 1)
        await heardError()
      },
    )

    test.serial(
      `what a Service takes, and what pods, nodes and hosts of this node’s subnets have, is reached inside the ranges: ${family}`,
      async t => {
        const [a, b] = net.nodes
        await restart({ action: 'drop', ranges: RANGES })
        using pod = openPort(a.pod, POD[family], PORT)
        using outside = openPort(world, OUTSIDE[family], PORT)
        for (const to of [SERVICE[family], POD[family]]) {
          outside.send(to, PORT)
          t.is((await pod.heard(ANSWER_MS))?.address, OUTSIDE[family], to)
        }
        using node = openPort(b.host, FAR_NODE[family], PORT)
        using router = openPort(net.router, ROUTER[family], PORT)
        pod.send(FAR_NODE[family], PORT)
        t.truthy(await node.heard(ANSWER_MS))
        pod.send(ROUTER[family], PORT)
        t.truthy(await router.heard(ANSWER_MS))
        t.is(await counted(), 0)
        // beside that node there is nobody
        pod.send(FAR_NODE[family].replace('12', '77'), PORT)
        await eventually('it is dropped', async () => (await counted()) === 1)
      },
    )
  }

  for (const family of FAMILIES)
    test.serial(
      `what kube-proxy refuses, since a Service has no endpoints, is refused by it and not dropped: ${family}`,
      async t => {
        const [a] = net.nodes
        const [table, at] = [family === 'ipv4' ? 'ip' : 'ip6', netnsPath(a.host.name)]
        // as kube-proxy by iptables: in the chain FORWARD of the table filter
        nft(
          at,
          ['-f', '-'],
          `table ${table} refused { chain FORWARD { type filter hook forward priority filter; ${table} daddr ${UNUSED[family]} counter reject; }; }`,
        )
        try {
          await restart({ action: 'drop', ranges: RANGES })
          const before = await counted()
          send(family)
          const text = () => nft(at, ['list', 'table', table, 'refused'])
          await eventually(
            'it is refused or dropped',
            async () => /packets 1/.test(text()) || (await counted()) > before,
          )
          t.regex(text(), /packets 1 /)
          t.is(await counted(), before)
        } finally {
          nft(at, ['delete', 'table', table, 'refused'])
        }
      },
    )

  test.serial('the table is there where ranges are announced alone', async t => {
    const tables = () => nft(netnsPath(net.nodes[0].host.name), ['list', 'tables'])
    await restart({ action: 'reject', ranges: RANGES })
    const text = nft(netnsPath(net.nodes[0].host.name), ['list', 'table', 'inet', 'margay-services'])
    t.regex(text, /ip daddr @unused_ipv4 counter packets 0 bytes 0 reject/)
    t.regex(text, /ip6 daddr @unused_ipv6 counter packets 0 bytes 0 reject/)
    await restart()
    t.false(tables().includes('margay-services'))
  })
}
