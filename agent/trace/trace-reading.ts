// What a probe's packets met on one node, from the steps that the kernel told: which rule or policy dropped them, and which gave them
// another address. A packet is known by the rule of our own table that it met; steps of packets that others trace count for nothing. Pure.
// Nothing here reads what another program's rules ask for: only what became of the packet.

import { parseRuleText } from '../../felix/policy/rule-text.ts'
import type { ChainText, TraceStep } from '../../kernel/port/trace.ts'
import { formatAddress } from '../../lib/ip.ts'
import type { Match } from './trace-table.ts'

/** A rule or a policy of a table. `rule` is as nft prints it, or the comment of one of ours. */
export type Met = {
  family: string
  table: string
  chain: string
  hook?: string
  rule: string
  ours: boolean
  policy?: string
}

export type Dropped = Met & { match: Match; count: number }

/** `by` is absent where no rule of nftables did it: iptables-legacy, or IPVS. */
export type Translated = {
  by?: Met
  source?: string
  destination?: string
  destinationPort?: number
}

/** One packet on its way through this node. */
type Packet = { match: Match; steps: TraceStep[]; isOver: boolean }

/** A table by its family and name. */
const tableKey = ({ family, table }: { family: string; table: string }) => `${family} ${table}`

export type Ownership = {
  /** The table of the trace itself, and which rule of it stands for what. */
  table: string
  matchOf: ReadonlyMap<number, Match>
  /** Whether a table is Margay's. */
  isOurs(table: string): boolean
}

/** The packets of the probe in the order in which they came. */
export function packetsIn(steps: readonly TraceStep[], own: Ownership): Packet[] {
  const packets: Packet[] = []
  const open = new Map<number, Packet>()
  for (const step of steps) {
    const known = open.get(step.packet)
    const match = step.table === own.table && step.handle !== undefined ? own.matchOf.get(step.handle) : undefined
    if (match !== undefined && (known === undefined || known.isOver || known.match !== match)) {
      const packet = { match, steps: [step], isOver: false }
      open.set(step.packet, packet)
      packets.push(packet)
    } else if (known !== undefined && !known.isOver) {
      known.steps.push(step)
      // the kernel gives its number to another one then
      known.isOver = step.verdict === 'drop' || step.verdict === 'stolen'
    }
  }
  return packets
}

/** The chains that have to be read to name what packets met, by table. */
export function chainsMet(
  packets: readonly Packet[],
): Map<string, { family: TraceStep['family']; table: string; chains: Set<string> }> {
  const met = new Map<string, { family: TraceStep['family']; table: string; chains: Set<string> }>()
  for (const { family, table, chain } of packets.flatMap(({ steps }) => steps)) {
    const key = tableKey({ family, table })
    const known = met.get(key) ?? { family, table, chains: new Set() }
    known.chains.add(chain)
    met.set(key, known)
  }
  return met
}

/** What is known of the chains of a table, by `family table`. */
export type Texts = ReadonlyMap<string, readonly ChainText[]>

/** Each rule or policy at which packets ended, with how many, most first. */
export function dropsIn(packets: readonly Packet[], texts: Texts, own: Ownership): Dropped[] {
  const found = new Map<string, Dropped>()
  for (const { match, steps } of packets) {
    const step = steps.at(-1)!
    if (step.verdict !== 'drop') continue
    const key = `${match} ${tableKey(step)} ${step.chain} ${step.handle ?? step.of}`
    const known = found.get(key) ?? { ...metAt(steps, steps.length - 1, texts, own), match, count: 0 }
    found.set(key, { ...known, count: known.count + 1 })
  }
  return [...found.values()].sort((a, b) => b.count - a.count)
}

/**
 * What first changed the addresses of a packet of the probe itself, and into what; undefined where nothing did. A destination that no rule
 * changed before is told with the source that one changed, since the packet did not go on to where it was sent. Answers are translated
 * back by what translated the packet, which no rule tells.
 */
export function translationIn(packets: readonly Packet[], texts: Texts, own: Ownership): Translated | undefined {
  let unnamed: Translated | undefined
  for (const { steps } of packets.filter(({ match }) => match === 'there')) {
    let before: Ends | undefined
    for (const [at, step] of steps.entries()) {
      const ends = endsOf(step)
      if (ends === undefined) continue
      const changed = before && changes(before, ends)
      before = ends
      if (changed === undefined) continue
      const by = translator(steps, at, texts, own)
      if (by !== undefined) return { by, ...destinationOf(unnamed), ...changed }
      unnamed ??= changed
    }
  }
  return unnamed
}

type Ends = { source: string; destination: string; destinationPort?: number }

/** The addresses, and the port of TCP and UDP, that a packet has at a step that tells its headers. */
function endsOf({ network, transport }: TraceStep): Ends | undefined {
  const version = (network?.[0] ?? 0) >>> 4
  const [at, size, protocolAt] = version === 4 ? [12, 4, 9] : [8, 16, 6]
  if (network === undefined || (version !== 4 && version !== 6) || network.length < at + 2 * size) return undefined
  const hasPorts = [6, 17].includes(network[protocolAt]!) && (transport?.length ?? 0) >= 4
  return {
    source: formatAddress(network.subarray(at, at + size)),
    destination: formatAddress(network.subarray(at + size, at + 2 * size)),
    ...(hasPorts && { destinationPort: transport!.readUInt16BE(2) }),
  }
}

function destinationOf({ destination, destinationPort }: Translated = {}): Omit<Translated, 'by' | 'source'> {
  return {
    ...(destination !== undefined && { destination }),
    ...(destinationPort !== undefined && { destinationPort }),
  }
}

function changes(before: Ends, after: Ends): Translated | undefined {
  const changed = {
    ...(after.source !== before.source && { source: after.source }),
    ...(after.destination !== before.destination && { destination: after.destination }),
    ...(after.destinationPort !== before.destinationPort && { destinationPort: after.destinationPort }),
  }
  return Object.keys(changed).length === 0 ? undefined : changed
}

/** The last rule before the step, where it lies in a chain that translates. */
function translator(steps: readonly TraceStep[], before: number, texts: Texts, own: Ownership): Met | undefined {
  for (let at = before - 1; at >= 0; at--) {
    const { of, verdict, handle } = steps[at]!
    if (of !== 'rule' || handle === undefined || verdict !== 'accept') continue
    return baseOf(steps, at, texts)?.type === 'nat' ? metAt(steps, at, texts, own) : undefined
  }
  return undefined
}

function metAt(steps: readonly TraceStep[], at: number, texts: Texts, own: Ownership): Met {
  const step = steps[at]!
  const { family, table, chain } = step
  const hook = baseOf(steps, at, texts)?.hook
  const ours = own.isOurs(table)
  const rule = ruleOf(step, texts, ours)
  const policy = ours ? policyOf(rule) : undefined
  return {
    ...{ family, table, chain, rule, ours },
    ...(hook !== undefined && { hook }),
    ...(policy !== undefined && { policy }),
  }
}

/** Whose rule the comment of one of ours names; undefined where it is of no object. */
function policyOf(comment: string): string | undefined {
  const named = parseRuleText(comment)
  switch (named?.of) {
    case 'policy':
      return named.policy
    case 'tier':
      return `tier ${named.tier}`
    case 'profile':
      return `Profile ${named.profile}`
    case 'no profile':
      return 'no profile'
    default:
      return undefined
  }
}

function ruleOf(step: TraceStep, texts: Texts, ours: boolean): string {
  const { of, handle, verdict, chain } = step
  if (of === 'policy') return `policy ${verdict}`
  if (handle === undefined) return `end of chain ${chain}`
  const found = textsOf(step, texts)?.rules.get(handle)
  if (found === undefined) return `rule with handle ${handle}`
  if (ours && found.comment !== undefined) return found.comment
  // what it has counted is another number each time
  const text = found.text.replace(/counter packets \d+ bytes \d+/g, 'counter')
  return found.comment === undefined ? text : `${text} (${found.comment})`
}

/** The base chain that a step belongs to: its own, or the one from which it was jumped to. */
function baseOf(steps: readonly TraceStep[], at: number, texts: Texts): ChainText | undefined {
  const { family, table } = steps[at]!
  for (let i = at; i >= 0; i--) {
    const step = steps[i]!
    if (step.family !== family || step.table !== table) return undefined
    const found = textsOf(step, texts)
    if (found?.hook !== undefined) return found
  }
  return undefined
}

function textsOf(step: TraceStep, texts: Texts): ChainText | undefined {
  return texts.get(tableKey(step))?.find(({ chain }) => chain === step.chain)
}
