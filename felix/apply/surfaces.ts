// What the reconciler needs to know of addresses on tunnels, neighbours, forwarding entries and sysctls: how to read
// what is ours, how to change one, when two are the same. Nothing here touches what does not carry our mark.

import { GATEWAY } from '../../kernel/pod-interface.ts'
import type { Address } from '../../kernel/port/addresses.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { FdbEntry, Neighbour } from '../../kernel/port/neighbours.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import type { Change } from '../../lib/delta.ts'
import { IPIP_DEVICE, VXLAN_DEVICE } from '../calc/tunnels.ts'
import {
  addressKey,
  type DesiredAddress,
  type DesiredFdb,
  type DesiredNeighbour,
  type DesiredSysctl,
  fdbKey,
  neighbourKey,
} from '../desired.ts'
import { type LinkView, NoInterface } from './link-view.ts'
import type { Surface } from './reconciler.ts'

/** Interfaces of pods are ours by this prefix. */
export const WORKLOAD_PREFIX = 'cali'

/**
 * Single addresses of the tunnel devices. On vxlan.calico every IPv4 one is ours; on tunl0, which others use too, those
 * that are wanted and those that `isOurs` (a pool holds them). On lo nothing is wanted; the pods' gateway
 * with scope link is there from an earlier version of Margay and is removed.
 */
export function addressSurface(
  kernel: Kernel,
  links: LinkView,
  isOurs: (address: string) => boolean,
): Surface<DesiredAddress> {
  const claims: Record<string, (address: string, scope: number) => boolean> = {
    [VXLAN_DEVICE]: () => true,
    [IPIP_DEVICE]: isOurs,
    lo: (address, scope) => address === GATEWAY.ipv4 && scope === ROUTE_SCOPE.link,
  }
  return {
    kind: 'address',
    nameOf: (key, value) => ({ kind: 'address', key, interfaceName: value?.interfaceName }),
    same: (a, b) => a.interfaceName === b.interfaceName && a.address === b.address,
    async read(wanted) {
      const seen: [string, DesiredAddress][] = []
      for (const [interfaceName, claimed] of Object.entries(claims)) {
        const link = links.byName(interfaceName)
        if (link === undefined) continue
        for (const { address, length, scope } of await kernel.addresses(link.index)) {
          const value = { interfaceName, address, scope }
          if (length !== 32 || address.includes(':')) continue
          if (wanted.has(addressKey(value)) || claimed(address, scope)) seen.push([addressKey(value), value])
        }
      }
      return seen
    },
    write: changes =>
      eachOf(changes, links, async ({ address, scope }, ifindex, verb) => {
        const value: Address = { ifindex, address, length: 32, scope }
        if (verb === 'remove') return kernel.deleteAddress(value)
        await kernel.addAddress(value).catch(unless(ERRNO.EEXIST))
      }),
  }
}

/** Permanent entries of pod interfaces and of vxlan.calico. */
export function neighbourSurface(kernel: Kernel, links: LinkView): Surface<DesiredNeighbour> {
  return {
    kind: 'neighbour',
    nameOf: (key, value) => ({ kind: 'neighbour', key, interfaceName: value?.interfaceName }),
    same: (a, b) => a.mac === b.mac && a.permanent === b.permanent,
    async read() {
      const seen: [string, DesiredNeighbour][] = []
      for (const neighbour of await kernel.neighbours()) {
        const value = ownNeighbour(neighbour, links)
        if (value?.permanent === true) seen.push([neighbourKey(value), value])
      }
      return seen
    },
    write: changes =>
      eachOf(changes, links, ({ address, mac, permanent }, ifindex, verb) => {
        const neighbour = { ifindex, address, mac, permanent }
        return verb === 'remove' ? kernel.deleteNeighbour(neighbour) : kernel.setNeighbour(neighbour)
      }),
  }
}

/** A neighbour the kernel told of, when it lies on one of our interfaces. */
export function ownNeighbour(
  { ifindex, address, mac, permanent, proxy }: Neighbour,
  links: LinkView,
): DesiredNeighbour | undefined {
  const interfaceName = links.nameOf(ifindex)
  if (interfaceName === undefined || proxy === true) return undefined
  if (interfaceName !== VXLAN_DEVICE && !interfaceName.startsWith(WORKLOAD_PREFIX)) return undefined
  return { interfaceName, address, mac, permanent }
}

/** Where vxlan.calico sends the frames of each far VTEP. */
export function fdbSurface(kernel: Kernel, links: LinkView): Surface<DesiredFdb> {
  return {
    kind: 'fdb',
    nameOf: (key, value) => ({ kind: 'fdb', key, interfaceName: value?.interfaceName }),
    same: (a, b) => a.dst === b.dst,
    async read() {
      const link = links.byName(VXLAN_DEVICE)
      const entries: readonly FdbEntry[] = link === undefined ? [] : await kernel.fdb(link.index)
      return entries.map(({ mac, dst }) => {
        const value = { interfaceName: VXLAN_DEVICE, mac, dst }
        return [fdbKey(value), value] as const
      })
    },
    write: changes =>
      eachOf(changes, links, ({ mac, dst }, ifindex, verb) => {
        const entry = { ifindex, mac, dst }
        return verb === 'remove' ? kernel.deleteFdb(entry) : kernel.setFdb(entry)
      }),
  }
}

/** Only what is wanted is ever read, and nothing is set back when it is wanted no more. */
export function sysctlSurface(kernel: Kernel): Surface<DesiredSysctl> {
  const readOne = (wanted: DesiredSysctl): DesiredSysctl | undefined => {
    // a kernel without IPv6 has nothing to be told about it
    if (wanted.family === 'ipv6' && !hasIpv6(kernel)) return wanted
    try {
      return { ...wanted, value: kernel.readSysctl(wanted.family, wanted.path).trim() }
    } catch {
      return undefined
    }
  }
  return {
    kind: 'sysctl',
    nameOf: (key, value) => ({ kind: 'sysctl', key, interfaceName: value?.path[1] }),
    same: (a, b) => a.value === b.value,
    async read(wanted) {
      return [...wanted].flatMap(([key, value]) => {
        const seen = readOne(value)
        return seen === undefined ? [] : [[key, seen] as const]
      })
    },
    async write(changes) {
      return changes.map(({ value }) => {
        if (value === undefined) return undefined
        try {
          kernel.writeSysctl(value.family, value.path, value.value)
          return undefined
        } catch (error) {
          return asError(error)
        }
      })
    },
  }
}

function hasIpv6(kernel: Kernel): boolean {
  try {
    kernel.readSysctl('ipv6', ['conf', 'all', 'forwarding'])
    return true
  } catch {
    return false
  }
}

/** One request after another, each with its own fate. A removal whose interface is gone has nothing left to do. */
async function eachOf<V extends { interfaceName: string }>(
  changes: readonly Change<V>[],
  links: LinkView,
  run: (value: V, ifindex: number, verb: 'put' | 'remove') => Promise<void>,
): Promise<(Error | undefined)[]> {
  const results: (Error | undefined)[] = []
  for (const { value, seen } of changes) {
    const target = value ?? seen
    const link = target === undefined ? undefined : links.byName(target.interfaceName)
    if (target === undefined || (value === undefined && link === undefined)) results.push(undefined)
    else if (link === undefined) results.push(new NoInterface(target.interfaceName))
    else {
      const verb = value === undefined ? 'remove' : 'put'
      results.push(await run(target, link.index, verb).then(() => undefined, asError))
    }
  }
  return results
}

function unless(errno: number): (error: unknown) => void {
  return error => {
    if (!(error instanceof KernelError) || error.errno !== errno) throw error
  }
}

/** What a request failed with, as a value: a defect of ours is thrown on. */
function asError(error: unknown): Error {
  if (error instanceof KernelError || (error instanceof Error && 'code' in error)) return error
  throw error
}
