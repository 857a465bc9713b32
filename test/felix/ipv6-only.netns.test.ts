// Three nodes of IPv6 alone, two on one LAN and one behind a router that knows no pod, each with felix and a pod of IPv6 alone, on
// the real kernel. No host, router or pod has an IPv4 address.
import { setTimeout as later } from 'node:timers/promises'
import test from 'ava'
import { vtepMac } from '../../felix/calc/tunnels.ts'
import type { ThisNode } from '../../felix/input.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { GATEWAY } from '../../kernel/pod-interface.ts'
import { systemClock } from '../../lib/clock.ts'
import { linkLocal } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { ETHERTYPE, ethernet, IP_PROTOCOL, icmp, ipv6, sendFrame, udp } from './frames.ts'
import { ip, megabyteOfTcp, ping, sourceOf } from './ipv6-programs.ts'
import { isRoot, openNetns, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { give, route, wire } from './two-nodes.ts'
import { tell, type World } from './worlds.ts'

type Node = { n: number; lan: 'a' | 'b'; host: TestNetns; pod: TestNetns; felix: Felix; mac: string }

/** Node n1 and n2 are on LAN a, n3 on LAN b. */
const LAN = { 1: 'a', 2: 'a', 3: 'b' } as const
const NUMBERS = [1, 2, 3] as const
const addressOf = (n: 1 | 2 | 3) => `fd00:${LAN[n]}::1${n}`
const podOf = (n: number) => `fd00:10:${n}::5`
const tunnelOf = (n: number) => `fd00:10:${n}::1`
const SERVICE = 'fd00:96::1'

if (!isRoot)
  test('nodes of IPv6 alone', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  const undo = new AsyncDisposableStack()
  let router: TestNetns
  const nodes: Node[] = []

  test.before(async () => {
    const netns = async () => {
      const made = await openNetns()
      undo.defer(() => made.close())
      made.kernel.writeSysctl('ipv6', ['conf', 'default', 'accept_dad'], '0')
      await made.kernel.setLink('lo', { up: true })
      return made
    }
    router = await netns()
    router.kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
    for (const lan of ['a', 'b']) {
      await router.kernel.createLink({ kind: 'bridge', name: lan })
      await router.kernel.setLink(lan, { up: true })
      await give(router, lan, `fd00:${lan}::1`, 64)
    }
    for (const n of NUMBERS) {
      const [host, pod] = [await netns(), await netns()]
      await wire(host, 'eth0', router, `n${n}`)
      await router.kernel.setLink(`n${n}`, { master: (await router.kernel.link(LAN[n]))!.index })
      await give(host, 'eth0', addressOf(n), 64)
      await route(host, '::/0', `fd00:${LAN[n]}::1`, 'eth0')
      await wire(host, `calipod${n}`, pod, 'eth0', 'ee:ee:ee:ee:ee:ee')
      await give(pod, 'eth0', podOf(n), 128)
      await route(pod, '::/0', GATEWAY.ipv6, 'eth0')
      const { mac = '' } = (await pod.kernel.link('eth0'))!
      const made = { n, lan: LAN[n], host, pod, mac }
      nodes.push({ ...made, felix: startFelix(made) })
    }
    for (const node of nodes) undo.defer(() => node.felix.close())
    for (const { felix } of nodes) await felix.inSync()
  })
  test.after.always(() => undo.disposeAsync())

  test.serial(
    'every pod reaches every other one, within the LAN directly and behind the router through VXLAN over IPv6',
    async t => {
      for (const from of nodes) for (const to of nodes) if (from !== to) await ping(from.pod, podOf(to.n), 2)
      const { stdout } = await ip(nodes[0]!.host, '-6', 'route', 'show', 'proto', '80', 'type', 'unicast')
      t.regex(stdout, /^fd00:10:2::\/122 via fd00:a::12 dev eth0/m)
      t.regex(stdout, /^fd00:10:3::\/122 via fe80::\S+ dev vxlan-v6\.calico/m)
      // the router has no route to pods: nothing but the outer packets can have passed
      const routes = await router.kernel.routes({ family: 'ipv6' })
      t.false(routes.some(({ dst }) => dst.startsWith('fd00:10:')))
      for (const { host } of nodes) {
        t.is(await host.kernel.link('vxlan.calico'), undefined)
        const addresses = await host.kernel.addresses()
        t.deepEqual(
          addresses.filter(({ address }) => !address.includes(':') && address !== '127.0.0.1'),
          [],
        )
      }
    },
  )

  test.serial('a megabyte of TCP passes the tunnel whole', async t => {
    const [a, , c] = nodes
    t.is(await megabyteOfTcp(a!.pod, c!.pod, podOf(3)), `${1 << 20}`)
  })

  test.serial('a packet of 1,430 octets passes the tunnel, a larger one is refused at the source', async t => {
    const [a, , c] = nodes
    for (const { pod, host } of [a!, c!]) {
      t.like(await host.kernel.link('vxlan-v6.calico'), { mtu: 1430, up: true })
      await pod.kernel.setLink('eth0', { mtu: 1430 })
    }
    await t.notThrowsAsync(ping(a!.pod, podOf(3), 1, ['-M', 'do', '-s', '1382']))
    await t.throwsAsync(ping(a!.pod, podOf(3), 1, ['-M', 'do', '-W', '1', '-s', '1383']))
  })

  test.serial('what leaves the pools has the address of the node, and the way back', async t => {
    // the router knows no pod, so an answer shows that it was asked by the node
    await ping(nodes[0]!.pod, 'fd00:b::1', 2)
    await ping(nodes[2]!.pod, 'fd00:a::1', 2)
    t.pass()
  })

  test.serial(
    'a node that gets the address of its tunnel loses no packet of a pod, also to a node that knows nothing of it, and of its own those of a moment',
    async t => {
      const [a, , c] = nodes as [Node, Node, Node]
      t.is(await sourceOf(a.host, { to: c.pod, at: podOf(3) }), addressOf(1), 'and the answer came past the tunnel')
      const [ofPod, ofNode] = [a.pod, a.host].map(from => ping(from, podOf(3), 80, ['-i', '0.02']))
      await later(400)
      a.felix.configure({ node: { ...nodeOf(1), vxlanTunnelAddressV6: tunnelOf(1) } })
      await a.felix.inSync()
      t.regex((await ofPod)!, / 0% packet loss/)
      // the kernel sends under an address before it takes answers to it: the route to it is made by a work queue, somewhat later
      const answered = Number(/(\d+) received/.exec((await ofNode)!)?.[1])
      t.true(answered >= 70, `${answered} of 80`)
      for (const { n, felix } of nodes) felix.configure({ node: { ...nodeOf(n), vxlanTunnelAddressV6: tunnelOf(n) } })
      for (const { felix } of nodes) await felix.inSync()
    },
  )

  test.serial(
    'what a node itself begins to a pod behind the router has the address of the tunnel, and is answered through it',
    async t => {
      const [a, b, c] = nodes as [Node, Node, Node]
      // as routers do that let nobody send under addresses that they do not know
      const drop = 'iifname . oifname { "a" . "b", "b" . "a" } ip6 saddr fd00:10::/32 drop'
      const strict = `chain forward { type filter hook forward priority 0; ${drop}; }`
      nft(netnsPath(router.name), ['-f', '-'], `table inet strict {\n${strict}\n}\n`)
      const service = `chain out { type nat hook output priority -100; ip6 daddr ${SERVICE} dnat to ${podOf(3)}; }`
      nft(netnsPath(a.host.name), ['-f', '-'], `table ip6 service {\n${service}\n}\n`)
      const far = { to: c.pod, at: podOf(3) }
      t.is(await sourceOf(a.host, far), tunnelOf(1))
      t.is(await sourceOf(c.host, { to: a.pod, at: podOf(1) }), tunnelOf(3))
      t.is(await sourceOf(a.host, far, SERVICE), tunnelOf(1), 'by a Service')
      t.is(await sourceOf(a.host, { ...far, source: addressOf(1) }), tunnelOf(1), 'a program that chose the uplink')
      t.is(await sourceOf(a.host, { to: b.pod, at: podOf(2) }), addressOf(1), 'within the LAN')
      t.is(await sourceOf(a.host, { to: a.pod, at: podOf(1) }), tunnelOf(1), 'the own pod')
      t.is(await sourceOf(a.pod, far), podOf(1), 'a pod keeps its own')
      t.is(await megabyteOfTcp(a.host, c.pod, podOf(3)), `${1 << 20}`)
      nft(netnsPath(router.name), ['delete', 'table', 'inet', 'strict'])
      nft(netnsPath(a.host.name), ['delete', 'table', 'ip6', 'service'])
    },
  )

  test.serial(
    'a router advertisement of a pod, and VXLAN packets to nodes by a pod and by a stranger, are dropped',
    async t => {
      const [a, , c] = nodes
      const dropped = async (felix: Felix, reason: string, send: () => void) => {
        const count = async () => (await felix.droppedPackets()).get(reason) ?? 0
        const before = await count()
        send()
        await eventually(`${reason} is counted`, async () => (await count()) > before)
      }
      const fromPod = (packet: Buffer) =>
        sendFrame(a!.pod, 'eth0', ethernet({ from: a!.mac, to: 'ee:ee:ee:ee:ee:ee' }, ETHERTYPE.ipv6, packet))
      await dropped(a!.felix, 'router advertisement', () =>
        fromPod(ipv6({ from: linkLocal(a!.mac), to: 'ff02::1' }, IP_PROTOCOL.icmpv6, icmp(134))),
      )
      const toTunnel = (from: string) => ipv6({ from, to: addressOf(3) }, IP_PROTOCOL.udp, udp(4789, 4789))
      await dropped(a!.felix, 'forwarded VXLAN that no node sent', () => fromPod(toTunnel(podOf(1))))
      const { mac: to = '' } = (await c!.host.kernel.link('eth0'))!
      const { mac: from = '' } = (await router.kernel.link('b'))!
      await dropped(c!.felix, 'VXLAN that no node sent', () =>
        sendFrame(router, 'n3', ethernet({ from, to }, ETHERTYPE.ipv6, toTunnel('fd00:b::1'))),
      )
      t.pass()
    },
  )

  for (const [what, break_] of [
    ['the tunnel is deleted', (host: TestNetns) => host.otherProgram.deleteLink('vxlan-v6.calico')],
    ['the tunnel goes down', (host: TestNetns) => host.otherProgram.setLink('vxlan-v6.calico', { up: false })],
  ] as const)
    test.serial(`pods behind the router are reached again after ${what} by hand`, async t => {
      const [{ host, pod }] = nodes as [Node]
      await break_(host)
      await eventually('the pod answers again', () =>
        ping(pod, podOf(3), 1, ['-W', '0.2']).then(
          () => true,
          () => false,
        ),
      )
      t.pass()
    })

  test.serial(
    'an agent that starts again loses no packet, and takes the tunnel away where no pool asks for it',
    async t => {
      const [a] = nodes as [Node]
      const pings = Promise.all([a.pod, a.host].map(from => ping(from, podOf(3), 50, ['-i', '0.02'])))
      await a.felix.close()
      a.felix = startFelix(a, true)
      await a.felix.inSync()
      for (const said of await pings) t.regex(said, / 0% packet loss/)
      a.felix.set('pool', 'fd00:10::/32', { ...POOL, vxlan: 'Never' })
      await eventually('it is gone', async () => (await a.host.kernel.link('vxlan-v6.calico')) === undefined)
    },
  )
}

const POOL = {
  cidr: 'fd00:10::/32',
  ipip: 'Never',
  vxlan: 'CrossSubnet',
  natOutgoing: true,
  isExchanged: true,
} as const

/** A node of a version without IPv6 addresses of tunnels. */
function nodeOf(n: number): ThisNode {
  return { name: `n${n}`, ipv6: `${addressOf(n as 1)}/64`, uplink: 'eth0' }
}

function startFelix({ n, host, mac }: Pick<Node, 'n' | 'host' | 'mac'>, addressed = false): Felix {
  const others = NUMBERS.filter(other => other !== n)
  const input: World = {
    node: { ...nodeOf(n), ...(addressed && { vxlanTunnelAddressV6: tunnelOf(n) }) },
    config: { vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 0, vxlanMtu: 0, workloadRouteProtocol: 3 },
    capabilities: { ipip: false, vxlan: true },
    pools: [POOL],
    remotes: others.map(other => {
      return { name: `n${other}`, ipv6Address: addressOf(other), vxlanTunnelMac: vtepMac(`n${other}`) }
    }),
    ownBlocks: [`fd00:10:${n}::/122`],
    lent: [],
    learned: others.map(other => {
      return { prefix: `fd00:10:${other}::/122`, nextHop: addressOf(other), encapsulations: [8] }
    }),
    endpoints: [
      {
        ...{ id: 'pod', interfaceName: `calipod${n}`, ifname: 'eth0', netns: '' },
        ...{ addresses: [podOf(n)], mac, mtu: 1430 },
      },
    ],
    uplinkMtu: 1500,
  }
  const felix = new Felix(host.kernel, {
    clock: systemClock,
    log: silentLog,
    marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }),
    onConditions: () => {},
  })
  felix.start()
  tell(felix, input)
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
  return felix
}
