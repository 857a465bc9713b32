// Why a prefix is routed as it is: every candidate, what import said to it, and the step of the decision process in which
// it lost.

import type { StepName } from './decision.ts'
import type { Importer, ImportVerdict } from './in/importer.ts'
import type { RibPeerState } from './peer-state.ts'
import { parseSet, type RouteAttributes } from './store/attribute-set.ts'
import { MARK, PATH, PEER_MASK, STRIDE } from './store/path-table.ts'
import type { FamilyTable } from './table.ts'

export type ExplainedPath = {
  /** Key of the peer; empty for a network of our own. */
  peer: string
  /** As received with ADD-PATH, else 0. */
  pathId: number
  /** After import when accepted, else as received. */
  attributes: RouteAttributes
  best: boolean
  /** For the best one: the step that left it alone. For another accepted one: the step it lost in. */
  step?: StepName
  import: ImportVerdict
  /** Kept over a restart of its peer; long-lived since its restart time ended. */
  stale?: 'restart' | 'long-lived'
}

export type Explanation = {
  prefix: string
  /** The best first, then the accepted ones, then the others. */
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
  const { words, heads } = table.paths
  const candidates: ExplainedPath[] = []
  for (let link = heads[prefix]!; link !== 0; link = words[(link - 1) * STRIDE + PATH.next]!) {
    const at = (link - 1) * STRIDE
    const marks = words[at + PATH.peer]!
    if ((marks & MARK.gone) !== 0) continue
    const from = peers[marks & PEER_MASK]!
    const accepted = words[at + PATH.accepted]!
    const received = words[at + PATH.received]!
    const best = decided?.best === link - 1
    candidates.push({
      peer: from.peer.key,
      pathId: words[at + PATH.pathId]!,
      attributes: accepted === 0 ? importer.read(received, from) : parseSet(table.store.view(accepted)),
      best,
      step: best ? decided.step : decided?.lost.get(link - 1),
      import: from.index === 0 ? OWN : importer.explain(received, from, prefix, table.prefixes),
      stale: (marks & MARK.longLived) !== 0 ? 'long-lived' : (marks & MARK.stale) !== 0 ? 'restart' : undefined,
    })
  }
  const order = ({ best, import: { accepted } }: ExplainedPath) => (best ? 0 : accepted ? 1 : 2)
  candidates.sort((a, b) => order(a) - order(b) || (a.peer < b.peer ? -1 : 1))
  const withheld = []
  for (const group of decided === undefined ? [] : table.groups.values()) {
    const reason = group.exporter.explain(words[decided!.best * STRIDE + PATH.accepted]!, prefix)
    if (reason !== undefined) withheld.push({ peers: [...group.members.keys()].map(i => peers[i]!.peer.key), reason })
  }
  return { prefix: table.prefixes.text(prefix), candidates, withheld }
}

const OWN: ImportVerdict = { accepted: true, reason: 'accepted', detail: 'a network of our own' }
