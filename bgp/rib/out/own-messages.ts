// Reads back messages that `UpdatePacker` wrote, to learn which prefixes a peer has missed with them.
import type { AddressFamily } from '../../config.ts'
import { MESSAGE } from '../../wire/iana.ts'
import { HEADER } from '../../wire/message.ts'
import { eachIpv4Prefix, eachIpv6Prefix, readIpv6Prefix } from '../../wire/nlri.ts'
import { MpOffsets, scanAttributes, splitUpdate, UpdateOffsets } from '../../wire/update.ts'

/** `octets` hold the address from `at`; they are reused after the call. */
export type OctetsVisitor = (octets: Uint8Array, at: number, length: number, pathId: number) => void

/** Visits every prefix that the messages in `bytes` announce or withdraw. */
export function eachNlri(bytes: Uint8Array, family: AddressFamily, addPath: boolean, visit: OctetsVisitor): void {
  const offsets = new UpdateOffsets()
  const mp = new MpOffsets()
  const octets = new Uint8Array(16)
  const ipv4 = (start: number, end: number) =>
    eachIpv4Prefix(bytes, start, end, addPath, (pathId, address, length) => {
      for (let i = 0; i < 4; i++) octets[i] = address >>> (24 - 8 * i)
      visit(octets, 0, length, pathId)
    })
  const either = (start: number, end: number) => {
    if (family === 'ipv4-unicast') ipv4(start, end)
    else
      eachIpv6Prefix(bytes, start, end, addPath, (pathId, at, length) => {
        readIpv6Prefix(bytes, at, length, octets)
        visit(octets, 0, length, pathId)
      })
  }
  for (let at = 0; at < bytes.length; ) {
    const end = at + ((bytes[at + 16]! << 8) | bytes[at + 17]!)
    if (bytes[at + 18] === MESSAGE.update) {
      splitUpdate(bytes, at + HEADER, end, offsets)
      ipv4(offsets.withdrawnStart, offsets.withdrawnEnd)
      ipv4(offsets.nlriStart, offsets.nlriEnd)
      scanAttributes(bytes, offsets.attributesStart, offsets.attributesEnd, mp)
      if (mp.unreach >= 0) either(mp.unreachValue + 3, mp.unreachEnd)
      if (mp.reach >= 0) either(mp.reachValue + 5 + bytes[mp.reachValue + 3]!, mp.reachEnd)
    }
    at = end
  }
}
