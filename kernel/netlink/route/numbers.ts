// The registry of rtnetlink: every number of the kernel's headers that the codecs of this folder use, under the kernel's
// own words. Sources: linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/neighbour.h,
// linux/netconf.h, linux/nexthop.h, linux/fib_rules.h, linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h.

export const RTM = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  setLink: 19,
  newAddr: 20,
  delAddr: 21,
  getAddr: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
  newNeigh: 28,
  delNeigh: 29,
  getNeigh: 30,
  newRule: 32,
  delRule: 33,
  getRule: 34,
  newQdisc: 36,
  delQdisc: 37,
  getQdisc: 38,
  newTfilter: 44,
  delTfilter: 45,
  getTfilter: 46,
  newNetconf: 80,
  newNexthop: 104,
  delNexthop: 105,
  getNexthop: 106,
} as const

/** Multicast groups (RTNLGRP_*). */
export const GROUP = {
  link: 1,
  neigh: 3,
  tc: 4,
  ipv4Addr: 5,
  ipv4Route: 7,
  ipv4Rule: 8,
  ipv6Addr: 9,
  ipv6Route: 11,
  ipv6Rule: 19,
  ipv4Netconf: 24,
  ipv6Netconf: 25,
  nexthop: 32,
} as const

export const IFF = { up: 0x1, lowerUp: 0x10000 } as const

export const IFLA = {
  address: 1,
  ifname: 3,
  mtu: 4,
  link: 5,
  master: 10,
  linkinfo: 18,
  ifalias: 20,
  group: 27,
  netNsFd: 28,
  linkNetnsId: 37,
} as const
export const IFLA_INFO = { kind: 1, data: 2 } as const
export const VETH_INFO = { peer: 1 } as const
export const IFLA_VXLAN = { id: 1, link: 3, local: 4, learning: 7, port: 15, local6: 17 } as const
export const IFLA_VRF = { table: 1 } as const
export const IFLA_IPTUN = { local: 2, remote: 3 } as const

export const IFA = { address: 1, local: 2, flags: 8 } as const
export const IFA_F = { nodad: 0x2, tentative: 0x40 } as const

export const RTA = {
  dst: 1,
  src: 2,
  iif: 3,
  oif: 4,
  gateway: 5,
  priority: 6,
  prefsrc: 7,
  metrics: 8,
  multipath: 9,
  table: 15,
  mark: 16,
  via: 18,
  ipProto: 27,
  sport: 28,
  dport: 29,
  nhId: 30,
} as const
export const RTAX = { mtu: 2 } as const
export const RTM_F = { cloned: 0x200, lookupTable: 0x1000, fibMatch: 0x2000 } as const
export const RTNH_F = { onlink: 0x4 } as const

export const NHA = { id: 1, group: 2, groupType: 3, oif: 5, gateway: 6, resGroup: 12 } as const
export const NHA_RES_GROUP = { buckets: 1, idleTimer: 2 } as const
export const NEXTHOP_GRP_TYPE = { resilient: 1 } as const

/** FRA_*; those of `mark` and `mask` are FRA_FWMARK and FRA_FWMASK, of `users` FRA_UID_RANGE, of `protocol` FRA_IP_PROTO. */
export const FRA = {
  destination: 1,
  source: 2,
  iifname: 3,
  goto: 4,
  priority: 6,
  mark: 10,
  suppressedLength: 14,
  table: 15,
  mask: 16,
  oifname: 17,
  l3mdev: 19,
  users: 20,
  protocol: 22,
  sourcePorts: 23,
  destinationPorts: 24,
} as const
export const FIB_RULE = { invert: 0x2 } as const

export const NDA = { dst: 1, lladdr: 2, ifindex: 8 } as const
export const NTF = { self: 0x2, proxy: 0x8 } as const
export const NUD = {
  incomplete: 0x1,
  reachable: 0x2,
  stale: 0x4,
  delay: 0x8,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
} as const

export const NETCONFA = { ifindex: 1, forwarding: 2, rpFilter: 3, proxyNeigh: 5 } as const
export const NETCONFA_IFINDEX = { all: -1, default: -2 } as const

export const TCA = { kind: 1, options: 2 } as const
export const TCA_TBF = { parms: 1, rate64: 4, peakRate64: 5, burst: 6, peakBurst: 7 } as const
export const TCA_U32 = { sel: 5, act: 7 } as const
export const TCA_ACT = { kind: 1, options: 2 } as const
export const TCA_MIRRED = { parms: 2 } as const
export const TC_H = { root: 0xffff_ffff, ingress: 0xffff_fff1, ingressHandle: 0xffff_0000 } as const
export const TC_U32 = { terminal: 1 } as const
export const TC_ACT = { stolen: 4, egressRedirect: 1 } as const
