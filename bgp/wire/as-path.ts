// AS_PATH: (segment type u8 | count u8 | AS numbers)* with two or four octets per number (RFC 4271 §4.3, RFC 6793),
// and the arithmetic on paths that the decision process, loop checks and exports need (RFC 4271 §9.1.2.2, RFC 5065).
import type { Writer } from '../../lib/bytes.ts'
import { AS_TRANS, SEGMENT } from './iana.ts'

/** `type` as in `SEGMENT`; never empty in a parsed path. */
export type Segment = { type: number; asns: readonly number[] }
/** Nearest AS first. Empty for a route that starts in our own AS. */
export type AsPath = readonly Segment[]
/** Octets per AS number on the wire: 4 between speakers of RFC 6793. */
type AsWidth = 2 | 4

const MOST = 255

/** The path in `bytes[start..end)`; undefined when malformed (RFC 7606 §7.2), which AS 0 is too (RFC 7607). */
export function parseAsPath(bytes: Uint8Array, start: number, end: number, width: AsWidth): AsPath | undefined {
  const path: Segment[] = []
  let at = start
  while (at < end) {
    if (end - at < 2) return undefined
    const type = bytes[at]!
    const count = bytes[at + 1]!
    at += 2
    if (type < SEGMENT.set || type > SEGMENT.confedSet || count === 0 || count * width > end - at) return undefined
    const asns = new Array<number>(count)
    for (let i = 0; i < count; i++, at += width) {
      const low = (bytes[at + width - 2]! << 8) | bytes[at + width - 1]!
      const asn = width === 2 ? low : ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | low) >>> 0
      if (asn === 0) return undefined
      asns[i] = asn
    }
    path.push({ type, asns })
  }
  return path
}

/** Writes a path; with two octets, AS_TRANS stands for what does not fit. A segment of more than 255 is split. */
export function emitAsPath(w: Writer, path: AsPath, width: AsWidth): void {
  for (const { type, asns } of path)
    for (let from = 0; from < asns.length; from += MOST) {
      const some = asns.slice(from, from + MOST)
      w.u8(type).u8(some.length)
      for (const asn of some) {
        if (width === 4) w.u32(asn)
        else w.u16(asn > 0xffff ? AS_TRANS : asn)
      }
    }
}

export function isConfed({ type }: Segment): boolean {
  return type === SEGMENT.confedSequence || type === SEGMENT.confedSet
}

/** Length for the decision process: a set counts 1, confederation segments count 0 (RFC 4271 §9.1.2.2, RFC 5065 §5.3). */
export function pathLength(path: AsPath): number {
  let length = 0
  for (const { type, asns } of path) {
    if (type === SEGMENT.sequence) length += asns.length
    else if (type === SEGMENT.set) length += 1
  }
  return length
}

/** How often `asn` occurs, in segments of every type: the loop check. */
export function countAs(path: AsPath, asn: number): number {
  let count = 0
  for (const { asns } of path) for (const a of asns) if (a === asn) count++
  return count
}

/** The leftmost AS outside confederation segments; undefined when the path has none or begins with a set there. */
export function firstAs(path: AsPath): number | undefined {
  const first = path.find(segment => !isConfed(segment))
  return first?.type === SEGMENT.sequence ? first.asns[0] : undefined
}

/**
 * `asns` before `path`, the first one leftmost, joined into the first segment when that has the same type and room
 * (RFC 4271 §5.1.2). `type` is `sequence`, or `confedSequence` towards a member of the confederation.
 */
export function prepend(path: AsPath, asns: readonly number[], type: number = SEGMENT.sequence): AsPath {
  const [first, ...rest] = path
  if (asns.length === 0) return path
  if (first?.type === type && first.asns.length + asns.length <= MOST)
    return [{ type, asns: [...asns, ...first.asns] }, ...rest]
  return [{ type, asns }, ...path]
}

/** The path as it leaves the confederation (RFC 5065 §5.1). */
export function withoutConfed(path: AsPath): AsPath {
  return path.some(isConfed) ? path.filter(segment => !isConfed(segment)) : path
}

/** Whether a path has a number of four octets, so that a two-octet peer needs an AS4_PATH too. */
export function needsFourOctets(path: AsPath): boolean {
  return path.some(segment => !isConfed(segment) && segment.asns.some(asn => asn > 0xffff))
}

/**
 * The real path from a two-octet peer: what AS_PATH has more in front, then AS4_PATH. An AS4_PATH that is longer than
 * AS_PATH is ignored (RFC 6793 §4.2.3).
 */
export function mergeAs4Path(path: AsPath, as4Path: AsPath): AsPath {
  let missing = pathLength(path) - pathLength(as4Path)
  if (missing < 0) return path
  const head: Segment[] = []
  for (const segment of path) {
    if (isConfed(segment)) head.push(segment)
    else if (missing === 0) break
    else if (segment.type === SEGMENT.set) {
      head.push(segment)
      missing -= 1
    } else {
      const asns = segment.asns.slice(0, missing)
      head.push({ type: segment.type, asns })
      missing -= asns.length
    }
  }
  const last = head.at(-1)
  if (last?.type !== SEGMENT.sequence) return [...head, ...as4Path]
  return [...head.slice(0, -1), ...prepend(as4Path, last.asns)]
}

/** Text as operators know it: `65001 65002 {1,2}`, confederation sequences in `( )`, sets in `[ ]`. */
export function formatAsPath(path: AsPath): string {
  return path
    .map(({ type, asns }) => {
      if (type === SEGMENT.set) return `{${asns.join(',')}}`
      if (type === SEGMENT.confedSequence) return `(${asns.join(' ')})`
      return type === SEGMENT.confedSet ? `[${asns.join(',')}]` : asns.join(' ')
    })
    .join(' ')
}
