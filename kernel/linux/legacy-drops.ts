// The rules and policies of a table of iptables-legacy that drop, with how many packets each has had: what there is in place of a trace,
// which legacy tables do not tell. struct xt_counters is the last field of an entry's head. Pure, and total.
import type { LegacyDrop } from '../port/trace.ts'
import { CHAIN_NAME, chainsOf, DROP, entryAt, HOOK_NAMES, LAYOUT, type LegacyTable, verdictOf } from './legacy-table.ts'

/** Octets of the two numbers of an entry: packets u64 | octets u64. */
const COUNTERS = 16

/** What is cut off is left out. */
export function parseLegacyDrops({ family, table, info, entries }: LegacyTable): LegacyDrop[] {
  const layout = LAYOUT[family]
  const chainAt = chainsOf(entries, info, layout)
  const policies = new Set(
    HOOK_NAMES.flatMap((_, hook) => (info.readUInt32LE(32) & (1 << hook) ? [info.readUInt32LE(56 + 4 * hook)] : [])),
  )
  const drops: LegacyDrop[] = []
  let [chain, rule] = ['', 0]
  for (let at = 0; ; ) {
    const entry = entryAt(entries, at, layout)
    if (entry === undefined) return drops
    const begins = chainAt.get(at)
    if (begins !== undefined) [chain, rule] = [begins, 0]
    rule++
    const isDrop = (entry.target === '' && verdictOf(entry) === DROP) || entry.target === 'REJECT'
    if (isDrop && entry.target !== CHAIN_NAME) {
      const packets = entry.bytes.readBigUInt64LE(layout.head - COUNTERS)
      const target = entry.target === '' ? 'DROP' : entry.target
      drops.push({ family, table, chain, ...(!policies.has(at) && { rule }), target, packets })
    }
    at = entry.next
  }
}
