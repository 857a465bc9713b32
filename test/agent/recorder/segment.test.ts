import test from 'ava'
import fc from 'fast-check'
import { emitRecord, HEAD, parseSegment } from '../../../agent/recorder/segment.ts'

/** As the file says. */
const LONGEST_RECORD = 1 << 15
const texts = ['{"seq":1}', '{"seq":2,"name":"ä€"}', '{"seq":3}']
const file = (some: readonly string[]) => Buffer.concat([HEAD, ...some.map(emitRecord)])

test('a file says what was written, and where the last record ends', t => {
  t.is(file(['{}']).toString('hex'), `${Buffer.from('MGYREC01').toString('hex')}02000000${crcHex('{}')}7b7d`)
  t.deepEqual(parseSegment(file(texts)), { texts, end: file(texts).length })
  t.deepEqual(parseSegment(HEAD), { texts: [], end: HEAD.length })
  const longest = 'x'.repeat(LONGEST_RECORD)
  t.deepEqual(parseSegment(file([longest])).texts, [longest])
  t.throws(() => emitRecord(`${longest}x`))
  t.throws(() => emitRecord(''))
})

/** As zlib has it, of another way: bit by bit (ISO 3309, the polynomial 0xedb88320). */
function crcHex(text: string): string {
  let crc = 0xffffffff
  for (const octet of Buffer.from(text)) {
    crc ^= octet
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
  }
  const out = Buffer.alloc(4)
  out.writeUInt32LE(~crc >>> 0)
  return out.toString('hex')
}

test('of a file that was cut anywhere the records before are whole, and its end is theirs', t => {
  const whole = file(texts)
  const ends = texts.map((_, i) => file(texts.slice(0, i + 1)).length)
  for (let length = 0; length < whole.length; length++) {
    const found = parseSegment(whole.subarray(0, length))
    const kept = ends.filter(end => end <= length).length
    t.deepEqual(found.texts, texts.slice(0, kept), `${length}`)
    t.is(found.end, length < HEAD.length ? 0 : kept === 0 ? HEAD.length : ends[kept - 1]!)
  }
})

test('one octet that is another one costs the record that it is in and those behind it, never one before, and makes none up', t => {
  const whole = file(texts)
  for (let at = 0; at < whole.length; at++)
    for (const mask of [1, 0x80, 0xff]) {
      const damaged = Buffer.from(whole)
      damaged[at]! ^= mask
      const found = parseSegment(damaged).texts
      const before = texts.filter((_, i) => file(texts.slice(0, i + 1)).length <= at)
      t.deepEqual(found, at < HEAD.length ? [] : before)
    }
})

test('random octets, also behind a whole head and a whole record, are no record', t => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), octets => {
      const found = parseSegment(Buffer.concat([file(['{}']), octets]))
      t.deepEqual(found, { texts: ['{}'], end: file(['{}']).length })
      parseSegment(Buffer.from(octets))
    }),
    { numRuns: 500 },
  )
})
