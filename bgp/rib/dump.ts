// Every path of a family, for dumps (RFC 6396) and for people. A walk may be interrupted: what it holds between two
// steps is a number, and each step reads the tables as they are then.

import type { Importer } from './in/importer.ts'
import type { RibPeerState } from './peer-state.ts'
import { parseSet, type RouteAttributes } from './store/attribute-set.ts'
import { PATH, PEER_MASK, STRIDE } from './store/path-table.ts'
import type { FamilyTable } from './table.ts'

/** One path of `Rib.dump`. */
export type DumpedPath = {
  peer: string
  prefix: string
  pathId: number
  received: RouteAttributes
  accepted?: RouteAttributes
}

type Peers = readonly (RibPeerState | undefined)[]

/** Walks the paths of a table; see `Rib.dump`. */
export function* dumpPaths(table: FamilyTable, peers: Peers, importer: Importer): Generator<DumpedPath> {
  const { paths } = table
  for (let slot = 0; slot < paths.end; slot++)
    if (paths.holds(slot) && isRoute(table, slot)) yield pathAt(table, slot, peers, importer)
}

/** Walks the prefixes of a table; see `Rib.dumpPrefixes`. */
export function* dumpPrefixes(table: FamilyTable, peers: Peers, importer: Importer): Generator<DumpedPath[]> {
  const { paths, prefixes } = table
  for (let id = 0; id < prefixes.end; id++) {
    if (!prefixes.holds(id)) continue
    const found: DumpedPath[] = []
    for (let link = paths.heads[id]!; link !== 0; link = paths.words[(link - 1) * STRIDE + PATH.next]!)
      if (isRoute(table, link - 1)) found.push(pathAt(table, link - 1, peers, importer))
    if (found.length > 0) yield found
  }
}

/** A path that is gone may keep its slot for a while, without attributes. */
function isRoute({ paths }: FamilyTable, slot: number): boolean {
  return paths.words[slot * STRIDE + PATH.received] !== 0
}

function pathAt({ paths, prefixes, store }: FamilyTable, slot: number, peers: Peers, importer: Importer): DumpedPath {
  const { words } = paths
  const at = slot * STRIDE
  const from = peers[words[at + PATH.peer]! & PEER_MASK]!
  const used = words[at + PATH.accepted]!
  return {
    peer: from.peer.key,
    prefix: prefixes.text(words[at + PATH.prefix]!),
    pathId: words[at + PATH.pathId]!,
    received: importer.read(words[at + PATH.received]!, from),
    accepted: used === 0 ? undefined : parseSet(store.view(used)),
  }
}
