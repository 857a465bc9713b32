// DEL takes down what one container's interface owns, whatever is left of it, and nothing else. The namespace is not
// looked at: it may be gone, empty, or belong to somebody else by now; the host side's end takes the pair with it.
import type { CniDeps } from '../deps.ts'
import type { Endpoint } from '../endpoints.ts'
import { handleOf } from '../interface-name.ts'
import type { DelRequest } from '../request.ts'

export async function del(request: DelRequest, deps: CniDeps): Promise<void> {
  const endpoint = deps.endpoints.get(request.containerID, request.ifname)
  if (endpoint !== undefined) await takeDown(endpoint, deps)
  else await deps.ipam.release(handleOf(request.conf.name, request))
}

/** Listeners first, then the kernel, then address and row together: a crash in between leaves something to retry by. */
export async function takeDown(endpoint: Endpoint, deps: CniDeps, addresses?: 'keep addresses'): Promise<void> {
  deps.endpoints.markLeaving(endpoint.id)
  await deps.kernel.deleteLink(endpoint.interfaceName)
  if (addresses === undefined)
    await deps.ipam.release(endpoint.handle, () => deps.endpoints.deletePersisted(endpoint.id))
  else deps.endpoints.deletePersisted(endpoint.id)
  deps.endpoints.unpublish(endpoint.id)
}
