// One pod interface in the kernel: how it is put up, what it must look like, and how it is taken down (DESIGN section
// 4). Hazards: sysctls are written before the link is up, or the first packets meet the defaults; a MAC given at
// creation is left alone by udev, one set later is not; an ADD that answers before both neighbour entries are there
// costs the pod its first second.
import { randomBytes } from 'node:crypto'
import { GATEWAY, HOST_MAC } from '../kernel/pod-interface.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route } from '../kernel/port/routes.ts'
import { addressBits, type Family, familyOf } from '../lib/ip.ts'
import type { Endpoint } from './endpoints.ts'
import { CNI_CODE, CniError } from './error.ts'

const DEFAULT_ROUTE: Record<Family, string> = { ipv4: '0.0.0.0/0', ipv6: '::/0' }

/** A random unicast MAC of the locally administered range. */
export function randomMac(): string {
  const octets = randomBytes(6)
  octets[0] = (octets[0]! & 0xfc) | 0x02
  return [...octets].map(octet => octet.toString(16).padStart(2, '0')).join(':')
}

/** Creates the pair of links, down, with the peer born in the pod's namespace. */
export async function createPair(kernel: Kernel, endpoint: Endpoint): Promise<Link> {
  const { interfaceName: name, ifname, netns, mac, mtu } = endpoint
  const peer = { name: ifname, netns, mac, mtu }
  try {
    return await kernel.createLink({ kind: 'veth', name, mac: HOST_MAC, mtu, peer })
  } catch (error) {
    if (!(error instanceof KernelError) || !MAC_REFUSED.includes(error.errno)) throw error
    return kernel.createLink({ kind: 'veth', name, mtu, peer })
  }
}

const MAC_REFUSED: readonly number[] = [ERRNO.EINVAL, ERRNO.EADDRNOTAVAIL, ERRNO.EOPNOTSUPP]

/** Settings of the host side, in the order in which they are written, before the link goes up. */
const HOST_SYSCTLS: Record<Family, readonly (readonly [group: string, name: string, value: string])[]> = {
  ipv4: [
    ['conf', 'proxy_arp', '1'],
    ['conf', 'forwarding', '1'],
    ['conf', 'route_localnet', '1'],
    ['neigh', 'proxy_delay', '0'],
  ],
  ipv6: [
    ['conf', 'accept_ra', '0'],
    ['conf', 'accept_dad', '0'],
    ['conf', 'disable_ipv6', '0'],
    ['conf', 'forwarding', '1'],
    ['conf', 'proxy_ndp', '1'],
  ],
}

/** The host side: sysctls, up, permanent neighbour entries. Routes come last, by `connect`. */
export async function wireHost(kernel: Kernel, endpoint: Endpoint, link: Link): Promise<void> {
  const families = familiesOf(endpoint)
  for (const family of families)
    for (const [group, name, value] of HOST_SYSCTLS[family]) kernel.writeSysctl(family, [group, link.name, name], value)
  await kernel.setLink(link.index, { up: true })
  if (families.includes('ipv6'))
    await ifAbsent(
      kernel.addAddress({
        ifindex: link.index,
        address: GATEWAY.ipv6,
        length: 64,
        scope: ROUTE_SCOPE.link,
        noDad: true,
      }),
    )
  for (const address of endpoint.addresses)
    await kernel.setNeighbour({ ifindex: link.index, address, mac: endpoint.mac, permanent: true })
}

/** The pod side: addresses, up, the gateway as a permanent neighbour, routes. */
export async function wirePod(pod: Kernel, endpoint: Endpoint, hostMac: string): Promise<void> {
  const link = await pod.link(endpoint.ifname)
  if (link === undefined) throw new KernelError(ERRNO.ENODEV, 'find', endpoint.ifname)
  const families = familiesOf(endpoint)
  if (families.includes('ipv6'))
    for (const name of ['disable_ipv6', 'accept_dad']) pod.writeSysctl('ipv6', ['conf', endpoint.ifname, name], '0')
  for (const address of endpoint.addresses) {
    const length = addressBits(familyOf(address))
    await pod.addAddress({ ifindex: link.index, address, length, scope: ROUTE_SCOPE.universe, noDad: true })
  }
  await pod.setLink(link.index, { up: true })
  for (const family of families)
    await pod.setNeighbour({ ifindex: link.index, address: GATEWAY[family], mac: hostMac, permanent: true })
  for (const route of podRoutes(families, link.index)) {
    const [refused] = await pod.changeRoutes([{ verb: 'replace', route }])
    if (refused !== undefined) throw refused
  }
}

/** Routes the pod's addresses to its interface: from here on packets reach it. */
export async function connect(kernel: Kernel, endpoint: Endpoint, link: Link): Promise<void> {
  const routes = endpoint.addresses.map(address => hostRoute(address, link.index))
  const refusals = await kernel.changeRoutes(routes.map(route => ({ verb: 'add' as const, route })))
  for (const [i, refused] of refusals.entries()) {
    if (refused === undefined) continue
    if (refused.errno !== ERRNO.EEXIST) throw refused
    const address = endpoint.addresses[i]!
    const there = await kernel.lookupRoute(address)
    if (there.ifindex === link.index) continue // felix was faster
    const other = there.ifindex === undefined ? undefined : await kernel.link(there.ifindex)
    throw new CniError(
      CNI_CODE.kernel,
      `${address} is routed to ${other?.name ?? 'somewhere else'} already`,
      `look at "ip route get ${address}"; the next attempt takes another address`,
    )
  }
}

/** The route of a pod address on its node: proto boot, scope link (IPv6 has no scopes). */
function hostRoute(address: string, ifindex: number): Route {
  const family = familyOf(address)
  return {
    dst: `${address}/${addressBits(family)}`,
    table: ROUTE_TABLE.main,
    type: 'unicast',
    protocol: ROUTE_PROTOCOL.boot,
    scope: family === 'ipv4' ? ROUTE_SCOPE.link : ROUTE_SCOPE.universe,
    ifindex,
  }
}

/** In this order: the default route needs the way to the gateway. A link-local gateway needs none. */
function podRoutes(families: readonly Family[], ifindex: number): Route[] {
  const common = { table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.boot, ifindex } as const
  return families.flatMap(family => {
    const gateway = GATEWAY[family]
    const byDefault = { ...common, dst: DEFAULT_ROUTE[family], scope: ROUTE_SCOPE.universe, gateway }
    return family === 'ipv4' ? [{ ...common, dst: `${gateway}/32`, scope: ROUTE_SCOPE.link }, byDefault] : [byDefault]
  })
}

/** What the kernel has of an endpoint: the host side, and what is missing or wrong, in words for a person. */
export type Inspection = { host?: Link; faults: readonly string[] }

/** Reads everything back that ADD made, on both sides. */
export async function inspect(kernel: Kernel, endpoint: Endpoint): Promise<Inspection> {
  const host = await kernel.link(endpoint.interfaceName)
  if (host === undefined) return { faults: [`interface ${endpoint.interfaceName} is gone`] }
  const faults: string[] = []
  if (!host.up) faults.push(`interface ${host.name} is down`)
  const neighbours = await kernel.neighbours(host.index)
  for (const address of endpoint.addresses) {
    const known = neighbours.find(entry => entry.address === address)
    if (known?.mac !== endpoint.mac || !known.permanent)
      faults.push(`no permanent neighbour ${address} on ${host.name}`)
    if ((await routeTo(kernel, address))?.ifindex !== host.index) faults.push(`no route to ${address} on ${host.name}`)
  }
  try {
    using pod = kernel.inside(endpoint.netns)
    faults.push(...(await inspectPod(pod, endpoint, host)))
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    faults.push(`network namespace ${endpoint.netns}: ${error.message}`)
  }
  return { host, faults }
}

async function inspectPod(pod: Kernel, endpoint: Endpoint, host: Link): Promise<string[]> {
  const { ifname, mac } = endpoint
  const link = await pod.link(ifname)
  if (link === undefined) return [`interface ${ifname} is gone from the pod`]
  const faults: string[] = []
  if (!link.up) faults.push(`interface ${ifname} in the pod is down`)
  if (link.mac !== mac) faults.push(`interface ${ifname} in the pod has MAC ${link.mac}, not ${mac}`)
  const [addresses, routes, neighbours] = [
    await pod.addresses(link.index),
    await pod.routes({ table: ROUTE_TABLE.main, ifindex: link.index }),
    await pod.neighbours(link.index),
  ]
  for (const address of endpoint.addresses)
    if (!addresses.some(has => has.address === address && has.tentative !== true))
      faults.push(`address ${address} is gone from ${ifname} in the pod`)
    else if ((await routeTo(pod, address))?.type !== 'local')
      faults.push(`the pod does not take packets for ${address}`)
  for (const { dst, gateway } of podRoutes(familiesOf(endpoint), link.index))
    if (!routes.some(route => route.dst === dst && route.gateway === gateway))
      faults.push(`route ${dst} is gone from the pod`)
  for (const family of familiesOf(endpoint)) {
    const entry = neighbours.find(({ address }) => address === GATEWAY[family])
    if (entry?.mac !== host.mac) faults.push(`the pod does not have ${host.mac} for its gateway ${GATEWAY[family]}`)
  }
  return faults
}

async function routeTo(kernel: Kernel, address: string): Promise<Route | undefined> {
  try {
    return await kernel.lookupRoute(address)
  } catch (error) {
    if (error instanceof KernelError) return undefined
    throw error
  }
}

export function familiesOf({ addresses }: Pick<Endpoint, 'addresses'>): Family[] {
  return [...new Set(addresses.map(familyOf))]
}

async function ifAbsent(adding: Promise<void>): Promise<void> {
  try {
    await adding
  } catch (error) {
    if (!(error instanceof KernelError) || error.errno !== ERRNO.EEXIST) throw error
  }
}
