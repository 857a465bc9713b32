// From an entry of a table dump (RFC 6396 §4.3.4) to the UPDATE that would announce it, octets to octets. Of
// MP_REACH_NLRI a dump has only the next hop; an UPDATE needs the family and the prefix as well.
import { BytesError, type Writer } from '../../lib/bytes.ts'
import { BASE_FAMILY, numbersOfFamily } from '../family.ts'
import { emitKnown } from '../wire/attributes.ts'
import { ATTRIBUTE, FLAG } from '../wire/iana.ts'
import { dumpedNextHop, type MrtEntryFrame, type MrtRibFrame } from '../wire/mrt.ts'
import { MpOffsets, scanAttributes } from '../wire/update.ts'

/** Octets that hold any body that `emitEntryUpdate` writes. */
export const ENTRY_UPDATE_ROOM = 1 << 17

/**
 * Writes the UPDATE body of one entry: with its path id exactly when it has one, attributes as they are in the dump.
 * Returns an error text when it cannot: the attributes have wrong lengths, no next hop, or are too long.
 */
export function emitEntryUpdate(w: Writer, rib: MrtRibFrame, entry: MrtEntryFrame): string | undefined {
  const { raw } = entry
  const { afi, safi } = numbersOfFamily(rib.family)
  const mp = new MpOffsets()
  if (!scanAttributes(raw, 0, raw.length, mp)) return 'its attributes cannot be told apart'
  const nlri = () => {
    if (entry.pathId !== undefined) w.u32(entry.pathId)
    w.u8(rib.length).put(rib.prefix)
  }
  try {
    w.u16(0)
    if (rib.family === BASE_FAMILY && hasNextHop(raw)) {
      w.prefixed(2, () => putOthers(w, raw, WITHOUT_MP))
      nlri()
      return undefined
    }
    const nextHop = mp.reach < 0 ? undefined : dumpedNextHop(raw, mp.reachValue, mp.reachEnd)
    if (nextHop === undefined) return 'it has no next hop'
    w.prefixed(2, () => {
      emitKnown(w, 'mpReach', () => {
        w.u16(afi).u8(safi)
        w.prefixed(1, () => w.put(nextHop))
        w.u8(0)
        nlri()
      })
      putOthers(w, raw, WITHOUT_NEXT_HOPS)
    })
    return undefined
  } catch (error) {
    if (!(error instanceof BytesError)) throw error
    return 'its attributes do not fit into a message'
  }
}

const WITHOUT_MP: readonly number[] = [ATTRIBUTE.mpReach, ATTRIBUTE.mpUnreach]
const WITHOUT_NEXT_HOPS: readonly number[] = [...WITHOUT_MP, ATTRIBUTE.nextHop]

function hasNextHop(raw: Uint8Array): boolean {
  for (let at = 0; at < raw.length; at = endOf(raw, at)) if (raw[at + 1] === ATTRIBUTE.nextHop) return true
  return false
}

/** Copies well-framed attributes except those of some types. */
function putOthers(w: Writer, raw: Uint8Array, without: readonly number[]): void {
  for (let at = 0; at < raw.length; ) {
    const next = endOf(raw, at)
    if (!without.includes(raw[at + 1]!)) w.put(raw.subarray(at, next))
    at = next
  }
}

function endOf(raw: Uint8Array, at: number): number {
  return (raw[at]! & FLAG.extended) !== 0 ? at + 4 + ((raw[at + 2]! << 8) | raw[at + 3]!) : at + 3 + raw[at + 2]!
}
