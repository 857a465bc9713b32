// The registry of nftables: the numbers of the kernel's header that the codecs of this folder use, under the kernel's
// own words. Sources: linux/netfilter/nf_tables.h, linux/netfilter.h; for userdata, libnftnl's udata.h.

export const NFT_MSG = {
  newTable: 0,
  getTable: 1,
  delTable: 2,
  newChain: 3,
  getChain: 4,
  delChain: 5,
  newRule: 6,
  getRule: 7,
  delRule: 8,
  newSet: 9,
  getSet: 10,
  delSet: 11,
  newSetElem: 12,
  getSetElem: 13,
  delSetElem: 14,
  newGen: 15,
  getGen: 16,
  trace: 17,
  newObject: 18,
  getObject: 19,
  delObject: 20,
  newFlowtable: 22,
  getFlowtable: 23,
  delFlowtable: 24,
} as const

/** NFPROTO_* by nft's word. */
export const NFPROTO = { inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 } as const

/** The hooks of a family by nft's word (NF_INET_*, NF_ARP_*, NF_NETDEV_*). */
const INET_HOOKS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4, ingress: 5 } as const
export const HOOKS = {
  inet: INET_HOOKS,
  ip: INET_HOOKS,
  ip6: INET_HOOKS,
  bridge: INET_HOOKS,
  arp: { input: 0, output: 1, forward: 2 },
  netdev: { ingress: 0, egress: 1 },
} as const

export const NFT_SET_F = {
  anonymous: 0x1,
  constant: 0x2,
  interval: 0x4,
  map: 0x8,
  timeout: 0x10,
  dynamic: 0x20,
  concat: 0x80,
} as const
export const NFT_SET_ELEM_F = { intervalEnd: 0x1, catchall: 0x2 } as const
/** The data type of a verdict map. */
export const NFT_DATA_VERDICT = 0xffffff00

export const NFTA_TRACE = {
  table: 1,
  chain: 2,
  ruleHandle: 3,
  type: 4,
  verdict: 5,
  id: 6,
  networkHeader: 8,
  transportHeader: 9,
  iif: 10,
  oif: 12,
  policy: 16,
} as const
/** NFT_TRACETYPE_*. */
export const TRACE_TYPE = { policy: 1, return: 2, rule: 3 } as const

/** Verdicts, as the kernel's signed numbers. */
export const VERDICT = { drop: 0, accept: 1, continue: -1, break: -2, jump: -3, goto: -4, return: -5 } as const

export const META_KEY = {
  length: 0,
  protocol: 1,
  priority: 2,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  iiftype: 8,
  oiftype: 9,
  skuid: 10,
  skgid: 11,
  nftrace: 12,
  nfproto: 15,
  l4proto: 16,
  pkttype: 19,
  iifgroup: 21,
  oifgroup: 22,
} as const

export const CT_KEY = {
  state: 0,
  direction: 1,
  status: 2,
  mark: 3,
  expiration: 5,
  l3proto: 7,
  protocol: 10,
  packets: 14,
  bytes: 15,
  zone: 17,
  id: 23,
  'ip saddr': 19,
  'ip daddr': 20,
  'ip6 saddr': 21,
  'ip6 daddr': 22,
  'proto-src': 11,
  'proto-dst': 12,
} as const

export const CT_DIRECTION = { original: 0, reply: 1 } as const
export const PAYLOAD_BASE = { link: 0, network: 1, transport: 2 } as const
export const CMP_OP = { eq: 0, neq: 1, lt: 2, lte: 3, gt: 4, gte: 5 } as const
export const BYTEORDER_OP = { ntoh: 0, hton: 1 } as const
export const RANGE_OP = { eq: 0, neq: 1 } as const
export const DYNSET_OP = { add: 0, update: 1, delete: 2 } as const
/** NFT_DYNSET_F_*: `several` says that there is a list of expressions. */
export const DYNSET_F = { inverted: 0x1, several: 0x2 } as const
export const PAYLOAD_CHECKSUM = { none: 0, inet: 1, sctp: 2 } as const
export const PAYLOAD_CHECKSUM_F = { 'pseudo-header': 0x1 } as const
export const LIMIT_UNIT = { packets: 0, bytes: 1 } as const
/** Seconds. */
export const LIMIT_PER = { second: 1, minute: 60, hour: 3600, day: 86_400, week: 604_800 } as const
/** LOGLEVEL_*, and 8 for the audit subsystem. */
export const LOG_LEVEL = {
  emerg: 0,
  alert: 1,
  crit: 2,
  err: 3,
  warn: 4,
  notice: 5,
  info: 6,
  debug: 7,
  audit: 8,
} as const
export const LOG_F = { 'tcp-sequence': 0x1, 'tcp-options': 0x2, 'ip-options': 0x4, skuid: 0x8, ether: 0x20 } as const
export const REJECT_WITH = { icmp: 0, 'tcp reset': 1, icmpx: 2 } as const
/** NFT_OBJECT_* of what Margay has words for. */
export const OBJECT_TYPE = { counter: 1, limit: 4, connlimit: 5 } as const
export const FLOWTABLE_F = { offload: 0x1, counter: 0x2 } as const
export const FIB_RESULT = { oif: 1, oifname: 2, type: 3 } as const
export const FIB_F = { saddr: 0x1, daddr: 0x2, mark: 0x4, iif: 0x8, oif: 0x10, present: 0x20 } as const
/** NF_NAT_RANGE_* that masquerading takes. */
export const MASQ_F = { ports: 0x2, random: 0x4, persistent: 0x8, 'fully-random': 0x10 } as const
export const NAT_F = { addresses: 0x1, ...MASQ_F } as const
export const NAT_TYPE = { source: 0, destination: 1 } as const
export const NAT_FAMILY = { ip: NFPROTO.ip, ip6: NFPROTO.ip6 } as const

/** What nft keeps in userdata, as type u8 | length u8 | value. */
export const UDATA = {
  comment: 0,
  /** Of elements (u32 in the machine's order): 1 says that a range has no end. */
  elementFlags: 1,
  /** Of sets: the byte order of keys and of data (u32 in the machine's order: 1 host, 2 big-endian), and the comment. */
  setKeyByteOrder: 0,
  setDataByteOrder: 1,
  /** Of maps: whether data are ranges (u32 in the machine's order). */
  setDataInterval: 6,
  setComment: 7,
} as const
