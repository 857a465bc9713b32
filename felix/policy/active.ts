// Which policies are asked for the pods of this node, and in which order. Endpoints that ask the same policies in the same
// order share one list per direction, and a policy counts only while some list has it. A change of a policy's rules touches
// the lists that have it; a change of what it selects, or of its place, touches the endpoints that it selects.
// Hazard: a list must be the same whatever came first, so it is made from what is there, never from what it was.
import { isDeepStrictEqual } from 'node:util'
import type { Labels } from '../../api/selector.ts'
import type { LocalEndpoint, Policy, Profile, SelectorText, Tier } from './model.ts'
import { addTo, put, removeFrom } from './multi-map.ts'
import { comparePolicies, compareTiers } from './order.ts'
import { SelectorIndex } from './selector-index.ts'
import { cut, digitsOf } from './sources.ts'

export type Direction = 'ingress' | 'egress'

export type AskedTier = { name: string; defaultAction: Tier['defaultAction']; policies: readonly Policy[] }

/** What is asked for a packet of one direction: tiers in order, each with the policies in order, then profiles in order. */
export type PolicyList = {
  key: string
  direction: Direction
  tiers: readonly AskedTier[]
  /** Undefined: no object of this name. Empty where some tier decides everything. */
  profiles: readonly { name: string; profile: Profile | undefined }[]
}

/** The lists of one endpoint, by their keys. */
export type EndpointLists = { interfaceName: string } & Readonly<Record<Direction, string>>

/** What changed, by key of the list and of the endpoint. */
export type ActiveChanges = {
  lists: ReadonlyMap<string, PolicyList | undefined>
  endpoints: ReadonlyMap<string, EndpointLists | undefined>
}

/** An endpoint of this node. Its lists are known once the cluster says its labels. */
type Local = {
  readonly key: string
  local: LocalEndpoint
  labels: Labels | undefined
  readonly lists: ListsByDirection
  /** What was last told. */
  told: EndpointLists | undefined
}

type ListsByDirection = { [D in Direction]?: List | undefined }

/** The tiers that some selectors lead to, the digits that stand for them, and whether profiles count behind them. */
type Asked = { tiers: readonly TierPolicies[]; digits: string; isDecided: boolean }
type AskedByDirection = Readonly<Record<Direction, Asked>>

type TierPolicies = { tier: string; policies: readonly string[] }

/** A list by names; what stands behind them is looked up when it is told. */
type List = {
  readonly key: string
  readonly direction: Direction
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
      if (DIRECTIONS.some(direction => lists.has(local.lists[direction]!))) this.#moved.add(local)
  }

  setPolicy(key: string, policy: Policy | undefined): void {
    const before = this.#policies.get(key)
    put(this.#policies, key, policy)
    for (const list of this.#listsWith.get(`policy ${key}`) ?? []) this.#changed.add(list)
    if (before !== undefined && policy !== undefined && isDeepStrictEqual(placeOf(before), placeOf(policy))) return
    if (policy !== undefined && isOfPods(policy)) this.#select(key, policy.selector)
    if (before !== undefined && isOfPods(before)) this.#unselect(key, before.selector, policy)
  }

  setProfile(name: string, profile: Profile | undefined): void {
    put(this.#profiles, name, profile)
    for (const list of this.#listsWith.get(`profile ${name}`) ?? []) this.#changed.add(list)
  }

  /** An endpoint of this node, with the labels that it has in the cluster as far as they are known. */
  setLocal(key: string, told: LocalEndpoint | undefined, labels: Labels | undefined): void {
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
    const asked = new Map<string, AskedByDirection>()
    for (const local of this.#moved) {
      const lists = local.labels === undefined ? {} : this.#listsFor(local, asked)
      for (const direction of DIRECTIONS) this.#assign(local, direction, lists[direction])
      const { ingress, egress } = local.lists
      const now = ingress &&
        egress && { interfaceName: local.local.interfaceName, ingress: ingress.key, egress: egress.key }
      if (isDeepStrictEqual(now, local.told)) continue
      local.told = now
      // one that went and came again under its key is another object
      if (now !== undefined || !endpoints.has(local.key)) endpoints.set(local.key, now)
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
    return { lists, endpoints }
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
    if (now?.selector === selector && isOfPods(now)) return
    const keys = this.#bySelector.get(selector)!
    keys.delete(key)
    if (keys.size > 0) return
    this.#bySelector.delete(selector)
    this.#index.unregister(selector)
  }

  /** Gives an endpoint the list that it must have now. */
  #assign(local: Local, direction: Direction, now: List | undefined): void {
    const before = local.lists[direction]
    if (before === now) return
    local.lists[direction] = now
    if (now !== undefined && now.uses++ === 0) this.#changed.add(now)
    if (before !== undefined && --before.uses === 0) this.#changed.add(before)
  }

  /** `asked`: what was found in this step, by what decides it. Hundreds of endpoints can have thousands of policies in common. */
  #listsFor(local: Local, asked: Map<string, AskedByDirection>): ListsByDirection {
    const selectors = this.#index.selectorsOf(local).sort()
    const why = digitsOf(JSON.stringify(selectors))
    let found = asked.get(why)
    if (found === undefined) {
      found = { ingress: this.#askedFor(selectors, 'ingress'), egress: this.#askedFor(selectors, 'egress') }
      asked.set(why, found)
    }
    const { profiles } = local.local
    return {
      ingress: this.#listFor('ingress', found.ingress, profiles),
      egress: this.#listFor('egress', found.egress, profiles),
    }
  }

  #askedFor(selectors: readonly SelectorText[], direction: Direction): Asked {
    const tiers = this.#tiersFor(selectors, direction)
    const isDecided = tiers.some(tier => decidesAll(this.#asked(tier), direction))
    return { tiers, digits: digitsOf(JSON.stringify(tiers)), isDecided }
  }

  #listFor(direction: Direction, { tiers, digits, isDecided }: Asked, own: readonly string[]): List {
    // endpoints with other profiles can share the list then
    const profiles = isDecided ? [] : own
    const key = digitsOf(JSON.stringify([direction, digits, profiles]))
    const known = this.#lists.get(key)
    if (known !== undefined) return known
    const made: List = { key, direction, tiers, profiles, uses: 0, isTold: false }
    this.#lists.set(key, made)
    for (const name of namesIn(made)) addTo(this.#listsWith, name, made)
    return made
  }

  #forget(list: List): void {
    this.#lists.delete(list.key)
    for (const name of namesIn(list)) removeFrom(this.#listsWith, name, list)
  }

  #tiersFor(selectors: readonly SelectorText[], direction: Direction): TierPolicies[] {
    const byTier = new Map<string, [key: string, policy: Policy][]>()
    for (const selector of selectors)
      for (const key of this.#bySelector.get(selector) ?? []) {
        const policy = this.#policies.get(key)!
        if (policy[direction] === undefined) continue
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

  #contentOf({ key, direction, tiers, profiles }: List): PolicyList {
    return {
      key,
      direction,
      tiers: tiers.map(tier => this.#asked(tier)),
      profiles: profiles.map(name => ({ name, profile: this.#profiles.get(name) })),
    }
  }
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

/** What is asked before addresses are translated or connections tracked is for hosts only. */
function isOfPods({ hostStage }: Policy): boolean {
  return hostStage === 'normal' || hostStage === 'forward'
}

/** What of a policy decides in which lists it is, and where. */
function placeOf(policy: Policy): unknown {
  const { tier, order, sortName, selector, staged } = policy
  const each = DIRECTIONS.map(direction => [policy[direction] === undefined, passes(policy, direction)])
  return [tier, order, sortName, selector, staged, each, isOfPods(policy)]
}

function* namesIn({ tiers, profiles }: List): Generator<string> {
  for (const { tier, policies } of tiers) {
    yield `tier ${tier}`
    for (const policy of policies) yield `policy ${policy}`
  }
  for (const profile of profiles) yield `profile ${profile}`
}
