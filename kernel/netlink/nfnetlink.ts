// What all subsystems of netfilter's netlink family share. Every body begins with nfgenmsg: family u8 | version u8 |
// resource id u16 (big-endian); a message's type is subsystem u8 | operation u8. Requests between BATCH_BEGIN and
// BATCH_END are one transaction. Source: linux/netfilter/nfnetlink.h.
import type { NlWriter } from './message.ts'
import type { Request } from './requests.ts'

/** Octets of nfgenmsg. */
export const NFGENMSG = 4
/** NFNL_SUBSYS_*. */
export const NFNL_SUBSYSTEM = { conntrack: 1, ulog: 4, nftables: 10 } as const
/** NFNLGRP_*. */
export const NFNL_GROUP = { nftables: 7, nftrace: 9 } as const
const NFNL_MSG = { batchBegin: 16, batchEnd: 17 } as const
const NFNL_BATCH = { generation: 1 } as const

export function emitNfHeader(w: NlWriter, family: number, resource = 0): void {
  w.u8(family).u8(0).u16be(resource)
}

/**
 * The requests with what makes a transaction of them around, so that request `i` is at `i + 1`. With `generation` the
 * kernel refuses it (ERESTART) when the subsystem's state is of another one.
 */
export function batchOf(subsystem: number, requests: readonly Request[], generation?: number): Request[] {
  const begin: Request = {
    type: NFNL_MSG.batchBegin,
    body: w => {
      emitNfHeader(w, 0, subsystem)
      if (generation !== undefined) w.nest(NFNL_BATCH.generation, () => w.u32be(generation))
    },
  }
  return [begin, ...requests, { type: NFNL_MSG.batchEnd, body: w => emitNfHeader(w, 0, subsystem) }]
}
