// `ipam split`: puts parts of equal size in the place of an IPPool, as calicoctl does, in a locked datastore. No pod may be without
// a pool for a moment: what is done with its packets is read from the pools as they are. So the parts are made while the whole is
// there, which nobody uses before it is gone since they lie in an older pool; and the whole, which its finalizer would keep while
// pods have addresses of it, goes in one step, after which every node sees the parts. Blocks stay as they are: each lies in one part.
// A run that was cut off is made again: what is there already is left.
import { isLocked } from '../api/datastore-lock.ts'
import type { Resource } from '../api/kinds.ts'
import { type IpPool, POOL_FINALIZER } from '../api/pools.ts'
import { NotFound, type Store } from '../datastore/port.ts'
import { releasePool } from '../ipam/pool-release.ts'
import { addressAt, addressBits, cidr, contains, familyOf, overlaps } from '../lib/ip.ts'
import { UsageError } from './failure.ts'

/** Of `kubectl apply`: what it wrote is about the whole. */
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration'
const LONGEST_NAME = 253
/** Each node looks through all pools for each pod. */
const MOST_PARTS = 1_024

export type Split = { pool: string; parts: readonly { name: string; cidr: string }[] }

/** Throws UsageError where the pool cannot be split, before anything is changed. Rejects as the store. */
export async function splitPool(store: Store, which: { name?: string; cidr?: string }, number: number): Promise<Split> {
  const info = await found(store.get('ClusterInformation', 'default'))
  if (!isLocked(info))
    throw new UsageError("the datastore is not locked: 'margayctl datastore lock' first, and unlock after the split")
  const pool = (await store.list('IPPool')).find(
    ({ metadata, spec }) => metadata.name === which.name || spec.cidr === which.cidr,
  )
  if (pool === undefined) throw new UsageError(`there is no IPPool ${which.name ?? which.cidr}`)
  const parts = partsOf(pool, number)
  const others = pool.metadata.finalizers?.filter(each => each !== POOL_FINALIZER) ?? []
  if (others.length > 0)
    throw new UsageError(`IPPool ${pool.metadata.name} has other finalizers (${others.join(', ')}): remove them first`)
  for await (const page of store.pages('IPAMBlock'))
    for (const { spec } of page)
      if (overlaps(spec.cidr, pool.spec.cidr) && !parts.some(part => contains(part.cidr, spec.cidr)))
        throw new UsageError(`block ${spec.cidr} would lie in several parts: split into fewer, or move its pods away`)
  for (const part of parts) await make(store, pool, part)
  const { name, uid } = pool.metadata
  // in this order there is no moment in which it is being deleted, when neither it nor its parts give addresses
  await releasePool(store, name, uid)
  await found(store.delete('IPPool', name, { uid }))
  // a node that had not seen the lock may have put it back
  await releasePool(store, name, uid)
  return { pool: name, parts }
}

/** The parts with their names, which are calicoctl's. Throws UsageError. */
function partsOf({ metadata, spec }: IpPool, number: number): Split['parts'] {
  const bits = Math.log2(number)
  if (!Number.isInteger(bits) || bits < 1) throw new UsageError(`${number} is no power of 2 from 2 on`)
  if (number > MOST_PARTS) throw new UsageError(`a pool is split into at most ${MOST_PARTS} parts`)
  const { address, length } = cidr(spec.cidr)
  if (length + bits > spec.blockSize)
    throw new UsageError(`${spec.cidr} has no ${number} parts of one block (/${spec.blockSize}) and more each`)
  const size = 1n << BigInt(addressBits(familyOf(address)) - length - bits)
  return Array.from({ length: number }, (_, i) => ({
    name: `split-${metadata.name.slice(0, LONGEST_NAME - `split--${i}`.length)}-${i}`,
    cidr: `${addressAt(spec.cidr, BigInt(i) * size)}/${length + bits}`,
  }))
}

async function make(store: Store, { metadata, spec }: IpPool, part: Split['parts'][number]): Promise<void> {
  const there = await found(store.get('IPPool', part.name))
  if (there?.spec.cidr === part.cidr && there.metadata.deletionTimestamp === undefined) return
  if (there !== undefined) throw new UsageError(`there is another IPPool ${part.name} already: delete it first`)
  const { [LAST_APPLIED]: _, ...annotations } = metadata.annotations ?? {}
  const made = {
    metadata: { name: part.name, labels: metadata.labels, annotations, finalizers: [POOL_FINALIZER] },
    spec: { ...spec, cidr: part.cidr },
  }
  await store.create('IPPool', made as Resource<'IPPool'>)
}

async function found<T>(asking: Promise<T>): Promise<T | undefined> {
  try {
    return await asking
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
