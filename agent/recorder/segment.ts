// How records lie in a file: a head that names the format, then records one behind the other, of which each says its length and
// carries a sum of its octets. What a program that was killed, a full disk or a power cut left half written ends the file: the
// records before it are whole. Pure.
// Layout: `MGYREC01` | (length u32 | crc32 u32 | JSON in UTF-8)*, numbers little-endian. The sum is of the JSON (zlib's CRC-32).
import { crc32 } from 'node:zlib'

export const HEAD: Buffer = Buffer.from('MGYREC01', 'latin1')
const FRAME_OCTETS = 8
/** Nothing that is recorded is longer: a length above this is none. */
const LONGEST_RECORD = 1 << 15

/** One record as it is written. Throws for a text of more than `LONGEST_RECORD` octets. */
export function emitRecord(text: string): Buffer {
  const octets = Buffer.byteLength(text)
  if (octets === 0 || octets > LONGEST_RECORD) throw new Error(`a record of ${octets} octets`)
  const out = Buffer.allocUnsafe(FRAME_OCTETS + octets)
  out.write(text, FRAME_OCTETS)
  out.writeUInt32LE(octets, 0)
  out.writeUInt32LE(crc32(out.subarray(FRAME_OCTETS)), 4)
  return out
}

/** The records of a file in their order, up to the first that is not whole; `end`: behind the last whole one, 0 where the head is none. */
export function parseSegment(file: Buffer): { texts: string[]; end: number } {
  if (!file.subarray(0, HEAD.length).equals(HEAD)) return { texts: [], end: 0 }
  const texts: string[] = []
  let end = HEAD.length
  while (end + FRAME_OCTETS <= file.length) {
    const octets = file.readUInt32LE(end)
    const from = end + FRAME_OCTETS
    if (octets === 0 || octets > LONGEST_RECORD || from + octets > file.length) break
    const body = file.subarray(from, from + octets)
    if (crc32(body) !== file.readUInt32LE(end + 4)) break
    texts.push(body.toString('utf8'))
    end = from + octets
  }
  return { texts, end }
}
