// Packets to addresses of Services that nobody has (FelixConfiguration.serviceLoopPrevention): routers send the ranges that nodes
// announce to a node, which would send what no Service took back to its router, until the TTL ends. A table of its own, which is
// there where ranges are announced, with the ranges as a set; kube-proxy has translated before what is of a Service.
// Left out of the ranges are the addresses of pods, of nodes, and of the subnets that this node is in: what nobody has there comes
// to no router. What a node sends itself comes back at the most once. Pure.
import type { NftChain, NftElements, NftFamily, NftRule, NftSet } from '../../kernel/port/nftables.ts'
import { type NftProgram, nftTableKey } from '../../kernel/reconcile/objects.ts'
import { contains, type Family, familyOf, hostPrefix } from '../../lib/ip.ts'
import { type AddressRange, formatRange, rangeOf, subtracted } from '../../lib/ip-range.ts'
import type { Desired } from '../desired.ts'
import type { ConnectedSubnet, Pool, ServiceLoops } from '../input.ts'
import { COUNTED_DROP, COUNTED_REJECT, destination } from './nft-expressions.ts'
import type { NodeAddresses } from './node-addresses.ts'
import type { Output } from './output.ts'

const FAMILIES = ['ipv4', 'ipv6'] as const
const SET = { ipv4: 'unused_ipv4', ipv6: 'unused_ipv6' } as const
const TABLE_FAMILY = 'inet' satisfies NftFamily
/**
 * Behind the translation of destinations and behind the usual filters (0): there kube-proxy by iptables refuses what is for a Service
 * without endpoints, so that its client hears of it at once.
 */
const BEHIND_FILTER = 5

/** The table; absent where nothing is prevented. `held`: CIDRs and addresses that somebody may have all the same. */
function serviceLoopProgram(name: string, loops: ServiceLoops | undefined, held: readonly string[]): NftProgram {
  const of = { family: TABLE_FAMILY, table: name } as const
  const table = { kind: 'table', family: TABLE_FAMILY, name } as const
  const unused = FAMILIES.map(family => ({ family, words: unusedRanges(loops?.ranges ?? [], held, family) }))
  const filled = unused.filter(({ words }) => words.length > 0)
  if (loops === undefined || filled.length === 0) return { table, sets: [], chains: [], rules: [], absent: true }
  const chain: NftChain = {
    ...{ kind: 'chain', ...of, name: 'forward' },
    base: { type: 'filter', hook: 'forward', priority: BEHIND_FILTER, policy: 'accept' },
  }
  const verdict = loops.action === 'drop' ? COUNTED_DROP : COUNTED_REJECT
  return {
    table,
    chains: [chain],
    sets: filled.map(({ family }): NftSet => ({ kind: 'set', ...of, ...typeOf(family) })),
    contents: filled.map(({ family, words }): NftElements => {
      const { name: set, ...types } = typeOf(family)
      return { kind: 'elements', ...of, ...types, set, elements: words.map(key => ({ key: [key] })) }
    }),
    rules: filled.map(
      ({ family }): NftRule => ({
        ...{ kind: 'rule', ...of, chain: chain.name, comment: 'to an address of Services that nobody has' },
        expressions: [...destination(family, 'in', SET[family]), ...verdict],
      }),
    ),
  }
}

function typeOf(family: Family): Pick<NftSet, 'name' | 'type' | 'flags'> {
  return { name: SET[family], type: family === 'ipv4' ? 'ipv4_addr' : 'ipv6_addr', flags: ['interval'] }
}

/** In nft's words, sorted, without overlaps. */
function unusedRanges(ranges: readonly string[], held: readonly string[], family: Family): string[] {
  const of = (cidrs: readonly string[]): AddressRange[] =>
    cidrs.filter(cidr => familyOf(cidr) === family).map(cidr => rangeOf(cidr))
  return subtracted(of(ranges), of(held)).map(range => formatRange(range, family))
}

export class ServiceLoopGroup {
  readonly #table: string | undefined
  readonly #nodes: Pick<NodeAddresses, 'all'>
  readonly #tables: Output<Desired['nftTable']>
  #loops: ServiceLoops | undefined
  #connected: readonly ConnectedSubnet[] = []
  /** Something else is left out of the ranges than was. */
  #changed = true

  /** Without `table`, the name of the table, nothing is wanted. */
  constructor(table: string | undefined, nodes: Pick<NodeAddresses, 'all'>, tables: Output<Desired['nftTable']>) {
    this.#table = table
    this.#nodes = nodes
    this.#tables = tables
  }

  poolsChanged(): void {
    this.#changed = true
  }

  /** Some node has an address from now on, or none has it any more. */
  addressChanged(address: string): void {
    this.#changed ||= this.#loops?.ranges.some(range => contains(range, address)) === true
  }

  /** Works out what follows, once all pools and settings are known. The same again costs nothing. */
  update(loops: ServiceLoops | undefined, connected: readonly ConnectedSubnet[], pools: Iterable<Pool>): void {
    const name = this.#table
    if (name === undefined || (!this.#changed && loops === this.#loops && connected === this.#connected)) return
    this.#changed = false
    this.#loops = loops
    this.#connected = connected
    const held = [
      ...[...pools].flatMap(({ cidr, forServicesOnly }) => (forServicesOnly === true ? [] : [cidr])),
      ...connected.map(({ cidr }) => cidr),
      ...(loops === undefined ? [] : [...this.#nodes.all()].map(hostPrefix)),
    ]
    this.#tables.want(nftTableKey({ family: TABLE_FAMILY, name }), serviceLoopProgram(name, loops, held))
  }
}
