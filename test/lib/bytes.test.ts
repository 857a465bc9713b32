import test from 'ava'
import { BytesError, fromHex, Reader, toHex, Writer } from '../../lib/bytes.ts'

test('what a writer wrote, a reader reads', t => {
  const w = new Writer(64)
  w.u8(255)
    .u16(65535)
    .u24(0xabcdef)
    .u32(0xffffffff)
    .u64(2n ** 64n - 1n)
    .put(Uint8Array.of(1, 2))
  const r = new Reader(w.done())
  t.deepEqual([r.u8(), r.u16(), r.u24(), r.u32(), r.u64()], [255, 65535, 0xabcdef, 0xffffffff, 2n ** 64n - 1n])
  t.deepEqual([...r.rest()], [1, 2])
  t.is(r.left, 0)
})

test('a read past the window throws with the octets needed and left, and moves nothing', t => {
  const r = new Reader(Uint8Array.of(1, 2, 3, 4), 1, 3)
  const error = t.throws(() => r.u32(), { instanceOf: BytesError })
  t.deepEqual([error?.need, error?.have], [4, 2])
  t.is(r.u16(), 0x0203)
})

test('a window of a reader ends where it was told to', t => {
  const r = new Reader(Uint8Array.of(1, 2, 3, 4))
  const sub = r.sub(2)
  t.is(sub.u16(), 0x0102)
  t.throws(() => sub.u8(), { instanceOf: BytesError })
  t.is(r.u16(), 0x0304)
})

test('a length prefix counts its body and refuses one that does not fit', t => {
  const w = new Writer(1024).prefixed(2, () => {})
  t.is(toHex(w.done()), '0000')
  const outer = new Writer(1024)
  outer.prefixed(1, () => outer.u8(7).prefixed(2, () => outer.u24(0x010203)))
  t.is(toHex(outer.done()), '06070003010203')
  const long = new Writer(1024)
  t.throws(() => long.prefixed(1, () => long.put(new Uint8Array(256))), { instanceOf: BytesError })
})

test('a full writer refuses more and keeps what it has', t => {
  const w = new Writer(new Uint8Array(3).fill(0xa5)).u16(1)
  t.throws(() => w.u16(2), { instanceOf: BytesError })
  t.is(toHex(w.bytes), '0001a5')
})

test('hex with blanks and colons is read, anything else refused', t => {
  t.deepEqual([...fromHex('ff:00 0a')], [255, 0, 10])
  t.throws(() => fromHex('abc'))
  t.throws(() => fromHex('zz'))
})
