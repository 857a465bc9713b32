// How packets of this host's own interfaces reach the lists of its host endpoints: by one look-up of the interface in a map for
// each slot, and where that has none, by the list of the host endpoint for all interfaces. In order: before connections are
// tracked, before destinations are translated, and then as what is for the host, from it or forwarded. What the first two allow
// has a bit in its mark, by which the later ones know it; pods are asked all the same. An interface that no host endpoint is for
// is open. Without host endpoints there is nothing here, and without policies of a slot no base chain for it.
// Hazards: loopback, neighbour discovery, ports that stay open and tunnels between nodes are never judged: a node that is cut
// off hears of no correction. A packet of the host whose destination is translated has its interface in postrouting only.
import type { NftChain, NftHook, NftRule, NftSet, NftVerdict } from '../../kernel/port/nftables.ts'
import type { NftChainProgram } from '../../kernel/reconcile/nft-state.ts'
import {
  COUNTED_DROP,
  fromInterface,
  fromInterfaces,
  fromOwnAddress,
  isNeighbourDiscovery,
  isTranslated,
  jump,
  type Steps,
  toInterface,
  toInterfaces,
} from '../calc/nft-expressions.ts'
import { SLOT_NAMES, SLOTS, type Slot } from './active.ts'
import { ACCEPT_KNOWN, chainName, changeMark, IS_ACCEPTED_EARLY, openChain } from './chains.ts'
import { dropUnknown } from './cut-connections.ts'
import { type SetsOf, sourcesOf } from './matches.ts'
import type { HostSettings, HostTunnels, OpenPort, PolicyRule, Protocol, RuleSide } from './model.ts'
import { echoOfProbes } from './probes.ts'
import type { MemberSource, TableName } from './sources.ts'

/** The maps from the name of an interface to the chain of its list. */
export const HOST_MAPS: Readonly<Record<Slot, string>> = {
  ingress: 'to_host',
  egress: 'from_host',
  forwardIngress: 'host_forwarded_in',
  forwardEgress: 'host_forwarded_out',
  preDnatIngress: 'host_before_dnat',
  untrackedIngress: 'to_host_untracked',
  untrackedEgress: 'from_host_untracked',
}

export type HostRules = HostSettings & { interfacePrefix: string; tunnels: HostTunnels }

/** The keys of the lists of the host endpoint for all interfaces. */
export type ListsOfAll = Readonly<Partial<Record<Slot, string>>>

/** `slots`: in which some host endpoint has a list; empty where there is no host endpoint. */
export type HostDispatch = { rules: HostRules; slots: ReadonlySet<Slot>; all: ListsOfAll | undefined }

/** -300 is before connections are tracked; -150 before destinations are translated (-100); the others just before usual filters. */
const PRIORITY = { raw: -300, beforeDnat: -150, filter: -5 } as const
const OPEN = { ingress: 'host_open_in', egress: 'host_open_out' } as const
const OPEN_UNTRACKED = { ingress: 'host_open_in_untracked', egress: 'host_open_out_untracked' } as const
const LEAVING = 'host_leaving'
const IPIP: Protocol = 4
const UDP: Protocol = 17
/** The addresses of all Nodes. */
const NODES = 'all()'

/** The rules by which packets pass whatever the lists of host endpoints say. */
export function rulesThatOpen(rules: HostRules, direction: Direction): PolicyRule[] {
  return openRules(rules, direction).map(({ rule }) => rule)
}

type OpenRule = { rule: PolicyRule; comment: string }
type Direction = keyof typeof OPEN
type Rule = { expressions: Steps; comment?: string }

/** The sources of all sets that what stays open looks up. */
export function sourcesOfHosts(rules: HostRules): MemberSource[] {
  return (['ingress', 'egress'] as const).flatMap(direction =>
    openRules(rules, direction).flatMap(({ rule }) => sourcesOf(rule, undefined)),
  )
}

/** The maps that are there. */
export function hostMaps(table: TableName, slots: ReadonlySet<Slot>): NftSet[] {
  return SLOT_NAMES.filter(slot => slots.has(slot)).map((slot): NftSet => {
    return { kind: 'set', ...table, name: HOST_MAPS[slot], type: 'ifname', data: 'verdict' }
  })
}

/** What a map has for an interface of a host endpoint: its list, or nothing to ask, since that of all interfaces is not for it. */
export function toHostList(slot: Slot, key: string | undefined): NftVerdict {
  return key === undefined ? { verdict: 'accept' } : { verdict: 'goto', chain: chainName(SLOTS[slot].direction, key) }
}

/** The chains that are there beside those of the lists. */
export function hostChains(table: TableName, { rules, slots, all }: HostDispatch, setsOf: SetsOf): NftChainProgram[] {
  const chain = (name: string, of: readonly Rule[], base?: NftChain['base']): NftChainProgram => ({
    chain: { kind: 'chain', ...table, name, ...(base !== undefined && { base }) },
    rules: of.map((rule): NftRule => ({ kind: 'rule', ...table, chain: name, ...rule })),
  })
  const hooked = (name: string, hook: NftHook, priority: number, of: readonly Rule[]) =>
    chain(name, of, { type: 'filter', hook, priority, policy: 'accept' })
  const { interfacePrefix, podsToHost } = rules
  const isEarly = EARLY_SLOTS.some(slot => slots.has(slot))
  const fromPods = fromInterfaces(interfacePrefix)
  const toPods = toInterfaces(interfacePrefix)
  const accepted: Rule[] = isEarly ? [{ expressions: [...IS_ACCEPTED_EARLY, ...ACCEPT] }] : []
  const probes = [...echoOfProbes('iifname'), ...echoOfProbes('oifname')]
  const known: Rule = { expressions: ACCEPT_KNOWN }
  const open = (direction: Direction): Rule => ({ expressions: jump(OPEN[direction]) })
  const ask = (slot: Slot): Rule[] => [
    { expressions: lookUp(slot) },
    ...(all?.[slot] === undefined ? [] : [{ expressions: goto(chainName(SLOTS[slot].direction, all[slot])) }]),
  ]
  const opened = (name: string, of: readonly OpenRule[]): NftChainProgram => {
    const program = openChain(name, of, setsOf, table)
    const discovery: NftRule = {
      ...{ kind: 'rule', ...table, chain: name },
      ...{ expressions: [...isNeighbourDiscovery(), ...ACCEPT], comment: 'neighbour discovery' },
    }
    return { ...program, rules: [discovery, ...program.rules] }
  }
  const chains: NftChainProgram[] = []
  if (podsToHost === 'drop')
    chains.push(
      hooked('pods_to_host', 'input', PRIORITY.filter + 1, [
        known,
        { expressions: [...isNeighbourDiscovery(), ...ACCEPT] },
        { expressions: [...fromPods, ...COUNTED_DROP], comment: 'defaultEndpointToHostAction' },
      ]),
    )
  if (slots.size === 0) return chains
  chains.push(
    opened(OPEN.ingress, openRules(rules, 'ingress')),
    opened(OPEN.egress, openRules(rules, 'egress')),
    hooked('host_input', 'input', PRIORITY.filter, [
      { expressions: [...fromInterface(LOOPBACK), ...ACCEPT] },
      { expressions: [...fromPods, ...ACCEPT] },
      ...accepted,
      known,
      open('ingress'),
      dropUnknown('iifname', 'own'),
      ...ask('ingress'),
    ]),
    chain(LEAVING, [
      { expressions: [...toInterface(LOOPBACK), ...ACCEPT] },
      { expressions: [...toPods, ...ACCEPT] },
      ...accepted,
      known,
      open('egress'),
      dropUnknown('oifname', 'own'),
      ...ask('egress'),
    ]),
    hooked('host_output', 'output', PRIORITY.filter, [
      { expressions: [...isTranslated(), ...ACCEPT] },
      { expressions: goto(LEAVING) },
    ]),
    hooked('host_output_translated', 'postrouting', PRIORITY.filter, [
      { expressions: [...isTranslated(), ...fromOwnAddress(), ...goto(LEAVING)] },
    ]),
  )
  if (FORWARD_SLOTS.some(slot => slots.has(slot)))
    chains.push(
      hooked('host_forward_cut', 'forward', PRIORITY.filter - 3, [
        ...accepted,
        dropUnknown('iifname', 'forwarded'),
        dropUnknown('oifname', 'forwarded'),
      ]),
    )
  if (slots.has('forwardIngress'))
    chains.push(
      hooked('host_forward_in', 'forward', PRIORITY.filter - 2, [...accepted, ...probes, ...ask('forwardIngress')]),
    )
  if (slots.has('forwardEgress'))
    chains.push(hooked('host_forward_out', 'forward', PRIORITY.filter + 1, [...probes, ...ask('forwardEgress')]))
  if (slots.has('preDnatIngress'))
    chains.push(
      hooked('host_prerouting', 'prerouting', PRIORITY.beforeDnat, [
        { expressions: [...fromInterface(LOOPBACK), ...ACCEPT] },
        ...accepted,
        known,
        open('ingress'),
        ...ask('preDnatIngress'),
      ]),
    )
  if (!isEarly) return chains
  // programs of the host may mark their packets, and tunnels keep the marks of what they carry
  const unmark: Rule = { expressions: changeMark({ set: false }) }
  const raw = (slot: 'untrackedIngress' | 'untrackedEgress'): Rule[] => {
    if (!slots.has(slot)) return [unmark]
    const { direction } = SLOTS[slot]
    const name = OPEN_UNTRACKED[direction]
    chains.push(opened(name, [...openRules(rules, direction), ...openReplies(rules, direction)]))
    const notOfPods: Rule[] = direction === 'ingress' ? [{ expressions: [...fromPods, ...ACCEPT] }] : []
    return [unmark, ...notOfPods, { expressions: jump(name) }, { expressions: lookUp(slot) }]
  }
  const [rawIn, rawOut] = [raw('untrackedIngress'), raw('untrackedEgress')]
  chains.push(
    hooked('host_raw_in', 'prerouting', PRIORITY.raw, rawIn),
    hooked('host_raw_out', 'output', PRIORITY.raw, rawOut),
  )
  return chains
}

const EARLY_SLOTS: readonly Slot[] = ['preDnatIngress', 'untrackedIngress', 'untrackedEgress']
/** Where what is forwarded may be denied. */
const FORWARD_SLOTS: readonly Slot[] = ['forwardIngress', 'forwardEgress', 'preDnatIngress']
const LOOPBACK = 'lo'
const ACCEPT: Steps = [{ type: 'immediate', load: 0, data: { verdict: 'accept' } }]

function goto(chain: string): Steps {
  return [{ type: 'immediate', load: 0, data: { verdict: 'goto', chain } }]
}

/** `iifname vmap @MAP`. */
function lookUp(slot: Slot): Steps {
  return [
    { type: 'meta', key: SLOTS[slot].direction === 'ingress' ? 'iifname' : 'oifname', load: 1 },
    { type: 'lookup', set: HOST_MAPS[slot], from: 1, load: 0 },
  ]
}

function openRules({ inbound, outbound, tunnels }: HostRules, direction: Direction): OpenRule[] {
  const far = direction === 'ingress' ? 'source' : 'destination'
  const rule = (protocol: Protocol, ports?: number): PolicyRule => {
    const sides = { source: {}, destination: ports === undefined ? {} : { ports: portsOf([ports]) } }
    return { action: 'allow', protocol, ...sides, [far]: { ...sides[far], nodes: NODES } }
  }
  return [
    ...portRules(direction === 'ingress' ? inbound : outbound, { far, ports: 'destination' }),
    ...(tunnels.ipip ? [{ rule: rule(IPIP), comment: 'IP-in-IP between nodes' }] : []),
    ...(tunnels.vxlan ? [{ rule: rule(UDP, tunnels.vxlanPort), comment: 'VXLAN between nodes' }] : []),
  ]
}

/** Before connections are tracked: answers of what stays open in the other direction, or half of such a connection is not tracked. */
function openReplies({ inbound, outbound }: HostRules, direction: Direction): OpenRule[] {
  return direction === 'ingress'
    ? portRules(outbound, { far: 'source', ports: 'source' })
    : portRules(inbound, { far: 'destination', ports: 'source' })
}

type End = 'source' | 'destination'

/** One rule for all ports of one protocol and net. `far`: the end that the net is about. */
function portRules(open: readonly OpenPort[], { far, ports }: { far: End; ports: End }): OpenRule[] {
  const groups = Map.groupBy(open, ({ protocol, net = '' }) => `${protocol} ${net}`)
  return [...groups.values()].map(group => {
    const [{ protocol, net }] = group as [OpenPort]
    const sides: Record<End, RuleSide> = { source: {}, destination: {} }
    if (net !== undefined) sides[far] = { nets: [net] }
    sides[ports] = { ...sides[ports], ports: portsOf(group.map(({ port }) => port)) }
    return {
      rule: { action: 'allow', protocol, ...sides },
      comment: net === undefined ? 'failsafe' : `failsafe ${net}`,
    }
  })
}

function portsOf(ports: readonly number[]): NonNullable<RuleSide['ports']> {
  const ranges = [...new Set(ports)].sort((a, b) => a - b).map(port => ({ first: port, last: port }))
  return { ranges, names: [] }
}
