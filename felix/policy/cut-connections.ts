// Interfaces of which connections were cut a while ago: TCP packets that belong to no known connection and open none are dropped
// there, or the kernel takes one in the middle of nowhere for a new connection, from the end that policies allow to open one.
import type { NftSet } from '../../kernel/port/nftables.ts'
import { COUNTED_DROP, inState, ofProtocol, type Steps } from '../calc/nft-expressions.ts'
import type { TableName } from './sources.ts'

/** `own`: of pods, and of what is for the host and from it. `forwarded`: what the host's own interfaces forward. */
export const CUT_SETS = { own: 'cut', forwarded: 'cut_forwarded' } as const

/** An interface in one of `CUT_SETS`. */
export type CutPlace = { of: keyof typeof CUT_SETS; interfaceName: string }

export function cutSets(table: TableName): NftSet[] {
  return Object.values(CUT_SETS).map((name): NftSet => ({ kind: 'set', ...table, name, type: 'ifname' }))
}

/** Drops what belongs to no connection, where the interface by which it comes (`iifname`) or leaves is shut. */
export function dropUnknown(
  interfaceKey: 'iifname' | 'oifname',
  of: CutPlace['of'],
): { expressions: Steps; comment: string } {
  const isCut: Steps = [
    { type: 'meta', key: interfaceKey, load: 1 },
    { type: 'lookup', set: CUT_SETS[of], from: 1 },
  ]
  return { expressions: [...UNKNOWN_TCP, ...isCut, ...COUNTED_DROP], comment: 'TCP connection that was cut' }
}

/** A packet of TCP that belongs to no connection and does not open one (SYN). */
const UNKNOWN_TCP: Steps = [
  ...inState('08000000'),
  ...ofProtocol('tcp'),
  { type: 'payload', base: 'transport', offset: 13, length: 1, load: 1 },
  { type: 'bitwise', from: 1, load: 1, length: 1, mask: '02', xor: '00' },
  { type: 'cmp', op: 'eq', from: 1, value: '00' },
]
