// The agent of one node: wires IPAM, felix, the BGP speaker and the CNI verbs to one kernel and one datastore.
// Everything works from the node's own database while the API server is away. What earlier runs left in the kernel is
// adopted: nothing is removed before the rooms below say that they know what is wanted.
// Over 400 lines: the composition of a node, a few lines for each part.
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { AddressesAnswer, AgentStatus, DrainAnswer, RouteAnswer } from '../api/answers.ts'
import type { OpenConnection } from '../api/connection-answer.ts'
import type { NodeFacts, Question } from '../api/explain.ts'
import type { KernelLine } from '../api/kernel-line.ts'
import type { LogRoom } from '../api/log-settings.ts'
import type { OpenconfigAnswer } from '../api/openconfig-answer.ts'
import type { PathAnswer } from '../api/paths.ts'
import { matchesSelector } from '../api/selector.ts'
import { type Condition, type EventRecord, formatRef, type ObjectRef } from '../api/status.ts'
import type { BfdStatus } from '../bgp/bfd/config.ts'
import type { Discover, Transport } from '../bgp/port.ts'
import type { CniDeps, NotReady } from '../cni/deps.ts'
import { EndpointStore } from '../cni/endpoints.ts'
import { CNI_CODE } from '../cni/error.ts'
import { INTERFACE_PREFIX } from '../cni/interface-name.ts'
import { Limiter } from '../cni/limiter.ts'
import { OldFlows } from '../cni/old-flows.ts'
import { Pins } from '../cni/pins.ts'
import { PodMtu } from '../cni/pod-mtu.ts'
import { PodRepair } from '../cni/pod-repair.ts'
import { PodWatch } from '../cni/pod-watch.ts'
import { type Caches, openCaches } from '../datastore/cache.ts'
import type { Store } from '../datastore/port.ts'
import type { LearnedPath, LearnedRoute } from '../felix/input.ts'
import { Felix } from '../felix/loop.ts'
import { floatingTableName, isOwnTable, nodeMarks, traceTableName } from '../felix/marks.ts'
import type { RuleCounts } from '../felix/rule-counts.ts'
import { NodeAllocator } from '../ipam/allocator.ts'
import { Journal } from '../ipam/journal.ts'
import { probeCapabilities } from '../kernel/capabilities.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Capabilities } from '../kernel/port/links.ts'
import { ROUTE_TABLE } from '../kernel/port/routes.ts'
import { sendProbe } from '../kernel/probe-sender.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { maskAddress } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { LogLevels } from '../lib/log-levels.ts'
import { packageVersion } from '../lib/package-files.ts'
import type { BfdOnDemand } from './bfd-on-demand.ts'
import { BgpSecrets } from './bgp-secrets.ts'
import { routerIdOf } from './cluster/nodes.ts'
import { ClusterView } from './cluster-view.ts'
import { ConflistKeeper } from './conflist-keeper.ts'
import { Conntrack } from './conntrack.ts'
import { type DataDirectory, openDataDirectory } from './data-directory.ts'
import { descriptorConditions } from './descriptors.ts'
import { DomainNames } from './domain-names.ts'
import { collectGone, takeOverPods } from './earlier-pods.ts'
import { FactsOfNode } from './facts/node-facts.ts'
import { FloatingAddresses } from './floating-addresses.ts'
import { FloatingFlows } from './floating-flows.ts'
import { FlowEnds } from './flows/ends.ts'
import { Flows } from './flows/flows.ts'
import { explainForbidden, podAccessConditions } from './host-access.ts'
import { followNodeUid } from './journal-owner.ts'
import { kernelState } from './kernel-state.ts'
import { namespaceSelects } from './namespaces.ts'
import { uplinkOf } from './node-address.ts'
import { NodeNetwork } from './node-network.ts'
import { NodeStatuses } from './node-statuses.ts'
import { openConnections } from './open-connections.ts'
import { openconfigNeighbors } from './openconfig.ts'
import { PodAnswers } from './pod-answers.ts'
import { PolicyFeed } from './policy-feed.ts'
import { PolicyReceipts } from './policy-receipts.ts'
import { PolicySets } from './policy-sets.ts'
import { Probes } from './probes/probes.ts'
import type { ProbeWire } from './probes/wire.ts'
import { adoptEarlierEvents } from './recorder/earlier-events.ts'
import { FEW_SEGMENTS, Recorder } from './recorder/recorder.ts'
import { noteLearned, recordChanges } from './recorder/sources.ts'
import { agentLevels, Reporting } from './reporting.ts'
import type { ServedFile } from './served-file.ts'
import { Serving } from './serving.ts'
import { addressesAnswer } from './socket/address-answer.ts'
import { routeAnswer } from './socket/route-answer.ts'
import { endpointAnswer, peerAnswer, peerType } from './status/answers.ts'
import type { Observed } from './status/calico-node-status.ts'
import type { NodeNumbers } from './status/metrics.ts'
import { StatusModel } from './status/model.ts'
import { Tracer } from './trace/tracer.ts'
import { Unenforced } from './unenforced.ts'
import { type Ask, Watchers } from './watch/watchers.ts'
import { WriteAccess } from './write-access.ts'
import { guardKernel, guardStore } from './write-guard.ts'

export type NodeAgentOptions = {
  nodeName: string
  /** Where the databases live: survives reboots. */
  dataDir: string
  /** Where they live until the next boot while the disk of `dataDir` cannot be written; absent: the agent does not start then. */
  fallbackDir?: string
  /** An address of this machine, or how it is chosen (`parseChoice`). */
  nodeIp: string
  /** The same for IPv6; absent: auto. */
  nodeIp6?: string
  /** Of this machine (machine-id(5)); undefined where it has none. */
  machineId?: string
  /** The rtm_protocol of this agent's routes, which no other program of this host may write. */
  routeProtocol: number
  /** The runtime's configuration of this network, which the agent keeps there. Absent: it is nobody's. */
  conflist?: { confDir: string; confName: string }
  /** Where the Secrets are that BGP passwords are taken from: the namespace of the agents. Absent: kube-system. */
  secretsNamespace?: string
  /** A person decided to believe an API server that lost much after so long. Absent: `acceptCluster` alone does. */
  acceptAfterMs?: number
}

export type NodeAgentDeps = {
  kernel: Kernel
  store: Store
  transport: Transport
  /** Absent: no peer may be named by its interface. */
  discover?: Discover
  /** Absent: nobody is asked who has an address, or whether it answers. */
  ask?: Ask
  /** Closed with the agent. Absent: no peer may ask for BFD. */
  bfd?: BfdOnDemand
  /** By what paths to other nodes are probed. Absent: none is. Throws `KernelError`. */
  probes?: () => ProbeWire
  clock: Clock
  log: Log
  /** Of the rooms of `log`, where others use them too. */
  levels?: LogLevels<LogRoom>
  /** Ends the program at once, without another write: this agent does not have its data directory any more. */
  lost: (message: string) => never
  /** Tells the plugin and the next agent that pods are served. Absent: they are told nothing. */
  served?: Pick<ServedFile, 'agoMs' | 'touch'>
  /** Of the machine (random(4)). Absent: all is of one boot. */
  bootId?: string
}

/** How often the data directory is looked at when nothing is written. */
const DATA_CHECK_MS = 1000
/** How old what `served` says may be while pods are served. */
const SERVED_EVERY_MS = 5000

export class NodeAgent {
  readonly #options: NodeAgentOptions
  readonly #deps: NodeAgentDeps
  readonly #data: DataDirectory
  readonly #caches: Caches
  readonly #view: ClusterView
  readonly #felix: Felix
  readonly #network: NodeNetwork
  readonly #probes: Probes | undefined
  readonly #secrets: BgpSecrets
  readonly #status: StatusModel
  /** Limits CNI requests: one per pod, a few at once per node. */
  readonly #limiter: Limiter
  readonly #oldFlows: OldFlows
  readonly #pins: Pins
  readonly #podMtu: PodMtu
  readonly #conntrack: Conntrack
  readonly #names: DomainNames
  readonly #policies: PolicyFeed
  readonly #floating: FloatingAddresses
  readonly #receipts: PolicyReceipts
  readonly #podAnswers: PodAnswers
  readonly #unenforced: Unenforced
  readonly #podRepair: PodRepair
  readonly #podWatch: PodWatch
  readonly #conflist: ConflistKeeper | undefined
  readonly #serving: Serving
  readonly #reporting: Reporting
  readonly #statuses: NodeStatuses
  readonly #facts: FactsOfNode
  readonly #watchers: Watchers
  readonly allocator: NodeAllocator
  readonly endpoints: EndpointStore
  readonly flows: Flows
  readonly events: Recorder
  readonly tracer: Tracer
  readonly levels: LogLevels<LogRoom>
  readonly #startedMs: number
  #capabilities: Capabilities = { ipip: false, vxlan: false }
  #closed = false
  #cancel: Cancel = () => undefined
  #unrecord: Cancel = () => undefined

  /** Locks and opens the node's databases; nothing else is touched before `start`. Throws `FileInUse` or `ForeignJournal`. */
  constructor(options: NodeAgentOptions, deps: NodeAgentDeps) {
    const { clock, log, transport, discover, bfd, lost } = deps
    const { nodeName: node, dataDir, machineId } = options
    this.#startedMs = clock.wallMs()
    this.#limiter = new Limiter(clock)
    this.levels = deps.levels ?? agentLevels(log)
    const roomLog = (room: LogRoom) => this.levels.room(room)
    const data = openDataDirectory(dataDir, { owner: { node, machineId }, lost, fallback: options.fallbackDir })
    const kernel = guardKernel(deps.kernel, data.check)
    const store = guardStore(deps.store, data.check)
    this.#options = options
    this.#data = data
    this.#deps = { ...deps, kernel, store }
    const { isFallback, recorder: folder, check } = data
    this.events = new Recorder({
      ...{ nodeName: node, folder, clock, log, check, segments: isFallback ? FEW_SEGMENTS : undefined },
    })
    adoptEarlierEvents(data.events, this.events)
    const record = (event: EventRecord) => {
      this.events.record(event)
      this.#reporting.record(event)
    }
    this.#status = new StatusModel({ clock, node: this.#self(), record })
    this.#serving = new Serving({ clock, log: roomLog('agent'), servedAgoMs: deps.served?.agoMs() })
    for (const { message, remedy } of data.conditions()) log.error({ remedy }, message)
    const { acceptAfterMs } = options
    this.#caches = openCaches(store, {
      ...{ database: this.#data.node, clock, log: roomLog('datastore'), self: node, acceptAfterMs },
    })
    this.#view = new ClusterView(this.#caches, node)
    const access = new WriteAccess({
      ...{ nodeName: node, store, caches: this.#caches, view: this.#view, clock, log },
      publish: () => this.allocator.flush(),
    })
    this.#reporting = new Reporting({
      ...{ nodeName: node, view: this.#view, store: access.store, agent: this, clock, levels: this.levels },
      report: conditions => this.#status.report('metrics', conditions),
    })
    followNodeUid(this.#view, { node, db: data.node, log })
    this.#oldFlows = new OldFlows({ kernel, clock, log: roomLog('cni') })
    this.endpoints = new EndpointStore(this.#data.node)
    this.#pins = new Pins({ kernel, endpoints: this.endpoints, clock })
    const selects = (selector: string) => matchesSelector(selector, this.#view.get('Node', node)?.metadata.labels ?? {})
    const selectsNamespace = namespaceSelects(this.#caches)
    const ends = new FlowEnds()
    const sets = new PolicySets({
      ...{ caches: this.#caches, clock, log: roomLog('ipam'), at: address => ends.at(address) },
      ask: () => this.#receipts.changed(),
    })
    this.allocator = new NodeAllocator({
      ...{
        node,
        store: access.blockStore,
        answers: store,
        mayWrite: () => access.isOpen,
        caches: this.#caches,
        journal: new Journal(this.#data.node),
        clock,
        log: roomLog('ipam'),
      },
      selects: { node: selects, namespace: selectsNamespace },
      collect: () => collectGone(this.cni()),
      sets,
      reached: cidr => this.#network.reached(cidr),
      withdrawn: cidr => this.#network.withdrawn(cidr),
      floatsTo: address => this.#floating.holderOf(address),
      canBorrow: () => this.#view.get('BGPConfiguration', 'default')?.spec.nodeToNodeMeshEnabled !== false,
    })
    const marks = nodeMarks({ routeProtocol: options.routeProtocol, interfacePrefix: INTERFACE_PREFIX })
    this.#felix = new Felix(kernel, {
      ...{ clock, log: roomLog('felix'), marks },
      onConditions: changes => this.#status.change('felix', changes),
      onRepair: ({ by: _, ...event }) => record(event),
      onChange: (...change) => this.events.note(...change),
      onLink: link => this.#podRepair.linkChanged(link),
      onTunnelsNeeded: () => this.#network.changed(),
      onPodMtu: (mtu, cause) => this.#podMtu.follow(mtu, cause),
      podsVersion: () => this.#caches.of('Pod').version,
      onPolicies: () => this.#receipts.changed(),
    })
    const reportConntrack = (conditions: readonly Condition[]) => this.#status.report('conntrack', conditions)
    this.#conntrack = new Conntrack({ kernel, clock, report: reportConntrack })
    this.#names = new DomainNames({
      ...{ nodeName: node, view: this.#view, kernel, felix: this.#felix, database: this.#data.events, clock },
      changed: () => this.#policies.namesChanged(),
    })
    this.flows = new Flows({
      ...{ kernel, clock, ends, nodeName: node },
      hostEndpointAt: index => this.#felix.hostEndpointAt(index),
      policyNamed: name => {
        const policy = this.#felix.policyNamed(name)
        return policy && { policy: formatRef(policy.ref), tier: policy.tier }
      },
      report: conditions => this.#status.report('flows', conditions),
    })
    this.tracer = new Tracer({
      ...{ kernel, clock, log: roomLog('agent'), nodeName: node, table: traceTableName(marks)!, send: sendProbe },
      isOurs: table => isOwnTable(marks, table),
      interfacePrefix: INTERFACE_PREFIX,
      podAt: address => this.endpoints.live().find(({ addresses }) => addresses.includes(address)),
    })
    const felix = this.#felix
    const floatingFlows = new FloatingFlows({
      ...{ kernel, clock, log: roomLog('agent'), table: floatingTableName(marks) },
      // what was refused is told elsewhere
      applied: () => felix.applied().catch(() => undefined),
    })
    this.#floating = new FloatingAddresses({
      ...{ caches: this.#caches, felix, flows: floatingFlows, selects: selectsNamespace },
      nodeWith: address => this.#network.nodeWith(address),
      changed: () => this.#network.changed(),
      report: conditions => this.#status.report('floating', conditions),
    })
    this.#policies = new PolicyFeed({
      ...{ nodeName: node, caches: this.#caches, names: this.#names, floating: this.#floating, clock },
      pods: { setPod: (id, pod) => this.#network.setPod(id, pod) },
      felix: {
        setPolicy(kind, key, value) {
          ends.set(kind, key, value)
          felix.setPolicy(kind, key, value)
        },
        set: (kind, key, value) => felix.set(kind, key, value),
        setPolicyRevision: (...told) => felix.setPolicyRevision(...told),
        setLocalEndpoint: (key, local) => felix.setLocalEndpoint(key, local),
        setHostEndpoint: (name, host) => felix.setHostEndpoint(name, host),
        complete: input => felix.complete(input),
      },
      report: conditions => this.#status.report('policies', conditions),
    })
    this.#receipts = new PolicyReceipts({
      ...{
        nodeName: node,
        store: access.store,
        clock,
        log: roomLog('agent'),
        nodes: () => this.#caches.of('Node').size,
      },
      receipt: () => this.#felix.policyReceipt(),
      faultOf: policy => this.#policies.faultOf(policy),
      asked: () => this.#podAnswers.asked,
      late: () => sets.lateVersion,
      reflection: () => this.#network.reflection,
    })
    this.#podAnswers = new PodAnswers({
      ...{ caches: this.#caches, clock, worked: () => this.#felix.policyReceipt()?.pods },
      // what was refused is told elsewhere
      pass: () => this.#felix.applied().catch(() => undefined),
      answered: () => this.#receipts.changed(),
    })
    this.#unenforced = new Unenforced({
      ...{ store: access.store, clock, nodes: () => this.#caches.of('Node').size },
      report: conditions => this.#status.report('unenforced', conditions),
    })
    this.#podRepair = new PodRepair({
      ...this.cni(),
      healed: ({ id: name, pod }, what, reason) => {
        const message = pod === undefined ? what : `in pod ${pod.namespace}/${pod.name}: ${what}`
        record({ type: 'Healed', object: { kind: 'Endpoint', name }, reason, message })
      },
    })
    this.#podWatch = new PodWatch({
      ...{ ...this.cni(), kernel, repair: this.#podRepair },
      report: conditions => this.#status.report('pods', conditions),
      addressesChanged: () => this.#watchers.podAddressesChanged(),
    })
    this.#conflist =
      options.conflist &&
      new ConflistKeeper({
        ...{ ...options.conflist, copy: join(dataDir, 'conflist'), clock },
        report: conditions => this.#status.report('conflist', conditions),
        healed: message => record({ type: 'Healed', object: this.#self(), reason: 'ConfigurationGone', message }),
      })
    this.#podMtu = new PodMtu({ ...this.cni(), report: conditions => this.#status.report('cni', conditions) })
    this.#secrets = new BgpSecrets({
      ...{ store, dataDir, clock, log: roomLog('bgp'), check: data.check },
      namespace: options.secretsNamespace ?? 'kube-system',
      isBelieved: () => this.#caches.doubt === undefined,
      report: conditions => this.#status.report('secrets', conditions),
    })
    this.#network = new NodeNetwork({
      ...{
        nodeName: node,
        nodeIp: options.nodeIp,
        nodeIp6: options.nodeIp6,
        kernel,
        transport,
        discover,
        bfd,
        routeProtocol: options.routeProtocol,
        store: access.store,
        clock,
        log: roomLog('agent'),
        bgpLog: roomLog('bgp'),
        record,
        noteLearned: (...learned) => noteLearned(this.events, ...learned),
      },
      ...{ view: this.#view, felix: this.#felix, allocator: this.allocator, status: this.#status },
      secrets: this.#secrets,
      reflectionChanged: () => this.#receipts.changed(),
      podAddresses: () => this.endpoints.live().flatMap(({ addresses }) => addresses),
      floating: () => this.#floating.held,
      probes: () => this.#probes?.published ?? {},
    })
    this.#probes =
      deps.probes &&
      new Probes({
        ...{ nodeName: node, kernel, view: this.#view, felix: this.#felix, allocator: this.allocator, clock },
        ...{ log: roomLog('agent'), openWire: deps.probes, mtu: () => this.#podMtu.mtu ?? this.#felix.podMtu() },
        peers: () => this.#network.peers(),
        changed: () => this.#network.changed(),
        report: conditions => this.#status.report('probes', conditions),
      })
    this.#statuses = new NodeStatuses({
      ...{ nodeName: node, store: access.store, clock, log: roomLog('agent') },
      observe: () => this.#observed(),
    })
    this.#watchers = new Watchers({
      ...{ nodeName: node, kernel, clock, view: this.#view, allocator: this.allocator, network: this.#network, ends },
      ...{ endpoints: this.endpoints, ask: deps.ask },
      floating: () => this.#floating.held,
      podAddresses: () => this.#podWatch.foreignAddresses(),
      report: (source, conditions) => this.#status.report(source, conditions),
    })
    this.#facts = new FactsOfNode({
      ...{ node, kernel, clock, version: packageVersion(), startedMs: this.#startedMs, felix },
      ...{ allocator: this.allocator, events: this.events, view: this.#view, network: this.#network },
      floating: this.#floating,
      isOwnTable: name => isOwnTable(marks, name),
      cni: () => this.cni(),
      explain: prefix => this.explain(prefix),
      conditions: () => this.conditions(),
      pathTo: this.#probes && ((...of) => this.#probes?.answerFor(...of)),
    })
    // of the cache that `selects` asks
    this.#view.onChange('Node', ({ key, before, after }) => {
      if (key !== node || isDeepStrictEqual(before?.metadata.labels, after?.metadata.labels)) return
      this.allocator.selectsChanged()
    })
    access.follow(() => {
      this.allocator.retryNow()
      this.#network.retryNow()
      this.#statuses.retryNow()
      this.#receipts.retryNow()
    })
  }

  /** Adopts what earlier runs left and begins; resolves when CNI requests can be answered, at least with a refusal. */
  async start(): Promise<void> {
    const { kernel, log } = this.#deps
    this.#capabilities = await probeCapabilities(kernel).catch(explainForbidden)
    this.#status.report('access', podAccessConditions(kernel))
    const routes = await kernel.routes({ table: ROUTE_TABLE.main, protocol: this.#options.routeProtocol })
    // any route of ours: an earlier version wrote those to other nodes with another protocol, and they are still in use
    const hadRoutes = routes.length > 0
    const report = (conditions: readonly Condition[]) => this.#status.report('journal', conditions)
    await takeOverPods({ cni: this.cni(), dataDir: this.#options.dataDir, report })
    const endpoints = this.endpoints.live()
    const message = `adopted ${endpoints.length} endpoints`
    this.events.record({ type: 'Started', object: this.#self(), reason: 'Started', message })
    log.info({ capabilities: this.#capabilities, endpoints: endpoints.length }, 'agent starts')

    this.endpoints.onChange(({ type, endpoint }) => {
      this.#felix.set('endpoint', endpoint.id, type === 'set' ? endpoint : undefined)
      for (const each of [this.#policies, this.#names])
        if (type === 'set') each.setLocal(endpoint)
        else each.removeLocal(endpoint)
    })
    for (const endpoint of endpoints) {
      this.#felix.set('endpoint', endpoint.id, endpoint)
      for (const each of [this.#policies, this.#names]) each.setLocal(endpoint)
    }
    await this.#floating.start()
    this.#names.start()
    this.#felix.complete('endpoints')
    this.#network.start({ capabilities: this.#capabilities, hadRoutes })
    this.#felix.start()
    this.#watchers.start()
    void this.#podWatch.start()
    this.#conntrack.start()
    this.flows.start()
    this.#unenforced.start()
    this.#podAnswers.start()
    this.#conflist?.start()
    this.#reporting.start()
    this.#caches.start()
    this.#unrecord = recordChanges({
      recorder: this.events,
      caches: this.#caches,
      endpoints: this.endpoints,
      allocator: this.allocator,
    })
    this.allocator.onBlocks(() => this.#followBlocks())
    this.allocator.start()
    this.#followBlocks()
    // after what pods wait for
    this.#statuses.start()
    this.tracer.start()
    this.#probes?.start()
    this.#watchData()
  }

  #followBlocks(): void {
    const held = [...this.allocator.held().values()].flat().map(({ address }) => address)
    const borrowed = this.allocator.borrowed().map(cidr => ({ cidr, size: 1 }))
    const lent = this.allocator.lent().map(cidr => cidr.slice(0, cidr.indexOf('/')))
    void this.#oldFlows.follow([...this.allocator.blocks(), ...borrowed], new Set(held), lent)
  }

  /** What the CNI verbs need. */
  cni(): CniDeps {
    const { kernel, clock } = this.#deps
    const { allocator: ipam, endpoints } = this
    return {
      bootId: this.#deps.bootId ?? '',
      ...{ node: this.#options.nodeName, ipam, kernel, endpoints, limiter: this.#limiter, clock },
      oldFlows: this.#oldFlows,
      pins: this.#pins,
      podCidrs: () => this.#view.podCidrs(),
      hostSide: {
        applied: id => this.#applied(id),
        routeProtocol: () => this.#felix.podRouteProtocol,
        isFloating: address => this.#floating.held.includes(address),
        podsFiltered: () => this.#felix.podsFiltered,
        filterDifferences: name => this.#felix.filterDifferences(name),
      },
      annotations: pod => this.#policies.annotations(pod),
      log: this.levels.room('cni'),
      mtu: () => this.#podMtu.mtu ?? this.#felix.podMtu(),
      ready: () => this.#notReady(),
      status: () => this.#unserved(),
    }
  }

  /** Whether this node can serve its pods; neither peers nor objects of other nodes decide that. */
  ready(): boolean {
    this.#network.report()
    return this.#status.ready()
  }

  conditions(): Condition[] {
    this.#network.report()
    return this.#status.conditions()
  }

  /** How many packets of pods, and of strangers to its tunnels, this node has dropped, by the reason. */
  droppedPackets(): Promise<ReadonlyMap<string, number>> {
    return this.#felix.droppedPackets()
  }

  /** What each rule of policies has counted on this node. Rejects with `KernelError`. */
  ruleCounts(of: 'now' | 'late'): Promise<Pick<RuleCounts, 'byText' | 'byOutcome'>> {
    return this.#felix.ruleCounts(of)
  }

  /** Everything a person asks of a node, as stable JSON. */
  status(): AgentStatus {
    const own = this.#network.address
    const main = own?.ipv4 ?? own?.ipv6
    return {
      node: this.#options.nodeName,
      address: main?.address,
      uplink: own && uplinkOf(own),
      subnet: main && `${maskAddress(main.address, main.length)}/${main.length}`,
      capabilities: this.#capabilities,
      tunnels: this.#network.tunnels,
      ready: this.ready(),
      conditions: this.conditions(),
      peers: this.#network.peers().map(peerAnswer),
      blocks: [...this.allocator.blocks()],
      endpoints: this.endpoints.live().map(each => endpointAnswer(each, this.#floating.of(each.id))),
      learned: this.#network.learned().map(learnedAnswer),
    }
  }

  /** What the metrics say, but for what the kernel has to be asked. */
  numbers(): Omit<NodeNumbers, 'dropped' | 'decided' | 'version'> {
    const { synced, connected } = this.#view
    return {
      ready: this.ready(),
      conditions: this.conditions(),
      datastore: !synced ? 'unknown' : connected ? 'whole' : 'partly',
      nodes: this.#caches.of('Node').size,
      endpoints: this.endpoints.live().length,
      learned: this.#network.learned().length,
      copiesLost: this.flows.lost,
      passes: this.#felix.passes.now,
      events: this.events.counts,
      recordsDropped: this.events.dropped,
      blocks: this.allocator.blocks(),
      room: this.allocator.room(),
      paths: this.paths(),
      peers: this.#network.peers().map(({ origin, ...peer }) => ({ ...peer, type: peerType(origin) })),
      prefixes: peer => this.#network.prefixesOf(peer),
    }
  }

  /** What path probes say of the ways to other nodes. */
  paths(): PathAnswer[] {
    return this.#probes?.answers() ?? []
  }

  /** What a CalicoNodeStatus tells of this node. */
  #observed(): Observed {
    const own = this.#network.address
    return {
      ...{ ready: this.ready(), version: packageVersion(), startedMs: this.#startedMs },
      ...{ address: own?.ipv4?.address, ipv6Address: own?.ipv6?.address },
      routerId: own && routerIdOf({ name: this.#options.nodeName, address: own.ipv4?.address }),
      peers: this.#network.peers(),
      blocks: [...this.allocator.blocks()].map(({ cidr }) => cidr),
      learned: this.#network.learned(),
    }
  }

  /** Whether addresses that are given, pods, links and routes agree. Rejects with `KernelError`. */
  checkAddresses(): Promise<AddressesAnswer> {
    return addressesAnswer(this.cni(), this.allocator)
  }

  /** The connections that pods of this node have open, as policies see them. Rejects with `KernelError`. */
  openConnections(): Promise<OpenConnection[]> {
    const addresses = this.endpoints.live().flatMap(each => each.addresses)
    return openConnections(this.#deps.kernel, new Set(addresses))
  }

  /** Answers `margayctl bgp drain`. */
  drained(): Promise<DrainAnswer> {
    return this.#network.drained()
  }

  /** What this node's kernel has. */
  kernelState(): AsyncIterable<KernelLine> {
    const { routeProtocol } = this.#options
    return kernelState(this.#deps.kernel, nodeMarks({ routeProtocol, interfacePrefix: INTERFACE_PREFIX }))
  }

  explain(prefix: string): RouteAnswer {
    return this.#network.routing?.explain(prefix) ?? routeAnswer(prefix, undefined)
  }

  /** What this node knows of the way of a packet; undefined while it answers as many as it may. */
  facts(question: Question): Promise<NodeFacts | undefined> {
    return this.#facts.answer(question)
  }

  openconfig(): OpenconfigAnswer {
    return this.#network.routing?.openconfig() ?? openconfigNeighbors(undefined)
  }

  /** All BFD sessions with their counters. */
  async bfdStatus(): Promise<BfdStatus> {
    return (await this.#deps.bfd?.status()) ?? { scheduling: 'usual', sessions: [], dropped: {} }
  }

  /** A person confirms what the API server says; the answer is what was in doubt, '' for nothing. Rejects as the store. */
  async acceptCluster(): Promise<{ doubt: string }> {
    const doubt = this.#caches.doubt?.reason ?? ''
    if (doubt !== '') await this.#caches.accept()
    return { doubt }
  }

  /** Stops the agent; pods keep their network, peers keep our routes. The caller closes kernel and store. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#cancel()
    this.#unrecord()
    if (this.#serving.serves) this.#deps.served?.touch(0)
    this.#view.close()
    await this.#network.close()
    // after the sessions: by their end other nodes know why it is silent
    this.#probes?.close()
    this.#secrets.close()
    await this.#deps.bfd?.close()
    await this.#felix.close()
    this.#conntrack.close()
    this.#oldFlows.close()
    this.flows.close()
    await this.tracer.close()
    this.#policies.close()
    this.#floating.close()
    this.#names.close()
    this.#receipts.close()
    this.#podAnswers.close()
    this.#unenforced.close()
    this.#podRepair.close()
    this.#podWatch.close()
    this.#conflist?.close()
    this.#reporting.close()
    this.#statuses.close()
    this.#watchers.close()
    await this.#podMtu.close()
    await this.allocator.close()
    this.#caches.close()
    this.events.close()
    this.#data.close()
  }

  /** The host side is in the kernel, and the rules of the pod's policies were read back. */
  async #applied(id: string): Promise<void> {
    const endpoint = this.endpoints.live().find(each => each.id === id)
    if (endpoint !== undefined) await this.#policies.knows(endpoint)
    await this.#felix.applied(id)
    if (endpoint === undefined) return
    const { interfaceName } = endpoint
    if (!this.#felix.judges(interfaceName))
      throw new Error(`the kernel has not taken the policies of ${interfaceName}, as the conditions KernelInSync say`)
    if ((await this.#felix.policyDifferences(interfaceName, 'rules')).length === 0) return
    // what others took away in this moment is put back by the next pass
    await this.#felix.applied(id)
    const [lacking] = await this.#felix.policyDifferences(interfaceName, 'rules')
    if (lacking !== undefined)
      throw new Error(`of the policies of ${interfaceName}, ${lacking.object} is ${lacking.is} in the kernel`)
  }

  #watchData(): void {
    this.#data.check()
    this.#status.report('data', this.#data.conditions())
    this.#status.report('descriptors', descriptorConditions())
    this.#lookWhetherServed()
    this.#cancel = this.#deps.clock.after(DATA_CHECK_MS, () => this.#watchData())
  }

  #lookWhetherServed(): void {
    this.#network.report()
    const conditions = this.#status.conditions()
    this.#serving.look(this.#status.stops(conditions))
    if (this.#serving.serves) this.#deps.served?.touch(SERVED_EVERY_MS)
    const condition = this.#serving.networkCondition()
    this.#reporting.look(conditions, condition)
    this.#network.publish(condition)
  }

  #self(): ObjectRef {
    return { kind: 'Node', name: this.#options.nodeName }
  }

  #notReady(): NotReady | undefined {
    const details = this.#network.problem()
    return details === undefined ? undefined : this.#notReadyFor(CNI_CODE.notReady, details)
  }

  #unserved(): NotReady | undefined {
    this.#lookWhetherServed()
    const { unserved } = this.#serving
    if (unserved === undefined) return undefined
    const { message, remedy, page } = unserved.cause
    return this.#notReadyFor(
      unserved.limited ? CNI_CODE.limited : CNI_CODE.notReady,
      `${message}; ${remedy}${page === undefined ? '' : `; see ${page}`}`,
    )
  }

  #notReadyFor(code: number, details: string): NotReady {
    return { code, msg: `node ${this.#options.nodeName} is not ready for pods`, details }
  }
}

function learnedAnswer({ paths, ...best }: LearnedRoute) {
  const copied = <P extends LearnedPath>(path: P) => ({ ...path, encapsulations: [...path.encapsulations] })
  return { ...copied(best), ...(paths && { paths: paths.map(copied) }) }
}
