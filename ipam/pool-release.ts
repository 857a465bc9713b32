// The finalizer that keeps a deleted pool until nothing lies in it: set before the first claim, and taken away after a list that
// was made after the deletion shows no block with an address of a pod or a Service. Anybody may take it away, several at once
// too: who claims reads the pool once more after the claim.
import { type IpPool, POOL_FINALIZER } from '../api/pools.ts'
import { Conflict, NotFound, type Store } from '../datastore/port.ts'
import { overlaps } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import { isServices } from './load-balancer.ts'
import { isPods } from './subnet.ts'

const ATTEMPTS = 5

/** Whether a pool is being deleted and only our finalizer keeps it, as far as we know. */
export function isHeld({ metadata }: IpPool): boolean {
  return metadata.deletionTimestamp !== undefined && metadata.finalizers?.includes(POOL_FINALIZER) === true
}

/**
 * Takes the finalizer from a pool that is being deleted when no pod or Service has an address of it. Returns the CIDR of a block that
 * is still in use, or undefined when the pool goes. Rejects as the store, with `Refused` too.
 */
export async function releaseEmptyPool(
  pool: IpPool,
  { store, log }: { store: Store; log: Log },
): Promise<string | undefined> {
  const { name, uid } = pool.metadata
  for await (const page of store.pages('IPAMBlock'))
    for (const { spec } of page) {
      // the address of a node's tunnel stays when its pool goes
      const used = spec.attributes.some(({ secondary }) => isPods(secondary) || isServices(secondary))
      if ((used || spec.attributes.length === 0) && overlaps(spec.cidr, pool.spec.cidr)) return spec.cidr
    }
  if (await releasePool(store, name, uid)) log.info({ pool: name }, 'a deleted pool has no block any more: it goes')
  return undefined
}

/** Puts our finalizer on a pool that lacks it and is not being deleted. Whether it was put there now. Rejects as the store. */
export function holdPool(store: Store, name: string): Promise<boolean> {
  return changeFinalizers(store, name, now =>
    lacksFinalizer(now) ? [...(now.metadata.finalizers ?? []), POOL_FINALIZER] : undefined,
  )
}

export function lacksFinalizer({ metadata: { deletionTimestamp, finalizers } }: IpPool): boolean {
  return deletionTimestamp === undefined && !finalizers?.includes(POOL_FINALIZER)
}

/** Takes our finalizer from a pool, with `uid` from that one alone. Whether it was there. Rejects as the store. */
export function releasePool(store: Store, name: string, uid?: string): Promise<boolean> {
  return changeFinalizers(store, name, ({ metadata: { uid: now, finalizers } }) =>
    (uid === undefined || uid === now) && finalizers?.includes(POOL_FINALIZER)
      ? finalizers.filter(each => each !== POOL_FINALIZER)
      : undefined,
  )
}

/** Changes the finalizers of a pool as it is now. Whether they were changed: not those of a pool that is gone. Rejects as the store. */
async function changeFinalizers(
  store: Store,
  name: string,
  change: (now: IpPool) => readonly string[] | undefined,
): Promise<boolean> {
  for (let attempt = 1; ; attempt++)
    try {
      const now = await store.get('IPPool', name)
      const finalizers = change(now)
      if (finalizers === undefined) return false
      const { resourceVersion } = now.metadata
      await store.patch('IPPool', name, { metadata: { resourceVersion, finalizers } })
      return true
    } catch (error) {
      if (error instanceof NotFound) return false
      if (!(error instanceof Conflict) || attempt === ATTEMPTS) throw error
    }
}
