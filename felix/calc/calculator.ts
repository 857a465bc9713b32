// What this node's kernel should hold, worked out from what changed.
// Over 400 lines: every kind of input and of output meets here, each in a few lines.
// Each input leads to few outputs:
//   endpoint, its sources ─┬─> link, address, neighbour, sysctl, elements of the pod filter for its interface
//                          └─> pod route ───────┐
//   floating address ──> tables of NAT; pod route, or learned inside an own block
//   ownBlock ──┬─> block route ─────────────────┤
//        lent ─┴─> learned inside the block     ├─> one for each CIDR ──> route, condition
//   pool ──┬─> destination, tables of NAT, unused addresses of Services
//          └─> learned inside the pool          │
//   learned ──┬─> learned route ────────────────┘
//             └─> condition of the prefix or of the far node
//   nextHop ──> learned with this next hop; sysctl of other uplinks
//   peerWay ──> learned with this prefix
//   remote ──┬─> VTEP ──> neighbour, fdb of a VXLAN device; condition of the node
//            ├─> learned with this next hop
//            └─> address of a node in the pod filter and in the tables of NAT
//   pool, learned, capabilities ──> tunnels needed, by counting ──> link, address
//   node, config, uplinkMtu ──> tables of the pod filter, of NAT and of Services, link, address, sysctl of the host, route to the pods' gateway, all learned
//   peer, peering ──> route of the local table, tables and elements of the pod filter
//   heedsRouters ──> sysctl of uplinks
//   connected ──> all learned, unused addresses of Services; with remote and learned: sysctl and condition of other uplinks
//
// Work is proportional to what changed and to what depends on it, except that another node, another capability or another need for VXLAN looks at
// all learned routes again. Nothing here remembers how a state was reached: any order of events, a restart or a replay ends in the same place.
import { isDeepStrictEqual } from 'node:util'
import type { Condition } from '../../api/status.ts'
import {
  addressKey,
  type NamedAddress,
  type NamedFdbEntry,
  type NamedNeighbour,
  type NamedNftElement,
  type NamedRoute,
  type NamedSysctl,
  type NftProgram,
} from '../../kernel/reconcile/objects.ts'
import type { Prefix } from '../../lib/prefix-index.ts'
import type { Desired, DesiredState, Differences } from '../desired.ts'
import {
  type Endpoint,
  type InputKind,
  type Inputs,
  type LearnedRoute,
  type Peering,
  type RemoteNode,
  type Settings,
  type ThisNode,
  uplinksOf,
} from '../input.ts'
import { BlockGroup } from './blocks.ts'
import { ConditionCounts } from './conditions.ts'
import { EndpointGroup, type Pod } from './endpoints.ts'
import { addressesOf, FilterGroup } from './filter-group.ts'
import { FloatingGroup } from './floating-group.ts'
import { GATEWAY_DST, gatewayRoute } from './gateway.ts'
import { HostSysctls } from './host-sysctls.ts'
import { LearnedGroup } from './learned.ts'
import { MasqueradeGroup } from './masquerade-group.ts'
import { mtus, type TunnelsNeeded } from './mtu.ts'
import { ALL_ALIKE, ANY, NO_TUNNELS, type Others, tunnelsNeeded } from './needs.ts'
import { NodeAddresses } from './node-addresses.ts'
import { besideUplinks, downConditions } from './other-uplinks.ts'
import { Output } from './output.ts'
import { peeringRoutes } from './peering.ts'
import type { PodFilterMarks, TunnelFacts } from './pod-filter.ts'
import { PoolGroup } from './pools.ts'
import { RouteClaims } from './route-claims.ts'
import { ServiceLoopGroup } from './service-loops.ts'
import { IPIP_DEVICE, ownAddresses, TUNNEL_DEVICES, tunnelDevices, VXLAN_DEVICE, VXLAN_DEVICE_V6 } from './tunnels.ts'
import { VtepEntries } from './vtep-entries.ts'
import { nodeAddresses, type VtepChange, VtepGroup } from './vteps.ts'

/** What holds before anything is told. */
const UNTOLD: Settings = {
  node: undefined,
  config: { vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 0, vxlanMtu: 0, workloadRouteProtocol: 3 },
  capabilities: { ipip: false, vxlan: false },
  uplinkMtu: 1500,
  connected: [],
  heedsRouters: [],
  peering: undefined,
}

export class Calculator {
  readonly #items: { readonly [K in InputKind]: Map<string, Inputs[K]> } = {
    endpoint: new Map(),
    sources: new Map(),
    peer: new Map(),
    floating: new Map(),
    learned: new Map(),
    nextHop: new Map(),
    peerWay: new Map(),
    remote: new Map(),
    ownBlock: new Map(),
    lent: new Map(),
    pool: new Map(),
  }
  readonly #told: { readonly [K in InputKind]: Set<string> } = {
    endpoint: new Set(),
    sources: new Set(),
    peer: new Set(),
    floating: new Set(),
    learned: new Set(),
    nextHop: new Set(),
    peerWay: new Set(),
    remote: new Set(),
    ownBlock: new Set(),
    lent: new Set(),
    pool: new Set(),
  }
  /** Whether something was told that is not worked out yet: each pass asks three things of one state. */
  #behind = true
  #settings = UNTOLD
  /** What `#settings` was at the last step. */
  #atLastStep: Partial<Settings> = {}
  #learnedUsable = false
  #learnedUsed = false
  #floatingKnown = false
  #needed = NO_TUNNELS
  #own = { ipip: false, vxlan: false, vxlanAddress: false }
  #otherUplinks: readonly string[] = []
  /** Of nodes and next hops, as of when `#otherUplinks` was worked out. */
  #addressChanges = 0
  #uplinksDown: readonly Condition[] = []

  readonly #outputs = {
    link: new Output<Desired['link']>(),
    address: new Output<NamedAddress>(),
    route: new Output<NamedRoute>(),
    localRoute: new Output<NamedRoute>(),
    neighbour: new Output<NamedNeighbour>(),
    fdb: new Output<NamedFdbEntry>(),
    sysctl: new Output<NamedSysctl>(),
    nftTable: new Output<NftProgram>(),
    nftElement: new Output<NamedNftElement>(),
    destination: new Output<true>(),
    condition: new Output<Condition>(),
  }
  readonly #conditions = new ConditionCounts(this.#outputs.condition)
  readonly #claims = new RouteClaims(this.#outputs.route, this.#conditions)
  readonly #endpoints: EndpointGroup
  readonly #nodeAddresses = new NodeAddresses()
  readonly #filter: FilterGroup
  readonly #masquerade: MasqueradeGroup
  readonly #serviceLoops: ServiceLoopGroup
  readonly #floating: FloatingGroup
  readonly #hostSysctls = new HostSysctls(this.#outputs.sysctl)
  readonly #pools = new PoolGroup(this.#outputs.destination)
  readonly #vteps = new VtepGroup(this.#conditions)
  readonly #vtepEntries = new VtepEntries(this.#vteps, this.#outputs)
  readonly #learned: LearnedGroup
  readonly #blocks: BlockGroup
  readonly #routeProtocol: number

  /**
   * `routeProtocol`: the rtm_protocol of the routes to blocks, own and learned, and to the pods' gateway. `podFilter`: what
   * is ours in nftables; without it nothing is wanted there. `floatingTable` and `servicesTable`: the names of the tables for floating
   * addresses, and for addresses of Services that nobody has.
   */
  constructor({
    routeProtocol,
    podFilter,
    floatingTable,
    servicesTable,
  }: {
    routeProtocol: number
    podFilter?: PodFilterMarks
    floatingTable?: string
    servicesTable?: string
  }) {
    const context = {
      poolOf: (prefix: Prefix) => this.#pools.match(prefix),
      vtepOf: (address: string) => this.#vteps.byAddress(address),
      addressesOf: (name: string) => remoteAddresses(this.#items.remote.get(name)),
      routeProtocol,
    }
    this.#learned = new LearnedGroup(context, this.#claims, this.#conditions)
    this.#blocks = new BlockGroup(this.#claims, this.#learned, routeProtocol)
    this.#routeProtocol = routeProtocol
    this.#endpoints = new EndpointGroup(this.#claims, this.#conditions, this.#outputs, podFilter)
    const groups = { endpoints: this.#endpoints, learned: this.#learned }
    this.#floating = new FloatingGroup(floatingTable, groups, this.#outputs.nftTable)
    this.#filter = new FilterGroup(podFilter, this.#nodeAddresses, this.#outputs)
    this.#serviceLoops = new ServiceLoopGroup(servicesTable, this.#nodeAddresses, this.#outputs.nftTable)
    this.#masquerade = new MasqueradeGroup(podFilter?.table, this.#nodeAddresses, this.#outputs)
  }

  /** Takes one item in, or away. Returns whether that is news. */
  set<K extends InputKind>(kind: K, key: string, value: Inputs[K] | undefined): boolean {
    const items: Map<string, Inputs[K]> = this.#items[kind]
    const before = items.get(key)
    if (before === undefined || value === undefined ? before === value : isDeepStrictEqual(before, value)) return false
    if (value === undefined) items.delete(key)
    else items.set(key, value)
    this.#told[kind].add(key)
    this.#behind = true
    return true
  }

  /** Takes parts of the settings in. Returns whether that is news. */
  configure(part: Partial<Settings>): boolean {
    const { node, config, peering, capabilities, uplinkMtu, connected, heedsRouters } = { ...this.#settings, ...part }
    const before = this.#settings
    const settings = {
      node: kept(before.node, node),
      config: kept(before.config, config),
      peering: kept(before.peering, peering),
      capabilities: kept(before.capabilities, capabilities),
      uplinkMtu,
      connected: kept(before.connected, connected),
      heedsRouters: kept(before.heedsRouters, heedsRouters),
    }
    if (Object.entries(settings).every(([name, value]) => value === before[name as keyof Settings])) return false
    this.#settings = settings
    this.#behind = true
    return true
  }

  /** This node. Until it is known nothing may be done with what is wanted. */
  get node(): ThisNode | undefined {
    return this.#settings.node
  }

  /**
   * From now on learned routes are used: all pools and settings are known. Without its pool a block looks like a route of the world
   * outside, and would be sent the wrong way.
   */
  useLearned(): void {
    this.#learnedUsable = true
    this.#behind = true
  }

  /** From now on the tables of floating addresses are wanted: all of them were told. */
  useFloating(): void {
    this.#floatingKnown = true
    this.#behind = true
  }

  /** Works out what follows from everything told so far. Returns what changed since the last step. */
  step(): Differences {
    const { link, address, route, localRoute, neighbour, fdb, sysctl, nftTable, nftElement, destination, condition } =
      this.#outputs
    this.#update()
    return {
      link: link.take(),
      address: address.take(),
      route: route.take(),
      localRoute: localRoute.take(),
      neighbour: neighbour.take(),
      fdb: fdb.take(),
      sysctl: sysctl.take(),
      nftTable: nftTable.take(),
      nftElement: nftElement.take(),
      destination: destination.take(),
      condition: condition.take(),
    }
  }

  /** Everything wanted at the last step. The maps go on changing with later steps. */
  wanted(): DesiredState {
    const { link, address, route, localRoute, neighbour, fdb, sysctl, nftTable, nftElement, destination, condition } =
      this.#outputs
    return {
      link: link.wanted(),
      address: address.wanted(),
      route: route.wanted(),
      localRoute: localRoute.wanted(),
      neighbour: neighbour.wanted(),
      fdb: fdb.wanted(),
      sysctl: sysctl.wanted(),
      nftTable: nftTable.wanted(),
      nftElement: nftElement.wanted(),
      destination: destination.wanted(),
      condition: condition.wanted(),
    }
  }

  /**
   * Which tunnels this node should have, as of everything told so far. VXLAN is needed for an IP-in-IP pool too, as
   * soon as this kernel or the node behind a learned block of that pool lacks IP-in-IP.
   */
  tunnelsNeeded(): TunnelsNeeded {
    this.#update()
    return this.#needed
  }

  /**
   * The MTU of pods that have none of their own, as of everything told so far; and what it would be if every other node
   * had IP-in-IP and an IPv4 address, which depends on configuration and this node alone.
   */
  podMtu(): { now: number; byConfiguration: number } {
    this.#update()
    const alike = this.#needs(ALL_ALIKE)
    return { now: mtus(this.#needed, this.#settings).pod, byConfiguration: mtus(alike, this.#settings).pod }
  }

  /** The rtm_protocol of the routes to pods. */
  get podRouteProtocol(): number {
    return this.#settings.config.workloadRouteProtocol
  }

  /** What holds on host endpoints, where that is known, and the tunnels that this node may have. */
  get hostRules():
    | { settings: NonNullable<Settings['config']['hosts']>; tunnels: Omit<TunnelFacts, 'vxlanOverIpv6'> }
    | undefined {
    const { hosts, vxlanPort } = this.#settings.config
    const { ipip, vxlan, vxlanOverIpv6 } = this.#needs(ANY)
    return hosts && { settings: hosts, tunnels: { ipip, vxlan: vxlan || vxlanOverIpv6, vxlanPort } }
  }

  /** The interfaces by which other nodes and next hops are reached, beside the uplinks of this node's addresses. Another array where they changed. */
  get otherUplinks(): readonly string[] {
    return this.#otherUplinks
  }

  /** As `MasqueradeGroup.masquerades`. */
  masquerades(source: string, destination: string): boolean | undefined {
    return this.#masquerade.masquerades(source, destination)
  }

  endpoint(id: string): Endpoint | undefined {
    return this.#items.endpoint.get(id)
  }

  /** The pod that has an interface. */
  podOn(interfaceName: string): Pod | undefined {
    return this.#endpoints.on(interfaceName)
  }

  /** The interfaces of pods that may send under other IPv4 sources than their addresses. */
  get withSources(): ReadonlySet<string> {
    return this.#endpoints.withSources
  }

  #update(): void {
    if (!this.#behind) return
    this.#behind = false
    const { node, config } = this.#settings
    const before = this.#atLastStep
    this.#atLastStep = this.#settings
    for (const name of this.#told.pool) {
      const pool = this.#items.pool.get(name)
      for (const cidr of this.#pools.update(name, pool)) this.#learned.poolChanged(cidr)
      this.#masquerade.updatePool(name, pool)
      this.#serviceLoops.poolsChanged()
    }
    for (const address of this.#told.floating)
      this.#floating.update(address, this.#items.floating.get(address), config.workloadRouteProtocol)
    if (this.#floatingKnown) this.#floating.wantTables()
    for (const cidr of this.#told.lent) this.#learned.lentChanged(cidr, this.#items.lent.get(cidr))
    for (const cidr of this.#told.ownBlock) this.#blocks.update(cidr, this.#items.ownBlock.get(cidr))
    const vteps = this.#updateVteps(before.node?.name, node?.name)
    this.#updateNodeAddresses(before.node?.name)
    for (const prefix of [...this.#told.learned, ...this.#told.peerWay])
      this.#learned.update(prefix, this.#wayTo(prefix))
    for (const address of this.#told.nextHop) this.#learned.leads(address, this.#items.nextHop.get(address))
    const needed = this.#needs({ someLackIpip: this.#learned.someLackIpip, someLackIpv4: this.#vteps.someLackIpv4 })
    this.#updateHere(before, needed)
    this.#learned.recalculate()

    if (before.config !== undefined && before.config.workloadRouteProtocol !== config.workloadRouteProtocol)
      this.#endpoints.reroute(config.workloadRouteProtocol)
    const allowed = config.allowSources === true ? 'as asked' : this.#learnedUsable ? 'none' : 'unknown'
    this.#endpoints.ruleSources(allowed, config.workloadRouteProtocol)
    for (const id of this.#told.sources)
      this.#endpoints.updateSources(id, this.#items.sources.get(id), config.workloadRouteProtocol)
    this.#endpoints.allowPeers(this.#settings.peering !== undefined, config.workloadRouteProtocol)
    for (const id of this.#told.peer)
      this.#endpoints.updatePeer(id, this.#items.peer.has(id), config.workloadRouteProtocol)
    for (const id of this.#told.endpoint)
      this.#endpoints.update(id, this.#items.endpoint.get(id), config.workloadRouteProtocol)
    if (before.node !== node && node !== undefined)
      this.#claims.set('gateway', GATEWAY_DST, gatewayRoute(this.#routeProtocol))

    if (before !== this.#settings || needed !== this.#needed) this.#updateDevices(needed)
    // a tunnel that may come with the next learned block has its rules before it is there
    const possible = this.#needs(ANY)
    const { peering } = this.#settings
    this.#filter.updateHere(node, possible, { vxlanPort: config.vxlanPort, peering })
    this.#updateLocalRoutes(peering)
    if (node !== undefined && this.#learnedUsable) {
      this.#masquerade.update({ nat: config.nat, tunnels: possible })
      this.#serviceLoops.update(config.serviceLoops, this.#settings.connected, this.#items.pool.values())
    }
    this.#needed = needed
    const links = this.#outputs.link.wanted()
    const devices = [VXLAN_DEVICE, VXLAN_DEVICE_V6].filter(name => links.has(name))
    const from = { ipv4: node?.ipv4, ipv6: node?.ipv6 }
    this.#vtepEntries.update(vteps, { devices, from, ipv6: needed.vxlanIpv6 })
    this.#updateOtherUplinks(before)
    this.#updateHostSysctls()
    for (const keys of Object.values(this.#told)) keys.clear()
  }

  /** What is said of the way to a peer comes before what others announce. */
  #wayTo(prefix: string): LearnedRoute | undefined {
    const way = this.#items.peerWay.get(prefix)
    if (way === undefined) return this.#items.learned.get(prefix)
    return { prefix, nextHop: way.gateway, encapsulations: [], bgpPeer: way.bgpPeer }
  }

  /** This node is never remote to itself, whatever the cluster says. */
  #updateVteps(nameBefore: string | undefined, name: string | undefined): VtepChange[] {
    const told = new Set(this.#told.remote)
    if (nameBefore !== name) for (const each of [nameBefore, name]) if (each !== undefined) told.add(each)
    const changes: VtepChange[] = []
    for (const each of told)
      changes.push(...this.#vteps.update(each, each === name ? undefined : this.#items.remote.get(each)))
    for (const { before, now } of changes)
      for (const vtep of [before, now]) for (const address of nodeAddresses(vtep)) this.#learned.vtepChanged(address)
    return changes
  }

  #updateNodeAddresses(nameBefore: string | undefined): void {
    const { node } = this.#settings
    const told = new Set(this.#told.remote)
    for (const each of [nameBefore, node?.name]) if (each !== undefined) told.add(each)
    for (const each of told) {
      const remote = this.#items.remote.get(each)
      const here = each === node?.name
      this.#filter.updateTunnelsOf(each, here ? undefined : remote)
      const all = here ? addressesOf(node) : remoteAddresses(remote)
      this.#learned.nodeChanged(each)
      for (const address of this.#nodeAddresses.update(each, all)) {
        this.#filter.addressChanged(address)
        this.#masquerade.addressChanged(address)
        this.#serviceLoops.addressChanged(address)
      }
    }
  }

  #needs(others: Others): TunnelsNeeded {
    return tunnelsNeeded(this.#pools, this.#settings, others)
  }

  #updateHere(before: Partial<Settings>, needed: TunnelsNeeded): void {
    const { node, capabilities, connected } = this.#settings
    const own = { ...capabilities, vxlanAddress: needed.vxlan && node?.vxlanTunnelAddress !== undefined }
    if (before.connected !== connected) this.#learned.connectedChanged(connected)
    const isSame = before.node === node && this.#learnedUsed === this.#learnedUsable
    if (isSame && isDeepStrictEqual(own, this.#own)) return
    this.#own = own
    this.#learnedUsed = this.#learnedUsable
    this.#learned.hereChanged(this.#learnedUsable ? node : undefined, own)
  }

  #updateOtherUplinks(before: Partial<Settings>): void {
    const { node, connected } = this.#settings
    const changes = this.#nodeAddresses.changes + this.#learned.hopChanges
    if (before.node === node && before.connected === connected && changes === this.#addressChanges) return
    this.#addressChanges = changes
    const known = (subnet: Prefix) => [...this.#nodeAddresses.within(subnet), ...this.#learned.hopsWithin(subnet)]
    const beside = node === undefined ? [] : besideUplinks(this.#learned.connected, node, known)
    const uplinks = node === undefined ? [] : uplinksOf(node)
    const named = node === undefined ? [] : [...this.#learned.links].filter(name => !uplinks.includes(name))
    const names = [...new Set([...beside.map(({ interfaceName }) => interfaceName), ...named])].sort()
    this.#otherUplinks = kept(this.#otherUplinks, names)
    // what keeps the node from serving at all is told elsewhere
    const down = downConditions(beside.filter(({ interfaceName }) => !uplinks.includes(interfaceName)))
    for (const condition of this.#uplinksDown) this.#conditions.replace(condition, undefined)
    for (const condition of down) this.#conditions.replace(undefined, condition)
    this.#uplinksDown = down
  }

  #updateDevices(needed: TunnelsNeeded): void {
    const { node } = this.#settings
    const devices = node === undefined ? [] : tunnelDevices(needed, node, this.#settings)
    const addresses = ownAddresses(devices)
    const { link, address } = this.#outputs
    for (const name of TUNNEL_DEVICES) link.want(name, undefined)
    for (const device of devices) link.want(device.name, device)
    for (const [key, { interfaceName }] of [...address.wanted()])
      if (TUNNEL_DEVICES.has(interfaceName)) address.want(key, undefined)
    for (const each of addresses) address.want(addressKey(each), each)
  }

  #updateLocalRoutes(peering: Peering | undefined): void {
    const { localRoute } = this.#outputs
    const wanted = peering === undefined ? [] : peeringRoutes(peering, this.#routeProtocol, this.#endpoints)
    for (const dst of [...localRoute.wanted().keys()]) localRoute.want(dst, undefined)
    for (const route of wanted) localRoute.want(route.dst, route)
  }

  #updateHostSysctls(): void {
    const { node, heedsRouters } = this.#settings
    const links = this.#outputs.link.wanted()
    const uplinks = new Set([...(node === undefined ? [] : uplinksOf(node)), ...this.#otherUplinks])
    this.#hostSysctls.want({
      uplink: node?.uplink,
      otherUplinks: this.#otherUplinks,
      uplinkTwoWay: this.#masquerade.leavesPodAddressToNodes,
      ipip: links.has(IPIP_DEVICE),
      vxlan: links.has(VXLAN_DEVICE),
      vxlanOverIpv6: links.has(VXLAN_DEVICE_V6),
      vxlanIpv6: this.#needed.vxlanIpv6,
      ipipAddressed: node?.ipipTunnelAddress !== undefined,
      ipv6: node?.ipv6 !== undefined || this.#blocks.hasIpv6 || this.#endpoints.hasIpv6,
      heedsRouters: heedsRouters.filter(name => uplinks.has(name)),
    })
  }
}

/** The object from before where nothing in it changed. */
function kept<T>(before: T, now: T): T {
  return isDeepStrictEqual(before, now) ? before : now
}

function remoteAddresses(remote: RemoteNode | undefined): string[] {
  return [remote?.address, remote?.ipv6Address].filter(each => each !== undefined)
}
