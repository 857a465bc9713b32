// Why a prefix is routed as it is: every path to it, the result of import, and the step of the decision process in which
// the path lost.

import type { NextHopState } from '../port.ts'
import type { StepName, UnusedReason } from './decision.ts'
import type { Importer, ImportVerdict } from './in/importer.ts'
import type { RibPeerState } from './peer-state.ts'
import { parseSet, type RouteAttributes } from './store/attribute-set.ts'
import { MARK } from './store/path-table.ts'
import type { FamilyTable } from './table.ts'

export type ExplainedPath = {
  /** Key of the peer; empty for a network of our own. */
  peer: string
  /** As received with ADD-PATH, else 0. */
  pathId: number
  /** After import when accepted, else as received. */
  attributes: RouteAttributes
  best: boolean
  /** Packets go over it: the best one, and with `multipath` others that are equal to it. */
  used: boolean
  /** Its share among those that are used, 1-255; absent: all have the same. */
  weight?: number
  /** Whether its next hop can be reached; absent where next hops are not tracked. */
  reached?: NextHopState
  /** Why it is not used, where no step before the tie breaks removed it. */
  unused?: UnusedReason
  /** For the best one: the step that left it alone. For another accepted one: the step it lost in. */
  step?: StepName
  import: ImportVerdict
  /** Kept over a restart of its peer; long-lived since its restart time ended. */
  stale?: 'restart' | 'long-lived'
}

export type Explanation = {
  prefix: string
  /** The best first, then those used with it, then the other accepted ones, then the others. */
  candidates: readonly ExplainedPath[]
  /** Per export group that withholds the best path: the reason, and the peers it concerns. */
  withheld: readonly { peers: readonly string[]; reason: string }[]
}

export function explainPrefix(
  table: FamilyTable,
  prefix: number,
  peers: readonly (RibPeerState | undefined)[],
  importer: Importer,
): Explanation {
  const decided = table.explain(prefix)
  const { paths } = table
  const candidates: ExplainedPath[] = []
  for (let slot = paths.first(prefix); slot >= 0; slot = paths.next(slot)) {
    const marks = paths.marks(slot)
    if ((marks & MARK.gone) !== 0) continue
    const from = peers[paths.peer(slot)]!
    const accepted = paths.accepted(slot)
    const received = paths.received(slot)
    const best = decided.best === slot
    candidates.push({
      peer: from.peer.key,
      pathId: paths.pathId(slot),
      attributes: accepted === 0 ? importer.read(received, from) : parseSet(table.store.view(accepted)),
      best,
      used: decided.used.has(slot) ?? false,
      weight: decided.used.get(slot) || undefined,
      reached: table.reach.state(slot),
      unused: decided.unused.get(slot),
      step: best ? decided.step : decided.lost.get(slot),
      import: from.index === 0 ? OWN : verdict(table, slot, importer.explain(received, from, prefix, table.prefixes)),
      stale: (marks & MARK.longLived) !== 0 ? 'long-lived' : (marks & MARK.stale) !== 0 ? 'restart' : undefined,
    })
  }
  const order = ({ best, used, import: { accepted } }: ExplainedPath) => (best ? 0 : used ? 1 : accepted ? 2 : 3)
  candidates.sort((a, b) => order(a) - order(b) || (a.peer < b.peer ? -1 : 1))
  const withheld = []
  for (const group of decided.best === undefined ? [] : table.groups.all) {
    const reason = group.exporter.explain(paths.accepted(decided.best!), prefix)
    if (reason !== undefined) withheld.push({ peers: [...group.members.keys()].map(i => peers[i]!.peer.key), reason })
  }
  return { prefix: table.prefixes.text(prefix), candidates, withheld }
}

function verdict(table: FamilyTable, slot: number, imported: ImportVerdict): ImportVerdict {
  const owned = imported.accepted ? table.ownedBy(slot) : undefined
  return owned === undefined ? imported : { accepted: false, reason: 'owned', detail: owned }
}

const OWN: ImportVerdict = { accepted: true, reason: 'accepted', detail: 'a network of our own' }
