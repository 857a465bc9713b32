// Felix takes in what the other rooms know, calculates what the kernel should hold, and keeps the kernel so. What is told
// changes memory only; one pass at a time touches the kernel, and what is told during a pass is applied together in the
// next. Closing leaves the kernel as it is: pods outlive their agent.
// Over 400 lines: everything that is told, every timer and every pass meet here, each in a few lines.
import type { ReceiptKind } from '../api/policy-receipts.ts'
import type { Condition } from '../api/status.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelMonitor } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import type { SettingWatch } from '../kernel/port/sysctls.ts'
import type { NftDifference } from '../kernel/reconcile/nft-differences.ts'
import type { LedPart } from '../kernel/reconcile/nft-led.ts'
import type { Healed, ObjectName, Outcome, Refusal, Removed } from '../kernel/reconcile/outcome.ts'
import type { Marks } from '../kernel/reconcile/ownership.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { Applier, type Readiness, STRAY_GRACE_MS } from './applier.ts'
import { Backlog } from './backlog.ts'
import { Bandwidth } from './bandwidth.ts'
import { Calculator } from './calc/calculator.ts'
import type { TunnelsNeeded } from './calc/mtu.ts'
import { allowsSource } from './calc/pod-filter.ts'
import { ChainWatch } from './chain-watch.ts'
import { ChangeNotes, type NoteChange } from './change-notes.ts'
import { changedObject } from './changed-object.ts'
import { ConnectedSubnets } from './connected-subnets.ts'
import { type EnforcerReceipt, PolicyEnforcer } from './enforcer.ts'
import { FlowOffload } from './flow-offload.ts'
import type { PodTraffic } from './foreign-chains.ts'
import { shadowConditions } from './foreign-routes.ts'
import { type InputKind, type Inputs, type Settings, type ThisNode, uplinksOf } from './input.ts'
import {
  bandwidthMarks,
  floatingTableName,
  offloadMarks,
  podFilterMarks,
  policyMarks,
  qosTableName,
  servicesTableName,
} from './marks.ts'
import { PassNumbers } from './pass-numbers.ts'
import type { DomainAnswer, HostEndpointHere, LocalEndpoint, Policy, PolicyInputs, Resolvers } from './policy/model.ts'
import type { NamePatterns } from './policy/name-patterns.ts'
import { QosTable } from './qos-table.ts'
import { Receipts } from './receipts.ts'
import { EndpointRefusals, flowsMove, refusalConditions, tableConditions } from './refusals.ts'
import { RepairPace } from './repair-pace.ts'
import { healedRepair, letPassRepair, type Repair, removedRepair } from './repairs.ts'
import { reversePathConditions } from './reverse-path.ts'
import { Revocation } from './revocation.ts'
import { RouterAdvertisements } from './router-advertisements.ts'
import { RuleCounts } from './rule-counts.ts'
import { RuleWatch } from './rule-watch.ts'
import { watchSettings } from './setting-watch.ts'
import { ToldConditions } from './told-conditions.ts'
import { Lasting, trafficStops } from './traffic-stops.ts'
import type { FelixView } from './view.ts'

export type FelixDeps = {
  clock: Clock
  log: Log
  /** What is ours in the kernel. */
  marks: Marks
  /** What is not well now, or is so for another reason, or is well again (undefined), by `conditionKey`. */
  onConditions: (changes: ReadonlyMap<string, Condition | undefined>) => void
  /** What somebody else did is put right. */
  onRepair?: (repair: Repair) => void
  /** What changed in the kernel; see `ChangeNotes`. */
  onChange?: NoteChange
  /** A link of this namespace came or changed. */
  onLink?: (link: Link) => void
  /** Other tunnels are needed than before, and so other tunnel addresses: see `tunnelsNeeded`. */
  onTunnelsNeeded?: (needed: TunnelsNeeded) => void
  /** Pods have another MTU from now on, in bytes. Not told before the pools are known and the speaker has converged. */
  onPodMtu?: (mtu: number, cause: PodMtuCause) => void
  /** The version in which all Pods were told, where that is known. */
  podsVersion?: () => string | undefined
  /** `policyReceipt` may say something else than before. */
  onPolicies?: () => void
  /** How long learned routes of an earlier run are kept without a word from the speaker. */
  bgpGraceMs?: number
  /** What this process has taken of a processor, in milliseconds. */
  usedMs?: () => number
  /** How many entries and routes are applied before pods have their turn again; see `Backlog`. */
  slice?: number
}

/** `routes`: only because a node without IP-in-IP came or went. */
export type PodMtuCause = 'configuration' | 'routes'

/** Everything is read again this often, for changes without an event. */
const REFRESH_MS = 90_000
/** Settings are: of `route_localnet`, `proxy_delay` and others the kernel tells only what is written through our own /proc. 10 us each. */
const SETTINGS_MS = 10_000
/** However often metrics are read, the kernel is asked for the counters of all rules so often. Scrapes are 15 s to a minute apart. */
const COUNTS_MS = 10_000
/** The usual restart time of graceful restart (RFC 4724 §4.1 leaves the value to the node). */
const BGP_GRACE_MS = 120_000
/** Some tens of milliseconds of the kernel's time. */
const SLICE = 1000
/** Above this many refusals, what is told is not applied in slices. */
const MANY_REFUSED = 1000
/** How often policies of one interface are compared with the kernel while passes change them. */
const LOOKS = 3
/** What stops all pods for less than this is healed before anybody would act on it. */
const STOP_GRACE_MS = 2000

/** The one writer of this namespace's pod, block and tunnel state. Nothing happens before `start`. */
export class Felix {
  readonly #kernel: Kernel
  readonly #deps: FelixDeps
  readonly #applier: Applier
  readonly #calculator: Calculator
  readonly #retry = new Backoff({ firstMs: 50, maxMs: 10_000 })
  readonly #repairs = new RepairPace()
  readonly #usedMs: () => number
  /** What the next pass is to repair. */
  readonly #changedByOthers = new Set<string>()
  #repairDueMs = Number.POSITIVE_INFINITY
  readonly #timers = new Map<string, Cancel>()
  readonly #receipts = new Receipts()
  readonly passes: PassNumbers
  readonly #backlog: Backlog
  #ready: Readiness = { datastore: false, endpoints: false, bgp: false, policy: false }
  readonly #policy: PolicyEnforcer | undefined
  readonly #qos: QosTable | undefined
  readonly #bandwidth: Bandwidth | undefined
  readonly #revocation: Revocation | undefined
  /** Of endpoints whose policies the kernel has not taken yet. */
  readonly #unsettled = new Set<string>()
  readonly #offload: FlowOffload | undefined
  readonly #chains: ChainWatch
  readonly #rules: RuleWatch
  readonly #connected: ConnectedSubnets
  readonly #notes: ChangeNotes | undefined
  #advertisements: RouterAdvertisements | undefined
  /** As of the last pass. */
  #otherUplinks: readonly string[] = []
  readonly #lasting = new Lasting(STOP_GRACE_MS)
  /** Conditions for what the last pass was refused. */
  readonly #refused = new ToldConditions()
  #refusals = 0
  #needed: TunnelsNeeded
  #toldMtu: ReturnType<Calculator['podMtu']> | undefined
  #counted: { atMs: number; counts: RuleCounts } | undefined
  #generation = 0
  #appliedGeneration = -1
  #clean = false
  #monitor: KernelMonitor | undefined
  #tableMonitor: KernelMonitor | undefined
  #settings: SettingWatch | undefined
  #running: Promise<void> | undefined
  #again = false
  #closed = false

  constructor(kernel: Kernel, deps: FelixDeps) {
    this.#kernel = kernel
    this.#deps = deps
    this.passes = new PassNumbers(deps.clock)
    this.#calculator = new Calculator({
      routeProtocol: deps.marks.protocol,
      podFilter: podFilterMarks(deps.marks),
      floatingTable: floatingTableName(deps.marks),
      servicesTable: servicesTableName(deps.marks),
    })
    this.#needed = this.#calculator.tunnelsNeeded()
    const policy = policyMarks(deps.marks)
    this.#policy = policy && new PolicyEnforcer(kernel, policy)
    this.#usedMs = deps.usedMs ?? processorMs
    this.#revocation =
      this.#policy &&
      new Revocation({
        ...{ kernel, policy: this.#policy, clock: deps.clock, log: deps.log },
        sourcesOf: interfaceName => this.#calculator.podOn(interfaceName)?.sources ?? [],
        told: () => this.#policyTold(),
        report: condition => deps.onConditions(new Map([['ConnectionsCut', condition]])),
        cut: () => deps.onPolicies?.(),
      })
    const qosTable = qosTableName(deps.marks)
    this.#qos = qosTable === undefined ? undefined : new QosTable(kernel, qosTable)
    const bandwidth = bandwidthMarks(deps.marks)
    this.#bandwidth = bandwidth && new Bandwidth(kernel, bandwidth, () => deps.clock.monotonicMs())
    const offload = offloadMarks(deps.marks)
    this.#offload = offload && new FlowOffload(kernel, offload)
    this.#applier = new Applier(kernel, deps.marks, () => deps.clock.monotonicMs(), {
      ...{
        policy: this.#policy,
        beside: [this.#qos, this.#bandwidth, this.#offload].filter(each => each !== undefined),
      },
    })
    this.#chains = new ChainWatch({
      ...{ kernel, clock: deps.clock, ownTable: deps.marks.nftTable, onConditions: deps.onConditions },
      traffic: () => this.#traffic(),
      onLetPass: (chain, by) => this.#tellRepair(letPassRepair(chain, by && kernel.authorText(by))),
    })
    this.#rules = new RuleWatch({
      ...{ kernel, clock: deps.clock, onConditions: deps.onConditions },
      ownsInterface: name => this.#applier.ownsInterface(name),
      wanted: () => {
        const { route, destination } = this.#calculator.wanted()
        return { routes: route.values(), pools: [...destination.keys()] }
      },
    })
    this.#connected = new ConnectedSubnets(kernel, name => this.#applier.ownsInterface(name))
    this.#notes =
      deps.onChange &&
      new ChangeNotes({
        ...{ kernel, clock: deps.clock, note: deps.onChange, routeProtocol: deps.marks.protocol },
        ownsInterface: name => this.#applier.ownsInterface(name),
        nameOf: index => this.#applier.nameOf(index),
        wanted: () => this.#calculator.wanted(),
      })
    this.#backlog = new Backlog(name => this.#applier.ownsInterface(name), deps.slice ?? SLICE)
  }

  /**
   * Tells one item: its value under its key (see `Inputs`), or undefined when it is gone. Memory only; the kernel
   * follows on a later turn, and all that is told in one turn is taken together. The same value again costs nothing.
   */
  set<K extends InputKind>(kind: K, key: string, value: Inputs[K] | undefined): void {
    if (this.#calculator.set(kind, key, value)) this.#changed()
  }

  /** Tells one item that policies are made of, or about, as `set`. Nothing is enforced before `complete('policy')`. */
  setPolicy<K extends keyof PolicyInputs>(kind: K, key: string, value: PolicyInputs[K] | undefined): void {
    this.#policy?.set(kind, key, value)
    if (this.#ready.policy) this.#changed()
  }

  /** Tells which revision of a policy's object `setPolicy` told in this turn, or that the object is gone. */
  setPolicyRevision(kind: ReceiptKind, key: string, revision: string | undefined): void {
    this.#policy?.setRevision(kind, key, revision)
    if (this.#ready.policy) this.#changed()
  }

  /** Which policies the kernel enforces, as of the last pass; undefined before the first, and while one writes them. */
  policyReceipt(): EnforcerReceipt | undefined {
    const receipt = this.#policy?.receipt()
    return receipt && { ...receipt, pods: this.#revocation?.pods }
  }

  /** Tells which endpoint of policies is here, and by which interface. */
  setLocalEndpoint(key: string, local: LocalEndpoint | undefined): void {
    this.#policy?.setLocal(key, local)
    this.#qos?.setLocal(key, local)
    this.#bandwidth?.setLocal(key, local)
    this.#offload?.setLocal(key, local)
    if (this.#ready.policy) this.#changed()
  }

  /** Tells what a pod of this node was told of a name, as `set`; `key` is whatever tells it from other answers. */
  setAnswer(key: string, answer: DomainAnswer | undefined): void {
    this.#policy?.setAnswer(key, answer)
    if (this.#ready.policy) this.#changed()
  }

  /** Tells whose answers about names are believed: they are copied to `ANSWER_GROUP` where policies here ask for names. */
  setResolvers(resolvers: Resolvers): void {
    this.#policy?.setResolvers(resolvers)
    if (this.#ready.policy) this.#changed()
  }

  /** The names that policies ask for of the pod of an interface, as of the last pass; undefined of none. */
  namesAsked(interfaceName: string): NamePatterns | undefined {
    return this.#policy?.namesAsked(interfaceName)
  }

  /**
   * As `PolicyEnforcer.ruleCounts`; empty where there are no policies. `late`: as they were COUNTS_MS ago at the earliest, since of
   * ten thousand policies the kernel takes a tenth of a second to tell them.
   */
  async ruleCounts(of: 'now' | 'late'): Promise<Pick<RuleCounts, 'byText' | 'byOutcome'>> {
    if (this.#policy === undefined || this.#policy.lacking !== undefined) return new RuleCounts()
    const nowMs = this.#deps.clock.monotonicMs()
    if (of === 'late' && this.#counted !== undefined && nowMs - this.#counted.atMs < COUNTS_MS)
      return this.#counted.counts
    const counts = await this.#policy.ruleCounts()
    this.#counted = { atMs: nowMs, counts }
    return counts
  }

  /** As `PolicyCalculator.policyNamed`. */
  policyNamed(name: string): Policy | undefined {
    return this.#policy?.policyNamed(name)
  }

  /** As `PolicyEnforcer.hostEndpointAt`. */
  hostEndpointAt(interfaceIndex: number): string | undefined {
    return this.#policy?.hostEndpointAt(interfaceIndex)
  }

  /** Tells a host endpoint of this node, by its name; its labels are those of the endpoint under this key. */
  setHostEndpoint(name: string, host: HostEndpointHere | undefined): void {
    this.#policy?.setHost(name, host)
    if (this.#ready.policy) this.#changed()
  }

  /** Whether the kernel judges packets of an interface by its policies, as of the last pass, where it can do so at all. */
  judges(interfaceName: string): boolean {
    return this.#policy === undefined || this.#policy.lacking !== undefined || this.#policy.judges(interfaceName)
  }

  /** Replaces parts of what exists once. Memory only, as with `set`. */
  configure(part: Partial<Settings>): void {
    const { config } = part
    const isLogLimitNew = config !== undefined && this.#policy?.setLogLimit(config.logLimit) === true
    if (config !== undefined) this.#revocation?.configure(config.keepConnections === true ? 'keep' : 'cut')
    const isOffloadNew = config !== undefined && this.#offload?.configure(config.offload) === true
    const isTypeNew = config !== undefined && this.#applier.setResilient(config.resilient)
    if (this.#calculator.configure(part) || isLogLimitNew || isOffloadNew || isTypeNew) this.#changed()
  }

  /** Which tunnels this node should have, and thus which tunnel addresses it should be given. */
  tunnelsNeeded(): TunnelsNeeded {
    return this.#calculator.tunnelsNeeded()
  }

  /** Says that a source is complete: only then is anything removed that this source might still have named. */
  complete(source: keyof Readiness): void {
    if (this.#ready[source]) return
    this.#ready = { ...this.#ready, [source]: true }
    if (source === 'datastore') this.#calculator.useLearned()
    this.#cancel(source)
    this.#changed()
  }

  /** Says that every floating address was told: only then is one that an earlier run left not translated any more. */
  completeFloating(): void {
    this.#calculator.useFloating()
    this.#changed()
  }

  /** Listens to the kernel and begins. What an earlier run left is adopted. */
  start(): void {
    if (this.#monitor !== undefined || this.#closed) return
    this.#settings = watchSettings(this.#kernel, this.#deps.log, news => {
      if (news === undefined) this.#applier.invalidateSettings()
      else this.#repair(this.#applier.observeSetting(news))
    })
    this.#monitor = this.#kernel.monitor(event => {
      // who did it is told there a moment later
      if (event.type === 'sysctl') this.#settings?.drain()
      this.#repair(this.#applier.observe(event))
      this.#notes?.observe(event)
      this.#rules.observe(event)
      if (this.#connected.observe(event)) this.#repair(changedObject(event))
      if (this.#offload?.observeLink(event) === true) this.#kick()
      if (this.#bandwidth?.observeEvent(event) === true) this.#repair(changedObject(event))
      if (event.type === 'link') {
        this.#followUplink(event.link.name)
        this.#deps.onLink?.(event.link)
      }
    })
    this.#tableMonitor = this.#kernel.monitorNftables(news => {
      this.#repair(this.#applier.observeNftables(news))
      this.#chains.observe(news)
      this.#notes?.observeNftables(news)
    })
    this.#after('bgp', this.#deps.bgpGraceMs ?? BGP_GRACE_MS, () => this.complete('bgp'))
    this.#every('refresh', REFRESH_MS, () => {
      this.#applier.invalidate()
      this.#connected.invalidate()
      this.#chains.changed()
      this.#rules.changed()
    })
    this.#rules.changed()
    this.#every('settings', SETTINGS_MS, () => {
      this.#settings?.renew()
      this.#applier.invalidateSettings()
    })
    this.#every('legacy chains', SETTINGS_MS, () => void this.#chains.pollLegacy())
    this.#kick()
  }

  /**
   * Resolves when a pass has taken in everything that was told so far, and the kernel was read back. Rejects with
   * `ApplyError` for what the kernel refused: of this endpoint alone, where one is named by its id. Its interface is looked
   * up again, since it may have been made again under its old name, and all pools must be known: the tables of NAT need them.
   */
  applied(endpoint?: string): Promise<void> {
    if (this.#closed) return Promise.reject(new Error('felix is closed'))
    const made = endpoint === undefined ? undefined : this.#calculator.endpoint(endpoint)
    if (made !== undefined) {
      this.#applier.madeLink(made.interfaceName)
      // a pass that is under way may have asked for this link before it was made
      this.#generation++
    }
    this.#kick()
    return this.#receipts.receipt(this.#generation, endpoint)
  }

  /** The MTU of pods that have none of their own, in bytes. */
  podMtu(): number {
    return this.#calculator.podMtu().now
  }

  /** The rtm_protocol of the routes to pods. */
  get podRouteProtocol(): number {
    return this.#calculator.podRouteProtocol
  }

  /** Whether packets of pods are filtered, so that the settings that need it may be on. */
  get podsFiltered(): boolean {
    return this.#applier.podsFiltered
  }

  /** How many packets the pod filter has dropped since it was written, by the reason. Empty where it cannot be read. */
  droppedPackets(): Promise<ReadonlyMap<string, number>> {
    return this.#applier.droppedPackets()
  }

  /**
   * What the pod filter lacks in the kernel now, in itself or for one interface, and what the policies and limits of that
   * interface lack. Rejects with `KernelError`.
   */
  async filterDifferences(interfaceName: string): Promise<readonly NftDifference[]> {
    const found = await this.#applier.filterDifferences(interfaceName)
    const ofPolicies = await this.policyDifferences(interfaceName, 'all')
    return [...found, ...ofPolicies, ...(await this.#atRest(this.#qos, qos => qos.differences(interfaceName)))]
  }

  /** What the policies of one interface lack in the kernel now. Rejects with `KernelError`. */
  policyDifferences(interfaceName: string, part: LedPart): Promise<readonly NftDifference[]> {
    return this.#atRest(this.#policy, policy => policy.differences(interfaceName, part))
  }

  /**
   * Policies change at any time: what a pass came between is read again, and counts where it is found each time. Nobody told of
   * what counts, so the next pass reads all of the table.
   */
  async #atRest<T extends PolicyEnforcer | QosTable>(
    table: T | undefined,
    read: (table: T) => Promise<NftDifference[]>,
  ): Promise<readonly NftDifference[]> {
    if (table === undefined || !this.#ready.policy) return []
    let found: readonly NftDifference[] | undefined
    for (let look = 0; look < LOOKS; look++) {
      await this.#running
      const { count } = this.passes.now
      const now = await read(table)
      const before: readonly NftDifference[] = found ?? now
      found = now.filter(({ object, is }) => before.some(each => each.object === object && each.is === is))
      if (found.length === 0 || (this.#running === undefined && this.passes.now.count === count)) break
    }
    if (found === undefined || found.length === 0) return []
    table.observe(undefined)
    return found
  }

  /** Resolves as soon as everything told so far is in the kernel and nothing is refused. */
  inSync(): Promise<void> {
    if (this.#closed) return Promise.reject(new Error('felix is closed'))
    if (this.#clean && this.#appliedGeneration === this.#generation && !this.#again) return Promise.resolve()
    return this.#receipts.sync(this.#generation)
  }

  /** What explains the way of a packet. */
  view(): FelixView {
    const { marks } = this.#deps
    const { node, hostRules, podRouteProtocol } = this.#calculator
    return {
      ...{ node, wanted: this.#calculator.wanted(), policy: this.#policy, hosts: hostRules?.settings },
      isApplied: this.#appliedGeneration === this.#generation && this.#clean,
      protocols: new Set([marks.protocol, podRouteProtocol]),
      ownsInterface: name => this.#applier.ownsInterface(name),
      masquerades: (...of) => this.#calculator.masquerades(...of),
      shadows: () => this.#applier.foreignRoutes.shadows(),
      ruleAuthor: rule => this.#rules.authorOf(rule),
    }
  }

  /** Ends after the pass under way; the kernel keeps what it has. */
  async close(): Promise<void> {
    this.#closed = true
    for (const each of [this.#monitor, this.#tableMonitor, this.#settings, this.#chains, this.#rules, this.#revocation])
      each?.close()
    for (const cancel of this.#timers.values()) cancel()
    this.#timers.clear()
    await this.#running
    this.#receipts.close()
  }

  #changed(): void {
    this.#generation++
    this.#kick()
  }

  #kick(): void {
    if (this.#monitor === undefined || this.#closed) return
    this.#again = true
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    // updates and events of the same turn are taken together
    await Promise.resolve()
    while (this.#again && !this.#closed) {
      this.#again = false
      await this.#pass()
    }
    this.#running = undefined
  }

  async #pass(): Promise<void> {
    this.#tellNeeds()
    const { node } = this.#calculator
    if (node === undefined) return
    this.#tellPodMtu()
    try {
      await this.#followInterfaces(node)
      const generation = this.#generation
      const mayAnswerPods = this.#ready.datastore && this.#ready.endpoints
      const differences = this.#calculator.step()
      const { otherUplinks } = this.#calculator
      if (otherUplinks !== this.#otherUplinks) this.#chains.changed()
      this.#otherUplinks = otherUplinks
      this.#policy?.setPodsVersion(this.#deps.podsVersion?.())
      const hosts = this.#calculator.hostRules
      if (hosts !== undefined) this.#policy?.setHostRules(hosts.settings, hosts.tunnels)
      if (differences.destination.size > 0) this.#chains.changed()
      if (differences.route.size + differences.destination.size > 0) this.#rules.routesChanged()
      for (const [cidr, wanted] of differences.destination)
        this.#qos?.setPool(cidr, wanted === undefined ? 'out' : 'in')
      if (differences.condition.size > 0) this.#deps.onConditions(differences.condition)
      // every pass tries again what was refused: with many refusals, more passes only cost more
      this.#applier.want(this.#backlog.next(differences, this.#refusals > MANY_REFUSED ? 'all' : 'slice'))
      const complete = this.#backlog.isEmpty
      // what still waits may already be in the kernel, from an earlier run
      const ready = complete ? this.#ready : { ...this.#ready, datastore: false, bgp: false }
      const causes = [...this.#changedByOthers]
      this.#changedByOthers.clear()
      const usedMs = causes.length > 0 ? this.#usedMs() : 0
      const outcome = await this.passes.measure(() => this.#applier.apply(ready))
      this.#report(outcome)
      this.#notes?.applied(outcome)
      if (causes.length > 0) this.#repaired(causes, this.#usedMs() - usedMs)
      if (outcome.written.some(ofSources) && this.#offload?.end() === true) this.#kick()
      if (this.#policy?.takeNews() === true) this.#deps.onPolicies?.()
      this.#finish(generation, outcome.refused, complete, mayAnswerPods)
      this.#revoke(outcome.refused)
      this.#followUplink()
    } catch (error) {
      // the kernel could not be asked at all, or its answers were lost
      if (!(error instanceof KernelError)) throw error
      this.#deps.log.error({ err: error }, 'the kernel cannot be read; trying again')
      this.#applier.invalidate()
      this.#clean = false
      this.#after('retry', this.#retry.next(), () => this.#kick())
    }
  }

  /** Whose policies the kernel has now is asked whether their connections may go on; who waits for a refused part, again later. */
  #revoke(refused: readonly Refusal[]): void {
    if (this.#policy === undefined || !this.#ready.policy || !this.#ready.datastore) return
    this.#revocation?.adopt(this.#policy.takeFoundCut())
    const narrowed = this.#policy.takeNarrowed()
    const isSettled = !refused.some(({ kind }) => kind.startsWith('nft'))
    const pods = isSettled ? this.#policy.pods : this.#revocation?.pods
    this.#revocation?.want([...narrowed, ...(isSettled ? this.#unsettled : [])], pods)
    if (isSettled) this.#unsettled.clear()
    else for (const key of narrowed) this.#unsettled.add(key)
  }

  /** Resolves when a pass took in what the table of policy was told. */
  async #policyTold(): Promise<void> {
    if (this.#closed) return
    this.#changed()
    // what else is refused does not matter here, and is told
    await this.#receipts.receipt(this.#generation, undefined).catch(() => undefined)
  }

  #tellNeeds(): void {
    const needed = this.#calculator.tunnelsNeeded()
    if (needed === this.#needed) return
    this.#needed = needed
    this.#deps.onTunnelsNeeded?.(needed)
  }

  /**
   * Another MTU of an uplink changes those of the tunnel devices and of the pods, which a packet of either family fits. While one
   * of the two is not there it stays as it was.
   */
  #followUplink(changed?: string): void {
    const uplinks = this.#uplinks()
    // it may have lost its carrier, which nothing of ours feels
    if (uplinks.some(({ name }) => name === changed)) this.#kick()
    const { node } = this.#calculator
    const [smallest] = uplinks.map(({ mtu }) => mtu).toSorted((a, b) => a - b)
    if (smallest !== undefined && node !== undefined && uplinks.length === uplinksOf(node).length)
      this.configure({ uplinkMtu: smallest })
  }

  async #followInterfaces(node: ThisNode): Promise<void> {
    this.#advertisements ??= await RouterAdvertisements.now(this.#kernel)
    const connected = await this.#connected.look()
    const names = (connected ?? []).map(({ interfaceName }) => interfaceName)
    const heedsRouters = this.#advertisements.takenBy([...uplinksOf(node), ...names])
    if (this.#calculator.configure({ heedsRouters, ...(connected && { connected }) })) this.#generation++
  }

  /** Those of them that are there. */
  #uplinks(): Link[] {
    const { node } = this.#calculator
    const names = node === undefined ? [] : uplinksOf(node)
    return names.map(name => this.#applier.linkOf(name)).filter(link => link !== undefined)
  }

  #tellPodMtu(): void {
    if (!this.#ready.datastore || !this.#ready.bgp) return
    const told = this.#toldMtu
    const mtu = this.#calculator.podMtu()
    this.#toldMtu = mtu
    if (told?.now === mtu.now) return
    this.#deps.onPodMtu?.(mtu.now, told?.byConfiguration === mtu.byConfiguration ? 'routes' : 'configuration')
  }

  #report({ written, healed, removed, refused, withheld }: Outcome): void {
    const { log } = this.#deps
    if (written.length > 0 || refused.length > 0)
      log.debug({ written: written.length, refused: refused.length, withheld: withheld.length }, 'applied')
    const who = ({ by }: Healed | Removed) => by && this.#kernel.authorText(by)
    for (const object of healed) this.#tellRepair(healedRepair(object, who(object)))
    for (const object of removed) this.#tellRepair(removedRepair(object, who(object)))
    this.#tellRefused(refused)
  }

  #tellRepair(repair: Repair): void {
    const { object, by, message } = repair
    this.#deps.log.warn({ ...object, by }, message)
    this.#deps.onRepair?.(repair)
  }

  #tellRefused(refused: readonly Refusal[]): void {
    this.#refusals = refused.length
    const tables = tableConditions(this.#applier.lacking, refused)
    const hosts = this.#policy?.hostConditions() ?? []
    const ofPackets = [this.#qos, this.#bandwidth].flatMap(each => each?.conditions(refused) ?? [])
    const beside = [...hosts, ...ofPackets, ...(this.#offload?.conditions ?? [])]
    const paths = reversePathConditions(this.#kernel, this.#calculator.withSources)
    const spread = flowsMove(this.#applier.lacksResilient)
    const conditions = [
      ...refusalConditions(refused),
      ...spread,
      ...tables,
      ...this.#stops(refused),
      ...beside,
      ...paths,
    ]
    const changes = this.#refused.take(conditions)
    if (changes.size > 0) this.#deps.onConditions(changes)
    // an old refusal must not delay what may be cured in a moment
    if (this.#refused.hasNew) this.#retry.reset()
  }

  /** What keeps pods from reaching each other, or leads their packets elsewhere, for longer than a moment. */
  #stops(refused: readonly Refusal[]): Condition[] {
    const { interfacePrefix } = this.#deps.marks
    const node = this.#calculator.node
    if (interfacePrefix === undefined || node === undefined) return []
    const subnets = [node.ipv4, node.ipv6].filter(subnet => subnet !== undefined)
    const here = { interfacePrefix, subnets, uplinks: this.#uplinks() }
    const wanted = this.#calculator.wanted()
    const shadows = shadowConditions(this.#applier.foreignRoutes.shadows(), this.#kernel)
    const stops = [...trafficStops(refused, { ...here, wanted }), ...shadows]
    const { lasting, waitMs } = this.#lasting.take(stops, this.#deps.clock.monotonicMs())
    if (waitMs !== undefined) this.#after('stops', waitMs, () => this.#kick())
    return lasting
  }

  #traffic(): PodTraffic | undefined {
    const { interfacePrefix } = this.#deps.marks
    const node = this.#calculator.node
    if (interfacePrefix === undefined || node === undefined) return undefined
    const { destination, link } = this.#calculator.wanted()
    const tunnels = [...link.values()].filter(({ kind }) => kind !== undefined).map(({ name }) => name)
    const devices = [...uplinksOf(node), ...this.#calculator.otherUplinks, ...tunnels]
    return { interfacePrefix, devices, pools: [...destination.keys()] }
  }

  #finish(generation: number, refused: readonly Refusal[], complete: boolean, mayAnswerPods: boolean): void {
    if (complete) this.#appliedGeneration = generation
    this.#clean = complete && refused.length === 0
    if (this.#clean) {
      this.#retry.reset()
      this.#cancel('retry')
    } else this.#after('retry', this.#retry.next(), () => this.#kick())
    if (this.#applier.waitsForGrace && !this.#timers.has('grace'))
      this.#after('grace', STRAY_GRACE_MS, () => this.#kick())
    const yieldsMs = this.#bandwidth?.waitMs
    if (yieldsMs !== undefined) this.#after('bandwidth', yieldsMs, () => this.#kick())
    const refusals = new EndpointRefusals(this.#calculator, refused)
    if (mayAnswerPods) this.#receipts.answerEndpoints(generation, endpoint => refusals.of(endpoint))
    if (complete) this.#receipts.answer(generation, refused)
    else this.#kick()
  }

  /** Repairs at once, or when its pace allows. */
  #repair(object: string | undefined): void {
    if (object === undefined) return
    this.#changedByOthers.add(object)
    const nowMs = this.#deps.clock.monotonicMs()
    const waitMs = this.#repairs.waitMs(object, nowMs)
    if (waitMs === 0) this.#kick()
    else if (nowMs + waitMs < this.#repairDueMs || !this.#timers.has('repair')) {
      this.#repairDueMs = nowMs + waitMs
      this.#after('repair', waitMs, () => this.#kick())
    }
  }

  #repaired(objects: readonly string[], tookMs: number): void {
    for (const object of this.#repairs.repaired(objects, tookMs, this.#deps.clock.monotonicMs()))
      this.#deps.log.warn({ object }, 'another program keeps undoing this repair; repairing it more slowly')
  }

  #every(name: string, delayMs: number, act: () => void): void {
    this.#after(name, delayMs, () => {
      act()
      this.#kick()
      this.#every(name, delayMs, act)
    })
  }

  #after(name: string, delayMs: number, fire: () => void): void {
    this.#cancel(name)
    if (this.#closed) return
    const cancel = this.#deps.clock.after(delayMs, () => {
      this.#timers.delete(name)
      fire()
    })
    this.#timers.set(name, cancel)
  }

  #cancel(name: string): void {
    this.#timers.get(name)?.()
    this.#timers.delete(name)
  }
}

function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Whether an object says under which other sources a pod may send: what it allowed before may be offloaded. */
function ofSources({ kind, key }: ObjectName): boolean {
  const [, , set = ''] = key.split(' ')
  return kind === 'nftElement' && allowsSource({ set })
}
