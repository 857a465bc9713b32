// Addresses of Services of type LoadBalancer in `ipam check` and `ipam release`: what their blocks say against the Services that
// there are. Blocks must be read before the Services: an address stands in a block first and leaves the status first, so what a
// block gives to no Service of the later list is leaked for certain. Whoever is asked, no node is.
import type { Resource } from '../api/kinds.ts'
import { poolOf, usesOf } from '../api/pools.ts'
import type { Store } from '../datastore/port.ts'
import { parseBlock } from '../ipam/block.ts'
import {
  emitLoadBalancerBlock,
  giveTo,
  isLoadBalancerBlock,
  type ServiceHolder,
  serviceHolder,
  serviceHolders,
} from '../ipam/load-balancer.ts'
import { addressAt, indexOf, parseAddress } from '../lib/ip.ts'
import { changeBlock, found, type Refusal, type Released } from './ipam-asking.ts'
import type { Fault } from './ipam-faults.ts'

type BlockObject = Resource<'IPAMBlock'>
type Service = Resource<'Service'>

/** Services by the handles of their addresses. */
export function servicesByHandle(services: readonly Service[]): ReadonlyMap<string, Service> {
  return new Map(services.map(service => [serviceHolder(service.metadata).handle, service]))
}

/** Every address of Services that is not as it should be. Pure. */
export function serviceFaults(
  blocks: readonly BlockObject[],
  services: readonly Service[],
  pools: readonly Resource<'IPPool'>[],
): Fault[] {
  const known = servicesByHandle(services)
  const given = new Map<string, Set<string>>()
  const faults = blocks.filter(isLoadBalancerBlock).flatMap(item => {
    const block = parseBlock(item)
    const told = (fault: string, remedy: string): Fault => ({
      ...{ object: { kind: 'IPAMBlock', name: item.metadata.name }, fault, remedy },
    })
    return block.slots.flatMap((slot, ordinal): Fault[] => {
      if (slot === null) return []
      const address = addressAt(block.cidr, ordinal)
      const holders = serviceHolders(slot)
      given.set(address, new Set(holders.map(({ handle }) => handle)))
      if (holders.length === 0)
        return [told(`gives ${address} to ${slot.handle}, which names no Service`, `${atOnce(address)} --force`)]
      return holders.flatMap(holder => {
        const service = known.get(holder.handle)
        if (service === undefined)
          return [
            told(
              `gives ${address} to Service ${nameOf(holder)}, which is not there`,
              `margay-controllers frees it in its time; at once: ${atOnce(address)}`,
            ),
          ]
        if (shownBy(service).includes(address)) return []
        return [told(`gives ${address} to Service ${nameOf(holder)}, whose status does not have it`, LOOK)]
      })
    })
  })
  const unknown = services.flatMap(service => {
    const { handle } = serviceHolder(service.metadata)
    const isOurs = [undefined, 'margay', 'calico'].includes(service.spec.loadBalancerClass)
    const isOfPool = (address: string) => usesOf(poolOf(pools, address)?.spec ?? NO_POOL).includes('LoadBalancer')
    return shownBy(service)
      .filter(address => isOurs && isOfPool(address) && !given.get(address)?.has(handle))
      .map((address): Fault => {
        const { name, namespace } = service.metadata
        const fault = `has ${address} by its status, and no block gives it that`
        return { object: { kind: 'Service', name, namespace }, fault, remedy: LOOK }
      })
  })
  return [...faults, ...unknown]
}

const NO_POOL = { allowedUses: ['Workload'] } as unknown as Resource<'IPPool'>['spec']
const LOOK = 'margay-controllers writes it in its time: look whether one of them leads, and at its conditions'

function atOnce(address: string): string {
  return `'margayctl ipam release --ip ${address}'`
}

function shownBy({ status }: Service): string[] {
  return (status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => (ip === undefined ? [] : (parseAddress(ip) ?? ip)))
}

function nameOf({ namespace, name }: ServiceHolder): string {
  return `${namespace}/${name}`
}

/**
 * Frees an address of a block of Services from all that are gone, or from everybody. A Service that is there and loses it gets one
 * again, perhaps another one. Rejects as the store.
 */
export async function releaseServiceAddress(
  store: Store,
  block: string,
  address: string,
  { force }: { force: boolean },
): Promise<Released> {
  const what = `IP ${address}`
  let refusal: Refusal | undefined
  const written = await changeBlock(store, block, async item => {
    refusal = undefined
    const now = parseBlock(item)
    const ordinal = indexOf(now.cidr, address)
    const slot = ordinal === undefined ? null : (now.slots[ordinal] ?? null)
    if (ordinal === undefined || slot === null || !isLoadBalancerBlock(item)) return undefined
    const holders = serviceHolders(slot)
    const there: ServiceHolder[] = []
    for (const holder of holders) {
      const service = await found(store.get('Service', holder.name, holder.namespace))
      if (service !== undefined && serviceHolder(service.metadata).handle === holder.handle) there.push(holder)
    }
    if (!force && there.length > 0)
      refusal = {
        refused: `Service ${there.map(nameOf).join(', ')} has it`,
        remedy: 'delete the Service, or let it ask for another address',
      }
    else if (!force && holders.length === 0)
      refusal = {
        refused: 'it names no Service, so nobody can tell who has it',
        remedy: 'use --force when nobody does',
      }
    // those that are gone share it no more, whoever else has it
    const left = force ? [] : there
    const isSame = refusal !== undefined && left.length === holders.length
    return isSame ? undefined : emitLoadBalancerBlock(giveTo(now, ordinal, left, ''), item)
  })
  if (refusal !== undefined) return { what, freed: [], ...refusal }
  return { what, freed: written ? [address] : [] }
}
