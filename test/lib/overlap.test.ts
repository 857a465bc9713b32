import test from 'ava'
import fc from 'fast-check'
import { contains, fromBig, overlaps } from '../../lib/ip.ts'
import { earlierOverlaps } from '../../lib/overlap.ts'
import { processorMs } from '../slowness.ts'

const cidr = fc.oneof(
  fc.record({ at: fc.bigInt(0n, 15n), length: fc.integer({ min: 0, max: 8 }) }).map(({ at, length }) => {
    const bits = BigInt(32 - length)
    return `${fromBig(((at << 28n) >> bits) << bits, 'ipv4')}/${length}`
  }),
  fc.record({ at: fc.bigInt(0n, 15n), length: fc.integer({ min: 0, max: 8 }) }).map(({ at, length }) => {
    const bits = BigInt(128 - length)
    return `${fromBig(((at << 124n) >> bits) << bits, 'ipv6')}/${length}`
  }),
)

test('the first earlier CIDR that holds one, and the first that overlaps it, are those that a look at each pair finds', t => {
  fc.assert(
    fc.property(fc.array(cidr, { maxLength: 24 }), cidrs => {
      const found = (i: number, test: (outer: string, inner: string) => boolean) => {
        const at = cidrs.slice(0, i).findIndex(earlier => test(earlier, cidrs[i]!))
        return at < 0 ? undefined : at
      }
      const wanted = cidrs.map((_, i) => ({ holder: found(i, contains), overlap: found(i, overlaps) }))
      t.deepEqual(earlierOverlaps(cidrs), wanted)
    }),
    { numRuns: 1000 },
  )
})

test('ten thousand CIDRs are compared in well under a second, whether they are apart, inside each other or equal', t => {
  const count = 10_000
  for (const at of [
    (i: number) => `10.${i >> 8}.${i & 255}.0/24`,
    (i: number) => `${fromBig(10n << 24n, 'ipv4')}/${8 + (i % 24)}`,
    () => '10.0.0.0/8',
  ]) {
    const cidrs = Array.from({ length: count }, (_, i) => at(i))
    t.true(processorMs(() => t.is(earlierOverlaps(cidrs).length, count)) < 1500)
  }
})

test('what is no CIDR is refused', t => {
  t.throws(() => earlierOverlaps(['10.0.0.0/8', 'ten']), { instanceOf: RangeError, message: /ten/ })
})
