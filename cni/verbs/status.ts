// STATUS: whether the runtime may give this node pods.
import type { CniDeps } from '../deps.ts'
import { CniError } from '../error.ts'

/** Rejects with `CniError` 50, or 51 when running containers may suffer too. */
export async function status(deps: CniDeps): Promise<void> {
  const notReady = deps.status()
  if (notReady !== undefined) throw new CniError(notReady.code, notReady.msg, notReady.details)
}
