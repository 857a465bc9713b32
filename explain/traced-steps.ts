// What became of packets that were sent and followed. Whether a rule of another program drops or translates is never read from its text:
// the packet itself tells, or nobody knows. Pure.
import type { HookFacts } from '../api/explain.ts'
import type { Evidence } from '../api/explanation.ts'
import type { TraceFacts } from '../api/trace.ts'
import type { CauseCode } from './causes.ts'
import {
  absenceOf,
  type Crossing,
  evidence,
  type Finding,
  isToItself,
  isToNodePort,
  known,
  nameOf,
  type Place,
  passes,
  stopped,
  unknown,
} from './crossing.ts'
import { looseFilter } from './settings.ts'

/** Chains of others on one node, and ours, by what became of a traced packet. */
export function foreignStep(c: Crossing, place: Place | undefined): Finding | undefined {
  if (place?.facts === undefined) return undefined
  const { node, facts, trace } = place
  // by the address of a Service it goes out and comes back; what was followed is the one by its own
  if (isToItself(c) && (c.question.service === undefined || trace !== undefined))
    return passes('what a pod sends to itself meets no chain of its node')
  const dropped = trace?.dropped
  if (dropped !== undefined) return droppedAt(c, place, dropped, trace!)
  if (trace !== undefined && leaves(trace)) return passes('a traced packet passed', sawPackets(node, trace))
  if (trace !== undefined && trace.sent > 0 && trace.cameIn === 0)
    return unknown(
      `none of ${trace.sent} packets that ${nameOf(c.source)} sent came to ${node}: something in its own namespace stops them`,
      sawPackets(node, trace),
    )
  if (trace !== undefined && trace.cameIn === 0 && c.direction === 'back')
    return unknown(
      `no answer of ${nameOf(c.source)} came to ${node}: it got no packet, does not answer, or something in its own namespace stops it`,
      sawPackets(node, trace),
    )
  const filtered = trace === undefined ? undefined : reversePathOf(c, place, trace)
  if (filtered !== undefined) return filtered
  if (trace !== undefined && trace.cameIn > 0)
    return unknown(
      `${trace.cameIn} traced packets came to ${node} and did not leave it${trace.incomplete ? ', and the kernel could not tell all that they met' : ', and no rule of nftables dropped them'}`,
      sawPackets(node, trace),
    )
  const hooks = known(facts.hooks)
  if (hooks === undefined) return unknown(`chains of others on ${node} are not known: ${absenceOf(facts.hooks)}`)
  if (hooks.length === 0) return passes(`${node} has no chains of others`)
  return unknown(
    `${node} has chains of others (${hookNames(hooks)}), and no packet was sent through them`,
    evidence(facts.hooks, hookNames(hooks)),
  )
}

/** Named by the packet itself: the rule at which it ended. */
export function droppedAt(
  c: Crossing,
  { node, facts }: Place,
  dropped: NonNullable<TraceFacts['dropped']>,
  { cameIn, received }: TraceFacts,
): Finding {
  const { family, table, chain, hook, rule, ours, policy, count, outer } = dropped
  const at = hook === undefined ? '' : ` (${hook})`
  const where = `table ${family} ${table}, chain ${chain}${at}`
  const what = outer ? 'the packets of the tunnel' : 'the packets'
  const isBehind = facts?.policies.some(({ enforced }) => enforced !== 'kernel') === true
  const ofPolicy: CauseCode = isBehind ? 'PolicyLags' : 'PolicyDenies'
  const code: CauseCode = !ours ? 'ForeignDrops' : policy === undefined ? 'FilterDrops' : ofPolicy
  return stopped(
    {
      code,
      node,
      object: { kind: 'NftChain', name: `${family} ${table} ${chain}` },
      message: `${node} drops ${what} in ${where}, by ${rule.startsWith('policy ') ? `its ${rule}` : `the rule: ${rule}`}`,
      values: { source: nameOf(c.source), policy },
    },
    { of: 'trace', text: `${count} of ${Math.max(cameIn, received ?? 0, count)} packets were dropped in ${where}` },
  )
}

/** Whether the packets got through: those of the tunnel where there are some. */
export function leaves({ left, outer }: TraceFacts): boolean {
  return (outer?.left ?? left) > 0
}

export function sawPackets(node: string, { cameIn, left, outer }: TraceFacts): Evidence {
  const tunnel = outer === undefined ? '' : `; of its tunnel ${outer.cameIn} and ${outer.left}`
  return { of: 'trace', text: `${node}: ${cameIn} came in, ${left} left${tunnel}` }
}

/**
 * The kernel's own count of what reverse path filters dropped moved by just the packets that came in and did not leave, which no rule
 * dropped. Of IPv4 alone.
 */
function reversePathOf(c: Crossing, { node }: Place, trace: TraceFacts): Finding | undefined {
  const { reversePathDrops: dropped, outer, cameIn, left, incomplete } = trace
  const isOuter = outer !== undefined && outer.cameIn > outer.left
  const missing = isOuter ? outer.cameIn - outer.left : cameIn - left
  if (incomplete || dropped === 0 || dropped !== missing || (c.packet.family === 'ipv6' && !isOuter)) return undefined
  const what = isOuter ? 'packets of the tunnel' : `packets from ${c.packet.source}`
  return stopped(
    {
      code: 'ReversePath',
      node,
      object: { kind: 'Sysctl', name: 'net.ipv4.conf.all.rp_filter' },
      message: `a reverse path filter of ${node} drops ${what}: ${missing} came in and did not leave, and it counted just as many`,
      values: { ...looseFilter('DEVICE'), source: c.packet.source, device: 'DEVICE, by which they come' },
    },
    { of: 'trace', text: `IPReversePathFilter of ${node} moved by ${dropped}` },
    sawPackets(node, trace),
  )
}

/** A Service's address becomes that of a pod, by whom it may be. */
export function translatedBy(c: Crossing, node: string, translated: NonNullable<TraceFacts['translated']>): Finding {
  const { by, source, destination, destinationPort } = translated
  const port = destinationPort === undefined ? '' : ` port ${destinationPort}`
  const to =
    source === undefined ? `the destination ${destination ?? c.packet.destination}${port}` : `the source ${source}`
  const whose =
    by === undefined
      ? 'by iptables-legacy or IPVS'
      : `in table ${by.family} ${by.table}, chain ${by.chain}, by the rule: ${by.rule}`
  const says = { of: 'trace' as const, text: `the packet had ${to} behind it: ${whose}` }
  // whoever lets a Service be reached by a port of a node gives the packets the node's own address, too
  const isService = c.question.service !== undefined && (source === undefined || isToNodePort(c))
  if (by?.ours === true || isService) return passes(`${node} gives it ${to}, ${whose}`, says)
  return stopped(
    {
      code: 'ForeignTranslates',
      node,
      object: { kind: 'NftChain', name: by === undefined ? 'nat' : `${by.family} ${by.table} ${by.chain}` },
      message: `${node} gives the packets ${to}, ${whose}`,
    },
    says,
  )
}

/**
 * What left one node, in its tunnel where it has one, and whether it came to the other. Undefined where none left, or where it is not
 * known in which form it did: a tunnel that cannot be looked into.
 */
export function betweenTraces(
  { way }: Crossing,
  near: TraceFacts,
  far: TraceFacts,
): { count: number; isSeen: boolean } | undefined {
  const isSeen = [far, far.outer].some(each => each !== undefined && (each.cameIn > 0 || (each.received ?? 0) > 0))
  const isUnclear = way === undefined || (way.outer !== undefined && near.outer === undefined)
  // at interfaces that are not counted, another program may drop it before all else
  if (!isSeen && (isUnclear || far.received === undefined)) return undefined
  const count = near.outer?.left ?? near.left
  return isSeen || count > 0 ? { count, isSeen } : undefined
}

export function hookNames(hooks: readonly HookFacts[]): string {
  const names = [...new Set(hooks.map(({ family, table, chain }) => `${family} ${table} ${chain}`))]
  return names.length > 5 ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more` : names.join(', ')
}
