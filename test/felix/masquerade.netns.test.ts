// What becomes of the sources of packets on the real kernel: out of the pools, between pods, to nodes and to Services, in both
// families; through restarts, changes and what others do; beside the tables of docker and firewalld. Two nodes, a router that
// knows no pod, and a world behind it; every test leaves them as it found them.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import type { Condition } from '../../api/status.ts'
import type { NatSettings, Pool } from '../../felix/input.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { DOCKER, firewalld, kubeProxy } from './foreign-tables.ts'
import { sendPacket } from './frames.ts'
import { isRoot, openNetns, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { type From, openPort, openTcpWatch, type Port, tcpSyn } from './ports.ts'
import { type Net, startFelix, twoNodes } from './two-nodes.ts'
import { EMPTY, type World } from './worlds.ts'

const run = promisify(execFile)

const POD = { ipv4: '10.244.1.5', ipv6: 'fd00:1::5' } as const
const FAR_POD = '10.244.2.5'
const NODE = { ipv4: '192.168.10.11', ipv6: '2001:db8:1::11' } as const
const FAR_NODE = '192.168.20.12'
const OUTSIDE = { ipv4: '203.0.113.9', ipv6: '2001:db8:9::9' } as const
const VTEP = '10.244.1.1'
const PORT = 7777

const pools = (natOutgoing = true): Pool[] => [
  { cidr: '10.244.0.0/16', ipip: 'CrossSubnet', vxlan: 'Never', isExchanged: true, natOutgoing },
  { cidr: 'fd00::/16', ipip: 'Never', vxlan: 'Never', isExchanged: true, natOutgoing },
]
const nat = (settings: Partial<NatSettings>): Partial<World> => {
  return { config: { ...EMPTY.config, nat: { keepAddressTo: 'pools', bgpPorts: [179], ...settings } } }
}

if (!isRoot)
  test('masquerading on the real kernel', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  let net: Net
  let world: TestNetns
  const conditions = new Map<string, Condition | undefined>()
  const healed: string[] = []
  const more = (natOutgoing = true): Partial<World> => ({ pools: pools(natOutgoing) })

  const restart = async (change: Partial<World> = more()) => {
    const [a] = net.nodes
    await a.felix.close()
    a.felix = startFelix(a, {
      world: { ...more(), ...change },
      addresses: [POD.ipv6],
      onConditions: changes => {
        for (const [key, condition] of changes) conditions.set(key, condition)
      },
      onRepair: ({ object: { kind, name } }) => healed.push(`${kind} ${name}`),
    })
    await a.felix.inSync()
  }
  /** Sends from one port to another; where the far one says it came from, once the answer is there too. */
  const ask = async (from: Port, to: Port, address: string, limitMs?: number): Promise<From | undefined> => {
    from.send(address, PORT)
    const seen = await to.heard(limitMs)
    if (seen === undefined) return undefined
    to.send(seen.address, seen.port)
    return (await from.heard(limitMs)) && seen
  }

  test.before(async () => {
    net = await twoNodes({ world: more() })
    const [a] = net.nodes
    world = await openNetns()
    await net.router.kernel.createLink({
      kind: 'veth',
      name: 'out',
      peer: { name: 'eth0', netns: netnsPath(world.name) },
    })
    net.router.kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
    a.pod.kernel.writeSysctl('ipv6', ['conf', 'all', 'disable_ipv6'], '0')
    a.pod.kernel.writeSysctl('ipv6', ['conf', 'eth0', 'disable_ipv6'], '0')
    const commands: readonly (readonly [{ name: string }, string])[] = [
      [net.router, 'link set out up'],
      [net.router, 'addr add 203.0.113.1/24 dev out'],
      [net.router, 'addr add 2001:db8:9::1/64 dev out nodad'],
      [net.router, 'addr add 2001:db8:1::1/64 dev lan1 nodad'],
      [world, 'link set lo up'],
      [world, 'link set eth0 up'],
      [world, `addr add ${OUTSIDE.ipv4}/24 dev eth0`],
      [world, `addr add ${OUTSIDE.ipv6}/64 dev eth0 nodad`],
      [world, 'route add default via 203.0.113.1'],
      [world, '-6 route add default via 2001:db8:9::1'],
      [a.host, `addr add ${NODE.ipv6}/64 dev eth0 nodad`],
      [a.host, '-6 route add default via 2001:db8:1::1'],
      [a.pod, `addr add ${POD.ipv6}/128 dev eth0 nodad`],
      [a.pod, '-6 route add fe80::ecee:eeff:feee:eeee dev eth0'],
      [a.pod, '-6 route add default via fe80::ecee:eeff:feee:eeee dev eth0'],
    ]
    for (const [{ name }, command] of commands) await run(systemProgram('ip'), ['-n', name, ...command.split(' ')])
    await restart()
    // neighbours of IPv6 are known once the link-local addresses are
    await eventually('IPv6 works', async () => {
      using far = openPort(world, OUTSIDE.ipv6, PORT)
      using pod = openPort(a.pod, POD.ipv6)
      return (await ask(pod, far, OUTSIDE.ipv6, 200)) !== undefined
    })
  })
  test.after.always(async () => {
    await net?.[Symbol.asyncDispose]()
    await world?.close()
  })

  for (const family of ['ipv4', 'ipv6'] as const)
    test.serial(`outside of the pools a pod has the address of its node, and gets its answers: ${family}`, async t => {
      const [a] = net.nodes
      using far = openPort(world, OUTSIDE[family], PORT)
      using pod = openPort(a.pod, POD[family])
      t.is((await ask(pod, far, OUTSIDE[family]))?.address, NODE[family])
    })

  test.serial('pods and the own node see the address of the pod, another node that of the pod’s node', async t => {
    const [a, b] = net.nodes
    using pod = openPort(a.pod, POD.ipv4)
    for (const [where, address, seen] of [
      [b.pod, FAR_POD, POD.ipv4],
      [a.host, NODE.ipv4, POD.ipv4],
      [b.host, FAR_NODE, NODE.ipv4],
    ] as const) {
      using far = openPort(where, address, PORT)
      t.is((await ask(pod, far, address))?.address, seen, address)
    }
  })

  test.serial(
    'the node itself reaches far pods through the tunnel, also by a Service, with the address of the tunnel',
    async t => {
      const [a, b] = net.nodes
      using far = openPort(b.pod, FAR_POD, PORT)
      using own = openPort(a.host, '0.0.0.0')
      t.is((await ask(own, far, FAR_POD))?.address, VTEP)
      nft(
        netnsPath(a.host.name),
        ['-f', '-'],
        `table ip service {\n chain out {\n type nat hook output priority -100;\n ip daddr 10.96.0.1 dnat to ${FAR_POD}\n }\n }\n`,
      )
      using client = openPort(a.host, '0.0.0.0')
      t.is((await ask(client, far, '10.96.0.1'))?.address, VTEP)
      // a program that chose the address of the uplink
      using bound = openPort(a.host, NODE.ipv4)
      t.is((await ask(bound, far, FAR_POD))?.address, VTEP)
      nft(netnsPath(a.host.name), ['delete', 'table', 'ip', 'service'])
    },
  )

  test.serial(
    'the node reaches far pods by a Service that kube-proxy masquerades: its mark is off when the packet goes into the tunnel',
    async t => {
      const [a, b] = net.nodes
      nft(netnsPath(a.host.name), ['-f', '-'], kubeProxy('10.96.0.1', FAR_POD))
      using far = openPort(b.pod, FAR_POD, PORT)
      using client = openPort(a.host, '0.0.0.0')
      t.is((await ask(client, far, '10.96.0.1'))?.address, VTEP)
      nft(netnsPath(a.host.name), ['delete', 'table', 'ip', 'kube-proxy'])
    },
  )

  test.serial('a restart, a change of natOutgoing and a flush by others leave a connection what it is', async t => {
    const [a] = net.nodes
    using far = openPort(world, OUTSIDE.ipv4, PORT)
    using pod = openPort(a.pod, POD.ipv4)
    const first = await ask(pod, far, OUTSIDE.ipv4)
    t.is(first?.address, NODE.ipv4)
    const generation = async () => (await a.host.otherProgram.nftables({ family: 'ip', name: 'margay' }))!.generation
    const before = await generation()
    await restart()
    t.is(await generation(), before, 'a restart writes nothing')
    t.deepEqual(await ask(pod, far, OUTSIDE.ipv4), first)
    await restart(more(false))
    t.deepEqual(await ask(pod, far, OUTSIDE.ipv4), first)
    using other = openPort(a.pod, POD.ipv4)
    other.send(OUTSIDE.ipv4, PORT)
    t.is((await far.heard())?.address, POD.ipv4, 'a new connection has the address of the pod')
    await restart()
    healed.length = 0
    nft(netnsPath(a.host.name), ['flush', 'ruleset'])
    await eventually('the table is back', () => healed.includes('NftTable ip margay'))
    t.deepEqual(await ask(pod, far, OUTSIDE.ipv4), first)
    nft(netnsPath(a.host.name), ['delete', 'element', 'ip', 'margay', 'masqueraded', '{ 10.244.0.0/16 }'])
    healed.length = 0
    await eventually('the pool is back', async () => {
      using again = openPort(a.pod, POD.ipv4)
      return (await ask(again, far, OUTSIDE.ipv4, 100))?.address === NODE.ipv4
    })
    t.deepEqual(await a.felix.filterDifferences('calipod1'), [])
  })

  test.serial(
    'where packets to nodes keep the address of the pod they arrive, although both nodes filter strictly',
    async t => {
      const [a, b] = net.nodes
      for (const { host } of [a, b])
        for (const name of ['all', 'eth0', 'vxlan.calico'])
          host.kernel.writeSysctl('ipv4', ['conf', name, 'rp_filter'], '1')
      const change = nat({ keepAddressTo: 'pools and nodes' })
      await restart(change)
      await b.felix.close()
      b.felix = startFelix(b, { world: { ...more(), ...change } })
      await b.felix.inSync()
      using pod = openPort(a.pod, POD.ipv4)
      using far = openPort(b.host, FAR_NODE, PORT)
      t.is((await ask(pod, far, FAR_NODE))?.address, POD.ipv4)
      using outside = openPort(world, OUTSIDE.ipv4, PORT)
      t.is((await ask(pod, outside, OUTSIDE.ipv4))?.address, NODE.ipv4)
      for (const { host } of [a, b])
        for (const name of ['all', 'eth0', 'vxlan.calico'])
          host.kernel.writeSysctl('ipv4', ['conf', name, 'rp_filter'], '0')
      await restart()
    },
  )

  test.serial('natPortRange and natOutgoingAddress are kept to', async t => {
    const [a] = net.nodes
    using far = openPort(world, OUTSIDE.ipv4, PORT)
    const ports = { first: 40_000, last: 40_009 }
    await restart(nat({ ports }))
    const seen: From[] = []
    for (let i = 0; i < 3; i++) {
      using pod = openPort(a.pod, POD.ipv4)
      seen.push((await ask(pod, far, OUTSIDE.ipv4))!)
    }
    for (const { address, port } of seen) {
      t.is(address, NODE.ipv4)
      t.true(port >= ports.first && port <= ports.last, String(port))
    }
    await run(systemProgram('ip'), ['-n', a.host.name, 'addr', 'add', '192.168.10.77/24', 'dev', 'eth0'])
    await restart(nat({ ports, address: '192.168.10.77' }))
    using pod = openPort(a.pod, POD.ipv4)
    t.like(await ask(pod, far, OUTSIDE.ipv4), { address: '192.168.10.77' })
    const generation = async () => (await a.host.otherProgram.nftables({ family: 'ip', name: 'margay' }))!.generation
    const before = await generation()
    await restart(nat({ ports, address: '192.168.10.77' }))
    t.is(await generation(), before, 'what the kernel tells of these rules is what was written')
    await run(systemProgram('ip'), ['-n', a.host.name, 'addr', 'del', '192.168.10.77/24', 'dev', 'eth0'])
    await restart()
  })

  test.serial(
    'a pod does not get the address of its node towards a BGP speaker, which would take it for the node',
    async t => {
      const [a, b] = net.nodes
      for (const [where, address] of [
        [b.host, FAR_NODE],
        [world, OUTSIDE.ipv4],
      ] as const) {
        using watch = openTcpWatch(where)
        sendPacket(a.pod, tcpSyn(POD.ipv4, address, 40_001, 80))
        t.is((await watch.heard())?.address, NODE.ipv4)
        sendPacket(a.pod, tcpSyn(POD.ipv4, address, 40_002, 179))
        t.is((await watch.heard())?.address, POD.ipv4)
      }
    },
  )

  test.serial(
    'a pod learns the MTU of the path outside through masquerading, and tunnels pass a smaller one between',
    async t => {
      const [a] = net.nodes
      const ping = async (...args: string[]): Promise<string> =>
        run(systemProgram('ip'), ['netns', 'exec', a.pod.name, systemProgram('ping'), '-W', '1', ...args]).then(
          ({ stdout }) => stdout,
          (error: { stdout?: string; stderr?: string }) => `${error.stdout}${error.stderr}`,
        )
      await net.router.kernel.setLink('out', { mtu: 1400 })
      t.regex(await ping('-M', 'do', '-c', '2', '-i', '0.1', '-s', '1400', OUTSIDE.ipv4), /mtu ?= ?1400/)
      t.regex(await ping('-M', 'do', '-c', '1', '-s', '1372', OUTSIDE.ipv4), / 0% packet loss/)
      // the outer packet may be divided on its way, so that the inner one arrives whole
      using far = openPort(net.nodes[1].pod, FAR_POD, PORT)
      using pod = openPort(a.pod, POD.ipv4)
      await net.router.kernel.setLink('lan2', { mtu: 1400 })
      pod.send(FAR_POD, PORT, 1422)
      t.is((await far.heard())?.address, POD.ipv4)
      await net.router.kernel.setLink('lan2', { mtu: 1500 })
      await net.router.kernel.setLink('out', { mtu: 1500 })
    },
  )

  test.serial(
    'traffic works beside the tables of docker and firewalld, also where they drop; a chain that takes no rule of ours is told by name',
    async t => {
      const [a, b] = net.nodes
      const path = netnsPath(a.host.name)
      using outside = openPort(world, OUTSIDE.ipv4, PORT)
      using far = openPort(b.pod, FAR_POD, PORT)
      const works = async (limitMs?: number) => {
        using pod = openPort(a.pod, POD.ipv4)
        const seen = [await ask(pod, outside, OUTSIDE.ipv4, limitMs), await ask(pod, far, FAR_POD, limitMs)]
        return seen.map(each => each?.address)
      }
      const told = () =>
        [...conditions]
          .filter(([key, condition]) => condition?.status === 'False' && key.includes('Chain'))
          .map(([key]) => key)
      const isOpened = () => nft(path, ['list', 'ruleset']).includes('margay: packets of pods')
      nft(path, ['-f', '-'], DOCKER)
      nft(path, ['-f', '-'], firewalld('accept'))
      t.deepEqual(await works(), [NODE.ipv4, POD.ipv4])
      for (const [drop, undo, name] of [
        ['chain ip filter FORWARD { policy drop; }', 'chain ip filter FORWARD { policy accept; }', 'ip filter FORWARD'],
        [
          'rule inet firewalld filter_FORWARD_rest reject',
          'chain inet firewalld filter_FORWARD_rest',
          'inet firewalld filter_FORWARD',
        ],
      ] as const) {
        conditions.clear()
        nft(path, ['add', ...drop.split(' ')])
        await restart()
        await eventually(`${name} is opened`, isOpened)
        t.deepEqual(await works(), [NODE.ipv4, POD.ipv4], name)
        t.deepEqual(told(), [], `${name} is opened, so there is nothing to do`)
        nft(path, [undo.includes('policy') ? 'add' : 'flush', ...undo.split(' ')])
        await restart()
        await eventually(`${name} is left alone again`, () => !isOpened())
      }
      for (const table of ['ip filter', 'ip nat', 'inet firewalld']) nft(path, ['delete', 'table', ...table.split(' ')])

      const legacy = async (words: string) => {
        const [program, ...args] = words.split(' ')
        await run(systemProgram('ip'), ['netns', 'exec', a.host.name, systemProgram(program!), ...args])
      }
      const name = 'iptables-legacy filter FORWARD'
      try {
        await legacy('iptables-legacy -P FORWARD DROP')
      } catch {
        t.log('without a chain of iptables-legacy: this machine has none')
        return
      }
      await restart()
      await eventually(`${name} is told`, () => told().includes(`PodTrafficPasses IptablesChain ${name}`))
      t.deepEqual(await works(100), [undefined, undefined], 'and it does drop')
      // what the condition says to do
      const { remedy } = conditions.get(`PodTrafficPasses IptablesChain ${name}`)!
      for (const insert of /: (.*)$/.exec(remedy)![1]!.split('; ')) await legacy(insert)
      t.deepEqual(await works(), [NODE.ipv4, POD.ipv4], name)
      for (const undo of ['-P FORWARD ACCEPT', '-F FORWARD']) await legacy(`iptables-legacy ${undo}`)
    },
  )
}
