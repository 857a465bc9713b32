// Compares a pod's interface in the kernel with its description in kernel/pod-interface.ts, on both sides.
import { HOST_MAC, hostSide, type InterfaceSide, podSide } from '../kernel/pod-interface.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Link } from '../kernel/port/links.ts'
import type { Route } from '../kernel/port/routes.ts'
import { isUnknown, readOrAbsent } from '../kernel/port/sysctls.ts'
import { addressBits, familyOf, parseAddress, parseCidr } from '../lib/ip.ts'
import type { HostKernel, ReadKernel } from './deps.ts'
import type { PodEndpoint } from './endpoints.ts'
import type { HostSide } from './host-side.ts'
import type { ResultRoute } from './result.ts'

/** One difference, in texts for a person. Without `is` the object is absent; without `should` it only has to be there. */
export type Mismatch = {
  side: 'host' | 'pod'
  kind: 'netns' | 'link' | 'sysctl' | 'address' | 'neighbour' | 'route' | 'nft'
  /** What the kernel calls it: `eth0 mtu`, `net.ipv4.conf.eth0.forwarding`, `10.0.0.5/32 dev eth0 protocol`. */
  object: string
  is?: string
  should?: string
}

export function formatMismatch({ side, kind, object, is, should }: Mismatch): string {
  const where = side === 'host' ? 'on the host' : 'in the pod'
  const name = `${kind} ${object} ${where}`
  if (is === undefined) return `${name} is missing${should === undefined ? '' : ` (must be ${should})`}`
  return `${name} is ${is}, not ${should}`
}

/** Of what a pod has in its namespace, where it may have made any number of objects. */
export const POD_LIMIT = { mostObjects: 20_000 }

/** What the host side depends on beside the endpoint. */
type HostFacts = { routeProtocol: number; podsFiltered: boolean }

export function hostFacts(hostSide: Pick<HostSide, 'routeProtocol' | 'podsFiltered'>): HostFacts {
  return { routeProtocol: hostSide.routeProtocol(), podsFiltered: hostSide.podsFiltered() }
}

/** The filter of pods' packets, of which a part is for this interface, and its policies. */
export async function inspectFilter(
  hostSide: Pick<HostSide, 'filterDifferences'>,
  interfaceName: string,
): Promise<Mismatch[]> {
  const there = { changed: 'changed', added: 'there' }
  const should = { changed: 'as the agent writes it', added: 'absent' }
  try {
    return (await hostSide.filterDifferences(interfaceName)).map(({ object, is }) =>
      is === 'missing' ? nftMismatch(object) : { ...nftMismatch(object), is: there[is], should: should[is] },
    )
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    return [{ ...nftMismatch('tables'), is: error.message, should: 'readable' }]
  }
}

function nftMismatch(object: string): Mismatch {
  return { side: 'host', kind: 'nft', object }
}

/**
 * What plugins behind ours may have changed in the pod (SPEC 1.1.0, CHECK): a route may be in another table, where `sbr` and
 * `vrf` move it, and one that the result of the chain does not have (`told`) need not be there. Its MTU is what that result says;
 * where it says none, as before 1.1.0, it may be smaller than ours (`tuning`), but not larger: the host's end drops that.
 */
type Chain = { told?: { routes: readonly ResultRoute[]; mtu?: number } }

/**
 * Both sides. `hostMac`: what the host side must have; absent: what it has. `chain`: plugins behind ours had their turn. An
 * absent link ends the comparison.
 */
export async function inspect(
  kernel: HostKernel,
  endpoint: PodEndpoint,
  { routeProtocol, podsFiltered, hostMac, chain }: HostFacts & { hostMac?: string; chain?: Chain },
): Promise<{ hostMac: string; mismatches: Mismatch[] }> {
  const described = hostSide(endpoint, routeProtocol)
  const sysctls = described.sysctls.map(each =>
    each.needs === undefined || podsFiltered ? each : { ...each, value: '0' },
  )
  const side = { ...described, sysctls }
  const host = await kernel.link(side.name)
  const mac = hostMac ?? host?.mac ?? HOST_MAC
  const mismatches = await compare('host', kernel, host, side, mac)
  try {
    using pod = kernel.inside(endpoint.netns, POD_LIMIT)
    mismatches.push(...(await inspectPodSide(pod, endpoint, mac, chain)))
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    mismatches.push({ side: 'pod', kind: 'netns', object: endpoint.netns, is: error.message, should: 'open' })
  }
  return { hostMac: mac, mismatches }
}

/** The pod side, through a kernel of the pod's namespace. `hostMac`: the MAC of the host side. `chain` as for `inspect`. */
export async function inspectPodSide(
  pod: ReadKernel,
  endpoint: PodEndpoint,
  hostMac: string,
  chain?: Chain,
): Promise<Mismatch[]> {
  const side = podSide(endpoint, hostMac)
  return compare('pod', pod, await pod.link(side.name), side, endpoint.mac, chain)
}

async function compare(
  where: Mismatch['side'],
  kernel: ReadKernel,
  link: Link | undefined,
  side: InterfaceSide,
  mac: string,
  chain?: Chain,
): Promise<Mismatch[]> {
  const { name } = side
  if (link === undefined) return [{ side: where, kind: 'link', object: name }]
  const found: Mismatch[] = []
  const expect = (kind: Mismatch['kind'], object: string, is: unknown, should: unknown): void => {
    if (is !== should)
      found.push({ side: where, kind, object, is: is === undefined ? undefined : `${is}`, should: `${should}` })
  }
  expect('link', `${name} state`, link.up ? 'up' : 'down', 'up')
  if (!mtuFits(link.mtu, side.mtu, chain)) expect('link', `${name} mtu`, link.mtu, chain?.told?.mtu ?? side.mtu)
  expect('link', `${name} mac`, link.mac?.toLowerCase(), mac.toLowerCase())
  for (const setting of side.sysctls) {
    const { family, path, value } = setting
    const is = readOrAbsent(kernel, family, path)
    if (is === undefined && value === '0' && isUnknown(kernel, setting)) continue
    expect('sysctl', ['net', family, ...path].join('.'), is, value)
  }
  const addresses = await kernel.addresses(link.index)
  for (const { address, length, scope } of side.addresses) {
    const object = `${address}/${length} dev ${name}`
    const has = addresses.find(each => each.address === address && each.length === length)
    if (has === undefined) found.push({ side: where, kind: 'address', object })
    // the kernel makes an IPv6 address its own in a work queue, and until then drops what comes for it
    else if (where === 'pod' && (has.tentative === true || !(await isLocal(kernel, address, link))))
      expect('address', object, 'not in use yet', 'in use')
    else expect('address', `${object} scope`, has.scope, scope)
  }
  const neighbours = await kernel.neighbours(link.index)
  for (const { address, mac: lladdr } of side.neighbours) {
    const has = neighbours.find(each => each.address === address && each.proxy !== true)
    const is = has && `${has.mac?.toLowerCase()} ${has.permanent ? 'permanent' : 'not permanent'}`
    expect('neighbour', `${address} dev ${name}`, is, `${lladdr.toLowerCase()} permanent`)
  }
  for (const route of side.routes) {
    if (!isDemanded(route, chain)) continue
    const object = `${route.dst} dev ${name}`
    const has = await findRoute(kernel, route, link.index)
    if (has === undefined && chain !== undefined && (await isElsewhere(kernel, route, link.index))) continue
    if (has === undefined) found.push({ side: where, kind: 'route', object })
    else
      for (const field of ['type', 'gateway', 'protocol', 'scope'] as const)
        if (has[field] !== route[field]) expect('route', `${object} ${field}`, `${has[field]}`, `${route[field]}`)
  }
  return found
}

/** The node's own MTU is right too: it may have changed since the runtime was told. */
function mtuFits(is: number, own: number, chain: Chain | undefined): boolean {
  if (is === own || chain === undefined) return is === own
  const told = chain.told?.mtu
  return told === undefined ? is < own : is === told
}

/** Whether a route, or the default route that it leads to the gateway of, is still in the result of the chain. */
function isDemanded({ dst, gateway }: Omit<Route, 'ifindex'>, chain: Chain | undefined): boolean {
  if (chain?.told === undefined) return true
  const next = gateway ?? dst.replace(/\/.*/, '')
  return chain.told.routes.some(
    told =>
      parseCidr(told.dst)?.length === 0 &&
      familyOf(told.dst) === familyOf(dst) &&
      (told.gw === undefined || parseAddress(told.gw) === next),
  )
}

/** Whether a route of the interface is in some other table. */
async function isElsewhere(
  kernel: ReadKernel,
  { dst, type, gateway }: Pick<Route, 'dst' | 'type' | 'gateway'>,
  ifindex: number,
): Promise<boolean> {
  const all = await kernel.routes({ family: familyOf(dst), ifindex })
  return all.some(each => each.dst === dst && each.type === type && each.gateway === gateway)
}

/** Whether packets to an address of the link are for its namespace. A VRF has the addresses of its links in its own table. */
async function isLocal(kernel: ReadKernel, address: string, { index, master }: Link): Promise<boolean> {
  if ((await lookup(kernel, address))?.type === 'local') return true
  if (master === undefined) return false
  return isElsewhere(kernel, { type: 'local', dst: `${address}/${addressBits(familyOf(address))}` }, index)
}

/** Addresses that nobody has a route of his own to. */
const NOWHERE: Readonly<Record<string, string>> = { '0.0.0.0/0': '240.0.0.1', '::/0': '4000::1' }

/**
 * The route to a single address is asked for, and the default route by an address of nobody, unless another may be
 * preferred; others are looked for among the interface's.
 */
async function findRoute(
  kernel: ReadKernel,
  route: Omit<Route, 'ifindex'>,
  ifindex: number,
): Promise<Route | undefined> {
  const [address = '', length] = route.dst.split('/')
  if (route.metric === undefined && (length === '32' || length === '128')) {
    const found = await lookup(kernel, address)
    return found?.ifindex === ifindex && found.dst === route.dst ? found : undefined
  }
  const nowhere = route.metric === undefined ? NOWHERE[route.dst] : undefined
  const found = nowhere === undefined ? undefined : await lookup(kernel, nowhere)
  if (found?.ifindex === ifindex && found.dst === route.dst) return found
  const all = await kernel.routes({ table: route.table, ifindex })
  return all.find(({ dst, metric }) => dst === route.dst && (route.metric === undefined || metric === route.metric))
}

async function lookup(kernel: ReadKernel, address: string): Promise<Route | undefined> {
  try {
    return await kernel.lookupRoute(address)
  } catch (error) {
    if (error instanceof KernelError) return undefined // no route, or one that drops packets
    throw error
  }
}
