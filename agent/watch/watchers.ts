// What is looked after on a node beside what felix keeps: things of other programs and of the network around it that take traffic
// from pods. Each watcher tells its own conditions, none of which decides readiness, and changes nothing.
import { poolsInEffect, usesOf } from '../../api/pools.ts'
import type { Condition } from '../../api/status.ts'
import type { EndpointStore, PodEndpoint } from '../../cni/endpoints.ts'
import type { ForeignAddress } from '../../cni/pod-watch.ts'
import { IPIP_DEVICE, VXLAN_DEVICE } from '../../felix/calc/tunnels.ts'
import type { NodeAllocator } from '../../ipam/allocator.ts'
import { reservedBy } from '../../ipam/pick.ts'
import type { AskLink } from '../../kernel/link-question.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { readOrAbsent } from '../../kernel/port/sysctls.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { contains, type Family, familyOf, formatCidr } from '../../lib/ip.ts'
import type { ClusterView } from '../cluster-view.ts'
import { DefaultRoutes } from '../default-routes.ts'
import type { FlowEnds } from '../flows/ends.ts'
import type { NodeNetwork } from '../node-network.ts'
import type { AddressClaims } from './address-claims.ts'
import { Duplicates, type NewAddresses } from './duplicates.ts'
import { ForeignNeighbours, type UsedAs } from './foreign-neighbours.ts'
import { HostAddresses } from './host-addresses.ts'
import { LinkAsker } from './link-asker.ts'
import { NodeSessions, type NodeSessionsDeps } from './node-sessions.ts'
import { type OpenEcho, pinger } from './pinger.ts'
import { PodAddresses } from './pod-addresses.ts'
import { poolSubnetConditions } from './pool-subnets.ts'
import { settingsConditions } from './settings.ts'

/** How links are asked who has an address, and addresses whether somebody is there. */
export type Ask = { link: AskLink; echo: OpenEcho }

export type WatchersDeps = {
  nodeName: string
  kernel: Kernel
  /** Absent: nothing is told that others have to be asked for. */
  ask: Ask | undefined
  clock: Clock
  view: Pick<ClusterView, 'all' | 'retryNow'>
  allocator: Pick<NodeAllocator, 'blocks' | 'held'>
  network: Pick<NodeNetwork, 'nodeWith' | 'learned' | 'peers' | 'address'>
  ends: Pick<FlowEnds, 'at'>
  /** Floating addresses that lead to this node. */
  floating(): readonly string[]
  endpoints: Pick<EndpointStore, 'live' | 'onChange'>
  /** Addresses that pods have beside their own. */
  podAddresses(): Iterable<ForeignAddress>
  report: (source: string, conditions: readonly Condition[]) => void
}

/** For what is seen by a look at a few things in memory or in files of the kernel. */
const LOOK_MS = 5000
const IPV4_TUNNELS = [IPIP_DEVICE, VXLAN_DEVICE] as const

export class Watchers {
  readonly #deps: WatchersDeps
  readonly #defaultRoutes: DefaultRoutes
  readonly #podAddresses: PodAddresses
  #duplicates: Duplicates | undefined
  readonly #all: readonly { start(): void; close(): void }[]
  #cancel: Cancel = () => undefined
  #closed = false

  constructor(deps: WatchersDeps) {
    const { kernel, clock, report } = deps
    this.#deps = deps
    this.#defaultRoutes = new DefaultRoutes({
      ...{ kernel, clock, report: conditions => report('default routes', conditions) },
      came: () => deps.view.retryNow(),
    })
    this.#podAddresses = new PodAddresses({
      ...{
        clock,
        claims: () => this.#claims(),
        foreign: () => deps.podAddresses(),
        endpoints: () => deps.endpoints.live(),
      },
      report: conditions => report('pod addresses', conditions),
    })
    const hostAddresses = new HostAddresses({
      ...{ kernel, clock, claims: () => this.#claims() },
      report: conditions => report('host addresses', conditions),
    })
    const asking = deps.ask === undefined ? [] : this.#asking(deps.ask)
    this.#all = [this.#defaultRoutes, this.#podAddresses, hostAddresses, ...asking]
  }

  /** Those that ask others. */
  #asking(ask: Ask): { start(): void; close(): void }[] {
    const { kernel, clock, report } = this.#deps
    const asker = new LinkAsker({ kernel, clock, ask: ask.link })
    const neighbours = new ForeignNeighbours({
      ...{ kernel, clock, asker, uses: () => this.#uses() },
      report: conditions => report('neighbours', conditions),
    })
    const sessions = new NodeSessions({
      ...{ kernel, clock, asker, ping: pinger({ open: ask.echo, clock }), sessions: () => this.#sessions() },
      isWrong: (ifindex, address) => neighbours.isWrong(ifindex, address),
      sourceTo: address => this.#deps.network.address?.[familyOf(address)]?.address,
      report: conditions => report('sessions', conditions),
    })
    this.#duplicates = new Duplicates({
      ...{ asker, clock, uplink: family => this.#uplink(family) },
      report: conditions => report('duplicates', conditions),
    })
    return [neighbours, sessions, this.#duplicates]
  }

  start(): void {
    const { endpoints } = this.#deps
    for (const each of endpoints.live()) this.#duplicates?.adopt(newAddresses(each))
    endpoints.onChange(({ type, endpoint }) => {
      if (type === 'set') this.#duplicates?.added(newAddresses(endpoint))
      else this.#duplicates?.removed(endpoint.id)
    })
    for (const each of this.#all) each.start()
    this.#look()
  }

  /** Pods have other addresses beside their own than before. */
  podAddressesChanged(): void {
    this.#podAddresses.changed()
  }

  close(): void {
    this.#closed = true
    this.#cancel()
    for (const each of this.#all) each.close()
  }

  #look(): void {
    const { clock, view, network, report } = this.#deps
    const { ipv4, ipv6 } = network.address ?? {}
    const subnets = [ipv4, ipv6].flatMap(own => (own === undefined ? [] : [formatCidr(own)]))
    report('pool subnets', poolSubnetConditions({ pools: view.all('IPPool'), reserved: this.#reserved(), subnets }))
    void this.#lookAtSettings()
    this.#cancel = clock.after(LOOK_MS, () => this.#look())
  }

  /** Never rejects: a kernel that does not answer tells nothing new. */
  async #lookAtSettings(): Promise<void> {
    const { kernel, network, report } = this.#deps
    try {
      const links = await Promise.all(IPV4_TUNNELS.map(name => kernel.link(name)))
      const tunnels = links.flatMap(link => (link?.up === true ? [link.name] : []))
      const uplink = network.address?.ipv4?.uplink
      const read = (interfaceName: string, name: string) => {
        const value = readOrAbsent(kernel, 'ipv4', ['conf', interfaceName, name])
        return value === undefined ? undefined : Number(value)
      }
      const conditions = settingsConditions({ read, tunnels, uplinks: uplink === undefined ? [] : [uplink] })
      if (!this.#closed) report('settings', conditions)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
    }
  }

  #sessions(): ReturnType<NodeSessionsDeps['sessions']> {
    const { nodeName, network } = this.#deps
    return network.peers().flatMap(peer => {
      const node = network.nodeWith(peer.address)
      return node === undefined || node === nodeName ? [] : [{ ...peer, node }]
    })
  }

  async #uplink(family: Family): Promise<{ ifindex: number; name: string } | undefined> {
    const { kernel, network } = this.#deps
    const name = network.address?.[family]?.uplink
    const link = name === undefined ? undefined : await kernel.link(name)
    return link && { ifindex: link.index, name: link.name }
  }

  #reserved(): string[] {
    return this.#deps.view.all('IPReservation').flatMap(({ spec }) => spec.reservedCIDRs)
  }

  /** Of all addresses at once: there may be thousands of peers and of learned routes, and entries to compare. */
  #uses(): UsedAs {
    const { nodeName, network } = this.#deps
    const peers = new Map(network.peers().map(({ address, name }) => [address, name]))
    const nextHops = new Set<string>()
    for (const route of network.learned()) for (const { nextHop } of route.paths ?? [route]) nextHops.add(nextHop)
    return address => {
      const node = network.nodeWith(address)
      if (node !== undefined) return node === nodeName ? undefined : `the address of node ${node}`
      const peer = peers.get(address)
      if (peer !== undefined) return `a BGP peer (${peer})`
      if (this.#defaultRoutes.gateways.includes(address)) return 'the default gateway of this node'
      return nextHops.has(address) ? 'a next hop of learned routes' : undefined
    }
  }

  #claims(): AddressClaims {
    const { nodeName, view, allocator, network, ends, floating } = this.#deps
    const floats = floating()
    let held: ReadonlySet<string> | undefined
    return {
      pools: poolsInEffect(view.all('IPPool')).flatMap(({ spec }) =>
        usesOf(spec).includes('Workload') ? [spec.cidr] : [],
      ),
      isReserved: reservedBy(this.#reserved()),
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

function newAddresses({ id, pod, addresses }: PodEndpoint): NewAddresses {
  return { id, owner: pod === undefined ? `the interface ${id}` : `Pod ${pod.namespace}/${pod.name}`, addresses }
}
