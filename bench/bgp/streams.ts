// What the tester sends, encoded before the clock starts: UPDATEs with four /24s to an attribute set, AS paths of three
// to six hops and up to three communities, as full tables have them.

import { emitAttributes } from '../../bgp/wire/attributes.ts'
import { MESSAGE, SEGMENT } from '../../bgp/wire/iana.ts'
import { emitMessage } from '../../bgp/wire/message.ts'
import { Writer } from '../../lib/bytes.ts'
import { ipv4Number } from '../../lib/ip.ts'
import { emitIpv4Prefix } from '../ipv4-prefix.ts'
import { FIRST_PREFIX, type TestPlace } from './places.ts'

const CHUNK = 256 * 1024
const PER_SET = 4
/** Withdrawn /24s to a message; 1000 of them fill 4096 octets. */
const PER_WITHDRAWAL = 1000
const SESSION = {
  as4: true,
  peerType: 'ebgp' as const,
  addPath: { ipv4: false, ipv6: false },
  extendedNextHop: false,
  extendedMessage: false,
}

/** /24s by number, from `first` on. */
export type Span = { first: number; count: number }

/** UPDATEs that announce a span, in chunks for a socket; the sets of different peers differ in every AS path. */
export function announcements({ address, asn }: TestPlace, { first, count }: Span): Uint8Array[] {
  const nextHop = ipv4Number(address)
  const sets = Array.from({ length: Math.ceil(count / PER_SET) }, (_, i) => i)
  return chunks(sets, (w, i) => {
    const set = first / PER_SET + i
    const transit = [1000 + (set % 7000), 100_000 + set, 3000 + ((set * 7) % 50_000), 200_000 + (set % 977), 5511]
    const asns = [asn, ...transit.slice(0, 2 + ((set + asn) % 4))]
    const communities = [((asn & 0xffff) << 16) | (set & 0xffff), (3356 << 16) | (set >>> 4), 0x0b620190]
    const attributes = {
      origin: 0,
      asPath: [{ type: SEGMENT.sequence, asns }],
      nextHop,
      communities: communities.slice(0, set % 4).map(community => community >>> 0),
    }
    emitMessage(w, MESSAGE.update, () => {
      const { communities: some, ...others } = attributes
      w.u16(0).prefixed(2, () => emitAttributes(w, some.length > 0 ? attributes : others, SESSION))
      prefixes(w, first + i * PER_SET, Math.min(PER_SET, count - i * PER_SET))
    })
  })
}

/** UPDATEs that withdraw a span. */
export function withdrawals({ first, count }: Span): Uint8Array[] {
  const steps = Array.from({ length: Math.ceil(count / PER_WITHDRAWAL) }, (_, i) => i * PER_WITHDRAWAL)
  return chunks(steps, (w, at) =>
    emitMessage(w, MESSAGE.update, () => {
      w.prefixed(2, () => prefixes(w, first + at, Math.min(PER_WITHDRAWAL, count - at)))
      w.u16(0)
    }),
  )
}

function prefixes(w: Writer, first: number, count: number): void {
  for (let i = first; i < first + count; i++) emitIpv4Prefix(w, (FIRST_PREFIX + i) * 256, 24)
}

function chunks<T>(items: readonly T[], emit: (w: Writer, item: T) => void): Uint8Array[] {
  const done: Uint8Array[] = []
  let w = new Writer(CHUNK + 4096)
  const cut = () => {
    if (w.length > 0) done.push(w.done())
    w = new Writer(CHUNK + 4096)
  }
  for (const item of items) {
    emit(w, item)
    if (w.length >= CHUNK) cut()
  }
  cut()
  return done
}
