// Every path of a family, for dumps (RFC 6396) and for people. The tables may change while a walk is in progress: a walk
// keeps only a number between two steps, and each step reads the tables as they are then.

import type { Importer } from './in/importer.ts'
import type { RibPeerState } from './peer-state.ts'
import { parseSet, type RouteAttributes } from './store/attribute-set.ts'
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
    for (let slot = paths.first(id); slot >= 0; slot = paths.next(slot))
      if (isRoute(table, slot)) found.push(pathAt(table, slot, peers, importer))
    if (found.length > 0) yield found
  }
}

/** A withdrawn path may keep its slot for a while, without attributes: that is no route. */
function isRoute({ paths }: FamilyTable, slot: number): boolean {
  return paths.received(slot) !== 0
}

function pathAt({ paths, prefixes, store }: FamilyTable, slot: number, peers: Peers, importer: Importer): DumpedPath {
  const from = peers[paths.peer(slot)]!
  const used = paths.accepted(slot)
  return {
    peer: from.peer.key,
    prefix: prefixes.text(paths.prefix(slot)),
    pathId: paths.pathId(slot),
    received: importer.read(paths.received(slot), from),
    accepted: used === 0 ? undefined : parseSet(store.view(used)),
  }
}
