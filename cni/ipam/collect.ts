// Frees what no DEL will come for of other plugins' pods: addresses of an earlier boot, and gateways that nobody has.
import { gatewayHandle } from '../../ipam/port.ts'
import type { CniDeps } from '../deps.ts'
import { releaseAddresses } from '../take-down.ts'
import { pluginPods } from './handle.ts'

type Deps = Pick<CniDeps, 'bootId' | 'ipam' | 'endpoints' | 'log' | 'kernel'>

/**
 * Frees addresses of pods of an earlier boot, since no container outlives the machine that it runs on, and gateways of subnets
 * without pods that no interface of the host has any more. Returns their handles.
 */
export async function collectPlugins(deps: Deps): Promise<string[]> {
  const { ipam, kernel, bootId } = deps
  const dead = pluginPods(ipam).filter(({ boot }) => boot !== undefined && boot !== bootId)
  for (const { handle } of dead) await releaseAddresses(handle, deps)
  const alone = () =>
    ipam
      .blocks()
      .flatMap(({ cidr, subnetOf, isOnLan, used }) =>
        subnetOf === undefined || isOnLan || used > 1 ? [] : [gatewayHandle(subnetOf, cidr)],
      )
  const released = dead.map(({ handle }) => handle)
  if (alone().length === 0) return released
  const there = new Set((await kernel.addresses()).map(({ address }) => address))
  // asked again: an ADD may have come meanwhile, and none comes before all are freed
  const gone = alone().filter(
    handle =>
      !ipam
        .held()
        .get(handle)
        ?.some(({ address }) => there.has(address)),
  )
  await Promise.all(gone.map(handle => releaseAddresses(handle, deps)))
  return [...released, ...gone]
}
