// The BFD Control packet, RFC 5880 §4.1: 24 octets, and an authentication section (§4.4) where the A bit says so.
// vers:3 diag:5 | state:2 P F C A D M | detect mult u8 | length u8 | my discriminator u32 | your discriminator u32 |
// desired min tx u32 | required min rx u32 | required min echo rx u32; intervals in microseconds.
// What a packet can be refused for without knowing its session is decided here (§6.8.6); octets of anybody may come.
import { BytesError, Reader, Writer } from '../../lib/bytes.ts'

const VERSION = 1
const LENGTH = 24
const POLL = 0x20
const FINAL = 0x10
const CONTROL_PLANE_INDEPENDENT = 0x08
const AUTHENTICATION = 0x04
const DEMAND = 0x02
const MULTIPOINT = 0x01
/** Auth Type, Auth Len, Auth Key ID, reserved and sequence number, before the hash. */
const BEFORE_HASH = 8
const AUTHENTICATION_LENGTH = 28

/** A SHA1 hash has 20 octets; a key has 1 to 20 (RFC 5880 §6.7.4). */
export const HASH_LENGTH = 20
/** Where the hash lies in a packet that has one. */
export const HASH_AT = LENGTH + BEFORE_HASH
/** The longest packet that is sent. */
const LONGEST_PACKET = LENGTH + AUTHENTICATION_LENGTH

export type BfdState = 'AdminDown' | 'Down' | 'Init' | 'Up'
/** By their numbers (RFC 5880 §4.1). */
const STATES: readonly BfdState[] = ['AdminDown', 'Down', 'Init', 'Up']

/** Why a session went down (RFC 5880 §4.1, RFC 6428 §5). `unassigned`: another number, which a neighbour sent. */
export type Diagnostic =
  | 'none'
  | 'detection-time-expired'
  | 'echo-failed'
  | 'neighbor-signaled-down'
  | 'forwarding-plane-reset'
  | 'path-down'
  | 'concatenated-path-down'
  | 'administratively-down'
  | 'reverse-concatenated-path-down'
  | 'mis-connectivity-defect'
  | 'unassigned'
/** By their numbers in the IANA registry. */
const DIAGNOSTICS: readonly Diagnostic[] = [
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
]

/** The types of authentication that have SHA1. */
export type AuthenticationType = 'sha1' | 'meticulous-sha1'
/** By their numbers (RFC 5880 §4.1). */
const AUTHENTICATION_TYPES: Readonly<Record<number, AuthenticationType>> = { 4: 'sha1', 5: 'meticulous-sha1' }

/** What says who sent a packet; the hash itself is checked on the octets (`authentication.ts`). */
export type AuthenticationSection = { type: AuthenticationType; keyId: number; sequence: number }

/** Reserved and unused fields are left out. Intervals in microseconds, 0-4294967295; echo is never offered, so sent as 0. */
export type ControlPacket = {
  state: BfdState
  diagnostic: Diagnostic
  poll: boolean
  final: boolean
  controlPlaneIndependent: boolean
  demand: boolean
  /** 1-255. */
  multiplier: number
  /** 1-4294967295. */
  myDiscriminator: number
  /** 0: not known. */
  yourDiscriminator: number
  desiredMinTxUs: number
  requiredMinRxUs: number
  authentication?: AuthenticationSection
}

/** Why octets are no packet for any session (RFC 5880 §6.8.6), or of a type of authentication that is not done here. */
export type PacketFault =
  | 'too-short'
  | 'wrong-version'
  | 'wrong-length'
  | 'no-multiplier'
  | 'multipoint'
  | 'no-discriminator'
  | 'state-without-discriminator'
  | 'wrong-authentication'

/** The packet in the payload of a datagram, or why it is none. Octets after its length are not looked at. */
export function parsePacket(bytes: Uint8Array): ControlPacket | PacketFault {
  try {
    return parse(bytes)
  } catch (error) {
    if (error instanceof BytesError) return 'too-short'
    throw error
  }
}

function parse(bytes: Uint8Array): ControlPacket | PacketFault {
  const reader = new Reader(bytes)
  const [first, second] = [reader.u8(), reader.u8()]
  const multiplier = reader.u8()
  const length = reader.u8()
  const authenticated = (second & AUTHENTICATION) !== 0
  if (first >>> 5 !== VERSION) return 'wrong-version'
  if (length < LENGTH + (authenticated ? 2 : 0) || length > bytes.length) return 'wrong-length'
  if (multiplier === 0) return 'no-multiplier'
  if ((second & MULTIPOINT) !== 0) return 'multipoint'
  const [myDiscriminator, yourDiscriminator] = [reader.u32(), reader.u32()]
  const state = STATES[second >>> 6]!
  if (myDiscriminator === 0) return 'no-discriminator'
  if (yourDiscriminator === 0 && state !== 'Down' && state !== 'AdminDown') return 'state-without-discriminator'
  const [desiredMinTxUs, requiredMinRxUs] = [reader.u32(), reader.u32()]
  reader.skip(4)
  const authentication = authenticated ? parseAuthentication(reader.sub(length - LENGTH)) : undefined
  if (authenticated && authentication === undefined) return 'wrong-authentication'
  return {
    state,
    diagnostic: DIAGNOSTICS[first & 0x1f] ?? 'unassigned',
    poll: (second & POLL) !== 0,
    final: (second & FINAL) !== 0,
    controlPlaneIndependent: (second & CONTROL_PLANE_INDEPENDENT) !== 0,
    demand: (second & DEMAND) !== 0,
    multiplier,
    myDiscriminator,
    yourDiscriminator,
    desiredMinTxUs,
    requiredMinRxUs,
    authentication,
  }
}

/** Undefined: of another type, or not of that type's length, or not all that is left of the packet. */
function parseAuthentication(section: Reader): AuthenticationSection | undefined {
  const all = section.left
  const type = AUTHENTICATION_TYPES[section.u8()]
  const length = section.u8()
  if (type === undefined || length !== AUTHENTICATION_LENGTH || all !== length) return undefined
  const keyId = section.u8()
  section.skip(1)
  return { type, keyId, sequence: section.u32() }
}

/** The octets of a packet; with an authentication section its hash is 20 zeros yet. */
export function emitPacket(packet: ControlPacket): Uint8Array {
  const { state, diagnostic, authentication } = packet
  if (diagnostic === 'unassigned') throw new Error('an unassigned diagnostic cannot be sent')
  const flags =
    (packet.poll ? POLL : 0) |
    (packet.final ? FINAL : 0) |
    (packet.controlPlaneIndependent ? CONTROL_PLANE_INDEPENDENT : 0) |
    (authentication === undefined ? 0 : AUTHENTICATION) |
    (packet.demand ? DEMAND : 0)
  const writer = new Writer(LONGEST_PACKET)
    .u8((VERSION << 5) | DIAGNOSTICS.indexOf(diagnostic))
    .u8((STATES.indexOf(state) << 6) | flags)
    .u8(packet.multiplier)
    .u8(authentication === undefined ? LENGTH : LONGEST_PACKET)
    .u32(packet.myDiscriminator)
    .u32(packet.yourDiscriminator)
    .u32(packet.desiredMinTxUs)
    .u32(packet.requiredMinRxUs)
    .u32(0)
  if (authentication !== undefined)
    writer
      .u8(authentication.type === 'sha1' ? 4 : 5)
      .u8(AUTHENTICATION_LENGTH)
      .u8(authentication.keyId)
      .u8(0)
      .u32(authentication.sequence)
      .put(new Uint8Array(HASH_LENGTH))
  return writer.done()
}
