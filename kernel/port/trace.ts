// What packets meet in nftables whose `nftrace` bit a rule has set: the kernel tells every rule that matches, in every table at
// every hook, also those of other programs and of iptables-nft. Part of the kernel port. iptables-legacy tells nothing.
// Hazards: whoever sets the bit is told by every listener of the namespace, so a listener hears of the packets that others trace;
// and where the socket's buffer is full the kernel drops what it would tell.
import type { Family } from '../../lib/ip.ts'
import type { NftFamily, NftTableName } from './nftables.ts'

/** What a step made of the packet. `stolen`: something else has it now, as a proxy of SYNs; `queue`: a process decides. */
export type TraceVerdict =
  | 'drop'
  | 'accept'
  | 'stolen'
  | 'queue'
  | 'repeat'
  | 'continue'
  | 'break'
  | 'jump'
  | 'goto'
  | 'return'

/** One thing that a traced packet met. */
export type TraceStep = {
  /** The same for one packet on its way through one node; the kernel uses it again for a later one. */
  packet: number
  family: NftFamily
  table: string
  chain: string
  /** A rule that matched, the end of a chain that was jumped to, or the policy of a base chain. */
  of: 'rule' | 'return' | 'policy'
  /** Of the rule. */
  handle?: number
  verdict: TraceVerdict
  /** Where `jump` and `goto` lead. */
  to?: string
  /** Interfaces by their index. */
  inputIndex?: number
  outputIndex?: number
  /** From the header of IP on, and from the one behind it: once for each base chain, at its first step. A part of either. */
  network?: Buffer
  transport?: Buffer
}

export type TraceOptions = {
  /** Steps in their order. What it throws ends the process. */
  received(steps: readonly TraceStep[]): void
  /** Some steps were dropped since the last ones, or made no sense. */
  lost(): void
}

/** A base chain and a rule, as nft prints them. */
export type ChainText = {
  chain: string
  /** Of a base chain. */
  hook?: string
  type?: string
  /** By the handle of the rule. */
  rules: ReadonlyMap<number, { text: string; comment?: string }>
}

/** A rule of iptables-legacy that drops or rejects, by its number in its chain from 1, or a policy, and how many packets it has had. */
export type LegacyDrop = {
  family: Family
  table: string
  chain: string
  rule?: number
  target: string
  packets: bigint
}

export type TracePort = {
  /**
   * Tells the steps of all traced packets of this port's network namespace from now on; `close` is final, and nothing is told after
   * it. Keeps the process alive. Throws `KernelError`: EPERM without CAP_NET_ADMIN, EPROTONOSUPPORT or ENOENT where the kernel has no netfilter.
   */
  traceNftables(options: TraceOptions): { close(): void }

  /** Some chains of a table with their rules in the words of nft(8), as far as they are there. Rejects as `nftables`. */
  chainTexts(of: NftTableName, chains: readonly string[]): Promise<ChainText[]>

  /** What drops in the tables of iptables-legacy and ip6tables-legacy; empty where there are none. Rejects with KernelError where they may not be read. */
  legacyDrops(): Promise<LegacyDrop[]>

  /** How many packets of IPv4 reverse path filters have dropped since this namespace began; 0 where the kernel does not count them. */
  reversePathDrops(): number
}
