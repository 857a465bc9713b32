// GC deletes all attachments of one network that the runtime does not list. One that fails does not stop the others. Hazard:
// the list was made before GC was called, and what an ADD made since then is not in it.
import { collectHandles } from '../collect.ts'
import type { CniDeps } from '../deps.ts'
import { endpointId, type PodEndpoint, whom } from '../endpoints.ts'
import { CNI_CODE, CniError } from '../error.ts'
import { isYoung } from '../gc-list.ts'
import { handleOf } from '../interface-name.ts'
import type { GcRequest } from '../request.ts'
import { takeDown } from '../take-down.ts'

/** The interfaces that it deleted, and one error that names every failure, after all were tried. */
export type Collected = { deleted: readonly PodEndpoint[]; failure?: CniError }

export async function gc({ conf, valid }: GcRequest, deps: CniDeps): Promise<Collected> {
  const stay = new Set(valid.map(attachment => endpointId(conf.name, attachment)))
  const arrivedMs = deps.clock.wallMs()
  const failures: string[] = []
  const deleted: PodEndpoint[] = []
  const attempt = async (what: string, body: () => Promise<unknown>): Promise<void> => {
    try {
      await body()
    } catch (error) {
      // any error: the others are tried all the same, and the answer names all
      failures.push(`${what}: ${(error as Error).message}`)
    }
  }
  for (const row of deps.endpoints.all()) {
    const { id, network } = row
    if (network !== conf.name || stay.has(id)) continue
    await attempt(id, () =>
      deps.limiter.run(whom(row), async () => {
        const endpoint = deps.endpoints.get(network, row)
        if (endpoint === undefined) return
        // the link ends with the namespace of the pod
        if (isYoung(endpoint, arrivedMs, deps) && (await deps.kernel.link(endpoint.interfaceName)) !== undefined) return
        await takeDown(endpoint, deps)
        deleted.push(endpoint)
      }),
    )
  }
  await attempt('addresses', () =>
    collectHandles(deps, new Set(valid.map(attachment => handleOf(conf.name, attachment)))),
  )
  if (failures.length === 0) return { deleted }
  const failure = new CniError(CNI_CODE.io, failures.join('; '), 'the rest was collected; call GC again')
  return { deleted, failure }
}
