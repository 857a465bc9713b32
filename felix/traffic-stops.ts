// What keeps packets of all pods, or of the pods of a whole device, from passing this node: the state of the uplink, and what
// the kernel refuses. Pure. Hazard: no object or route of another node may take readiness away, so a refused route counts
// only where the reason is on this node.
import { broken, type CauseOf, type Condition, conditionKey, type ObjectRef } from '../api/status.ts'
import { PROBE_INTERFACE } from '../kernel/pod-interface.ts'
import { ERRNO } from '../kernel/port/error.ts'
import type { Link } from '../kernel/port/links.ts'
import type { Refusal } from '../kernel/reconcile/outcome.ts'
import { contains } from '../lib/ip.ts'
import type { DesiredState } from './desired.ts'
import { refOf } from './refusals.ts'

export type Here = {
  /** What the names of the pods' interfaces begin with. */
  interfacePrefix: string
  /** Addresses and masks of this node. */
  subnets: readonly string[]
  /** As they were last seen, as far as they are known. */
  uplinks: readonly Link[]
  wanted: Pick<DesiredState, 'route' | 'destination'>
}

/** Refusals that a route of another node may cause: its next hop is not where that node says. */
const OF_NEXT_HOP: readonly (number | undefined)[] = [ERRNO.EINVAL, ERRNO.ENETUNREACH, ERRNO.EHOSTUNREACH]

/** One condition for each cause. */
export function trafficStops(told: readonly Refusal[], here: Here): Condition[] {
  const refused = withLinkDown(told, here.uplinks)
  const own = new Set(ownRefusals(refused, here.interfacePrefix))
  const stops = refused.filter(refusal =>
    own.has(refusal) ? refusal.kind !== 'nftTable' : leadsAway(refusal, here.interfacePrefix) && isLocal(refusal, here),
  )
  const conditions = [...Map.groupBy(stops, causeKey).values()].map(stopCondition)
  const named = new Set(conditions.map(({ object }) => object?.name))
  const which = here.uplinks.length > 1 ? 'an' : 'the'
  for (const { name, up, running } of here.uplinks) {
    if (up && !running)
      conditions.push(
        stopped(linkRef(name), {
          reason: 'NoCarrier',
          message: `${name}, ${which} uplink of this node, has no carrier`,
          remedy: 'look at the cable and at the port of the switch',
        }),
      )
    // where nothing is refused that has to go over it
    if (!up && !named.has(name))
      conditions.push(
        stopped(linkRef(name), {
          reason: 'LinkDown',
          message: `${name}, ${which} uplink of this node, is down`,
          remedy: `take it up: ip link set ${name} up`,
        }),
      )
  }
  return conditions
}

/** Over an interface that is down the kernel finds no way to a next hop (ENETUNREACH): the cause is the interface. */
function withLinkDown(refused: readonly Refusal[], uplinks: readonly Link[]): readonly Refusal[] {
  const down = new Set(refused.flatMap(({ errno, interfaceName }) => (errno === ERRNO.ENETDOWN ? [interfaceName] : [])))
  for (const { name, up } of uplinks) if (!up) down.add(name)
  const isDown = ({ reason, interfaceName }: Refusal) =>
    reason === 'Refused' && interfaceName !== undefined && down.has(interfaceName)
  return refused.map(refusal => (isDown(refusal) ? { ...refusal, errno: ERRNO.ENETDOWN } : refusal))
}

/**
 * What concerns this node alone. A pod's interface that is gone is that pod's loss: a pod can delete its interface, and the node
 * serves the others.
 */
export function ownRefusals(refusals: readonly Refusal[], interfacePrefix: string): Refusal[] {
  const gone = new Set(
    refusals.map(({ reason, interfaceName }) => (reason === 'NoInterface' ? interfaceName : undefined)),
  )
  const onLostPod = (name: string | undefined) => name?.startsWith(interfacePrefix) === true && gone.has(name)
  return refusals.filter(
    refusal =>
      !leadsAway(refusal, interfacePrefix) &&
      !onLostPod(refusal.interfaceName) &&
      // no pod is behind it
      refusal.interfaceName !== PROBE_INTERFACE,
  )
}

/**
 * Sets and chains are those of policies, and shaping is what annotations of pods ask: whoever may write either must not be able to
 * take a node out of service.
 */
const ASKED_BY_USERS: readonly Refusal['kind'][] = ['nftSet', 'nftChain', 'shaping']

/**
 * Routes, neighbours and forwarding entries on another interface than a pod's lead to other nodes; elements of nftables
 * that name no interface are addresses of nodes.
 */
function leadsAway({ kind, interfaceName }: Refusal, interfacePrefix: string): boolean {
  if (ASKED_BY_USERS.includes(kind)) return true
  if (kind === 'nftElement') return interfaceName === undefined
  const leads = kind === 'route' || kind === 'neighbour' || kind === 'fdb'
  return leads && interfaceName !== undefined && !interfaceName.startsWith(interfacePrefix)
}

function isLocal({ kind, key, reason, errno }: Refusal, { subnets, wanted }: Here): boolean {
  if (ASKED_BY_USERS.includes(kind)) return false
  if (reason === 'NoInterface' || errno === ERRNO.ENETDOWN) return true
  if (reason === 'ForeignOwner' || kind === 'nftElement') return false
  if (kind !== 'route') return !OF_NEXT_HOP.includes(errno)
  const route = wanted.route.get(key)
  if (route === undefined || ![...wanted.destination.keys()].some(pool => contains(pool, route.dst))) return false
  if (!OF_NEXT_HOP.includes(errno)) return true
  const { gateway } = route
  // a next hop in the node's own subnet that is out of reach: this node lost its address or the route of its subnet
  return errno === ERRNO.ENETUNREACH && gateway !== undefined && subnets.some(subnet => contains(subnet, gateway))
}

function causeKey({ kind, key, reason, errno, interfaceName }: Refusal): string {
  return `${interfaceName ?? `${kind} ${key}`} ${reason} ${errno ?? ''}`
}

function stopCondition(group: readonly Refusal[]): Condition {
  const first = group[0]!
  const { interfaceName: name, reason, errno, key, kind } = first
  const more = group.length > 1 ? ` and ${group.length - 1} more` : ''
  const lacking = `${kind} ${key}${more} cannot be there`
  if (name !== undefined && reason === 'NoInterface') {
    const remedy = 'bring the interface back; if the uplink was renamed, restart the agent'
    return stopped(linkRef(name), { reason, message: `interface ${name} is not there: ${lacking}`, remedy })
  }
  if (name !== undefined && errno === ERRNO.ENETDOWN)
    return stopped(linkRef(name), {
      reason: 'LinkDown',
      message: `interface ${name} is down: ${lacking}`,
      remedy: `take it up: ip link set ${name} up`,
    })
  const message = `${kind} ${key}${more}: ${first.message}`
  const remedy = 'it is tried again; look at what the kernel says, and at what else writes there'
  return stopped(refOf(first), { reason, message, remedy })
}

function stopped(object: ObjectRef, cause: CauseOf<'PodTrafficPasses'>): Condition {
  return broken('PodTrafficPasses', { object, ...cause })
}

function linkRef(name: string): ObjectRef {
  return { kind: 'Link', name }
}

/** Conditions that count once they have held for a while: what is healed at once is no news. */
export class Lasting {
  readonly #graceMs: number
  #sinceMs = new Map<string, number>()

  constructor(graceMs: number) {
    this.#graceMs = graceMs
  }

  /** Those that hold long enough; `waitMs`: how long until another one does. */
  take(conditions: readonly Condition[], nowMs: number): { lasting: Condition[]; waitMs?: number } {
    const sinceMs = new Map<string, number>()
    for (const key of conditions.map(conditionKey)) sinceMs.set(key, this.#sinceMs.get(key) ?? nowMs)
    this.#sinceMs = sinceMs
    const leftMs = (condition: Condition) => sinceMs.get(conditionKey(condition))! + this.#graceMs - nowMs
    const waiting = conditions.map(leftMs).filter(left => left > 0)
    const lasting = conditions.filter(condition => leftMs(condition) <= 0)
    return waiting.length === 0
      ? { lasting }
      : { lasting, waitMs: waiting.reduce((first, each) => Math.min(first, each)) }
  }
}
