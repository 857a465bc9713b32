// Path attributes as values (RFC 4271 §4.3), whatever their encoding on a session. The rows that read and write them are
// in attribute-rows.ts.
import type { AsPath } from './as-path.ts'
import type { LargeCommunity } from './communities.ts'

/** `address` is a u32: the identifier of the speaker that aggregated. */
export type Aggregator = { asn: number; address: number }

/** An attribute without a row, as it came: optional and transitive, to be passed on by `passOn`. */
export type RawAttribute = { code: number; flags: number; value: Uint8Array }

/** Addresses and identifiers are u32. Absent means not in the message; an empty AS path is a present one. */
export type Attributes = {
  /** As in `ORIGIN`. */
  origin?: number
  /** Four-octet numbers, whatever the session; AS4_PATH is already merged in. */
  asPath?: AsPath
  nextHop?: number
  med?: number
  localPref?: number
  atomicAggregate?: true
  aggregator?: Aggregator
  communities?: readonly number[]
  originatorId?: number
  clusterList?: readonly number[]
  extendedCommunities?: readonly bigint[]
  /** Validated TLVs of RFC 9012, otherwise opaque. */
  tunnelEncap?: Uint8Array
  largeCommunities?: readonly LargeCommunity[]
  otc?: number
  /** In the order of their codes. */
  unknown?: readonly RawAttribute[]
  /** Type codes, ascending, of the known attributes above that came with the Partial bit, which must stay (RFC 4271 §5). */
  partial?: readonly number[]
}
