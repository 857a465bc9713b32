// What a pod is told by its resolver opens what policy says for it, and for nobody else, on the real kernel: two nodes, two
// pods on one of them, and a resolver on the other, behind the address of a Service.
import test from 'ava'
import { DomainNames } from '../../agent/domain-names.ts'
import { FELIX_ANNOTATION } from '../../api/core.ts'
import type { PodEndpoint } from '../../cni/endpoints.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { HOST_MAC } from '../../kernel/pod-interface.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { aResource } from '../datastore/objects.ts'
import { addressesOf } from '../felix/dns/messages.ts'
import { IP_PROTOCOL, ipv4, listenUdp, sendPacket, udp } from '../felix/frames.ts'
import { isRoot, openNetns, sweep, type TestNetns } from '../felix/netns.ts'
import { eventually } from '../felix/node-kernel.ts'
import { openPort } from '../felix/ports.ts'
import { type Net, startFelix, twoNodes } from '../felix/two-nodes.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { ANSWER_MS, SILENCE_MS } from '../slowness.ts'

const POD = '10.244.1.5'
const OTHER = '10.244.1.6'
const FAR = '10.244.2.5'
const RESOLVER = '10.96.0.10'
const PORT = 7777
/** Of the resolver's pod. Its Service has 53. */
const TARGET_PORT = 5353
const NAME = 'www.example.com'

if (!isRoot)
  test('names of domains on the real kernel', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  let net: Net
  let other: TestNetns
  let names: DomainNames
  const clock = new ManualClock()
  const database = openDatabase(':memory:')
  const felixConfiguration = (trusted: string) =>
    aResource('FelixConfiguration', {
      metadata: { name: 'default', annotations: { [FELIX_ANNOTATION.dnsTrustedServers]: trusted } },
      spec: {},
    })
  const endpoint = (id: string, address: string, interfaceName: string) =>
    ({ id, addresses: [address], interfaceName }) as unknown as PodEndpoint
  const pods = [endpoint('one', POD, 'calipod1'), endpoint('two', OTHER, 'caliother')]
  const startNames = (trusted?: string) => {
    const [{ felix, host }] = net.nodes
    names = new DomainNames({
      ...{ nodeName: 'n1', kernel: host.kernel, felix, database, clock, changed: () => {} },
      view: {
        onChange: () => {},
        get: ((_: unknown, name: string) =>
          name === 'default' && trusted !== undefined ? felixConfiguration(trusted) : undefined) as never,
      },
    })
    for (const pod of pods) names.setLocal(pod)
    names.want()
    names.start()
  }
  /** The pod asks, and gets this answer. */
  let sourcePort = 40_000
  const ask = async (message: Uint8Array) => {
    const port = ++sourcePort
    await question(port)
    for (const packet of pieces(ipv4({ from: FAR, to: POD }, IP_PROTOCOL.udp, udp(TARGET_PORT, port, message))))
      sendPacket(net.nodes[1].pod, packet)
  }
  const question = async (port: number) => {
    const [a, b] = net.nodes
    using listener = listenUdp(b.pod, '0.0.0.0', TARGET_PORT)
    sendPacket(a.pod, ipv4({ from: POD, to: RESOLVER }, IP_PROTOCOL.udp, udp(port, 53)))
    await eventually('the resolver is asked', () => listener.heard() === 1)
  }
  const elements = async () => {
    const found = await net.nodes[0].host.kernel.nftables({ family: 'inet', name: 'margay-policy' })
    return (found?.elements ?? [])
      .filter(({ set }) => set.startsWith('d4-'))
      .flatMap(of => of.elements.map(({ key }) => key.join(' ')))
      .sort()
  }
  const claims = (...addresses: string[]) => addresses.map(address => `${POD} ${address}`).sort()
  const claimed = (...addresses: string[]) =>
    eventually(`${addresses}`, async () => `${await elements()}` === `${claims(...addresses)}`)

  test.before(async () => {
    net = await twoNodes({ podMacs: true })
    const [a] = net.nodes
    other = await openNetns()
    const { kernel } = other
    kernel.writeSysctl('ipv6', ['conf', 'all', 'disable_ipv6'], '1')
    const peer = { name: 'eth0', netns: netnsPath(other.name) }
    await a.host.kernel.createLink({ kind: 'veth', name: 'caliother', mac: HOST_MAC, peer })
    const { index, mac } = (await kernel.link('eth0'))!
    await kernel.setLink('eth0', { up: true })
    await kernel.addAddress({ ifindex: index, address: OTHER, length: 32, scope: 0 })
    const base = { table: 254, type: 'unicast', protocol: 3, ifindex: index } as const
    for (const [dst, gateway] of [['169.254.1.1/32'], ['0.0.0.0/0', '169.254.1.1']] as const) {
      const route = { ...base, dst, scope: gateway === undefined ? 253 : 0, gateway } as const
      const [refused] = await kernel.changeRoutes([{ verb: 'add', route }])
      if (refused !== undefined) throw refused
    }
    await a.felix.close()
    const pod = { ifname: 'eth0', netns: '', mtu: 1450 }
    const podMac = (await a.pod.kernel.link('eth0'))!.mac!
    a.felix = startFelix(a, {
      world: {
        endpoints: [
          { ...pod, id: 'one', interfaceName: 'calipod1', addresses: [POD], mac: podMac },
          { ...pod, id: 'two', interfaceName: 'caliother', addresses: [OTHER], mac: mac! },
        ],
      },
    })
    nft(
      netnsPath(a.host.name),
      ['-f', '-'],
      `table ip kube-proxy { chain services {
        type nat hook prerouting priority dstnat
        ip daddr ${RESOLVER} udp dport 53 dnat to ${FAR}:${TARGET_PORT}
      }
      }`,
    )
    const { felix } = a
    const labels = { 'projectcalico.org/orchestrator': 'k8s' }
    for (const { id, addresses, interfaceName } of pods) {
      felix.setPolicy('endpoint', id, { kind: 'pod', labels, addresses, ports: [] })
      felix.setLocalEndpoint(id, { interfaceName, profiles: ['open'] })
    }
    felix.setPolicy('profile', 'open', { ingress: [{ action: 'allow', source: {}, destination: {} }], egress: [] })
    felix.setPolicy('tier', 'default', { name: 'default', order: 1, defaultAction: 'deny' })
    felix.setPolicy('service', 'kube-system/kube-dns', {
      addresses: [{ address: FAR, protocol: 17, port: TARGET_PORT }],
    })
    const ports = { ranges: [53, TARGET_PORT].map(port => ({ first: port, last: port })), names: [] }
    felix.setPolicy('policy', 'names', {
      ref: { kind: 'ClusterNetworkPolicy', name: 'names' },
      ...{ tier: 'default', order: 1, sortName: 'names', selector: 'all()', hostStage: 'normal' },
      egress: [
        { action: 'allow', protocol: 17, source: {}, destination: { ports } },
        { action: 'allow', source: {}, destination: { domains: ['*.example.org', NAME] } },
      ],
    })
    startNames()
    felix.complete('policy')
    await felix.inSync()
  })
  test.after.always(async () => {
    names?.close()
    await net?.[Symbol.asyncDispose]()
    await other?.close()
  })

  test.serial(
    'a pod reaches what the resolver told it until the TTL ends, live connections longer, and nobody else does',
    async t => {
      const [a, b] = net.nodes
      using far = openPort(b.pod, FAR, PORT)
      using near = openPort(a.pod, POD)
      using stranger = openPort(other, OTHER)
      const reaches = async (port: typeof near, limitMs = SILENCE_MS) => {
        port.send(FAR, PORT)
        return (await far.heard(limitMs)) !== undefined
      }
      t.false(await reaches(near))
      await ask(addressesOf(NAME.toUpperCase(), [FAR], 60))
      const sinceMs = performance.now()
      for (;;) if (await reaches(near, 1)) break
      t.log(`the first packet passed ${(performance.now() - sinceMs).toFixed(1)} ms after the answer was sent`)
      while ((await far.heard(SILENCE_MS)) !== undefined); // of those that were sent before it was heard
      t.deepEqual(await elements(), claims(FAR))
      t.false(await reaches(stranger))
      // it becomes a connection
      near.send(FAR, PORT)
      const { address, port } = (await far.heard())!
      far.send(address, port)
      t.truthy(await near.heard())
      clock.advance(60_000)
      await claimed()
      t.true(await reaches(near, ANSWER_MS))
      using again = openPort(a.pod, POD)
      t.false(await reaches(again))
    },
  )

  test.serial('a name below a wildcard counts with all its addresses, from an answer in pieces', async t => {
    const addresses = Array.from({ length: 120 }, (_, i) => `203.0.113.${i + 1}`)
    const message = addressesOf('a.b.example.org', addresses, 30)
    t.true(message.length > 1900)
    await ask(message)
    await claimed(...addresses)
    await ask(addressesOf('example.org', ['203.0.113.200']))
    await ask(addressesOf('www.example.net', ['203.0.113.201']))
    await ask(addressesOf('x.example.org', ['203.0.113.202'], 90))
    await claimed(...addresses, '203.0.113.202')
    clock.advance(30_000)
    await claimed('203.0.113.202')
    t.pass()
  })

  test.serial('another agent goes on with what its pods were told, and forgets pods that are gone', async t => {
    names.close()
    t.deepEqual(await elements(), claims('203.0.113.202'))
    startNames()
    await ask(addressesOf(NAME, ['203.0.113.1'], 30))
    await claimed('203.0.113.1', '203.0.113.202')
    clock.advance(89_000)
    await claimed('203.0.113.202')
    names.removeLocal(pods[0]!)
    await claimed()
    names.setLocal(pods[0]!)
    t.deepEqual(await elements(), [])
  })

  test.serial('answers that a pod makes up, for itself or for another, change nothing', async t => {
    const [a] = net.nodes
    const port = ++sourcePort
    const forged = addressesOf(NAME, ['203.0.113.66'])
    await question(port)
    const dropped = async () => (await a.felix.droppedPackets()).get('foreign IPv4 source') ?? 0
    const before = await dropped()
    // under the address of the resolver's pod, of its Service, and under its own
    for (const [from, sport] of [
      [FAR, TARGET_PORT],
      [RESOLVER, 53],
      [OTHER, 53],
    ] as const)
      sendPacket(other, ipv4({ from, to: POD }, IP_PROTOCOL.udp, udp(sport, port, forged)))
    // a resolver of its own, which it answers for itself
    sendPacket(a.pod, ipv4({ from: POD, to: OTHER }, IP_PROTOCOL.udp, udp(port, 53)))
    sendPacket(other, ipv4({ from: OTHER, to: POD }, IP_PROTOCOL.udp, udp(53, port, forged)))
    await eventually('two are dropped', async () => (await dropped()) === before + 2)
    // what comes after all of these
    await ask(addressesOf(NAME, ['203.0.113.7']))
    await claimed('203.0.113.7')
    t.pass()
  })

  test.serial(
    'a resolver may be named by its address, and what is behind a Service is believed no more then',
    async t => {
      names.removeLocal(pods[0]!)
      names.close()
      startNames('10.96.0.11')
      await net.nodes[0].felix.inSync()
      await ask(addressesOf(NAME, ['203.0.113.8']))
      names.close()
      startNames(RESOLVER)
      await net.nodes[0].felix.inSync()
      await ask(addressesOf(NAME, ['203.0.113.9']))
      await claimed('203.0.113.9')
      t.pass()
    },
  )

  test.serial('a cache on the node itself is believed, whether its connections are tracked or not', async t => {
    const [a] = net.nodes
    const cache = '169.254.20.10'
    const loopback = (await a.host.kernel.link('lo'))!
    await a.host.kernel.addAddress({ ifindex: loopback.index, address: cache, length: 32, scope: 0 })
    names.removeLocal(pods[0]!)
    names.close()
    startNames(`k8s-service:kube-dns,${cache}`)
    await a.felix.inSync()
    const answered = async (address: string) => {
      const port = ++sourcePort
      using listener = listenUdp(a.host, cache, 53)
      sendPacket(a.pod, ipv4({ from: POD, to: cache }, IP_PROTOCOL.udp, udp(port, 53)))
      await eventually('the cache is asked', () => listener.heard() === 1)
      const answer = addressesOf(NAME, [address])
      sendPacket(a.host, ipv4({ from: cache, to: POD }, IP_PROTOCOL.udp, udp(53, port, answer)))
    }
    await answered('203.0.113.10')
    await claimed('203.0.113.10')
    // as NodeLocal DNSCache does it
    nft(
      netnsPath(a.host.name),
      ['-f', '-'],
      `table ip nodelocaldns {
        chain in { type filter hook prerouting priority raw; ip daddr ${cache} notrack; }
        chain out { type filter hook output priority raw; ip saddr ${cache} notrack; }
      }`,
    )
    await answered('203.0.113.11')
    await claimed('203.0.113.10', '203.0.113.11')
    const text = nft(netnsPath(a.host.name), ['list', 'table', 'inet', 'margay-policy'])
    for (const line of [
      'oifname @told_pods limit rate 5000/second burst 5000 packets log group 81 snaplen 9216 queue-threshold 1',
      'meta l4proto udp ct direction reply ct original ip daddr . ct original proto-dst @resolvers4 jump copy_answer',
      'ct state untracked ip saddr . udp sport @resolvers4 jump copy_answer',
    ])
      t.true(text.includes(line), line)
    t.regex(
      text,
      /udp ct direction reply ct original proto-dst 53 ct reply ip saddr \. meta l4proto \. ct reply proto-src @e4-/,
    )
    t.regex(text, /"calipod1" limit rate 500\/second burst 500 packets/)
  })
}

/** A packet as whoever must cut it sends it. */
function pieces(packet: Buffer): Buffer[] {
  const most = 1200
  const data = packet.subarray(20)
  if (data.length <= most) return [packet]
  return [0, most].map(at => {
    const piece = Buffer.concat([packet.subarray(0, 20), data.subarray(at, at + most)])
    piece.writeUInt16BE(piece.length, 2)
    piece.writeUInt16BE(0x4711, 4)
    piece.writeUInt16BE((at === 0 ? 0x2000 : 0) | (at / 8), 6)
    return piece
  })
}
