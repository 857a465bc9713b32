// The agent of one node: wires IPAM, felix, the BGP speaker and the CNI verbs to one kernel and one datastore.
// Everything works from the node's own database while the API server is away. What earlier runs left in the kernel is
// adopted: nothing is removed before the rooms below say that they know what is wanted.
import type { AgentStatus, RouteAnswer } from '../api/answers.ts'
import { matchesSelector } from '../api/selector.ts'
import type { Condition, ObjectRef } from '../api/status.ts'
import type { Transport } from '../bgp/port.ts'
import { collect } from '../cni/collect.ts'
import type { CniDeps } from '../cni/deps.ts'
import { EndpointStore } from '../cni/endpoints.ts'
import { INTERFACE_PREFIX } from '../cni/interface-name.ts'
import { Limiter } from '../cni/limiter.ts'
import { type Caches, openCaches } from '../datastore/cache.ts'
import type { Store } from '../datastore/port.ts'
import { OVERHEAD, vtepMac } from '../felix/calc/tunnels.ts'
import { Felix } from '../felix/loop.ts'
import { nodeMarks } from '../felix/marks.ts'
import { NodeAllocator } from '../ipam/allocator.ts'
import { Journal } from '../ipam/journal.ts'
import { type Capabilities, probeCapabilities } from '../kernel/capabilities.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_TABLE } from '../kernel/port/routes.ts'
import type { Clock } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'
import type { Log } from '../lib/log.ts'
import { ClusterFeed } from './cluster-feed.ts'
import { ClusterView } from './cluster-view.ts'
import { type DataDirectory, openDataDirectory } from './data-directory.ts'
import { KernelReady } from './kernel-ready.ts'
import { type NodeAddress, OwnAddress } from './node-address.ts'
import { NodePublisher } from './node-publisher.ts'
import { Routing } from './routing.ts'
import { routeAnswer } from './socket/route-answer.ts'
import { endpointAnswer, peerAnswer } from './status/answers.ts'
import { DISCONNECTED } from './status/conditions.ts'
import { EventRing } from './status/events.ts'
import { StatusModel } from './status/model.ts'
import { SessionLog } from './status/session-log.ts'
import { TunnelAddresses } from './tunnel-addresses.ts'

export type NodeAgentOptions = {
  nodeName: string
  /** Where the databases live: survives reboots. */
  dataDir: string
  /** `auto`, or an address of this machine. */
  nodeIp: string
}

export type NodeAgentDeps = { kernel: Kernel; store: Store; transport: Transport; clock: Clock; log: Log }

export class NodeAgent {
  readonly #options: NodeAgentOptions
  readonly #deps: NodeAgentDeps
  readonly #data: DataDirectory
  readonly #caches: Caches
  readonly #view: ClusterView
  readonly #feed: ClusterFeed
  readonly #felix: Felix
  readonly #kernelReady: KernelReady
  readonly #publisher: NodePublisher
  readonly #own: OwnAddress
  readonly #tunnels: TunnelAddresses
  readonly #sessions: SessionLog
  readonly #status: StatusModel
  /** Limits CNI requests: one per pod, a few at once per node. */
  readonly #limiter = new Limiter()
  readonly allocator: NodeAllocator
  readonly endpoints: EndpointStore
  readonly events: EventRing
  #capabilities: Capabilities = { ipip: false, vxlan: false }
  #hadRoutes = false
  #routing: Routing | undefined
  #scheduled = false
  #closed = false
  /** Bursts of changes are passed on one after the other: each may wait for a socket to open. */
  #turn: Promise<void> = Promise.resolve()

  /** Locks and opens the node's databases; nothing else is touched before `start`. Throws `DirectoryInUse`. */
  constructor(options: NodeAgentOptions, deps: NodeAgentDeps) {
    const { clock, log, kernel, store } = deps
    const { nodeName, dataDir, nodeIp } = options
    this.#options = options
    this.#deps = deps
    this.#data = openDataDirectory(dataDir)
    const roomLog = (room: string) => log.child({ room })
    this.events = new EventRing(this.#data.events, clock, log)
    this.#status = new StatusModel({ clock, node: this.#self(), record: event => this.events.record(event) })
    this.#sessions = new SessionLog({ clock, log: roomLog('bgp'), record: event => this.events.record(event) })
    this.#own = new OwnAddress({ kernel, clock, log: roomLog('agent'), wanted: nodeIp })
    this.#caches = openCaches(store, { database: this.#data.node, clock, log: roomLog('datastore') })
    this.#view = new ClusterView(this.#caches)
    this.endpoints = new EndpointStore(this.#data.node)
    this.allocator = new NodeAllocator({
      ...{ node: nodeName, store, caches: this.#caches, journal: new Journal(this.#data.node), clock },
      log: roomLog('ipam'),
      selects: { node: selector => matchesSelector(selector, this.#view.get('Node', nodeName)?.metadata.labels ?? {}) },
    })
    this.#tunnels = new TunnelAddresses({ nodeName, allocator: this.allocator, clock, changed: () => this.#changed() })
    this.#felix = new Felix(kernel, {
      ...{ clock, log: roomLog('felix') },
      marks: nodeMarks({ routeProtocol: ROUTE_PROTOCOL.blocks, interfacePrefix: INTERFACE_PREFIX }),
      onConditions: changes => this.#status.change('felix', changes),
      onHealed: object => this.#healed(object),
      onTunnelsNeeded: () => this.#changed(),
    })
    this.#kernelReady = new KernelReady({
      ...{ felix: this.#felix, clock, interfacePrefix: INTERFACE_PREFIX },
      changed: () => this.#report(),
    })
    this.#feed = new ClusterFeed({
      ...{ nodeName, view: this.#view, felix: this.#felix, changed: () => this.#changed() },
      report: (source, conditions) => this.#status.report(source, conditions),
    })
    this.#publisher = new NodePublisher(nodeName, { store, clock, log: roomLog('agent') })
  }

  /** Adopts what is there and goes to work; resolves when CNI requests can be answered (if only with "not yet"). */
  async start(): Promise<void> {
    const { kernel, log } = this.#deps
    this.#capabilities = await probeCapabilities(kernel)
    const routes = await kernel.routes({ table: ROUTE_TABLE.main, protocol: ROUTE_PROTOCOL.blocks })
    this.#hadRoutes = routes.some(({ gateway }) => gateway !== undefined)
    await this.#collectLeftovers()
    const endpoints = this.endpoints.live()
    const message = `adopted ${endpoints.length} endpoints`
    this.events.record({ type: 'Started', object: this.#self(), reason: 'Started', message })
    log.info({ capabilities: this.#capabilities, endpoints: endpoints.length }, 'agent starts')

    this.#felix.configure({ capabilities: this.#capabilities })
    this.endpoints.onChange(({ type, endpoint }) =>
      this.#felix.set('endpoint', endpoint.id, type === 'set' ? endpoint : undefined),
    )
    for (const endpoint of endpoints) this.#felix.set('endpoint', endpoint.id, endpoint)
    this.#felix.complete('endpoints')
    const toldBlocks = new Set<string>()
    const tellBlocks = () => {
      const blocks = this.#blocks()
      for (const cidr of toldBlocks) if (!blocks.includes(cidr)) this.#felix.set('ownBlock', cidr, undefined)
      for (const cidr of blocks) this.#felix.set('ownBlock', cidr, true)
      toldBlocks.clear()
      for (const cidr of blocks) toldBlocks.add(cidr)
      this.#changed()
    }
    this.allocator.onBlocks(tellBlocks)
    tellBlocks()
    this.#report()
    this.#felix.start()
    this.#view.onState(() => this.#changed())
    this.#caches.start()
    this.allocator.start()
    this.#changed()
  }

  /** What the CNI verbs need. */
  cni(): CniDeps {
    const { kernel, clock, log } = this.#deps
    const { allocator: ipam, endpoints } = this
    return {
      ...{ node: this.#options.nodeName, ipam, kernel, endpoints, limiter: this.#limiter, clock },
      hostSide: { applied: id => this.#felix.applied(id), routeProtocol: () => this.#felix.podRouteProtocol },
      log: log.child({ room: 'cni' }),
      mtu: () => this.#podMtu(),
      ready: () => this.#cniReady(),
    }
  }

  /** Whether this node can serve its pods; neither peers nor objects of other nodes decide that. */
  ready(): boolean {
    this.#report()
    return this.#status.ready()
  }

  conditions(): Condition[] {
    this.#report()
    return this.#status.conditions()
  }

  /** Everything a person asks of a node, as stable JSON. */
  status(): AgentStatus {
    return {
      node: this.#options.nodeName,
      address: this.#own.found?.address,
      uplink: this.#own.found?.uplink,
      capabilities: this.#capabilities,
      tunnels: this.#tunnels.addresses,
      ready: this.ready(),
      conditions: this.conditions(),
      peers: (this.#routing?.peers() ?? []).map(peerAnswer),
      blocks: [...this.allocator.blocks()],
      endpoints: this.endpoints.live().map(endpointAnswer),
      learned: (this.#routing?.learned() ?? []).map(r => ({ ...r, encapsulations: [...r.encapsulations] })),
    }
  }

  /** Every BGP candidate for a canonical prefix; none while there is no speaker yet. */
  explain(prefix: string): RouteAnswer {
    return this.#routing?.explain(prefix) ?? routeAnswer(prefix, undefined)
  }

  /** Stops the process's part; pods keep their network, peers keep our routes. Kernel and store stay their giver's. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#view.close()
    this.#publisher.close()
    this.#own.close()
    this.#kernelReady.close()
    this.#tunnels.close()
    await this.#turn
    await this.#routing?.close()
    await this.#felix.close()
    await this.allocator.close()
    this.#caches.close()
    this.#data.close()
  }

  /** After a burst of changes, what waits for the speaker is passed on. */
  #changed(): void {
    if (this.#scheduled || this.#closed) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (this.#closed) return
      this.#turn = this.#turn.then(() => this.#flush())
    })
  }

  async #flush(): Promise<void> {
    if (this.#closed) return
    this.#report()
    if (!this.#view.synced) return
    const { nodeName } = this.#options
    const own = this.#own.found ?? (await this.#own.look(this.#view.get('Node', nodeName), () => this.#changed()))
    if (own === undefined || this.#closed) return
    this.#tunnels.need(this.#felix.tunnelsNeeded())
    this.#describe(own)
    this.#routing ??= this.#openRouting(own)
    await this.#feed.flush(this.#routing, this.#blocks())
    this.#felix.complete('datastore')
    this.#kernelReady.ask()
  }

  #openRouting({ address }: NodeAddress): Routing {
    this.#feed.open(address)
    return new Routing({
      ...this.#deps,
      ...{ log: this.#deps.log.child({ room: 'bgp' }), nodeName: this.#options.nodeName, address },
      ...{ capabilities: this.#capabilities, restarting: this.#hadRoutes, sessions: this.#sessions },
      learned: (prefix, route) => this.#felix.set('learned', prefix, route),
      converged: () => this.#felix.complete('bgp'),
    })
  }

  /** Tells felix and the other nodes who this node is. */
  #describe({ address, length, uplink, mtu }: NodeAddress): void {
    const { nodeName: name } = this.#options
    const { ipip: ipipTunnelAddress, vxlan: vxlanTunnelAddress } = this.#tunnels.addresses
    const [ipv4, vxlanTunnelMac] = [`${address}/${length}`, vtepMac(name)]
    const tunnels = { ipipTunnelAddress, vxlanTunnelAddress }
    this.#felix.configure({ uplinkMtu: mtu, node: { name, ipv4, uplink, ...tunnels, vxlanTunnelMac } })
    const publishedMac = vxlanTunnelAddress === undefined ? undefined : vxlanTunnelMac
    this.#publisher.want({ ipv4, ...tunnels, vxlanTunnelMac: publishedMac }, this.#view.get('Node', name))
  }

  /** Tells the model what is only known by asking. */
  #report(): void {
    this.#status.report('address', this.#own.refused())
    this.#status.report('kernel', this.#kernelReady.refused())
    this.#status.report('api', this.#view.connected ? [] : [DISCONNECTED])
    this.#status.report('tunnels', this.#tunnels.refused())
    this.#status.report('ipam', this.allocator.conditions())
  }

  #healed(object: ObjectRef): void {
    const message = 'somebody else changed it; put back'
    this.events.record({ type: 'Healed', object, reason: 'ChangedByOther', message })
  }

  /** A full disk leaves them for GC or the next start: the pods that are there come first. */
  async #collectLeftovers(): Promise<void> {
    try {
      await collect(this.cni())
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      const { dataDir } = this.#options
      this.#deps.log.error({ err: error }, `the journal cannot be written: check the disk of ${dataDir}`)
    }
  }

  #self(): ObjectRef {
    return { kind: 'Node', name: this.#options.nodeName }
  }

  #blocks(): string[] {
    return this.allocator.blocks().map(({ cidr }) => cidr)
  }

  #podMtu(): number {
    const needed = this.#felix.tunnelsNeeded()
    const overhead = needed.vxlan ? OVERHEAD.vxlan : needed.ipip ? OVERHEAD.ipip : 0
    return (this.#own.found?.mtu ?? 1500) - overhead
  }

  #cniReady(): ReturnType<CniDeps['ready']> {
    if (this.#own.found !== undefined) return undefined
    const details = this.#view.synced
      ? (this.#own.refused()[0]?.message ?? '')
      : 'the cluster was never seen: check that the API server answers and the kubeconfig is right'
    return { code: 50, msg: `node ${this.#options.nodeName} is not ready for pods`, details }
  }
}
