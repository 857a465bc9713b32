// Follows who has which floating address (agent/cluster/floating.ts), and has this node do its part: felix translates and routes
// those of its pods, the speaker announces them, and connections that led elsewhere are cut. Of pods elsewhere felix learns that
// they have the address, which may lie in a block of this node.
// Hazards: before all kinds are known nothing may be told: an address that is left out would be withdrawn after a restart. What
// a Pod's annotations say of its own addresses counts for nobody: whoever may annotate a Pod could take one from another. Pods
// come and go all the time and few ask: what others do costs a look-up each.
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../api/kinds.ts'
import type { Condition } from '../api/status.ts'
import type { PodEndpoint } from '../cni/endpoints.ts'
import type { Caches } from '../datastore/cache.ts'
import type { CacheChange } from '../datastore/kind-cache.ts'
import type { FloatingTarget } from '../felix/calc/floating.ts'
import type { FloatingAddress } from '../felix/input.ts'
import type { Felix } from '../felix/loop.ts'
import type { Cancel } from '../lib/clock.ts'
import { familyOf } from '../lib/ip.ts'
import {
  decideFloating,
  type FloatingClaim,
  type FloatingDecision,
  floatingClaim,
  floatingCondition,
  MOST_FLOATING,
} from './cluster/floating.ts'
import { statusAddressesOf } from './cluster/policies/endpoints.ts'
import type { FloatingFlows } from './floating-flows.ts'

export type FloatingAddressesDeps = {
  caches: Pick<Caches, 'of'>
  felix: Pick<Felix, 'set' | 'completeFloating'>
  flows: Pick<FloatingFlows, 'adopt' | 'follow' | 'close'>
  selects: (selector: string, namespace: string) => boolean | undefined
  /** The name of a node that has an address, also for a tunnel. */
  nodeWith: (address: string) => string | undefined
  /** `held` is another list. */
  changed: () => void
  report: (conditions: readonly Condition[]) => void
}

const KINDS = ['Pod', 'Namespace', 'IPPool', 'IPReservation', 'Node', 'FelixConfiguration'] as const

export class FloatingAddresses {
  readonly #deps: FloatingAddressesDeps
  readonly #claims = new Map<string, FloatingClaim>()
  /** The pods whose own address is one that some pod asks for. */
  readonly #owners = new Map<string, Set<string>>()
  /** The interface of each pod of this node that asks, by `namespace/name`. */
  readonly #here = new Map<string, PodEndpoint>()
  readonly #told = new Map<string, FloatingAddress>()
  readonly #cancels: Cancel[] = []
  #held: readonly string[] = []
  #scheduled = false
  #complete = false
  #closed = false

  constructor(deps: FloatingAddressesDeps) {
    this.#deps = deps
  }

  /** Begins; what is known by now is told before it returns. */
  async start(): Promise<void> {
    const { caches, flows } = this.#deps
    await flows.adopt()
    const pods = caches.of('Pod')
    this.#cancels.push(pods.onChange(change => this.#podChanged(change)))
    for (const kind of KINDS) {
      const cache = caches.of(kind)
      this.#cancels.push(cache.onState(() => !this.#complete && this.#later()))
      if (kind !== 'Pod') this.#cancels.push(cache.onChange(() => this.#claims.size > 0 && this.#later()))
    }
    for (const pod of pods.all()) this.#claim(pod, keyOf(pod))
    this.#tell()
  }

  /** The interface of a pod of this node by which it is reached; undefined: it has none here. */
  setHere(key: string, endpoint: PodEndpoint | undefined): void {
    if (this.#here.get(key) === endpoint) return
    if (endpoint === undefined) this.#here.delete(key)
    else this.#here.set(key, endpoint)
    if (this.#claims.has(key)) this.#later()
  }

  /** The floating addresses that lead to pods of this node. */
  get held(): readonly string[] {
    return this.#held
  }

  /** Those that lead to one interface, by its id, in the order of their texts. */
  of(endpoint: string): FloatingTarget[] {
    return this.#held.flatMap(address => {
      const told = this.#told.get(address)
      return told?.at === 'here' && told.endpoint === endpoint ? [{ address, to: told.to }] : []
    })
  }

  close(): void {
    this.#closed = true
    for (const cancel of this.#cancels) cancel()
    this.#deps.flows.close()
  }

  #podChanged({ key, before, after }: CacheChange<'Pod'>): void {
    const didClaim = this.#claims.has(key)
    const doesClaim = after !== undefined && this.#claim(after, key)
    if (after === undefined) this.#claims.delete(key)
    let isOwner = false
    for (const address of before === undefined ? [] : statusAddressesOf(before))
      isOwner = this.#owners.get(address)?.delete(key) === true || isOwner
    for (const address of after === undefined ? [] : statusAddressesOf(after)) {
      isOwner ||= this.#owners.has(address)
      this.#owners.get(address)?.add(key)
    }
    if (didClaim || doesClaim || isOwner) this.#later()
  }

  /** Takes in what a Pod asks for; returns whether it asks. */
  #claim(pod: Resource<'Pod'>, key: string): boolean {
    const claim = floatingClaim(pod)
    if (claim === undefined) this.#claims.delete(key)
    else this.#claims.set(key, claim)
    return claim !== undefined
  }

  /** One decision for all changes of this turn of the event loop. */
  #later(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (!this.#closed) this.#tell()
    })
  }

  #tell(): void {
    const { caches, felix, flows, changed, report } = this.#deps
    if (!KINDS.every(kind => caches.of(kind).known)) return
    const decision = this.#decide()
    const now = new Map<string, FloatingAddress>()
    const conditions: Condition[] = []
    for (const [address, key] of decision?.holders ?? []) {
      const endpoint = this.#here.get(key)
      const to = endpoint?.addresses.find(own => familyOf(own) === familyOf(address))
      if (endpoint === undefined) now.set(address, { at: 'elsewhere' })
      else if (to !== undefined) now.set(address, { at: 'here', endpoint: endpoint.id, to })
    }
    for (const claim of this.#claims.values()) {
      const condition = this.#here.has(claim.key) ? this.#condition(claim, decision, now) : undefined
      if (condition !== undefined) conditions.push(condition)
    }
    for (const address of this.#told.keys()) if (!now.has(address)) felix.set('floating', address, undefined)
    for (const [address, value] of now) felix.set('floating', address, value)
    this.#told.clear()
    for (const [address, value] of now) this.#told.set(address, value)
    if (!this.#complete) felix.completeFloating()
    this.#complete = true
    const targets = [...now].flatMap(([address, value]): FloatingTarget[] =>
      value.at === 'here' ? [{ address, to: value.to }] : [],
    )
    flows.follow(targets)
    report(conditions)
    const held = targets.map(({ address }) => address).sort()
    if (isDeepStrictEqual(held, this.#held)) return
    this.#held = held
    changed()
  }

  /** Undefined where FelixConfiguration wants none. */
  #decide(): FloatingDecision | undefined {
    const { caches, selects, nodeWith } = this.#deps
    if (caches.of('FelixConfiguration').get('default')?.spec.floatingIPs !== 'Enabled') return undefined
    this.#findOwners()
    return decideFloating(this.#claims.values(), {
      pools: caches.of('IPPool').all(),
      reserved: caches
        .of('IPReservation')
        .all()
        .flatMap(({ spec }) => spec.reservedCIDRs),
      selects,
      ownerOf: address => {
        const [pod] = this.#owners.get(address) ?? []
        const node = nodeWith(address)
        return node === undefined ? pod && `Pod ${pod}` : `node ${node}`
      },
    })
  }

  /** Looks through all Pods only where an address is asked for that nobody asked for before. */
  #findOwners(): void {
    const asked = new Set([...this.#claims.values()].flatMap(({ addresses }) => addresses))
    for (const address of this.#owners.keys()) if (!asked.has(address)) this.#owners.delete(address)
    const fresh = [...asked].filter(address => !this.#owners.has(address))
    if (fresh.length === 0) return
    for (const address of fresh) this.#owners.set(address, new Set())
    for (const pod of this.#deps.caches.of('Pod').all())
      for (const address of statusAddressesOf(pod)) this.#owners.get(address)?.add(keyOf(pod))
  }

  /** What is told of a pod of this node. */
  #condition(
    claim: FloatingClaim,
    decision: FloatingDecision | undefined,
    now: ReadonlyMap<string, FloatingAddress>,
  ): Condition | undefined {
    if (claim.unusable === 'invalid')
      return floatingCondition(claim, {
        reason: 'Invalid',
        messages: [`${claim.fault}, and none of it counts`],
        remedy: `write a list of up to ${MOST_FLOATING} addresses in JSON, such as ["192.0.2.7", "2001:db8::7"], or take the annotation away`,
      })
    if (decision === undefined)
      return floatingCondition(claim, {
        reason: 'Disabled',
        messages: ['no pod has floating addresses'],
        remedy: 'set floatingIPs: Enabled in FelixConfiguration default, or take the annotation away',
      })
    const refused = decision.refused.get(claim.key) ?? []
    const lacking = claim.addresses.filter(each => decision.holders.get(each) === claim.key && !now.has(each))
    const [first] = refused
    if (first === undefined && lacking.length === 0) return undefined
    return floatingCondition(claim, {
      reason: first?.reason ?? 'FamilyMissing',
      messages: [
        ...refused.map(({ message }) => message),
        ...lacking.map(address => `the pod has no address of the family of ${address}`),
      ],
      remedy: first?.remedy ?? 'ask for addresses of the families that the pod has',
    })
  }
}

function keyOf({ metadata: { namespace = '', name } }: Resource<'Pod'>): string {
  return `${namespace}/${name}`
}
