// DEL deletes what belongs to one container's interface, however much of it is left, and nothing else. It does not look at
// the namespace, which may be gone, empty or another container's by now: deleting the host side deletes the pair.

import { endpointOf } from '../adopt.ts'
import { collectHandles } from '../collect.ts'
import type { CniDeps } from '../deps.ts'
import { handleOf } from '../interface-name.ts'
import type { DelRequest } from '../request.ts'
import { releaseAddresses, takeDown } from '../take-down.ts'

export async function del(request: DelRequest, deps: CniDeps): Promise<void> {
  const endpoint = endpointOf(request, deps)
  if (endpoint !== undefined) await takeDown(endpoint, deps)
  const handle = handleOf(request.conf.name, request)
  if (endpoint?.handle !== handle) await releaseAddresses(handle, deps)
  // a block that is older than the pod has its address for another one
  if (endpoint?.adopted) await collectHandles(deps)
}
