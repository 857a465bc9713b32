// What is looked after on a node beside what felix keeps: things of other programs and of the network around it that take traffic
// from pods. Each watcher tells its own conditions, none of which decides readiness, and changes nothing.
import { poolsInEffect, usesOf } from '../../api/pools.ts'
import type { Condition } from '../../api/status.ts'
import type { NodeAllocator } from '../../ipam/allocator.ts'
import { reservedBy } from '../../ipam/pick.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Clock } from '../../lib/clock.ts'
import { contains, familyOf } from '../../lib/ip.ts'
import type { ClusterView } from '../cluster-view.ts'
import type { FlowEnds } from '../flows/ends.ts'
import type { NodeNetwork } from '../node-network.ts'
import type { AddressClaims } from './address-claims.ts'
import { HostAddresses } from './host-addresses.ts'

export type WatchersDeps = {
  nodeName: string
  kernel: Kernel
  clock: Clock
  view: Pick<ClusterView, 'all'>
  allocator: Pick<NodeAllocator, 'blocks' | 'held'>
  network: Pick<NodeNetwork, 'nodeWith' | 'learned'>
  ends: Pick<FlowEnds, 'at'>
  /** Floating addresses that lead to this node. */
  floating(): readonly string[]
  report: (source: string, conditions: readonly Condition[]) => void
}

export class Watchers {
  readonly #deps: WatchersDeps
  readonly #all: readonly { start(): void; close(): void }[]

  constructor(deps: WatchersDeps) {
    const { kernel, clock, report } = deps
    this.#deps = deps
    this.#all = [
      new HostAddresses({
        ...{ kernel, clock, claims: () => this.#claims() },
        report: conditions => report('host addresses', conditions),
      }),
    ]
  }

  start(): void {
    for (const each of this.#all) each.start()
  }

  close(): void {
    for (const each of this.#all) each.close()
  }

  #claims(): AddressClaims {
    const { nodeName, view, allocator, network, ends, floating } = this.#deps
    const floats = floating()
    const reserved = view.all('IPReservation').flatMap(({ spec }) => spec.reservedCIDRs)
    let held: ReadonlySet<string> | undefined
    return {
      pools: poolsInEffect(view.all('IPPool')).flatMap(({ spec }) =>
        usesOf(spec).includes('Workload') ? [spec.cidr] : [],
      ),
      isReserved: reservedBy(reserved),
      isOfNode: address => network.nodeWith(address) !== undefined || floats.includes(address),
      ownNetworks: allocator.blocks().flatMap(({ cidr, subnetOf }) => (subnetOf === undefined ? [] : [cidr])),
      isHeldHere(address) {
        held ??= new Set([...allocator.held().values()].flat().map(each => each.address))
        return held.has(address)
      },
      podAt(address) {
        const { kind, namespace, name } = ends.at(address)
        return kind === 'Pod' ? `${namespace}/${name}` : undefined
      },
      blockWith(address) {
        const isIn = (cidr: string) => familyOf(cidr) === familyOf(address) && contains(cidr, address)
        for (const { prefix, nextHop } of network.learned()) {
          const node = isIn(prefix) ? network.nodeWith(nextHop) : undefined
          if (node !== undefined && node !== nodeName) return { cidr: prefix, node }
        }
        return undefined
      },
    }
  }
}
