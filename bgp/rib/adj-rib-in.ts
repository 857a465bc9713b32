// Takes UPDATE messages apart and puts what they say into the tables. The attributes around the prefixes are interned as
// they came and judged once per distinct set (in/importer.ts); what is wrong costs what RFC 7606 says.
import { Writer } from '../../lib/bytes.ts'
import type { AddressFamily } from '../config.ts'
import { parseAttributes } from '../wire/attributes.ts'
import type { AfiSafi } from '../wire/capabilities.ts'
import { type Fault, ProtocolError, resetFault } from '../wire/errors.ts'
import { AFI, ATTRIBUTE, CEASE, ERROR, SAFI, UPDATE_ERROR } from '../wire/iana.ts'
import { isCarried, type MpReach, parseMpReach, parseMpUnreach } from '../wire/multiprotocol.ts'
import { checkNlri, eachIpv4Prefix, eachIpv6Prefix, readIpv6Prefix } from '../wire/nlri.ts'
import { endOfRib, judge, MpOffsets, resetError, scanAttributes, splitUpdate, UpdateOffsets } from '../wire/update.ts'
import type { Importer } from './in/importer.ts'
import type { PeerState } from './peer-state.ts'
import { emitReach } from './store/attribute-set.ts'
import type { AttributeStore } from './store/attribute-store.ts'
import type { Ipv4Prefixes } from './store/prefix-table.ts'
import type { FamilyTable } from './table.ts'
import type { RibEvent } from './types.ts'

export type IntakeDeps = {
  store: AttributeStore
  importer: Importer
  tables: Readonly<Record<AddressFamily, FamilyTable>>
  report(event: RibEvent): void
  endOfRib(from: PeerState, family: AddressFamily): void
}

export class Intake {
  readonly #deps: IntakeDeps
  readonly #offsets = new UpdateOffsets()
  readonly #mp = new MpOffsets()
  readonly #scratch = new Uint8Array(1 << 17)
  readonly #octets = new Uint8Array(16)
  // what the visitors below need to know; they are made once, not per message
  #from!: PeerState
  #table!: FamilyTable
  #set = 0
  #most = Number.POSITIVE_INFINITY
  #over = false

  constructor(deps: IntakeDeps) {
    this.#deps = deps
  }

  /** One UPDATE body. An error ends the session. Total. */
  receive(from: PeerState, bytes: Uint8Array, start: number, end: number): ProtocolError | undefined {
    const at = this.#offsets
    const error = splitUpdate(bytes, start, end, at)
    if (error !== undefined) return error
    this.#from = from
    this.#over = false
    const addPath = from.peer.receive.addPath.ipv4
    if (at.withdrawnEnd === at.withdrawnStart && at.nlriEnd === at.nlriStart) {
      const marker = endOfRib(bytes, at)
      if (marker !== undefined) return this.#endOfRib(from, marker)
    } else {
      const fault =
        checkNlri(bytes, at.withdrawnStart, at.withdrawnEnd, addPath, 32) ??
        checkNlri(bytes, at.nlriStart, at.nlriEnd, addPath, 32)
      if (fault !== undefined) return resetError(fault)
    }
    if (at.withdrawnEnd > at.withdrawnStart && this.#carries('ipv4-unicast'))
      this.#withdraw('ipv4-unicast', bytes, at.withdrawnStart, at.withdrawnEnd)
    const mp = this.#mp
    if (!scanAttributes(bytes, at.attributesStart, at.attributesEnd, mp)) return this.#unframed(bytes)
    let fault = mp.unreach >= 0 ? this.#unreach(bytes) : undefined
    const reaches = mp.reach >= 0 && mp.reachEnd > mp.reachValue + 5 + bytes[mp.reachValue + 3]!
    if (reaches && fault === undefined) fault = this.#reach(bytes)
    if (fault?.cost === 'reset') return resetError(fault)
    if (at.nlriEnd > at.nlriStart) {
      const from = mp.reach < 0 && mp.unreach < 0 ? -1 : this.#without(bytes, 0, false)
      const reset =
        from < 0
          ? this.#apply('ipv4-unicast', bytes, at.attributesStart, at.attributesEnd, bytes, at.nlriStart, at.nlriEnd)
          : this.#apply('ipv4-unicast', this.#scratch, 0, from, bytes, at.nlriStart, at.nlriEnd)
      if (reset !== undefined) return resetError(reset)
    } else if (!reaches && at.attributesEnd - at.attributesStart > mp.unreachEnd - mp.unreach) {
      const parsed = parseAttributes(bytes, at.attributesStart, at.attributesEnd, from.peer.receive)
      const reset = parsed.faults.find(({ cost }) => cost === 'reset') ?? judge(parsed, 'none')
      if (reset !== undefined) return resetError(reset)
    }
    return this.#over ? this.#limitReached(from) : undefined
  }

  #carries(family: AddressFamily): boolean {
    if (this.#from.peer.families.includes(family)) return true
    this.#report({ cost: 'discard', reason: `${family} was not agreed on` })
    return false
  }

  /** A message whose attributes cannot be told apart: everything it names is withdrawn, if that much can be known. */
  #unframed(bytes: Uint8Array): ProtocolError | undefined {
    const at = this.#offsets
    const from = this.#from
    const parsed = parseAttributes(bytes, at.attributesStart, at.attributesEnd, from.peer.receive)
    const reach = parsed.mpReach === undefined ? 'nlri' : 'both'
    const verdict = at.nlriEnd > at.nlriStart || reach === 'both' ? undefined : judge(parsed, 'none')
    const faults = verdict === undefined ? parsed.faults : [...parsed.faults, verdict]
    const reset = faults.find(({ cost }) => cost === 'reset')
    if (reset !== undefined) return resetError(reset)
    this.#treatAsWithdraw(faults)
    if (this.#carries('ipv4-unicast')) this.#withdraw('ipv4-unicast', bytes, at.nlriStart, at.nlriEnd)
    for (const part of [parsed.mpReach, parsed.mpUnreach]) {
      if (part === undefined || !isCarried(part.afi, part.safi)) continue
      const family = familyOf(part.afi)
      const fault = checkNlri(bytes, part.nlriStart, part.nlriEnd, this.#addPath(family), bitsOf(family))
      if (fault !== undefined) return resetError(fault)
      if (this.#carries(family)) this.#withdraw(family, bytes, part.nlriStart, part.nlriEnd)
    }
    return undefined
  }

  #unreach(bytes: Uint8Array): Fault | undefined {
    const { unreachValue, unreachEnd } = this.#mp
    const part = parseMpUnreach(bytes, unreachValue, unreachEnd)
    if ('cost' in part) return part
    if (!isCarried(part.afi, part.safi)) return undefined
    const family = familyOf(part.afi)
    const fault = checkNlri(bytes, part.nlriStart, part.nlriEnd, this.#addPath(family), bitsOf(family))
    if (fault !== undefined) return inMp(fault)
    if (this.#carries(family)) this.#withdraw(family, bytes, part.nlriStart, part.nlriEnd)
    return undefined
  }

  #reach(bytes: Uint8Array): Fault | undefined {
    const { reachValue, reachEnd } = this.#mp
    const part = parseMpReach(bytes, reachValue, reachEnd, this.#from.peer.receive)
    if ('cost' in part) return part
    if (!isCarried(part.afi, part.safi)) return undefined
    const family = familyOf(part.afi)
    const fault = checkNlri(bytes, part.nlriStart, part.nlriEnd, this.#addPath(family), bitsOf(family))
    if (fault !== undefined) return inMp(fault)
    if (!this.#carries(family)) return undefined
    if (part.fault === undefined) {
      const end = this.#without(bytes, this.#putReach(part), true)
      return this.#apply(family, this.#scratch, 0, end, bytes, part.nlriStart, part.nlriEnd)
    }
    this.#treatAsWithdraw([part.fault])
    this.#withdraw(family, bytes, part.nlriStart, part.nlriEnd)
    return undefined
  }

  /** Starts a set in the scratch buffer with its multiprotocol next hop. */
  #putReach({ afi, nextHop }: MpReach): number {
    const w = new Writer(this.#scratch)
    emitReach(w, afi, nextHop)
    return w.length
  }

  /** Copies the attributes without the multiprotocol ones (and NEXT_HOP) to the scratch buffer; where they end there. */
  #without(bytes: Uint8Array, to: number, nextHop: boolean): number {
    const { attributesStart, attributesEnd } = this.#offsets
    const scratch = this.#scratch
    for (let at = attributesStart; at < attributesEnd; ) {
      const code = bytes[at + 1]!
      const wide = (bytes[at]! & 0x10) !== 0
      const next = at + (wide ? 4 + ((bytes[at + 2]! << 8) | bytes[at + 3]!) : 3 + bytes[at + 2]!)
      const drop = code === ATTRIBUTE.mpReach || code === ATTRIBUTE.mpUnreach || (nextHop && code === ATTRIBUTE.nextHop)
      if (drop) at = next
      else while (at < next) scratch[to++] = bytes[at++]!
    }
    return to
  }

  /** Gives the prefixes in `bytes[start..end)` the attributes in `set[setStart..setEnd)`. A fault is a reset. */
  #apply(
    family: AddressFamily,
    set: Uint8Array,
    setStart: number,
    setEnd: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): Fault | undefined {
    const from = this.#from
    if (!this.#carries(family)) return undefined
    const { store, importer } = this.#deps
    const id = store.intern(set, setStart, setEnd, from.raw)
    const faults = importer.examine(id, from, family)
    if (faults.length > 0) {
      const reset = faults.find(({ cost }) => cost === 'reset')
      const bad = reset !== undefined || faults.some(({ cost }) => cost === 'withdraw')
      if (reset === undefined && bad) {
        this.#treatAsWithdraw(faults)
        this.#withdraw(family, bytes, start, end)
      } else if (reset === undefined) for (const fault of faults) this.#report(fault)
      if (bad) {
        store.release(id)
        return reset
      }
    }
    this.#set = id
    this.#table = this.#deps.tables[family]
    this.#most = from.peer.config.prefixLimit?.max ?? Number.POSITIVE_INFINITY
    if (family === 'ipv4-unicast') eachIpv4Prefix(bytes, start, end, this.#addPath(family), this.#announceIpv4)
    else {
      this.#bytes = bytes
      eachIpv6Prefix(bytes, start, end, this.#addPath(family), this.#announceIpv6)
    }
    store.release(id)
    return undefined
  }

  #bytes!: Uint8Array

  #announceIpv4 = (pathId: number, address: number, length: number): void => {
    this.#announce((this.#table.prefixes as Ipv4Prefixes).addNumber(address, length), pathId)
  }

  #announceIpv6 = (pathId: number, at: number, length: number): void => {
    readIpv6Prefix(this.#bytes, at, length, this.#octets)
    this.#announce(this.#table.prefixes.add(this.#octets, 0, length), pathId)
  }

  #announce(prefix: number, pathId: number): void {
    const table = this.#table
    table.fit()
    if (this.#over) {
      table.settle(prefix)
      return
    }
    if (!table.announce(prefix, this.#from, pathId, this.#set)) return
    if (this.#most !== Number.POSITIVE_INFINITY) this.#count()
  }

  /** Watches the prefix limit after a new path. */
  #count(): void {
    const from = this.#from
    const { family } = this.#table
    const counts = from.family(family)
    const { warnPercent = 80, max } = from.peer.config.prefixLimit!
    if (counts.received > max) this.#over = true
    if (counts.warned || counts.received < (max * warnPercent) / 100) return
    counts.warned = true
    this.#deps.report({ type: 'prefix-warning', key: from.peer.key, family, count: counts.received, max })
  }

  #withdraw(family: AddressFamily, bytes: Uint8Array, start: number, end: number): void {
    this.#table = this.#deps.tables[family]
    if (family === 'ipv4-unicast') eachIpv4Prefix(bytes, start, end, this.#addPath(family), this.#withdrawIpv4)
    else {
      this.#bytes = bytes
      eachIpv6Prefix(bytes, start, end, this.#addPath(family), this.#withdrawIpv6)
    }
  }

  #withdrawIpv4 = (pathId: number, address: number, length: number): void => {
    const prefix = (this.#table.prefixes as Ipv4Prefixes).findNumber(address, length)
    if (prefix >= 0) this.#table.withdraw(prefix, this.#from, pathId)
  }

  #withdrawIpv6 = (pathId: number, at: number, length: number): void => {
    readIpv6Prefix(this.#bytes, at, length, this.#octets)
    const prefix = this.#table.prefixes.find(this.#octets, 0, length)
    if (prefix >= 0) this.#table.withdraw(prefix, this.#from, pathId)
  }

  #addPath(family: AddressFamily): boolean {
    const { addPath } = this.#from.peer.receive
    return family === 'ipv4-unicast' ? addPath.ipv4 : addPath.ipv6
  }

  #endOfRib(from: PeerState, { afi, safi }: AfiSafi): undefined {
    if (isCarried(afi, safi)) this.#deps.endOfRib(from, familyOf(afi))
  }

  /** RFC 4486 §4: the data names family and limit. */
  #limitReached(from: PeerState): ProtocolError {
    const { family } = this.#table
    const { max } = from.peer.config.prefixLimit!
    const data = new Writer(7)
    data
      .u16(family === 'ipv4-unicast' ? AFI.ipv4 : AFI.ipv6)
      .u8(SAFI.unicast)
      .u32(max)
    const detail = `more than ${max} ${family} prefixes`
    return new ProtocolError(ERROR.cease, CEASE.maximumPrefixes, data.done(), detail)
  }

  #treatAsWithdraw(faults: readonly Fault[]): void {
    this.#from.treatedAsWithdrawn++
    for (const fault of faults) this.#report(fault)
  }

  #report({ cost, attribute, reason }: Omit<Fault, 'error'>): void {
    if (cost === 'reset') return
    if (cost === 'discard') this.#from.discarded++
    this.#deps.report({ type: 'fault', key: this.#from.peer.key, cost, attribute, reason })
  }
}

function familyOf(afi: number): AddressFamily {
  return afi === AFI.ipv4 ? 'ipv4-unicast' : 'ipv6-unicast'
}

function bitsOf(family: AddressFamily): 32 | 128 {
  return family === 'ipv4-unicast' ? 32 : 128
}

/** NLRI errors inside a multiprotocol attribute are errors of that attribute (RFC 4760 §7). */
function inMp({ reason, error }: Fault): Fault {
  return resetFault(UPDATE_ERROR.optional, reason, error?.data)
}
