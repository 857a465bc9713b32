import test from 'ava'
import fc from 'fast-check'
import { type Authentication, authenticationFault, emitSigned } from '../../../bgp/bfd/authentication.ts'
import { type ControlPacket, parsePacket } from '../../../bgp/bfd/packet.ts'
import { toHex } from '../../../lib/bytes.ts'
import { aPacket, plainPackets } from './packets.ts'

const keyed: Authentication = { type: 'sha1', keys: [{ id: 1, secret: 'one' }] }
const meticulous: Authentication = { type: 'meticulous-sha1', keys: [{ id: 1, secret: 'one' }] }

/** What the receiver says to a packet that the sender signed. */
function said(
  sender: Authentication | undefined,
  sequence: number,
  receiver: Authentication | undefined,
  last?: number,
) {
  const bytes = emitSigned(aPacket(), sender, sequence)
  return authenticationFault(parsePacket(bytes) as ControlPacket, bytes, receiver, last)
}

test('a packet is accepted by who has its key, and by nobody else', t => {
  t.is(said(keyed, 7, keyed), undefined)
  t.is(said(meticulous, 7, meticulous), undefined)
  t.is(said(undefined, 0, undefined), undefined)
  t.is(said(undefined, 0, keyed), 'not-authenticated')
  t.is(said(keyed, 7, undefined), 'unasked-authentication')
  t.is(said(keyed, 7, meticulous), 'wrong-authentication')
  t.is(said(meticulous, 7, keyed), 'wrong-authentication')
  t.is(said(keyed, 7, { type: 'sha1', keys: [{ id: 2, secret: 'one' }] }), 'unknown-key')
  t.is(said(keyed, 7, { type: 'sha1', keys: [{ id: 1, secret: 'two' }] }), 'wrong-hash')
})

test('a key is changed without a break: the first signs, and every one is accepted', t => {
  const [old, next] = [
    { id: 1, secret: 'one' },
    { id: 9, secret: Uint8Array.of(0, 255, 3) },
  ]
  const both: Authentication = { type: 'sha1', keys: [next, old] }
  t.is(said({ type: 'sha1', keys: [old] }, 1, both), undefined)
  t.is(said(both, 1, { type: 'sha1', keys: [next] }), undefined)
  t.is(said(both, 1, { type: 'sha1', keys: [old] }), 'unknown-key')
})

test('the key itself is nowhere in a packet', t => {
  const secret = 'sesame-sesame-sesame'
  for (const type of ['sha1', 'meticulous-sha1'] as const) {
    const bytes = emitSigned(aPacket(), { type, keys: [{ id: 1, secret }] }, 1)
    t.false(toHex(bytes).includes(toHex(Buffer.from(secret.slice(0, 4)))))
  }
})

test('no octet of a signed packet can be changed', t => {
  fc.assert(
    fc.property(plainPackets, fc.nat(51), fc.integer({ min: 1, max: 255 }), (plain, index, change) => {
      const bytes = emitSigned(plain, keyed, 5)
      const bent = bytes.with(index, bytes[index]! ^ change)
      const packet = parsePacket(bent)
      return typeof packet === 'string' || authenticationFault(packet, bent, keyed, 5) !== undefined
    }),
    { numRuns: 1000 },
  )
  t.pass()
})

/** RFC 5880 §6.7.4: what may follow the sequence number 100, or one before the end of the circle, at a detect mult of 3. */
const sequences: readonly [last: number, next: number, keyed: boolean, meticulous: boolean][] = [
  [100, 99, false, false],
  [100, 100, true, false],
  [100, 101, true, true],
  [100, 109, true, true],
  [100, 110, false, false],
  [0xffffffff, 0xffffffff, true, false],
  [0xffffffff, 0, true, true],
  [0xffffffff, 8, true, true],
  [0xffffffff, 9, false, false],
  [0xfffffffe, 7, true, true],
  [0, 0xffffffff, false, false],
  [0, 0x80000000, false, false],
]

test('a sequence number may be up to three times the detect mult ahead, in a circle, and equal only where it may stand still', t => {
  for (const [last, next, whenKeyed, whenMeticulous] of sequences) {
    t.is(said(keyed, next, keyed, last), whenKeyed ? undefined : 'wrong-sequence', `keyed: ${next} after ${last}`)
    t.is(
      said(meticulous, next, meticulous, last),
      whenMeticulous ? undefined : 'wrong-sequence',
      `meticulous: ${next} after ${last}`,
    )
  }
})
