// Creates the pair of links of a pod and writes the side that is in the pod. Felix writes the host side (`HostSide`).
// Hazards: a kernel takes packets to an IPv6 address only once a work queue of its own has made the route to it, some time after the
// address is there (addrconf_dad_work, net/ipv6/addrconf.c): until then the answers to a pod's first packets are lost. udev changes a MAC that is set after the creation of a link, but not one that is given at creation.
import { randomBytes } from 'node:crypto'
import { HOST_MAC, type InterfaceSide } from '../kernel/pod-interface.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import type { Clock } from '../lib/clock.ts'
import { familyOf } from '../lib/ip.ts'
import type { HostKernel } from './deps.ts'
import type { PodEndpoint } from './endpoints.ts'

/** A random unicast MAC of the locally administered range. */
export function randomMac(): string {
  const octets = randomBytes(6)
  octets[0] = (octets[0]! & 0xfc) | 0x02
  return [...octets].map(octet => octet.toString(16).padStart(2, '0')).join(':')
}

/** Creates both links, down, with the peer born in the pod's namespace. Returns the host side. */
export async function createPair(
  kernel: Pick<HostKernel, 'createLink'>,
  endpoint: Pick<PodEndpoint, 'interfaceName' | 'ifname' | 'netns' | 'mac' | 'mtu'>,
): Promise<Link> {
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

/**
 * Writes a pod's side through a kernel of its namespace: sysctls, addresses, up, neighbours, routes. When it resolves, packets to
 * the addresses are taken. Rejects with KernelError, of ETIMEDOUT where they are not within a second.
 */
export async function writePodSide(pod: Kernel, side: InterfaceSide, clock: Clock): Promise<void> {
  const link = await pod.link(side.name)
  if (link === undefined) throw new KernelError(ERRNO.ENODEV, 'find', side.name)
  const ifindex = link.index
  for (const { family, path, value } of side.sysctls) pod.writeSysctl(family, path, value)
  for (const address of side.addresses) await pod.addAddress({ ifindex, ...address })
  await pod.setLink(ifindex, { up: true })
  for (const neighbour of side.neighbours) await pod.setNeighbour({ ifindex, ...neighbour, permanent: true })
  const refusals = await pod.changeRoutes(side.routes.map(route => ({ verb: 'replace', route: { ...route, ifindex } })))
  const refused = refusals.find(refusal => refusal !== undefined)
  if (refused !== undefined) throw refused
  for (const { address } of side.addresses) {
    if (familyOf(address) === 'ipv4') continue
    for (let waitedMs = 0; !(await isTaken(pod, address)); waitedMs++) {
      if (waitedMs === TAKEN_LIMIT_MS) throw new KernelError(ERRNO.ETIMEDOUT, 'take packets to', address)
      await new Promise<void>(resolve => clock.after(1, resolve))
    }
  }
}

/** A work queue of the kernel needs less than a millisecond, on a busy machine some. */
const TAKEN_LIMIT_MS = 1000

/** Packets to the address are for this namespace. */
async function isTaken(kernel: Kernel, address: string): Promise<boolean> {
  try {
    return (await kernel.lookupRoute(address)).type === 'local'
  } catch (error) {
    if (error instanceof KernelError && error.errno === ERRNO.ENETUNREACH) return false
    throw error
  }
}
