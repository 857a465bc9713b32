// The registry of NFLOG: the numbers of its messages and their attributes, under the kernel's own words.
// Source: linux/netfilter/nfnetlink_log.h.

export const NFULNL_MSG = { packet: 0, config: 1 } as const
export const NFULNL_CFG_CMD = { bind: 1 } as const
export const NFULNL_COPY = { packet: 2 } as const
/** The kernel numbers the copies of each reader. */
export const NFULNL_CFG_F = { seq: 1 } as const

export const NFULA_CFG = { cmd: 1, mode: 2, nlbufsiz: 3, timeout: 4, qthresh: 5, flags: 6 } as const
export const NFULA = {
  packetHdr: 1,
  mark: 2,
  timestamp: 3,
  ifindexIndev: 4,
  ifindexOutdev: 5,
  payload: 9,
  prefix: 10,
  seq: 12,
} as const
