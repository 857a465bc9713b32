// Which address each Service of type LoadBalancer is to have, one step at a time. What is true is in the IPAMBlocks; the status of
// a Service follows: an address stands in a block before it stands in a status, and leaves the status before the block, so that
// whoever dies between two writes leaves nothing that two Services have. A Service keeps what it has while nothing speaks
// against it, also when it asks for something that it does not get, and when the pool is disabled, deleted or gone. Pure.
import type { Resource } from '../api/kinds.ts'
import { type IpPool, poolOf, usesOf } from '../api/pools.ts'
import { type Block, isEmpty, nextFree, parseBlock } from '../ipam/block.ts'
import { type ServiceHolder, serviceHolder, serviceHolders } from '../ipam/load-balancer.ts'
import { blockOf, poolsFor, reservedBy } from '../ipam/pick.ts'
import type { AssignRefusal } from '../ipam/port.ts'
import { addressAt, contains, type Family, familyOf, indexOf } from '../lib/ip.ts'
import {
  type AddressRefusal,
  type AssignIPs,
  asksForAddresses,
  isOfOurClass,
  type Service,
  SHARING_KEY,
  serviceWish,
  sharingClash,
  sharingKey,
} from './load-balancer-wish.ts'
import {
  canonical,
  conditionOf,
  entryOf,
  type Ingress,
  ingressOf,
  isOfInterest,
  isSaid,
  isShown,
  keyOf,
  sayable,
  shownBy,
} from './service-status.ts'

type BlockObject = Resource<'IPAMBlock'>

/** What decides beside Services and blocks. */
export type PlanInputs = {
  assignIPs: AssignIPs
  pools: readonly IpPool[]
  /** CIDRs and addresses of IPReservations. */
  reserved: readonly string[]
  /** Whether a selector of a pool takes a namespace; undefined: it is not known. */
  selectsNamespace(selector: string, namespace: string): boolean | undefined
}

/** What is to be done next for a Service. */
export type PlanStep =
  /** The address is of these Services, in this order, from then on; of none: it is free. */
  | { do: 'give'; block: string; ordinal: number; holders: readonly ServiceHolder[] }
  /** One of the pools needs a block more; `exact`: this one. */
  | { do: 'claim'; pools: readonly IpPool[]; exact?: string }
  /**
   * The status has these addresses from then on, and says why not others. `isOurs`: the condition is kept. `blocks`: those that give it
   * what it did not have before.
   */
  | {
      do: 'status'
      ingress: readonly Ingress[]
      refused: AddressRefusal | undefined
      isOurs: boolean
      blocks: readonly string[]
    }
  | { do: 'nothing'; refused: AddressRefusal | undefined }

/** An address in a block with all who have it. */
type Held = { address: string; family: Family; block: string; ordinal: number; holders: readonly ServiceHolder[] }

type KnownBlock = { block: Block; held: readonly Held[] }

type Known = { service: Service; holder: ServiceHolder }

/** Who shares an address stands in its block, which one write has to hold; and each is compared with those before it. */
const MOST_SHARERS = 64

export class LoadBalancerPlan {
  readonly #inputs: PlanInputs
  readonly #pools: readonly IpPool[]
  readonly #isReserved: (address: string) => boolean
  readonly #services = new Map<string, Known>()
  readonly #blocks = new Map<string, KnownBlock>()
  /** By handle. */
  readonly #held = new Map<string, Map<string, Held>>()
  /** Who has an address by its status, whoever wrote that. */
  readonly #shown = new Map<string, Set<string>>()
  /** Services by namespace and sharing key. */
  readonly #keys = new Map<string, Set<string>>()
  /** What Services of one key have, by namespace and key, as long as no Service or block changes. */
  readonly #shared = new Map<string, ReadonlySet<Held>>()
  /** Names of pools without a free block, and CIDRs of blocks that somebody else has. */
  readonly #shut = new Set<string>()

  /** `services`: all of which `isOfInterest`. `blocks`: all of the affinity of load balancers. */
  constructor(inputs: PlanInputs, services: Iterable<Service>, blocks: Iterable<BlockObject>) {
    this.#inputs = inputs
    this.#pools = inputs.pools.filter(({ spec }) => usesOf(spec).includes('LoadBalancer'))
    this.#isReserved = reservedBy(inputs.reserved)
    for (const service of services) this.setService(keyOf(service.metadata), service)
    for (const block of blocks) this.setBlock(block.metadata.name, block)
  }

  /** A Service is as it is here from now on; undefined: it is gone. */
  setService(key: string, service: Service | undefined): void {
    const before = this.#services.get(key)?.service
    this.#shared.clear()
    if (before !== undefined) {
      for (const address of shownBy(before)) this.#shown.get(address)?.delete(key)
      this.#keys.get(sharingGroup(before))?.delete(key)
    }
    this.#services.delete(key)
    if (service === undefined || !isOfInterest(service)) return
    this.#services.set(key, { service, holder: serviceHolder(service.metadata) })
    for (const address of shownBy(service)) add(this.#shown, address, key)
    if (sharingKey(service) !== undefined) add(this.#keys, sharingGroup(service), key)
  }

  /** A block is as it is here from now on; undefined: it is gone. */
  setBlock(name: string, item: BlockObject | undefined): void {
    this.#shared.clear()
    for (const each of this.#blocks.get(name)?.held ?? [])
      for (const { handle } of each.holders) this.#held.get(handle)?.delete(each.address)
    this.#blocks.delete(name)
    if (item === undefined) return
    const block = parseBlock(item)
    const held = block.slots.flatMap((slot, ordinal): Held[] => {
      if (slot === null) return []
      const address = addressAt(block.cidr, ordinal)
      return [{ address, family: familyOf(address), block: name, ordinal, holders: serviceHolders(slot) }]
    })
    this.#blocks.set(name, { block, held })
    for (const each of held)
      for (const { handle } of each.holders) {
        const its = this.#held.get(handle) ?? new Map<string, Held>()
        this.#held.set(handle, its.set(each.address, each))
      }
  }

  /** No block of a pool is free, or this block is not: a name or a CIDR. */
  shut(which: string): void {
    this.#shut.add(which)
  }

  /** Who has an address and is no Service that is known here: it is gone, is no load balancer any more, or is not heard of yet. */
  strangers(): ServiceHolder[] {
    const found = new Map<string, ServiceHolder>()
    for (const { held } of this.#blocks.values())
      for (const { holders } of held)
        for (const holder of holders) if (this.#live(holder) === undefined) found.set(holder.handle, holder)
    return [...found.values()]
  }

  /** Blocks that nothing lies in and of which no Service gets an address: their pool is gone, is being deleted, or is for others. */
  spares(): string[] {
    return [...this.#blocks].flatMap(([name, { block }]) => {
      const pool = isEmpty(block) ? poolOf(this.#inputs.pools, block.cidr) : undefined
      const isUseful = pool !== undefined && pool.metadata.deletionTimestamp === undefined && this.#pools.includes(pool)
      return isEmpty(block) && !isUseful ? [name] : []
    })
  }

  /** The next step for a Service that is there as `service`. */
  step(service: Service): PlanStep {
    const holder = serviceHolder(service.metadata)
    const shown = shownBy(service)
    const held = shownFirst(this.#held.get(holder.handle)?.values() ?? [], shown)
    if (!asksForAddresses(service, this.#inputs.assignIPs) || this.#isForeign(service, held))
      return this.#leave(service, holder, held)
    const wish = serviceWish(service)
    const isClear = !('reason' in wish)
    const refusals: AddressRefusal[] = isClear ? [] : [wish]
    const unserved: AddressRefusal[] = []
    const kept: Held[] = []
    for (const family of isClear ? wish.families : new Set(held.map(each => each.family))) {
      const mine = held.filter(each => each.family === family && this.#mayStay(each, service, holder))
      let best = isClear ? mine.find(each => this.#isWished(each, wish)) : mine[0]
      if (best === undefined && isClear && service.metadata.deletionTimestamp === undefined) {
        const found = this.#find(service, holder, family, wish)
        if ('do' in found) return found
        if (wish.oneIsEnough && found.reason === 'NoPool') unserved.push(found)
        else refusals.push(found)
      }
      best ??= mine[0]
      if (best !== undefined) kept.push(best)
    }
    const refused = sayable(refusals[0] ?? (kept.length === 0 ? unserved[0] : undefined))
    const said = { ingress: kept.map(({ address }) => entryOf(service, address)), refused }
    if (!isShown(service, said.ingress) || !isSaid(service, refused)) {
      const added = kept.filter(({ address }) => !shown.includes(address))
      return { do: 'status', ...said, isOurs: true, blocks: added.map(({ block }) => block) }
    }
    const dropped = held.find(each => !kept.includes(each))
    return dropped === undefined ? { do: 'nothing', refused } : withdrawn(dropped, holder)
  }

  /** It does not ask this program, or does no more: what it has of ours goes, and nothing else. */
  #leave(service: Service, holder: ServiceHolder, held: readonly Held[]): PlanStep {
    const ours = new Set(held.map(({ address }) => address))
    const ingress = ingressOf(service).filter(({ ip }) => ip === undefined || !ours.has(canonical(ip)))
    const isSaidNothing = conditionOf(service) === undefined && ingress.length === ingressOf(service).length
    if (!isSaidNothing && isOfOurClass(service))
      return { do: 'status', ingress, refused: undefined, isOurs: false, blocks: [] }
    return this.forget(holder)
  }

  /** The next step for what a Service that is gone has. */
  forget(holder: ServiceHolder): PlanStep {
    const [first] = this.#held.get(holder.handle)?.values() ?? []
    return first === undefined ? { do: 'nothing', refused: undefined } : withdrawn(first, holder)
  }

  /**
   * A Service without a class that is another program's business: that one wrote its status, with names or addresses of none of our
   * pools, or there is no pool for Services here. Two programs would go on writing for ever.
   */
  #isForeign(service: Service, held: readonly Held[]): boolean {
    if (service.spec.loadBalancerClass !== undefined) return false
    const isOurs = (address: string) =>
      held.some(each => each.address === address) || this.#pools.some(({ spec }) => contains(spec.cidr, address))
    if (ingressOf(service).length > 0) return !shownBy(service).some(isOurs)
    return held.length === 0 && this.#pools.length === 0
  }

  /** The Service of an address as it is there, if that is the one. */
  #live(holder: ServiceHolder): Service | undefined {
    const known = this.#services.get(keyOf(holder))
    return known?.holder.handle === holder.handle ? known.service : undefined
  }

  /** Whether who came before it still shares the address with it, as far as they are known. */
  #mayStay({ holders }: Held, service: Service, { handle }: ServiceHolder): boolean {
    const before = holders.slice(
      0,
      holders.findIndex(each => each.handle === handle),
    )
    return before.every(each => {
      const other = this.#live(each)
      return other === undefined || sharingClash(service, other) === undefined
    })
  }

  /** Why a Service may not have an address with all of these. */
  #clashWith(service: Service, holders: readonly ServiceHolder[]): string | undefined {
    if (holders.length >= MOST_SHARERS) return `with ${MOST_SHARERS - 1} others, and no more can share it`
    for (const holder of holders) {
      const other = this.#live(holder)
      const clash = other === undefined ? 'that one is not known here yet' : sharingClash(service, other)
      if (clash !== undefined) return clash
    }
    return undefined
  }

  #isWished({ address, family }: Held, wish: Wish): boolean {
    if (wish.addresses.length > 0) return wish.addresses.includes(address)
    const asked = wish.pools[family]
    const pool = poolOf(this.#pools, address)
    if (asked === undefined) return pool === undefined || pool.spec.assignmentMode === 'Automatic'
    return pool !== undefined && asked.some(word => word === pool.metadata.name || word === pool.spec.cidr)
  }

  /** Where it gets an address of a family. */
  #find(service: Service, holder: ServiceHolder, family: Family, wish: Wish): PlanStep | AddressRefusal {
    const { pools: all, selectsNamespace } = this.#inputs
    const address = wish.addresses.find(each => familyOf(each) === family)
    const pools = poolsFor(
      all,
      {
        ...{ use: 'LoadBalancer', family, namespace: service.metadata.namespace, address },
        pools: address === undefined ? wish.pools[family] : undefined,
      },
      { ...NO_SELECTOR, namespace: selectsNamespace },
    )
    if ('refused' in pools) return told(pools)
    if (address !== undefined) return this.#findExact(service, holder, address, pools[0]!)
    return (
      this.#findShown(service, holder, family, pools) ??
      this.#findShared(service, holder, family, pools) ??
      this.#findFree(service, holder, pools) ??
      this.#findBlock(pools)
    )
  }

  /** What its status has already: the block was lost, or another program gave it. */
  #findShown(service: Service, holder: ServiceHolder, family: Family, pools: readonly IpPool[]): PlanStep | undefined {
    for (const address of shownBy(service)) {
      const pool = familyOf(address) === family ? pools.find(({ spec }) => contains(spec.cidr, address)) : undefined
      const step = pool && this.#findExact(service, holder, address, pool)
      if (step !== undefined && 'do' in step) return step
    }
    return undefined
  }

  #findShared(service: Service, holder: ServiceHolder, family: Family, pools: readonly IpPool[]): PlanStep | undefined {
    if (sharingKey(service) === undefined) return undefined
    for (const each of this.#heldOf(sharingGroup(service))) {
      const isIn = each.family === family && pools.some(({ spec }) => contains(spec.cidr, each.address))
      if (!isIn || each.holders.some(({ handle }) => handle === holder.handle)) continue
      if (this.#clashWith(service, each.holders) === undefined)
        return { do: 'give', block: each.block, ordinal: each.ordinal, holders: [...each.holders, holder] }
    }
    return undefined
  }

  #heldOf(group: string): ReadonlySet<Held> {
    const known = this.#shared.get(group)
    if (known !== undefined) return known
    const holders = [...(this.#keys.get(group) ?? [])].map(key => this.#services.get(key)!.holder)
    const held = new Set(holders.flatMap(({ handle }) => [...(this.#held.get(handle)?.values() ?? [])]))
    this.#shared.set(group, held)
    return held
  }

  #findFree(service: Service, holder: ServiceHolder, pools: readonly IpPool[]): PlanStep | undefined {
    const isUsable = (address: string) => !this.#isReserved(address) && !this.#isOthers(address, service)
    for (const { spec } of pools)
      for (const [name, { block }] of this.#blocks) {
        const ordinal = contains(spec.cidr, block.cidr) ? nextFree(block, isUsable) : undefined
        if (ordinal !== undefined) return { do: 'give', block: name, ordinal, holders: [holder] }
      }
    return undefined
  }

  #findBlock(pools: readonly IpPool[]): PlanStep | AddressRefusal {
    const open = pools.filter(({ metadata }) => !this.#shut.has(metadata.name))
    if (open.length > 0) return { do: 'claim', pools: open }
    return {
      reason: 'NoAddressLeft',
      message: `no address is left in ${pools.map(({ metadata, spec }) => `IPPool ${metadata.name} (${spec.cidr})`).join(', ')}`,
      remedy: 'create another IPPool with allowedUses [LoadBalancer], or delete Services that nobody needs',
    }
  }

  #findExact(service: Service, holder: ServiceHolder, address: string, pool: IpPool): PlanStep | AddressRefusal {
    const known = [...this.#blocks].find(([, { block }]) => contains(block.cidr, address))
    const ordinal = known && indexOf(known[1].block.cidr, address)!
    const held = known?.[1].held.find(each => each.ordinal === ordinal)
    if (held !== undefined) return this.#join(held, service, holder)
    if (this.#isOthers(address, service)) return taken(address, 'the status of another Service has it')
    if (known !== undefined) return { do: 'give', block: known[0], ordinal: ordinal!, holders: [holder] }
    const exact = blockOf(pool, address)
    if (this.#shut.has(exact)) return taken(address, 'its block belongs to somebody else')
    return { do: 'claim', pools: [pool], exact }
  }

  #join(
    { address, block, ordinal, holders }: Held,
    service: Service,
    holder: ServiceHolder,
  ): PlanStep | AddressRefusal {
    const [first] = holders
    if (first === undefined) return taken(address, 'nobody can tell who has it')
    const clash = this.#clashWith(service, holders)
    if (clash === undefined) return { do: 'give', block, ordinal, holders: [...holders, holder] }
    // who has what in another namespace is not told
    const isNear = first.namespace === service.metadata.namespace
    return taken(address, `${isNear ? `Service ${first.name}` : 'a Service of another namespace'} has it (${clash})`)
  }

  /** Whether the status of a Service that does not share it has an address. */
  #isOthers(address: string, service: Service): boolean {
    const keys = [...(this.#shown.get(address) ?? [])].filter(key => key !== keyOf(service.metadata))
    return keys.some(key => sharingClash(service, this.#services.get(key)!.service) !== undefined)
  }
}

type Wish = Exclude<ReturnType<typeof serviceWish>, AddressRefusal>

const NO_SELECTOR = { node: () => true }

function withdrawn({ block, ordinal, holders }: Held, { handle }: ServiceHolder): PlanStep {
  return { do: 'give', block, ordinal, holders: holders.filter(each => each.handle !== handle) }
}

/** Those that its status has come first, in the order of that: whatever blocks do meanwhile, it stays as it is. */
function shownFirst(held: Iterable<Held>, shown: readonly string[]): Held[] {
  const place = ({ address }: Held) => (shown.includes(address) ? shown.indexOf(address) : shown.length)
  return [...held].sort((a, b) => place(a) - place(b))
}

function taken(address: string, why: string): AddressRefusal {
  return {
    ...{ reason: 'AddressTaken', message: `${address} is not free: ${why}` },
    remedy: `ask for another address, or for none; Services of one namespace share one with the same annotation ${SHARING_KEY}, different ports and, under externalTrafficPolicy Local, the same selector`,
  }
}

function told({ refused, message, remedy }: AssignRefusal): AddressRefusal {
  return { reason: refused === 'address-outside' ? 'AddressOutside' : 'NoPool', message, remedy }
}

function sharingGroup(service: Service): string {
  return `${service.metadata.namespace} ${sharingKey(service)}`
}

function add(sets: Map<string, Set<string>>, name: string, key: string): void {
  const set = sets.get(name) ?? new Set<string>()
  sets.set(name, set.add(key))
}
