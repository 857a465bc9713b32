// Takes pods that run, but are not in the journal, over from the kernel: after the data directory was lost, or was put
// back from an old copy. The host side says the addresses and the MAC, the pod's namespace says the rest where it is found.
// Whose an interface is, the IPAMBlocks say (`nameAdopted`), or the next request of the runtime (`endpointOf`); where its alias
// says for whom it was made, both only when they say the same, since a later pod may have name and address of an earlier one.
// Hazard: a pod may give its interface any address, so what it says counts only where the host says nothing.

import { KernelError } from '../kernel/port/error.ts'
import type { Link } from '../kernel/port/links.ts'
import { ROUTE_PROTOCOL, ROUTE_TABLE } from '../kernel/port/routes.ts'
import { DatabaseError } from '../lib/database.ts'
import { addressBits, familyOf } from '../lib/ip.ts'
import type { CniDeps } from './deps.ts'
import { endpointId, type PodEndpoint } from './endpoints.ts'
import { POD_LIMIT } from './inspect.ts'
import {
  handleOf,
  hostInterfaceName,
  hostInterfaceNames,
  INTERFACE_PREFIX,
  madeFor,
  parseHandle,
} from './interface-name.ts'
import type { Attachment, PodName } from './request.ts'
import { releaseAddresses } from './take-down.ts'

/** The pod's end of a pair. */
type FarEnd = { netns: string; link: Link; addresses: readonly string[] }

/**
 * Drops rows whose interface was made for another container since, by its alias: the journal is an old copy. The interface
 * stays, and is adopted as that one's. To be called before requests are served.
 */
export async function dropReplaced(deps: CniDeps): Promise<void> {
  const { kernel, endpoints, log } = deps
  const links = new Map((await kernel.links()).map(link => [link.name, link]))
  for (const row of endpoints.all()) {
    const made = madeFor(links.get(row.interfaceName) ?? {})
    const ours = isUnnamed(row) ? row.madeFor : handleOf(row.network, row)
    if (made === undefined || ours === undefined || made === ours) continue
    log.warn(
      { endpoint: row.id, interface: row.interfaceName, madeFor: made },
      'the journal is older than this interface',
    )
    await releaseAddresses(row.handle, deps, row.id)
    endpoints.unpublish(row.id)
  }
}

/**
 * Writes a row for every pod interface of this kernel that has none, and holds its addresses. Returns the new rows. What
 * cannot be understood (no address, no MAC) is left as it is, with a warning.
 */
export async function adopt(deps: CniDeps): Promise<readonly PodEndpoint[]> {
  const { kernel, endpoints, log } = deps
  const unknown = (await kernel.links()).filter(
    ({ kind, name }) => kind === 'veth' && name.startsWith(INTERFACE_PREFIX) && !endpoints.knowsInterface(name),
  )
  if (unknown.length === 0) return []
  const farEnds = await findFarEnds(unknown, deps)
  const adopted: PodEndpoint[] = []
  for (const link of unknown) {
    const endpoint = await describe(link, farEnds.get(link.index) ?? [], deps)
    // asked again: an ADD or a DEL may have come meanwhile
    const now = await kernel.link(link.name)
    if (now?.index !== link.index || endpoints.knowsInterface(link.name)) continue
    if (endpoint === undefined) {
      log.warn({ interface: link.name }, 'an interface of an unknown pod has no address: it is left as it is')
      continue
    }
    persist(endpoint, deps)
    holdAddresses(endpoint, deps)
    endpoints.publish(endpoint)
    adopted.push(endpoint)
  }
  nameAdopted(deps)
  return adopted
}

/**
 * Holds the addresses of adopted rows in the blocks of this node, also in those that come later. Also of rows that have
 * their names: a block may still have the address for an earlier pod.
 */
export function holdAdopted(deps: Pick<CniDeps, 'endpoints' | 'ipam' | 'node'>): void {
  for (const endpoint of deps.endpoints.all()) if (endpoint.adopted || endpoint.delegate) holdAddresses(endpoint, deps)
}

/**
 * Gives adopted rows the names that the blocks have for their addresses. Only where the interface has the name that such
 * an attachment gets: the block may be older than the pod.
 */
export function nameAdopted({ endpoints, ipam, node }: Pick<CniDeps, 'endpoints' | 'ipam' | 'node'>): void {
  const unnamed = endpoints.all().filter(isUnnamed)
  if (unnamed.length === 0) return
  const holders = new Map([...ipam.held()].flatMap(([handle, held]) => held.map(({ address }) => [address, handle])))
  for (const endpoint of unnamed)
    for (const handle of new Set(endpoint.addresses.map(address => holders.get(address)))) {
      const named = handle === undefined ? undefined : namedBy(endpoint, handle, ipam)
      if (named === undefined || endpoints.get(named.network, named) !== undefined) continue
      endpoints.rename(endpoint.id, named)
      holdAddresses(named, { ipam, node })
      break
    }
}

/**
 * The row of an attachment. An adopted row that nobody has named yet is the one when its interface has the name of this
 * container's, or the name of this pod's and lies in the namespace that the runtime says. It is named by that.
 */
export function endpointOf(
  request: Attachment & { conf: { name: string }; pod?: PodName; netns?: string },
  { endpoints }: Pick<CniDeps, 'endpoints'>,
): PodEndpoint | undefined {
  const { conf, containerID, ifname, pod, netns } = request
  const known = endpoints.get(conf.name, request)
  if (known !== undefined) return known
  const handle = handleOf(conf.name, request)
  const unnamed = (name: string): PodEndpoint | undefined => {
    const found = endpoints.byInterface(name)
    return found !== undefined && isUnnamed(found) && found.madeFor === undefined ? found : undefined
  }
  const ofPod = pod === undefined ? undefined : unnamed(hostInterfaceName(request, pod))
  const found =
    endpoints.all().find(endpoint => isUnnamed(endpoint) && endpoint.madeFor === handle) ??
    unnamed(hostInterfaceName(request)) ??
    unnamed(hostInterfaceName(request, undefined, conf.name)) ??
    (ofPod?.netns !== '' && ofPod?.netns === netns ? ofPod : undefined)
  if (found === undefined) return undefined
  const id = endpointId(conf.name, request)
  const { madeFor: _by, ...rest } = found
  const named = { ...rest, id, network: conf.name, containerID, ifname, ...(pod !== undefined && { pod }) }
  endpoints.rename(found.id, named)
  return named
}

function isUnnamed({ network }: PodEndpoint): boolean {
  return network === ''
}

/**
 * What may be the far ends of `links`, by the index of the near one: links in named namespaces that name each other. Pairs
 * between other namespaces may have the same numbers.
 */
async function findFarEnds(links: readonly Link[], { kernel }: CniDeps): Promise<Map<number, readonly FarEnd[]>> {
  const near = new Map(links.map(link => [link.index, link]))
  const found = new Map<number, readonly FarEnd[]>()
  for (const netns of kernel.namespaces())
    try {
      using pod = kernel.inside(netns, POD_LIMIT)
      for (const link of await pod.links()) {
        const host = link.kind === 'veth' && link.peer !== undefined ? near.get(link.peer) : undefined
        if (host?.peer !== link.index) continue
        const addresses = await pod.addresses(link.index)
        const single = addresses.filter(({ address, length }) => length === addressBits(familyOf(address)))
        const far = { netns, link, addresses: single.map(({ address }) => address) }
        found.set(host.index, [...(found.get(host.index) ?? []), far])
      }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error // the namespace ended meanwhile, or is none
    }
  return found
}

async function describe(link: Link, ends: readonly FarEnd[], deps: CniDeps): Promise<PodEndpoint | undefined> {
  const { kernel, endpoints, clock } = deps
  const { index: ifindex, name: interfaceName, mtu } = link
  const routes = await kernel.routes({ table: ROUTE_TABLE.main, ifindex })
  const single = routes.flatMap(({ dst, type, gateway, protocol }) => {
    const [address = '', length] = dst.split('/')
    const isWhole = length !== undefined && Number(length) === addressBits(familyOf(address))
    return type === 'unicast' && gateway === undefined && protocol !== ROUTE_PROTOCOL.kernel && isWhole ? [address] : []
  })
  const neighbours = (await kernel.neighbours(ifindex)).filter(({ permanent }) => permanent)
  const isEntered = (each: string) => neighbours.some(({ address }) => address === each)
  // entries come before routes; a floating address has a route alone, and no pod has it
  const isOwn = (each: string) => isEntered(each) || ends.some(({ addresses }) => addresses.includes(each))
  const routed = single.some(isEntered) ? single.filter(isOwn) : single
  const known = neighbours.find(({ address }) => routed.includes(address))?.mac
  const fits = ends.filter(end =>
    known === undefined ? end.addresses.some(address => routed.includes(address)) : end.link.mac === known,
  )
  // with nothing on the host to compare it with, an end counts only when there is no other
  const [only, ...others] = ends
  const far = routed.length > 0 ? fits[0] : others.length === 0 ? only : undefined
  const used = new Set(endpoints.all().flatMap(endpoint => endpoint.addresses))
  const own = (far?.addresses ?? []).filter(address => !used.has(address))
  const addresses = routed.length > 0 ? routed : own
  const mac = known ?? far?.link.mac
  if (addresses.length === 0 || mac === undefined) return undefined
  const attachment = { containerID: interfaceName, ifname: far?.link.name ?? 'eth0' }
  const handle = madeFor(link)
  return {
    ...{ id: endpointId('', attachment), network: '', ...attachment, interfaceName, netns: far?.netns ?? '' },
    ...{ addresses, mac, mtu, handle: handleOf('adopted', attachment), adopted: true, createdMs: clock.wallMs() },
    ...(handle !== undefined && { madeFor: handle }),
  }
}

/** With a full disk the row is in memory only: the pod keeps its routes, and the next start adopts it again. */
function persist(endpoint: PodEndpoint, { endpoints, log }: CniDeps): void {
  try {
    endpoints.persist(endpoint)
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    log.error({ err: error, endpoint: endpoint.id }, 'an adopted pod cannot be written to the journal')
  }
}

function holdAddresses(endpoint: PodEndpoint, { ipam, node }: Pick<CniDeps, 'ipam' | 'node'>): void {
  const { handle, addresses, containerID, pod } = endpoint
  const named = { containerID, pod: pod?.name, namespace: pod?.namespace }
  ipam.hold({ handle, attributes: { node, ...(!isUnnamed(endpoint) && named) } }, addresses)
}

/** The row as the attachment that `handle` is for; undefined when that attachment's interface has another name. */
function namedBy(endpoint: PodEndpoint, handle: string, ipam: CniDeps['ipam']): PodEndpoint | undefined {
  if (endpoint.madeFor !== undefined && endpoint.madeFor !== handle) return undefined
  const { containerID, pod: name, namespace } = ipam.holder(handle) ?? {}
  const named = parseHandle(handle)
  if (named === undefined || named.containerID !== containerID) return undefined
  const { network, ...attachment } = named
  const pod = name === undefined || namespace === undefined ? undefined : { name, namespace }
  if (!hostInterfaceNames(network, attachment, pod).includes(endpoint.interfaceName)) return undefined
  const id = endpointId(network, attachment)
  const { madeFor: _by, ...rest } = endpoint
  return { ...rest, ...attachment, id, network, handle, ...(pod !== undefined && { pod }) }
}
