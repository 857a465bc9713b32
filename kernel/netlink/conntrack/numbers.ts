// The registry of conntrack's netlink messages, under the kernel's own words. Source: linux/netfilter/nfnetlink_conntrack.h.

/** IPCTNL_MSG_CT_*. */
export const CT_MSG = { get: 1, delete: 2 } as const
export const CTA = { tupleOrig: 1, tupleReply: 2, status: 3, id: 12, zone: 18, filter: 25 } as const
export const CTA_TUPLE = { ip: 1, proto: 2, zone: 3 } as const
export const CTA_IP = { v4Src: 1, v4Dst: 2, v6Src: 3, v6Dst: 4 } as const
export const CTA_PROTO = {
  num: 1,
  srcPort: 2,
  dstPort: 3,
  icmpId: 4,
  icmpType: 5,
  icmpCode: 6,
  icmpv6Id: 7,
  icmpv6Type: 8,
  icmpv6Code: 9,
} as const
export const CTA_FILTER = { origFlags: 1, replyFlags: 2 } as const
/** CTA_FILTER_F_CTA_IP_SRC: a dump asks for the source of a tuple. */
export const CTA_FILTER_IP_SRC = 1
/** IPS_*. */
export const IPS_EXPECTED = 1
export const IPS_SEEN_REPLY = 2
