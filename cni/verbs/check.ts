// CHECK: everything that ADD created is still there, and is what the runtime was told.
import { HOST_MAC } from '../../kernel/pod-interface.ts'
import { KernelError } from '../../kernel/port/error.ts'
import { addressBits, familyOf } from '../../lib/ip.ts'
import { endpointOf } from '../adopt.ts'
import type { CniDeps } from '../deps.ts'
import type { PodEndpoint } from '../endpoints.ts'
import { CNI_CODE, CniError } from '../error.ts'
import { formatMismatch, hostFacts, inspect, inspectFilter, POD_LIMIT } from '../inspect.ts'
import { isSameNetns } from '../netns.ts'
import { followMac, writeNeighbours } from '../pod-repair.ts'
import type { CheckRequest } from '../request.ts'
import type { ResultInterface } from '../result.ts'

/**
 * Rejects with `CniError` broken that names every mismatch: links, MACs, MTU, sysctls, addresses, neighbours and routes of
 * both sides, the filter of its packets and its policies, the reserved addresses, and what the runtime was told. What later plugins added is not looked at.
 */
export async function check(request: CheckRequest, deps: CniDeps): Promise<void> {
  const { containerID, ifname, conf } = request
  const known = endpointOf(request, deps)
  if (known === undefined) throw broken([`this node knows no interface ${ifname} of container ${containerID}`])
  const told = conf.prevResult
  const endpoint = await withMacOfChain(known, request, deps)
  const hostMac = told?.interfaces.find(({ name }) => name === endpoint.interfaceName)?.mac
  const expected = {
    ...hostFacts(deps.hostSide),
    hostMac,
    chain: { told: told && { routes: told.routes, mtu: ownOf(request)?.mtu } },
  }
  const { mismatches } = await inspect(deps.kernel, endpoint, expected)
  const filter = await inspectFilter(deps.hostSide, endpoint.interfaceName)
  const faults = [...mismatches, ...filter].map(formatMismatch)
  const held = deps.ipam.held().get(endpoint.handle) ?? []
  for (const address of endpoint.addresses) {
    if (endpoint.delegate === undefined && !held.some(has => has.address === address))
      faults.push(`${address} is not reserved any more`)
    const text = `${address}/${addressBits(familyOf(address))}`
    if (told !== undefined && !told.ips.some(ip => ip.address === text)) faults.push(`prevResult does not have ${text}`)
  }
  for (const name of [endpoint.interfaceName, ifname])
    if (told !== undefined && !told.interfaces.some(other => other.name === name))
      faults.push(`prevResult does not have interface ${name}`)
  if (!isSameNetns(endpoint.netns, request.netns))
    faults.push(`ADD was for ${endpoint.sandbox ?? endpoint.netns}, and ${request.sandbox} is not that namespace`)
  if (faults.length > 0) throw broken(faults)
}

/**
 * A plugin after ours may have given the interface another MAC, and says so in the result: the neighbour entry of the host
 * follows where the interface has it, and those that the pod lost with its old MAC are written again.
 */
async function withMacOfChain(endpoint: PodEndpoint, request: CheckRequest, deps: CniDeps): Promise<PodEndpoint> {
  const { ifname, netns, interfaceName } = endpoint
  const mac = ownOf(request)?.mac?.toLowerCase()
  if (mac === undefined || mac === endpoint.mac) return endpoint
  try {
    using pod = deps.kernel.inside(netns, POD_LIMIT)
    const link = await pod.link(ifname)
    if (link?.mac?.toLowerCase() === mac) {
      const host = await deps.kernel.link(interfaceName)
      const moved = await followMac(endpoint, mac, deps)
      await writeNeighbours(pod, link.index, moved, host?.mac ?? HOST_MAC)
      return moved
    }
  } catch (error) {
    if (!(error instanceof KernelError)) throw error // whatever is missing is named with the rest
  }
  return { ...endpoint, mac }
}

/** The interface in the container, as the result of the chain has it. */
function ownOf({ conf, ifname, sandbox: given }: CheckRequest): ResultInterface | undefined {
  return conf.prevResult?.interfaces.find(({ name, sandbox }) => name === ifname && sandbox === given)
}

function broken(faults: readonly string[]): CniError {
  return new CniError(CNI_CODE.broken, faults.join('; '), "restart the pod; the agent's log may say what changed it")
}
