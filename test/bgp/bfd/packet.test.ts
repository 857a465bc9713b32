import test from 'ava'
import fc from 'fast-check'
import { type ControlPacket, emitPacket, type PacketFault, parsePacket } from '../../../bgp/bfd/packet.ts'
import { fromHex, toHex } from '../../../lib/bytes.ts'
import { aPacket, packets } from './packets.ts'

/** Octets as they are on the wire, and what they say. */
const goldens: readonly { what: string; hex: string; packet: ControlPacket }[] = [
  {
    what: 'a session that is Up, 3 x 300 ms',
    hex: '20c00318 00000002 00000001 000493e0 000493e0 00000000',
    packet: aPacket(),
  },
  {
    what: 'the first packet of a session',
    hex: '20400518 deadbeef 00000000 000f4240 0000c350 00000000',
    packet: aPacket({
      state: 'Down',
      multiplier: 5,
      myDiscriminator: 0xdeadbeef,
      yourDiscriminator: 0,
      desiredMinTxUs: 1_000_000,
      requiredMinRxUs: 50_000,
    }),
  },
  {
    what: 'a Poll of a neighbour that demands, with its own diagnostic, and independent of its control plane',
    hex: '21ea0118 00000002 00000001 000493e0 000493e0 00000000',
    packet: aPacket({
      diagnostic: 'detection-time-expired',
      poll: true,
      demand: true,
      controlPlaneIndependent: true,
      multiplier: 1,
    }),
  },
  {
    what: 'an answer to a Poll with meticulous keyed SHA1, its hash zero yet',
    hex: `27140334 00000002 00000001 000493e0 000493e0 00000000 051c0700 00000009 ${'00'.repeat(20)}`,
    packet: aPacket({
      state: 'AdminDown',
      diagnostic: 'administratively-down',
      final: true,
      authentication: { type: 'meticulous-sha1', keyId: 7, sequence: 9 },
    }),
  },
]

for (const { what, hex, packet } of goldens)
  test(`these octets and this packet are the same: ${what}`, t => {
    t.deepEqual(parsePacket(fromHex(hex)), { authentication: undefined, ...packet })
    t.is(toHex(emitPacket(packet)), hex.replaceAll(' ', ''))
  })

/** One row per rule of RFC 5880 §6.8.6, in its order, and of §6.7.4: the first octets of a golden are changed so. */
const refusals: readonly [what: string, fault: PacketFault, change: (bytes: Uint8Array) => Uint8Array][] = [
  ['no octets', 'too-short', () => new Uint8Array(0)],
  ['version 0', 'wrong-version', b => at(b, 0, 0x00)],
  ['version 2', 'wrong-version', b => at(b, 0, 0x40)],
  ['a length of 23', 'wrong-length', b => at(b, 3, 23)],
  ['a length of 25 with the A bit', 'wrong-length', b => at(at(b, 1, 0xc4), 3, 25)],
  ['a length above that of the payload', 'wrong-length', b => at(b, 3, 25)],
  ['a detect mult of zero', 'no-multiplier', b => at(b, 2, 0)],
  ['the M bit', 'multipoint', b => at(b, 1, 0xc1)],
  ['my discriminator zero', 'no-discriminator', b => at(b, 7, 0)],
  ['your discriminator zero while Up', 'state-without-discriminator', b => at(b, 11, 0)],
  ['your discriminator zero while Init', 'state-without-discriminator', b => at(at(b, 1, 0x80), 11, 0)],
  ['an authentication section of two octets', 'wrong-authentication', b => authenticated(b, '0400')],
  ['a simple password', 'wrong-authentication', b => authenticated(b, '0104 01 61')],
  ['keyed MD5', 'wrong-authentication', b => authenticated(b, `02180100 00000001 ${'11'.repeat(16)}`)],
  ['SHA1 with a length of 27', 'wrong-authentication', b => authenticated(b, `041b0100 00000001 ${'11'.repeat(19)}`)],
  [
    'SHA1 that ends before the packet',
    'wrong-authentication',
    b => authenticated(b, `041c0100 00000001 ${'11'.repeat(21)}`),
  ],
  [
    'SHA1 that ends after the packet',
    'wrong-authentication',
    b => authenticated(b, `041c0100 00000001 ${'11'.repeat(19)}`),
  ],
]

function at(bytes: Uint8Array, index: number, value: number): Uint8Array {
  return bytes.with(index, value)
}

function authenticated(bytes: Uint8Array, section: string): Uint8Array {
  const more = fromHex(section)
  return Uint8Array.of(...at(at(bytes, 1, 0xc4), 3, 24 + more.length), ...more)
}

for (const [what, fault, change] of refusals)
  test(`no packet is one with ${what}`, t => {
    t.is(parsePacket(change(emitPacket(aPacket()))), fault)
  })

test('what is emitted is parsed as the same, and octets behind its length change nothing', t => {
  fc.assert(
    fc.property(packets, fc.uint8Array({ maxLength: 8 }), (packet, rest) => {
      const bytes = emitPacket(packet)
      t.deepEqual(parsePacket(Uint8Array.of(...bytes, ...rest)), packet)
    }),
    { numRuns: 500 },
  )
})

test('a packet that is cut anywhere is none', t => {
  for (const { hex } of goldens) {
    const bytes = fromHex(hex)
    for (let length = 0; length < bytes.length; length++) t.is(typeof parsePacket(bytes.subarray(0, length)), 'string')
  }
})

test('reserved octets and an offer of echo are not looked at', t => {
  const bytes = emitPacket(aPacket({ authentication: { type: 'sha1', keyId: 1, sequence: 1 } }))
  t.deepEqual(parsePacket(at(at(bytes, 27, 0xff), 20, 0xff)), parsePacket(bytes))
})

test('any octets are read without an exception, and what is accepted means the same after it was written', t => {
  // random octets are refused for their version: most of these are packets with a few octets changed
  const bent = fc
    .tuple(packets, fc.array(fc.tuple(fc.nat(51), fc.nat(255)), { maxLength: 4 }), fc.nat(52))
    .map(([packet, changes, length]) => {
      const bytes = emitPacket(packet).slice()
      for (const [index, value] of changes) bytes[index] = value
      return length % 4 === 0 ? bytes.subarray(0, length) : bytes
    })
  let accepted = 0
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 80 }), bent, bent, bent), bytes => {
      const packet = parsePacket(bytes)
      if (typeof packet === 'string' || packet.diagnostic === 'unassigned') return
      accepted++
      t.deepEqual(parsePacket(emitPacket(packet)), packet)
    }),
    { numRuns: 3000 },
  )
  t.true(accepted > 500, `${accepted} were accepted`)
})
