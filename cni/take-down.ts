// Takes down what one container's interface is: its pair of links, its row and its addresses.
import { DatabaseError } from '../lib/database.ts'
import type { CniDeps } from './deps.ts'
import type { PodEndpoint } from './endpoints.ts'

/**
 * Listeners first, then the kernel, then address and row together: after a crash in between a row is left for the next DEL.
 * Connections hold nothing back: whoever gets the address next waits until they are deleted (`add`).
 */
export async function takeDown(endpoint: PodEndpoint, deps: CniDeps, addresses?: 'keep addresses'): Promise<void> {
  deps.endpoints.markLeaving(endpoint.id)
  await deps.kernel.deleteLink(endpoint.interfaceName)
  deps.oldFlows.clear(endpoint.addresses)
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
