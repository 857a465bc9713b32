// Follows who has which floating address (agent/cluster/floating.ts), and has this node do its part: felix translates and routes
// those of its pods, the speaker announces them, and connections that led elsewhere are cut. Of pods elsewhere felix learns that
// they have the address, which may lie in a block of this node.
// Hazards: before all kinds are known nothing may be told: an address that is left out would be withdrawn after a restart. What
// a Pod's annotations say of its own addresses counts for nobody: whoever may annotate a Pod could take one from another. Pods
// come and go all the time, and whoever may annotate one changes what it asks for as often as he likes: a change costs what it is
// about, a few addresses, and never a look at all Pods or at all that is asked for.
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../api/kinds.ts'
import type { Condition } from '../api/status.ts'
import type { PodEndpoint } from '../cni/endpoints.ts'
import type { Caches } from '../datastore/cache.ts'
import type { CacheChange } from '../datastore/kind-cache.ts'
import type { FloatingTarget } from '../felix/calc/floating.ts'
import type { FloatingAddress } from '../felix/input.ts'
import type { Felix } from '../felix/loop.ts'
import { reservedBy } from '../ipam/pick.ts'
import type { Cancel } from '../lib/clock.ts'
import { familyOf } from '../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../lib/prefix-index.ts'
import {
  type FloatingClaim,
  type FloatingRefusal,
  type FloatingWorld,
  floatingClaim,
  floatingCondition,
  floatingHolder,
  floatingRanges,
  floatingRefusal,
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

/**
 * Of an address that is asked for: the key of the pod that has it, why pods of this node that ask have it not, by their keys,
 * and the node that had it as its own.
 */
type Decided = {
  holder: string | undefined
  refused: ReadonlyMap<string, FloatingRefusal>
  node: string | undefined
}

export class FloatingAddresses {
  readonly #deps: FloatingAddressesDeps
  readonly #claims = new Map<string, FloatingClaim>()
  /** Those that ask for each address, by their keys. */
  readonly #asking = new Map<string, Map<string, FloatingClaim>>()
  readonly #decided = new Map<string, Decided>()
  /** Addresses to decide about. */
  readonly #stale = new Set<string>()
  /** `disabled`: FelixConfiguration wants no floating addresses. Undefined: it is to be looked at again. */
  #world: FloatingWorld | 'disabled' | undefined
  #nodesChanged = false
  /** The pods whose own address is one that a pod could ask for, by the address; `#ranges` says which these are. */
  readonly #owners = new Map<string, Set<string>>()
  #ranges: readonly string[] = []
  #inRanges = new PrefixIndex<true>()
  /** The interface of each pod of this node, by `namespace/name`. */
  readonly #here = new Map<string, PodEndpoint>()
  readonly #told = new Map<string, FloatingAddress>()
  /** What of it leads to pods of this node. */
  readonly #led = new Map<string, FloatingAddress & { at: 'here' }>()
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
    }
    for (const kind of ['IPPool', 'IPReservation', 'FelixConfiguration'] as const)
      this.#cancels.push(caches.of(kind).onChange(() => this.#worldChanged()))
    this.#cancels.push(
      caches.of('Namespace').onChange(({ key }) => this.#namespaceChanged(key)),
      caches.of('Node').onChange(() => this.#nodeChanged()),
    )
    for (const pod of pods.all()) this.#claim(keyOf(pod), floatingClaim(pod))
    this.#tell()
  }

  /** The interface of a pod of this node by which it is reached; undefined: it has none here. */
  setHere(key: string, endpoint: PodEndpoint | undefined): void {
    if (this.#here.get(key) === endpoint) return
    if (endpoint === undefined) this.#here.delete(key)
    else this.#here.set(key, endpoint)
    const claim = this.#claims.get(key)
    if (claim !== undefined) this.#lookAgain(claim.addresses)
  }

  /** The floating addresses that lead to pods of this node. */
  get held(): readonly string[] {
    return this.#held
  }

  /** The `namespace/name` of the pod to which an address leads, on any node. */
  holderOf(address: string): string | undefined {
    return this.#decided.get(address)?.holder
  }

  /** The address of a pod of this node that this one is translated to; undefined: it leads to none here. */
  targetOf(address: string): string | undefined {
    return this.#led.get(address)?.to
  }

  /** Those that lead to one interface, by its id, in the order of their texts. */
  of(endpoint: string): FloatingTarget[] {
    return this.#held.flatMap(address => {
      const led = this.#led.get(address)
      return led?.endpoint === endpoint ? [{ address, to: led.to }] : []
    })
  }

  close(): void {
    this.#closed = true
    for (const cancel of this.#cancels) cancel()
    this.#deps.flows.close()
  }

  #podChanged({ key, before, after }: CacheChange<'Pod'>): void {
    const claim = after && floatingClaim(after)
    if (!isDeepStrictEqual(claim, this.#claims.get(key))) this.#claim(key, claim)
    const [had = [], has = []] = [before, after].map(pod => pod && statusAddressesOf(pod))
    if (isDeepStrictEqual(had, has)) return
    for (const address of had) this.#own(address, key, false)
    for (const address of has) this.#own(address, key, true)
    this.#lookAgain([...had, ...has].filter(address => this.#asking.has(address)))
  }

  /** Sets what a Pod asks for. */
  #claim(key: string, claim: FloatingClaim | undefined): void {
    const before = this.#claims.get(key)
    for (const address of before?.addresses ?? []) {
      const asking = this.#asking.get(address)
      asking?.delete(key)
      if (asking?.size === 0) this.#asking.delete(address)
    }
    if (claim === undefined) this.#claims.delete(key)
    else this.#claims.set(key, claim)
    for (const address of claim?.addresses ?? [])
      this.#asking.set(address, (this.#asking.get(address) ?? new Map()).set(key, claim))
    if (before !== undefined || claim !== undefined)
      this.#lookAgain([...(before?.addresses ?? []), ...(claim?.addresses ?? [])])
  }

  /** Whether a pod has an address as its own, of those that another could ask for. */
  #own(address: string, key: string, does: boolean): void {
    const owners = this.#owners.get(address)
    if (does) {
      if (this.#inRanges.match(parsePrefix(address)!) !== undefined)
        this.#owners.set(address, (owners ?? new Set()).add(key))
    } else if (owners?.delete(key) === true && owners.size === 0) this.#owners.delete(address)
  }

  /** Whom the selectors of pools choose. */
  #namespaceChanged(namespace: string): void {
    const asking = this.#claims.values().filter(claim => claim.namespace === namespace)
    this.#lookAgain([...asking].flatMap(({ addresses }) => addresses))
  }

  #nodeChanged(): void {
    if (this.#asking.size === 0) return
    this.#nodesChanged = true
    this.#later()
  }

  #worldChanged(): void {
    this.#world = undefined
    if (this.#claims.size > 0) this.#later()
  }

  #lookAgain(addresses: readonly string[]): void {
    for (const address of addresses) this.#stale.add(address)
    this.#later()
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
    const { caches, felix, flows, changed, report, nodeWith } = this.#deps
    if (!KINDS.every(kind => caches.of(kind).known)) return
    if (this.#claims.size > 0) this.#world ??= this.#look()
    if (this.#nodesChanged)
      for (const [address, { node }] of this.#decided) if (nodeWith(address) !== node) this.#stale.add(address)
    this.#nodesChanged = false
    for (const address of this.#stale) this.#decide(address)
    this.#stale.clear()
    if (!this.#complete) felix.completeFloating()
    this.#complete = true
    flows.follow([...this.#led].map(([address, { to }]) => ({ address, to })))
    const conditions = this.#here.keys().map(key => this.#condition(this.#claims.get(key)))
    report([...conditions].filter(each => each !== undefined))
    const held = [...this.#led.keys()].sort()
    if (isDeepStrictEqual(held, this.#held)) return
    this.#held = held
    changed()
  }

  /** Decides who has one address, and tells felix where that is another than before. */
  #decide(address: string): void {
    const { felix } = this.#deps
    const decided = this.#holds(address)
    if (decided === undefined) this.#decided.delete(address)
    else this.#decided.set(address, decided)
    const now = this.#leads(address, decided?.holder)
    if (isDeepStrictEqual(now, this.#told.get(address))) return
    felix.set('floating', address, now)
    if (now === undefined) this.#told.delete(address)
    else this.#told.set(address, now)
    if (now?.at === 'here') this.#led.set(address, now)
    else this.#led.delete(address)
  }

  #holds(address: string): Decided | undefined {
    const asking = this.#asking.get(address)
    const world = this.#world
    if (asking === undefined || world === undefined || world === 'disabled') return undefined
    const holder = floatingHolder(address, asking.values(), world)
    const refused = new Map<string, FloatingRefusal>()
    for (const key of this.#here.keys()) {
      const claim = asking.get(key)
      const refusal = claim && floatingRefusal(address, claim, world, holder)
      if (refusal !== undefined) refused.set(key, refusal)
    }
    return { holder, refused, node: this.#deps.nodeWith(address) }
  }

  #leads(address: string, holder: string | undefined): FloatingAddress | undefined {
    if (holder === undefined) return undefined
    const endpoint = this.#here.get(holder)
    if (endpoint === undefined) return { at: 'elsewhere' }
    const to = endpoint.addresses.find(own => familyOf(own) === familyOf(address))
    return to === undefined ? undefined : { at: 'here', endpoint: endpoint.id, to }
  }

  /** What the configuration says, which is about all addresses. */
  #look(): FloatingWorld | 'disabled' {
    const { caches, selects, nodeWith } = this.#deps
    for (const address of this.#asking.keys()) this.#stale.add(address)
    if (caches.of('FelixConfiguration').get('default')?.spec.floatingIPs !== 'Enabled') {
      this.#findOwners([])
      return 'disabled'
    }
    const pools = caches.of('IPPool').all()
    const reservations = caches.of('IPReservation').all()
    const reserved = reservations.flatMap(({ spec }) => spec.reservedCIDRs)
    this.#findOwners(floatingRanges(pools, reserved))
    return {
      ...{ pools, selects, isReserved: reservedBy(reserved) },
      ownerOf: address => {
        // several may say so for a moment: the same one is told in whatever order they came
        const [pod] = [...(this.#owners.get(address) ?? [])].sort()
        const node = nodeWith(address)
        return node === undefined ? pod && `Pod ${pod}` : `node ${node}`
      },
    }
  }

  /** Looks through all Pods, only where the ranges are others: few pods have an own address there. */
  #findOwners(ranges: readonly string[]): void {
    if (isDeepStrictEqual(ranges, this.#ranges)) return
    this.#ranges = ranges
    this.#inRanges = new PrefixIndex()
    this.#owners.clear()
    const prefixes = ranges.map(parsePrefix).filter(each => each !== undefined)
    for (const prefix of prefixes) this.#inRanges.set(prefix, true)
    if (prefixes.length === 0) return
    for (const pod of this.#deps.caches.of('Pod').all())
      for (const address of statusAddressesOf(pod)) this.#own(address, keyOf(pod), true)
  }

  /** What is told of a pod of this node. */
  #condition(claim: FloatingClaim | undefined): Condition | undefined {
    if (claim === undefined) return undefined
    if (claim.unusable === 'invalid')
      return floatingCondition(claim, {
        reason: 'Invalid',
        messages: [`${claim.fault}, and none of it counts`],
        remedy: `write a list of up to ${MOST_FLOATING} addresses in JSON, such as ["192.0.2.7", "2001:db8::7"], or take the annotation away`,
      })
    if (this.#world === 'disabled')
      return floatingCondition(claim, {
        reason: 'Disabled',
        messages: ['no pod has floating addresses'],
        remedy: 'set floatingIPs: Enabled in FelixConfiguration default, or take the annotation away',
      })
    const decided = claim.addresses.map(address => ({ address, ...this.#decided.get(address) }))
    const refused = decided.map(each => each.refused?.get(claim.key)).filter(each => each !== undefined)
    const lacking = decided.filter(each => each.holder === claim.key && !this.#told.has(each.address))
    const [first] = refused
    if (first === undefined && lacking.length === 0) return undefined
    return floatingCondition(claim, {
      reason: first?.reason ?? 'FamilyMissing',
      messages: [
        ...refused.map(({ message }) => message),
        ...lacking.map(({ address }) => `the pod has no address of the family of ${address}`),
      ],
      remedy: first?.remedy ?? 'ask for addresses of the families that the pod has',
    })
  }
}

function keyOf({ metadata: { namespace = '', name } }: Resource<'Pod'>): string {
  return `${namespace}/${name}`
}
