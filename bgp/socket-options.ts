// The socket options that a peer's configuration asks for.
import type { PeerConfig, SpeakerConfig } from './config.ts'
import { relation } from './fsm/negotiate.ts'
import type { SocketOptions } from './port.ts'

/** Options of every connection with a peer. Before the session is up, the TTL follows the configured AS. */
export function socketOptionsOf(peer: PeerConfig, speaker: SpeakerConfig): SocketOptions {
  const { password, tcpAo, ttlSecurity, multihop, asn } = peer
  if (ttlSecurity !== undefined) return { password, tcpAo, ttlSecurity }
  const internal = asn === 'internal' || (typeof asn === 'number' && relation(speaker, peer, asn).peerType === 'ibgp')
  return { password, tcpAo, ttl: multihop ?? (internal ? 255 : 1) }
}
