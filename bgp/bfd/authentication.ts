// Keyed SHA1 and Meticulous Keyed SHA1, RFC 5880 §6.7.4: a hash over the packet with the key in the place of the hash, and a
// sequence number against replays. Pure: who calls keeps the sequence state of its session.
// One difference from the text: a sequence number counts as known only after the hash was right. Otherwise a single forged
// packet after a pause could shut out the neighbour.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { AuthenticationSection, AuthenticationType, ControlPacket } from './packet.ts'
import { emitPacket, HASH_AT, HASH_LENGTH } from './packet.ts'

/** A key and the number under which both ends know it. */
export type AuthenticationKey = {
  /** 0-255. */
  id: number
  /** 1-20 octets, or text whose UTF-8 has as many. */
  secret: string | Uint8Array
}

export type Authentication = {
  type: AuthenticationType
  /** At least one. The first signs what is sent; all are accepted, so that a key can be changed without a break. */
  keys: readonly AuthenticationKey[]
}

/** Why a packet is not what a neighbour with the right key sent now. */
export type AuthenticationFault =
  | 'not-authenticated'
  | 'unasked-authentication'
  | 'wrong-authentication'
  | 'unknown-key'
  | 'wrong-sequence'
  | 'wrong-hash'

/** The octets of a packet, signed with the first key where there is authentication. */
export function emitSigned(
  packet: Omit<ControlPacket, 'authentication'>,
  authentication: Authentication | undefined,
  sequence: number,
): Uint8Array {
  if (authentication === undefined) return emitPacket(packet)
  const key = authentication.keys[0]!
  const bytes = emitPacket({ ...packet, authentication: { type: authentication.type, keyId: key.id, sequence } })
  bytes.set(hashOf(bytes, key), HASH_AT)
  return bytes
}

/**
 * Whether a packet may be believed; `bytes` are what it was parsed from. `lastSequence`: the sequence number of the last
 * packet that was accepted, undefined when it is not known (bfd.AuthSeqKnown is 0).
 */
export function authenticationFault(
  packet: ControlPacket,
  bytes: Uint8Array,
  wanted: Authentication | undefined,
  lastSequence: number | undefined,
): AuthenticationFault | undefined {
  const { authentication: section, multiplier } = packet
  if (wanted === undefined) return section === undefined ? undefined : 'unasked-authentication'
  if (section === undefined) return 'not-authenticated'
  if (section.type !== wanted.type) return 'wrong-authentication'
  const key = wanted.keys.find(({ id }) => id === section.keyId)
  if (key === undefined) return 'unknown-key'
  if (lastSequence !== undefined && !follows(section, lastSequence, multiplier)) return 'wrong-sequence'
  const hash = bytes.subarray(HASH_AT, HASH_AT + HASH_LENGTH)
  return timingSafeEqual(hashOf(bytes, key), hash) ? undefined : 'wrong-hash'
}

/** Whether a sequence number is at most three detection times ahead of the last; equal only where it need not grow. */
function follows({ type, sequence }: AuthenticationSection, last: number, multiplier: number): boolean {
  const ahead = (sequence - last) >>> 0
  return ahead <= 3 * multiplier && (ahead > 0 || type === 'sha1')
}

/** The hash that belongs into a packet: what it has in its place is not looked at. */
function hashOf(bytes: Uint8Array, { secret }: AuthenticationKey): Uint8Array {
  const key = new Uint8Array(HASH_LENGTH)
  key.set(secretOctets(secret))
  return createHash('sha1').update(bytes.subarray(0, HASH_AT)).update(key).digest()
}

/** The octets of a secret. */
export function secretOctets(secret: string | Uint8Array): Uint8Array {
  return typeof secret === 'string' ? Buffer.from(secret) : secret
}
