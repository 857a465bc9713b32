// Which BGPPeers are for a node, and how much each counts there. Pure.
import type { Resource } from '../../api/kinds.ts'
import { matchesSelector } from '../../api/selector.ts'
import { originOf, RANK } from './session-requests.ts'
import type { PeerOrigin } from './sessions.ts'

type BgpPeer = Resource<'BGPPeer'>
type Named = { name: string; labels: Readonly<Record<string, string>> }

/** The rank of a BGPPeer at a node; undefined: it is for other nodes. */
export function rankAt({ spec }: BgpPeer, { name, labels }: Named): number | undefined {
  if (spec.node !== undefined) return spec.node === name ? RANK.node : undefined
  if (spec.nodeSelector === undefined) return RANK.global
  return matchesSelector(spec.nodeSelector, labels) ? RANK.selector : undefined
}

/** The rank of a BGPPeer with `peerSelector` for the session with another node, the same from either end, and how it came to it here. */
export function selects(object: BgpPeer, own: Named, far: Named): { rank: number; origin: PeerOrigin } | undefined {
  const { peerSelector = '', reversePeering } = object.spec
  const forward = matchesSelector(peerSelector, far.labels) ? rankAt(object, own) : undefined
  const comesBack = reversePeering !== 'Manual' && matchesSelector(peerSelector, own.labels)
  const ranks = [forward, comesBack ? rankAt(object, far) : undefined].filter(each => each !== undefined)
  if (ranks.length === 0) return undefined
  return { rank: Math.min(...ranks), origin: forward === undefined ? 'node' : originOf(forward) }
}
