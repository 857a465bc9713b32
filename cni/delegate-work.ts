// Another plugin gives addresses (SPEC 1.1.0, section 4): the plugin on the host executes it, since only there are its program and
// its files, and only the one that the runtime's configuration names. Here is when it has to, and what is made of what it gave.
// Hazards: it gives to each container once, so an ADD that is called again must not ask it again; two sources of addresses may
// give one.
import { contains, type Family, familyOf } from '../lib/ip.ts'
import type { Delegated } from './delegate.ts'
import type { CniDeps } from './deps.ts'
import { type EndpointStore, endpointId, type PodEndpoint } from './endpoints.ts'
import { CNI_CODE, CniError } from './error.ts'
import type { AddRequest, Attachment, CniRequest, NetConf } from './request.ts'

/**
 * What the plugin on the host has to do when the agent is done: execute the other plugin with the same verb, which after ADD is
 * followed by a second request with its result; of GC, with DEL first for each of `gone`. The CIDRs are those of the Node, for the
 * texts "usePodCidr" and "usePodCidrIPv6" of the configuration.
 */
export type DelegateWork = { podCidr?: string; podCidrIPv6?: string; gone?: readonly Attachment[] }

/** ADD came for addresses of another plugin, and without them: nothing was made. */
export class DelegateNeeded extends Error {}

/**
 * What another plugin gave, now or to the interface before; undefined where addresses are ours. Throws `DelegateNeeded`, or
 * `CniError` where a DEL came before that plugin was done, whose address is free again.
 */
export function delegatedTo(
  request: AddRequest,
  before: PodEndpoint | undefined,
  endpoints: EndpointStore,
): Delegated | undefined {
  const { conf, delegated } = request
  if (conf.delegate === undefined) return undefined
  const id = endpointId(conf.name, request)
  if (delegated !== undefined && endpoints.isOvertaken(id))
    throw new CniError(
      CNI_CODE.tryLater,
      `DEL came while ${conf.delegate} gave an address`,
      'nothing was made; the runtime calls ADD again when it wants the interface',
    )
  if (delegated !== undefined) return delegated
  if (before?.delegate?.type !== conf.delegate) {
    endpoints.expectAgain(id)
    throw new DelegateNeeded(`${conf.delegate} is to give addresses`)
  }
  return { addresses: before.addresses, ...before.delegate }
}

/** An interface that is to be made, and has no addresses yet. */
export type Place = Omit<PodEndpoint, 'addresses'>

/** Whose its addresses are, for the blocks. */
export const attributesOf = ({ containerID, pod }: Place, { node }: CniDeps) => {
  return { node, containerID, pod: pod?.name, namespace: pod?.namespace }
}

/** With those that another plugin gave, on disk. Ours are never these, also of blocks to come. Rejects with `CniError` or `KernelError`. */
export async function takeFor(
  place: Place,
  { addresses, dns }: Delegated,
  conf: NetConf,
  deps: CniDeps,
): Promise<PodEndpoint> {
  const host = new Set((await deps.kernel.addresses()).map(({ address }) => address))
  refuseTaken(addresses, { own: place.id, host }, conf, deps)
  const delegate = { type: conf.delegate!, ...(dns !== undefined && { dns }) }
  const endpoint = { ...place, addresses, delegate }
  deps.endpoints.persist(endpoint)
  deps.ipam.hold({ handle: place.handle, attributes: attributesOf(place, deps) }, addresses)
  return endpoint
}

/** Throws `CniError` where an address is the node's, another container's, or of a block that this node gives addresses of. */
function refuseTaken(
  addresses: readonly string[],
  { own, host }: { own: string; host: ReadonlySet<string> },
  conf: NetConf,
  { endpoints, ipam }: CniDeps,
): void {
  for (const address of addresses) {
    if (host.has(address))
      throw new CniError(
        CNI_CODE.noAddress,
        `${conf.delegate} gave ${address}, which this node has itself`,
        'take the addresses of nodes out of its range',
      )
    const other = endpoints.all().find(each => each.id !== own && each.addresses.includes(address))
    const block = ipam.blocks().find(({ cidr }) => contains(cidr, address))
    if (other === undefined && block === undefined) continue
    throw new CniError(
      CNI_CODE.noAddress,
      `${conf.delegate} gave ${address}, ${other === undefined ? `which is in the block ${block!.cidr} of pool ${block!.pool}` : `which ${other.id} has`}`,
      other === undefined
        ? 'no range may be given by two: take it out of the IPPool, or let the pool give no addresses on this node'
        : 'DEL of that container has not come yet, or two networks have one range',
    )
  }
}

/** What the plugin on the host has to do for a request that succeeded; undefined: nothing. Throws `CniError`. */
export function workFor(
  request: CniRequest,
  { podCidrs }: CniDeps,
  gone: readonly PodEndpoint[] = [],
): DelegateWork | undefined {
  if (request.verb === 'VERSION') return undefined
  const { conf } = request
  if (conf.delegate === undefined) return undefined
  const of = (wanted: Family): string | undefined => podCidrs().find(cidr => familyOf(cidr) === wanted)
  const [podCidr, podCidrIPv6] = [of('ipv4'), of('ipv6')]
  if (
    (conf.usesPodCidr?.includes('ipv4') && podCidr === undefined) ||
    (conf.usesPodCidr?.includes('ipv6') && podCidrIPv6 === undefined)
  )
    throw new CniError(
      CNI_CODE.tryLater,
      'ipam has "usePodCidr", and the Node of this node has no podCIDR of that family',
      'let the controller manager give nodes a range (--allocate-node-cidrs), or write one in its place',
    )
  const attachments = gone
    .filter(({ delegate }) => delegate?.type === conf.delegate)
    .map(({ containerID, ifname }) => ({ containerID, ifname }))
  return { podCidr, podCidrIPv6, ...(attachments.length > 0 && { gone: attachments }) }
}
