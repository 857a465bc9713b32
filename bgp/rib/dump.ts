// Every path of a family, for dumps (RFC 6396) and monitoring (RFC 7854).
import { parseSet, type RouteAttributes } from './attribute-set.ts'
import type { FamilyTable } from './family-table.ts'
import type { Importer } from './importer.ts'
import { PATH, PEER_MASK, STRIDE } from './path-table.ts'
import type { PeerState } from './peer-state.ts'

/** One path of `Rib.dump`. */
export type DumpedPath = {
  peer: string
  prefix: string
  pathId: number
  received: RouteAttributes
  accepted?: RouteAttributes
}

/** Walks the paths of a table; see `Rib.dump`. */
export function* dumpPaths(
  { paths, prefixes, store }: FamilyTable,
  peers: readonly (PeerState | undefined)[],
  importer: Importer,
): Generator<DumpedPath> {
  for (let slot = 0; slot < paths.end; slot++) {
    const at = slot * STRIDE
    const { words } = paths
    if (!paths.holds(slot) || words[at + PATH.received] === 0) continue
    const from = peers[words[at + PATH.peer]! & PEER_MASK]!
    const used = words[at + PATH.accepted]!
    yield {
      peer: from.peer.key,
      prefix: prefixes.text(words[at + PATH.prefix]!),
      pathId: words[at + PATH.pathId]!,
      received: importer.read(words[at + PATH.received]!, from),
      accepted: used === 0 ? undefined : parseSet(store.view(used)),
    }
  }
}
