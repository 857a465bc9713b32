// What floating addresses need on this node: translation and a route where their pod is here; where it is elsewhere, the route
// to its node counts although the address may lie in a block of this node. No table is wanted before all of them were told:
// the tables that an earlier run left would be replaced by ones with fewer addresses.
import { nftTableKey } from '../../kernel/reconcile/objects.ts'
import { addressBits, type Family, familyOf } from '../../lib/ip.ts'
import type { Desired } from '../desired.ts'
import type { FloatingAddress } from '../input.ts'
import type { EndpointGroup } from './endpoints.ts'
import { FLOATING_FAMILIES, type FloatingTarget, floatingProgram } from './floating.ts'
import type { LearnedGroup } from './learned.ts'
import type { Output } from './output.ts'

export class FloatingGroup {
  readonly #table: string | undefined
  readonly #endpoints: Pick<EndpointGroup, 'updateFloating'>
  readonly #learned: Pick<LearnedGroup, 'floatingChanged'>
  readonly #tables: Output<Desired['nftTable']>
  readonly #here = new Map<string, { endpoint: string; to: string }>()
  readonly #byEndpoint = new Map<string, Set<string>>()
  /** The families whose table is another one. */
  readonly #changed = new Set<Family>(['ipv4', 'ipv6'])

  /** Without `table`, the name of the tables, nothing is translated. */
  constructor(
    table: string | undefined,
    groups: { endpoints: Pick<EndpointGroup, 'updateFloating'>; learned: Pick<LearnedGroup, 'floatingChanged'> },
    tables: Output<Desired['nftTable']>,
  ) {
    this.#table = table
    this.#endpoints = groups.endpoints
    this.#learned = groups.learned
    this.#tables = tables
  }

  /** Takes in who has a floating address; undefined: nobody. */
  update(address: string, floating: FloatingAddress | undefined, routeProtocol: number): void {
    this.#learned.floatingChanged(`${address}/${addressBits(familyOf(address))}`, floating?.at === 'elsewhere')
    const before = this.#here.get(address)
    const now = floating?.at === 'here' ? floating : undefined
    if (before === undefined && now === undefined) return
    this.#changed.add(familyOf(address))
    if (now === undefined) this.#here.delete(address)
    else this.#here.set(address, now)
    const endpoints = new Set([before?.endpoint, now?.endpoint].filter(id => id !== undefined))
    if (before !== undefined) this.#byEndpoint.get(before.endpoint)?.delete(address)
    if (now !== undefined)
      this.#byEndpoint.set(now.endpoint, (this.#byEndpoint.get(now.endpoint) ?? new Set()).add(address))
    for (const id of endpoints) {
      const addresses = this.#byEndpoint.get(id) ?? new Set()
      if (addresses.size === 0) this.#byEndpoint.delete(id)
      this.#endpoints.updateFloating(id, [...addresses].sort(), routeProtocol)
    }
  }

  /** Works out what follows, once all were told. The same again costs nothing. */
  wantTables(): void {
    if (this.#table === undefined) return
    for (const family of this.#changed) {
      const targets = [...this.#here].map(([address, { to }]): FloatingTarget => ({ address, to }))
      const program = floatingProgram(this.#table, family, targets)
      this.#tables.want(nftTableKey({ family: FLOATING_FAMILIES[family], name: this.#table }), program)
    }
    this.#changed.clear()
  }
}
