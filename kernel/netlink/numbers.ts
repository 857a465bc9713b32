// The registry of netlink itself: the numbers that every family of netlink sockets shares, under the kernel's own words.
// Source: linux/netlink.h.

/** Families of netlink sockets (NETLINK_*). */
export const NETLINK = { route: 0, netfilter: 12 } as const

export const AF = { unspec: 0, inet: 2, bridge: 7, inet6: 10, netlink: 16 } as const

export const NLM_F = {
  request: 0x1,
  multi: 0x2,
  ack: 0x4,
  dumpInterrupted: 0x10,
  replace: 0x100,
  excl: 0x200,
  create: 0x400,
  append: 0x800,
  /** On requests that read: root | match. */
  dump: 0x300,
  /** On errors: the request is not quoted in full. */
  capped: 0x100,
  /** On errors: attributes follow. */
  ackAttributes: 0x200,
} as const

export const NLMSG = { error: 2, done: 3 } as const
export const NLMSGERR_ATTR = { message: 1, offset: 2 } as const
/** Bits of an attribute's type: it holds attributes; its number is big-endian. */
export const NLA_F = { nested: 0x8000, netByteOrder: 0x4000 } as const

export const SOL_NETLINK = 270
/** The socket options that every socket has on. */
export const NETLINK_OPTION = { noEnobufs: 5, capAck: 10, extAck: 11, getStrictCheck: 12 } as const
