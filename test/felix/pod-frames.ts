// Frames that a pod sends as a program can that has NET_RAW, for the pod of the first of two nodes, and the counter of the
// pod filter that each one meets.
import { vtepMac } from '../../felix/calc/tunnels.ts'
import { HOST_MAC } from '../../kernel/pod-interface.ts'
import {
  arp,
  checksum,
  ETHERTYPE,
  ethernet,
  extension,
  IP_PROTOCOL,
  icmp,
  ipv4,
  ipv6,
  onlyFragment,
  tagged,
  udp,
  vxlan,
} from './frames.ts'

export const POD = '10.244.1.5'
export const FAR_POD = '10.244.2.5'
const POD_MAC = '02:00:00:00:01:05'
const LINK_LOCAL = 'fe80::ff:fe00:105'
export const NODE = '192.168.10.11'
export const FAR_NODE = '192.168.20.12'
export const ALL_NODES = 'ff02::1'
export const PORT = 7777

type Frame = readonly [what: string, frame: Buffer, counter: string | undefined]

export const fromPod = (type: keyof typeof ETHERTYPE, payload: Buffer) =>
  ethernet({ from: POD_MAC, to: HOST_MAC }, ETHERTYPE[type], payload)
export const udp4 = (from: string, to: string, sport = 5000, dport = PORT) =>
  fromPod('ipv4', ipv4({ from, to }, IP_PROTOCOL.udp, udp(sport, dport)))
const udp6 = (from: string, to: string, sport = 5000, dport = PORT) =>
  fromPod('ipv6', ipv6({ from, to }, IP_PROTOCOL.udp, udp(sport, dport)))
const icmp4 = (type: number) => fromPod('ipv4', ipv4({ from: POD, to: NODE }, IP_PROTOCOL.icmp, icmp(type)))
export const icmp6 = (from: string, to: string, type: number, target = '::') =>
  fromPod('ipv6', ipv6({ from, to }, IP_PROTOCOL.icmpv6, icmp(type, ipv6Octets(target))))
export const arpFrom = (operation: 'request' | 'reply', from: string) =>
  fromPod('arp', arp(operation, POD_MAC, { from, to: '169.254.1.1' }))

function ipv6Octets(address: string): Buffer {
  return ipv6({ from: address, to: '::' }, 0, Buffer.alloc(0)).subarray(8, 24)
}

/** A datagram for the pod of the other node, in VXLAN as the two nodes speak it. */
export function inVxlan(to: 'n1' | 'n2'): Buffer {
  const ends = to === 'n2' ? { from: '10.244.1.9', to: FAR_POD } : { from: '10.244.2.9', to: POD }
  const inner = ipv4(ends, IP_PROTOCOL.udp, udp(5000, PORT))
  return vxlan(4096, ethernet({ from: '66:00:00:00:00:99', to: vtepMac(to) }, ETHERTYPE.ipv4, inner))
}

const FOREIGN = 'foreign IPv4 source'
const FROM_NODE = ipv4({ from: NODE, to: FAR_POD }, IP_PROTOCOL.udp, udp(5000, PORT))
const ERROR = 'error about the packet of another'

/** An ICMP error that quotes a packet: of type 3 one that was too big for a link with an MTU of 560. */
function error4(type: number, quoted: Buffer, which?: 'first fragment' | 'last fragment'): Buffer {
  const message = icmp(type, quoted)
  if (type === 3) message.set([4, 0, 0, 0, 0, 560 >> 8, 560 & 0xff], 1)
  message.writeUInt16BE(checksum(message), 2)
  return fromPod('ipv4', ipv4({ from: POD, to: NODE }, IP_PROTOCOL.icmp, message, which))
}

function error6(quoted: Buffer, type = 2): Buffer {
  return fromPod('ipv6', ipv6({ from: LINK_LOCAL, to: ALL_NODES }, IP_PROTOCOL.icmpv6, icmp(type, quoted)))
}

function vxlanToFarNode(): Buffer {
  return ipv4({ from: NODE, to: FAR_NODE }, IP_PROTOCOL.udp, udp(5000, 4789, inVxlan('n2')))
}

/** What a pod sends and which counter it meets; undefined: it passes. */
export const FRAMES: readonly Frame[] = [
  ['its own IPv4 address', udp4(POD, FAR_POD), undefined],
  ['its own address in an ARP request', arpFrom('request', POD), undefined],
  ['its own link-local address', udp6(LINK_LOCAL, ALL_NODES), undefined],
  ['its own address in a neighbour advertisement', icmp6(LINK_LOCAL, ALL_NODES, 136, LINK_LOCAL), undefined],
  ['a neighbour solicitation', icmp6(LINK_LOCAL, ALL_NODES, 135, 'fe80::1'), undefined],
  ['another pod’s IPv4 address', udp4('10.244.1.6', FAR_POD), 'foreign IPv4 source'],
  ['the node’s IPv4 address', udp4(NODE, FAR_POD), 'foreign IPv4 source'],
  ['no IPv4 address', udp4('0.0.0.0', '255.255.255.255', 68, 67), 'foreign IPv4 source'],
  ['a loopback address', udp4('127.0.0.1', NODE), 'foreign IPv4 source'],
  ['to a loopback address', udp4(POD, '127.0.0.1'), 'loopback destination'],
  ['to another loopback address', udp4(POD, '127.8.8.8'), 'loopback destination'],
  ['another pod’s IPv6 address', udp6('fd00:1::6', ALL_NODES), 'foreign IPv6 source'],
  ['the gateway’s link-local address', udp6('fe80::ecee:eeff:feee:eeee', ALL_NODES), 'foreign IPv6 source'],
  ['a neighbour solicitation of another', icmp6('fe80::1', ALL_NODES, 135, LINK_LOCAL), 'foreign IPv6 source'],
  ['no IPv6 address', icmp6('::', ALL_NODES, 135, LINK_LOCAL), 'no IPv6 source'],
  [
    'another’s neighbour advertisement',
    icmp6(LINK_LOCAL, ALL_NODES, 136, 'fe80::1'),
    'foreign neighbour advertisement',
  ],
  ['a router advertisement', icmp6(LINK_LOCAL, ALL_NODES, 134), 'router advertisement'],
  [
    'a router advertisement behind an extension header',
    fromPod('ipv6', ipv6({ from: LINK_LOCAL, to: ALL_NODES }, IP_PROTOCOL.options, extension(58, icmp(134)))),
    'router advertisement',
  ],
  ['the node’s address behind a priority tag', fromPod('vlan', tagged(0, ETHERTYPE.ipv4, FROM_NODE)), FOREIGN],
  [
    'the node’s address behind two of them',
    fromPod('vlan', tagged(0, ETHERTYPE.vlan, tagged(0, ETHERTYPE.ipv4, FROM_NODE))),
    FOREIGN,
  ],
  [
    'the node’s address in another VLAN, which is nobody’s',
    fromPod('vlan', tagged(5, ETHERTYPE.ipv4, FROM_NODE)),
    undefined,
  ],
  [
    'the node’s address behind a priority tag of 802.1ad',
    fromPod('serviceVlan', tagged(0, ETHERTYPE.ipv4, FROM_NODE)),
    FOREIGN,
  ],
  [
    'another’s ARP request behind a priority tag',
    fromPod('vlan', tagged(0, ETHERTYPE.arp, arp('request', POD_MAC, { from: '10.244.1.6', to: '169.254.1.1' }))),
    'foreign ARP sender',
  ],
  [
    'a router advertisement in the only fragment of a packet',
    fromPod('ipv6', ipv6({ from: LINK_LOCAL, to: ALL_NODES }, IP_PROTOCOL.fragment, onlyFragment(58, icmp(134)))),
    'router advertisement',
  ],
  ['an IPv4 router advertisement', icmp4(9), 'router advertisement'],
  ['an IPv6 redirect', icmp6(LINK_LOCAL, ALL_NODES, 137), 'redirect'],
  ['an IPv4 redirect', icmp4(5), 'redirect'],
  ['a packet to its gateway', udp4(POD, '169.254.1.1', 1, 2), 'forwarded to the address of the pods’ gateway'],
  ['a DHCP offer', udp4(POD, '255.255.255.255', 67, 68), 'DHCP server'],
  ['a DHCP offer from another port', udp4(POD, NODE, 6767, 68), 'DHCP server'],
  ['a DHCPv6 advertisement', udp6(LINK_LOCAL, ALL_NODES, 547), 'DHCP server'],
  ['a DHCPv6 advertisement from another port', udp6(LINK_LOCAL, ALL_NODES, 5470, 546), 'DHCP server'],
  ['an error about a packet to it', error4(3, ipv4({ from: NODE, to: POD }, 17, udp(1, 2))), undefined],
  ['“too big” about VXLAN of its node', error4(3, vxlanToFarNode()), ERROR],
  [
    'the same in fragments: the first one waits for the other',
    error4(3, vxlanToFarNode(), 'first fragment'),
    undefined,
  ],
  ['the same in fragments', error4(3, vxlanToFarNode(), 'last fragment'), ERROR],
  ['“time exceeded” about another’s packet', error4(11, ipv4({ from: NODE, to: FAR_POD }, 17, udp(1, 2))), ERROR],
  ['an IPv6 error about a packet to it', error6(ipv6({ from: 'fe80::1', to: LINK_LOCAL }, 17, udp(1, 2))), undefined],
  ['an IPv6 error about another’s packet', error6(ipv6({ from: 'fe80::1', to: 'fe80::2' }, 17, udp(1, 2))), ERROR],
  ['one of a type that is none yet', error6(ipv6({ from: 'fe80::1', to: 'fe80::2' }, 17, udp(1, 2)), 100), ERROR],
  ['another’s ARP request', arpFrom('request', '10.244.1.6'), 'foreign ARP sender'],
  ['another’s ARP reply', arpFrom('reply', '169.254.1.1'), 'foreign ARP sender'],
  [
    'IP-in-IP to the other node',
    fromPod(
      'ipv4',
      ipv4({ from: POD, to: FAR_NODE }, IP_PROTOCOL.ipip, ipv4({ from: POD, to: FAR_POD }, 17, udp(1, PORT))),
    ),
    'forwarded IP-in-IP that no node sent',
  ],
  [
    'VXLAN to the other node',
    fromPod('ipv4', ipv4({ from: POD, to: FAR_NODE }, IP_PROTOCOL.udp, udp(5000, 4789, inVxlan('n2')))),
    'forwarded VXLAN that no node sent',
  ],
  [
    'VXLAN to its own node',
    fromPod('ipv4', ipv4({ from: POD, to: NODE }, IP_PROTOCOL.udp, udp(5000, 4789, inVxlan('n1')))),
    'VXLAN that no node sent',
  ],
]
