// What one direction of a session agreed on in its OPEN messages, as far as reading and writing UPDATEs depends on it.

/** `confed`: another member AS of our confederation (RFC 5065). */
export type PeerType = 'ebgp' | 'ibgp' | 'confed'

/** What one direction of one session agreed on; every codec of UPDATE depends on it. */
export type CodecSession = {
  /** Both sides speak four-octet AS numbers (RFC 6793). */
  as4: boolean
  peerType: PeerType
  /** ADD-PATH (RFC 7911) in this direction. */
  addPath: { ipv4: boolean; ipv6: boolean }
  /** IPv4 over IPv6 next hops (RFC 8950). */
  extendedNextHop: boolean
  /** Messages of up to 65535 octets (RFC 8654). */
  extendedMessage: boolean
}
