// `ipam release`: frees what a node that is gone left behind, by hand. As margay-controllers does it, without its long
// times: nothing of a node that has a Node object, and nothing whose owner answers when it is asked, unless it is forced.
import { setTimeout as sleep } from 'node:timers/promises'
import { isLocked } from '../api/datastore-lock.ts'
import type { Resource } from '../api/kinds.ts'
import { Conflict, NotFound, type Store } from '../datastore/port.ts'
import { askCollect, blockSpec, freeAt, isCollectAsked, parseBlock } from '../ipam/block.ts'
import { askOwners, borrowersOf, ownerOf, ownersOf } from '../ipam/block-owners.ts'
import { isLoadBalancerBlock } from '../ipam/load-balancer.ts'
import { addressAt, contains, indexOf } from '../lib/ip.ts'
import { inTurns } from './each.ts'
import {
  asker,
  changeBlock,
  found,
  hasNode,
  LOOK_MS,
  type Refusal,
  type Released,
  type ReleaseOptions,
} from './ipam-asking.ts'
import { borrowerOf, type Lent, releaseLent } from './ipam-release-lent.ts'
import type { Leak } from './ipam-report.ts'
import { releaseServiceAddress } from './ipam-services.ts'

type BlockObject = Resource<'IPAMBlock'>

/** Frees the blocks of a node with all that is in them, and what owners with a Node object lent to it. Rejects as the store. */
export async function releaseNode(store: Store, node: string, options: ReleaseOptions): Promise<Released[]> {
  const names: string[] = []
  const lent: Lent[] = []
  for await (const page of store.pages('IPAMBlock'))
    for (const item of page) {
      const { name } = item.metadata
      const owner = ownerOf(item)
      if (owner === node) names.push(name)
      else if (owner !== undefined && borrowersOf(item).includes(node) && (await hasNode(store, owner)))
        lent.push({ block: name, node, addresses: addressesOf(item).filter(each => borrowerOf(item, each) === node) })
    }
  return [...(await releaseBlocks(store, names, options)), ...(await releaseLent(store, lent, options))]
}

/** Frees blocks by their names. Rejects as the store. */
async function releaseBlocks(store: Store, names: readonly string[], options: ReleaseOptions) {
  const remove = async (item: BlockObject): Promise<readonly string[]> => {
    const { name, uid, resourceVersion } = item.metadata
    await store.delete('IPAMBlock', name, { uid, resourceVersion })
    return addressesOf(item)
  }
  return releaseEach(store, names, options, remove)
}

/** The addresses that a block gives away. */
function addressesOf({ spec: { cidr, allocations } }: BlockObject): string[] {
  return allocations.flatMap((index, ordinal) => (index === null ? [] : [addressAt(cidr, ordinal)]))
}

/** Frees one address; one that is lent by an owner with a Node object through that owner. Rejects as the store. */
export async function releaseAddress(store: Store, address: string, options: ReleaseOptions): Promise<Released[]> {
  const what = `IP ${address}`
  const ordinalIn = ({ spec }: BlockObject): number | undefined => {
    const ordinal = contains(spec.cidr, address) ? indexOf(spec.cidr, address) : undefined
    return ordinal === undefined || (spec.allocations[ordinal] ?? null) === null ? undefined : ordinal
  }
  const names: string[] = []
  const lent: Lent[] = []
  const services: Released[] = []
  for await (const page of store.pages('IPAMBlock'))
    for (const item of page) {
      if (ordinalIn(item) === undefined) continue
      const { name } = item.metadata
      if (isLoadBalancerBlock(item)) {
        services.push(await releaseServiceAddress(store, name, address, options))
        continue
      }
      const node = borrowerOf(item, address)
      if (node === undefined || !(await hasNode(store, ownerOf(item)!))) names.push(name)
      else lent.push({ block: name, node, addresses: [address] })
    }
  if (names.length + lent.length + services.length === 0)
    return [{ what, freed: [], refused: 'it is not in use', remedy: 'nothing needs to be done' }]
  const free = async (item: BlockObject): Promise<readonly string[]> => {
    const ordinal = ordinalIn(item)
    if (ordinal === undefined) return []
    await store.update('IPAMBlock', withoutSlot(item, ordinal))
    return [address]
  }
  const ofNodes = await releaseEach(store, names, options, free)
  return [...services, ...ofNodes, ...(await releaseLent(store, lent, options))]
}

/**
 * Frees what nothing uses by reports, where it is still given as it was then. The blocks of nodes that are gone are freed whole. Of
 * nodes that live nobody else may write blocks: their agents are asked, and free what no pod has, and what they lent to nodes that are
 * gone. Rejects as the store.
 */
export async function releaseLeaks(store: Store, leaks: readonly Leak[], options: ReleaseOptions): Promise<Released[]> {
  const blocks = await store.list('IPAMBlock')
  const done: Released[] = []
  const ofBlocks = new Map<BlockObject, Leak[]>()
  const giving = givenBy(blocks, new Set(leaks.map(({ ip }) => ip)))
  for (const leak of leaks) {
    const block = giving.get(leak.ip)?.find(item => isGiven(item, leak))
    if (block === undefined) done.push({ what: `IP ${leak.ip}`, freed: [], ...GIVEN_ANEW })
    else ofBlocks.set(block, [...(ofBlocks.get(block) ?? []), leak])
  }
  const gone: string[] = []
  const living: [BlockObject, Leak[]][] = []
  const lent: Lent[] = []
  for (const [block, its] of ofBlocks) {
    if (isLoadBalancerBlock(block)) {
      for (const { ip } of its) done.push(await releaseServiceAddress(store, block.metadata.name, ip, { force: false }))
      continue
    }
    const { nodes, unclear } = ownersOf(block)
    const owner = ownerOf(block)
    const lives = owner !== undefined && (await hasNode(store, owner))
    if (lives) {
      const ofNodes = Map.groupBy(its, ({ ip }) => borrowerOf(block, ip))
      for (const [node, leaked] of ofNodes)
        if (node === undefined) living.push([block, leaked])
        else lent.push({ block: block.metadata.name, node, addresses: leaked.map(({ ip }) => ip) })
    } else if (unclear === undefined && !(await anyHasNode(store, nodes))) gone.push(block.metadata.name)
    else for (const { ip } of its) done.push({ what: `IP ${ip}`, freed: [], ...NOBODYS })
  }
  // forced or not: an owner without a Node object may live, and what a report calls leaked may be another pod's by now
  const unforced = { ...options, force: false }
  const freed = await releaseBlocks(store, gone, unforced)
  const returned = await releaseLent(store, lent, unforced)
  return [...done, ...freed, ...returned, ...(await askToFree(store, living, options))]
}

/** Which blocks give these addresses away. */
function givenBy(blocks: readonly BlockObject[], ips: ReadonlySet<string>): Map<string, BlockObject[]> {
  const giving = new Map<string, BlockObject[]>()
  for (const block of blocks) {
    const { cidr, allocations } = block.spec
    for (const [ordinal, index] of allocations.entries()) {
      const ip = index === null ? undefined : addressAt(cidr, ordinal)
      if (ip !== undefined && ips.has(ip)) giving.set(ip, [...(giving.get(ip) ?? []), block])
    }
  }
  return giving
}

const GIVEN_ANEW: Refusal = {
  refused: 'it is free, or was given anew since the report',
  remedy: 'nothing needs to be done',
}

const NOBODYS: Refusal = {
  refused: 'its block has no owner that could free it, and a node that lives has an address of the block',
  remedy: "delete the pods with addresses of the block, then use 'margayctl ipam release --ip' with --force",
}

/** An owner that freed something publishes its block so soon after its answer. */
const PUBLISHED_MS = 2_000

/** Asks the owners of these blocks, all at once, and waits until each address is free or the time is over. */
async function askToFree(
  store: Store,
  asked: readonly [BlockObject, readonly Leak[]][],
  { waitMs }: ReleaseOptions,
): Promise<Released[]> {
  if (asked.length === 0) return []
  const by = asker()
  const locked = isLocked(await found(store.get('ClusterInformation', 'default')))
  // one that is in use all the time stays, which is told
  await inTurns(asked, async ([{ metadata }]) => {
    await changeBlock(store, metadata.name, now => askCollect(now, by))
  })
  const until = performance.now() + waitMs
  const left = new Map(asked)
  const answeredMs = new Map<BlockObject, number>()
  const done: Released[] = []
  for (;;) {
    const nowMs = performance.now()
    for (const [block, leaks] of left) {
      const now = await found(store.get('IPAMBlock', block.metadata.name))
      const stays = now === undefined ? [] : leaks.filter(leak => isGiven(now, leak))
      const freed = leaks.filter(leak => !stays.includes(leak)).map(({ ip }) => ip)
      if (freed.length > 0) done.push({ what: `IPAMBlock ${block.metadata.name}`, freed })
      left.set(block, stays)
      if (now !== undefined && !isCollectAsked(now) && !answeredMs.has(block)) answeredMs.set(block, nowMs)
      const isOver = nowMs >= until || nowMs - (answeredMs.get(block) ?? nowMs) >= PUBLISHED_MS
      if (stays.length > 0 && !isOver) continue
      left.delete(block)
      for (const { ip } of stays) done.push({ what: `IP ${ip}`, freed: [], ...notFreed(now!, locked) })
    }
    if (left.size === 0) return done
    await sleep(LOOK_MS)
  }
}

function notFreed(now: BlockObject, locked: boolean): Refusal {
  const owner = ownerOf(now)
  if (locked)
    return {
      refused: `the datastore is locked, so the agent of ${owner} publishes nothing`,
      remedy: "'margayctl datastore unlock', then give the report once more",
    }
  return isCollectAsked(now)
    ? {
        refused: `the agent of ${owner} did not answer`,
        remedy: `look whether it runs and reaches the API server; it frees the address as soon as it reads the block`,
      }
    : {
        refused: `the agent of ${owner} looked, and a pod or a route of the node uses it`,
        remedy: `'margayctl ipam check ${owner}' says what`,
      }
}

async function anyHasNode(store: Store, nodes: readonly string[]): Promise<boolean> {
  for (const node of nodes) if (await hasNode(store, node)) return true
  return false
}

/** Whether a block gives an address as a report says: to the same handle, in the same version of the block. */
function isGiven({ spec }: BlockObject, { ip, handle, sequenceNumber }: Leak): boolean {
  const ordinal = contains(spec.cidr, ip) ? indexOf(spec.cidr, ip) : undefined
  const index = ordinal === undefined ? undefined : spec.allocations[ordinal]
  if (ordinal === undefined || index === undefined || index === null) return false
  const since = spec.sequenceNumberForAllocation?.[ordinal]
  const isSame = sequenceNumber === undefined || since === undefined || BigInt(since) === sequenceNumber
  return isSame && spec.attributes[index]?.handle_id === handle
}

async function releaseEach(
  store: Store,
  names: readonly string[],
  options: ReleaseOptions,
  free: (item: BlockObject) => Promise<readonly string[]>,
): Promise<Released[]> {
  // all owners are asked first, so that they answer in the same time
  const asked: { name: string; answer: BlockObject | Refusal }[] = []
  for (const name of names) asked.push({ name, answer: await askAbout(store, name, options) })
  const waited = options.force ? [] : asked.flatMap(({ answer }) => ('refused' in answer ? [] : [answer]))
  const isLent = waited.some(item => borrowersOf(item).length > 0)
  if (waited.length > 0) await sleep(isLent ? options.borrowerWaitMs : options.waitMs)
  const done: Released[] = []
  for (const { name, answer } of asked) {
    const what = `IPAMBlock ${name}`
    if ('refused' in answer) done.push({ what, freed: [], ...answer })
    else done.push({ what, ...(await freeAsked(store, answer, options, free)) })
  }
  return done
}

/** The block with the question in it, or as it is when nobody is asked. */
async function askAbout(store: Store, name: string, { force }: ReleaseOptions): Promise<BlockObject | Refusal> {
  try {
    const item = await store.get('IPAMBlock', name)
    if (force) return item
    const refusal = await inUse(store, item)
    return refusal ?? (await store.update('IPAMBlock', askOwners(item, asker())))
  } catch (error) {
    if (error instanceof NotFound) return { refused: 'it is not there', remedy: 'nothing needs to be done' }
    if (error instanceof Conflict) return WRITTEN
    throw error
  }
}

async function freeAsked(
  store: Store,
  asked: BlockObject,
  { force }: ReleaseOptions,
  free: (item: BlockObject) => Promise<readonly string[]>,
): Promise<Omit<Released, 'what'>> {
  try {
    const refusal = force ? undefined : await inUse(store, asked)
    if (refusal !== undefined) return { freed: [], ...refusal }
    return { freed: await free(asked) }
  } catch (error) {
    if (error instanceof Conflict || error instanceof NotFound) return { freed: [], ...WRITTEN }
    throw error
  }
}

const WRITTEN: Refusal = {
  refused: 'its owner answered, or somebody else wrote it: it is in use',
  remedy: 'stop the agent of its node first; --node and --ip take it with --force all the same',
}

/** Why a block may not be freed; undefined when no node that has something in it has a Node object. */
async function inUse(store: Store, item: BlockObject): Promise<Refusal | undefined> {
  const { nodes, unclear } = ownersOf(item)
  if (unclear !== undefined)
    return {
      refused: `nobody can tell whose it is: ${unclear}`,
      remedy: 'use --force when no pod has an address of it',
    }
  for (const node of nodes)
    if (await hasNode(store, node))
      return {
        refused: `Node ${node} is there, and its agent frees by itself what no pod has`,
        remedy: `delete the Node if the machine is gone for good; 'margayctl node status' on ${node} shows its pods`,
      }
  return undefined
}

function withoutSlot(item: BlockObject, ordinal: number): BlockObject {
  const freed = freeAt(parseBlock(item), ordinal)
  return { ...item, spec: blockSpec(freed, item.spec.affinity, item.spec) }
}
