// What pods ask of their own packets, as chains of a table of its own: rates, numbers of connections, DSCP. A pod that asks for
// limits has a chain for each direction, to which its interface leads in a map; one that asks for nothing costs a look-up, and
// nothing at all where no pod asks. Pure.
// Hazards: limits count all that the pod sends and receives through the node, before policies; those of connections count what
// came since their rule was written. What a pod needs to find its gateway is not counted, or it would be cut off.
import type { NftChain, NftRule, NftSet } from '../../kernel/port/nftables.ts'
import type { NftChainProgram, NftDatum } from '../../kernel/reconcile/nft-state.ts'
import {
  byInterface,
  COUNTED_DROP,
  destination,
  inState,
  isIcmp,
  ofProtocol,
  RETURN,
  type Steps,
  setDscp,
} from '../calc/nft-expressions.ts'
import type { Direction } from './active.ts'
import type { LocalEndpoint, PacketLimits } from './model.ts'
import { COMMENT_OCTETS, cut, type TableName } from './sources.ts'

/** Disjoint CIDRs of the pools, whose packets keep their DSCP. */
export type PoolCidrs = { ipv4: readonly string[]; ipv6: readonly string[] }

/** Everything that is in the table, by name. */
export type QosParts = {
  sets: Map<string, NftSet>
  chains: Map<string, NftChainProgram>
  elements: Map<string, Map<string, NftDatum>>
  /** Whose packets a chain is about: the keys of the endpoints. */
  pods: Map<string, string[]>
}

type Rule = { expressions: Steps; comment?: string }

const DIRECTIONS = ['egress', 'ingress'] as const
const FAMILIES = ['ipv4', 'ipv6'] as const
const LIMITS: Readonly<Record<Direction, { map: string; key: 'iifname' | 'oifname'; prefix: string }>> = {
  egress: { map: 'limit_from', key: 'iifname', prefix: 'from-' },
  ingress: { map: 'limit_to', key: 'oifname', prefix: 'to-' },
}
const OVER = 'too_many_connections'
const DSCP_MAP = 'dscp_from'
const POOLS = { ipv4: 'pools4', ipv6: 'pools6' } as const
/** Before policies judge (-5 and before). */
const BEFORE_POLICY = -10
/** NF_IP_PRI_MANGLE. */
const MANGLE = -150
const NEIGHBOUR = { solicitation: 135, advertisement: 136 } as const
/** `new`, as the kernel keeps it in a register. */
const NEW_CONNECTION = '08000000'

/** What `pods` ask, each under its key in the cluster. Of two that claim one interface the first by key has it. */
export function qosParts(table: TableName, pods: ReadonlyMap<string, LocalEndpoint>, pools: PoolCidrs): QosParts {
  const parts: QosParts = { sets: new Map(), chains: new Map(), elements: new Map(), pods: new Map() }
  const chain = (name: string, rules: readonly Rule[], base?: NftChain['base']) =>
    parts.chains.set(name, {
      chain: { kind: 'chain', ...table, name, ...(base !== undefined && { base }) },
      rules: rules.map((rule): NftRule => ({ kind: 'rule', ...table, chain: name, ...rule })),
    })
  const set = (name: string, more: Pick<NftSet, 'type' | 'data' | 'flags'>, elements: Map<string, NftDatum>) => {
    parts.sets.set(name, { kind: 'set', ...table, name, ...more })
    parts.elements.set(name, elements)
  }
  const map = (name: string, leads: ReadonlyMap<string, string>) => {
    const verdicts = [...leads].map(([key, to]) => [key, { verdict: 'jump', chain: to }] as const)
    set(name, { type: 'ifname', data: 'verdict' }, new Map(verdicts))
  }
  const base = (name: string, hook: 'forward' | 'input', priority: number, expressions: Steps) =>
    chain(name, [{ expressions }], { type: 'filter', hook, priority, policy: 'accept' })
  const asking = [...pods].sort(([a], [b]) => (a < b ? -1 : 1))
  const about = (name: string, key: string) => parts.pods.set(name, [...(parts.pods.get(name) ?? []), key])

  for (const direction of DIRECTIONS) {
    const { map: name, key: from, prefix } = LIMITS[direction]
    const leads = new Map<string, string>()
    for (const [pod, { interfaceName, qos }] of asking) {
      const limits = qos?.[direction]
      if (limits === undefined || leads.has(interfaceName)) continue
      const own = `${prefix}${interfaceName}`
      leads.set(interfaceName, own)
      about(own, pod)
      chain(own, limitRules(limits, direction, pod))
    }
    if (leads.size === 0) continue
    map(name, leads)
    base(`${name}_forward`, 'forward', BEFORE_POLICY, byInterface(from, name))
    if (direction === 'egress') base(`${name}_input`, 'input', BEFORE_POLICY, byInterface(from, name))
  }
  if (asking.some(([, { qos }]) => DIRECTIONS.some(direction => qos?.[direction]?.connections !== undefined)))
    chain(OVER, [
      { expressions: [...ofProtocol('tcp'), { type: 'counter' }, { type: 'reject', with: 'tcp reset' }] },
      { expressions: COUNTED_DROP },
    ])

  const marked = new Map<string, string>()
  for (const [pod, { interfaceName, qos }] of asking) {
    if (qos?.dscp === undefined || marked.has(interfaceName)) continue
    const { dscp } = qos
    const name = `dscp-${dscp}`
    marked.set(interfaceName, name)
    about(name, pod)
    const rule = (family: (typeof FAMILIES)[number]): Rule => ({
      expressions: [...destination(family, 'not in', POOLS[family]), ...setDscp(family, dscp)],
    })
    chain(name, FAMILIES.map(rule))
  }
  if (marked.size === 0) return parts
  map(DSCP_MAP, marked)
  for (const family of FAMILIES) {
    const members = pools[family].map((cidr): [string, NftDatum] => [cidr, 'member'])
    set(POOLS[family], { type: family === 'ipv4' ? 'ipv4_addr' : 'ipv6_addr', flags: ['interval'] }, new Map(members))
  }
  base(`${DSCP_MAP}_forward`, 'forward', MANGLE, byInterface('iifname', DSCP_MAP))
  return parts
}

function limitRules({ rate, connections }: PacketLimits, direction: Direction, pod: string): Rule[] {
  const rules: Rule[] = []
  if (direction === 'egress')
    for (const type of Object.values(NEIGHBOUR)) rules.push({ expressions: [...isIcmp('ipv6', type), ...RETURN] })
  const comment = (what: string) => cut(`${direction} ${what} of ${pod}`, COMMENT_OCTETS)
  if (rate !== undefined) {
    const { perSecond, burst } = rate
    const over = { type: 'limit', unit: 'packets', rate: perSecond, per: 'second', burst, over: true } as const
    rules.push({ expressions: [over, ...COUNTED_DROP], comment: comment('packet rate') })
  }
  if (connections !== undefined) {
    const count = { type: 'connlimit', count: connections, over: true } as const
    const goto = { type: 'immediate', load: 0, data: { verdict: 'goto', chain: OVER } } as const
    rules.push({ expressions: [...inState(NEW_CONNECTION), count, goto], comment: comment('connections') })
  }
  return rules
}
