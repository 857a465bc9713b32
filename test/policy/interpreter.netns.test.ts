// The interpreter beside the kernel: the same rules, which nft wrote, and the same packets. Every rule counts what it is about;
// the counters must be those of the interpreter, rule by rule and packet by packet.
import { writeFileSync } from 'node:fs'
import test from 'ava'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { netnsPath, runInNetns } from '../../kernel/netns.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NftRule, NftRuleset } from '../../kernel/port/nftables.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { formatAddress } from '../../lib/ip.ts'
import { ethernet, extension, ipv4, ipv6, sendFrame, udp } from '../felix/frames.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot, type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'
import { interpreter } from './interpreter.ts'
import { type Headers, octetsOf } from './packets.ts'

/** What rules can ask. Each is asked of every packet, before connections are tracked and where the packet is forwarded. */
const QUESTIONS = [
  'meta nfproto ipv4',
  'meta nfproto ipv6',
  'iifname "cali1"',
  'iifname "cali*"',
  'iifname != "cali1"',
  'oifname "uplink"',
  'oifname "up*"',
  'ip saddr 10.1.0.1',
  'ip saddr != 10.1.0.1',
  'ip daddr 10.2.0.0/16',
  'ip daddr != 10.2.0.0/17',
  'ip daddr & 255.0.255.0 == 10.0.0.0',
  'ip6 saddr fd01::1',
  'ip6 daddr fd02::/64',
  'ip6 daddr != fd02::/127',
  'ip saddr @pods',
  'ip saddr != @pods',
  'ip6 saddr @pods6',
  'ip daddr @nets',
  'ip daddr != @nets',
  'ip6 daddr @nets6',
  'ip daddr @everything',
  'iifname . ip saddr @of_interface',
  'iifname . ip6 saddr @of_interface6',
  'ip daddr . meta l4proto . th dport @named',
  'ip6 daddr . meta l4proto . th dport @named6',
  'ip daddr . th dport @boxes',
  'meta l4proto tcp',
  'meta l4proto { tcp, udp }',
  'meta l4proto != { tcp, udp }',
  'meta l4proto ipv6-icmp',
  'ip protocol udp',
  'ip6 nexthdr udp',
  'tcp dport 80',
  'tcp dport != 80',
  'tcp sport 40000',
  'tcp dport { 80, 443-450 }',
  'tcp dport != { 80, 443-450 }',
  'tcp dport 79-81',
  'tcp dport < 80',
  'tcp dport >= 80',
  'udp dport 53',
  'udp dport @ports',
  'sctp dport 80',
  'th dport 80',
  'meta l4proto { tcp, udp } th dport 53-80',
  'icmp type echo-request',
  'icmp type { echo-request, echo-reply } icmp code 0',
  'icmpv6 type echo-request',
  'ether saddr 02:00:00:00:00:01',
  'ct state new',
  'ct state established,related',
  'ct state invalid',
  'ct state new,invalid',
  'ct direction original',
  'ct direction reply',
  'meta mark 0x00000000',
  'meta mark & 0x000000f0 == 0x00000010',
  'ip saddr . ip daddr { 10.1.0.1 . 10.2.0.2 }',
  'tcp flags syn',
  'tcp dport != 80-81',
  'meta length 20-60',
  'limit rate 100/second',
  'limit rate over 100/second',
  'limit name "few"',
  'counter name "seen"',
  'ct count over 1000',
  'meta mark < 0x00000010',
  'ct original ip saddr 10.1.0.1',
  'log group 7',
]

const SETS = `
  counter seen { }
  limit few { rate 1000/second }
  set pods { type ipv4_addr; elements = { 10.1.0.1, 10.1.0.7 }; }
  set pods6 { type ipv6_addr; elements = { fd01::1 }; }
  set nets { type ipv4_addr; flags interval; elements = { 10.2.0.0/31, 10.2.0.3-10.2.0.4, 203.0.113.0/24 }; }
  set nets6 { type ipv6_addr; flags interval; elements = { fd02::/127, fd02::4 }; }
  set everything { type ipv4_addr; flags interval; elements = { 0.0.0.0/0 }; }
  set of_interface { type ifname . ipv4_addr; elements = { "cali1" . 10.1.0.1 }; }
  set of_interface6 { type ifname . ipv6_addr; elements = { "cali1" . fd01::1 }; }
  set named { type ipv4_addr . inet_proto . inet_service; elements = { 10.2.0.2 . tcp . 80, 10.2.0.2 . sctp . 80 }; }
  set named6 { type ipv6_addr . inet_proto . inet_service; elements = { fd02::2 . udp . 53 }; }
  set boxes { type ipv4_addr . inet_service; flags interval; elements = { 10.2.0.0/30 . 80-81, 10.2.0.4 . 53 }; }
  set ports { type inet_service; flags interval; elements = { 53, 80-81 }; }`

/** How rules lead to others: the counters tell the way. */
const WAYS = `
  map by_port { type inet_service : verdict; flags interval; elements = { 53 : jump b, 80-81 : goto c, 443 : drop, 65535 : return }; }
  map by_interface { type ifname : verdict; elements = { "cali1" : goto own, "cali2" : drop }; }
  map rest { type ipv4_addr : verdict; elements = { 10.2.0.3 : accept, * : continue }; }
  chain a { counter; th dport vmap @by_port; counter; }
  chain b { counter; ip daddr 10.2.0.1 return; counter; meta l4proto udp accept; counter; }
  chain c { counter; meta l4proto tcp drop; counter; }
  chain own { counter; ip daddr vmap @rest; counter; jump a; counter; icmp type echo-request drop; counter; }
  chain dispatch { counter; iifname vmap @by_interface; counter; }
  chain way { type filter hook forward priority 10; policy drop; counter; meta nfproto ipv4 jump dispatch; counter; meta nfproto ipv6 accept; }
  chain end { type filter hook postrouting priority 0; policy accept; iifname "cali1" oifname "uplink" counter; }`

const asked = QUESTIONS.map(question => `    ${question} counter`).join('\n')
const PROGRAM = `
table inet t {
  ${SETS}
  chain early { type filter hook prerouting priority raw; policy accept;
    ip6 saddr { ::, fe80::/10 } accept comment "what the node itself tells its neighbours, and hears of it"
${asked}
  }
  chain forwarded { type filter hook forward priority 0; policy accept;
${asked}
  }
  ${WAYS}
}`

const FROM_4 = { from: '10.1.0.1', to: '10.2.0.2' }
const FROM_6 = { from: 'fd01::1', to: 'fd02::2' }
const ports = (destinationPort: number, sourcePort = 40_000) => ({ sourcePort, destinationPort })

const HEADERS: readonly Headers[] = [
  ...[80, 79, 82, 81, 443, 446, 53, 65_535, 1].map(port => ({ ...FROM_4, protocol: 6, ...ports(port) })),
  ...['10.2.0.1', '10.2.0.3', '10.2.0.4', '203.0.113.9'].map(to => ({
    from: '10.1.0.2',
    to,
    protocol: 6,
    ...ports(80),
  })),
  ...[53, 80, 54].map(port => ({ ...FROM_4, protocol: 17, ...ports(port) })),
  { from: '10.1.0.7', to: '10.2.0.1', protocol: 17, ...ports(53, 53) },
  { ...FROM_4, protocol: 132, ...ports(80) },
  { ...FROM_4, protocol: 1, icmp: { type: 8, code: 0 } },
  { from: '10.1.0.1', to: '10.2.0.3', protocol: 1, icmp: { type: 8, code: 0 } },
  { ...FROM_4, protocol: 47 },
  { ...FROM_6, protocol: 6, ...ports(80) },
  { ...FROM_6, protocol: 17, ...ports(53) },
  { from: 'fd01::2', to: 'fd02::1', protocol: 17, ...ports(80) },
  { from: 'fd01::2', to: 'fd02::4', protocol: 132, ...ports(80) },
  { ...FROM_6, protocol: 58, icmp: { type: 128, code: 0 } },
]

const datagram = udp(40_001, 53, Buffer.alloc(24))
const PACKETS: readonly Uint8Array[] = [
  ...HEADERS.map(octetsOf),
  ipv6(FROM_6, 60, extension(17, datagram)),
  // a source port of its own: each is the first packet of a connection
  ...['10.2.0.2', '10.2.0.1'].map((to, i) => ipv4({ from: '10.1.0.1', to }, 17, udp(40_002 + i, 65_535))),
]

/** A node that forwards from cali1 to its uplink; frames are sent from the other ends. */
async function prepare(node: Kernel, theirs: ScratchNetns): Promise<void> {
  for (const [name, peer] of [
    ['cali1', 'pod0'],
    ['uplink', 'out0'],
  ] as const) {
    await node.createLink({ kind: 'veth', name, peer: { name: peer, netns: theirs.path } })
    const { index } = (await node.link(name))!
    await node.setLink(index, { up: true })
    const dst = name === 'cali1' ? ['10.1.0.0/16', 'fd01::/64'] : ['10.2.0.0/16', '203.0.113.0/24', 'fd02::/64']
    for (const each of dst) {
      const [refused] = await node.changeRoutes([
        {
          verb: 'add',
          route: {
            dst: each,
            table: ROUTE_TABLE.main,
            type: 'unicast',
            protocol: ROUTE_PROTOCOL.boot,
            scope: each.includes(':') ? ROUTE_SCOPE.universe : ROUTE_SCOPE.link,
            ifindex: index,
          },
        },
      ])
      if (refused !== undefined) throw refused
    }
  }
  node.writeSysctl('ipv4', ['conf', 'all', 'forwarding'], '1')
  node.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
  node.writeSysctl('ipv4', ['conf', 'all', 'rp_filter'], '0')
  node.writeSysctl('ipv4', ['conf', 'cali1', 'rp_filter'], '0')
}

function endsOf(bytes: Uint8Array): { from: string; to: string } {
  const [at, length] = bytes[0]! >> 4 === 4 ? [12, 4] : [8, 16]
  const address = (from: number) => formatAddress(bytes.slice(from, from + length))
  return { from: address(at), to: address(at + length) }
}

/** How often each rule counted, by its place in the dump. */
function counts({ rules }: NftRuleset): number[] {
  return rules.map(({ expressions }) => {
    const counter = expressions.find(each => each.type === 'counter')
    return counter?.type === 'counter' ? Number(counter.packets ?? 0n) : 0
  })
}

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('rules are compared with a kernel by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

netns(
  'rules match the packets in the interpreter that they match in the kernel, and lead them the same way',
  async t => {
    using nodeNetns = scratchNetns()
    using theirs = scratchNetns()
    using host = openKernel()
    using node = host.inside(nodeNetns.path)
    using other = host.inside(theirs.path)
    await prepare(node, theirs)
    for (const name of ['pod0', 'out0']) await other.setLink((await other.link(name))!.index, { up: true })
    nft(nodeNetns.path, ['-f', '-'], PROGRAM)
    // packets have no checksums of their transport
    runInNetns(netnsPath(nodeNetns.name), () => writeFileSync('/proc/sys/net/netfilter/nf_conntrack_checksum', '0'))
    const mac = (await node.link('cali1'))!.mac!
    const read = async () => (await node.nftables({ family: 'inet', name: 't' }))!
    const rules = await read()
    const walk = interpreter([rules])
    const named = (rule: NftRule) => {
      const at = rules.rules.filter(({ chain }) => chain === rule.chain).indexOf(rule)
      const question = { early: QUESTIONS[at - 1], forwarded: QUESTIONS[at] }[rule.chain]
      return `${rule.chain}, ${question ?? `rule ${at}`}`
    }
    for (const [i, bytes] of PACKETS.entries()) {
      const before = counts(await read())
      const frame = ethernet({ from: '02:00:00:00:00:01', to: mac }, bytes[0]! >> 4 === 4 ? 0x800 : 0x86dd, bytes)
      sendFrame(theirs, 'pod0', frame)
      const after = counts(await read())
      const kernel = after.map((count, at) => count - before[at]!)
      const own = walk({ bytes, link: frame.subarray(0, 14), iif: 'cali1', oif: 'uplink', original: endsOf(bytes) })
      const counted = rules.rules.map(rule =>
        rule.expressions.some(({ type }) => type === 'counter')
          ? own.rules.filter(each => each.rule === rule).length
          : 0,
      )
      const differing = rules.rules
        .map((rule, at) => ({ rule: named(rule), kernel: kernel[at], own: counted[at] }))
        .filter(({ kernel: a, own: b }) => a !== b)
      t.deepEqual(differing, [], `packet ${i}: ${Buffer.from(bytes).toString('hex')}`)
    }
  },
)
