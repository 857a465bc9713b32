// Who has which floating address (`cni.projectcalico.org/floatingIPs` of a Pod, a list of addresses in JSON). Pure, and the same on
// every node: it follows from the objects of the cluster alone, so that no two nodes take one address for theirs for longer than
// they see different objects. Unlike with other annotations nothing of one that makes no sense counts.
import { POD_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { type IpPool, poolOf, usesOf } from '../../api/pools.ts'
import { broken, type Condition, type ReasonOf } from '../../api/status.ts'
import { isHostAddress, parseAddress } from '../../lib/ip.ts'
import { listOf, shown } from './json-list.ts'
import { hasEnded } from './policies/endpoints.ts'

const ANNOTATION = POD_ANNOTATION.floatingAddresses
/** Addresses of one pod. */
export const MOST_FLOATING = 16
/** Characters that are read: several times as many as `MOST_FLOATING` of the longest addresses have. */
const MOST_CHARACTERS = 4096

/** A Pod that asks for floating addresses; `key` is `namespace/name`, `addresses` are in canonical text, each once. */
export type FloatingClaim = {
  key: string
  namespace: string
  name: string
  addresses: readonly string[]
  /** Whoever has the lower one comes first. */
  precedence: string
  /** Why none of it counts. */
  unusable?: 'invalid' | 'host network'
  /** What cannot be read about an invalid one. */
  fault?: string
}

/** What a Pod asks for; undefined while it asks for nothing, is on no node, or has ended. */
export function floatingClaim(pod: Resource<'Pod'>): FloatingClaim | undefined {
  const { annotations = {}, name, namespace = '', creationTimestamp = '9999', deletionTimestamp } = pod.metadata
  const text = annotations[ANNOTATION]?.trim() ?? ''
  if (text === '' || (pod.spec.nodeName ?? '') === '' || hasEnded(pod)) return undefined
  const key = `${namespace}/${name}`
  // a pod that is being deleted may be on a node that is gone, and its successor waits
  const precedence = `${deletionTimestamp === undefined ? 0 : 1} ${creationTimestamp} ${key}`
  const read = addressesOf(text)
  const of = { key, namespace, name, precedence }
  if (typeof read === 'string') return { ...of, addresses: [], unusable: 'invalid', fault: read }
  if (read.length === 0) return undefined
  return { ...of, addresses: read, ...(pod.spec.hostNetwork === true && { unusable: 'host network' as const }) }
}

/** What is known of the cluster beside the Pods that ask. */
export type FloatingWorld = {
  pools: readonly IpPool[]
  /** By an IPReservation. */
  isReserved: (address: string) => boolean
  /** Undefined: nothing is known of this namespace yet. */
  selects: (selector: string, namespace: string) => boolean | undefined
  /** Whose own address it is, in words; undefined: nobody's, as far as is known. */
  ownerOf: (address: string) => string | undefined
}

/** Why a pod does not have an address that it asks for. */
export type FloatingRefusal = {
  address: string
  reason: ReasonOf<'FloatingAddressesHeld'>
  message: string
  remedy: string
}

/** The key of the pod that has an address: of those that ask for it the first by precedence that may. */
export function floatingHolder(
  address: string,
  asking: Iterable<FloatingClaim>,
  world: FloatingWorld,
): string | undefined {
  // thousands may ask for one address, and whether they may is a matter of their namespaces
  const may = new Map<string, boolean>()
  let first: FloatingClaim | undefined
  for (const claim of asking) {
    if (claim.unusable !== undefined || (first !== undefined && first.precedence < claim.precedence)) continue
    const { namespace } = claim
    if (!may.has(namespace)) may.set(namespace, refusalOf(address, claim, world) === undefined)
    if (may.get(namespace) === true) first = claim
  }
  return first?.key
}

/** Why a pod that asks for an address, of which `holder` is the key of the pod that has it, does not have it. */
export function floatingRefusal(
  address: string,
  claim: FloatingClaim,
  world: FloatingWorld,
  holder: string | undefined,
): FloatingRefusal | undefined {
  if (claim.key === holder) return undefined
  const cause = refusalOf(address, claim, world) ?? takenBy(holder, address)
  return cause && { address, ...cause }
}

/** Where floating addresses can be: CIDRs and addresses. `reserved`: those of all IPReservations. */
export function floatingRanges(pools: readonly IpPool[], reserved: readonly string[]): string[] {
  const disabled = pools.filter(({ spec }) => spec.disabled && usesOf(spec).includes('Workload'))
  return [...disabled.map(({ spec }) => spec.cidr), ...reserved]
}

type Cause = Omit<FloatingRefusal, 'address'>

function refusalOf(address: string, { namespace }: FloatingClaim, world: FloatingWorld): Cause | undefined {
  const pool = poolOf(world.pools, address)
  if (pool === undefined || !usesOf(pool.spec).includes('Workload'))
    return {
      reason: 'NoPool',
      message: `${address} lies in no IPPool of pods`,
      remedy: 'create an IPPool with disabled: true that holds it, or ask for an address of one',
    }
  const { name } = pool.metadata
  const { disabled, namespaceSelector = '' } = pool.spec
  if (!disabled && !world.isReserved(address))
    return {
      reason: 'GivenToPods',
      message: `IPPool ${name} gives ${address} to any pod as its own address`,
      remedy: 'ask for an address of a pool with disabled: true, or reserve it in an IPReservation',
    }
  const isSelected = namespaceSelector === '' || world.selects(namespaceSelector, namespace)
  if (isSelected !== true)
    return {
      reason: isSelected === undefined ? 'NamespaceUnknown' : 'NotForNamespace',
      message: `the namespaceSelector of IPPool ${name} ${isSelected === undefined ? 'asks for the labels of a namespace that is not known yet' : 'leaves the namespace of the pod out'}`,
      remedy: `ask for an address of a pool for namespace ${namespace}, or change the selector`,
    }
  const owner = world.ownerOf(address)
  if (owner === undefined) return undefined
  return {
    reason: 'InUse',
    message: `${address} is the address of ${owner}`,
    remedy: 'ask for another address',
  }
}

function takenBy(holder: string | undefined, address: string): Cause | undefined {
  if (holder === undefined) return undefined
  return {
    reason: 'Taken',
    message: `Pod ${holder}, which is older, has ${address}`,
    remedy: `it comes to this pod once that one ends; ask for another address, or delete Pod ${holder}`,
  }
}

/** What is told of a pod that has less than it asks for; `reason` is that of the first address. */
export function floatingCondition(
  { namespace, name }: Pick<FloatingClaim, 'namespace' | 'name'>,
  {
    reason,
    messages,
    remedy,
  }: { reason: ReasonOf<'FloatingAddressesHeld'>; messages: readonly string[]; remedy: string },
): Condition {
  return broken('FloatingAddressesHeld', {
    object: { kind: 'Pod', namespace, name },
    reason,
    message: `${ANNOTATION}: ${messages.join('; ')}; the pod runs with its own addresses`,
    remedy,
  })
}

/** The addresses, or why they cannot be read. */
function addressesOf(text: string): string[] | string {
  const list = listOf(text, { characters: MOST_CHARACTERS, items: MOST_FLOATING, names: 'addresses' })
  if (typeof list === 'string') return list
  const addresses = new Set<string>()
  for (const each of list) {
    const address = typeof each === 'string' ? parseAddress(each) : undefined
    if (address === undefined || !isHostAddress(address))
      return `${typeof each === 'string' ? shown(JSON.stringify(each)) : 'an item'} is no address of a host`
    addresses.add(address)
  }
  return [...addresses]
}
