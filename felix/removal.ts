// Removes from the kernel what an agent made there, when this network leaves the node for good: everything that carries a
// mark of ours, and nothing else. The pods' interfaces go first and the tables of nftables last, so that no packet passes
// unfiltered on the way. Settings of uplinks (forwarding) stay as they are: nobody knows what they were before.
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import type { ForwardChain, NftFamily } from '../kernel/port/nftables.ts'
import { ROUTE_TABLE, type Route } from '../kernel/port/routes.ts'
import { NextHopIds } from '../kernel/reconcile/next-hop-ids.ts'
import { lacksNftables } from '../kernel/reconcile/nft-lacks.ts'
import { type Marks, Ownership } from '../kernel/reconcile/ownership.ts'
import { namedRoute } from '../kernel/reconcile/route-writes.ts'
import { acceptRemovals } from './foreign-accepts.ts'
import { bandwidthMarks, ownTables } from './marks.ts'

type RemovalKernel = Pick<
  Kernel,
  | 'links'
  | 'deleteLink'
  | 'setLink'
  | 'addresses'
  | 'deleteAddress'
  | 'routes'
  | 'changeRoutes'
  | 'nextHopObjects'
  | 'changeNextHopObjects'
  | 'nftables'
  | 'changeNftables'
  | 'forwardChains'
>

/**
 * Removes links, addresses, routes and tables; `pools` are the CIDRs of which the IP-in-IP device may have addresses of ours.
 * Returns what was removed, as a person would name it; nothing the second time. Rejects with `KernelError` at the first
 * refusal: what was removed by then is gone.
 */
export async function removeFromKernel(
  kernel: RemovalKernel,
  { marks, pools }: { marks: Marks; pools: readonly string[] },
): Promise<string[]> {
  const ownership = new Ownership(marks)
  ownership.setDestinations(pools)
  const removed: string[] = []
  const links = await kernel.links()
  const names = new Map(links.map(({ index, name }) => [index, name]))
  // read before links go: they take their routes along
  const local = new Ownership({ table: ROUTE_TABLE.local, protocol: marks.protocol })
  const routes: Route[] = []
  for (const owned of [ownership, local])
    for (const route of await kernel.routes({ table: owned.marks.table }))
      if (owned.ownsRoute(namedRoute(route, index => names.get(index)))) routes.push(route)
  const addresses = (await kernel.addresses()).filter(address =>
    ownership.ownsAddress({ ...address, interfaceName: names.get(address.ifindex) ?? '' }),
  )
  for (const link of links.filter(link => isOurs(link, ownership))) {
    await kernel.deleteLink(link.index)
    removed.push(`link ${link.name}`)
  }
  for (const address of addresses) {
    const name = names.get(address.ifindex)!
    await kernel.deleteAddress(address)
    removed.push(`address ${address.address} of ${name}`)
    if (name === marks.ipipDevice && (await addressesOf(kernel, address.ifindex)) === 0) {
      await kernel.setLink(address.ifindex, { up: false })
      removed.push(`link ${name} is down`)
    }
  }
  for (const route of await removeRoutes(kernel, routes)) removed.push(route)
  for (const object of await removeNextHops(kernel, marks)) removed.push(object)
  for (const found of await foreignChains(kernel)) {
    const changes = acceptRemovals(found)
    const [refusal] = changes.length === 0 ? [] : await kernel.changeNftables(changes)
    if (refusal !== undefined) throw refusal.error
    const { family, table, name } = found.chain
    if (changes.length > 0) removed.push(`rules in chain ${family} ${table} ${name}`)
  }
  for (const { family, name } of ownTables(marks)) {
    if ((await tableOf(kernel, family, name)) === undefined) continue
    const [refusal] = await kernel.changeNftables([{ verb: 'delete', object: { kind: 'table', family, name } }])
    if (refusal !== undefined) throw refusal.error
    removed.push(`table ${family} ${name}`)
  }
  return removed
}

/** Groups first: one goes with its last member. */
async function removeNextHops(kernel: RemovalKernel, marks: Marks): Promise<string[]> {
  const ids = new NextHopIds(marks)
  const own = ((await kernel.nextHopObjects()) ?? []).filter(object => ids.owns(object))
  const objects = own.toSorted((a, b) => Number(b.group !== undefined) - Number(a.group !== undefined))
  const refused = await kernel.changeNextHopObjects(objects.map(object => ({ verb: 'delete', object })))
  for (const error of refused) if (error !== undefined) throw error
  return objects.map(({ id }) => `next hop object ${id}`)
}

function isOurs({ name, kind }: Link, ownership: Ownership): boolean {
  if (ownership.ownsInterface(name)) return kind === 'veth'
  const shaped = bandwidthMarks(ownership.marks)?.linkPrefix
  if (shaped !== undefined && name.startsWith(shaped)) return kind === 'ifb'
  return ownership.ownsVxlan(name) && kind === 'vxlan'
}

async function addressesOf(kernel: RemovalKernel, ifindex: number): Promise<number> {
  return (await kernel.addresses(ifindex)).length
}

async function removeRoutes(kernel: RemovalKernel, routes: readonly Route[]): Promise<string[]> {
  const refused = await kernel.changeRoutes(routes.map(route => ({ verb: 'delete', route })))
  const refusal = refused.find(error => error !== undefined)
  if (refusal !== undefined) throw refusal
  return routes.map(({ dst }) => `route ${dst}`)
}

/** Empty where this kernel has no nftables. */
async function foreignChains(kernel: RemovalKernel): Promise<ForwardChain[]> {
  try {
    return await kernel.forwardChains()
  } catch (error) {
    if (error instanceof KernelError && lacksNftables(error)) return []
    throw error
  }
}

/** Undefined where there is no such table, or this kernel has no nftables. */
async function tableOf(kernel: RemovalKernel, family: NftFamily, name: string): Promise<unknown> {
  try {
    return await kernel.nftables({ family, name }, { without: 'elements' })
  } catch (error) {
    if (error instanceof KernelError && lacksNftables(error)) return undefined
    throw error
  }
}
