// `explain --policy FILE`: what a manifest of policies would do to flows that were seen, or to one packet, before it is applied. It is
// worked out here from the objects of the cluster, by the code that agents judge with; nothing is written, and no node does more than
// tell its flows.
import { PaperPolicies, type PodDecision } from '../agent/simulation/policies.ts'
import type { PacketProtocol, Question } from '../api/explain.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { conditionKey, formatRef } from '../api/status.ts'
import { formatProblems, validate } from '../api/validate.ts'
import { NotFound } from '../datastore/port.ts'
import { familyOf } from '../lib/ip.ts'
import type { Context, Options } from './command.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { type Item, parseManifest, titleOfOther } from './manifest.ts'
import { KnownObjects, validOnes } from './objects-with.ts'
import { type RecordedFlow, recordedFlows } from './recorded-flows.ts'
import { type Format, renderTable, show } from './render.ts'
import { visible } from './visible.ts'

/** What policies are made of. Host endpoints, and what is behind Services of pods, are not asked about here. */
const KINDS = [
  ...([
    'Pod',
    'Namespace',
    'ServiceAccount',
    'EndpointSlice',
    'Node',
    'NetworkSet',
    'GlobalNetworkSet',
    'Tier',
  ] as const),
  ...(['KubernetesNetworkPolicy', 'ClusterNetworkPolicy', 'NetworkPolicy', 'GlobalNetworkPolicy'] as const),
] satisfies readonly Kind[]

type PolicyKind = (typeof KINDS)[number]
/** What a manifest may hold. */
const WRITTEN = KINDS.filter(kind => kind !== 'Pod' && kind !== 'EndpointSlice' && kind !== 'Node')

/** A flow of which the first packet would be judged in another way. */
export type ChangedFlow = RecordedFlow & { before: Judged; after: Judged }

/** `by`: the rule, tier or profile of whoever decides, of both ends where both do. */
export type Judged = { action: 'allow' | 'deny'; by: string }

/** `questions`: of one packet, in the place of flows that were seen. Exit code 1 where something that passes now would be denied. */
export async function explainPolicy(
  files: readonly string[],
  questions: readonly Question[] | undefined,
  namespace: string,
  options: Options,
  context: Context,
): Promise<ExitCode> {
  const items = await policiesOf(files, namespace, context)
  const deletes = options['delete'] === true
  const objects = await objectsOf(context)
  const [was, is] = [
    new PaperPolicies(objects.entries()),
    new PaperPolicies(objects.with(items, { deletes }).entries()),
  ]
  const { flows, silent } =
    questions === undefined ? await recordedFlows(options, context) : { flows: questions.map(askedFlow), silent: [] }
  const judged = flows.map(each => ({ ...each, before: judge(was, each), after: judge(is, each) }))
  const changed = judged.filter(each => each.before.action !== each.after.action || questions !== undefined)
  const known = new Set(was.refused.map(each => conditionKey(each)))
  const refused = is.refused.filter(each => !known.has(conditionKey(each)))
  const domains = was.namesDomains || is.namesDomains
  const format = options['output'] as Format
  context.out(
    show({ asked: flows.length, changed, refused, silent, domains }, format, () => text(flows.length, changed, was)),
  )
  for (const { object, message, remedy } of refused)
    context.err(`${visible(object === undefined ? '' : formatRef(object))}: ${visible(message)}. ${visible(remedy)}\n`)
  for (const { node, why } of silent) context.err(`node ${visible(node)} does not tell its flows: ${visible(why)}\n`)
  if (domains)
    context.note(
      'Rules with names of domains match nothing here: nodes alone know what their pods were told of them.\n',
    )
  const closes = changed.some(each => each.before.action === 'allow' && each.after.action === 'deny')
  return closes || refused.length > 0 || silent.length > 0 ? EXIT.no : EXIT.fine
}

/** Policies of Kubernetes have the kind of one of Calico's, with another group. */
async function policiesOf(files: readonly string[], namespace: string, context: Context): Promise<Item[]> {
  const [items, others]: [Item[], string[]] = [[], []]
  for (const { name, text: manifest } of await context.read(files))
    items.push(
      ...parseManifest(manifest, name, namespace, document => {
        const own = kubernetesPolicy(document, name, namespace)
        if (own !== undefined) items.push(own)
        const other = own === undefined ? titleOfOther(document, WRITTEN) : undefined
        if (other !== undefined) others.push(other)
        return own !== undefined || other !== undefined
      }),
    )
  if (others.length > 0) context.note(`Passed over, since policies do not depend on it: ${others.join(', ')}.\n`)
  if (items.length === 0) throw new UsageError(`${files.join(', ')}: holds nothing of ${WRITTEN.join(', ')}`)
  return items
}

function kubernetesPolicy(document: unknown, name: string, namespace: string): Item | undefined {
  const { apiVersion, kind, metadata, ...rest } = (document ?? {}) as Record<string, unknown>
  if (kind !== 'NetworkPolicy' || apiVersion !== 'networking.k8s.io/v1') return undefined
  const named = { ...rest, metadata: { namespace, ...(metadata as object | undefined) } }
  const object = validate('KubernetesNetworkPolicy', named)
  if (Array.isArray(object)) throw new UsageError(`${name}: NetworkPolicy: ${formatProblems(object)}`)
  return { kind: 'KubernetesNetworkPolicy', object: object as Resource<Kind>, named }
}

/** The policies of the cluster as they are. Rejects as the store, or with UsageError. */
export async function policiesNow(context: Context): Promise<PaperPolicies> {
  return new PaperPolicies((await objectsOf(context)).entries())
}

async function objectsOf(context: Context): Promise<KnownObjects<PolicyKind>> {
  const server = await context.objects()
  const lists = KINDS.map(async kind => {
    // agents do without a kind that the server does not have
    const listed = await server.list(kind).catch((error: unknown) => {
      if (error instanceof NotFound) return []
      throw error
    })
    return [kind, validOnes(kind, listed)] as const
  })
  return new KnownObjects(new Map(await Promise.all(lists)))
}

const PROTOCOLS = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const

function askedFlow({ packet, to, service }: Question): RecordedFlow {
  const { source, protocol, destinationPort } = packet
  const port = service?.backends.find(({ address }) => address === to.address)?.port ?? destinationPort
  return { ...firstPacket(source, to.address, protocol, port), count: 1, was: 'open' }
}

/** Of a connection; of ICMP an echo. */
export function firstPacket(
  source: string,
  destination: string,
  word: PacketProtocol,
  destinationPort: number | undefined,
): Omit<RecordedFlow, 'count' | 'was'> {
  const protocol = typeof word === 'number' ? word : PROTOCOLS[word]
  return {
    ...{ source, destination, protocol },
    ...(destinationPort !== undefined && { destinationPort }),
    ...((protocol === 1 || protocol === 58) && { icmp: { type: protocol === 1 ? 8 : 128, code: 0 } }),
  }
}

/** A port that a client may have. */
const SOME_PORT = 49_152

/** What the pods at both ends say of the first packet of such connections. */
export function judge(
  policies: PaperPolicies,
  { source, destination, protocol, destinationPort, icmp }: Omit<RecordedFlow, 'count' | 'was'>,
): Judged {
  const decisions = policies.decisions({
    ...{ source, destination, protocol },
    ...(destinationPort !== undefined && { ports: { source: SOME_PORT, destination: destinationPort } }),
    ...(icmp !== undefined && { icmp }),
  })
  const denied = decisions.find(({ decision }) => decision.action === 'deny')
  if (denied !== undefined) return { action: 'deny', by: byText(denied) }
  return { action: 'allow', by: decisions.map(byText).join('; ') || 'no pod of this cluster decides' }
}

function byText({ pod, direction, decision: { by } }: PodDecision): string {
  const who = by.policy === undefined ? by.text : `${by.policy}${by.rule === undefined ? '' : ` rule ${by.rule}`}`
  return `${direction} of ${pod}: ${by.of === 'tier end' ? `end of tier ${by.tier}` : who}`
}

/** Pure. */
function text(asked: number, changed: readonly ChangedFlow[], policies: PaperPolicies): string {
  const flows = asked === 1 ? '1 flow' : `${asked} flows`
  if (changed.length === 0) return `Of ${flows} none would be judged in another way.\n`
  const name = (address: string) => visible(policies.podAt(address) ?? address)
  return `${renderTable(
    ['FROM', 'TO', 'WHAT', 'TIMES', 'NOW', 'WITH IT', 'BY'],
    changed.map(({ source, destination, protocol, destinationPort, count, before, after }) => [
      name(source),
      name(destination),
      whatOf(protocol, destinationPort, familyOf(source)),
      String(count),
      before.action,
      after.action,
      visible(after.by),
    ]),
  )}${changed.length} of ${flows}.\n`
}

function whatOf(protocol: number, port: number | undefined, family: 'ipv4' | 'ipv6'): string {
  const known = Object.entries(PROTOCOLS).find(([, number]) => number === protocol)
  const word = known?.[0] ?? `protocol ${protocol} of ${family}`
  return port === undefined ? word : `${word}/${port}`
}
