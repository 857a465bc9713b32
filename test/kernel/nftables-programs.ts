// Programs for nft(8) that between them use every object and every expression that Margay writes, and what tests do with
// what a kernel tells of them.
import { execFileSync } from 'node:child_process'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NftChange, NftElements, NftExpression, NftRuleset } from '../../kernel/port/nftables.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { POLICY_PROGRAMS, type Program } from './nftables-policy-programs.ts'

/** Rules in a chain that is reached from nowhere, beside what they refer to. */
const rules = (title: string, ...lines: string[]): Program => ({
  title,
  text: `
    set pods { type ipv4_addr; elements = { 10.244.0.1, 10.244.0.2 }; }
    set pools { type ipv4_addr; flags interval; elements = { 10.244.0.0/16, 10.245.0.1-10.245.0.9 }; }
    set pod_addresses { type ifname . ipv4_addr; elements = { "cali1" . 10.244.0.1 }; }
    set services { type ipv4_addr . inet_proto . inet_service; elements = { 10.96.0.1 . tcp . 443 }; }
    chain target { return; }
    map from_pod { type ifname : verdict; elements = { "cali1" : goto target }; }
    map marks { type ipv4_addr : mark; elements = { 10.244.0.1 : 0x10 }; }
    chain c { ${lines.join('; ')}; }`,
})

export const PROGRAMS: readonly Program[] = [
  ...POLICY_PROGRAMS,
  rules(
    'names of interfaces',
    'iifname "cali1" accept',
    'oifname "cali*" jump target',
    'iifname != "eth0" drop',
    'iifname vmap @from_pod',
    'iif 999 accept',
    'iifname { "cali1", "cali2" } accept',
    'iifname "cali1" oifname "cali2" accept',
    'iifname . oifname { "cali1" . "cali2" } accept',
  ),
  rules(
    'marks and other meta keys',
    'meta mark 0x00000010 accept',
    'meta mark & 0x000000f0 == 0x00000010 accept',
    'meta mark & 0x00000010 != 0x00000010 drop',
    'meta mark set 0x00000005',
    'meta mark set meta mark | 0x00000001',
    'meta mark set meta mark & 0xffffff0f',
    'meta mark set meta mark ^ 0x00000003',
    'meta mark set meta mark & 0xffffff0f | 0x00000010',
    'meta mark set meta mark & 0x000000f0 ^ 0x00000001',
    'meta mark set ct mark & 0x000000ff',
    'meta mark vmap { 0x00000001 : drop, 0x00000002 : jump target }',
    'meta mark != { 0x00000001, 0x00000002 } drop',
    'meta mark set ct mark',
    'meta mark set ip saddr map @marks',
    'meta nfproto ipv6 accept',
    'meta l4proto tcp accept',
    'meta l4proto ipv6-icmp accept',
    'meta pkttype broadcast drop',
    'meta skuid 0 accept',
    'meta length 1400 accept',
  ),
  rules(
    'addresses',
    'ip saddr 10.244.0.1 accept',
    'ip saddr != 10.244.0.1 drop',
    'ip daddr 10.0.0.0/8 drop',
    'ip daddr 10.244.0.64/26 drop',
    'ip daddr != 10.244.0.64/26 drop',
    'ip saddr & 255.0.255.0 == 10.0.1.0 drop',
    'ip6 saddr fe80::/10 goto target',
    'ip6 daddr fd00::1 accept',
    'ip6 saddr != fd00::/64 drop',
    'ip saddr @pods accept',
    'ip saddr != @pools drop',
    'ip saddr { 10.1.0.0/16, 10.3.0.1 } drop',
    'ip saddr != { 10.1.0.1, 10.3.0.1 } drop',
    'ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 accept',
    'ip saddr . ip daddr { 10.1.0.1 . 10.1.0.2 } drop',
    'ether saddr ee:ee:ee:ee:ee:ee accept',
  ),
  rules(
    'protocols and ports',
    'ip protocol icmp accept',
    'ip6 nexthdr tcp accept',
    'tcp dport 80 accept',
    'udp sport 53 accept',
    'tcp dport != 22 drop',
    'tcp dport > 1023 drop',
    'tcp dport { 80, 443-450 } accept',
    'th dport 4789 drop',
    'tcp dport vmap { 80 : accept, 443 : drop }',
    'meta l4proto { tcp, udp } th dport 53 accept',
    'ip protocol . th dport { tcp . 53, udp . 53 } accept',
    'icmp type echo-request accept',
    'icmpv6 type nd-neighbor-solicit accept',
    'ip saddr . ip protocol . tcp dport @services accept',
    'ip saddr @pods tcp dport 80 ip daddr @pools accept',
    'meta nfproto ipv4 tcp dport 80 accept',
    'ip protocol tcp tcp dport 80 accept',
  ),
  rules(
    'connections',
    'ct state established,related accept',
    'ct state invalid drop',
    'ct state new accept',
    'ct state == new accept',
    'ct state new,untracked accept',
    'ct state vmap { invalid : drop, established : accept, related : accept }',
    'ct state { new, established } accept',
    'ct status ! dnat accept',
    'ct mark set ct mark | 0x00000001',
    'ct mark set meta mark & 0x000000ff',
    'ct original packets 5 accept',
    'ct zone 3 accept',
    'ct status dnat accept',
    'ct mark 0x00000001 accept',
    'ct mark & 0x000000f0 == 0x00000010 accept',
    'ct mark set meta mark',
    'ct mark set 0x00000007',
    'ct direction reply accept',
  ),
  rules(
    'routes of packets',
    'fib saddr . iif oif missing drop',
    'fib saddr . iif oif exists accept',
    'fib saddr . mark . iif oif missing drop',
    'fib saddr oif 0 drop',
    'fib daddr oifname "eth0" accept',
    'fib daddr type local accept',
    'fib daddr . iif type { local, broadcast } accept',
  ),
  rules(
    'verdicts, counters and comments',
    'accept',
    'drop',
    'return',
    'continue',
    'jump target',
    'goto target',
    'counter packets 0 bytes 0 accept',
    'counter packets 7 bytes 4711 drop',
    'iifname "cali1" drop comment "a pod that has no endpoint"',
  ),
  {
    title: 'masquerade of the family inet',
    text: `
      set pods { type ipv4_addr; elements = { 10.244.0.1 }; }
      set pools { type ipv4_addr; flags interval; elements = { 10.244.0.0/16 }; }
      chain post {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr @pods ip daddr != @pools masquerade
        ip saddr @pods ip daddr != @pools masquerade random,persistent
        oifname "eth0" masquerade fully-random
        meta l4proto tcp masquerade to :1024-2048
        meta l4proto udp masquerade to :1024
        meta nfproto ipv6 masquerade
      }`,
  },
  {
    title: 'other addresses for a connection, of the family inet',
    text: `
      chain post {
        type nat hook postrouting priority srcnat - 1; policy accept;
        oifname "tunl0" fib saddr type local fib saddr . oif type != local masquerade
        meta nfproto ipv4 meta l4proto tcp snat ip to 192.0.2.1:1024-2048 fully-random
        ip6 saddr fd00::/64 snat ip6 to 2001:db8::1
      }
      chain pre {
        type nat hook prerouting priority dstnat; policy accept;
        tcp dport 80 dnat ip to 10.244.0.1:8080
      }`,
  },
  {
    title: 'other addresses for a connection, of the family ip',
    family: 'ip',
    text: `
      chain post {
        type nat hook postrouting priority srcnat; policy accept;
        meta l4proto tcp masquerade to :1024-2048 fully-random
        ip saddr 10.244.0.0/16 snat to 192.0.2.1 fully-random
        ip saddr 10.245.0.0/16 snat to 192.0.2.1-192.0.2.9 persistent
        udp dport 53 snat to 192.0.2.1:1024
      }`,
  },
  {
    title: 'other addresses for a connection, of the family ip6',
    family: 'ip6',
    text: `
      chain post {
        type nat hook postrouting priority srcnat; policy accept;
        meta l4proto tcp snat to [2001:db8::1]:1024-2048
        masquerade fully-random
      }`,
  },
  {
    title: 'masquerade of the family ip',
    family: 'ip',
    text: `
      comment "addresses that leave the cluster"
      set pools { type ipv4_addr; flags interval; comment "IPPools"; elements = { 10.244.0.0/16, 255.255.0.0/16 }; }
      chain post {
        comment "pods that leave"
        type nat hook postrouting priority 100; policy accept;
        ip saddr @pools ip daddr != @pools counter packets 0 bytes 0 masquerade
      }`,
  },
  {
    title: 'anti-spoofing and dispatch per interface',
    text: `
      set pod_addresses { type ifname . ipv4_addr; elements = { "cali1" . 10.244.0.1, "cali2" . 10.244.0.2 }; }
      set pod_addresses6 { type ifname . ipv6_addr; elements = { "cali1" . fd00::1 }; }
      chain fp_a {
        ct state established,related return
        ip saddr @s4 tcp dport { 80, 443-450 } return
        drop
      }
      set s4 { type ipv4_addr; }
      map from_pod { type ifname : verdict; elements = { "cali1" : goto fp_a, "cali2" : drop }; }
      chain from {
        iifname vmap @from_pod
        drop
      }
      chain spoof {
        type filter hook prerouting priority raw; policy accept;
        iifname "cali*" fib saddr . iif oif missing drop comment "reverse path"
        iifname . ip saddr != @pod_addresses drop
        iifname . ip6 saddr != @pod_addresses6 drop
      }
      chain forwarded {
        type filter hook forward priority filter - 5; policy drop;
        iifname "cali*" jump from
      }`,
  },
  {
    title: 'sets and maps of every form',
    text: `
      set addresses6 { type ipv6_addr; elements = { fd00::1 comment "one", fd00::2 }; }
      set prefixes6 { type ipv6_addr; flags interval; elements = { fd00::/64, fe80::-fe80::9, ff00::/8 }; }
      set all4 { type ipv4_addr; flags interval; elements = { 0.0.0.0/0 }; }
      set edges4 { type ipv4_addr; flags interval; elements = { 0.0.0.0/8, 10.0.0.1, 10.0.0.2, 255.255.255.255 }; }
      set ports { type inet_service; flags interval; elements = { 80, 443-450, 65535 }; }
      set protocols { type inet_proto; elements = { tcp, udp, 42 }; }
      set marks { type mark; elements = { 0x1, 0xffffffff }; }
      set mark_ranges { type mark; flags interval; elements = { 0x1-0x2, 0x10/28 }; }
      set names { type ifname; size 64; elements = { "eth0", "lo" }; }
      set macs { type ether_addr; elements = { ee:ee:ee:ee:ee:ee }; }
      set kinds { type icmp_type; elements = { echo-request, 42 }; }
      set joined { type ipv4_addr . inet_proto . inet_service; elements = { 10.0.0.1 . tcp . 80 }; }
      set joined_ranges { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/24 . 80-90, 1.2.3.4 . 5 }; }
      set joined_marks { type ipv6_addr . mark; flags interval; elements = { fd00::/64 . 0x1-0x2 }; }
      set leases { type ipv4_addr; flags timeout; timeout 1h; gc-interval 10s; elements = { 10.0.0.1 timeout 2h }; }
      set links { type ether_type; elements = { ip, arp, 0x1234 }; }
      set families { type nf_proto; elements = { ipv4, ipv6 }; }
      set kinds6 { type icmpv6_type; elements = { echo-request, nd-neighbor-solicit }; }
      set indexes { type iface_index; elements = { 999 }; }
      set users { type uid; elements = { 4711 }; }
      set groups { type gid; elements = { 4711 }; }
      set states { type ct_state; elements = { established, new }; }
      set directions { type ct_dir; elements = { original, reply }; }
      set statuses { type ct_status; elements = { dnat, assured }; }
      set packets { type pkt_type; elements = { broadcast }; }
      set targets { type fib_addrtype; elements = { local, unicast }; }
      set counted { type ipv4_addr; counter; elements = { 10.0.0.1 counter packets 3 bytes 5 }; }
      set filled { type ipv4_addr; size 1000; flags dynamic,timeout; }
      set small { type ipv4_addr; policy memory; comment "few"; }
      map gateways { type ipv4_addr : ipv4_addr; elements = { 10.0.0.1 : 10.0.0.2 }; }
      map ranges { type ipv4_addr : mark; flags interval; elements = { 10.0.0.0/8 : 0x1, 11.0.0.0/8 : 0x2 }; }
      map joined_data { type mark : ipv4_addr . inet_service; elements = { 0x10 : 10.0.0.1 . 80 }; }
      map verdicts { type inet_service : verdict; flags interval; elements = { 1-1023 : drop, 8080 : accept }; }
      map defaults { type ifname : verdict; elements = { "lo" : accept, * : drop }; }`,
  },
  {
    title: 'what other programs write',
    foreign: true,
    text: `
      set odd { type devgroup; elements = { 3 }; }
      set odd_joined { type ipv4_addr . devgroup; elements = { 10.0.0.1 . 3 }; }
      set seen { typeof ip saddr; size 10; flags dynamic; }
      quota odd { over 10 mbytes; }
      chain c {
        quota over 10 mbytes drop
        quota name "odd" drop
        ct label 5 accept
        ip version 4 accept
        meta cpu 1 accept
        meta mark set meta mark << 1
        @nh,64,8 0x11 accept
      }`,
  },
  {
    title: 'chains of every hook',
    text: `
      chain a { type filter hook prerouting priority raw; policy accept; }
      chain b { type filter hook input priority 0; policy drop; }
      chain c { type filter hook forward priority filter; policy accept; }
      chain d { type filter hook output priority filter + 10; policy accept; }
      chain e { type nat hook prerouting priority dstnat; policy accept; }
      chain f { type route hook output priority mangle; policy accept; }
      chain g { type filter hook ingress device "lo" priority 0; policy accept; }
      chain h { }`,
  },
]

/** Not looked up by name: packages of npm have programs called nft, too. Runs nft(8) in the namespace with `text` as its input; what it prints. */
export function nft(netns: string, args: readonly string[], text = ''): string {
  return execFileSync(systemProgram('nsenter'), [`--net=${netns}`, '--', systemProgram('nft'), ...args], {
    input: text,
    encoding: 'utf8',
  })
}

/** The changes that make a table like one that a kernel told. Anonymous sets get a number in place of their name. */
export function changesOf({
  table,
  chains,
  sets,
  elements,
  objects,
  flowtables,
  rules: steps,
}: NftRuleset): NftChange[] {
  const ids = new Map(sets.filter(isAnonymous).map(({ name }, i) => [name, i + 1]))
  const renamed = (name: string) => (ids.has(name) ? '__set%d' : name)
  return [
    { verb: 'add', object: table },
    ...[...chains, ...objects, ...flowtables].map((object): NftChange => ({ verb: 'add', object })),
    ...sets.map(
      (set): NftChange => ({ verb: 'add', object: { ...set, name: renamed(set.name), id: ids.get(set.name) } }),
    ),
    ...elements.map((each): NftChange => {
      return { verb: 'add', object: { ...each, set: renamed(each.set), setId: ids.get(each.set) } }
    }),
    ...steps.map(({ handle: _, ...rule }): NftChange => {
      const lookUp = (step: NftExpression): NftExpression =>
        step.type === 'lookup' ? { ...step, set: renamed(step.set), setId: ids.get(step.set) } : step
      return { verb: 'add', object: { ...rule, expressions: rule.expressions.map(lookUp) } }
    }),
  ]
}

const isAnonymous = ({ flags }: { flags?: readonly string[] }) => flags?.includes('anonymous') === true

/** The elements of the anonymous sets of a table, by name. */
export function anonymousSets({ elements }: NftRuleset): (use: { set: string }) => NftElements | undefined {
  const found = new Map(elements.filter(isAnonymous).map(each => [each.set, each]))
  return ({ set }) => found.get(set)
}

/**
 * What two tables that mean the same have in common: without handles and generation, times that run, and the types that
 * nft 1.0.6 notes a second time beside joined and anonymous sets.
 */
export function comparable({ generation: _, ...ruleset }: NftRuleset): unknown {
  const sets = ruleset.sets.map(set => {
    const { userdata: octets, ...rest } = set
    return set.type.includes(' . ') || set.data?.includes(' . ') || isAnonymous(set) ? rest : set
  })
  const order = (each: { key: readonly string[] }) => each.key.join(' ')
  const elements = ruleset.elements.map(each => ({
    ...each,
    elements: each.elements
      .map(({ expiresMs: __, ...element }) => element)
      .sort((a, b) => (order(a) < order(b) ? -1 : 1)),
  }))
  const names = [...new Set(sets.filter(isAnonymous).map(({ name }) => name))]
  const text = JSON.stringify({ ...ruleset, sets, elements }, (key, value) =>
    key === 'handle' ? undefined : typeof value === 'bigint' ? `${value}` : value,
  )
  // the kernel numbers anonymous sets of a namespace
  return JSON.parse(names.reduce((sum, name, i) => sum.replaceAll(`"${name}"`, `"anonymous ${i}"`), text))
}

/** The table that `program` makes in the namespace, as the kernel tells it. */
export async function load(kernel: Kernel, netns: string, { family = 'inet', text }: Program): Promise<NftRuleset> {
  nft(netns, ['-f', '-'], `table ${family} t {\n${text}\n}\n`)
  return (await kernel.nftables({ family, name: 't' }))!
}

/** How many packets the counters with names of a table have seen. */
export async function namedCounters(
  kernel: Pick<Kernel, 'nftables'>,
  of: Parameters<Kernel['nftables']>[0],
): Promise<Map<string, number>> {
  const { objects } = (await kernel.nftables(of, { without: 'elements' }))!
  return new Map(
    objects.flatMap(({ name, state }) =>
      state.type === 'counter' ? [[name, Number(state.packets ?? 0n)] as const] : [],
    ),
  )
}
