// What becomes of packets that a pod sends under sources which are not its addresses, on the real kernel: two pods of one node,
// of which the first may have some of them, without a route back to any. All tests share the node.
// Over 400 lines: one setting of node, pods and policies, and each promise about it.
import test from 'ava'
import fc from 'fast-check'
import type { Condition } from '../../api/status.ts'
import { podFilterPrograms, sourceElements } from '../../felix/calc/pod-filter.ts'
import { vtepMac } from '../../felix/calc/tunnels.ts'
import type { Felix } from '../../felix/loop.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { HOST_MAC } from '../../kernel/pod-interface.ts'
import { NftTables } from '../../kernel/reconcile/nft-tables.ts'
import { type NamedNftElement, nftElementKey } from '../../kernel/reconcile/objects.ts'
import { addressBytes, cidr, formatCidr } from '../../lib/ip.ts'
import { namedCounters, nft } from '../kernel/nftables-programs.ts'
import {
  arp,
  checksum,
  ETHERTYPE,
  ethernet,
  IP_PROTOCOL,
  icmp,
  ipv4,
  ipv6,
  listenUdp,
  sendFrame,
  sendFrames,
  udp,
} from './frames.ts'
import { isRoot, openNetns, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { inVxlan, POD } from './pod-frames.ts'
import { type Net, startFelix, twoNodes } from './two-nodes.ts'

const OTHER = '10.244.1.6'
const [POD6, OTHER6] = ['fd00:1::5', 'fd00:1::6']
const MAC = { calipod1: '02:00:00:00:01:05', caliother: '02:00:00:00:01:06' } as const
const NODE = '192.168.10.11'
const FAR_NODE = '192.168.20.12'
const FAR_TUNNEL = '10.244.2.1'
const NODE6 = 'fd00:10::11'
const FAR_TUNNEL6 = 'fd00:10:2::1'
/** Addresses that this node has and its Node object has not. */
const [UNTOLD, UNTOLD6] = ['192.0.2.77', '2001:db8:77::1']

if (!isRoot)
  test('sources that pods are allowed, on the real kernel', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  let net: Net
  let other: TestNetns
  const conditions = new Map<string, Condition | undefined>()
  const host = () => net.nodes[0].host
  const felix = () => net.nodes[0].felix
  const pods = { calipod1: () => net.nodes[0].pod, caliother: () => other }

  /** Felix anew, which knows the pods, and of their sources nothing before `tellSources`. */
  const restart = async ({ mayAllow = true }: { mayAllow?: boolean } = {}): Promise<Felix> => {
    const [a] = net.nodes
    await a.felix.close()
    const config = { vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 0, vxlanMtu: 0, workloadRouteProtocol: 3 }
    const endpoint = { ifname: 'eth0', netns: '', mtu: 1450 }
    a.felix = startFelix(a, {
      onConditions: changes => {
        for (const [key, condition] of changes) conditions.set(key, condition)
      },
      world: {
        node: { name: 'n1', ipv4: `${NODE}/24`, ipv6: `${NODE6}/64`, uplink: 'eth0', vxlanTunnelAddress: '10.244.1.1' },
        remotes: [
          {
            ...{ name: 'n2', address: FAR_NODE, vxlanTunnelAddress: FAR_TUNNEL, vxlanTunnelAddressV6: FAR_TUNNEL6 },
            vxlanTunnelMac: vtepMac('n2'),
          },
        ],
        config: { ...config, ...(mayAllow && { allowSources: true as const }) },
        endpoints: [
          { ...endpoint, id: 'pod', interfaceName: 'calipod1', mac: MAC.calipod1, addresses: [POD, POD6] },
          { ...endpoint, id: 'other', interfaceName: 'caliother', mac: MAC.caliother, addresses: [OTHER, OTHER6] },
        ],
      },
    })
    tellPolicies('allow')
    return a.felix
  }
  const tellPolicies = (egress: 'allow' | 'nothing') => {
    const all = [{ action: 'allow', source: {}, destination: {} }] as const
    felix().setPolicy('profile', 'all', { ingress: all, egress: all })
    felix().setPolicy('profile', 'in', { ingress: all, egress: [] })
    for (const [key, interfaceName, addresses] of [
      ['/pod', 'calipod1', [POD, POD6]],
      ['/other', 'caliother', [OTHER, OTHER6]],
    ] as const) {
      felix().setPolicy('endpoint', key, { kind: 'pod', labels: {}, addresses, ports: [] })
      felix().setLocalEndpoint(key, { interfaceName, profiles: [egress === 'allow' ? 'all' : 'in'] })
    }
  }
  const tellSources = async (...cidrs: string[]) => {
    const pod = { namespace: 'net', name: 'gw' }
    felix().set('sources', 'pod', cidrs.length === 0 ? undefined : { pod, cidrs })
    felix().complete('policy')
    await felix().inSync()
  }
  const datagram = (from: string, interfaceName: keyof typeof MAC = 'calipod1'): Buffer => {
    const ends = { from: MAC[interfaceName], to: HOST_MAC }
    const isIpv6 = from.includes(':')
    const to = { calipod1: [OTHER, OTHER6], caliother: [POD, POD6] }[interfaceName][isIpv6 ? 1 : 0]!
    if (!isIpv6) return ethernet(ends, ETHERTYPE.ipv4, ipv4({ from, to }, IP_PROTOCOL.udp, udp(5000, 7777)))
    return ethernet(ends, ETHERTYPE.ipv6, ipv6({ from, to }, IP_PROTOCOL.udp, udp6({ from, to })))
  }
  /** How many of the datagrams of a pod went through the node, past its policies, by source: those of the first pod to the second. */
  const passed = async (sources: readonly string[], interfaceName: keyof typeof MAC = 'calipod1') => {
    const counters = sources.map((_, i) => `counter c${i} { }`).join('\n')
    const rules = sources.map(
      (source, i) => `${source.includes(':') ? 'ip6' : 'ip'} saddr ${source} counter name c${i}`,
    )
    const late = `chain late { type filter hook forward priority 100; ${rules.join('\n')}\n }`
    nft(
      netnsPath(host().name),
      ['-f', '-'],
      `table inet late { }\ndelete table inet late\ntable inet late {\n${counters}\n${late}\n}\n`,
    )
    const count = async () => {
      const now = await namedCounters(host().kernel, { family: 'inet', name: 'late' })
      return sources.map((_, i) => now.get(`c${i}`) ?? 0)
    }
    for (const source of sources) sendFrame(pods[interfaceName](), 'eth0', datagram(source, interfaceName))
    // a packet of its own behind them all: what did not come by then does not come
    await mark(interfaceName)
    return (await count()).map(packets => packets === 1)
  }
  const mark = async (interfaceName: keyof typeof MAC) => {
    const count = async () => (await felix().droppedPackets()).get('loopback destination') ?? 0
    const before = await count()
    const frame = ipv4({ from: POD, to: '127.0.0.1' }, IP_PROTOCOL.udp, udp(1, 1))
    const ends = { from: MAC[interfaceName], to: HOST_MAC }
    sendFrame(pods[interfaceName](), 'eth0', ethernet(ends, ETHERTYPE.ipv4, frame))
    await eventually('the mark is counted', async () => (await count()) === before + 1)
  }
  const dropped = async (frame: Buffer): Promise<string[]> => {
    const before = await felix().droppedPackets()
    sendFrame(pods.calipod1(), 'eth0', frame)
    await mark('calipod1')
    const now = await felix().droppedPackets()
    return [...now]
      .filter(([what, n]) => n > (before.get(what) ?? 0) && what !== 'loopback destination')
      .map(([what]) => what)
  }
  const reversePath = () => host().kernel.readSysctl('ipv4', ['conf', 'calipod1', 'rp_filter'])
  const allOf = (value: string) => host().kernel.writeSysctl('ipv4', ['conf', 'all', 'rp_filter'], value)

  test.before(async () => {
    net = await twoNodes({ podMacs: true, defaultRoutes: false })
    other = await openNetns()
    const peer = { name: 'eth0', netns: netnsPath(other.name) }
    await host().kernel.createLink({ kind: 'veth', name: 'caliother', mac: HOST_MAC, peer })
    await other.kernel.setLink('eth0', { mac: MAC.caliother, up: true })
    await host().kernel.setLink('caliother', { up: true })
    for (const name of Object.keys(MAC)) host().kernel.writeSysctl('ipv4', ['conf', name, 'rp_filter'], '1')
  })
  test.after.always(async () => {
    await net?.[Symbol.asyncDispose]()
    await other?.close()
  })

  const SOURCES = [POD, '198.51.100.9', '198.51.100.200', '203.0.113.1', POD6, '2001:db8::9', '2001:db8:1::9']

  test.serial(
    'without the setting a pod sends under its own addresses alone, whatever it asks, and the condition says so',
    async t => {
      await restart({ mayAllow: false })
      await tellSources('198.51.100.0/24', '2001:db8::/64')
      t.deepEqual(await passed(SOURCES), [true, false, false, false, true, false, false])
      t.is(reversePath(), '1')
      t.like(conditions.get('SourcesAllowed Pod net/gw'), { reason: 'Disabled', status: 'False' })
    },
  )

  test.serial(
    'what its annotation allows a pod passes at once, all else and other pods are dropped, and what is narrowed or taken back is cut',
    async t => {
      await restart()
      await tellSources()
      t.deepEqual(await passed(SOURCES), [true, false, false, false, true, false, false])
      for (const [cidrs, expected] of [
        [
          ['198.51.100.0/24', '2001:db8::/64'],
          [true, true, true, false, true, true, false],
        ],
        // narrower, wider, another, overlapping with what was
        [
          ['198.51.100.0/25', '2001:db8::9/128'],
          [true, true, false, false, true, true, false],
        ],
        [
          ['198.51.0.0/16', '2001:db8::/32'],
          [true, true, true, false, true, true, true],
        ],
        [
          ['198.51.100.9/32', '203.0.113.0/24', '2001:db8:1::/48'],
          [true, true, false, true, true, false, true],
        ],
        [
          ['0.0.0.0/0', '::/0'],
          [true, true, true, true, true, true, true],
        ],
        [
          ['0.0.0.0/1', '203.0.0.0/8'],
          [true, false, false, true, true, false, false],
        ],
        [[], [true, false, false, false, true, false, false]],
      ] as const) {
        await tellSources(...cidrs)
        t.deepEqual(await passed(SOURCES), expected, cidrs.join())
        const others = SOURCES.map(source => (source === POD ? OTHER : source === POD6 ? OTHER6 : source))
        t.deepEqual(await passed(others, 'caliother'), [true, false, false, false, true, false, false])
      }
    },
  )

  test.serial(
    'no route back is needed, and where the filter of the reverse path is on for all interfaces a condition says so',
    async t => {
      host().kernel.writeSysctl('ipv4', ['conf', 'calipod1', 'rp_filter'], '1')
      await restart()
      await tellSources('198.51.100.0/24')
      t.deepEqual([reversePath(), await passed(['198.51.100.9'])], ['0', [true]])
      t.is(host().kernel.readSysctl('ipv4', ['conf', 'caliother', 'rp_filter']), '1')
      const told = () => conditions.get('SourcesAllowed Sysctl net.ipv4 conf/all/rp_filter')
      for (const value of ['1', '2']) {
        allOf(value)
        try {
          await restart()
          await tellSources('198.51.100.0/24')
          t.deepEqual(await passed(['198.51.100.9', POD]), [false, true])
          t.like(told(), { status: 'False', reason: 'ReversePathFiltered' })
          t.regex(told()!.message, new RegExp(`rp_filter is ${value} .* from calipod1 under`))
          await tellSources()
          t.is(told(), undefined, 'no pod needs another value')
          await tellSources('198.51.100.0/24')
          t.like(told(), { status: 'False' })
        } finally {
          allOf('0')
        }
      }
      await tellSources('198.51.100.0/25')
      t.is(told(), undefined, 'it is not in the way any more')
      await tellSources()
    },
  )

  test.serial(
    'a restart loses no packet of an allowed source and lets no other through, before anything of Pods is known and after',
    async t => {
      await restart()
      await tellSources('198.51.100.0/24', '2001:db8::/64')
      nft(
        netnsPath(host().name),
        ['-f', '-'],
        `table inet late { }\ndelete table inet late\ntable inet late {
         counter allowed { }
         counter foreign { }
         chain late { type filter hook forward priority 100
           ip saddr 198.51.100.9 counter name allowed
           ip6 saddr 2001:db8::9 counter name allowed
           ip saddr 203.0.113.1 counter name foreign
           ip6 saddr 2001:db8:1::9 counter name foreign
         }
       }\n`,
      )
      let sent = 0
      const frames = ['198.51.100.9', '2001:db8::9', '203.0.113.1', '2001:db8:1::9'].map(
        each => ['eth0', datagram(each)] as const,
      )
      const timer = setInterval(() => {
        sendFrames(pods.calipod1(), frames)
        sent += 2
      }, 1)
      try {
        for (const run of ['second', 'third']) {
          const before = sent
          await (await restart()).inSync()
          await eventually(`the ${run} run knows nothing of Pods for a while`, () => sent > before + 20)
          await tellSources('198.51.100.0/24', '2001:db8::/64')
        }
        await (await restart()).inSync()
      } finally {
        clearInterval(timer)
      }
      await mark('calipod1')
      const counters = await namedCounters(host().kernel, { family: 'inet', name: 'late' })
      t.true(sent > 20, `${sent} sent`)
      t.deepEqual(Object.fromEntries(counters), { allowed: sent, foreign: 0 })
      // what the run before allowed and nobody asks for any more is cut once Pods are known
      await tellSources()
      t.deepEqual(await passed(SOURCES), [true, false, false, false, true, false, false])
    },
  )

  test.serial(
    'whatever a pod is allowed, it is no node, no loopback address and no neighbour that it is not, and sends no tunnel packets',
    async t => {
      await restart()
      await tellSources('0.0.0.0/0', '::/0')
      // where an address counts at once: no duplicates are looked for
      const { index } = (await host().kernel.link('lo'))!
      const more = { ifindex: index, scope: 0 }
      await host().kernel.addAddress({ ...more, address: UNTOLD, length: 32 })
      await host().kernel.addAddress({ ...more, address: UNTOLD6, length: 128 })
      const from4 = (from: string, to: string) =>
        ethernet(ENDS, ETHERTYPE.ipv4, ipv4({ from, to }, IP_PROTOCOL.udp, udp(5000, 7777)))
      const vxlan = (to: string, which: 'n1' | 'n2') =>
        ipv4({ from: FAR_NODE, to }, IP_PROTOCOL.udp, udp(5000, 4789, inVxlan(which)))
      const icmp6 = (from: string, type: number) =>
        ethernet(ENDS, ETHERTYPE.ipv6, ipv6({ from, to: 'ff02::1' }, IP_PROTOCOL.icmpv6, icmp(type)))
      const error4 = (quoted: string) =>
        ethernet(
          ENDS,
          ETHERTYPE.ipv4,
          ipv4({ from: POD, to: NODE }, IP_PROTOCOL.icmp, icmp(3, ipv4({ from: NODE, to: quoted }, 17, udp(1, 2)))),
        )
      const error6 = (quoted: string) =>
        ethernet(
          ENDS,
          ETHERTYPE.ipv6,
          ipv6(
            { from: POD6, to: NODE6 },
            IP_PROTOCOL.icmpv6,
            icmp(2, ipv6({ from: NODE6, to: quoted }, 17, udp(1, 2))),
          ),
        )
      const ERROR = 'error about the packet of another'
      for (const [what, frame, expected] of [
        ['another pod', from4(OTHER, NODE), []],
        ['the own node', from4(NODE, OTHER), ['source of a node']],
        ['the other node', from4(FAR_NODE, OTHER), ['source of a node']],
        ['the other node, as pods know it through its tunnel', datagram(FAR_TUNNEL), ['source of a node']],
        ['the same by IPv6', datagram(FAR_TUNNEL6), ['source of a node']],
        ['the own node by IPv6', datagram(NODE6), ['source of a node']],
        ['the own node by an address that its Node object has not', datagram(UNTOLD), ['source of a node']],
        ['the same by IPv6', datagram(UNTOLD6), ['source of a node']],
        ['the link-local address of another', datagram('fe80::99'), ['link-local source']],
        ['one of the last link-local addresses', datagram('febf::99'), ['link-local source']],
        [
          'VXLAN of the other node to this one',
          ethernet(ENDS, ETHERTYPE.ipv4, vxlan(NODE, 'n1')),
          ['source of a node'],
        ],
        ['loopback', from4('127.0.0.1', NODE), ['loopback source']],
        ['another loopback address', from4('127.9.9.9', NODE), ['loopback source']],
        ['VXLAN under a strange source', from4('198.51.100.9', NODE), []],
        [
          'VXLAN to the other node under a strange source',
          ethernet(
            ENDS,
            ETHERTYPE.ipv4,
            ipv4({ from: '198.51.100.9', to: FAR_NODE }, IP_PROTOCOL.udp, udp(5000, 4789, inVxlan('n2'))),
          ),
          ['forwarded VXLAN that no node sent'],
        ],
        [
          'an ARP request of another',
          ethernet(ENDS, ETHERTYPE.arp, arp('request', MAC.calipod1, { from: OTHER, to: '169.254.1.1' })),
          ['foreign ARP sender'],
        ],
        ['a solicitation of another', icmp6('2001:db8::99', 135), ['neighbour discovery under a foreign source']],
        ['a router advertisement', icmp6('2001:db8::99', 134), ['neighbour discovery under a foreign source']],
        ['a solicitation under a link-local address', icmp6('fe80::99', 135), ['link-local source']],
        ['an error about a packet to what it may be', error4('198.51.100.9'), []],
        ['an error about a packet to the other node', error4(FAR_NODE), [ERROR]],
        ['an error about a packet through the tunnel of the other node', error4(FAR_TUNNEL), [ERROR]],
        ['an IPv6 error about a packet to what it may be', error6('2001:db8::9'), []],
        ['an IPv6 error about a packet to its node', error6(NODE6), [ERROR]],
        ['an IPv6 error about a packet through the tunnel of the other node', error6(FAR_TUNNEL6), [ERROR]],
      ] as const)
        t.deepEqual(await dropped(frame), [...expected], what)
      await tellSources('198.51.100.0/24')
      t.deepEqual(await dropped(error4('198.51.100.9')), [])
      t.deepEqual(await dropped(error4('203.0.113.1')), [ERROR])
      await tellSources()
      t.deepEqual(await dropped(error4('198.51.100.9')), [ERROR])
    },
  )

  test.serial(
    'a pod that may have any source makes its node ask for no neighbour behind its own interface',
    async t => {
      await restart()
      await tellSources('0.0.0.0/0', '::/0')
      const own = (await host().kernel.addresses()).find(({ address }) => address === UNTOLD6)
      t.not(own, undefined, 'the node answers')
      const { index } = (await host().kernel.link('calipod1'))!
      for (let i = 1; i <= 20; i++) {
        const ends = { from: `fe80::bad:${i}`, to: UNTOLD6 }
        const ping = ipv6(ends, IP_PROTOCOL.udp, udp6(ends))
        sendFrame(pods.calipod1(), 'eth0', ethernet(ENDS, ETHERTYPE.ipv6, ping))
      }
      await mark('calipod1')
      const neighbours = (await host().kernel.neighbours(index)).map(({ address }) => address)
      t.deepEqual(
        neighbours.filter(address => address.startsWith('fe80::bad')),
        [],
      )
      await tellSources()
    },
  )

  test.serial('the way back leads through an address of the pod, which answers ARP for no other', async t => {
    await restart()
    await tellSources('198.51.100.0/24')
    nft(netnsPath(host().name), ['-f', '-'], 'table inet late { }\ndelete table inet late\n')
    using listener = listenUdp(pods.calipod1(), '0.0.0.0', 7777)
    const { index } = (await pods.calipod1().kernel.link('lo'))!
    await pods.calipod1().kernel.addAddress({ ifindex: index, address: '198.51.100.9', length: 32, scope: 0 })
    const { index: ifindex } = (await host().kernel.link('calipod1'))!
    const route = { dst: '198.51.100.0/24', table: 254, type: 'unicast', protocol: 4, ifindex } as const
    const back = ipv4({ from: OTHER, to: '198.51.100.9' }, IP_PROTOCOL.udp, udp(7777, 7777))
    const send = () =>
      sendFrame(pods.caliother(), 'eth0', ethernet({ from: MAC.caliother, to: HOST_MAC }, ETHERTYPE.ipv4, back))
    const direct = { ...route, scope: 253 }
    t.deepEqual(await host().kernel.changeRoutes([{ verb: 'add', route: direct }]), [undefined])
    const asks = async () => (await felix().droppedPackets()).get('foreign ARP sender') ?? 0
    const before = await asks()
    send()
    await eventually('its answer to ARP is dropped', async () => (await asks()) > before)
    t.is(listener.heard(), 0)
    await host().kernel.changeRoutes([{ verb: 'delete', route: direct }])
    const through = { ...route, scope: 0, gateway: POD }
    t.deepEqual(await host().kernel.changeRoutes([{ verb: 'add', route: through }]), [undefined])
    send()
    await eventually('the pod hears it', () => listener.heard() > 0)
    await host().kernel.changeRoutes([{ verb: 'delete', route: through }])
    await tellSources()
  })

  test.serial('policies of the pod count for what it sends under other sources', async t => {
    await restart()
    await tellSources('198.51.100.0/24', '2001:db8::/64')
    const sources = [POD, '198.51.100.9', POD6, '2001:db8::9']
    t.deepEqual(await passed(sources), [true, true, true, true])
    tellPolicies('nothing')
    await felix().inSync()
    t.deepEqual(await passed(sources), [false, false, false, false])
    tellPolicies('allow')
    await felix().inSync()
    t.deepEqual(await passed(sources), [true, true, true, true])
    await tellSources()
  })

  test.serial(
    'established connections under an allowed source are cut when policies of the pod deny them, on either side',
    async t => {
      await restart()
      await tellSources('198.51.100.0/24', '2001:db8::/64')
      const { index: ifindex } = (await host().kernel.link('calipod1'))!
      const back = { table: 254, type: 'unicast', protocol: 4, ifindex, scope: 0 } as const
      const routes = [
        { ...back, dst: '198.51.100.0/24', gateway: POD },
        { ...back, dst: '2001:db8::/64', gateway: POD6 },
      ]
      for (const route of routes) t.deepEqual(await host().kernel.changeRoutes([{ verb: 'add', route }]), [undefined])
      const flows = async () => {
        const found: string[] = []
        await host().kernel.flowsOf('all', ({ original: { source, destination, ports } }) => {
          if (ports?.source === 7778) found.push(`${source} to ${destination}`)
        })
        return found.sort()
      }
      for (const [foreign, own] of [
        ['198.51.100.9', OTHER],
        ['2001:db8::9', OTHER6],
      ] as const) {
        const isIpv6 = foreign.includes(':')
        const datagrams = (from: string, to: string, interfaceName: keyof typeof MAC) => {
          const ends = { from: MAC[interfaceName], to: HOST_MAC }
          const frame = isIpv6
            ? ethernet(
                ends,
                ETHERTYPE.ipv6,
                ipv6({ from, to }, IP_PROTOCOL.udp, udp6({ from, to }, { source: 7778, destination: 7778 })),
              )
            : ethernet(ends, ETHERTYPE.ipv4, ipv4({ from, to }, IP_PROTOCOL.udp, udp(7778, 7778)))
          sendFrame(pods[interfaceName](), 'eth0', frame)
          return mark(interfaceName)
        }
        // what the pod opened, and what was opened to it
        for (const [from, to] of [
          ['calipod1', 'caliother'],
          ['caliother', 'calipod1'],
        ] as const) {
          const ends = { calipod1: foreign, caliother: own }
          tellPolicies('allow')
          await felix().inSync()
          await datagrams(ends[from], ends[to], from)
          await datagrams(ends[to], ends[from], to)
          t.deepEqual(await flows(), [`${ends[from]} to ${ends[to]}`])
          const rules = { all: [{ action: 'allow', source: {}, destination: {} }] as const, none: [] }
          const [ingress, egress] = from === 'calipod1' ? [rules.all, rules.none] : [rules.none, rules.all]
          felix().setPolicy('profile', 'shut', { ingress, egress })
          felix().setLocalEndpoint('/pod', { interfaceName: 'calipod1', profiles: ['shut'] })
          await eventually(`${ends[from]} to ${ends[to]} is cut`, async () => (await flows()).length === 0)
        }
      }
      for (const route of routes) await host().kernel.changeRoutes([{ verb: 'delete', route }])
      tellPolicies('allow')
      await tellSources()
    },
  )

  test.serial('what others remove from the filter is put back with the sources that pods are allowed', async t => {
    await restart()
    await tellSources('198.51.100.0/24', '2001:db8::/64')
    for (const damage of [
      ['delete', 'table', 'inet', 'margay'],
      ['delete', 'element', 'inet', 'margay', 'allowed_ipv4', '{ calipod1 . 198.51.100.0/24 }'],
      ['add', 'element', 'inet', 'margay', 'allowed_ipv4', '{ calipod1 . 203.0.113.0/24, caliother . 0.0.0.0/0 }'],
      ['add', 'chain', 'inet', 'margay', 'foreign'],
    ]) {
      const lines = () => nft(netnsPath(host().name), ['-s', 'list', 'table', 'inet', 'margay']).split('\n').sort()
      const before = lines()
      t.true(before.some(line => line.includes('{ "calipod1" . 198.51.100.0/24 }')))
      nft(netnsPath(host().name), damage)
      const isThere = async () => (await host().otherProgram.nftables({ family: 'inet', name: 'margay' })) !== undefined
      await eventually(damage.join(' '), async () => (await isThere()) && isSame(lines(), before))
      t.deepEqual(await passed(SOURCES), [true, true, true, false, true, true, false])
    }
    await tellSources()
  })

  test.serial(
    'the kernel takes every change of the ranges of two pods in one transaction, whatever they were, and a restart writes none',
    async t => {
      const marks = { table: 'walk', interfacePrefix: 'cali' }
      const programs = podFilterPrograms(marks, { ipip: false, vxlan: false, vxlanOverIpv6: false, vxlanPort: 4789 })
      const run = () => {
        const tables = new NftTables(host().kernel)
        for (const [key, program] of programs) tables.wantTable(key, program)
        return tables
      }
      const elements = async () => {
        const { elements = [] } = (await host().kernel.nftables({ family: 'inet', name: 'walk' })) ?? {}
        const of = elements.filter(({ set }) => set.startsWith('allowed'))
        return of
          .flatMap(({ set, elements }) => elements.map(({ key }) => `inet walk ${set} ${key.join(' . ')}`))
          .sort()
      }
      const aCidr = fc.oneof(
        fc.tuple(
          fc.constantFrom('10.0.0.0', '10.128.0.0', '10.64.1.0', '10.64.1.255'),
          fc.integer({ min: 0, max: 32 }),
        ),
        fc.tuple(fc.constantFrom('2001:db8::', '2001:db8:0:1::', 'fd00::ffff'), fc.integer({ min: 0, max: 128 })),
      )
      const someCidrs = fc.array(aCidr, { maxLength: 6 }).map(list =>
        // host bits are nobody's business here
        list.map(([address, length]) => formatCidr(cidr(`${address}/${length}`))),
      )
      const walk = fc.array(fc.record({ calipod1: someCidrs, caliother: someCidrs, anew: fc.boolean() }), {
        minLength: 1,
        maxLength: 5,
      })
      let tables = run()
      await tables.put()
      let wanted = new Map<string, NamedNftElement>()
      await fc.assert(
        fc.asyncProperty(walk, async steps => {
          for (const { anew, ...pods } of steps) {
            if (anew) {
              tables = run()
              for (const [key, element] of wanted) tables.wantElement(key, element)
              t.deepEqual(
                [await tables.put(), await tables.remove(() => true)].flatMap(({ written }) => written),
                [],
              )
            }
            const now = new Map(
              Object.entries(pods).flatMap(([name, cidrs]) =>
                sourceElements(marks, name, cidrs).map(each => [nftElementKey(each), each] as const),
              ),
            )
            for (const key of wanted.keys()) if (!now.has(key)) tables.wantElement(key, undefined)
            for (const [key, element] of now) tables.wantElement(key, element)
            wanted = now
            t.deepEqual(
              [await tables.put(), await tables.remove(() => true)].flatMap(({ refused }) => refused),
              [],
            )
            t.deepEqual(await elements(), [...now.keys()].sort())
          }
        }),
        { numRuns: 60 },
      )
    },
  )
}

const ENDS = { from: MAC.calipod1, to: HOST_MAC }

/** A datagram with the checksum that IPv6 asks for (RFC 8200 §8.1). */
function udp6({ from, to }: { from: string; to: string }, ports = { source: 5000, destination: 7777 }): Buffer {
  const datagram = udp(ports.source, ports.destination)
  const pseudo = Buffer.concat([addressBytes(from), addressBytes(to), Buffer.alloc(8)])
  pseudo.writeUInt32BE(datagram.length, 32)
  pseudo[39] = IP_PROTOCOL.udp
  datagram.writeUInt16BE(checksum(Buffer.concat([pseudo, datagram])), 6)
  return datagram
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, i) => line === b[i])
}
