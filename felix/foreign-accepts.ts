// The one thing that is written into tables of other programs: where their chain at the hook forward drops what pods send each
// other, a rule for each direction that lets packets of pods pass, with a comment by which it is known. Pure.
// Policies are judged before, in base chains of their own, and what they drop is gone: these rules open none of it. They stand
// in front of what would drop all packets of pods, and behind everything else that the other program says.
import type { ForwardChain, NftChange, NftRule } from '../kernel/port/nftables.ts'
import { COUNTED_ACCEPT, fromInterfaces, toInterfaces } from './calc/nft-expressions.ts'
import { firstDrop, judge, type PodTraffic } from './foreign-chains.ts'

const COMMENT = 'margay: packets of pods'

/** What has to be done to a chain: rules come where it would drop, and go where it would not. Nothing to one of iptables-legacy. */
export function acceptChanges(found: ForwardChain, traffic: PodTraffic): NftChange[] {
  if (found.legacy === true) return []
  const theirs = { ...found, rules: found.rules.filter(rule => !isOurs(rule)) }
  const ours = found.rules.filter(isOurs)
  if (judge(theirs, traffic) === 'passes') return deletions(ours)
  const { family, table, name: chain } = found.chain
  const wanted = [fromInterfaces, toInterfaces].map((match): NftRule => {
    const expressions = [...match(traffic.interfacePrefix), ...COUNTED_ACCEPT]
    return { kind: 'rule', family, table, chain, expressions, comment: COMMENT }
  })
  if (ours.length === wanted.length && judge(found, traffic) !== 'drops') return []
  const position = firstDrop(theirs, traffic)?.handle
  const added = wanted.map((object): NftChange => {
    return position === undefined ? { verb: 'add', object } : { verb: 'insert', object: { ...object, position } }
  })
  return [...deletions(ours), ...added]
}

/** What takes our rules out of a chain. */
export function acceptRemovals({ rules }: ForwardChain): NftChange[] {
  return deletions(rules.filter(isOurs))
}

function isOurs({ comment }: NftRule): boolean {
  return comment === COMMENT
}

function deletions(rules: readonly NftRule[]): NftChange[] {
  return rules.map(({ kind, family, table, chain, handle = 0 }) => {
    return { verb: 'delete', object: { kind, family, table, chain, handle } }
  })
}
