// Which address of this machine is the node's. Chosen once at start and never re-picked while running: a changed
// pick breaks every session and tunnel of a working node. Ambiguity is refused, not guessed.
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import type { Address } from '../kernel/port/addresses.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import type { Route } from '../kernel/port/routes.ts'
import { familyOf, parseAddress } from '../lib/ip.ts'

export type NodeAddress = {
  address: string
  /** Length of the node's own subnet, by which CrossSubnet is decided. */
  length: number
  /** Interface that carries it. */
  uplink: string
  mtu: number
}

/** The address could not be chosen; the message names the candidates and the remedy. */
export class AddressProblem extends Error {
  override readonly name = 'AddressProblem'
}

/**
 * The node's IPv4 address: `wanted` where given (an address, or `auto`), else the node's own annotation from an
 * earlier run, else its Kubernetes InternalIP, else the only address of the interface of the default route. Whatever
 * is chosen must exist on this machine.
 */
export async function chooseNodeAddress(
  kernel: Kernel,
  wanted: string,
  node: Resource<'Node'> | undefined,
): Promise<NodeAddress> {
  const [links, addresses, routes] = await Promise.all([
    kernel.links(),
    kernel.addresses(),
    kernel.routes({ family: 'ipv4', table: 254 }),
  ])
  const local = addresses.filter(a => familyOf(a.address) === 'ipv4')
  for (const [text, origin] of candidates(wanted, node)) {
    const found = local.find(a => a.address === text)
    if (found !== undefined) return describe(found, links)
    throw new AddressProblem(
      `${origin} is ${text}, which no interface of this machine has (it has ${local.map(a => a.address).join(', ')}); ` +
        'correct it, or give --node-ip',
    )
  }
  return describe(byDefaultRoute(local, links, routes), links)
}

function* candidates(wanted: string, node: Resource<'Node'> | undefined): Generator<[string, string]> {
  if (wanted !== 'auto') yield [wanted.split('/')[0]!, '--node-ip']
  const annotation = node?.metadata.annotations?.[NODE_ANNOTATION.ipv4Address]
  if (annotation !== undefined) yield [annotation.split('/')[0]!, `annotation ${NODE_ANNOTATION.ipv4Address}`]
  const internal = (node?.status?.addresses ?? []).find(
    a => a.type === 'InternalIP' && parseAddress(a.address) !== undefined && familyOf(a.address) === 'ipv4',
  )
  if (internal !== undefined) yield [internal.address, 'the InternalIP of the Node object']
}

function byDefaultRoute(local: readonly Address[], links: readonly Link[], routes: readonly Route[]): Address {
  const defaults = routes.filter(r => r.dst === '0.0.0.0/0' && r.ifindex !== undefined)
  const best = Math.min(...defaults.map(r => r.metric ?? 0))
  const uplinks = new Set(defaults.filter(r => (r.metric ?? 0) === best).map(r => r.ifindex))
  const found = local.filter(a => uplinks.has(a.ifindex))
  if (found.length === 1) return found[0]!
  const names = found.map(a => `${a.address} on ${links.find(l => l.index === a.ifindex)?.name}`)
  throw new AddressProblem(
    found.length === 0
      ? 'this machine has no IPv4 default route to tell the node address by; give --node-ip'
      : `the default route leaves the choice between ${names.join(', ')}; give --node-ip`,
  )
}

function describe({ address, length, ifindex }: Address, links: readonly Link[]): NodeAddress {
  const link = links.find(l => l.index === ifindex)
  if (link === undefined) throw new AddressProblem(`the interface of ${address} vanished while it was read; try again`)
  return { address, length, uplink: link.name, mtu: link.mtu }
}
