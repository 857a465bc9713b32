// Packets for the tests of BFD: one with every field said, and a generator of all that can be sent.
import fc from 'fast-check'
import type { ControlPacket } from '../../../bgp/bfd/packet.ts'

export type Plain = Omit<ControlPacket, 'authentication'>

/** A packet of a session that is Up, with what a test cares about in `more`. */
export function aPacket(more: Partial<ControlPacket> = {}): ControlPacket {
  return {
    state: 'Up',
    diagnostic: 'none',
    poll: false,
    final: false,
    controlPlaneIndependent: false,
    demand: false,
    multiplier: 3,
    myDiscriminator: 2,
    yourDiscriminator: 1,
    desiredMinTxUs: 300_000,
    requiredMinRxUs: 300_000,
    ...more,
  }
}

const u32 = fc.integer({ min: 0, max: 0xffffffff })
const discriminator = fc.integer({ min: 1, max: 0xffffffff })

/** What a sender may say. */
export const plainPackets: fc.Arbitrary<Plain> = fc.record({
  state: fc.constantFrom('AdminDown', 'Down', 'Init', 'Up'),
  diagnostic: fc.constantFrom(
    'none',
    'detection-time-expired',
    'echo-failed',
    'neighbor-signaled-down',
    'forwarding-plane-reset',
    'path-down',
    'concatenated-path-down',
    'administratively-down',
    'reverse-concatenated-path-down',
    'mis-connectivity-defect',
  ),
  poll: fc.boolean(),
  final: fc.boolean(),
  controlPlaneIndependent: fc.boolean(),
  demand: fc.boolean(),
  multiplier: fc.integer({ min: 1, max: 255 }),
  myDiscriminator: discriminator,
  yourDiscriminator: discriminator,
  desiredMinTxUs: u32,
  requiredMinRxUs: u32,
})

export const packets: fc.Arbitrary<ControlPacket> = fc
  .tuple(
    plainPackets,
    fc.option(
      fc.record({
        type: fc.constantFrom('sha1' as const, 'meticulous-sha1' as const),
        keyId: fc.integer({ min: 0, max: 255 }),
        sequence: u32,
      }),
      { nil: undefined },
    ),
  )
  .map(([packet, authentication]) => ({ ...packet, authentication }))
