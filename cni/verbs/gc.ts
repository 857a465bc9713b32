// GC deletes all attachments of one network that the runtime does not list. One that fails does not stop the others.
import { collectHandles } from '../collect.ts'
import type { CniDeps } from '../deps.ts'
import { endpointId, lockKey } from '../endpoints.ts'
import { CNI_CODE, CniError } from '../error.ts'
import { handleOf } from '../interface-name.ts'
import type { GcRequest } from '../request.ts'
import { takeDown } from '../take-down.ts'

/** Rejects with one `CniError` that names every failure, after all were tried. */
export async function gc({ conf, valid }: GcRequest, deps: CniDeps): Promise<void> {
  const stay = new Set(valid.map(attachment => endpointId(conf.name, attachment)))
  const failures: string[] = []
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
      deps.limiter.run(lockKey(row), async () => {
        const endpoint = deps.endpoints.get(network, row)
        if (endpoint !== undefined) await takeDown(endpoint, deps)
      }),
    )
  }
  await attempt('addresses', () =>
    collectHandles(deps, new Set(valid.map(attachment => handleOf(conf.name, attachment)))),
  )
  if (failures.length > 0) throw new CniError(CNI_CODE.io, failures.join('; '), 'the rest was collected; call GC again')
}
