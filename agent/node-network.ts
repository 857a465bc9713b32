// This node as a part of the network: its address, the addresses of its tunnels, its BGP speaker. Changes of the cluster
// are taken into memory at once; after a burst of them one pass does what may wait for a socket. Passes never overlap.
import { isDeepStrictEqual } from 'node:util'
import type { DrainAnswer } from '../api/answers.ts'
import { type Condition, type EventRecord, unknown } from '../api/status.ts'
import { INTERFACE_PREFIX } from '../cni/interface-name.ts'
import type { Store } from '../datastore/port.ts'
import { vtepMac } from '../felix/calc/tunnels.ts'
import type { LearnedRoute, OwnBlock } from '../felix/input.ts'
import type { Felix } from '../felix/loop.ts'
import type { NodeAllocator } from '../ipam/allocator.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Capabilities } from '../kernel/port/links.ts'
import type { Clock } from '../lib/clock.ts'
import { contains, familyOf, hostPrefix } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { BgpSecrets } from './bgp-secrets.ts'
import type { LocalPod } from './cluster/local-pods.ts'
import { confirmationMs, type NodeFacts } from './cluster/nodes.ts'
import { ClusterFeed } from './cluster-feed.ts'
import type { ClusterView } from './cluster-view.ts'
import { KernelReady } from './kernel-ready.ts'
import { type NodeAddress, OwnAddress, uplinkOf } from './node-address.ts'
import { lacksNode, NodePublisher, type NodePublisherDeps } from './node-publisher.ts'
import { NodeTunnels } from './node-tunnels.ts'
import { Routing, type RoutingDeps } from './routing.ts'
import { ServiceFeed } from './service-feed.ts'
import type { NetworkCondition } from './serving.ts'
import { disconnected } from './status/api-server.ts'
import type { StatusModel } from './status/model.ts'
import { SessionLog } from './status/session-log.ts'
import type { TunnelAddressesDeps } from './tunnel-addresses.ts'

export type NodeNetworkDeps = Pick<RoutingDeps, 'transport' | 'bfd' | 'discover'> &
  Pick<NodePublisherDeps, 'probes'> & {
    nodeName: string
    /** An address of this machine, or how it is chosen (`parseChoice`). */
    nodeIp: string
    /** The same for IPv6; absent: auto. */
    nodeIp6?: string
    kernel: Kernel
    routeProtocol: number
    store: Store
    clock: Clock
    log: Log
    /** Of the sessions. */
    bgpLog: Log
    view: ClusterView
    felix: Pick<Felix, 'set' | 'configure' | 'complete' | 'tunnelsNeeded' | 'applied'>
    allocator: Pick<
      NodeAllocator,
      'blocks' | 'borrowed' | 'lentTo' | 'blocksKnown' | 'onBlocks' | 'conditions' | 'connection'
    > &
      TunnelAddressesDeps['allocator']
    status: Pick<StatusModel, 'report'>
    secrets: Pick<BgpSecrets, 'want' | 'onChange'>
    record: (event: EventRecord) => void
    /** BGP has another way to a prefix, or none any more. */
    noteLearned: (prefix: string, route: LearnedRoute | undefined) => void
    /** What `reflection` says is another thing. Absent: nobody is told. */
    reflectionChanged?: () => void
    /** The addresses of the pods of this node. */
    podAddresses(): string[]
    /** Single addresses that lead to this node beside its blocks, which it announces. */
    floating(): readonly string[]
  }

/** What the kernel can do and held when this run began. `hadRoutes`: routes of an earlier run are in it. */
export type KernelFacts = { capabilities: Capabilities; hadRoutes: boolean }

export class NodeNetwork {
  readonly #deps: NodeNetworkDeps
  readonly #feed: ClusterFeed
  readonly #services: ServiceFeed
  readonly #own: OwnAddress
  readonly #tunnels: NodeTunnels
  /** What IPAM refused for a tunnel may be given now. */
  #mayBeGiven = false
  readonly #sessions: SessionLog
  readonly #publisher: NodePublisher
  readonly #kernelReady: KernelReady
  #facts: KernelFacts = { capabilities: { ipip: false, vxlan: false }, hadRoutes: false }
  /** Own blocks and borrowed addresses, and what is lent of them. */
  #ownBlocks: ReadonlyMap<string, OwnBlock> = new Map()
  #lent: ReadonlyMap<string, string> = new Map()
  /** Other Nodes that claimed what this node has, and when that was last confirmed. */
  readonly #rivals = new Set<string>()
  #confirmed: string | undefined
  /** The last address there was. */
  #lastOwn: NodeAddress | undefined
  #routing: Routing | undefined
  #scheduled = false
  #closed = false
  #passes: Promise<void> = Promise.resolve()
  /** Blocks are announced, for the first time. */
  readonly #announces = Promise.withResolvers<void>()

  constructor(deps: NodeNetworkDeps) {
    const { nodeName, nodeIp: wanted, nodeIp6: wantedIpv6, kernel, store, clock, log } = deps
    const { view, felix, allocator, status, secrets, record, bgpLog } = deps
    const changed = () => this.changed()
    this.#deps = deps
    this.#own = new OwnAddress({ kernel, clock, log, wanted, wantedIpv6, changed })
    this.#tunnels = new NodeTunnels({ nodeName, allocator, clock, log, reached: cidr => this.reached(cidr), changed })
    this.#sessions = new SessionLog({ clock, log: bgpLog, record })
    this.#publisher = new NodePublisher(nodeName, { store, clock, log, probes: deps.probes })
    const interfacePrefix = INTERFACE_PREFIX
    this.#kernelReady = new KernelReady({ felix, clock, interfacePrefix, changed: () => this.report() })
    const report = (source: string, conditions: readonly Condition[]) => status.report(source, conditions)
    this.#services = new ServiceFeed({ nodeName, view, clock, changed })
    this.#feed = new ClusterFeed({ nodeName, view, felix, secrets, services: this.#services, changed, report })
    const ask = (): void => {
      this.#mayBeGiven = true
      changed()
    }
    view.onState(() => {
      if (view.connected) this.#publisher.retryNow()
      ask()
    })
    for (const kind of ['IPPool', 'IPReservation', 'IPAMConfiguration'] as const) view.onChange(kind, ask)
    view.onOwnNode(ask)
    // pools choose nodes by the labels of this cache, which may hear of them later
    view.onChange('Node', ({ key }) => {
      if (key === nodeName) ask()
    })
  }

  /** Begins: from now on own blocks are wanted in the kernel, and announced as soon as there is a speaker. */
  start(facts: KernelFacts): void {
    const { allocator, felix } = this.#deps
    this.#facts = facts
    felix.configure({ capabilities: facts.capabilities })
    allocator.onBlocks(() => {
      this.#mayBeGiven = true
      this.#tellBlocks()
      this.changed()
    })
    this.#tellBlocks()
    this.changed()
  }

  /** Something changed: a pass follows, one for all changes of this turn of the event loop. */
  changed(): void {
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (!this.#closed) this.#feed.tell()
      this.#passes = this.#passes.then(() => this.#pass())
    })
  }

  get address(): NodeAddress | undefined {
    return this.#own.found
  }

  get tunnels(): NodeTunnels['addresses'] {
    return this.#tunnels.addresses
  }

  peers(): ReturnType<Routing['peers']> {
    return this.#routing?.peers() ?? []
  }

  /** Prefixes of one session by family. */
  prefixesOf(peer: string): ReturnType<Routing['prefixesOf']> {
    return this.#routing?.prefixesOf(peer) ?? new Map()
  }

  learned(): LearnedRoute[] {
    return this.#routing?.learned() ?? []
  }

  learnedFor: Routing['learnedFor'] = address => this.#routing?.learnedFor(address)

  /** An interface of a pod of this node changed, appeared, or went. */
  setPod(id: string, pod: LocalPod | undefined): void {
    this.#feed.pod(id, pod)
  }

  /** What this node says of automatic reflectors. */
  get reflection(): Routing['reflection'] {
    return this.#routing?.reflection
  }

  /** A node that has an address, also for a tunnel. */
  nodeWith(address: string): string | undefined {
    return this.#feed.nodeWith(address)
  }

  /** Resolves once other nodes have a route to a block of this node, or are not waited for any more. */
  async reached(cidr: string): Promise<void> {
    await this.#announced()
    await this.#routing?.reached(cidr)
  }

  /** Resolves once other nodes have no route to a borrowed address here any more, or are not waited for. */
  async withdrawn(cidr: string): Promise<void> {
    await this.#announced()
    await this.#routing?.withdrawn(familyOf(cidr))
  }

  /** What this node has is announced, and nothing else is. */
  async #announced(): Promise<void> {
    await this.#announces.promise
    this.changed()
    // after the one that lets the pass begin in which the block is announced
    await new Promise(setImmediate)
    await this.#passes
  }

  /** Answers about paths and sessions; undefined while this node does not know its address yet. */
  get routing(): Pick<Routing, 'explain' | 'openconfig'> | undefined {
    return this.#routing
  }

  /** Who knows that this node drains, and what only it announces; once what its Node says by now is in force. */
  async drained(): Promise<DrainAnswer> {
    await this.#announced()
    return this.#routing!.drained()
  }

  /** Reports the conditions of the parts that do not report theirs themselves. */
  report(): void {
    if (this.#closed) return
    const { status, view, allocator, nodeName } = this.#deps
    const unseen = this.#unseen()
    status.report('address', unseen === undefined ? this.#own.refused() : [unseen])
    status.report('kernel', this.#kernelReady.refused())
    status.report('node', this.#lacksNode ? [lacksNode(nodeName)] : [])
    status.report('publisher', this.#publisher.refused())
    const { connected, cause } = view.connection.connected ? allocator.connection : view.connection
    status.report('api', [...(connected ? [] : [disconnected(cause)]), ...view.doubted()])
    // one report: an object may be in both, and what is not valid at all counts more
    status.report('objects', [...this.#feed.unreadable(), ...view.refused()])
    status.report('tunnels', this.#tunnels.refused())
    status.report('ipam', allocator.conditions())
    status.report('routing', this.#routing?.refused() ?? [])
  }

  /** What the Node object should have as NetworkUnavailable; undefined: what it has. */
  publish(condition: NetworkCondition | undefined): void {
    if (condition !== undefined && !this.#closed) this.#publisher.wantCondition(condition)
  }

  /** The API server may take now what it did not take. */
  retryNow(): void {
    this.#publisher.retryNow()
  }

  /** Why this node can serve no pods; undefined when it can. */
  problem(): string | undefined {
    if (this.#lacksNode) return lacksNode(this.#deps.nodeName).message
    if (this.#own.found !== undefined) return undefined
    const unseen = this.#unseen()
    return unseen === undefined ? (this.#own.refused()[0]?.message ?? '') : `${unseen.message}; ${unseen.remedy}`
  }

  /** Peers keep this node's routes until it is back. */
  async close(): Promise<void> {
    this.#closed = true
    this.#publisher.close()
    this.#own.close()
    this.#kernelReady.close()
    this.#tunnels.close()
    this.#services.close()
    await this.#passes
    await this.#routing?.close()
  }

  /** That this node does not look for its address, since it must know the cluster and its own blocks before. */
  #unseen(): Condition | undefined {
    const { view, allocator } = this.#deps
    if (this.#own.found !== undefined || (view.synced && allocator.blocksKnown)) return undefined
    const { message, remedy } = disconnected(view.synced ? allocator.connection.cause : view.connection.cause)
    const what = view.synced ? 'the blocks of this node are not known' : 'the cluster was never seen'
    return unknown('NodeAddressKnown', { reason: 'NotSeen', message: `${what}: ${message}`, remedy })
  }

  /** Without its Node object nobody has a session with this node or a way to its blocks. */
  get #lacksNode(): boolean {
    const { view, nodeName } = this.#deps
    return view.synced && view.get('Node', nodeName) === undefined
  }

  async #pass(): Promise<void> {
    if (this.#closed) return
    this.report()
    const { view, felix, allocator } = this.#deps
    this.#publisher.saw(view.ownNode)
    // without its blocks this node would look as if it had none, and the others would remove their routes to it
    if (!view.synced || !allocator.blocksKnown) return
    const own = await this.#lookForOwn()
    if (own === undefined || this.#closed) return
    this.#tunnels.need(felix.tunnelsNeeded(), { ipv4: own.ipv4?.address })
    if (this.#mayBeGiven) this.#tunnels.retryNow()
    this.#mayBeGiven = false
    // without its addresses this node would look as if it had no tunnels, and the others would remove their routes to it
    if (this.#tunnels.asking) return
    this.#describe(own)
    this.#feed.open({ address: own.ipv4?.address, ipv6Address: own.ipv6?.address, subnets: this.#own.subnets })
    this.#routing ??= this.#openRouting()
    const blocks = [...this.#ownBlocks.keys(), ...this.#deps.floating().map(hostPrefix)]
    await this.#feed.flush(this.#routing, { blocks, own: this.#alsoOwn(own) })
    this.#announces.resolve()
    felix.complete('datastore')
    this.#kernelReady.ask()
  }

  async #lookForOwn(): Promise<NodeAddress | undefined> {
    const { view, felix } = this.#deps
    const before = this.#own.found
    const pools = view.all('IPPool').filter(({ spec }) => spec.disabled !== true)
    const families = pools.map(({ spec }) => familyOf(spec.cidr))
    const ipv6Tunnelled = !pools.some(({ spec }) => familyOf(spec.cidr) === 'ipv6' && spec.vxlanMode === 'Never')
    const own = await this.#own.look({ node: view.ownNode, families, ipv6Tunnelled })
    if (this.#lastOwn !== undefined && !isDeepStrictEqual(own, before)) {
      this.#deps.store.dropConnections()
      view.retryNow()
    }
    this.#lastOwn = own ?? this.#lastOwn
    // felix follows the MTU of an uplink itself
    if (own !== undefined && uplinkOf(own) !== (before && uplinkOf(before))) felix.configure({ uplinkMtu: own.mtu })
    return own
  }

  #openRouting(): Routing {
    const { felix, kernel, routeProtocol: protocol, bgpLog: log } = this.#deps
    const { capabilities, hadRoutes: restarting } = this.#facts
    return new Routing({
      ...{ ...this.#deps, log, capabilities, restarting, sessions: this.#sessions },
      learned: (prefix, route) => {
        this.#deps.noteLearned(prefix, route)
        felix.set('learned', prefix, route)
      },
      ...{ converged: () => felix.complete('bgp'), settled: () => felix.applied() },
      nextHops: { kernel, protocol, nodeWith: a => this.nodeWith(a), leads: (...way) => felix.set('nextHop', ...way) },
    })
  }

  /** Tells felix and the other nodes who this node is. */
  #describe(own: NodeAddress): void {
    const { nodeName: name, felix } = this.#deps
    const vxlanTunnelMac = vtepMac(name)
    const tunnels = this.#tunnels.facts
    const [ipv4, ipv6] = [own.ipv4, own.ipv6].map(of => of && `${of.address}/${of.length}`)
    const uplink = uplinkOf(own)
    const ipv6Uplink = own.ipv6 === undefined || own.ipv6.uplink === uplink ? {} : { ipv6Uplink: own.ipv6.uplink }
    const families = { ...(ipv4 !== undefined && { ipv4 }), ...(ipv6 !== undefined && { ipv6 }), uplink, ...ipv6Uplink }
    felix.configure({ node: { name, ...families, ...tunnels, vxlanTunnelMac } })
    // it alone says that this node takes VXLAN where only IPv6 is carried, which needs no tunnel address
    const hasVtep = tunnels.vxlanTunnelAddress !== undefined || felix.tunnelsNeeded().vxlanIpv6
    const publishedMac = hasVtep ? vxlanTunnelMac : undefined
    const facts = { ...tunnels, vxlanTunnelMac: publishedMac }
    this.#confirm(this.#feed.rival({ address: own.ipv4?.address, ipv6Address: own.ipv6?.address, ...facts }))
    this.#publisher.want({ ipv4, ipv6, ...facts, confirmed: this.#confirmed })
  }

  /**
   * Says in this node's object that it has what another Node claims: a left-over object cannot say so. Once for each other
   * node, since two machines with one address would say it in turns for ever.
   */
  #confirm(rival: NodeFacts | undefined): void {
    if (rival === undefined || this.#rivals.has(rival.name)) return
    this.#rivals.add(rival.name)
    const { clock, log } = this.#deps
    this.#confirmed = new Date(confirmationMs(clock.wallMs(), rival)).toISOString()
    log.warn({ other: rival.name }, 'another Node claims an address of this node; this node confirms that it has it')
  }

  /** What belongs to this node besides its blocks: its subnet, and pods whose address lies in no block of it. */
  #alsoOwn({ ipv4, ipv6 }: NodeAddress): string[] {
    const outside = this.#deps.podAddresses().filter(pod => !this.#ownBlocks.keys().some(each => contains(each, pod)))
    const subnets = [ipv4, ipv6].flatMap(of => (of === undefined ? [] : [`${of.address}/${of.length}`]))
    return [...subnets, ...outside.map(hostPrefix)]
  }

  /** Not of blocks on a LAN, whose addresses every node finds there, this one too. */
  #tellBlocks(): void {
    const { allocator, felix } = this.#deps
    const blocks = new Map<string, OwnBlock>([
      ...allocator
        .blocks()
        .flatMap(({ cidr, subnetOf, isOnLan }) =>
          isOnLan ? [] : [[cidr, subnetOf === undefined ? 'plain' : 'subnet'] as const],
        ),
      ...allocator.borrowed().map(cidr => [cidr, 'plain'] as const),
    ])
    const lent = allocator.lentTo()
    if (isDeepStrictEqual([[...blocks], [...lent]], [[...this.#ownBlocks], [...this.#lent]])) return
    for (const cidr of this.#ownBlocks.keys()) if (!blocks.has(cidr)) felix.set('ownBlock', cidr, undefined)
    for (const [cidr, is] of blocks) if (this.#ownBlocks.get(cidr) !== is) felix.set('ownBlock', cidr, is)
    for (const cidr of this.#lent.keys()) if (!lent.has(cidr)) felix.set('lent', cidr, undefined)
    for (const [cidr, node] of lent) if (this.#lent.get(cidr) !== node) felix.set('lent', cidr, node)
    this.#ownBlocks = blocks
    this.#lent = lent
    this.changed()
  }
}
