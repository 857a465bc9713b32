// The order of peers by address: the last step of the decision process that compares peers (RFC 4271 §9.1.2.2 g).
import { addressBytes } from '../../lib/ip.ts'
import type { RibPeerState } from './peer-state.ts'

/** Writes every peer's place to `rank`: lower address first, IPv4 before IPv6, then by key. */
export function rankPeers(peers: readonly RibPeerState[], rank: Uint32Array): void {
  const keyed = peers.map(({ index, peer }) => ({ index, key: peer.key, octets: addressBytes(peer.remoteAddress) }))
  keyed.sort(
    (a, b) =>
      a.octets.length - b.octets.length ||
      Buffer.compare(a.octets, b.octets) ||
      (a.key < b.key ? -1 : a.key > b.key ? 1 : 0),
  )
  for (const [place, { index }] of keyed.entries()) rank[index] = place + 1
}
