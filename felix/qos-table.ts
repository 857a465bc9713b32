// What pods ask of their own packets, in the kernel: a table of its own, so that nothing in it can keep a policy from being
// there. Memory only until a pass of felix calls `put` and then `remove`, as with policies.
import { broken, type Condition } from '../api/status.ts'
import type { NftablesPort, NftNews } from '../kernel/port/nftables.ts'
import type { NftDifference } from '../kernel/reconcile/nft-differences.ts'
import { NftParts } from '../kernel/reconcile/nft-parts.ts'
import { nftTableKey } from '../kernel/reconcile/objects.ts'
import type { Outcome, Refusal } from '../kernel/reconcile/outcome.ts'
import { parsePrefix } from '../lib/prefix-index.ts'
import { CidrUnion } from './policy/cidr-union.ts'
import type { LocalEndpoint } from './policy/model.ts'
import { type QosParts, qosParts } from './policy/qos.ts'

/** Most pods of one chain that a condition names. */
const SHOWN = 5

export class QosTable {
  readonly #of: { family: 'inet'; table: string }
  readonly #key: string
  readonly #parts: NftParts
  readonly #pods = new Map<string, LocalEndpoint>()
  readonly #cidrs = new Set<string>()
  readonly #pools = new CidrUnion(() => {})
  #wanted: QosParts = { sets: new Map(), chains: new Map(), elements: new Map(), pods: new Map() }
  #changed = false

  constructor(kernel: NftablesPort, table: string) {
    this.#of = { family: 'inet', table }
    this.#key = nftTableKey({ family: 'inet', name: table })
    this.#parts = new NftParts(kernel, { kind: 'table', family: 'inet', name: table })
  }

  /** An endpoint of this node, under its key in the cluster. */
  setLocal(key: string, local: LocalEndpoint | undefined): void {
    if (local?.qos === undefined) this.#changed = this.#pods.delete(key) || this.#changed
    else {
      this.#pods.set(key, local)
      this.#changed = true
    }
  }

  /** The CIDR of a pool that came or went: packets to it keep their DSCP. */
  setPool(cidr: string, is: 'in' | 'out'): void {
    const prefix = parsePrefix(cidr)!
    if (this.#cidrs.has(cidr) === (is === 'in')) return
    if (is === 'in') this.#pools.add(prefix)
    else this.#pools.remove(prefix)
    if (is === 'in') this.#cidrs.add(cidr)
    else this.#cidrs.delete(cidr)
    this.#changed = true
  }

  /** The key of the table, and why this kernel cannot have it; undefined where it can, or need not. */
  get lacking(): readonly [key: string, why: string] | undefined {
    const why = this.#pods.size === 0 ? undefined : this.#parts.lacking
    return why === undefined ? undefined : [this.#key, why]
  }

  /** The kernel may have changed unseen: the next pass looks again, as `NftParts.invalidate`. */
  invalidate(): void {
    this.#parts.invalidate()
  }

  /** As `NftParts.observe`. */
  observe(news: NftNews | undefined): boolean {
    return this.#parts.observe(news)
  }

  /** Writes what pods ask for, as `NftParts.put`. */
  put(): Promise<Outcome> {
    if (this.#changed) this.#want()
    this.#changed = false
    return this.#parts.put()
  }

  /** Removes what no pod asks for any more. */
  remove(): Promise<Outcome> {
    return this.#parts.remove(() => true)
  }

  /**
   * What of the limits of a pod's interface is not in the kernel now as the last pass wrote it. What that was refused is told by
   * a condition alone: the pod runs without it. Reads and changes nothing. Rejects with `KernelError`.
   */
  async differences(interfaceName: string): Promise<NftDifference[]> {
    const maps = [...this.#wanted.elements].filter(([, elements]) => elements.has(interfaceName)).map(([name]) => name)
    if (maps.length === 0 || !maps.every(map => this.#parts.holds(map, interfaceName))) return []
    return this.#parts.differences(interfaceName, 'all')
  }

  /** One condition for each chain that the kernel refused; its pods run without it. */
  conditions(refused: readonly Refusal[]): Condition[] {
    return refused.flatMap(({ kind, key, message }) => {
      const pods = kind === 'nftChain' ? this.#wanted.pods.get(key.slice(this.#key.length + 1)) : undefined
      if (pods === undefined || !key.startsWith(`${this.#key} `)) return []
      return broken('QosApplied', {
        object: { kind: 'NftChain', name: key },
        reason: 'Refused',
        message: `${pods.slice(0, SHOWN).join(', ')}${pods.length > SHOWN ? ', …' : ''} without what its annotations ask: ${message}`,
        remedy:
          'load the modules nft_limit, nft_connlimit and nft_reject_inet, or take the annotations qos.projectcalico.org/… away',
      })
    })
  }

  #want(): void {
    const before = this.#wanted
    const [ipv4, ipv6] = [[...this.#pools.of('ipv4')], [...this.#pools.of('ipv6')]]
    const now = qosParts(this.#of, this.#pods, { ipv4, ipv6 })
    this.#wanted = now
    for (const [name, elements] of before.elements)
      for (const key of elements.keys())
        if (now.elements.get(name)?.has(key) !== true) this.#parts.wantElement(name, key, undefined)
    for (const name of before.sets.keys()) if (!now.sets.has(name)) this.#parts.wantSet(name, undefined)
    for (const name of before.chains.keys()) if (!now.chains.has(name)) this.#parts.wantChain(name, undefined)
    for (const [name, set] of now.sets) this.#parts.wantSet(name, set)
    for (const [name, program] of now.chains) this.#parts.wantChain(name, program)
    for (const [name, elements] of now.elements)
      for (const [key, datum] of elements) this.#parts.wantElement(name, key, datum)
  }
}
