// Which policies are asked for the pods and the host endpoints of this node, and in which order. Endpoints that ask the same
// policies in the same order share a list, and a policy counts only while some list has it. A pod has one list per direction, a
// host endpoint one for each of its slots. A change of a policy's rules touches
// the lists that have it; a change of what it selects, or of its place, touches the endpoints that it selects.
// Hazard: a list must be the same whatever came first, so it is made from what is there, never from what it was.
import { isDeepStrictEqual } from 'node:util'
import type { Labels } from '../../api/selector.ts'
import { formatRef } from '../../api/status.ts'
import type { HostStage, LocalEndpoint, LocalHost, Policy, Profile, SelectorText, Tier } from './model.ts'
import { addTo, put, removeFrom } from './multi-map.ts'
import { comparePolicies, compareTiers } from './order.ts'
import { SelectorIndex } from './selector-index.ts'
import { cut, digitsOf } from './sources.ts'

export type Direction = 'ingress' | 'egress'

/**
 * Where a host endpoint asks a list: of what is for the host or from it, of what is forwarded, before destinations are translated,
 * and before connections are tracked. Pods ask the first two alone, of all that they send and receive.
 */
export const SLOTS = {
  ingress: { stage: 'normal', direction: 'ingress' },
  egress: { stage: 'normal', direction: 'egress' },
  forwardIngress: { stage: 'forward', direction: 'ingress' },
  forwardEgress: { stage: 'forward', direction: 'egress' },
  preDnatIngress: { stage: 'preDNAT', direction: 'ingress' },
  untrackedIngress: { stage: 'untracked', direction: 'ingress' },
  untrackedEgress: { stage: 'untracked', direction: 'egress' },
} as const satisfies Record<string, { stage: HostStage; direction: Direction }>

export type Slot = keyof typeof SLOTS
export const SLOT_NAMES = Object.keys(SLOTS) as Slot[]
const POD_SLOTS: readonly Slot[] = ['ingress', 'egress']

export type AskedTier = { name: string; defaultAction: Tier['defaultAction']; policies: readonly Policy[] }

/** What is asked for a packet of one direction: tiers in order, each with the policies in order, then profiles in order. */
export type PolicyList = {
  key: string
  direction: Direction
  /** Absent: of pods, and of what is for hosts and from them. */
  stage?: Exclude<HostStage, 'normal'>
  tiers: readonly AskedTier[]
  /** Undefined: no object of this name. Empty where some tier decides everything. */
  profiles: readonly { name: string; profile: Profile | undefined }[]
}

/** The lists of one pod, by their keys. */
export type EndpointLists = { interfaceName: string } & Readonly<Record<Direction, string>>

/** The lists of one host endpoint, by their keys. A slot without one asks nothing and lets all pass. */
export type HostLists = { interfaces: readonly string[]; lists: Readonly<Partial<Record<Slot, string>>> }

/** What changed, by key of the list, of the pod and of the host endpoint. */
export type ActiveChanges = {
  lists: ReadonlyMap<string, PolicyList | undefined>
  endpoints: ReadonlyMap<string, EndpointLists | undefined>
  hosts: ReadonlyMap<string, HostLists | undefined>
}

/** An endpoint of this node. Its lists are known once the cluster says its labels. */
type Local = {
  readonly key: string
  local: LocalEndpoint | LocalHost
  labels: Labels | undefined
  readonly lists: ListsBySlot
  /** What was last told. */
  told: EndpointLists | HostLists | undefined
}

type ListsBySlot = { [S in Slot]?: List | undefined }

/** The tiers that some selectors lead to, the digits that stand for them, and whether profiles count behind them. */
type Asked = { tiers: readonly TierPolicies[]; digits: string; isDecided: boolean }
type AskedBySlot = { [S in Slot]?: Asked }

type TierPolicies = { tier: string; policies: readonly string[] }

/** A list by names; what stands behind them is looked up when it is told. */
type List = {
  readonly key: string
  readonly slot: Slot
  readonly tiers: readonly TierPolicies[]
  readonly profiles: readonly string[]
  uses: number
  isTold: boolean
}

const DIRECTIONS = ['ingress', 'egress'] as const
/** How a text ends that was cut. */
const CUT = /~[0-9a-f]{8}$/

export class ActivePolicies {
  readonly #tiers = new Map<string, Tier>()
  readonly #policies = new Map<string, Policy>()
  readonly #profiles = new Map<string, Profile>()
  readonly #locals = new Map<string, Local>()
  readonly #bySelector = new Map<SelectorText, Set<string>>()
  readonly #index = new SelectorIndex<Local>({
    entered: (_, local) => this.#moved.add(local),
    left: (_, local) => this.#moved.add(local),
  })
  readonly #lists = new Map<string, List>()
  /** The lists that name a tier, a policy or a profile: `tier NAME`, `policy KEY`, `profile NAME`. */
  readonly #listsWith = new Map<string, Set<List>>()
  /** Endpoints whose lists may be other ones. */
  readonly #moved = new Set<Local>()
  /** Lists whose content may be another one. */
  readonly #changed = new Set<List>()

  setTier(name: string, tier: Tier | undefined): void {
    const before = this.#tiers.get(name)
    if (isDeepStrictEqual(before, tier)) return
    put(this.#tiers, name, tier)
    const lists = this.#listsWith.get(`tier ${name}`) ?? new Set()
    for (const list of lists) this.#changed.add(list)
    if (before?.order === tier?.order && before?.defaultAction === tier?.defaultAction) return
    for (const local of this.#locals.values())
      if (SLOT_NAMES.some(slot => lists.has(local.lists[slot]!))) this.#moved.add(local)
  }

  setPolicy(key: string, policy: Policy | undefined): void {
    const before = this.#policies.get(key)
    put(this.#policies, key, policy)
    for (const list of this.#listsWith.get(`policy ${key}`) ?? []) this.#changed.add(list)
    if (before !== undefined && policy !== undefined && isDeepStrictEqual(placeOf(before), placeOf(policy))) return
    if (policy !== undefined) this.#select(key, policy.selector)
    if (before !== undefined) this.#unselect(key, before.selector, policy)
  }

  setProfile(name: string, profile: Profile | undefined): void {
    put(this.#profiles, name, profile)
    for (const list of this.#listsWith.get(`profile ${name}`) ?? []) this.#changed.add(list)
  }

  /** An endpoint of this node, with the labels that it has in the cluster as far as they are known. */
  setLocal(key: string, told: LocalEndpoint | LocalHost | undefined, labels: Labels | undefined): void {
    const known = this.#locals.get(key)
    if (told === undefined) {
      if (known === undefined) return
      this.#locals.delete(key)
      this.#label(known, undefined)
      return
    }
    const local = known ?? { key, local: told, labels: undefined, lists: {}, told: undefined }
    local.local = told
    this.#locals.set(key, local)
    this.#label(local, labels)
    this.#moved.add(local)
  }

  /** An endpoint of the cluster has other labels. Nothing is done for those of other nodes. */
  setLabels(key: string, labels: Labels | undefined): void {
    const local = this.#locals.get(key)
    if (local !== undefined) this.#label(local, labels)
  }

  /** The policy of this key, which may be cut (`rule-text.ts`). Looks at all of them for one that is cut. */
  policyNamed(name: string): Policy | undefined {
    const known = this.#policies.get(name)
    if (known !== undefined || !CUT.test(name)) return known
    for (const [key, policy] of this.#policies) if (cut(key, name.length) === name) return policy
    return undefined
  }

  /** What changed since the last call. */
  take(): ActiveChanges {
    const endpoints = new Map<string, EndpointLists | undefined>()
    const hosts = new Map<string, HostLists | undefined>()
    const asked = new Map<string, AskedBySlot>()
    for (const local of this.#moved) {
      const lists = local.labels === undefined ? {} : this.#listsFor(local, asked)
      for (const slot of SLOT_NAMES) this.#assign(local, slot, lists[slot])
      const now = listsTold(local)
      if (isDeepStrictEqual(now, local.told)) continue
      local.told = now
      const changes: Map<string, EndpointLists | HostLists | undefined> = isHost(local.local) ? hosts : endpoints
      // one that went and came again under its key is another object
      if (now !== undefined || !changes.has(local.key)) changes.set(local.key, now)
    }
    this.#moved.clear()
    const lists = new Map<string, PolicyList | undefined>()
    for (const list of this.#changed) {
      if (list.uses > 0) lists.set(list.key, this.#contentOf(list))
      else {
        this.#forget(list)
        if (list.isTold) lists.set(list.key, undefined)
      }
      list.isTold = list.uses > 0
    }
    this.#changed.clear()
    return { lists, endpoints, hosts }
  }

  #label(local: Local, labels: Labels | undefined): void {
    if ((local.labels === undefined) !== (labels === undefined)) this.#moved.add(local)
    local.labels = labels
    this.#index.set(local, labels)
  }

  #select(key: string, selector: SelectorText): void {
    const keys = this.#bySelector.get(selector)
    if (keys === undefined) {
      this.#bySelector.set(selector, new Set([key]))
      this.#index.register(selector)
    } else keys.add(key)
    for (const local of this.#index.itemsOf(selector)) this.#moved.add(local)
  }

  /** `now`: the policy has this selector from now on. */
  #unselect(key: string, selector: SelectorText, now: Policy | undefined): void {
    for (const local of this.#index.itemsOf(selector)) this.#moved.add(local)
    if (now?.selector === selector) return
    const keys = this.#bySelector.get(selector)!
    keys.delete(key)
    if (keys.size > 0) return
    this.#bySelector.delete(selector)
    this.#index.unregister(selector)
  }

  /** Gives an endpoint the list that it must have now. */
  #assign(local: Local, slot: Slot, now: List | undefined): void {
    const before = local.lists[slot]
    if (before === now) return
    local.lists[slot] = now
    if (now !== undefined && now.uses++ === 0) this.#changed.add(now)
    if (before !== undefined && --before.uses === 0) this.#changed.add(before)
  }

  /** `asked`: what was found in this step, by what decides it. Hundreds of endpoints can have thousands of policies in common. */
  #listsFor(of: Local, asked: Map<string, AskedBySlot>): ListsBySlot {
    const selectors = this.#index.selectorsOf(of).sort()
    const slots = isHost(of.local) ? SLOT_NAMES : POD_SLOTS
    const why = digitsOf(JSON.stringify([slots, selectors]))
    const found = asked.get(why) ?? this.#askedFor(selectors, slots)
    asked.set(why, found)
    const lists: ListsBySlot = {}
    for (const slot of slots) lists[slot] = this.#listFor(slot, found[slot]!, of.local.profiles)
    return lists
  }

  #askedFor(selectors: readonly SelectorText[], slots: readonly Slot[]): AskedBySlot {
    const asked: AskedBySlot = {}
    for (const slot of slots) {
      const tiers = this.#tiersFor(selectors, slot)
      const isDecided = tiers.some(tier => decidesAll(this.#asked(tier), SLOTS[slot].direction))
      asked[slot] = { tiers, digits: digitsOf(JSON.stringify(tiers)), isDecided }
    }
    return asked
  }

  #listFor(slot: Slot, { tiers, digits, isDecided }: Asked, own: readonly string[]): List | undefined {
    const { stage, direction } = SLOTS[slot]
    const isNormal = stage === 'normal'
    if (!isNormal && tiers.length === 0) return undefined
    // endpoints with other profiles can share the list then
    const profiles = isDecided || !isNormal ? [] : own
    const key = digitsOf(JSON.stringify([direction, digits, profiles, ...(isNormal ? [] : [stage])]))
    const known = this.#lists.get(key)
    if (known !== undefined) return known
    const made: List = { key, slot, tiers, profiles, uses: 0, isTold: false }
    this.#lists.set(key, made)
    for (const name of namesIn(made)) addTo(this.#listsWith, name, made)
    return made
  }

  #forget(list: List): void {
    this.#lists.delete(list.key)
    for (const name of namesIn(list)) removeFrom(this.#listsWith, name, list)
  }

  #tiersFor(selectors: readonly SelectorText[], slot: Slot): TierPolicies[] {
    const { stage, direction } = SLOTS[slot]
    const byTier = new Map<string, [key: string, policy: Policy][]>()
    for (const selector of selectors)
      for (const key of this.#bySelector.get(selector) ?? []) {
        const policy = this.#policies.get(key)!
        if (policy[direction] === undefined || !isAskedAt(stage, policy)) continue
        const policies = byTier.get(policy.tier)
        if (policies === undefined) byTier.set(policy.tier, [[key, policy]])
        else policies.push([key, policy])
      }
    return [...byTier.keys()]
      .map(tier => [tier, this.#tiers.get(tier)] as const)
      .sort(compareTiers)
      .map(([tier]) => {
        const policies = byTier.get(tier)!.sort(([, a], [, b]) => comparePolicies(a, b))
        return { tier, policies: policies.map(([key]) => key) }
      })
  }

  #asked({ tier, policies }: TierPolicies): AskedTier {
    return {
      name: tier,
      defaultAction: this.#tiers.get(tier)?.defaultAction ?? 'deny',
      policies: policies.map(policy => this.#policies.get(policy)!),
    }
  }

  #contentOf({ key, slot, tiers, profiles }: List): PolicyList {
    const { stage, direction } = SLOTS[slot]
    return {
      key,
      direction,
      ...(stage !== 'normal' && { stage }),
      tiers: tiers.map(tier => this.#asked(tier)),
      profiles: profiles.map(name => ({ name, profile: this.#profiles.get(name) })),
    }
  }
}

/** The keys of all policies that a list has. */
export function policiesOf(list: PolicyList | undefined): string[] {
  return (list?.tiers ?? []).flatMap(({ policies }) => policies.map(({ ref }) => formatRef(ref)))
}

/** Whether nothing behind a tier is ever asked: it ends with a denial, and no rule passes on. */
export function decidesAll({ defaultAction, policies }: AskedTier, direction: Direction): boolean {
  const enforced = policies.filter(({ staged }) => staged !== true)
  return defaultAction === 'deny' && enforced.length > 0 && !enforced.some(policy => passes(policy, direction))
}

/** Whether some rule of a policy passes packets on to the next tier. */
export function passes(policy: Policy, direction: Direction): boolean {
  return (policy[direction] ?? []).some(({ action, never }) => action === 'pass' && never !== true)
}

/** Policies on what is forwarded are about what is for the host and from it, too. */
function isAskedAt(stage: HostStage, { hostStage }: Policy): boolean {
  return hostStage === stage || (stage === 'normal' && hostStage === 'forward')
}

function isHost(local: LocalEndpoint | LocalHost): local is LocalHost {
  return 'interfaces' in local
}

/** What is told of an endpoint, once the cluster says its labels. */
function listsTold({ local, lists }: Local): EndpointLists | HostLists | undefined {
  const { ingress, egress } = lists
  if (ingress === undefined || egress === undefined) return undefined
  if (!isHost(local)) return { interfaceName: local.interfaceName, ingress: ingress.key, egress: egress.key }
  const keys: Partial<Record<Slot, string>> = {}
  for (const slot of SLOT_NAMES) if (lists[slot] !== undefined) keys[slot] = lists[slot].key
  return { interfaces: local.interfaces, lists: keys }
}

/** What of a policy decides in which lists it is, and where. */
function placeOf(policy: Policy): unknown {
  const { tier, order, sortName, selector, staged, hostStage } = policy
  const each = DIRECTIONS.map(direction => [policy[direction] === undefined, passes(policy, direction)])
  return [tier, order, sortName, selector, staged, each, hostStage]
}

function* namesIn({ tiers, profiles }: List): Generator<string> {
  for (const { tier, policies } of tiers) {
    yield `tier ${tier}`
    for (const policy of policies) yield `policy ${policy}`
  }
  for (const profile of profiles) yield `profile ${profile}`
}
