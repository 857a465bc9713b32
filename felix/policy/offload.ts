// Which connections the kernel may carry past the hooks (a flowtable), as a table of its own. Pure.
// Hazards: what is carried so is seen by no policy, limit, counter or log until its entry ends, so only connections come in that
// policies let through and that have lasted, and none of an interface that asks for limits or a DSCP. `flow add` is taken in
// chains that packets reach which are forwarded, and both interfaces of a connection must be devices of the flowtable.
import type { NftChain, NftExpression, NftFlowtable, NftRule, NftSet } from '../../kernel/port/nftables.ts'
import { byInterfaceIn, inState, RETURN, type Steps } from '../calc/nft-expressions.ts'
import type { TableName } from './sources.ts'

const FLOWTABLE = 'pods'
/** Interfaces whose packets meet all hooks. */
export const NOT_OFFLOADED = 'not_offloaded'
/** Short connections end before that is worth while; replies count too. */
const PACKETS_BEFORE = 20
/** Before limits (-10) and policies: what they would say of it they said of its first packet. */
const PRIORITY = -15
/** `established`, as the kernel keeps it in a register. */
const ESTABLISHED = '02000000'

export type OffloadProgram = { flowtable: NftFlowtable; set: NftSet; chain: NftChain; rules: readonly NftRule[] }

/** The table without its devices and the elements of its set. */
export function offloadProgram(table: TableName): OffloadProgram {
  const chain: NftChain = {
    ...{ kind: 'chain', ...table, name: 'forward' },
    base: { type: 'filter', hook: 'forward', priority: PRIORITY, policy: 'accept' },
  }
  const rule = (expressions: Steps): NftRule => ({ kind: 'rule', ...table, chain: chain.name, expressions })
  return {
    flowtable: { kind: 'flowtable', ...table, name: FLOWTABLE, priority: 0, devices: [] },
    set: { kind: 'set', ...table, name: NOT_OFFLOADED, type: 'ifname' },
    chain,
    rules: [
      ...(['iifname', 'oifname'] as const).map(key => rule([...byInterfaceIn(key, NOT_OFFLOADED), ...RETURN])),
      rule([...inState(ESTABLISHED), ...lasted(PACKETS_BEFORE), { type: 'flow_offload', flowtable: FLOWTABLE }]),
    ],
  }
}

/**
 * `ct packets > COUNT`, of both directions: 0 where the kernel does not count (nf_conntrack_acct). It begins to when such a rule is
 * loaded, and somebody may end it.
 */
function lasted(count: number): NftExpression[] {
  return [
    { type: 'ct', key: 'packets', load: 1 },
    { type: 'byteorder', op: 'hton', from: 1, load: 1, length: 8, size: 8 },
    { type: 'cmp', op: 'gt', from: 1, value: count.toString(16).padStart(16, '0') },
  ]
}
