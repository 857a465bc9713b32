// Packets that leave the pools get an address of the node, where their pool says natOutgoing: one table for each family, with
// the addresses as ranges in sets, so that a packet costs the same for any number of pools. Pure.
// Hazards: ranges of one set must not overlap, and pools may lie in each other; a disabled pool is still a pool. A pod must
// not reach a BGP speaker under the address of its node: a connection from there takes the place of the node's session
// (RFC 4724 §5), so packets to the ports of BGP keep the address of the pod. Packets of the node itself into a tunnel get
// the address of the tunnel: a Service may have chosen another source, whose answers would not come back through it.
import type { NftChain, NftElements, NftExpression, NftFamily, NftRule, NftSet } from '../../kernel/port/nftables.ts'
import type { NamedNftElement, NftProgram } from '../../kernel/reconcile/objects.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import type { NatSettings, Pool } from '../input.ts'
import {
  destinationAddress,
  fromOtherOwnAddress,
  jump,
  masquerade,
  ofProtocol,
  RETURN,
  sourceAddress,
  sourceNat,
  tcpTo,
  toInterface,
} from './nft-expressions.ts'
import { poolRanges } from './pool-ranges.ts'

/** What nothing was said about. */
export const DEFAULT_NAT: NatSettings = { keepAddressTo: 'pools', bgpPorts: [179] }

export const NAT_FAMILIES = ['ipv4', 'ipv6'] as const
const TABLE_FAMILY = { ipv4: 'ip', ipv6: 'ip6' } as const satisfies Record<Family, NftFamily>

/** The addresses of all pools of pods, as ranges. */
const POOLS = 'pools'
/** Those of them that are masqueraded. */
const MASQUERADED = 'masqueraded'
/** The addresses of all nodes; filled only where packets to nodes keep the address of the pod. */
const NODES = 'nodes'
const BGP_PORTS = 'bgp_ports'
const POSTROUTING = 'postrouting'
/** What is done to a packet that is masqueraded. */
const OUTGOING = 'outgoing'
const INTO_TUNNELS = 'into_tunnels'
/** Just before the NAT of other programs: the first one that gives a connection an address wins. */
const BEFORE_SRCNAT = 99
/**
 * What the node itself sends into tunnels is left to kube-proxy first: it takes its mark off what it masquerades. With the mark
 * on it the tunnel's outer packet would be masqueraded too, and its checksum be wrong at the far end.
 */
const AFTER_SRCNAT = 101

export type MasqueradeInput = {
  pools: Iterable<Pool>
  nat: NatSettings
  /** Names of the tunnel devices that this node has or may get, and that have an address of the family. */
  tunnels: readonly string[]
}

/** The table of one family; absent where nothing would be done in it. */
export function masqueradeProgram(name: string, family: Family, { pools, nat, tunnels }: MasqueradeInput): NftProgram {
  const of = { family: TABLE_FAMILY[family], table: name } as const
  const table = { kind: 'table', family: of.family, name } as const
  const ranges = poolRanges(pools, family)
  const masquerades = ranges.masqueraded.length > 0
  if (!masquerades && tunnels.length === 0) return { table, sets: [], chains: [], rules: [], absent: true }

  const set = (setName: string, type: string, flags?: NftSet['flags']): NftSet => {
    return { kind: 'set', ...of, name: setName, type, ...(flags !== undefined && { flags }) }
  }
  const address = family === 'ipv4' ? 'ipv4_addr' : 'ipv6_addr'
  const sets = {
    pools: set(POOLS, address, ['interval']),
    masqueraded: set(MASQUERADED, address, ['interval']),
    nodes: set(NODES, address),
    bgpPorts: set(BGP_PORTS, 'inet_service'),
  }
  const chain = (chainName: string, base?: NftChain['base']): NftChain => {
    return { kind: 'chain', ...of, name: chainName, ...(base !== undefined && { base }) }
  }
  const rule = (in_: string, comment: string, ...steps: readonly (readonly NftExpression[])[]): NftRule => {
    return { kind: 'rule', ...of, chain: in_, expressions: steps.flat(), comment }
  }
  const { ports } = nat
  const given = family === 'ipv4' ? nat.address : undefined
  const translate = (to?: NatSettings['ports']) => (given === undefined ? masquerade(to) : sourceNat(given, to))
  const toNodes = nat.keepAddressTo === 'pools' ? [] : destinationAddress(family, 'not in', NODES)
  return {
    table,
    sets: Object.values(sets),
    contents: [
      filled(sets.pools, ranges.pools),
      filled(sets.masqueraded, ranges.masqueraded),
      filled(sets.bgpPorts, nat.bgpPorts.map(String)),
    ],
    chains: [
      chain(OUTGOING),
      chain(POSTROUTING, { type: 'nat', hook: 'postrouting', priority: BEFORE_SRCNAT, policy: 'accept' }),
      ...(tunnels.length === 0
        ? []
        : [chain(INTO_TUNNELS, { type: 'nat', hook: 'postrouting', priority: AFTER_SRCNAT, policy: 'accept' })]),
    ],
    rules: [
      rule(OUTGOING, 'no pod speaks BGP as its node', tcpTo(BGP_PORTS), RETURN),
      ...(ports === undefined
        ? []
        : (['tcp', 'udp'] as const).map(each => rule(OUTGOING, 'natPortRange', ofProtocol(each), translate(ports)))),
      rule(OUTGOING, 'natOutgoing', translate()),
      ...tunnels.map(device =>
        rule(INTO_TUNNELS, 'address of the tunnel', toInterface(device), fromOtherOwnAddress(), masquerade()),
      ),
      ...(masquerades
        ? [
            rule(
              POSTROUTING,
              'out of the pools',
              sourceAddress(family, 'in', MASQUERADED),
              destinationAddress(family, 'not in', POOLS),
              toNodes,
              jump(OUTGOING),
            ),
          ]
        : []),
    ],
  }
}

/** The element of one node's address in the table of its family. */
export function masqueradeNode(table: string, address: string): NamedNftElement {
  return { family: TABLE_FAMILY[familyOf(address)], table, set: NODES, words: [address] }
}

function filled({ kind: _, name, ...types }: NftSet, keys: readonly string[]): NftElements {
  return { ...types, kind: 'elements', set: name, elements: keys.map(key => ({ key: [key] })) }
}
