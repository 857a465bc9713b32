// Reads back messages that `UpdatePacker` wrote, to learn which prefixes a peer has missed with them.
import { MESSAGE } from '../../wire/iana.ts'
import { HEADER } from '../../wire/message.ts'
import { MpOffsets, scanAttributes, splitUpdate, UpdateOffsets } from '../../wire/update.ts'
import type { PrefixTable } from '../store/prefix-table.ts'

/** Visits every prefix that the messages in `bytes` announce or withdraw; one without an id gets one. */
export function eachPackedPrefix(
  bytes: Uint8Array,
  prefixes: PrefixTable,
  addPath: boolean,
  visit: (prefix: number, pathId: number) => void,
): void {
  const offsets = new UpdateOffsets()
  const mp = new MpOffsets()
  // the fields of the UPDATE itself are empty when its family needs multiprotocol attributes
  const walk = (start: number, end: number) => {
    const { ids, pathIds, count } = prefixes.addNlri(bytes, start, end, addPath)
    for (let i = 0; i < count; i++) visit(ids[i]!, pathIds[i]!)
  }
  for (let at = 0; at < bytes.length; ) {
    const end = at + ((bytes[at + 16]! << 8) | bytes[at + 17]!)
    if (bytes[at + 18] === MESSAGE.update) {
      splitUpdate(bytes, at + HEADER, end, offsets)
      walk(offsets.withdrawnStart, offsets.withdrawnEnd)
      walk(offsets.nlriStart, offsets.nlriEnd)
      scanAttributes(bytes, offsets.attributesStart, offsets.attributesEnd, mp)
      if (mp.unreach >= 0) walk(mp.unreachValue + 3, mp.unreachEnd)
      if (mp.reach >= 0) walk(mp.reachValue + 5 + bytes[mp.reachValue + 3]!, mp.reachEnd)
    }
    at = end
  }
}
