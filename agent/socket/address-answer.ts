// What the agent answers to `GET /ipam-check`: what the check of this node found, with the version of each of its blocks and every
// address that it holds, so that whoever reads the IPAMBlocks can tell what is not published yet from what is wrong.
import type { AddressesAnswer } from '../../api/answers.ts'
import { type AddressCheck, checkAddresses } from '../../cni/address-check.ts'
import type { CniDeps } from '../../cni/deps.ts'
import { pluginPods } from '../../cni/ipam/handle.ts'
import type { NodeAllocator } from '../../ipam/allocator.ts'

/** Rejects with `KernelError`. */
export async function addressesAnswer(
  cni: CniDeps,
  allocator: Pick<NodeAllocator, 'held' | 'holder' | 'sequences'>,
): Promise<AddressesAnswer> {
  const checked = await checkAddresses(cni)
  // what follows is of one moment
  return heldAnswer(cni, allocator, checked)
}

function heldAnswer(
  { node, endpoints }: CniDeps,
  allocator: Pick<NodeAllocator, 'held' | 'holder' | 'sequences'>,
  { findings, looked, unlooked }: AddressCheck,
): AddressesAnswer {
  const rows = new Map(endpoints.all().map(row => [row.handle, row]))
  const plugins = new Map(pluginPods(allocator).map(pod => [pod.handle, pod]))
  const addresses = [...allocator.held()].flatMap(([handle, held]) => {
    const row = rows.get(handle) ?? plugins.get(handle)
    const type = plugins.has(handle) ? undefined : allocator.holder(handle)?.type
    const use = type !== undefined ? 'tunnel' : row !== undefined || endpoints.knows(handle) ? 'pod' : 'nobody'
    const owner = type ?? (row?.pod === undefined ? row?.containerID : `${row.pod.namespace}/${row.pod.name}`) ?? ''
    return held.map(({ address, block }) => ({
      address,
      block,
      handle,
      use: use as 'pod' | 'tunnel' | 'nobody',
      owner,
    }))
  })
  const blocks = [...allocator.sequences()].map(([cidr, sequence]) => ({ cidr, sequence: String(sequence) }))
  const told = findings.map(({ addresses: about, ...finding }) => ({ ...finding, addresses: [...about] }))
  return { node, blocks, addresses, findings: told, looked, unlooked: [...unlooked] }
}
