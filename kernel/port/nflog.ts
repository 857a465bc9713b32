// Copies of packets that rules hand out (`log group N` of nftables, NFLOG). Part of the kernel port. A copy is made beside the
// packet's way: whatever the reader does, or does not, holds no packet up.
// Hazards: what is in a copy was written by whoever sent the packet. Copies wait in a queue of the kernel of bounded size
// and are dropped where it is full, so a reader that decides by them must live with gaps; how many is told.
import type { Family } from '../../lib/ip.ts'
import type { NftHook } from './nftables.ts'

/** One copy. */
export type NflogPacket = {
  family: Family
  /** As the rule has it; empty without one. */
  prefix: string
  hook: NftHook
  /** Interfaces by their index: where the packet came in, and where it goes. */
  inputIndex?: number
  outputIndex?: number
  /** Absent: 0. */
  mark?: number
  /** When the packet was received, in milliseconds since 1970; absent where the kernel did not note it, as of what this host sends. */
  timestampMs?: number
  /** The packet from its IP header on: its first octets, as many as the reader and the rule ask for. */
  payload: Buffer
}

export type NflogOptions = {
  /** 1 to 65535. A group has one reader in its network namespace; several groups may be read at once. */
  group: number
  /** Octets of each packet that are copied, 1 to 9216. */
  copyOctets: number
  /** The kernel hands on so many copies at once, 1 to 1000, */
  batch: number
  /** or those that it has after this time: 10 to 10,000, rounded down to tens. */
  batchMs: number
  /** Octets of copies that wait for us, with what the kernel keeps around each (about 33 KiB for a small batch). */
  queueOctets: number
  /** Copies in order. What it throws ends the process. */
  received(packets: readonly NflogPacket[]): void
  /** So many copies were dropped since the last ones, because the queue was full, or made no sense. */
  lost(count: number): void
}

export type NflogPort = {
  /**
   * Reads the copies of a group from now on, in this port's network namespace; `close` is final, and nothing is told after it. Keeps
   * the process alive. Throws `KernelError`: EPERM where another has the group, or this user has not the right; EPROTONOSUPPORT, EINVAL or ENOENT where the
   * kernel has no NFLOG.
   */
  nflog(options: NflogOptions): { close(): void }
}
