// Where packets to floating addresses go, on the real kernel in both families: from outside, from another node through its tunnel,
// from the own node and its other pod, and from the pod itself. Two nodes, a router, and a world behind it; all tests share them.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { FloatingFlows } from '../../agent/floating-flows.ts'
import type { FloatingTarget } from '../../felix/calc/floating.ts'
import type { Felix } from '../../felix/loop.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { HOST_MAC } from '../../kernel/pod-interface.ts'
import { systemClock } from '../../lib/clock.ts'
import { addressBits, familyOf } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot, openNetns, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { type From, openPort, type Port } from './ports.ts'
import { type Net, startFelix, twoNodes } from './two-nodes.ts'
import type { World } from './worlds.ts'

const run = promisify(execFile)

const POD = { ipv4: '10.244.1.5', ipv6: 'fd00:1::5' } as const
const OTHER = { ipv4: '10.244.1.6', ipv6: 'fd00:1::6' } as const
const FLOATING = { ipv4: '10.244.9.7', ipv6: 'fd00:9::7' } as const
const NODE = { ipv4: '192.168.10.11', ipv6: '2001:db8:1::11' } as const
const OUTSIDE = { ipv4: '203.0.113.9', ipv6: '2001:db8:9::9' } as const
const FAR_POD = { ipv4: '10.244.2.5', ipv6: 'fd00:2::5' } as const
const FAR_NODE = '192.168.20.12'
const PORT = 7777
const FAMILIES = ['ipv4', 'ipv6'] as const
/** What comes at once where all is well. */
const LONG_MS = 20_000
/** How long nothing is waited for. */
const SHORT_MS = 300

const BLOCKS = [
  { prefix: '10.244.2.0/26', nextHop: FAR_NODE, encapsulations: [8] },
  { prefix: 'fd00:2::/122', nextHop: FAR_NODE, encapsulations: [8] },
]

const WORLD: Partial<World> = {
  pools: [
    { cidr: '10.244.0.0/16', ipip: 'CrossSubnet', vxlan: 'Never', isExchanged: true, natOutgoing: true },
    { cidr: 'fd00::/16', ipip: 'Never', vxlan: 'CrossSubnet', isExchanged: true, natOutgoing: true },
  ],
}

if (!isRoot)
  test('floating addresses on the real kernel', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  let net: Net
  let world: TestNetns
  let other: TestNetns
  let flows: FloatingFlows
  const macs = { calipod1: '02:00:00:00:01:05', caliother: '02:00:00:00:01:06' } as const
  const host = () => net.nodes[0].host
  const felix = () => net.nodes[0].felix

  /** Felix anew, and what cuts connections; they know the pods and of floating addresses nothing before `lead`. */
  const restart = async (): Promise<Felix> => {
    const [a] = net.nodes
    await a.felix.close()
    flows?.close()
    const endpoint = { ifname: 'eth0', netns: '', mtu: 1450 }
    const made = { ...endpoint, interfaceName: 'calipod1', mac: macs.calipod1, addresses: [POD.ipv4, POD.ipv6] }
    const second = { ...endpoint, interfaceName: 'caliother', mac: macs.caliother, addresses: [OTHER.ipv4, OTHER.ipv6] }
    const fresh = startFelix(a, {
      world: {
        ...WORLD,
        learned: BLOCKS,
        endpoints: [
          { ...made, id: 'pod' },
          { ...second, id: 'other' },
        ],
      },
    })
    a.felix = fresh
    tellPolicies()
    fresh.complete('policy')
    flows = new FloatingFlows({
      ...{ kernel: host().kernel, table: 'margay-floating', clock: systemClock, log: silentLog },
      applied: () => fresh.applied().catch(() => undefined),
    })
    await flows.adopt()
    return fresh
  }
  const tellPolicies = (from?: readonly string[]) => {
    const source = from === undefined ? {} : { nets: from }
    felix().setPolicy('profile', 'in', { ingress: [{ action: 'allow', source, destination: {} }], egress: [ALL] })
    felix().setPolicy('profile', 'all', { ingress: [ALL], egress: [ALL] })
    for (const [key, interfaceName, { ipv4, ipv6 }, profile] of [
      ['/pod', 'calipod1', POD, 'in'],
      ['/other', 'caliother', OTHER, 'all'],
    ] as const) {
      felix().setPolicy('endpoint', key, { kind: 'pod', labels: {}, addresses: [ipv4, ipv6], ports: [] })
      felix().setLocalEndpoint(key, { interfaceName, profiles: [profile] })
    }
  }
  const ALL = { action: 'allow', source: {}, destination: {} } as const
  /** These lead to the first pod, or to the second one, and no others lead anywhere. */
  let led: readonly string[] = []
  const lead = async (addresses: readonly string[], to: 'pod' | 'other' = 'pod') => {
    const targets = addresses.map((address): FloatingTarget => {
      return { address, to: { pod: POD, other: OTHER }[to][familyOf(address)] }
    })
    for (const gone of led) if (!addresses.includes(gone)) felix().set('floating', gone, undefined)
    for (const { address, to: own } of targets) felix().set('floating', address, { at: 'here', endpoint: to, to: own })
    led = addresses
    felix().completeFloating()
    flows.follow(targets)
    await felix().inSync()
  }
  const BOTH = Object.values(FLOATING)

  /** Sends to the floating address; where the pod says it came from, once its answer is back. */
  const ask = async (from: Port, pod: Port, address: string, limitMs = LONG_MS): Promise<From | undefined> => {
    from.send(address, PORT)
    const seen = await pod.heard(limitMs)
    if (seen === undefined) return undefined
    pod.send(seen.address, seen.port)
    const answer = await from.heard(limitMs)
    return answer?.address === address && answer.port === PORT ? seen : undefined
  }

  test.before(async () => {
    net = await twoNodes({ podMacs: true, world: WORLD })
    const [a, b] = net.nodes
    world = await openNetns()
    other = await openNetns()
    const peer = { name: 'eth0', netns: netnsPath(other.name) }
    await host().kernel.createLink({ kind: 'veth', name: 'caliother', mac: HOST_MAC, peer })
    await other.kernel.setLink('lo', { up: true })
    await other.kernel.setLink('eth0', { mac: macs.caliother, up: true })
    await host().kernel.setLink('caliother', { up: true })
    await net.router.kernel.createLink({
      kind: 'veth',
      name: 'out',
      peer: { name: 'eth0', netns: netnsPath(world.name) },
    })
    net.router.kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
    for (const { pod } of [a, b])
      for (const name of ['all', 'eth0']) pod.kernel.writeSysctl('ipv6', ['conf', name, 'disable_ipv6'], '0')
    await b.felix.close()
    b.felix = startFelix(b, { world: WORLD, addresses: [FAR_POD.ipv6] })
    b.felix.set('learned', 'fd00:1::/122', { prefix: 'fd00:1::/122', nextHop: NODE.ipv4, encapsulations: [8] })
    const commands: readonly (readonly [{ name: string }, string])[] = [
      [net.router, 'link set out up'],
      [net.router, 'addr add 203.0.113.1/24 dev out'],
      [net.router, 'addr add 2001:db8:9::1/64 dev out nodad'],
      [net.router, 'addr add 2001:db8:1::1/64 dev lan1 nodad'],
      [net.router, 'addr add 2001:db8:2::1/64 dev lan2 nodad'],
      // what the node announces to it
      [net.router, `route add ${FLOATING.ipv4}/32 via ${NODE.ipv4}`],
      [net.router, `-6 route add ${FLOATING.ipv6}/128 via ${NODE.ipv6}`],
      [world, 'link set lo up'],
      [world, 'link set eth0 up'],
      [world, `addr add ${OUTSIDE.ipv4}/24 dev eth0`],
      [world, `addr add ${OUTSIDE.ipv6}/64 dev eth0 nodad`],
      [world, 'route add default via 203.0.113.1'],
      [world, '-6 route add default via 2001:db8:9::1'],
      [a.host, `addr add ${NODE.ipv6}/64 dev eth0 nodad`],
      [a.host, '-6 route add default via 2001:db8:1::1'],
      [b.host, 'addr add 2001:db8:2::12/64 dev eth0 nodad'],
      [b.host, '-6 route add default via 2001:db8:2::1'],
      [a.pod, `addr add ${POD.ipv6}/128 dev eth0 nodad`],
      [b.pod, `addr add ${FAR_POD.ipv6}/128 dev eth0 nodad`],
      [other, `addr add ${OTHER.ipv4}/32 dev eth0`],
      [other, `addr add ${OTHER.ipv6}/128 dev eth0 nodad`],
      [other, 'route add 169.254.1.1 dev eth0'],
      [other, 'route add default via 169.254.1.1 dev eth0'],
    ]
    for (const [{ name }, command] of commands) await run(systemProgram('ip'), ['-n', name, ...command.split(' ')])
    for (const { name } of [a.pod, b.pod, other])
      for (const command of [
        'route add fe80::ecee:eeff:feee:eeee dev eth0',
        'route add default via fe80::ecee:eeff:feee:eeee dev eth0',
      ])
        await run(systemProgram('ip'), ['-n', name, '-6', ...command.split(' ')])
    await restart()
    await lead(BOTH)
    // neighbours of IPv6 are known once the link-local addresses are
    await eventually('IPv6 works', async () => {
      using pod = openPort(a.pod, POD.ipv6, PORT)
      using from = openPort(world, OUTSIDE.ipv6)
      return (await ask(from, pod, FLOATING.ipv6, 200)) !== undefined
    })
  })
  test.after.always(async () => {
    flows?.close()
    await net?.[Symbol.asyncDispose]()
    await world?.close()
    await other?.close()
  })

  for (const family of FAMILIES)
    test.serial(
      `what comes to a floating address reaches its pod from everywhere, under the address of its sender: ${family}`,
      async t => {
        const [a, b] = net.nodes
        await lead(BOTH)
        const senders = [
          ['outside', world, OUTSIDE[family], OUTSIDE[family]],
          ['the node itself', a.host, family === 'ipv4' ? '0.0.0.0' : '::', undefined],
          ['another pod of the node', other, OTHER[family], OTHER[family]],
          ['a pod of another node', b.pod, FAR_POD[family], FAR_POD[family]],
          [
            'another node',
            b.host,
            family === 'ipv4' ? '0.0.0.0' : '::',
            family === 'ipv4' ? '10.244.2.1' : '2001:db8:2::12',
          ],
        ] as const
        const prefix = `${FLOATING[family]}/${addressBits(family)}`
        b.felix.set('learned', prefix, { prefix, nextHop: NODE.ipv4, encapsulations: [8] })
        await b.felix.inSync()
        using pod = openPort(a.pod, POD[family], PORT)
        for (const [who, where, address, seen] of senders) {
          using from = openPort(where, address)
          const from_ = await ask(from, pod, FLOATING[family])
          t.truthy(from_, who)
          if (seen !== undefined) t.is(from_?.address, seen, who)
        }
        // also where the source is not translated on the way out, the pod's own address goes on working
        using direct = openPort(other, OTHER[family])
        direct.send(POD[family], PORT)
        t.is((await pod.heard(LONG_MS))?.address, OTHER[family])
      },
    )

  for (const family of FAMILIES)
    test.serial(
      `a pod reaches itself under its floating address, and what it sends elsewhere keeps its own: ${family}`,
      async t => {
        const [a] = net.nodes
        await lead(BOTH)
        using pod = openPort(a.pod, POD[family], PORT)
        using from = openPort(a.pod, POD[family])
        t.is((await ask(from, pod, FLOATING[family]))?.address, FLOATING[family])
        using far = openPort(other, OTHER[family], PORT)
        from.send(OTHER[family], PORT)
        t.is((await far.heard(LONG_MS))?.address, POD[family])
      },
    )

  for (const family of FAMILIES)
    test.serial(`ingress policy asks about the pod and the sender as they are: ${family}`, async t => {
      const [a] = net.nodes
      await lead(BOTH)
      using pod = openPort(a.pod, POD[family], PORT)
      const bits = addressBits(family)
      tellPolicies([`${OTHER[family]}/${bits}`])
      await felix().inSync()
      using allowed = openPort(other, OTHER[family])
      using denied = openPort(world, OUTSIDE[family])
      denied.send(FLOATING[family], PORT)
      t.is((await ask(allowed, pod, FLOATING[family]))?.address, OTHER[family])
      t.is(await pod.heard(SHORT_MS), undefined)
      tellPolicies([`${OUTSIDE[family]}/${bits}`])
      await felix().inSync()
      t.is((await ask(denied, pod, FLOATING[family]))?.address, OUTSIDE[family])
      tellPolicies()
      await felix().inSync()
    })

  for (const family of FAMILIES)
    test.serial(
      `a connection ends when its floating address is taken from the pod or goes to another, which gets the next packet: ${family}`,
      async t => {
        const [a] = net.nodes
        await lead(BOTH)
        using pod = openPort(a.pod, POD[family], PORT)
        using second = openPort(other, OTHER[family], PORT)
        using from = openPort(world, OUTSIDE[family])
        t.truthy(await ask(from, pod, FLOATING[family]))
        await lead(BOTH, 'other')
        await eventually(
          'it leads to the other pod',
          async () => (await ask(from, second, FLOATING[family], 100)) !== undefined,
        )
        // who sends all the time is led nowhere, and again to the pod that gets it
        await lead([])
        await eventually('it leads nowhere', async () => (await ask(from, second, FLOATING[family], 100)) === undefined)
        t.false(nft(netnsPath(host().name), ['list', 'tables']).includes('margay-floating'))
        t.false((await routesOf()).includes(FLOATING[family]), 'nor is there a route')
        await lead(BOTH)
        await eventually(
          'it leads to the pod again',
          async () => (await ask(from, pod, FLOATING[family], 100)) !== undefined,
        )
      },
    )
  const routesOf = async () => {
    const ip = async (...words: string[]) => (await run(systemProgram('ip'), ['-n', host().name, ...words])).stdout
    return `${await ip('route')}${await ip('-6', 'route')}`
  }

  test.serial(
    'a restart writes nothing and loses no packet, also before anything of Pods is known; what went meanwhile is cut',
    async t => {
      const [a] = net.nodes
      await lead(BOTH)
      const generation = async () =>
        (await host().otherProgram.nftables({ family: 'ip', name: 'margay-floating' }))!.generation
      const before = await generation()
      using pod = openPort(a.pod, POD.ipv4, PORT)
      using old = openPort(world, OUTSIDE.ipv4)
      t.truthy(await ask(old, pod, FLOATING.ipv4))
      for (const when of ['closed', 'open'] as const) {
        if (when === 'closed') await felix().close()
        else {
          await restart()
          await felix().inSync()
        }
        for (const from of [old, openPort(world, OUTSIDE.ipv4)]) {
          t.truthy(await ask(from, pod, FLOATING.ipv4), when)
          if (from !== old) from[Symbol.dispose]()
        }
      }
      await lead(BOTH)
      t.is(await generation(), before)
      // a restart in which the address has gone from the pod
      await restart()
      led = BOTH
      await lead([FLOATING.ipv6])
      await eventually('it leads nowhere', async () => (await ask(old, pod, FLOATING.ipv4, 100)) === undefined)
      await lead(BOTH)
    },
  )

  test.serial('an address of a Service goes where kube-proxy leads it, whichever pod asks for it', async t => {
    const [a] = net.nodes
    await lead(BOTH)
    nft(
      netnsPath(host().name),
      ['-f', '-'],
      `table ip service {\n chain in {\n type nat hook prerouting priority dstnat;\n ip daddr ${FLOATING.ipv4} dnat to ${OTHER.ipv4}\n }\n }\n`,
    )
    using service = openPort(other, OTHER.ipv4, PORT)
    using pod = openPort(a.pod, POD.ipv4, PORT)
    using from = openPort(world, OUTSIDE.ipv4)
    t.is((await ask(from, service, FLOATING.ipv4))?.address, OUTSIDE.ipv4)
    t.is(await pod.heard(1), undefined)
    nft(netnsPath(host().name), ['delete', 'table', 'ip', 'service'])
  })

  test.serial('an address in a block of another node leads to its pod from there too', async t => {
    const [a, b] = net.nodes
    const address = '10.244.2.60'
    await lead([...BOTH, address])
    b.felix.set('learned', `${address}/32`, { prefix: `${address}/32`, nextHop: NODE.ipv4, encapsulations: [8] })
    using pod = openPort(a.pod, POD.ipv4, PORT)
    using from = openPort(b.pod, FAR_POD.ipv4)
    await b.felix.inSync()
    t.is(await ask(from, pod, address, SHORT_MS), undefined, 'before it is known whose it is, it is of the block')
    b.felix.set('floating', address, { at: 'elsewhere' })
    await b.felix.inSync()
    t.is((await ask(from, pod, address))?.address, FAR_POD.ipv4)
    b.felix.set('floating', address, undefined)
    b.felix.set('learned', `${address}/32`, undefined)
    await lead(BOTH)
  })
}
