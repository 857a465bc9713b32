// Flows as text and JSON, of one node, or with the node of each. Pure. Names and texts are others': they are shown escaped.
import type { Flow, FlowEnd } from '../api/answers.ts'
import type { Options } from './command.ts'
import { type Format, renderTable, show } from './render.ts'
import { visible } from './visible.ts'

/** With `node` where several nodes were asked. */
export type ShownFlow = { node?: string } & Flow

/** What the options ask for. */
export function isWanted({ verdict, source, destination, policy }: Flow, options: Options): boolean {
  const { namespace, verdict: asked } = options
  const verdicts = [verdict, verdict.startsWith('staged-') ? 'staged' : verdict]
  if (typeof asked === 'string' && !verdicts.includes(asked)) return false
  if (typeof namespace !== 'string') return true
  return [source.namespace, destination.namespace, namespaceOf(policy)].includes(namespace)
}

/** Of `KIND NAMESPACE/NAME`. */
export function namespaceOf(policy: string | undefined): string | undefined {
  const parts = policy?.split(' ')[1]?.split('/') ?? []
  return parts.length > 1 ? parts[0] : undefined
}

const HEADS: readonly string[] = ['LAST', 'VERDICT', 'DIRECTION', 'SOURCE', 'DESTINATION', 'PROTOCOL', 'PACKETS', 'BY']

function cellsOf(each: ShownFlow): string[] {
  const { node, last, verdict, direction = '', source, destination, protocol, destinationPort, icmp, packets } = each
  const port = destinationPort ?? (icmp === undefined ? undefined : `${icmp.type}/${icmp.code}`)
  return [
    ...(node === undefined ? [] : [node]),
    ...[last.replace(/\.\d+Z$/, 'Z'), verdict, direction, endText(source), endText(destination)],
    ...[port === undefined ? protocol : `${protocol} ${port}`, `${packets}`, causeText(each)],
  ].map(visible)
}

/** `shop/web (10.244.0.7)`; `Node n1 (192.168.10.11)`. */
function endText({ address, kind, namespace, name }: FlowEnd): string {
  if (name === undefined) return address
  const whole = namespace === undefined ? name : `${namespace}/${name}`
  return kind === 'Pod' ? `${whole} (${address})` : `${kind} ${whole} (${address})`
}

function causeText({ policy, tier, rule, profile, because }: Flow): string {
  if (policy !== undefined)
    return [
      policy,
      ...(rule === undefined ? [] : [`rule ${rule}`]),
      ...(tier === undefined ? [] : [`tier ${tier}`]),
    ].join(', ')
  if (tier !== undefined) return `end of tier ${tier}`
  return profile === undefined ? because : `Profile ${profile}, rule ${rule}`
}

/** One line of text, or of JSON; of YAML a document. */
export function lineOf(each: ShownFlow, format: Format): string {
  if (format === 'json') return `${JSON.stringify(each)}\n`
  if (format !== 'table' && format !== 'wide') return show(each, format, () => '')
  return `${cellsOf(each).join('  ')}\n`
}

/** A table, with a column for nodes where they are known, or a value with all of them. */
export function showFlows(flows: readonly ShownFlow[], format: Format): string {
  const heads = flows[0]?.node === undefined ? HEADS : ['NODE', ...HEADS]
  return show({ flows }, format, () => (flows.length === 0 ? 'No flows.\n' : renderTable(heads, flows.map(cellsOf))))
}
