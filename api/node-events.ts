// The Events that an agent writes about its Node for people who look at it with kubectl: a closed table, so that one node has
// few of them however much happens. More is in the agent's own events (`margayctl events`) and in its conditions.
import type { ConditionType } from './status.ts'

export type NodeEventRow = {
  type: 'Normal' | 'Warning'
  when: string
  /** The promise that is broken. */
  condition?: ConditionType
}

/** By reason. */
export const NODE_EVENTS = {
  PodsNotServed: { type: 'Warning', when: 'a vital condition was not kept for ten seconds: the message names it' },
  PodsServed: { type: 'Normal', when: 'after that, every vital condition is kept again' },
  BGPSessionDown: { type: 'Warning', when: 'a BGP session that was up went down' },
  BGPSessionUp: { type: 'Normal', when: 'a BGP session that went down is up again' },
  ForeignChangeRepaired: {
    type: 'Warning',
    when: 'another program changed or removed what is ours in the kernel, made what would count as ours, or began to drop packets between pods, and it was put right',
  },
  NoAddressLeft: { type: 'Warning', when: 'new pods get no address on this node', condition: 'AddressesLeft' },
  KernelRefuses: { type: 'Warning', when: 'the kernel refuses something that is wanted', condition: 'KernelInSync' },
  PodsNotFiltered: {
    ...{ type: 'Warning', condition: 'PodsFiltered' },
    when: 'packets under foreign addresses are not dropped',
  },
  AddressInConflict: {
    type: 'Warning',
    when: 'two nodes, pods or machines claim one address',
    condition: 'AddressesUnique',
  },
  BlockOfOtherNode: {
    ...{ type: 'Warning', condition: 'BlocksOwned' },
    when: 'a block with pods of this node belongs to another node',
  },
  OtherNetworkFirst: {
    ...{ type: 'Warning', condition: 'NetworkConfigured' },
    when: 'the runtime does not use this network: its configuration is gone, or another one comes before it',
  },
  DefaultRouteLost: { type: 'Warning', when: 'the node lost its default route', condition: 'DefaultRouteKept' },
  PeerOverLimit: {
    ...{ type: 'Warning', condition: 'PrefixLimitsKept' },
    when: 'a peer outside the cluster announced too many prefixes, and its session ended',
  },
  JournalDamaged: {
    ...{ type: 'Warning', condition: 'JournalKept' },
    when: 'the journal was damaged, or is not on its own disk',
  },
  PodsPathLost: {
    ...{ type: 'Warning', condition: 'PathsPass' },
    when: 'packets of pods to or from another node are lost on their way, or come under an address that is not theirs',
  },
  ConditionKept: { type: 'Normal', when: 'a promise of this table that was broken is kept again' },
} as const satisfies Record<string, NodeEventRow>

export type NodeEventReason = keyof typeof NODE_EVENTS
