// What the pod filter does to packets, on the real kernel: a pod that sends any octets it likes over its interface, one
// without any capability, a stranger on the node's LAN; and what becomes of the filter when others touch it. All tests
// share two nodes, and every test leaves them as it found them.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'ava'
import { podFilterPrograms } from '../../felix/calc/pod-filter.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { NftTables } from '../../kernel/reconcile/nft-tables.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { ETHERTYPE, ethernet, IP_PROTOCOL, ipv4, listenRaw, listenUdp, sendFrame, sourceRouted, udp } from './frames.ts'
import { isRoot, sweep } from './netns.ts'
import { eventually } from './node-kernel.ts'
import {
  ALL_NODES,
  arpFrom,
  FAR_NODE,
  FAR_POD,
  FRAMES,
  fromPod,
  icmp6,
  inVxlan,
  NODE,
  POD,
  PORT,
  udp4,
} from './pod-frames.ts'
import { type Net, type Node, startFelix, twoNodes } from './two-nodes.ts'

const TUNNELS = { vxlan: true, vxlanPort: 4789 }

if (!isRoot)
  test('the pod filter on the real kernel', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  let net: Net
  const healed: string[] = []
  /** Sends, and waits until a rule has dropped so many packets more. */
  const dropped = async ({ felix }: Node, name: string, send: () => void, packets = 1) => {
    const count = async () => (await felix.droppedPackets()).get(name) ?? 0
    const before = await count()
    send()
    await eventually(name, async () => (await count()) === before + packets)
  }
  /** Without the filter of the first node what was sent must arrive, or the test shows nothing. */
  const withoutFilter = async ({ felix, host }: Node, body: () => Promise<void>) => {
    await felix.close()
    nft(netnsPath(host.name), ['delete', 'table', 'inet', 'margay'])
    await body()
    await restart()
  }
  const restart = async () => {
    const [a] = net.nodes
    await a.felix.close()
    a.felix = startFelix(a, { onRepair: ({ object: { kind, name } }) => healed.push(`${kind} ${name}`) })
    await a.felix.inSync()
  }

  test.before(async () => {
    net = await twoNodes({ podMacs: true })
    await restart()
  })
  test.after.always(() => net?.[Symbol.asyncDispose]())

  test.serial(
    'what a pod with raw sockets sends under its own addresses passes, all else is dropped and counted by its rule',
    async t => {
      const [a] = net.nodes
      using listener = listenUdp(net.nodes[1].pod, '0.0.0.0', PORT)
      const before = await a.felix.droppedPackets()
      for (const [what, frame, counter] of FRAMES) {
        const seen = (await a.felix.droppedPackets()).get(counter ?? '') ?? 0
        sendFrame(a.pod, 'eth0', frame)
        if (counter === undefined) continue
        await eventually(`${what}: ${counter}`, async () => ((await a.felix.droppedPackets()).get(counter) ?? 0) > seen)
      }
      const now = await a.felix.droppedPackets()
      const expected = new Map(before)
      for (const [, , counter] of FRAMES)
        if (counter !== undefined) expected.set(counter, (expected.get(counter) ?? 0) + 1)
      t.deepEqual(now, expected)
      // of all frames to the far pod's port one was its own, and all others are counted by now
      const heard: number[] = []
      await eventually('the far pod hears it', () => heard.push(listener.heard()) > 0 && heard.some(count => count > 0))
      t.is(Math.max(...heard), 1)
    },
  )

  test.serial(
    'nft lists the filter in words, and beside fields that it has none for a comment says what they are',
    t => {
      const text = nft(netnsPath(net.nodes[0].host.name), ['list', 'table', 'inet', 'margay'])
      const lines = text.split('\n').filter(line => /@th,|@nh,|0x|unknown|invalid/.test(line))
      for (const line of lines) t.regex(line, /@th,(64,128|192,32|256,128) .* comment "/)
      t.true(lines.length >= 8 && lines.length <= 9, text)
    },
  )

  test.serial('a pod without any capability cannot put a packet into another pod through VXLAN', async t => {
    const [a, b] = net.nodes
    using listener = listenUdp(b.pod, '0.0.0.0', PORT)
    const count = async (node: Node, name: string) => (await node.felix.droppedPackets()).get(name) ?? 0
    const sent = await count(a, 'forwarded VXLAN that no node sent')
    await sendPlainUdp(a.pod.name, FAR_NODE, inVxlan('n2'))
    await eventually(
      'its own node drops it',
      async () => (await count(a, 'forwarded VXLAN that no node sent')) === sent + 1,
    )
    // even where its own node lets it out, no other node takes it
    await a.felix.close()
    nft(netnsPath(a.host.name), ['delete', 'table', 'inet', 'margay'])
    const strange = await count(b, 'VXLAN that no node sent')
    await sendPlainUdp(a.pod.name, FAR_NODE, inVxlan('n2'))
    await eventually('the other node drops it', async () => (await count(b, 'VXLAN that no node sent')) === strange + 1)
    t.is(listener.heard(), 0)
    // without the filter of either node it arrives: what was sent is good
    await b.felix.close()
    nft(netnsPath(b.host.name), ['delete', 'table', 'inet', 'margay'])
    await sendPlainUdp(a.pod.name, FAR_NODE, inVxlan('n2'))
    await eventually('the far pod hears it', () => listener.heard() === 1)
    b.felix = startFelix(b)
    await b.felix.inSync()
    await restart()
  })

  test.serial(
    'a stranger on the LAN cannot put a packet into a pod, and a node cannot through another address',
    async t => {
      const [a] = net.nodes
      using listener = listenUdp(a.pod, '0.0.0.0', PORT)
      const to = (await a.host.kernel.link('eth0'))!.mac!
      const outer = (source: string, target: string) =>
        ethernet(
          { from: '02:00:00:00:00:99', to },
          ETHERTYPE.ipv4,
          ipv4({ from: source, to: target }, IP_PROTOCOL.udp, udp(5000, 4789, inVxlan('n1'))),
        )
      const { index } = (await a.host.kernel.link('eth0'))!
      await a.host.kernel.addAddress({ ifindex: index, address: '192.168.10.200', length: 32, scope: 0 })
      for (const [source, target, counter] of [
        ['192.168.10.77', NODE, 'VXLAN that no node sent'],
        [FAR_NODE, '192.168.10.200', 'VXLAN to another address'],
      ] as const) {
        const before = (await a.felix.droppedPackets()).get(counter) ?? 0
        sendFrame(net.router, 'lan1', outer(source, target))
        await eventually(counter, async () => ((await a.felix.droppedPackets()).get(counter) ?? 0) === before + 1)
      }
      t.is(listener.heard(), 0)
      // the same from the other node's address, to the address that tunnels end at, arrives
      sendFrame(net.router, 'lan1', outer(FAR_NODE, NODE))
      await eventually('the pod hears it', () => listener.heard() === 1)
      // a node with IP-in-IP guards that too; this kernel may have none, so its rules alone are written
      await a.felix.close()
      const tables = new NftTables(a.host.kernel)
      const programs = podFilterPrograms(
        { table: 'margay', interfacePrefix: 'cali' },
        { ...TUNNELS, ipip: true, vxlanOverIpv6: false },
      )
      for (const [key, program] of programs) tables.wantTable(key, program)
      t.deepEqual((await tables.put()).refused, [])
      const inner = ipv4({ from: '10.244.2.9', to: POD }, IP_PROTOCOL.udp, udp(5000, PORT))
      const bare = ipv4({ from: '192.168.10.77', to: NODE }, IP_PROTOCOL.ipip, inner)
      sendFrame(net.router, 'lan1', ethernet({ from: '02:00:00:00:00:99', to }, ETHERTYPE.ipv4, bare))
      await eventually('it is dropped', async () => (await tables.counted()).get('IP-in-IP that no node sent') === 1)
      await restart()
      t.false((await a.felix.droppedPackets()).has('IP-in-IP that no node sent'))
    },
  )

  test.serial(
    'no IP-in-IP of a pod reaches a receiver on the other node, which hears it without the filter',
    async t => {
      const [a, b] = net.nodes
      using receiver = listenRaw(b.host, IP_PROTOCOL.ipip)
      const inner = ipv4({ from: '10.244.1.9', to: FAR_POD }, IP_PROTOCOL.udp, udp(5000, PORT))
      const send = () =>
        sendFrame(a.pod, 'eth0', fromPod('ipv4', ipv4({ from: POD, to: FAR_NODE }, IP_PROTOCOL.ipip, inner)))
      await dropped(a, 'forwarded IP-in-IP that no node sent', send)
      await withoutFilter(a, async () => {
        t.is(receiver.heard(), 0)
        send()
        await eventually('the receiver hears it', () => receiver.heard() === 1)
      })
    },
  )

  test.serial(
    'tunnel packets that DNAT leads to a node are dropped, of a pod and of a stranger, although its node masquerades',
    async t => {
      const [a, b] = net.nodes
      using listener = listenUdp(b.pod, '0.0.0.0', PORT)
      const service = '10.96.0.1'
      nft(
        netnsPath(a.host.name),
        ['-f', '-'],
        `table ip service {
           chain to { type nat hook prerouting priority dstnat
             ip daddr { ${service}, ${NODE} } udp dport 53 dnat to ${FAR_NODE}:4789
           }
           chain from { type nat hook postrouting priority srcnat
             udp dport 4789 masquerade
           }
         }
`,
      )
      const to = (await a.host.kernel.link('eth0'))!.mac!
      const asked = (from: string, target: string) =>
        ipv4({ from, to: target }, IP_PROTOCOL.udp, udp(5000, 53, inVxlan('n2')))
      const sendAll = [
        () => sendFrame(a.pod, 'eth0', fromPod('ipv4', asked(POD, service))),
        () =>
          sendFrame(
            net.router,
            'lan1',
            ethernet({ from: '02:00:00:00:00:99', to }, ETHERTYPE.ipv4, asked('192.168.10.77', NODE)),
          ),
      ]
      for (const send of sendAll) await dropped(a, 'forwarded VXLAN that no node sent', send)
      await withoutFilter(a, async () => {
        t.is(listener.heard(), 0)
        for (const send of sendAll) {
          send()
          await eventually('the far pod hears it', () => listener.heard() === 1)
        }
      })
      nft(netnsPath(a.host.name), ['delete', 'table', 'ip', 'service'])
    },
  )

  test.serial(
    'no packet of a pod says itself where its node shall send it on, where the node allows that to others',
    async t => {
      const [a] = net.nodes
      using listener = listenUdp(a.host, '127.0.0.1', PORT)
      const own = ['conf', 'calipod1', 'accept_source_route']
      const send = () =>
        sendFrame(a.pod, 'eth0', fromPod('ipv4', sourceRouted({ from: POD, to: NODE }, '127.0.0.1', udp(5000, PORT))))
      a.host.kernel.writeSysctl('ipv4', ['conf', 'all', 'accept_source_route'], '1')
      t.is(a.host.kernel.readSysctl('ipv4', own), '0')
      send()
      await a.felix.close()
      a.host.kernel.writeSysctl('ipv4', own, '1')
      send()
      await eventually('with the setting on it is heard', () => listener.heard() === 1)
      a.host.kernel.writeSysctl('ipv4', ['conf', 'all', 'accept_source_route'], '0')
      await restart()
    },
  )

  test.serial('a pod that answers for many addresses leaves the neighbour tables of its node as they are', async t => {
    const [a] = net.nodes
    const entries = async () => {
      const links = await a.host.kernel.links()
      return (await Promise.all(links.map(({ index }) => a.host.kernel.neighbours(index)))).flat().length
    }
    const before = await entries()
    await dropped(
      a,
      'foreign ARP sender',
      () => {
        for (let i = 0; i < 30; i++) sendFrame(a.pod, 'eth0', arpFrom(i % 2 === 0 ? 'request' : 'reply', `10.9.0.${i}`))
        for (let i = 0; i < 30; i++) sendFrame(a.pod, 'eth0', icmp6(`fe80::9:${i}`, ALL_NODES, 135, 'fe80::1'))
      },
      30,
    )
    t.is(await entries(), before)
  })

  test.serial('nothing from a pod reaches a loopback listener of the node, although route_localnet is on', async t => {
    const [a] = net.nodes
    using listener = listenUdp(a.host, '127.0.0.1', PORT)
    t.is(a.host.kernel.readSysctl('ipv4', ['conf', 'calipod1', 'route_localnet']), '1')
    const before = (await a.felix.droppedPackets()).get('loopback destination')!
    sendFrame(a.pod, 'eth0', udp4(POD, '127.0.0.1'))
    await eventually(
      'it is dropped',
      async () => (await a.felix.droppedPackets()).get('loopback destination') === before + 1,
    )
    t.is(listener.heard(), 0)
    await a.felix.close()
    nft(netnsPath(a.host.name), ['delete', 'table', 'inet', 'margay'])
    sendFrame(a.pod, 'eth0', udp4(POD, '127.0.0.1'))
    await eventually('without the filter it is heard', () => listener.heard() === 1)
    await restart()
  })

  test.serial('a restart writes nothing into the pod filter, so that it has no gap', async t => {
    const [a] = net.nodes
    const generation = async () => (await a.host.otherProgram.nftables({ family: 'inet', name: 'margay' }))!.generation
    const before = await generation()
    await restart()
    t.is(await generation(), before)
  })

  test.serial(
    'a person reads the pod filter with nft, and a flush by hand is healed within a second and told',
    async t => {
      const [a] = net.nodes
      const listed = nft(netnsPath(a.host.name), ['list', 'table', 'inet', 'margay'])
      for (const line of [
        'elements = { "calipod1" . 10.244.1.5 }',
        'iifname "cali*" jump from_pod',
        'iifname . ip saddr != @pod_ipv4 jump foreign_ipv4',
        'type filter hook prerouting priority raw; policy accept;',
      ])
        t.true(listed.includes(line), listed)
      t.regex(
        listed,
        /iifname \. ip saddr != @allowed_ipv4 counter packets \d+ bytes \d+ drop comment "foreign IPv4 source"/,
      )
      t.regex(listed, /ip6 saddr @nodes_ipv6 counter packets \d+ bytes \d+ drop comment "source of a node"/)
      t.regex(listed, /ip6 saddr fe80::\/10 counter packets \d+ bytes \d+ drop comment "link-local source"/)
      t.regex(listed, /fib saddr type local counter packets \d+ bytes \d+ drop comment "source of a node"/)
      t.regex(
        listed,
        /ip saddr != @nodes udp dport 4789 counter packets \d+ bytes \d+ drop comment "VXLAN that no node sent"/,
      )
      t.regex(nft(netnsPath(a.host.name), ['list', 'table', 'arp', 'margay']), /iifname \. arp saddr ip != @pod_ipv4/)

      healed.length = 0
      for (const damage of [
        ['flush', 'ruleset'],
        ['flush', 'chain', 'inet', 'margay', 'from_pod'],
        ['add', 'table', 'inet', 'margay', '{ flags dormant; }'],
      ]) {
        const lines = () => nft(netnsPath(a.host.name), ['-s', 'list', 'ruleset']).split('\n').sort()
        const before = lines()
        healed.length = 0
        nft(netnsPath(a.host.name), damage)
        const tookMs = await eventually(damage.join(' '), () => healed.includes('NftTable inet margay'))
        t.log(`${damage.join(' ')}: ${Math.round(tookMs)} ms`)
        t.deepEqual(lines(), before)
      }
    },
  )
}

/** Sends one datagram to the VXLAN port as a user without capabilities. */
async function sendPlainUdp(netns: string, to: string, payload: Buffer): Promise<void> {
  const user = ['--setuid', '65534', '--setgid', '65534']
  const command = `exec ${systemProgram('cat')} > /dev/udp/${to}/4789`
  const args = [`--net=${netnsPath(netns)}`, ...user, '--', systemProgram('bash'), '-c', command]
  const sender = spawn(systemProgram('nsenter'), args, { stdio: ['pipe', 'inherit', 'inherit'] })
  sender.stdin.end(payload)
  const [code] = await once(sender, 'exit')
  if (code !== 0) throw new Error(`a user without capabilities could not send: ${code}`)
}
