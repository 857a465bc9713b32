// Collects what no DEL will come for: rows of interfaces that ended with their namespace or with a reboot, and addresses
// of an ADD that never ended. Never an address that is still routed to an interface.

import { ROUTE_TABLE } from '../kernel/port/routes.ts'
import { addressBits, familyOf } from '../lib/ip.ts'
import { adopt } from './adopt.ts'
import type { CniDeps } from './deps.ts'
import { whom } from './endpoints.ts'
import { collectPlugins } from './ipam/collect.ts'
import { releaseAddresses, takeDown } from './take-down.ts'

/** Returns the ids of the endpoints and the handles that were collected. The agent calls it when it starts. */
export async function collect(deps: CniDeps): Promise<readonly string[]> {
  const collected: string[] = []
  for (const row of deps.endpoints.all()) {
    const { id, network } = row
    await deps.limiter.run(whom(row), async () => {
      const endpoint = deps.endpoints.get(network, row)
      if (endpoint === undefined || (await deps.kernel.link(endpoint.interfaceName)) !== undefined) return
      await takeDown(endpoint, deps)
      collected.push(id)
    })
  }
  for (const handle of await collectHandles(deps)) collected.push(handle)
  if (collected.length > 0) deps.log.info({ collected }, 'collected endpoints and addresses that no container uses')
  return collected
}

/**
 * Releases addresses of containers that no row and no running ADD uses, that are routed to no interface, and that no pod
 * in this kernel has. `valid`: handles of attachments that the runtime calls valid, which stay in any case.
 */
export async function collectHandles(
  deps: CniDeps,
  valid: ReadonlySet<string> = new Set(),
): Promise<readonly string[]> {
  const { ipam, kernel, endpoints } = deps
  const released = await collectPlugins(deps)
  const orphan = (handle: string): boolean => isUnused(handle, deps) && !valid.has(handle)
  if (![...ipam.held().keys()].some(orphan)) return released
  await adopt(deps) // a pod without a row has its addresses
  const inUse = new Set(endpoints.all().flatMap(({ addresses }) => addresses))
  const routes = await kernel.routes({ table: ROUTE_TABLE.main })
  const routed = new Set(routes.filter(({ type }) => type === 'unicast').map(({ dst }) => dst))
  for (const [handle, held] of [...ipam.held()]) {
    if (!orphan(handle)) continue // asked again: an ADD may have begun meanwhile
    if (held.some(({ address }) => inUse.has(address) || routed.has(`${address}/${addressBits(familyOf(address))}`)))
      continue
    await releaseAddresses(handle, deps)
    released.push(handle)
  }
  return released
}

/**
 * Whether no row and no running ADD uses a handle. Of all but tunnels and what other plugins have: a handle of Calico, whose blocks a node may have, names no
 * container that we could ask for. Calico also gives addresses of a block to pods of other nodes, of which nothing is known here.
 */
export function isUnused(
  handle: string,
  { ipam, endpoints, node }: Pick<CniDeps, 'ipam' | 'endpoints' | 'node'>,
): boolean {
  const holder = ipam.holder(handle)
  const isLent = holder !== undefined && holder.node !== node
  return holder?.type === undefined && !isLent && !endpoints.knows(handle)
}
