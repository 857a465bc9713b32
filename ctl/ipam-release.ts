// `ipam release`: frees what a node that is gone left behind, by hand. As margay-controllers does it, without its long
// times: nothing of a node that has a Node object, and nothing whose owner answers when it is asked, unless it is forced.
import { setTimeout as sleep } from 'node:timers/promises'
import { isLocked } from '../api/datastore-lock.ts'
import type { Resource } from '../api/kinds.ts'
import { Conflict, NotFound, type Store } from '../datastore/port.ts'
import { affinityOf, askCollect, askOwner, emitBlock, isCollectAsked, parseBlock } from '../ipam/block.ts'
import { ownersOf } from '../ipam/block-owners.ts'
import { addressAt, contains, indexOf } from '../lib/ip.ts'
import { inTurns } from './each.ts'
import type { Leak } from './ipam-report.ts'
import { ownerOf } from './ipam-usage.ts'

type BlockObject = Resource<'IPAMBlock'>

export type ReleaseOptions = {
  /** Also what its owner may use. */
  force: boolean
  /** How long an owner that has no Node object has to answer. */
  waitMs: number
}

/** What became of one block or address; `refused` is the reason why nothing did, and `remedy` what to do. */
export type Released = { what: string; freed: readonly string[]; refused?: string; remedy?: string }

/** Frees the blocks of a node with all that is in them. Rejects as the store. */
export async function releaseNode(store: Store, node: string, options: ReleaseOptions): Promise<Released[]> {
  const blocks = await store.list('IPAMBlock', { fieldSelector: `spec.affinity=${affinityOf(node)}` })
  return releaseBlocks(
    store,
    blocks.map(({ metadata }) => metadata.name),
    options,
  )
}

/** Frees blocks by their names. Rejects as the store. */
async function releaseBlocks(store: Store, names: readonly string[], options: ReleaseOptions) {
  const remove = async ({ metadata, spec }: BlockObject): Promise<readonly string[]> => {
    const { name, uid, resourceVersion } = metadata
    await store.delete('IPAMBlock', name, { uid, resourceVersion })
    return spec.allocations.flatMap((index, ordinal) => (index === null ? [] : [addressAt(spec.cidr, ordinal)]))
  }
  return releaseEach(store, names, options, remove)
}

/** Frees one address. Rejects as the store. */
export async function releaseAddress(store: Store, address: string, options: ReleaseOptions): Promise<Released[]> {
  const what = `IP ${address}`
  const ordinalIn = ({ spec }: BlockObject): number | undefined => {
    const ordinal = contains(spec.cidr, address) ? indexOf(spec.cidr, address) : undefined
    return ordinal === undefined || (spec.allocations[ordinal] ?? null) === null ? undefined : ordinal
  }
  const names: string[] = []
  for await (const page of store.pages('IPAMBlock'))
    for (const item of page) if (ordinalIn(item) !== undefined) names.push(item.metadata.name)
  if (names.length === 0) return [{ what, freed: [], refused: 'it is not in use', remedy: 'nothing needs to be done' }]
  const free = async (item: BlockObject): Promise<readonly string[]> => {
    const ordinal = ordinalIn(item)
    if (ordinal === undefined) return []
    await store.update('IPAMBlock', withoutSlot(item, ordinal))
    return [address]
  }
  return releaseEach(store, names, options, free)
}

/**
 * Frees what nothing uses by reports, where it is still given as it was then. The blocks of nodes that are gone are freed whole. Of
 * nodes that live nobody else may write blocks: their agents are asked, and free what no pod has. Rejects as the store.
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
  for (const [block, its] of ofBlocks) {
    const { nodes, unclear } = ownersOf(block)
    const owner = ownerOf(block)
    const lives = owner !== undefined && (await exists(store, owner))
    if (lives) living.push([block, its])
    else if (unclear === undefined && !(await anyExists(store, nodes))) gone.push(block.metadata.name)
    else for (const { ip } of its) done.push({ what: `IP ${ip}`, freed: [], ...NOBODYS })
  }
  // forced or not: an owner without a Node object may live, and what a report calls leaked may be another pod's by now
  const freed = await releaseBlocks(store, gone, { ...options, force: false })
  return [...done, ...freed, ...(await askToFree(store, living, options))]
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

const LOOK_MS = 250
/** An owner that freed something publishes its block so soon after its answer. */
const PUBLISHED_MS = 2_000

/** Asks the owners of these blocks, all at once, and waits until each address is free or the time is over. */
async function askToFree(
  store: Store,
  asked: readonly [BlockObject, readonly Leak[]][],
  { waitMs }: ReleaseOptions,
): Promise<Released[]> {
  if (asked.length === 0) return []
  const by = `margayctl at ${new Date().toISOString()}`
  const locked = isLocked(await found(store.get('ClusterInformation', 'default')))
  await inTurns(asked, ([{ metadata }]) => askOf(store, metadata.name, by))
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
        refused: `the agent of ${owner} looked, and a pod or a route of the node uses it, or it is lent to another node`,
        remedy: `'margayctl ipam check ${owner}' says what`,
      }
}

/** A block that somebody else writes at that moment is asked again. */
async function askOf(store: Store, name: string, by: string): Promise<void> {
  for (let attempt = 1; ; attempt++)
    try {
      const now = await found(store.get('IPAMBlock', name))
      if (now !== undefined) await store.update('IPAMBlock', askCollect(now, by))
      return
    } catch (error) {
      if (error instanceof NotFound) return
      if (!(error instanceof Conflict)) throw error
      if (attempt === MOST_ATTEMPTS) return // it is in use all the time, and what stays is told
    }
}

const MOST_ATTEMPTS = 5

async function anyExists(store: Store, nodes: readonly string[]): Promise<boolean> {
  for (const node of nodes) if (await exists(store, node)) return true
  return false
}

async function found<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
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
  const waits = !options.force && asked.some(({ answer }) => !('refused' in answer))
  if (waits) await sleep(options.waitMs)
  const done: Released[] = []
  for (const { name, answer } of asked) {
    const what = `IPAMBlock ${name}`
    if ('refused' in answer) done.push({ what, freed: [], ...answer })
    else done.push({ what, ...(await freeAsked(store, answer, options, free)) })
  }
  return done
}

type Refusal = { refused: string; remedy: string }

/** The block with the question in it, or as it is when nobody is asked. */
async function askAbout(store: Store, name: string, { force }: ReleaseOptions): Promise<BlockObject | Refusal> {
  try {
    const item = await store.get('IPAMBlock', name)
    if (force) return item
    const refusal = await inUse(store, item)
    return refusal ?? (await store.update('IPAMBlock', askOwner(item, `margayctl at ${new Date().toISOString()}`)))
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
    if (await exists(store, node))
      return {
        refused: `Node ${node} is there, and its agent frees by itself what no pod has`,
        remedy: `delete the Node if the machine is gone for good; 'margayctl node status' on ${node} shows its pods`,
      }
  return undefined
}

async function exists(store: Store, node: string): Promise<boolean> {
  return (await found(store.get('Node', node))) !== undefined
}

function withoutSlot(item: BlockObject, ordinal: number): BlockObject {
  const block = parseBlock(item)
  const freed = {
    ...block,
    slots: block.slots.with(ordinal, null),
    free: [...block.free, ordinal],
    sequence: block.sequence + 1n,
  }
  const { spec } = emitBlock(freed, { node: '', epoch: '' }, item)
  return { ...item, spec: { ...spec, affinity: item.spec.affinity } }
}
