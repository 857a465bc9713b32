// Brings the flowtable into the kernel where FelixConfiguration wants it, and out where it does not. Its devices follow the links
// that are there: those of pods, the tunnels, and what the pattern names.
// Hazards: one device that is not there makes the kernel refuse all of a transaction, and a link may go at any moment, so what is
// refused is tried again device by device. Connections of an interface that begins to ask for limits may be carried past them
// already, and those of a source that a pod may not have any more past the pod filter: then the table is made anew, which ends that.
import { isDeepStrictEqual } from 'node:util'
import { broken, type Condition } from '../api/status.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent } from '../kernel/port/kernel.ts'
import type { NftablesPort, NftChange, NftNews, NftRefusal, NftRuleset, NftTable } from '../kernel/port/nftables.ts'
import { chainEssence, ruleEssence, setEssence } from '../kernel/reconcile/nft-match.ts'
import { noOutcome, type Outcome } from '../kernel/reconcile/outcome.ts'
import { userPattern } from '../lib/user-pattern.ts'
import type { LocalEndpoint } from './policy/model.ts'
import { NOT_OFFLOADED, offloadProgram } from './policy/offload.ts'

/** `devicePattern`: a regular expression for interfaces beside those of pods and the tunnels; '' for none. */
export type OffloadSettings = { devicePattern: string }

export type OffloadMarks = { table: string; podPrefix: string; tunnels: readonly string[] }

type OffloadKernel = Pick<Kernel, 'links' | 'readSysctl'> & Pick<NftablesPort, 'nftables' | 'changeNftables'>

const NOTHING = noOutcome()
/** The kernel takes 256 in one message (NFT_NETDEVICE_MAX). */
const DEVICES_AT_ONCE = 200
/** Most devices that a condition names. */
const SHOWN = 3

export class FlowOffload {
  readonly #kernel: OffloadKernel
  readonly #marks: OffloadMarks
  readonly #program
  readonly #table: NftTable
  readonly #askedBy = new Map<string, string>()
  #settings: OffloadSettings | undefined
  #pattern: RegExp | undefined
  #devices: ReadonlySet<string> = new Set()
  #excluded: ReadonlySet<string> = new Set()
  #stale = true
  /** The table is made anew, and has not been yet. */
  #ends = false
  #told: readonly Condition[] = []

  constructor(kernel: OffloadKernel, marks: OffloadMarks) {
    this.#kernel = kernel
    this.#marks = marks
    this.#table = { kind: 'table', family: 'inet', name: marks.table }
    this.#program = offloadProgram({ family: 'inet', table: marks.table })
  }

  /** Undefined: no connection is offloaded. Returns whether that is news. */
  configure(settings: OffloadSettings | undefined): boolean {
    if (isDeepStrictEqual(settings, this.#settings)) return false
    this.#settings = settings
    this.#pattern = patternOf(settings)
    this.#stale = true
    return true
  }

  /** What is offloaded meets all hooks again, after the next pass. Returns whether one is needed. */
  end(): boolean {
    if (this.#settings === undefined) return false
    this.#ends = true
    this.#stale = true
    return true
  }

  /** An endpoint of this node, under its key in the cluster. */
  setLocal(key: string, local: LocalEndpoint | undefined): void {
    const before = this.#askedBy.get(key)
    const now = local?.qos === undefined ? undefined : local.interfaceName
    if (before === now) return
    if (now === undefined) this.#askedBy.delete(key)
    else this.#askedBy.set(key, now)
    this.#stale = true
  }

  /** Takes in an event of the kernel; returns whether a pass is needed. */
  observeLink(event: KernelEvent): boolean {
    if (this.#settings === undefined || (event.type !== 'link' && event.type !== 'link-gone')) return false
    const { name } = event.link
    if (!this.#isDevice(name) || this.#devices.has(name) === (event.type === 'link')) return false
    this.#stale = true
    return true
  }

  get lacking(): undefined {
    return undefined
  }

  /** What keeps connections from being offloaded, as of the last pass. */
  get conditions(): readonly Condition[] {
    return this.#told
  }

  /** The kernel may have changed unseen: the next pass looks again. */
  invalidate(): void {
    if (this.#settings !== undefined) this.#stale = true
  }

  /** Takes in a transaction of anybody, or that some were missed (undefined). Returns whether a pass is needed. */
  observe(news: NftNews | undefined): boolean {
    const isOurs = news?.tables.some(({ family, name }) => family === 'inet' && name === this.#table.name) ?? true
    if (!isOurs || this.#settings === undefined) return false
    this.#stale = true
    return true
  }

  /** Never rejects with `KernelError`: what cannot be had is told by `conditions`, since packets pass without it. */
  async put(): Promise<Outcome> {
    if (!this.#stale) return NOTHING
    this.#stale = false
    try {
      const held = await this.#kernel.nftables({ family: 'inet', name: this.#table.name })
      if (this.#settings !== undefined) this.#told = await this.#bring(held)
      else {
        this.#told = []
        this.#ends = false
        // one that stays is tried again with the next pass
        if (held !== undefined && (await this.#change([this.#deletion()])) !== undefined) this.#stale = true
      }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      this.#told = this.#settings === undefined ? [] : [cannot('NoFlowtables', error.message)]
    }
    if (this.#ends) this.#stale = true
    return NOTHING
  }

  /** Nothing is left to remove behind `put`. */
  async remove(): Promise<Outcome> {
    return NOTHING
  }

  /** What keeps most from being offloaded, if anything does. */
  async #bring(held: NftRuleset | undefined): Promise<Condition[]> {
    const links = await this.#kernel.links()
    const devices = links.map(({ name }) => name).filter(name => this.#isDevice(name))
    const excluded = new Set(this.#askedBy.values())
    if (excluded.difference(this.#excluded).size > 0) this.#ends = true
    this.#devices = new Set(devices)
    this.#excluded = excluded
    const isWhole = held !== undefined && this.#isWhole(held)
    const isKept = isWhole && !this.#ends
    const there = new Set(isKept ? held.flowtables[0]!.devices : [])
    const frame = isKept ? [...this.#exclude(held, excluded)] : this.#frame(held, excluded)
    const missing = devices.filter(name => !there.has(name))
    const extra = [...there].filter(name => !this.#devices.has(name))
    if (extra.length > 0) frame.push({ verb: 'delete', object: this.#some('devices', extra) })
    const refused = await this.#write(frame, missing)
    return [...refused, ...this.#faults()].slice(0, 1)
  }

  async #write(frame: readonly NftChange[], missing: readonly string[]): Promise<Condition[]> {
    const adding = Array.from({ length: Math.ceil(missing.length / DEVICES_AT_ONCE) }, (_, i): NftChange => {
      const some = missing.slice(i * DEVICES_AT_ONCE, (i + 1) * DEVICES_AT_ONCE)
      return { verb: 'add', object: { ...this.#program.flowtable, devices: some } }
    })
    if ((await this.#change([...frame, ...adding])) === undefined) {
      this.#ends = false
      return []
    }
    const without = await this.#change(frame)
    if (without !== undefined) return [cannot('NoFlowtables', without.error.message)]
    this.#ends = false
    const refused: string[] = []
    for (const name of missing) {
      const refusal = await this.#change([{ verb: 'add', object: { ...this.#program.flowtable, devices: [name] } }])
      if (refusal !== undefined) refused.push(`${name}: ${refusal.error.message}`)
    }
    if (refused.length === 0) return []
    // a link that went meanwhile is told by its event
    return [cannot('DeviceRefused', refused.slice(0, SHOWN).join('; '))]
  }

  async #change(changes: readonly NftChange[]): Promise<NftRefusal | undefined> {
    return changes.length === 0 ? undefined : (await this.#kernel.changeNftables(changes))[0]
  }

  #frame(held: NftRuleset | undefined, excluded: ReadonlySet<string>): NftChange[] {
    const { flowtable, set, chain, rules } = this.#program
    const objects = [this.#table, flowtable, set, chain, ...rules]
    return [
      ...(held === undefined ? [] : [this.#deletion()]),
      ...objects.map((object): NftChange => ({ verb: 'add', object })),
      ...this.#elements('add', [...excluded]),
    ]
  }

  /** Of those that went; one that comes makes the table anew. */
  #exclude(held: NftRuleset, excluded: ReadonlySet<string>): NftChange[] {
    const there = held.elements.flatMap(({ elements }) => elements.map(({ key }) => key[0]!))
    return [
      ...this.#elements(
        'delete',
        there.filter(name => !excluded.has(name)),
      ),
      ...this.#elements(
        'add',
        [...excluded].filter(name => !there.includes(name)),
      ),
    ]
  }

  #elements(verb: 'add' | 'delete', names: readonly string[]): NftChange[] {
    if (names.length === 0) return []
    const { family, table, name: set, type } = this.#program.set
    const elements = names.map(name => ({ key: [name] }))
    return [{ verb, object: { kind: 'elements', family, table, set, type, elements } }]
  }

  #isWhole({ chains, rules, sets, flowtables }: NftRuleset): boolean {
    const { chain, rules: wanted, set } = this.#program
    return (
      flowtables.length === 1 &&
      isDeepStrictEqual(chains.map(chainEssence), [chainEssence(chain)]) &&
      isDeepStrictEqual(rules.map(ruleEssence), wanted.map(ruleEssence)) &&
      isDeepStrictEqual(sets.map(setEssence), [setEssence(set)]) &&
      sets[0]?.name === NOT_OFFLOADED
    )
  }

  #isDevice(name: string): boolean {
    const { podPrefix, tunnels } = this.#marks
    if (name === 'lo') return false
    return name.startsWith(podPrefix) || tunnels.includes(name) || this.#pattern?.test(name) === true
  }

  #some(kind: 'devices', devices: readonly string[]) {
    const { family, table, name: flowtable, priority } = this.#program.flowtable
    return { kind, family, table, flowtable, priority, devices } as const
  }

  #deletion(): NftChange {
    return { verb: 'delete', object: { kind: 'table', family: 'inet', name: this.#table.name } }
  }

  /** What the configuration and the settings of the kernel lack. */
  #faults(): Condition[] {
    const pattern = this.#settings?.devicePattern ?? ''
    if (pattern !== '' && this.#pattern === undefined) return [cannot('InvalidPattern', JSON.stringify(pattern))]
    return this.#counts() ? [] : [cannot('NotCounted', 'net.netfilter.nf_conntrack_acct is 0')]
  }

  #counts(): boolean {
    try {
      return this.#kernel.readSysctl('netfilter', ['nf_conntrack_acct']).trim() !== '0'
    } catch (error) {
      if (error instanceof KernelError) return false
      throw error
    }
  }
}

function patternOf(settings: OffloadSettings | undefined): RegExp | undefined {
  try {
    return settings === undefined || settings.devicePattern === '' ? undefined : userPattern(settings.devicePattern)
  } catch {
    return undefined
  }
}

const CAUSES = {
  NoFlowtables: {
    means: 'this kernel takes no flowtable, so all packets meet all hooks',
    remedy:
      'load the modules nf_flow_table, nf_flow_table_inet and nft_flow_offload, or set nftablesFlowTableOffload to Disabled',
  },
  DeviceRefused: {
    means: 'connections over these interfaces are not offloaded',
    remedy: 'it is tried again; look at what the kernel says, and at nftablesFlowTableDataIfacePattern',
  },
  InvalidPattern: {
    means: 'nftablesFlowTableDataIfacePattern is no regular expression, so only interfaces of pods and tunnels count',
    remedy: 'correct nftablesFlowTableDataIfacePattern of the FelixConfiguration',
  },
  NotCounted: {
    means: 'the kernel does not count packets of connections, so none lasts long enough to be offloaded',
    remedy: 'sysctl -w net.netfilter.nf_conntrack_acct=1; it counts for connections that begin after it',
  },
} as const

function cannot(reason: keyof typeof CAUSES, said: string): Condition {
  const { means, remedy } = CAUSES[reason]
  return broken('FlowsOffloaded', { reason, message: `${means}: ${said}`, remedy })
}
