// Faults in messages, named by what they cost (RFC 7606 §2). Only a `reset` has a `ProtocolError`; the RIB counts and
// reports the others.
import { ERROR, errorText } from './iana.ts'

/** A fault that ends the session and that the peer is told about: code, subcode and data of the NOTIFICATION that ends the session (RFC 4271 §6). */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
  readonly code: number
  readonly subcode: number
  /** The Data field of the NOTIFICATION; a copy, safe to keep. */
  readonly data: Uint8Array

  constructor(code: number, subcode: number, data: Uint8Array = new Uint8Array(0), detail?: string) {
    super(detail === undefined ? errorText(code, subcode) : `${errorText(code, subcode)}: ${detail}`)
    this.code = code
    this.subcode = subcode
    this.data = Uint8Array.from(data)
  }
}

/**
 * What a malformed attribute costs, mildest first: the attribute alone, every route of its UPDATE (handled as if
 * withdrawn), or the session (RFC 7606 §2).
 */
export type Cost = 'discard' | 'withdraw' | 'reset'

/** One thing wrong in an UPDATE. `attribute` is its type code; `error` is there exactly when `cost` is `reset`. */
export type UpdateFault = { cost: Cost; attribute?: number; reason: string; error?: ProtocolError }

const SEVERITY = { discard: 1, withdraw: 2, reset: 3 } as const

/** The worse of two costs (RFC 7606 §3 h); absent means nothing is wrong. */
function worse(a: Cost | undefined, b: Cost | undefined): Cost | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return SEVERITY[a] >= SEVERITY[b] ? a : b
}

/** The cost of several faults at once. */
export function costOf(faults: readonly UpdateFault[]): Cost | undefined {
  return faults.reduce<Cost | undefined>((cost, fault) => worse(cost, fault.cost), undefined)
}

/** A fault in an UPDATE that ends the session with UPDATE Message Error / `subcode`. */
export function resetFault(subcode: number, reason: string, data?: Uint8Array, attribute?: number): UpdateFault {
  return { cost: 'reset', attribute, reason, error: new ProtocolError(ERROR.update, subcode, data, reason) }
}
