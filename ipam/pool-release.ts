// The finalizer that keeps a deleted pool until nothing lies in it: set before the first claim, and taken away after a list
// that was made after the deletion shows no block with a pod's address. Anybody may take it away, several at once too: who
// claims reads the pool once more after the claim.
import { type IpPool, POOL_FINALIZER } from '../api/pools.ts'
import { Conflict, NotFound, Refused, type Store } from '../datastore/port.ts'
import { overlaps } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'

const ATTEMPTS = 5

type Deps = { store: Store; log: Log }

/** Whether a pool is being deleted and only our finalizer keeps it, as far as we know. */
export function isHeld({ metadata }: IpPool): boolean {
  return metadata.deletionTimestamp !== undefined && metadata.finalizers?.includes(POOL_FINALIZER) === true
}

/**
 * Takes the finalizer from a pool that is being deleted when no pod has an address of it. Returns the CIDR of a block that
 * is still in use, or undefined when the pool goes. Rejects as the store.
 */
export async function releaseEmptyPool(pool: IpPool, { store, log }: Deps): Promise<string | undefined> {
  const { name, uid } = pool.metadata
  for await (const page of store.pages('IPAMBlock'))
    for (const { spec } of page) {
      // the address of a node's tunnel stays when its pool goes
      const used = spec.attributes.some(({ secondary }) => secondary?.['type'] === undefined)
      if ((used || spec.attributes.length === 0) && overlaps(spec.cidr, pool.spec.cidr)) return spec.cidr
    }
  await changeFinalizers(name, { store, log }, ({ metadata }) =>
    metadata.uid === uid ? metadata.finalizers?.filter(each => each !== POOL_FINALIZER) : undefined,
  )
  log.info({ pool: name }, 'a deleted pool has no block any more: it goes')
  return undefined
}

/** Changes the finalizers of a pool as it is now. A pool that is gone, or that this node may not change, is fine. */
export async function changeFinalizers(
  name: string,
  { store, log }: Deps,
  change: (now: IpPool) => readonly string[] | undefined,
): Promise<void> {
  for (let attempt = 1; ; attempt++)
    try {
      const now = await store.get('IPPool', name)
      const finalizers = change(now)
      if (finalizers === undefined) return
      const { resourceVersion } = now.metadata
      await store.patch('IPPool', name, { metadata: { resourceVersion, finalizers } })
      return
    } catch (error) {
      if (error instanceof NotFound) return
      if (error instanceof Refused) {
        log.warn({ err: error, pool: name }, 'this node may not hold a pool: deleted while in use, it is gone at once')
        return
      }
      if (!(error instanceof Conflict) || attempt === ATTEMPTS) throw error
    }
}
