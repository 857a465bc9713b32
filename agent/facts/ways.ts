// The crossings of this node by a packet and by the answer to it: where each comes in, what the kernel does with it, and where it
// leaves. Every look-up is the kernel's own word; none of them alone is a cause.
import type { AskedPacket, End, Fact, Question, WayFacts } from '../../api/explain.ts'
import { TUNNEL_DEVICES } from '../../felix/calc/tunnels.ts'
import { isAskedFor, rulesBefore, ruleText } from '../../felix/foreign-rules.ts'
import { uplinksOf } from '../../felix/input.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Link } from '../../kernel/port/links.ts'
import { ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import type { Crossing } from './crossing.ts'
import type { Gathering } from './gathering.ts'
import type { Host } from './host.ts'
import { leaving } from './leaving.ts'
import { lookedUp } from './packets.ts'
import { settingsOf } from './settings.ts'
import { type ExplainRoute, wantedRoute, wantedWay } from './wanted-way.ts'

/** Of the rule for the main table, as the kernel makes it. */
const MAIN_PRIORITY = 32_766
/** Rules that are told; a host with more of them has one for each of many things. */
const MOST_RULES = 50

/** `interfaceOf`: by which interface a pod here that has an address is reached; undefined: there is none. */
export async function waysOf(
  host: Host,
  question: Question,
  of: { node: string; interfaceOf(address: string): string | undefined; gathering: Gathering; explain: ExplainRoute },
): Promise<{ ways: WayFacts[]; crossings: Crossing[] }> {
  const { packet, back, from, to } = question
  const found = await Promise.all([
    wayOf(host, { direction: 'there', packet, from, to }, of),
    wayOf(host, { direction: 'back', packet: back, from: to, to: from }, of),
  ])
  const here = found.filter(way => way !== undefined)
  return { ways: here.map(({ facts }) => facts), crossings: here.map(({ crossing }) => crossing) }
}

type Asked = { direction: 'there' | 'back'; packet: AskedPacket; from: End; to: End }
type Of = Parameters<typeof waysOf>[2]

async function wayOf(
  host: Host,
  { direction, packet, from, to }: Asked,
  { node, interfaceOf, gathering, explain }: Of,
): Promise<{ facts: WayFacts; crossing: Crossing } | undefined> {
  const isHere = (end: End, address: string) => end.node === node || interfaceOf(address) !== undefined
  const begins = isHere(from, packet.source)
  if (!begins && !isHere(to, packet.destination)) return undefined
  const entrance = await entranceOf(host, begins, packet, interfaceOf(packet.source))
  const { entersBy } = entrance
  const as = { ...lookedUp(packet), ifindex: entersBy?.index }
  const lookups = {
    lookup: await gathering.fact('kernel', () => host.lookup(packet.destination, as)),
    plain: await gathering.fact('kernel', () => host.lookup(packet.destination)),
    ...(entersBy !== undefined && { ofSource: await gathering.fact('kernel', () => host.lookup(packet.source)) }),
  }
  const { lookup, plain } = { lookup: answerIn(lookups.lookup), plain: answerIn(lookups.plain) }
  const { wanted, route: lost } = wantedWay(host, packet.destination, { lookup, plain, explain })
  // where the wanted route is not there, the link and the neighbour that it needs are what there is to look at
  const route = lost ?? routeIn(lookup) ?? routeIn(plain)
  const endsHere = route !== undefined && route.type !== 'unicast'
  const leavesBy = route === undefined || endsHere ? undefined : host.deviceOf(route)
  const crossing = { direction, from: entrance.from, packet, entersBy, leavesBy, endsHere }
  const told = (fact: Fact<Answer>) => gathering.inWords(fact, answer => host.lookupFacts(answer))
  const facts: WayFacts = {
    ...{ direction, from: entrance.from },
    ...(entersBy !== undefined && {
      entersBy: await gathering.fact('kernel', () => host.linkFacts(entersBy)),
    }),
    lookup: told(lookups.lookup),
    plain: told(lookups.plain),
    ...(lookups.ofSource !== undefined && { ofSource: told(lookups.ofSource) }),
    rules: await gathering.fact('kernel', () => rulesOf(host, crossing)),
    wanted,
    ...(route !== undefined && !endsHere && (await leaving(host, { route, packet }, gathering))),
    settings: await gathering.fact('kernel', () => settingsOf(host, crossing)),
  }
  return { facts, crossing }
}

/**
 * Where a packet comes in that began elsewhere: by what this node wants for the way to its source, since both nodes judge alike; of
 * what is no node's, by what the kernel has.
 */
async function entranceOf(
  host: Host,
  begins: boolean,
  { source }: AskedPacket,
  podInterface: string | undefined,
): Promise<{ from: WayFacts['from']; entersBy: Link | undefined }> {
  if (podInterface !== undefined) return { from: 'pod', entersBy: host.link(podInterface) }
  if (begins) return { from: 'host', entersBy: undefined }
  const { node } = host.view
  const wanted = wantedRoute(host.view, source)
  const back = wanted === undefined ? await routeBack(host, source) : wanted
  const device = back && host.deviceOf(back)
  const isOutside = device !== undefined && !host.view.ownsInterface(device) && device !== 'lo'
  const name = isOutside ? device : node && uplinksOf(node)[0]
  const link = host.link(name)
  return { from: name !== undefined && TUNNEL_DEVICES.has(name) ? 'tunnel' : 'uplink', entersBy: link }
}

async function routeBack(host: Host, address: string): Promise<NamedRoute | undefined> {
  try {
    return routeIn(await host.lookup(address))
  } catch (error) {
    // the look-ups of the way itself tell why
    if (error instanceof KernelError) return undefined
    throw error
  }
}

type Answer = { route: NamedRoute } | KernelError

function answerIn(fact: Fact<Answer>): Answer | undefined {
  return 'value' in fact ? fact.value : undefined
}

function routeIn(answer: Answer | undefined): NamedRoute | undefined {
  return answer === undefined || answer instanceof KernelError ? undefined : answer.route
}

async function rulesOf({ kernel, view }: Host, { packet, entersBy }: Crossing) {
  const rules = (await kernel.rules()).filter(({ family }) => family === packet.family)
  const probe = {
    dst: packet.destination,
    packet: lookedUp(packet),
    ...(entersBy !== undefined && { interfaceName: entersBy.name }),
  }
  const { before, looksThere } = rulesBefore(rules, ROUTE_TABLE.main)
  const told = before.slice(0, MOST_RULES).map(rule => {
    const by = view.ruleAuthor(rule)
    const matches = isAskedFor(rule, probe)
    return { text: ruleText(rule), priority: rule.priority, matches, ...(by !== undefined && { by }) }
  })
  if (looksThere) return told
  return [...told, { text: 'from all lookup main', priority: MAIN_PRIORITY, matches: true, gone: true as const }]
}
