// DEL deletes what belongs to one container's interface, however much of it is left, and nothing else. It does not look at
// the namespace, which may be gone, empty or another container's by now: deleting the host side deletes the pair.

import { DatabaseError } from '../../lib/database.ts'
import { endpointOf } from '../adopt.ts'
import type { CniDeps } from '../deps.ts'
import type { PodEndpoint } from '../endpoints.ts'
import { handleOf } from '../interface-name.ts'
import type { DelRequest } from '../request.ts'

export async function del(request: DelRequest, deps: CniDeps): Promise<void> {
  const endpoint = endpointOf(request, deps)
  if (endpoint !== undefined) await takeDown(endpoint, deps)
  const handle = handleOf(request.conf.name, request)
  if (endpoint?.handle !== handle) await releaseAddresses(handle, deps)
}

/** Listeners first, then the kernel, then address and row together: after a crash in between a row is left for the next DEL. */
export async function takeDown(endpoint: PodEndpoint, deps: CniDeps, addresses?: 'keep addresses'): Promise<void> {
  deps.endpoints.markLeaving(endpoint.id)
  await deps.kernel.deleteLink(endpoint.interfaceName)
  if (addresses === undefined) await releaseAddresses(endpoint.handle, deps, endpoint.id)
  else deps.endpoints.deletePersisted(endpoint.id)
  deps.endpoints.unpublish(endpoint.id)
}

/**
 * Releases the addresses of a handle, with the row `id` where given. A full disk, which deleting pods makes room on, does not
 * hold it back: memory forgets them now and the journal with its next write. After a crash in between the start collects them.
 */
export async function releaseAddresses(
  handle: string,
  { ipam, endpoints, log }: Pick<CniDeps, 'ipam' | 'endpoints' | 'log'>,
  id?: string,
): Promise<void> {
  try {
    await ipam.release(handle, id === undefined ? undefined : () => endpoints.deletePersisted(id))
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    log.error({ err: error, handle }, 'the journal cannot be written: its addresses are released in memory')
    ipam.releaseUnwritten(handle)
    if (id !== undefined) endpoints.deleteLater(id)
  }
}
