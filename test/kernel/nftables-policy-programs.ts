// Programs for nft(8) with what policies need: ports and protocols of every form, limits, logs, refusals, marks of packets
// and connections, elements that packets make, and objects with names. Used by the tests of nftables-programs.ts.

/** `foreign`: Margay keeps what it says, and has no words for it. `needs`: what some kernels lack. */
export type Program = {
  title: string
  family?: 'inet' | 'ip' | 'ip6'
  text: string
  foreign?: true
  needs?: 'flowtables'
}

const STATE = `
  set addresses { type ipv4_addr; size 100; flags dynamic,timeout; timeout 1m; }
  set names { type ifname; size 100; flags dynamic; }
  set pairs { type ipv4_addr . inet_service; size 100; flags dynamic; }
  set sources6 { type ipv6_addr; size 100; flags dynamic; }
  map marked { type ipv4_addr : ipv4_addr; size 100; flags dynamic,timeout; timeout 1h; }
  counter hits { comment "of the first rule"; packets 3 bytes 4; }
  counter others { packets 0 bytes 0; }
  limit few { rate 10/second burst 7 packets; }
  limit many { rate over 10 mbytes/second; }
  chain target { return; }`

/** Rules in a chain that is reached from nowhere, in a table of the family inet where nothing else is said. */
const rules = (title: string, lines: readonly string[], family?: Program['family']): Program => ({
  title: family === undefined ? title : `${title}, of the family ${family}`,
  ...(family !== undefined && { family }),
  text: `${STATE}\nchain c { ${lines.join('; ')}; }`,
})

const dscp = (field: string) => [
  `${field} cs1 accept`,
  `${field} != af11 accept`,
  `${field} 0x03 accept`,
  `${field} { cs1, ef } accept`,
  `${field} != { cs1, ef } accept`,
  `${field} set cs1`,
  `${field} set cs0`,
  `${field} set ef`,
  `${field} set 0x3f`,
]

const LIMITS = [
  'limit rate 5/second accept',
  'limit rate over 5/second burst 7 packets drop',
  'limit rate 10/minute accept',
  'limit rate 10/hour accept',
  'limit rate 10/day accept',
  'limit rate 10/week accept',
  'limit rate 10 mbytes/second accept',
  'limit rate 1500 bytes/second burst 3000 bytes accept',
  'limit rate over 10 kbytes/minute burst 2 kbytes drop',
  'limit rate over 3000 mbytes/second drop',
  'ct count 10 accept',
  'ct count over 10 reject with icmpx admin-prohibited',
]

export const POLICY_PROGRAMS: readonly Program[] = [
  rules('ports and their ranges', [
    'tcp dport 80-90 accept',
    'tcp dport != 80-90 accept',
    'tcp dport >= 80 accept',
    'tcp dport < 80 accept',
    'udp dport { 53, 80-90 } accept',
    'udp dport != { 53, 80-90 } accept',
    'sctp dport 3868 accept',
    'sctp sport 1-1023 drop',
    'sctp dport { 1, 5-9 } accept',
    'th sport 53 accept',
    'meta l4proto { tcp, udp, sctp } th dport 80-90 accept',
    'th dport { 53, 55-60 } accept',
    'tcp sport 1 tcp dport 2 accept',
    'udp sport . udp dport { 53 . 53 } accept',
    'tcp dport vmap { 1-1023 : drop, 8080 : jump target, * : accept }',
    'udp dport vmap { 53 : accept, 5353 : drop }',
    'tcp flags syn accept',
    'tcp flags == syn accept',
    'tcp flags syn / syn,ack accept',
    'tcp flags != syn / fin,syn,rst,ack drop',
    'meta length > 1400 accept',
    'meta length 100-200 accept',
  ]),
  rules('messages of ICMP', [
    'icmp type destination-unreachable icmp code frag-needed accept',
    'icmp type echo-request icmp code 0 accept',
    'icmp code port-unreachable accept',
    'icmp type { echo-request, 42 } accept',
    'icmp type != { echo-request, echo-reply } drop',
    'icmp type . icmp code { destination-unreachable . frag-needed } accept',
    'icmpv6 type packet-too-big icmpv6 code no-route accept',
    'icmpv6 type nd-redirect drop',
    'icmpv6 code addr-unreachable accept',
    'icmpv6 type { 1-4, echo-request } accept',
  ]),
  rules('addresses of both families', [
    'ip saddr 10.0.0.1-10.0.0.5 accept',
    'ip saddr != 10.0.0.0-10.0.0.255 drop',
    'ip6 saddr fd00::1-fd00::5 accept',
    'ip6 daddr != fd00::1-fd00::5 accept',
    'ip saddr 10.0.0.1 ip daddr 10.0.0.2 accept',
    'ip6 saddr fd00::1 ip6 daddr fd00::2 accept',
    'ip saddr { 10.0.0.0/8, 11.0.0.1, 12.0.0.1-12.0.0.9 } accept',
    'ip6 saddr { fd00::/64, fd01::1 } accept',
    'ip6 saddr != { fd00::/64, fd01::1 } drop',
    'ip saddr vmap { 10.0.0.0/8 : drop, 11.0.0.1 : jump target }',
    'ip6 saddr vmap { fd00::/64 : drop, fd01::1 : goto target }',
    'ip saddr . tcp dport { 10.0.0.0/8 . 80-90, 11.0.0.1 . 4 } accept',
    'ip6 saddr . udp dport { fd00::/64 . 80-90 } accept',
    'ip saddr . meta l4proto . th dport { 10.0.0.0/8 . tcp . 1-1023, 11.0.0.0/8 . udp . 53 } accept',
    'ip saddr . tcp dport vmap { 10.0.0.0/8 . 80-90 : accept, 11.0.0.1 . 4 : drop }',
    'ip saddr . ip daddr { 10.0.0.1 . 10.0.0.2 } drop',
    'ip protocol { tcp, udp } accept',
    'ip6 nexthdr { tcp, udp } accept',
    'ip protocol != tcp drop',
    'ip ttl 1 drop',
    'ip6 hoplimit < 2 drop',
    'iifname { "cali*", "lo" } accept',
    'iifname vmap { "lo" : accept, "cali*" : drop }',
    'meta mark 0x00000001-0x00000005 accept',
    'meta mark { 0x00000001-0x00000005, 0x00000009 } accept',
  ]),
  rules('both ends of connections', [
    'ct original ip daddr 10.0.0.1 accept',
    'ct original ip saddr 10.0.0.0/8 accept',
    'ct original ip saddr != 10.0.0.0/9 accept',
    'ct reply ip6 saddr fd00::1 accept',
    'ct original ip6 daddr fd00::/64 accept',
    'meta l4proto tcp ct original proto-dst 80 accept',
    'meta l4proto udp ct reply proto-src 53 accept',
    'ct original ip daddr { 10.0.0.0/8, 11.0.0.1 } accept',
    'ct original ip saddr . ct original ip daddr { 10.0.0.1 . 10.0.0.2 } accept',
    'ct original packets > 10 accept',
    'ct status dnat accept',
    'ct status snat,dnat accept',
    'ct zone set 9',
    'ct mark set 0x00000007',
    'meta mark set 0x00000007',
    'meta mark set ct mark',
    'notrack',
    'iifname "cali1" notrack',
  ]),
  rules('limits', LIMITS),
  rules(
    'limits',
    LIMITS.filter(line => !line.includes('icmpx')),
    'ip6',
  ),
  rules('logs', [
    'log',
    'log prefix "x y"',
    'log group 5',
    'log prefix "x" group 5 snaplen 128 queue-threshold 20',
    'log prefix "x" group 0',
    'log prefix "x" level debug',
    'log level emerg',
    'log level info flags all',
    'log flags tcp sequence',
    'log level info flags tcp sequence,options flags ip options flags skuid flags ether',
    'log flags tcp options flags skuid',
    'log level audit',
    'limit rate 10/second burst 20 packets log prefix "margay:1" group 11 drop',
  ]),
  rules('refusals', [
    'reject',
    'reject with icmpx port-unreachable',
    'reject with icmpx admin-prohibited',
    'reject with icmpx no-route',
    'reject with icmp host-unreachable',
    'reject with icmp port-unreachable',
    'reject with icmp 42',
    'reject with icmpv6 admin-prohibited',
    'reject with icmpv6 port-unreachable',
    'meta l4proto tcp reject with tcp reset',
    'ip saddr 10.0.0.1 reject',
    'ip6 saddr fd00::1 reject with icmpv6 no-route',
    'tcp dport 80 reject with tcp reset',
  ]),
  rules(
    'refusals',
    ['reject', 'reject with icmp host-prohibited', 'reject with tcp reset', 'tcp dport 80 reject with tcp reset'],
    'ip',
  ),
  rules('refusals', ['reject', 'reject with icmpv6 addr-unreachable', 'reject with tcp reset'], 'ip6'),
  rules('fields that are written', [
    ...dscp('ip dscp'),
    ...dscp('ip6 dscp'),
    'ip ecn ce accept',
    'ip ttl set 3',
    'ip6 hoplimit set 3',
    'tcp dport set 80',
    'udp dport set 53',
    'sctp dport set 53',
    'ip saddr set 10.0.0.1',
    'ip6 daddr set fd00::1',
    'meta pkttype set host',
    'meta nftrace set 1',
  ]),
  rules('fields that are written', dscp('ip dscp'), 'ip'),
  rules('fields that are written', dscp('ip6 dscp'), 'ip6'),
  rules('elements that packets make', [
    'update @addresses { ip saddr timeout 10s }',
    'add @addresses { ip saddr }',
    'add @addresses { ip saddr timeout 1h counter }',
    'delete @addresses { ip daddr }',
    'update @names { iifname counter }',
    'add @names { iifname limit rate over 10/second } drop',
    'add @names { iifname limit rate over 10 mbytes/second burst 5 mbytes } drop',
    'add @names { iifname ct count over 10 } drop',
    'add @names { iifname limit rate 10/second counter } accept',
    'update @pairs { ip saddr . tcp dport limit rate 10/second burst 3 packets } accept',
    'add @sources6 { ip6 saddr ct count over 3 } reject',
    'add @marked { ip saddr : ip daddr }',
    'update @marked { ip saddr timeout 10s : ip daddr }',
  ]),
  rules('objects with names', [
    'counter name "hits"',
    'ip saddr 10.0.0.1 counter name "hits" accept',
    'counter name "others" drop',
    'limit name "few" accept',
    'limit name "many" drop',
  ]),
  {
    title: 'sets whose elements count and limit',
    text: `
      set rates { type ifname; size 100; flags dynamic; limit rate over 1/second; elements = { "cali1" limit rate over 10/second burst 3 packets }; }
      set connections { type ifname; size 100; flags dynamic; ct count over 1; }
      set timed { type ipv4_addr; size 100; flags dynamic,timeout; counter; elements = { 10.0.0.1 counter packets 3 bytes 4 timeout 1h comment "x" }; }
      set limited { type ipv4_addr . inet_service; size 100; flags dynamic; limit rate 1/second; comment "by address"; }
      set dscps { type dscp; elements = { cs1, ef }; }
      set tcp_flags { type tcp_flag; elements = { syn, ack }; }
      set codes { type icmp_code; elements = { frag-needed }; }
      set codes6 { type icmpv6_code; elements = { no-route }; }
      set wild { type ifname; flags interval; elements = { "cali*", "eth0" }; }
      set wild_addresses { type ifname . ipv4_addr; flags interval; elements = { "cali*" . 10.0.0.0/8 }; }
      map by_range { type ipv4_addr . inet_service : verdict; flags interval; elements = { 10.0.0.0/8 . 80-90 : drop }; }
      chain c {
        iifname @rates drop
        iifname @connections drop
        iifname . ip saddr @wild_addresses accept
      }`,
  },
  {
    title: 'ranges with an element for all others, whose commands nft 1.0.6 crashes on',
    foreign: true,
    text: `
      map rest { type inet_service : verdict; flags interval; elements = { 1-1023 : drop, * : accept }; }
      map rest6 { type ipv6_addr . inet_service : verdict; flags interval; elements = { fd00::/64 . 1-9 : drop, * : accept }; }
      set rest4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, * }; }`,
  },
  {
    title: 'flows past the hooks',
    needs: 'flowtables',
    text: `
      flowtable flows { hook ingress priority filter + 5; devices = { lo }; counter; }
      flowtable others { hook ingress priority filter; }
      chain forward {
        type filter hook forward priority filter; policy accept;
        flow add @flows
        ct state established ct original packets > 10 flow add @others
        meta l4proto { tcp, udp } ct packets > 10 flow add @flows
      }`,
  },
]
