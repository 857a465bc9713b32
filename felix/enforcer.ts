// Policy in the kernel: what is told of the cluster goes through the calculation into one table of nftables. Memory only,
// until a pass of felix calls `put` and then `remove`; neither happens before everything is known, since a half would be
// closed where it should be open. What an earlier run left enforces until then.
import type { ReceiptKind } from '../api/policy-receipts.ts'
import { broken, type Condition } from '../api/status.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent } from '../kernel/port/kernel.ts'
import type { NftablesPort, NftNews, NftTable } from '../kernel/port/nftables.ts'
import type { NftDifference } from '../kernel/reconcile/nft-differences.ts'
import type { LedPart } from '../kernel/reconcile/nft-led.ts'
import { NftParts } from '../kernel/reconcile/nft-parts.ts'
import { nftTableKey } from '../kernel/reconcile/objects.ts'
import { mergeOutcomes, type Outcome, type Refusal } from '../kernel/reconcile/outcome.ts'
import { HostInterfaces } from './host-interfaces.ts'
import { type LedInterface, PolicyCalculator, type PolicyDifferences } from './policy/calculator.ts'
import { CUT_SETS, type CutPlace } from './policy/cut-connections.ts'
import { dispatch, POD_MAPS } from './policy/dispatch.ts'
import { PolicyLedger } from './policy/ledger.ts'
import type {
  DomainAnswer,
  HostEndpointHere,
  HostSettings,
  HostTunnels,
  LocalEndpoint,
  LogLimit,
  Policy,
  PolicyInputs,
  Resolvers,
} from './policy/model.ts'
import type { NamePatterns } from './policy/name-patterns.ts'
import { RuleCounts } from './rule-counts.ts'

/** `table`: the name of the table; `interfacePrefix`: what the names of the pods' interfaces begin with. */
export type PolicyMarks = { table: string; interfacePrefix: string }

/** Why a policy is not in the kernel as it says. */
export type PolicyFailure = { reason: string; message: string }

/**
 * `worked`: by kind, the digest of what was told. `pods`: the version of Pods up to which no set has an address more than was told,
 * nor is a connection tracked that such a set had allowed. `asked`: by an endpoint of this node; what has no failure is enforced.
 */
export type EnforcerReceipt = {
  worked: Readonly<Record<string, string>>
  pods: string | undefined
  asked: readonly { policy: string; revision: string; failure: PolicyFailure | undefined }[]
}

/** Of more chains than these the counters of all are read at once. */
const MOST_CHAINS = 64

export class PolicyEnforcer {
  readonly #calculator: PolicyCalculator
  readonly #parts: NftParts
  readonly #kernel: NftablesPort
  readonly #table: Pick<NftTable, 'family' | 'name'>
  readonly #counts = new RuleCounts()
  #counting: Promise<void> | undefined
  /** Chains of which counters were taken in since all are read. */
  #countedMeanwhile = new Set<string>()
  /** Chains that an earlier pass wanted. */
  readonly #written = new Set<string>()
  readonly #key: string
  readonly #interfacePrefix: string
  readonly #hosts: HostInterfaces
  readonly #ledger = new PolicyLedger()
  /** What the last pass was refused; undefined before it has ended, and while another one is under way. */
  #refused: readonly Refusal[] | undefined
  #podsTold: string | undefined
  #podsUnderWay: string | undefined
  #pods: string | undefined
  #wasBad = false
  #isNews = false
  #narrowed = new Set<string>()
  #toldFound = false
  /** Interfaces that are led nowhere while the kernel refuses what their lists need, by map and name. */
  #closed = new Map<string, LedInterface>()

  /** `ownSets`: as that of `Members`. */
  constructor(
    kernel: Pick<Kernel, 'links' | 'addresses' | keyof NftablesPort>,
    { table, interfacePrefix }: PolicyMarks,
    ownSets?: number,
  ) {
    const of = { family: 'inet', table } as const
    this.#key = nftTableKey({ family: of.family, name: table })
    this.#interfacePrefix = interfacePrefix
    this.#hosts = new HostInterfaces(kernel, interfacePrefix)
    this.#kernel = kernel
    this.#table = { family: of.family, name: table }
    this.#calculator = new PolicyCalculator(of, ownSets)
    // where an interface is opened too early a connection that the run before cut would be taken up again, in its middle
    this.#parts = new NftParts(kernel, { kind: 'table', family: 'inet', name: table }, Object.values(CUT_SETS))
    const { sets, chains } = dispatch(of, interfacePrefix)
    for (const set of sets) this.#parts.wantSet(set.name, set)
    for (const program of chains) this.#parts.wantChain(program.chain.name, program)
  }

  /** Takes one item in, or away (undefined). The same again is no news. */
  set<K extends keyof PolicyInputs>(kind: K, key: string, value: PolicyInputs[K] | undefined): void {
    this.#calculator.set(kind, key, value)
  }

  /** What a policy's object says is this revision, or the object is gone; its part of the inputs is told in the same turn. */
  setRevision(kind: ReceiptKind, key: string, revision: string | undefined): void {
    this.#ledger.tell(kind, key, revision)
  }

  /** All Pods were told as they are in this version; undefined: that is not known. */
  setPodsVersion(version: string | undefined): void {
    this.#podsTold = version
  }

  /** The version of Pods up to which no set has an address more than was told; undefined before there was one. */
  get pods(): string | undefined {
    return this.#pods
  }

  /** What of all that was told stands in the kernel, as of the last pass; undefined before the first, and while one is under way. */
  receipt(): Omit<EnforcerReceipt, 'pods'> | undefined {
    if (this.#refused === undefined) {
      this.#isNews = true // whoever asked is told when it can be said
      return undefined
    }
    const failing = this.failing!
    const asked = [...this.#calculator.asked].flatMap(policy => {
      const revision = this.#ledger.revisionOf(policy)
      return revision === undefined ? [] : [{ policy, revision, failure: failing.get(policy) }]
    })
    return { worked: this.#ledger.worked, asked }
  }

  /** Why policies are not in the kernel as they say, by their keys; undefined before the first pass, and while one is under way. */
  get failing(): ReadonlyMap<string, PolicyFailure> | undefined {
    return this.#refused && this.#failing(this.#refused)
  }

  /** Whether the receipt may be another one than at the last call. */
  takeNews(): boolean {
    const isNews = this.#isNews
    this.#isNews = false
    return isNews
  }

  /** An endpoint of this node, under its key in the cluster. Until the cluster tells its labels it is closed. */
  setLocal(key: string, local: LocalEndpoint | undefined): void {
    this.#calculator.setLocal(key, local)
  }

  /** As `PolicyCalculator.setLogLimit`. */
  setLogLimit(limit: LogLimit | undefined): boolean {
    return this.#calculator.setLogLimit(limit)
  }

  /** What a pod of this node was told of a name; `key` is whatever tells it from other answers. */
  setAnswer(key: string, answer: DomainAnswer | undefined): void {
    this.#calculator.setAnswer(key, answer)
  }

  /** Whose answers are copied for the reader of answers, once some pod here is asked for names. */
  setResolvers(resolvers: Resolvers): void {
    this.#calculator.setResolvers(resolvers)
  }

  /** The names that policies ask for of the pod of an interface, as of the last pass; undefined of none. */
  namesAsked(interfaceName: string): NamePatterns | undefined {
    return this.#calculator.namesAsked(interfaceName)
  }

  /** As `PolicyCalculator.policyNamed`. */
  policyNamed(name: string): Policy | undefined {
    return this.#calculator.policyNamed(name)
  }

  /** A host endpoint of this node, by its name. Its labels are those of the endpoint under this key. */
  setHost(name: string, host: HostEndpointHere | undefined): void {
    this.#hosts.set(name, host)
  }

  /** What holds on all host endpoints. Without it none is enforced. */
  setHostRules(settings: HostSettings, tunnels: HostTunnels): void {
    this.#calculator.setHostRules({ ...settings, tunnels, interfacePrefix: this.#interfacePrefix })
  }

  /** The host endpoint of an interface of this host, by the kernel's index, as of the last pass. */
  hostEndpointAt(interfaceIndex: number): string | undefined {
    return this.#hosts.ownerOf(interfaceIndex)
  }

  /** What host endpoints of this node do not protect, as of the last pass. */
  hostConditions(): Condition[] {
    return [
      ...this.#hosts.conditions(),
      ...this.#calculator.hostsWithoutUntracked.map(name =>
        broken('PoliciesEnforced', {
          reason: 'NotEnforced',
          message: 'policies with doNotTrack select it, and do nothing where a host endpoint is for all interfaces',
          remedy: 'make a HostEndpoint with the name of the interface, or select another',
          object: { kind: 'HostEndpoint', name },
        }),
      ),
    ]
  }

  /** Whether the packets of an interface are judged by policies in the kernel, as of the last pass; else they are dropped. */
  judges(interfaceName: string): boolean {
    return Object.values(POD_MAPS).every(map => this.#parts.holds(map, interfaceName))
  }

  /**
   * What of the policies of a pod's interface is not in the kernel now as the last pass wanted it; one that is led to no policies,
   * whose packets are dropped, lacks an element. Reads and changes nothing. Rejects with `KernelError`.
   */
  async differences(interfaceName: string, part: LedPart): Promise<NftDifference[]> {
    const found = await this.#parts.differences(interfaceName, part)
    if (found.length > 0 || this.#parts.lacking !== undefined || this.judges(interfaceName)) return found
    return [{ object: `element ${this.#key} ${POD_MAPS.egress} { ${interfaceName} }`, is: 'missing' }]
  }

  /** Whether an interface is shut to TCP packets of connections that nobody knows. */
  setCut({ of, interfaceName }: CutPlace, isCut: boolean): void {
    this.#parts.wantElement(CUT_SETS[of], interfaceName, isCut ? 'member' : undefined)
  }

  /** What an earlier run had shut, as the first pass found it; once. It stays so until `setCut` says otherwise. */
  takeFoundCut(): CutPlace[] {
    const { adopted } = this.#parts
    if (adopted === undefined || this.#toldFound) return []
    this.#toldFound = true
    const places = Object.entries(CUT_SETS) as [CutPlace['of'], string][]
    return places.flatMap(([of, set]) => (adopted.get(set) ?? []).map(interfaceName => ({ of, interfaceName })))
  }

  /** Endpoints, by key, of which what was told of until the last `put` may deny what they did; once. */
  takeNarrowed(): ReadonlySet<string> {
    const narrowed = this.#narrowed
    this.#narrowed = new Set()
    return narrowed
  }

  /** All endpoints of this node that have policies, by key. */
  judgedEndpoints(): string[] {
    return this.#calculator.judged()
  }

  judgedEndpoint: PolicyCalculator['judgedEndpoint'] = key => this.#calculator.judgedEndpoint(key)
  judgedInterfaces: PolicyCalculator['judgedInterfaces'] = () => this.#calculator.judgedInterfaces()

  /** What policies say of packets, as told so far. */
  get verdicts(): PolicyCalculator['verdicts'] {
    return this.#calculator.verdicts
  }

  /** The key of the table, and why this kernel cannot have it; undefined where it can. */
  get lacking(): readonly [key: string, why: string] | undefined {
    const why = this.#parts.lacking
    return why === undefined ? undefined : [this.#key, why]
  }

  /** The kernel may have changed unseen: the next pass looks again, as `NftParts.invalidate`. */
  invalidate(): void {
    this.#hosts.invalidate()
    this.#parts.invalidate()
  }

  /** As `NftParts.observe`. */
  observe(news: NftNews | undefined): boolean {
    return this.#parts.observe(news)
  }

  /** Takes in what the kernel told of links and addresses; returns whether a pass is needed. */
  observeLinks(event: KernelEvent): boolean {
    return this.#hosts.observe(event)
  }

  /** Writes what everything told so far leads to, as `NftParts.put`. Rejects with `KernelError` when links cannot be read. */
  async put(): Promise<Outcome> {
    for (const [name, host] of await this.#hosts.look()) this.#calculator.setLocal(name, host)
    this.#refused = undefined
    this.#podsUnderWay = this.#podsTold
    this.#ledger.begin()
    const differences = this.#calculator.step()
    this.#want(differences)
    await this.#keepCounts(differences)
    const first = await this.#parts.put()
    const outcome = this.#close(first.refused)
      ? mergeOutcomes([{ ...first, refused: [] }, await this.#parts.put()])
      : first
    this.#refused = outcome.refused
    const isBad = outcome.refused.length > 0 || this.#parts.lacking !== undefined
    const isOther = this.#ledger.end() || differences.chains.size > 0 || differences.interfaces.size > 0
    this.#isNews ||= isOther || isBad || this.#wasBad
    this.#wasBad = isBad
    return outcome
  }

  /**
   * What each rule has counted, over all that was rewritten by this enforcer; who asks while others wait for it gets what they get.
   * Rejects with `KernelError`.
   */
  async ruleCounts(): Promise<RuleCounts> {
    this.#counting ??= this.#readCounts().finally(() => {
      this.#counting = undefined
    })
    await this.#counting
    return this.#counts
  }

  async #readCounts(): Promise<void> {
    const newer = new Set<string>()
    this.#countedMeanwhile = newer
    const counters = await this.#kernel.ruleCounters(this.#table)
    // what a chain had last before it was rewritten must not be followed by what it had before that
    this.#counts.takeAll(counters, newer)
  }

  /** Reads the counters of chains that are rewritten or go; those of an earlier run are only read when they are asked for. */
  async #keepCounts({ chains }: PolicyDifferences): Promise<void> {
    const rewritten = [...chains.keys()].filter(name => this.#written.has(name))
    for (const [name, program] of chains)
      if (program === undefined) this.#written.delete(name)
      else this.#written.add(name)
    try {
      // one that is under way may have read some of the chains a while ago
      if (rewritten.length > MOST_CHAINS) await this.#counting?.catch(() => undefined)
      if (rewritten.length > MOST_CHAINS) await this.ruleCounts()
      else
        for (const chain of rewritten) {
          this.#counts.take(await this.#kernel.ruleCounters({ ...this.#table, chain }), chain)
          this.#countedMeanwhile.add(chain)
        }
    } catch (error) {
      // whatever is wrong with the table is told by who writes it
      if (!(error instanceof KernelError)) throw error
    }
  }

  /** Removes what nothing leads to any more, after `put`. */
  async remove(): Promise<Outcome> {
    const outcome = await this.#parts.remove(() => true)
    if (this.#parts.isInSync) this.#pods = this.#podsUnderWay
    return outcome
  }

  /**
   * Pods whose rules the kernel refuses are closed, and not left under the rules of before; `remove` does it. Those whose rules it
   * has taken by now are led to them. Returns whether there are some.
   */
  #close(refused: readonly Refusal[]): boolean {
    const closed = new Map<string, LedInterface>()
    for (const { kind, key } of refused) {
      if (kind !== 'nftChain' && kind !== 'nftSet' && kind !== 'nftElement') continue
      // an interface that cannot be led anywhere is closed as it is
      if (kind === 'nftElement' && nameIn(key).includes(' ')) continue
      for (const led of this.#calculator.ledThrough({ kind, name: nameIn(key) }))
        closed.set(`${led.map} ${led.interfaceName}`, led)
    }
    const opened = [...this.#closed].filter(([key]) => !closed.has(key)).map(([, led]) => led)
    this.#closed = closed
    for (const { map, interfaceName } of closed.values()) this.#parts.wantElement(map, interfaceName, undefined)
    for (const { map, interfaceName } of opened)
      this.#parts.wantElement(map, interfaceName, this.#calculator.verdictAt(map, interfaceName))
    return opened.length > 0
  }

  /** Why a policy is not enforced as it says, by its key. */
  #failing(refused: readonly Refusal[]): Map<string, PolicyFailure> {
    const failing = new Map<string, PolicyFailure>()
    const add = (policies: Iterable<string>, failure: PolicyFailure) => {
      for (const policy of policies) if (!failing.has(policy)) failing.set(policy, failure)
    }
    const { asked } = this.#calculator
    const { lacking } = this.#parts
    if (lacking !== undefined)
      add(asked, { reason: 'NoNftables', message: `this kernel cannot have the table: ${lacking}` })
    for (const { kind, key, reason, message } of refused) {
      const name = nameIn(key)
      const isPart = kind === 'nftChain' || kind === 'nftSet' || kind === 'nftElement'
      add(isPart ? this.#calculator.askedThrough({ kind, name }) : asked, { reason, message })
    }
    return failing
  }

  #want({ sets, elements, chains, interfaces, narrowed }: PolicyDifferences): void {
    for (const key of narrowed) this.#narrowed.add(key)
    for (const [name, set] of sets) this.#parts.wantSet(name, set)
    for (const [name, { added, removed }] of elements) {
      for (const key of removed) this.#parts.wantElement(name, key, undefined)
      for (const key of added) this.#parts.wantElement(name, key, 'member')
    }
    for (const [name, program] of chains) this.#parts.wantChain(name, program)
    for (const [map, verdicts] of interfaces)
      for (const [name, verdict] of verdicts) this.#parts.wantElement(map, name, verdict)
  }
}

/** The name of a part, from that of an object: `FAMILY TABLE NAME`. */
function nameIn(key: string): string {
  return key.split(' ').slice(2).join(' ')
}
