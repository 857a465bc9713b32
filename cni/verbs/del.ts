// DEL deletes what belongs to one container's interface, however much of it is left, and nothing else. It does not look at
// the namespace, which may be gone, empty or another container's by now: deleting the host side deletes the pair.
import { endpointOf } from '../adopt.ts'
import type { CniDeps } from '../deps.ts'
import type { PodEndpoint } from '../endpoints.ts'
import { handleOf } from '../interface-name.ts'
import type { DelRequest } from '../request.ts'

export async function del(request: DelRequest, deps: CniDeps): Promise<void> {
  const endpoint = endpointOf(request, deps)
  if (endpoint !== undefined) await takeDown(endpoint, deps)
  const handle = handleOf(request.conf.name, request)
  if (endpoint?.handle !== handle) await deps.ipam.release(handle)
}

/** Listeners first, then the kernel, then address and row together: after a crash in between a row is left for the next DEL. */
export async function takeDown(endpoint: PodEndpoint, deps: CniDeps, addresses?: 'keep addresses'): Promise<void> {
  deps.endpoints.markLeaving(endpoint.id)
  await deps.kernel.deleteLink(endpoint.interfaceName)
  if (addresses === undefined)
    await deps.ipam.release(endpoint.handle, () => deps.endpoints.deletePersisted(endpoint.id))
  else deps.endpoints.deletePersisted(endpoint.id)
  deps.endpoints.unpublish(endpoint.id)
}
