// The agent of one node: composes IPAM, felix, the BGP speaker and the CNI verbs around one kernel and one datastore.
// Everything works from the node's own database while the API server is away. What earlier runs left in the kernel is
// adopted: nothing is removed before the rooms below say that they know what is wanted.
import { join } from 'node:path'
import type { AgentStatus, RouteAnswer } from '../api/answers.ts'
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { matchesSelector } from '../api/selector.ts'
import type { Condition, ObjectRef } from '../api/status.ts'
import { validate } from '../api/validate.ts'
import type { Transport } from '../bgp/port.ts'
import { collect } from '../cni/collect.ts'
import type { CniDeps } from '../cni/deps.ts'
import { EndpointStore } from '../cni/endpoints.ts'
import { Limiter } from '../cni/limiter.ts'
import { type Caches, openCaches } from '../datastore/cache.ts'
import type { Store } from '../datastore/port.ts'
import { OVERHEAD, vtepMac } from '../felix/calc/tunnels.ts'
import type { InputKind, Inputs, LearnedRoute, Pool, RemoteNode } from '../felix/input.ts'
import { Felix } from '../felix/loop.ts'
import { nodeMarks } from '../felix/marks.ts'
import { NodeAllocator } from '../ipam/allocator.ts'
import { Journal } from '../ipam/journal.ts'
import { tunnelRequest } from '../ipam/tunnel.ts'
import { type Capabilities, probeCapabilities } from '../kernel/capabilities.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_TABLE } from '../kernel/port/routes.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Clock } from '../lib/clock.ts'
import { type Database, DatabaseError, openDatabase } from '../lib/database.ts'
import type { Log } from '../lib/log.ts'
import { nodeAddress } from './cluster/peers.ts'
import { ClusterView } from './cluster-view.ts'
import { chooseNodeAddress, type NodeAddress } from './node-address.ts'
import { NodePublisher } from './node-annotations.ts'
import { Routing } from './routing.ts'
import { routeAnswer } from './socket/route-answer.ts'
import { endpointAnswer, peerAnswer } from './status/answers.ts'
import { badPeer, DISCONNECTED, NOT_PROGRAMMED, noAddress, noTunnelAddress } from './status/conditions.ts'
import { EventRing } from './status/events.ts'
import { StatusModel } from './status/model.ts'

export type NodeAgentOptions = {
  nodeName: string
  /** Where `node.db` and `events.db` live: survives reboots. */
  dataDir: string
  /** `auto`, or an address of this machine. */
  nodeIp: string
}

export type NodeAgentDeps = { kernel: Kernel; store: Store; transport: Transport; clock: Clock; log: Log }

const DEFAULT_BGP = defaults('BGPConfiguration')
const DEFAULT_FELIX = defaults('FelixConfiguration')

export class NodeAgent {
  readonly #options: NodeAgentOptions
  readonly #deps: NodeAgentDeps
  readonly #db: Database
  readonly #eventsDb: Database
  readonly #caches: Caches
  readonly #view: ClusterView
  readonly #felix: Felix
  readonly #publisher: NodePublisher
  readonly allocator: NodeAllocator
  readonly endpoints: EndpointStore
  readonly events: EventRing
  readonly #status: StatusModel
  /** Limits CNI requests: one per pod, a few at once per node. */
  readonly #limiter = new Limiter()
  readonly #addressBackoff = new Backoff({ firstMs: 250, maxMs: 10_000 })
  readonly #tunnels: { ipip?: string; vxlan?: string } = {}
  #capabilities: Capabilities = { ipip: false, vxlan: false }
  #address: NodeAddress | undefined
  #addressProblem = 'not looked for yet'
  #routing: Routing | undefined
  #learned: readonly LearnedRoute[] = []
  /** What felix says is not well, by condition key. */
  readonly #notWell = new Map<string, Condition>()
  readonly #told = new Map<InputKind, ReadonlySet<string>>()
  #tunnelProblem: string | undefined
  #hadRoutes = false
  /** The kernel held everything that was wanted, at least once since the start. */
  #programmed = false
  #programming = false
  #closed = false
  /** Cluster changes are taken one after the other: each may wait for a socket to open. */
  #turn: Promise<void> = Promise.resolve()

  /** Opens the node's database; nothing is touched before `start`. */
  constructor(options: NodeAgentOptions, deps: NodeAgentDeps) {
    const { clock, log, kernel, store } = deps
    this.#options = options
    this.#deps = deps
    this.#db = openDatabase(join(options.dataDir, 'node.db'))
    this.#eventsDb = openDatabase(join(options.dataDir, 'events.db'))
    this.events = new EventRing(this.#eventsDb, clock, log)
    this.endpoints = new EndpointStore(this.#db)
    this.#caches = openCaches(store, { database: this.#db, clock, log: log.child({ room: 'datastore' }) })
    this.#view = new ClusterView(this.#caches)
    this.allocator = new NodeAllocator({
      node: options.nodeName,
      store,
      caches: this.#caches,
      journal: new Journal(this.#db),
      clock,
      log: log.child({ room: 'ipam' }),
      selects: { node: selector => this.#selectsNode(selector) },
    })
    this.#felix = new Felix(kernel, {
      clock,
      log: log.child({ room: 'felix' }),
      marks: nodeMarks({ routeProtocol: ROUTE_PROTOCOL.blocks, interfacePrefix: DEFAULT_FELIX.spec.interfacePrefix }),
      onConditions: changes => this.#felixConditions(changes),
      onHealed: object =>
        this.events.record({
          type: 'Healed',
          object,
          reason: 'ChangedByOther',
          message: 'somebody else changed it; put back',
        }),
      onTunnelsNeeded: () => this.#clusterChanged(),
    })
    this.#status = new StatusModel({ clock, node: this.#self(), record: event => this.events.record(event) })
    this.#report()
    this.#publisher = new NodePublisher(options.nodeName, { store, clock, log: log.child({ room: 'agent' }) })
  }

  /** Adopts what is there and goes to work; resolves when CNI requests can be answered (if only with "not yet"). */
  async start(): Promise<void> {
    const { kernel, log } = this.#deps
    this.#capabilities = await probeCapabilities(kernel)
    const routes = await kernel.routes({ table: ROUTE_TABLE.main, protocol: ROUTE_PROTOCOL.blocks })
    this.#hadRoutes = routes.some(({ gateway }) => gateway !== undefined)
    await this.#collectLeftovers()
    const message = `adopted ${this.endpoints.all().length} endpoints`
    this.events.record({ type: 'Started', object: this.#self(), reason: 'Started', message })
    log.info({ capabilities: this.#capabilities, endpoints: this.endpoints.all().length }, 'agent starts')

    this.endpoints.onChange(() => this.#tellEndpoints())
    this.allocator.onBlocks(() => this.#blocksChanged())
    this.#felix.configure({ capabilities: this.#capabilities })
    this.#tellEndpoints()
    this.#felix.complete('endpoints')
    this.#blocksChanged()
    this.#felix.start()
    this.#caches.start()
    this.allocator.start()
    this.#view.start(() => this.#clusterChanged())
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

  /** What the CNI verbs need. */
  cni(): CniDeps {
    const { kernel, clock, log } = this.#deps
    return {
      node: this.#options.nodeName,
      ipam: this.allocator,
      kernel,
      endpoints: this.endpoints,
      limiter: this.#limiter,
      mtu: () => this.#podMtu(),
      clock,
      log: log.child({ room: 'cni' }),
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
      address: this.#address?.address,
      uplink: this.#address?.uplink,
      capabilities: this.#capabilities,
      tunnels: this.#tunnels,
      ready: this.ready(),
      conditions: this.conditions(),
      peers: (this.#routing?.peers() ?? []).map(peerAnswer),
      blocks: [...this.allocator.blocks()],
      endpoints: this.endpoints.live().map(endpointAnswer),
      learned: this.#learned.map(route => ({ ...route, encapsulations: [...route.encapsulations] })),
    }
  }

  /** Tells the model what is only known by asking. */
  #report(): void {
    const problems = this.#routing?.problems() ?? []
    this.#status.report('address', this.#address === undefined ? [noAddress(this.#addressProblem)] : [])
    this.#status.report('kernel', this.#programmed ? [] : [NOT_PROGRAMMED])
    this.#status.report('api', this.#view.connected ? [] : [DISCONNECTED])
    this.#status.report('tunnels', this.#tunnelProblem === undefined ? [] : [noTunnelAddress(this.#tunnelProblem)])
    this.#status.report('peers', problems.map(badPeer))
    this.#status.report('ipam', this.allocator.conditions())
  }

  #self(): ObjectRef {
    return { kind: 'Node', name: this.#options.nodeName }
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
    await this.#turn.catch(() => undefined)
    await this.#routing?.close()
    await this.#felix.close()
    await this.allocator.close()
    this.#caches.close()
    this.#db.close()
    this.#eventsDb.close()
  }

  #clusterChanged(): void {
    if (this.#closed) return
    this.#turn = this.#turn
      .then(() => this.#follow())
      .catch(error => this.#deps.log.error({ err: error }, 'a cluster change could not be taken in'))
  }

  async #follow(): Promise<void> {
    if (this.#closed || !this.#view.synced) return
    if (this.#address === undefined && !(await this.#chooseAddress())) return
    const { spec: felix } = this.#view.get('FelixConfiguration', 'default') ?? DEFAULT_FELIX
    this.#felix.configure({
      config: {
        vxlanPort: felix.vxlanPort,
        vxlanVni: felix.vxlanVNI,
        ipipMtu: felix.ipipMTU,
        vxlanMtu: felix.vxlanMTU,
        workloadRouteProtocol: felix.deviceRouteProtocol,
      },
      uplinkMtu: this.#address!.mtu,
    })
    this.#tell(
      'pool',
      this.#view.all('IPPool').map(pool => [pool.metadata.name, felixPool(pool)]),
    )
    this.#tell(
      'remote',
      this.#remotes().map(remote => [remote.name, remote]),
    )
    await this.#addressTunnels()
    await this.#routing!.cluster({
      nodes: this.#view.all('Node'),
      peers: this.#view.all('BGPPeer'),
      config: (this.#view.get('BGPConfiguration', 'default') ?? DEFAULT_BGP).spec,
      pools: this.#view.all('IPPool'),
    })
    this.#felix.complete('datastore')
    void this.#awaitKernel()
  }

  async #awaitKernel(): Promise<void> {
    if (this.#programmed || this.#programming) return
    this.#programming = true
    this.#programmed = await this.#felix.inSync().then(
      () => true,
      () => false, // closed meanwhile
    )
    this.#programming = false
  }

  async #chooseAddress(): Promise<boolean> {
    const { kernel, clock, log } = this.#deps
    const { nodeName, nodeIp } = this.#options
    try {
      const address = await chooseNodeAddress(kernel, nodeIp, this.#view.get('Node', nodeName))
      this.#address = address
      log.info(address, 'node address chosen')
      this.#routing = new Routing({
        ...this.#deps,
        log: log.child({ room: 'bgp' }),
        nodeName,
        address: address.address,
        capabilities: this.#capabilities,
        restarting: this.#hadRoutes,
        learned: routes => this.#routesLearned(routes),
        converged: () => this.#felix.complete('bgp'),
        event: event => this.events.record(event),
      })
      this.#routing.blocks(this.allocator.blocks())
      return true
    } catch (error) {
      this.#addressProblem = error instanceof Error ? error.message : String(error)
      const delayMs = this.#addressBackoff.next()
      log.error({ err: error, delayMs }, 'no node address yet; this node can serve no pods')
      clock.after(delayMs, () => this.#clusterChanged())
      return false
    }
  }

  /** Takes or keeps an address for each tunnel this node needs, tells felix and the other nodes. */
  async #addressTunnels(): Promise<void> {
    const { nodeName } = this.#options
    const needed = this.#felix.tunnelsNeeded()
    this.#tunnelProblem = undefined
    for (const kind of ['ipip', 'vxlan'] as const) {
      if (!needed[kind] || this.#tunnels[kind] !== undefined) continue
      const assigned = await this.allocator.assign(tunnelRequest(kind, nodeName))
      if ('refused' in assigned) this.#tunnelProblem = `${kind}: ${assigned.message}; ${assigned.remedy}`
      else this.#tunnels[kind] = assigned[0]!.address
    }
    if (this.#tunnelProblem !== undefined)
      this.#deps.clock.after(this.#addressBackoff.next(), () => this.#clusterChanged())
    const { address, length, uplink } = this.#address!
    const mac = vtepMac(nodeName)
    this.#felix.configure({
      node: {
        name: nodeName,
        ipv4: `${address}/${length}`,
        uplink,
        ipipTunnelAddress: this.#tunnels.ipip,
        vxlanTunnelAddress: this.#tunnels.vxlan,
        vxlanTunnelMac: mac,
      },
    })
    this.#publisher.want(
      {
        ipv4: `${address}/${length}`,
        ipipTunnelAddress: this.#tunnels.ipip,
        vxlanTunnelAddress: this.#tunnels.vxlan,
        vxlanTunnelMac: this.#tunnels.vxlan === undefined ? undefined : mac,
      },
      this.#view.get('Node', nodeName),
    )
  }

  #felixConditions(changes: ReadonlyMap<string, Condition | undefined>): void {
    for (const [key, condition] of changes)
      if (condition === undefined) this.#notWell.delete(key)
      else this.#notWell.set(key, condition)
    this.#status.report('felix', [...this.#notWell.values()])
  }

  #routesLearned(routes: readonly LearnedRoute[]): void {
    this.#learned = routes
    this.#tell(
      'learned',
      routes.map(route => [route.prefix, route]),
    )
  }

  #blocksChanged(): void {
    const blocks = this.allocator.blocks()
    this.#tell(
      'ownBlock',
      blocks.map(({ cidr }) => [cidr, true]),
    )
    this.#routing?.blocks(blocks)
  }

  #tellEndpoints(): void {
    this.#tell(
      'endpoint',
      this.endpoints.live().map(endpoint => [endpoint.id, endpoint]),
    )
  }

  /** Tells felix all items of one kind: what was told before and is missing now is gone. */
  #tell<K extends InputKind>(kind: K, items: readonly (readonly [string, Inputs[K]])[]): void {
    const keys = new Set(items.map(([key]) => key))
    for (const key of this.#told.get(kind) ?? []) if (!keys.has(key)) this.#felix.set(kind, key, undefined)
    for (const [key, value] of items) this.#felix.set(kind, key, value)
    this.#told.set(kind, keys)
  }

  #remotes(): RemoteNode[] {
    return this.#view.all('Node').flatMap(node => {
      const address = nodeAddress(node)
      if (address === undefined || node.metadata.name === this.#options.nodeName) return []
      const annotations = node.metadata.annotations ?? {}
      return [
        {
          name: node.metadata.name,
          address,
          ipipTunnelAddress: annotations[NODE_ANNOTATION.ipipTunnelAddress],
          vxlanTunnelAddress: annotations[NODE_ANNOTATION.vxlanTunnelAddress],
          vxlanTunnelMac: annotations[NODE_ANNOTATION.vxlanTunnelMac],
        },
      ]
    })
  }

  #selectsNode(selector: string): boolean {
    return matchesSelector(selector, this.#view.get('Node', this.#options.nodeName)?.metadata.labels ?? {})
  }

  #podMtu(): number {
    const needed = this.#felix.tunnelsNeeded()
    const overhead = needed.vxlan ? OVERHEAD.vxlan : needed.ipip ? OVERHEAD.ipip : 0
    return (this.#address?.mtu ?? 1500) - overhead
  }

  #cniReady(): ReturnType<CniDeps['ready']> {
    if (this.#address !== undefined) return undefined
    const details = this.#view.synced
      ? this.#addressProblem
      : 'the cluster was never seen: check that the API server answers and the kubeconfig is right'
    return { code: 50, msg: `node ${this.#options.nodeName} is not ready for pods`, details }
  }
}

function felixPool({ spec }: Resource<'IPPool'>): Pool {
  return { cidr: spec.cidr, ipip: spec.ipipMode, vxlan: spec.vxlanMode, disableBgpExport: spec.disableBGPExport }
}

function defaults<K extends 'BGPConfiguration' | 'FelixConfiguration'>(kind: K): Resource<K> {
  const result = validate(kind, { metadata: { name: 'default' }, spec: {} })
  if (Array.isArray(result)) throw new Error(`${kind} has no valid default: ${JSON.stringify(result)}`)
  return result as Resource<K>
}
