// The answer about a probe: both directions, from counters, traced packets and what legacy tables counted meanwhile. Pure.
import type { TraceFacts } from '../../api/trace.ts'
import type { LegacyDrop } from '../../kernel/port/trace.ts'
import type { ProbeOutcome } from '../../kernel/probe-sender.ts'
import { type Dropped, dropsIn, type Ownership, type packetsIn, type Texts, translationIn } from './trace-reading.ts'
import { type Match, type Place, ruleName } from './trace-table.ts'

export type Seen = {
  node: string
  /** By the names of our rules. */
  counts: ReadonlyMap<string, number>
  hasWire: boolean
  packets: ReturnType<typeof packetsIn>
  own: Ownership
  texts: Texts
  incomplete: boolean
  reversePathDrops: number
  legacy: { before: readonly LegacyDrop[]; after: readonly LegacyDrop[] }
  sent: ProbeOutcome | undefined
}

/** Fewer packets than this may be anybody's: other packets meet the same rules. */
const FEWEST_COUNTED = 3
const LEGACY = { ipv4: 'iptables-legacy', ipv6: 'ip6tables-legacy' } as const

export function traceFacts(seen: Seen): TraceFacts[] {
  return [factsOf(seen, 'there'), factsOf(seen, 'back')]
}

function factsOf(seen: Seen, direction: 'there' | 'back'): TraceFacts {
  const { node, packets, texts, own, sent, incomplete, reversePathDrops } = seen
  const outerMatch = direction === 'there' ? 'outerThere' : 'outerBack'
  const inner = crossed(seen, direction)
  const outer = crossed(seen, outerMatch)
  const drops = dropsIn(packets, texts, own).filter(({ match }) => match === direction || match === outerMatch)
  const [traced] = drops
  const dropped = traced === undefined ? countedDrop(seen, inner, outer) : droppedAt(traced)
  const translated = direction === 'there' ? translationIn(packets, texts, own) : undefined
  const hasOuter = outer.cameIn > 0 || (outer.received ?? 0) > 0
  return {
    ...{ node, direction, sent: direction === 'there' ? (sent?.sent ?? 0) : 0, ...inner },
    ...(hasOuter && { outer }),
    ...(dropped !== undefined && { dropped }),
    ...(translated !== undefined && { translated }),
    ...{ reversePathDrops, incomplete },
    ...(direction === 'there' && sent !== undefined && { outcome: sent.outcome }),
    ...(direction === 'there' && sent?.said !== undefined && { said: sent.said }),
    ...(direction === 'there' && sent?.saidBy !== undefined && { saidBy: sent.saidBy }),
  }
}

function droppedAt({ match, ...at }: Dropped): TraceFacts['dropped'] {
  return { ...at, outer: match === 'outerThere' || match === 'outerBack' }
}

type Crossed = Pick<TraceFacts, 'cameIn' | 'left' | 'received'>

/** What goes round within the node is seen at both places of each pair. */
function crossed({ counts, hasWire }: Seen, match: Match): Crossed {
  const at = (place: Place) => counts.get(ruleName(match, place)) ?? 0
  const cameIn = Math.max(at('in'), at('made'))
  return { cameIn, left: Math.max(at('left'), at('taken')), ...(hasWire && { received: at('wire') }) }
}

/** The only rule or policy of legacy tables that has counted just the packets that are missing. */
function countedDrop({ legacy }: Seen, inner: Crossed, outer: Crossed): TraceFacts['dropped'] {
  const missing = [inner, outer].map(({ cameIn, left }) => cameIn - left)
  const before = new Map(legacy.before.map(drop => [keyOf(drop), drop.packets]))
  for (const [at, count] of missing.entries()) {
    if (count < FEWEST_COUNTED) continue
    const counted = legacy.after.filter(drop => drop.packets - (before.get(keyOf(drop)) ?? 0n) === BigInt(count))
    const [only] = counted
    if (only === undefined || counted.length > 1) continue
    const { family, table, chain, rule, target } = only
    const text = rule === undefined ? `policy ${target}` : `rule ${rule} (${target})`
    return { family: LEGACY[family], table, chain, rule: text, ours: false, count, outer: at === 1 }
  }
  return undefined
}

function keyOf({ family, table, chain, rule }: LegacyDrop): string {
  return `${family} ${table} ${chain} ${rule}`
}
