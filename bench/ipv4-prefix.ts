// Prefixes as numbers for streams of a million routes, where text would cost more than what is measured.
import type { Writer } from '../lib/bytes.ts'

/** Writes one IPv4 prefix from numbers, host bits already clear; the path id only when given. */
export function emitIpv4Prefix(w: Writer, address: number, length: number, pathId?: number): void {
  if (pathId !== undefined) w.u32(pathId)
  w.u8(length)
  for (let shift = 24; shift > 24 - length; shift -= 8) w.u8(address >>> shift)
}
