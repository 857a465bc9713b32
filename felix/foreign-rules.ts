// Which packets of pods a rule of another program (`ip rule`) may take from our routes: pure, of what the rule asks and what is in
// its table. The kernel has the last word (`rule-watch.ts`): a probe is a packet to ask it for. A rule that is asked behind the
// one that looks into our table takes nothing from it. Hazard: a mark is what other programs give a packet, and nobody says
// which they give to those of pods: packets here have none, or that of our policies.

import type { LookedUp } from '../kernel/port/routes.ts'
import { ROUTE_TABLE } from '../kernel/port/routes.ts'
import type { PortRange, RoutingRule } from '../kernel/port/rules.ts'
import type { NamedNextHop, NamedRoute } from '../kernel/reconcile/objects.ts'
import { contains, familyOf, maskAddress, overlaps } from '../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../lib/prefix-index.ts'
import { ACCEPTED_EARLY } from './policy/chains.ts'

export type Probe = {
  dst: string
  /** The route of ours that the packet should take. */
  hides: NamedRoute
  packet: Omit<LookedUp, 'ifindex'>
  /** Where the packet comes in; absent for what this host sends. */
  interfaceName?: string
}

/** What there is to take. */
export type Traffic = {
  /** Those of ours that lead to pods, of one family. */
  routes: readonly NamedRoute[]
  /** Addresses of this host, of the same family. */
  own: readonly string[]
  ownsInterface(name: string): boolean
}

/** Of each sort of sender, and of each sort of route that one of another table hides, so many are tried. */
const SOME = 2
/** So many routes of another table are asked about. */
const MOST_HIDDEN = 64

/** Rules that the kernel asks before it looks into `table` for every packet, by their order; all, where it never does. */
export function rulesBefore(
  rules: readonly RoutingRule[],
  table: number,
): { before: RoutingRule[]; looksThere: boolean } {
  const at = rules.findIndex(rule => rule.action === 'lookup' && rule.table === table && isForAll(rule))
  const before = at < 0 ? rules : rules.slice(0, at)
  const mayTake = ({ action, table: of }: RoutingRule) =>
    action !== 'nop' && (action !== 'lookup' || (of !== table && of !== ROUTE_TABLE.local))
  return { before: before.filter(mayTake), looksThere: at >= 0 }
}

function isForAll(rule: RoutingRule): boolean {
  const { family: _, priority: __, action: ___, table: ____, ...asked } = rule
  return Object.keys(asked).length === 0
}

/** Packets that a rule may take; several for one destination, each from another sender. `table`: what is in the table of the rule. */
export function probesOf(rule: RoutingRule, table: readonly NamedRoute[], traffic: Traffic): Probe[] {
  // what a bound socket or a process of some user sends is no packet of a pod, and those of a VRF have its table
  if (rule.outInterface !== undefined || rule.users !== undefined || rule.ofVrf === true) return []
  const { destination } = rule.inverted ? {} : rule
  const routes = traffic.routes.filter(({ dst }) => destination === undefined || overlaps(destination, dst))
  const targets =
    rule.action === 'lookup' ? hiddenBy(rule, table, { ...traffic, routes }) : everySort({ ...traffic, routes })
  const senders = sendersOf(rule, traffic)
  return targets
    .map(hides => ({ hides: hides.route, dst: addressIn(hides.within, destination) }))
    .filter(target => target.dst !== undefined)
    .flatMap(({ hides, dst }) =>
      senders.flatMap(sender => {
        // a node does not forward from one other node to another
        const isToPod = hides.interfaceName !== undefined && traffic.ownsInterface(hides.interfaceName)
        if (sender.source === dst || (sender.sort === 'nodes' && !isToPod)) return []
        return packetsFrom(sender, rule).map(packet => ({
          ...{ dst: dst as string, hides, packet },
          ...(sender.interfaceName !== undefined && { interfaceName: sender.interfaceName }),
        }))
      }),
    )
    .filter(probe => isAskedFor(rule, probe))
}

/** Without a rule that leads to our table: whether packets get there nonetheless. */
export function probesOfAll(traffic: Traffic): Probe[] {
  const all: RoutingRule = {
    family: familyOf(traffic.routes[0]?.dst ?? '0.0.0.0/0'),
    priority: 0,
    action: 'unreachable',
  }
  return probesOf(all, [], traffic)
}

type Target = { route: NamedRoute; within: string }

/** Some routes to pods here, and some to other nodes. */
function everySort({ routes, ownsInterface }: Traffic): Target[] {
  const some = new SomeOfEach(ownsInterface)
  for (const route of routes) some.take({ route, within: route.dst })
  return some.taken
}

class SomeOfEach {
  readonly #ownsInterface: Traffic['ownsInterface']
  readonly taken: Target[] = []
  readonly #counts = { pods: 0, others: 0 }

  constructor(ownsInterface: Traffic['ownsInterface']) {
    this.#ownsInterface = ownsInterface
  }

  take(target: Target): void {
    const sort = this.#ownsInterface(target.route.interfaceName ?? '') ? 'pods' : 'others'
    if (this.#counts[sort]++ < SOME) this.taken.push(target)
  }
}

/** Where the routes of another table lead packets elsewhere: for each of those, to some of our routes. */
function hiddenBy(rule: RoutingRule, table: readonly NamedRoute[], traffic: Traffic): Target[] {
  const index = new PrefixIndex<NamedRoute>()
  for (const route of table.toSorted((a, b) => (b.metric ?? 0) - (a.metric ?? 0))) {
    const prefix = parsePrefix(route.dst)
    if (prefix !== undefined && !isSuppressed(route, rule)) index.set(prefix, route)
  }
  const hidden = new Map<NamedRoute, SomeOfEach>()
  for (const route of traffic.routes) {
    const prefix = parsePrefix(route.dst)
    if (prefix === undefined) continue
    const over = index.match(prefix)
    for (const other of [...(over === undefined ? [] : [over]), ...index.within(prefix)])
      if (other.type !== 'throw' && !leadsSame(other, route)) {
        const some = hidden.get(other) ?? new SomeOfEach(traffic.ownsInterface)
        some.take({ route, within: contains(route.dst, other.dst) ? other.dst : route.dst })
        if (hidden.size < MOST_HIDDEN) hidden.set(other, some)
      }
  }
  return [...hidden.values()].flatMap(({ taken }) => taken)
}

function isSuppressed({ dst }: NamedRoute, { suppressedLength }: RoutingRule): boolean {
  return suppressedLength !== undefined && Number(dst.split('/')[1]) <= suppressedLength
}

/** Whether packets go the same way by both routes. */
export function leadsSame(found: NamedRoute, ours: NamedRoute): boolean {
  return found.type === ours.type && hopsOf(found).every(hop => hopsOf(ours).some(own => isSameHop(hop, own)))
}

/** Where packets go by a route: one of these. */
function hopsOf(route: NamedRoute): readonly Partial<NamedNextHop>[] {
  return route.nextHops ?? [route]
}

function isSameHop(found: Partial<NamedNextHop>, ours: Partial<NamedNextHop>): boolean {
  const isOver = ours.interfaceName === undefined || found.interfaceName === ours.interfaceName
  return found.gateway === ours.gateway && isOver
}

type Sender = { sort: 'host' | 'pods' | 'nodes'; source?: string; interfaceName?: string }

/** Some of each sort: this host, by its addresses too, pods here, and pods of other nodes. */
function sendersOf(rule: RoutingRule, { routes, own, ownsInterface }: Traffic): Sender[] {
  const asked: Partial<RoutingRule> = rule.inverted ? {} : rule
  const some: Record<Sender['sort'], Sender[]> = { host: [], pods: [], nodes: [] }
  if (asked.source === undefined) some.host.push({ sort: 'host' })
  const add = (sort: Sender['sort'], of: string, interfaceName?: string) => {
    const comesIn = asked.inInterface === undefined || asked.inInterface === (interfaceName ?? 'lo')
    // of very many routes the comparison of addresses is most of the work
    const source = comesIn && some[sort].length < SOME ? addressIn(of, asked.source) : undefined
    if (source === undefined) return
    some[sort].push({ sort, source, ...(interfaceName !== undefined && { interfaceName }) })
  }
  for (const address of own) add('host', address)
  for (const { dst, interfaceName } of routes)
    if (interfaceName !== undefined) add(ownsInterface(interfaceName) ? 'pods' : 'nodes', dst, interfaceName)
  return Object.values(some).flat()
}

function packetsFrom({ source, interfaceName }: Sender, rule: RoutingRule): Probe['packet'][] {
  const { tos, protocol, sourcePorts, destinationPorts } = rule.inverted ? ({} as Partial<RoutingRule>) : rule
  const packet = {
    ...(source !== undefined && { source }),
    ...(tos !== undefined && { tos }),
    ...(protocol !== undefined && { protocol }),
    ...(sourcePorts !== undefined && { sourcePort: sourcePorts.first }),
    ...(destinationPorts !== undefined && { destinationPort: destinationPorts.first }),
  }
  return [packet, ...(interfaceName === undefined ? [] : [{ ...packet, mark: ACCEPTED_EARLY }])]
}

/** Whether the rule is about this packet. */
export function isAskedFor(rule: RoutingRule, { dst, packet, interfaceName = 'lo' }: Omit<Probe, 'hides'>): boolean {
  const { source, destination, inInterface, mark, tos, protocol, sourcePorts, destinationPorts } = rule
  const meets =
    (source === undefined || (packet.source !== undefined && contains(source, packet.source))) &&
    (destination === undefined || contains(destination, dst)) &&
    (inInterface === undefined || inInterface === interfaceName) &&
    (mark === undefined || (((packet.mark ?? 0) ^ mark.value) & mark.mask) === 0) &&
    (tos === undefined || tos === packet.tos) &&
    (protocol === undefined || protocol === packet.protocol) &&
    isAmong(packet.sourcePort, sourcePorts) &&
    isAmong(packet.destinationPort, destinationPorts)
  return meets !== (rule.inverted ?? false)
}

function isAmong(port: number | undefined, range: PortRange | undefined): boolean {
  return range === undefined || (port !== undefined && port >= range.first && port <= range.last)
}

/** The first address of what both CIDRs have; undefined where that is nothing. */
function addressIn(cidr: string, other: string | undefined): string | undefined {
  const whole = cidr.includes('/') ? cidr : `${cidr}/${familyOf(cidr) === 'ipv4' ? 32 : 128}`
  if (other !== undefined && !overlaps(whole, other)) return undefined
  const smaller = other === undefined || contains(other, whole) ? whole : other
  const [address, length] = smaller.split('/') as [string, string]
  return maskAddress(address, Number(length))
}

/** As `ip rule` has it, without its priority. */
export function ruleText(rule: RoutingRule): string {
  const { inverted, source, destination, inInterface, outInterface, mark, tos, protocol, users } = rule
  const hex = (value: number) => `0x${(value >>> 0).toString(16)}`
  const range = (name: string, of: { first: number; last: number } | undefined) =>
    of === undefined
      ? []
      : [name, of.first === of.last && name !== 'uidrange' ? `${of.first}` : `${of.first}-${of.last}`]
  return [
    ...(inverted === true ? ['not'] : []),
    ...['from', source ?? 'all'],
    ...(destination === undefined ? [] : ['to', destination]),
    ...(tos === undefined ? [] : ['tos', hex(tos)]),
    ...(mark === undefined ? [] : ['fwmark', `${hex(mark.value)}/${hex(mark.mask)}`]),
    ...(inInterface === undefined ? [] : ['iif', inInterface]),
    ...(outInterface === undefined ? [] : ['oif', outInterface]),
    ...range('uidrange', users),
    ...(protocol === undefined ? [] : ['ipproto', `${protocol}`]),
    ...range('sport', rule.sourcePorts),
    ...range('dport', rule.destinationPorts),
    ...actionWords(rule),
  ].join(' ')
}

function actionWords({ action, table, target, ofVrf, suppressedLength }: RoutingRule): string[] {
  if (ofVrf === true) return ['l3mdev']
  if (action === 'goto') return ['goto', `${target ?? 0}`]
  if (action !== 'lookup') return [action]
  const suppressed = suppressedLength === undefined ? [] : ['suppress_prefixlength', `${suppressedLength}`]
  return ['lookup', `${table}`, ...suppressed]
}
