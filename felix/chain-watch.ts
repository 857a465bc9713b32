// Looks whether chains of other programs drop packets between pods: at the start, after other programs changed nftables (not
// each time: kube-proxy writes many times a second), and with every refresh. Of legacy iptables nobody tells a change, so
// those chains are read every few seconds. Where such a chain drops, two rules of ours let pods pass in it (`foreign-accepts.ts`).
import { isDeepStrictEqual } from 'node:util'
import { broken, type Condition, type ObjectRef } from '../api/status.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Author } from '../kernel/port/kernel.ts'
import type { ForwardChain, NftablesPort, NftChange, NftNews } from '../kernel/port/nftables.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { acceptChanges } from './foreign-accepts.ts'
import { judge, type PodTraffic } from './foreign-chains.ts'
import { isOwnTable } from './marks.ts'
import { ToldConditions } from './told-conditions.ts'

export type ChainWatchDeps = {
  kernel: Pick<NftablesPort, 'forwardChains' | 'legacyForwardChains' | 'changeNftables'>
  clock: Clock
  /** What the names of our own tables are, or begin with before a hyphen. */
  ownTable: string | undefined
  /** Undefined while it is not known. */
  traffic: () => PodTraffic | undefined
  onConditions: (changes: ReadonlyMap<string, Condition | undefined>) => void
  /** Rules of ours came into the chain of another program, which was last changed by somebody (`by`, where the kernel told). */
  onLetPass: (chain: ForwardChain['chain'], by: Author | undefined) => void
}

type Source = 'forwardChains' | 'legacyForwardChains'

/** From a change to the next look: changes come in bursts. */
const SOON_MS = 500
/** Between two looks. */
const PAUSE_MS = 5000

export class ChainWatch {
  readonly #deps: ChainWatchDeps
  readonly #told = new ToldConditions()
  #lookedMs = Number.NEGATIVE_INFINITY
  /** Whose transaction was the last about a chain since the last look; of a table under its name, where all of it came anew. */
  readonly #authors = new Map<string, Author>()
  /** As they were at the last look. */
  #legacy: readonly ForwardChain[] = []
  /** As they were when the kernel last told them. */
  readonly #read: Record<Source, readonly ForwardChain[]> = { forwardChains: [], legacyForwardChains: [] }
  #cancel: Cancel | undefined
  #looking = false
  #closed = false

  constructor(deps: ChainWatchDeps) {
    this.#deps = deps
  }

  /** Something changed that a look may answer otherwise. */
  changed(): void {
    if (this.#cancel !== undefined || this.#closed) return
    const { clock } = this.#deps
    const waitMs = Math.max(SOON_MS, this.#lookedMs + PAUSE_MS - clock.monotonicMs())
    this.#cancel = clock.after(waitMs, () => void this.#look())
  }

  /** Takes in a transaction of anybody, or that some were missed (undefined). */
  observe(news: NftNews | undefined): void {
    if (news === undefined) this.#authors.clear()
    for (const { family, name, parts } of news?.tables ?? [])
      for (const key of parts === undefined
        ? [`${family} ${name}`]
        : parts.chains.map(chain => `${family} ${name} ${chain}`))
        if (news?.by === undefined) this.#authors.delete(key)
        else if (!this.#isOwn(name)) this.#authors.set(key, news.by)
    if (news?.tables.some(({ name }) => !this.#isOwn(name)) ?? true) this.changed()
  }

  /** To be called every few seconds. */
  async pollLegacy(): Promise<void> {
    const found = await this.#chains('legacyForwardChains')
    if (!isDeepStrictEqual(found, this.#legacy)) this.changed()
  }

  close(): void {
    this.#closed = true
    this.#cancel?.()
  }

  async #look(): Promise<void> {
    this.#cancel = undefined
    const { clock, traffic, onConditions } = this.#deps
    this.#lookedMs = clock.monotonicMs()
    const between = traffic()
    if (between === undefined) return
    if (this.#looking) {
      this.changed()
      return
    }
    this.#looking = true
    try {
      this.#legacy = await this.#chains('legacyForwardChains')
      const authors = new Map(this.#authors)
      this.#authors.clear()
      const read = await this.#foreignChains()
      const { isChanged, refused } = await this.#letPass(read, between, authors)
      const chains = isChanged ? await this.#foreignChains() : read
      if (this.#closed) return
      const found = [...this.#legacy, ...chains].flatMap(each =>
        chainCondition(each, between, refused.get(nameOf(each))),
      )
      const changes = this.#told.take(found)
      if (changes.size > 0) onConditions(changes)
    } finally {
      this.#looking = false
    }
  }

  /** Puts in and takes out what lets pods pass. Returns why that was refused, by chain: its table may have one owner (firewalld). */
  async #letPass(
    chains: readonly ForwardChain[],
    between: PodTraffic,
    authors: ReadonlyMap<string, Author>,
  ): Promise<{ isChanged: boolean; refused: Map<string, KernelError> }> {
    const refused = new Map<string, KernelError>()
    let isChanged = false
    for (const found of chains) {
      const changes = acceptChanges(found, between)
      if (changes.length === 0 || this.#closed) continue
      const error = await this.#change(changes)
      if (error === undefined) {
        isChanged = true
        const { family, table } = found.chain
        if (changes.some(({ verb }) => verb !== 'delete'))
          this.#deps.onLetPass(found.chain, authors.get(nameOf(found)) ?? authors.get(`${family} ${table}`))
      } else refused.set(nameOf(found), error)
    }
    return { isChanged, refused }
  }

  async #change(changes: readonly NftChange[]): Promise<KernelError | undefined> {
    try {
      return (await this.#deps.kernel.changeNftables(changes))[0]?.error
    } catch (error) {
      if (error instanceof KernelError) return error
      throw error
    }
  }

  async #foreignChains(): Promise<ForwardChain[]> {
    return (await this.#chains('forwardChains')).filter(({ chain }) => !this.#isOwn(chain.table))
  }

  #isOwn(table: string): boolean {
    return isOwnTable({ nftTable: this.#deps.ownTable }, table)
  }

  /** What the kernel refuses to tell is as it was: without nftables, or legacy tables, nobody has chains there. */
  async #chains(source: Source): Promise<readonly ForwardChain[]> {
    try {
      this.#read[source] = await this.#deps.kernel[source]()
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
    }
    return this.#read[source]
  }
}

/** Nothing where packets between pods pass, as far as is known. */
function chainCondition(found: ForwardChain, traffic: PodTraffic, refused: KernelError | undefined): Condition[] {
  const verdict = judge(found, traffic)
  if (verdict === 'passes') return []
  const { family, table, name, base } = found.chain
  const command = family === 'ip6' ? 'ip6tables-legacy' : 'iptables-legacy'
  const object: ObjectRef =
    found.legacy === true
      ? { kind: 'IptablesChain', name: `${command} ${table} ${name}` }
      : { kind: 'NftChain', name: nameOf(found) }
  const drops = base?.policy === 'drop' ? 'has the policy drop' : 'ends with a rule that drops or rejects'
  const how = refused === undefined ? drops : `${drops}, and takes no rule of ours (${refused.message})`
  const pods = `${traffic.interfacePrefix}*`
  const insert = `${command} -t ${table} -I ${name}`
  const legacyRemedy = `let packets of pods pass in it: ${insert} -i ${traffic.interfacePrefix}+ -j ACCEPT; ${insert} -o ${traffic.interfacePrefix}+ -j ACCEPT`
  const nftRemedy =
    `let packets of pods pass in it: nft insert rule ${object.name} iifname "${pods}" accept; ` +
    `nft insert rule ${object.name} oifname "${pods}" accept (with iptables: -I ${name} -i ${traffic.interfacePrefix}+ -j ACCEPT, and -o)`
  const remedy = found.legacy === true ? legacyRemedy : nftRemedy
  if (verdict === 'drops') {
    const message = `chain ${object.name} of another program ${how}, and no rule of it lets packets between pods pass`
    return [broken('PodTrafficPasses', { object, reason: 'ForeignChainDrops', message, remedy })]
  }
  const message = `chain ${object.name} of another program ${how}; whether one of its rules lets packets between pods pass cannot be told`
  return [broken('ForeignChainsPass', { object, reason: 'ForeignChainMayDrop', message, remedy })]
}

function nameOf({ chain: { family, table, name } }: ForwardChain): string {
  return `${family} ${table} ${name}`
}
