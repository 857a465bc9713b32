// Adj-RIB-In (RFC 4271 §3.2): takes UPDATE messages apart and stores what they say in the tables. The attributes around
// the prefixes are interned as they came and judged once per distinct set (in/importer.ts). Errors are handled as RFC 7606
// says: an attribute is discarded, the prefixes are withdrawn, or the session ends. Prefixes that are no destination are left out.
import { Writer } from '../../lib/bytes.ts'
import { type AddressFamily, BASE_FAMILY, FAMILY, familyOfNumbers, numbersOfFamily } from '../family.ts'
import { parseAttributes } from '../wire/attributes.ts'
import { ProtocolError, type UpdateFault } from '../wire/errors.ts'
import { ATTRIBUTE, CEASE, ERROR, FLAG } from '../wire/iana.ts'
import { type MpReach, type MpUnreach, mpNlriFault, parseMpReach, parseMpUnreach } from '../wire/multiprotocol.ts'
import { endOfRib, judge, MpOffsets, resetError, scanAttributes, splitUpdate, UpdateOffsets } from '../wire/update.ts'
import type { Importer } from './in/importer.ts'
import type { RibPeerState } from './peer-state.ts'
import { emitReach } from './store/attribute-set.ts'
import type { AttributeStore } from './store/attribute-store.ts'
import type { FamilyTable } from './table.ts'
import type { RibEvent } from './types.ts'

type AdjRibInDeps = {
  store: AttributeStore
  importer: Importer
  tables: Readonly<Record<AddressFamily, FamilyTable>>
  report(event: RibEvent): void
  endOfRib(from: RibPeerState, family: AddressFamily): void
}

/** One UPDATE that is being stored. */
type Incoming = {
  readonly from: RibPeerState
  readonly bytes: Uint8Array
  /** The table in which the peer passed its prefix limit: nothing more of this message is stored. */
  overLimit: FamilyTable | undefined
}

/** Attributes in `bytes[start..end)`, as one stored set: without those that name prefixes. */
type SetOctets = { readonly bytes: Uint8Array; readonly start: number; readonly end: number }

export class AdjRibIn {
  readonly #deps: AdjRibInDeps
  // made once and overwritten by every message
  readonly #offsets = new UpdateOffsets()
  readonly #mp = new MpOffsets()
  readonly #scratch = new Uint8Array(1 << 17)

  constructor(deps: AdjRibInDeps) {
    this.#deps = deps
  }

  /** Stores one UPDATE body. An error ends the session. Total: any bytes are safe. */
  receive(from: RibPeerState, bytes: Uint8Array, start: number, end: number): ProtocolError | undefined {
    const at = this.#offsets
    const error = splitUpdate(bytes, start, end, at)
    if (error !== undefined) return error
    const update: Incoming = { from, bytes, overLimit: undefined }
    const base = this.#deps.tables[BASE_FAMILY]
    if (at.withdrawnEnd === at.withdrawnStart && at.nlriEnd === at.nlriStart) {
      const marker = endOfRib(bytes, at)
      if (marker !== undefined) {
        const family = familyOfNumbers(marker.afi, marker.safi)
        if (family !== undefined) this.#deps.endOfRib(from, family.name)
        return undefined
      }
    } else {
      const { check } = FAMILY[BASE_FAMILY]
      const addPath = usesAddPath(from, BASE_FAMILY)
      const fault =
        check(bytes, at.withdrawnStart, at.withdrawnEnd, addPath) ?? check(bytes, at.nlriStart, at.nlriEnd, addPath)
      if (fault !== undefined) return resetError(fault)
    }
    if (at.withdrawnEnd > at.withdrawnStart && this.#isAgreed(from, BASE_FAMILY))
      withdraw(update, base, at.withdrawnStart, at.withdrawnEnd)
    const mp = this.#mp
    if (!scanAttributes(bytes, at.attributesStart, at.attributesEnd, mp)) return this.#withdrawAll(update)
    let fault = mp.unreach >= 0 ? this.#storeUnreach(update) : undefined
    const reaches = mp.reach >= 0 && mp.reachEnd > mp.reachValue + 5 + bytes[mp.reachValue + 3]!
    if (reaches && fault === undefined) fault = this.#storeReach(update)
    if (fault?.cost === 'reset') return resetError(fault)
    if (at.nlriEnd > at.nlriStart) {
      const reset = this.#isAgreed(from, BASE_FAMILY)
        ? this.#announce(update, base, this.#baseSet(bytes), at.nlriStart, at.nlriEnd)
        : undefined
      if (reset !== undefined) return resetError(reset)
    } else if (!reaches && at.attributesEnd - at.attributesStart > mp.unreachEnd - mp.unreach) {
      const parsed = parseAttributes(bytes, at.attributesStart, at.attributesEnd, from.peer.receive)
      const reset = parsed.faults.find(({ cost }) => cost === 'reset') ?? judge(parsed, 'none')
      if (reset !== undefined) return resetError(reset)
    }
    return update.overLimit === undefined ? undefined : limitReached(from, update.overLimit.family)
  }

  /** Whether both sides agreed on a family; reports when they did not. */
  #isAgreed(from: RibPeerState, family: AddressFamily): boolean {
    if (from.peer.families.includes(family)) return true
    this.#report(from, { cost: 'discard', reason: `${family} was not agreed on` })
    return false
  }

  /**
   * The table for the prefixes of a multiprotocol attribute, after a check of those prefixes. Undefined: this family is
   * not carried, or was not agreed on.
   */
  #tableFor(
    update: Incoming,
    { afi, safi, nlriStart, nlriEnd }: MpReach | MpUnreach,
  ): FamilyTable | UpdateFault | undefined {
    const { from, bytes } = update
    const row = familyOfNumbers(afi, safi)
    if (row === undefined) return undefined
    const fault = row.check(bytes, nlriStart, nlriEnd, usesAddPath(from, row.name))
    if (fault !== undefined) return mpNlriFault(fault)
    return this.#isAgreed(from, row.name) ? this.#deps.tables[row.name] : undefined
  }

  /** Handles a message whose attributes cannot be told apart: all prefixes that can be found in it are withdrawn. */
  #withdrawAll(update: Incoming): ProtocolError | undefined {
    const at = this.#offsets
    const { from, bytes } = update
    const parsed = parseAttributes(bytes, at.attributesStart, at.attributesEnd, from.peer.receive)
    const named = at.nlriEnd > at.nlriStart || parsed.mpReach !== undefined
    const verdict = named ? undefined : judge(parsed, 'none')
    const faults = verdict === undefined ? parsed.faults : [...parsed.faults, verdict]
    const reset = faults.find(({ cost }) => cost === 'reset')
    if (reset !== undefined) return resetError(reset)
    this.#treatAsWithdraw(from, faults)
    if (this.#isAgreed(from, BASE_FAMILY)) withdraw(update, this.#deps.tables[BASE_FAMILY], at.nlriStart, at.nlriEnd)
    for (const part of [parsed.mpReach, parsed.mpUnreach]) {
      const table = part === undefined ? undefined : this.#tableFor(update, part)
      if (part === undefined || table === undefined) continue
      if ('cost' in table) return resetError(table)
      withdraw(update, table, part.nlriStart, part.nlriEnd)
    }
    return undefined
  }

  #storeUnreach(update: Incoming): UpdateFault | undefined {
    const { unreachValue, unreachEnd } = this.#mp
    const part = parseMpUnreach(update.bytes, unreachValue, unreachEnd)
    if ('cost' in part) return part
    const table = this.#tableFor(update, part)
    if (table === undefined || 'cost' in table) return table
    withdraw(update, table, part.nlriStart, part.nlriEnd)
    return undefined
  }

  #storeReach(update: Incoming): UpdateFault | undefined {
    const { reachValue, reachEnd } = this.#mp
    const { from, bytes } = update
    const part = parseMpReach(bytes, reachValue, reachEnd, from.peer.receive)
    if ('cost' in part) return part
    const table = this.#tableFor(update, part)
    if (table === undefined || 'cost' in table) return table
    if (part.fault === undefined)
      return this.#announce(update, table, this.#mpSet(bytes, table.family, part.nextHop), part.nlriStart, part.nlriEnd)
    this.#treatAsWithdraw(from, [part.fault])
    withdraw(update, table, part.nlriStart, part.nlriEnd)
    return undefined
  }

  /** The set of the routes in the NLRI field: the message's own octets when it has no multiprotocol attribute. */
  #baseSet(bytes: Uint8Array): SetOctets {
    const { attributesStart, attributesEnd } = this.#offsets
    if (this.#mp.reach < 0 && this.#mp.unreach < 0) return { bytes, start: attributesStart, end: attributesEnd }
    return { bytes: this.#scratch, start: 0, end: this.#copyOthers(bytes, 0, { nextHop: true }) }
  }

  /** The set of the routes in MP_REACH_NLRI, with its next hop in front. */
  #mpSet(bytes: Uint8Array, family: AddressFamily, nextHop: Uint8Array): SetOctets {
    const w = new Writer(this.#scratch)
    emitReach(w, family, nextHop)
    return { bytes: this.#scratch, start: 0, end: this.#copyOthers(bytes, w.length, { nextHop: false }) }
  }

  /**
   * Copies all attributes but the multiprotocol ones, and NEXT_HOP only when asked for, to the scratch buffer from `to`
   * on. Returns where they end there.
   */
  #copyOthers(bytes: Uint8Array, to: number, { nextHop }: { nextHop: boolean }): number {
    const { attributesStart, attributesEnd } = this.#offsets
    const scratch = this.#scratch
    for (let at = attributesStart; at < attributesEnd; ) {
      const code = bytes[at + 1]!
      const extended = (bytes[at]! & FLAG.extended) !== 0
      const next = at + (extended ? 4 + ((bytes[at + 2]! << 8) | bytes[at + 3]!) : 3 + bytes[at + 2]!)
      const drop =
        code === ATTRIBUTE.mpReach || code === ATTRIBUTE.mpUnreach || (!nextHop && code === ATTRIBUTE.nextHop)
      if (drop) at = next
      else while (at < next) scratch[to++] = bytes[at++]!
    }
    return to
  }

  /** Gives the prefixes in `update.bytes[start..end)` these attributes. A returned fault is always a reset. */
  #announce(update: Incoming, table: FamilyTable, set: SetOctets, start: number, end: number): UpdateFault | undefined {
    const { from, bytes } = update
    const { store, importer } = this.#deps
    const id = store.intern(set.bytes, set.start, set.end, from.raw)
    const faults = importer.examine(id, from, table.family)
    if (faults.length > 0) {
      const reset = faults.find(({ cost }) => cost === 'reset')
      const bad = reset !== undefined || faults.some(({ cost }) => cost === 'withdraw')
      if (reset === undefined && bad) {
        this.#treatAsWithdraw(from, faults)
        withdraw(update, table, start, end)
      } else if (reset === undefined) for (const fault of faults) this.#report(from, fault)
      if (bad) {
        store.release(id)
        return reset
      }
    }
    const limited = from.peer.config.prefixLimit !== undefined
    const { ids, pathIds, count } = table.prefixes.addNlri(bytes, start, end, usesAddPath(from, table.family))
    table.fit()
    for (let i = 0; i < count; i++) {
      if (update.overLimit !== undefined) table.releaseUnused(ids[i]!)
      else if (!table.prefixes.isDestination(ids[i]!)) this.#leaveOut(from, table, ids[i]!)
      else if (table.announce(ids[i]!, from, pathIds[i]!, id) && limited) this.#watchLimit(update, table)
    }
    store.release(id)
    return undefined
  }

  /** A prefix that is no destination: it is told and forgotten. */
  #leaveOut(from: RibPeerState, table: FamilyTable, prefix: number): void {
    this.#deps.report({ type: 'no-destination', key: from.peer.key, prefix: table.prefixes.text(prefix) })
    table.releaseUnused(prefix)
  }

  /** Compares the prefix limit with the number of paths, after a new one. */
  #watchLimit(update: Incoming, table: FamilyTable): void {
    const { from } = update
    const { family } = table
    const counts = from.family(family)
    const { warnPercent = 80, max } = from.peer.config.prefixLimit!
    if (counts.received > max) update.overLimit = table
    if (counts.warned || counts.received < (max * warnPercent) / 100) return
    counts.warned = true
    this.#deps.report({ type: 'prefix-warning', key: from.peer.key, family, count: counts.received, max })
  }

  #treatAsWithdraw(from: RibPeerState, faults: readonly UpdateFault[]): void {
    from.treatedAsWithdrawn++
    for (const fault of faults) this.#report(from, fault)
  }

  #report(from: RibPeerState, { cost, attribute, reason }: Omit<UpdateFault, 'error'>): void {
    if (cost === 'reset') return
    if (cost === 'discard') from.discarded++
    this.#deps.report({ type: 'fault', key: from.peer.key, cost, attribute, reason })
  }
}

function usesAddPath(from: RibPeerState, family: AddressFamily): boolean {
  return from.peer.receive.addPath[FAMILY[family].ip]
}

/** Removes the peer's paths to the prefixes in `bytes[start..end)`, which must be well-formed. */
function withdraw({ from, bytes }: Incoming, table: FamilyTable, start: number, end: number): void {
  const { ids, pathIds, count } = table.prefixes.findNlri(bytes, start, end, usesAddPath(from, table.family))
  for (let i = 0; i < count; i++) table.withdraw(ids[i]!, from, pathIds[i]!)
}

/** Cease/Maximum Number of Prefixes Reached; its data are family and limit (RFC 4486 §4). */
function limitReached(from: RibPeerState, family: AddressFamily): ProtocolError {
  const { max } = from.peer.config.prefixLimit!
  const { afi, safi } = numbersOfFamily(family)
  const data = new Writer(7)
  data.u16(afi).u8(safi).u32(max)
  return new ProtocolError(ERROR.cease, CEASE.maximumPrefixes, data.done(), `more than ${max} ${family} prefixes`)
}
