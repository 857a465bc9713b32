// CHECK: everything that ADD made is still there, and is what the runtime was told.
import { addressBits, familyOf } from '../../lib/ip.ts'
import type { CniDeps } from '../deps.ts'
import { CNI_CODE, CniError } from '../error.ts'
import type { CheckRequest } from '../request.ts'
import { inspect } from '../wiring.ts'

/** Rejects with `CniError` broken that lists what is missing. What later plugins added is not looked at. */
export async function check(request: CheckRequest, deps: CniDeps): Promise<void> {
  const { containerID, ifname, conf } = request
  const endpoint = deps.endpoints.get(containerID, ifname)
  if (endpoint === undefined) throw broken([`this node knows no interface ${ifname} of container ${containerID}`])
  const faults = [...(await inspect(deps.kernel, endpoint)).faults]
  const held = deps.ipam.held().get(endpoint.handle) ?? []
  const told = conf.prevResult
  for (const address of endpoint.addresses) {
    if (!held.some(has => has.address === address)) faults.push(`${address} is not reserved any more`)
    const text = `${address}/${addressBits(familyOf(address))}`
    if (told !== undefined && !told.ips.some(ip => ip.address === text)) faults.push(`prevResult does not have ${text}`)
  }
  for (const name of [endpoint.interfaceName, ifname])
    if (told !== undefined && !told.interfaces.some(other => other.name === name))
      faults.push(`prevResult does not have interface ${name}`)
  if (endpoint.netns !== request.netns) faults.push(`ADD was for ${endpoint.netns}, not ${request.netns}`)
  if (faults.length > 0) throw broken(faults)
}

function broken(faults: readonly string[]): CniError {
  return new CniError(CNI_CODE.broken, faults.join('; '), "restart the pod; the agent's log may say what changed it")
}
