// Which pool a prefix belongs to, and how many pools ask for each tunnel kind. Of two pools with one CIDR the first by
// name counts.
import { type Family, familyOf, formatCidr, parseCidr } from '../../lib/ip.ts'
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { Encapsulation, Pool } from '../input.ts'
import { poolEncapsulation } from './encapsulation.ts'
import type { Output } from './output.ts'

type Claimant = { name: string; pool: Pool }

export class PoolGroup {
  readonly #output: Output<true>
  readonly #pools = new Map<string, Pool>()
  readonly #byCidr = new PrefixIndex<Claimant[]>()
  readonly #asking: Record<Family, Record<Encapsulation, number>> = {
    ipv4: { none: 0, ipip: 0, vxlan: 0 },
    ipv6: { none: 0, ipip: 0, vxlan: 0 },
  }

  /** `output` gets the CIDRs of all pools. */
  constructor(output: Output<true>) {
    this.#output = output
  }

  /** Returns the CIDRs whose pool may be another one now. */
  update(name: string, pool: Pool | undefined): Prefix[] {
    const before = this.#pools.get(name)
    if (pool === undefined) this.#pools.delete(name)
    else this.#pools.set(name, pool)
    if (before !== undefined) this.#asking[familyOf(before.cidr)][poolEncapsulation(before)]--
    if (pool !== undefined) this.#asking[familyOf(pool.cidr)][poolEncapsulation(pool)]++
    const touched: Prefix[] = []
    const cidr = canonical(pool?.cidr)
    for (const each of new Set([canonical(before?.cidr), cidr])) {
      const prefix = each === undefined ? undefined : parsePrefix(each)
      if (each === undefined || prefix === undefined) continue
      const others = (this.#byCidr.get(prefix) ?? []).filter(other => other.name !== name)
      if (pool !== undefined && each === cidr) others.push({ name, pool })
      others.sort((a, b) => (a.name < b.name ? -1 : 1))
      if (others.length === 0) this.#byCidr.delete(prefix)
      else this.#byCidr.set(prefix, others)
      this.#output.want(each, others.length === 0 ? undefined : true)
      touched.push(prefix)
    }
    return touched
  }

  match(prefix: Prefix): Pool | undefined {
    return this.#byCidr.match(prefix)?.[0]?.pool
  }

  /** Whether a pool of a family asks for a tunnel kind. */
  asksFor(kind: 'ipip' | 'vxlan', family: Family): boolean {
    return this.#asking[family][kind] > 0
  }
}

function canonical(text: string | undefined): string | undefined {
  const cidr = text === undefined ? undefined : parseCidr(text)
  return cidr === undefined ? undefined : formatCidr(cidr)
}
