// The part of the kernel's state that gives packets out of the pools another source address: one table for each family, and
// the addresses of nodes in them. Nothing is wanted before all pools are known: with some of them the tables that an
// earlier run left would be replaced by ones that masquerade less, or more.
import { isDeepStrictEqual } from 'node:util'
import { nftElementKey, nftTableKey } from '../../kernel/reconcile/objects.ts'
import { contains, familyOf } from '../../lib/ip.ts'
import type { Desired } from '../desired.ts'
import type { NatSettings, Pool } from '../input.ts'
import { poolEncapsulation } from './encapsulation.ts'
import { DEFAULT_NAT, masqueradeNode, masqueradeProgram, NAT_FAMILIES } from './masquerade.ts'
import type { TunnelsNeeded } from './mtu.ts'
import type { NodeAddresses } from './node-addresses.ts'
import type { Output } from './output.ts'
import { devicesWithAddress } from './tunnels.ts'

type Nodes = Pick<NodeAddresses, 'has' | 'all'>
type Outputs = { readonly [K in 'nftTable' | 'nftElement']: Output<Desired[K]> }
/** `tunnels`: those that this node has or may get. */
type Here = { nat: NatSettings | undefined; tunnels: TunnelsNeeded }

export class MasqueradeGroup {
  readonly #table: string | undefined
  readonly #outputs: Outputs
  readonly #pools = new Map<string, Pool>()
  readonly #nodes: Nodes
  readonly #changed = new Set<string>()
  #here: Here | undefined
  #poolsChanged = false
  #leavesPodAddressToNodes = false
  /** The families whose table has the addresses of nodes. */
  #withNodes: readonly string[] = []

  /** Without `table`, the name of the tables, nothing is wanted. */
  constructor(table: string | undefined, nodes: Nodes, outputs: Outputs) {
    this.#table = table
    this.#nodes = nodes
    this.#outputs = outputs
  }

  /**
   * Whether packets of pods come to nodes under the address of their pod although the way back leads through a tunnel. No,
   * before all pools are known.
   */
  get leavesPodAddressToNodes(): boolean {
    return this.#leavesPodAddressToNodes
  }

  /** Whether packets of a pod leave under another address than its own, as the tables say; undefined before all pools are known. */
  masquerades(source: string, destination: string): boolean | undefined {
    if (this.#here === undefined) return undefined
    if (this.#poolOf(source)?.natOutgoing !== true || this.#poolOf(destination) !== undefined) return false
    return (this.#here.nat ?? DEFAULT_NAT).keepAddressTo === 'pools' || !this.#nodes.has(destination)
  }

  /** The pool of pods that an address belongs to, as in `poolRanges`. */
  #poolOf(address: string): Pool | undefined {
    const length = ({ cidr }: Pool) => Number(cidr.split('/')[1])
    const [innermost] = [...this.#pools.values()]
      .filter(({ cidr }) => familyOf(cidr) === familyOf(address) && contains(cidr, address))
      .sort((a, b) => length(b) - length(a))
    return innermost?.forServicesOnly === true ? undefined : innermost
  }

  /** Takes in a pool, or that it is gone. */
  updatePool(name: string, pool: Pool | undefined): void {
    if (pool === undefined) this.#pools.delete(name)
    else this.#pools.set(name, pool)
    this.#poolsChanged = true
  }

  /** Some node has an address from now on, or none has it any more. */
  addressChanged(address: string): void {
    this.#changed.add(address)
  }

  /** Works out what follows, once all pools are known. The same again costs nothing. */
  update(here: Here): void {
    if (this.#table === undefined) return
    if (this.#poolsChanged || !isDeepStrictEqual(here, this.#here)) this.#wantTables(this.#table, here)
    for (const address of this.#changed) this.#wantNode(this.#table, address)
    this.#changed.clear()
  }

  #wantTables(name: string, here: Here): void {
    this.#here = here
    this.#poolsChanged = false
    const nat = here.nat ?? DEFAULT_NAT
    const withNodes: string[] = []
    // of two with one CIDR the first by name counts
    const pools = [...this.#pools].sort(([a], [b]) => (a < b ? 1 : -1)).map(([, pool]) => pool)
    for (const family of NAT_FAMILIES) {
      const input = { pools, nat, tunnels: devicesWithAddress(here.tunnels, family) }
      const program = masqueradeProgram(name, family, input)
      this.#outputs.nftTable.want(nftTableKey(program.table), program)
      if (program.absent !== true && nat.keepAddressTo === 'pools and nodes') withNodes.push(program.table.family)
    }
    this.#leavesPodAddressToNodes = pools.some(
      pool => poolEncapsulation(pool) !== 'none' && (pool.natOutgoing !== true || nat.keepAddressTo !== 'pools'),
    )
    if (isDeepStrictEqual(withNodes, this.#withNodes)) return
    this.#withNodes = withNodes
    for (const address of this.#nodes.all()) this.#changed.add(address)
  }

  #wantNode(table: string, address: string): void {
    const element = masqueradeNode(table, address)
    const isThere = this.#nodes.has(address) && this.#withNodes.includes(element.family)
    this.#outputs.nftElement.want(nftElementKey(element), isThere ? element : undefined)
  }
}
