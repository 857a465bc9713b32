// The built-in chains of a table of iptables-legacy that do something: those with rules, and those whose policy drops. A table that
// somebody has only listed has all of its chains, and does nothing. Pure, and total.
import type { NftChain, NftHook } from '../port/nftables.ts'
import { DROP, entryAt, HOOK_NAMES, LAYOUT, type LegacyTable, verdictOf } from './legacy-table.ts'

/** NF_IP_PRI_* (linux/netfilter_ipv4.h), of nat by whether a hook changes destinations. */
const PRIORITY: Readonly<Record<string, number>> = { raw: -300, mangle: -150, filter: 0, security: 50 }
const NAT = { destination: -100, source: 100 } as const

export function parseLegacyHooks({ family, table, info, entries }: LegacyTable): NftChain[] {
  return HOOK_NAMES.flatMap((name, i): NftChain[] => {
    if ((info.readUInt32LE(32) & (1 << i)) === 0) return []
    const [start, policyAt] = [info.readUInt32LE(36 + 4 * i), info.readUInt32LE(56 + 4 * i)]
    const end = entryAt(entries, policyAt, LAYOUT[family])
    const policy = end?.target === '' && verdictOf(end) === DROP ? 'drop' : 'accept'
    if (start === policyAt && policy === 'accept') return []
    const hook = name.toLowerCase() as NftHook
    const changesDestinations = hook === 'prerouting' || hook === 'output'
    const natPriority = changesDestinations ? NAT.destination : NAT.source
    const priority = table === 'nat' ? natPriority : (PRIORITY[table] ?? 0)
    const base = { type: table === 'nat' ? 'nat' : 'filter', hook, priority, policy } as const
    return [{ kind: 'chain', family: LAYOUT[family].nft, table, name, base }]
  })
}
