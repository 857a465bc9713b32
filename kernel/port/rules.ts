// Rules by which a kernel chooses the routing table of a packet (`ip rule`). Part of the kernel port. Margay writes none.
import type { Family } from '../../lib/ip.ts'

/** Inclusive. */
export type PortRange = { first: number; last: number }

/**
 * One rule. Rules are asked by priority, the smallest first, until one leads to a route. What a rule asks beside these (flow labels, DSCP
 * of its own, tunnels) is not told.
 */
export type RoutingRule = {
  family: Family
  priority: number
  /** `lookup`: in `table`, and go on where that has no route. `goto`: go on with the rule of priority `target`. */
  action: 'lookup' | 'goto' | 'nop' | 'blackhole' | 'unreachable' | 'prohibit'
  table?: number
  target?: number
  /** Packets that do not meet all of the following. */
  inverted?: true
  /** Canonical CIDRs; absent: all. */
  source?: string
  destination?: string
  /** Name of the interface that a packet comes in by; `lo` for what this host sends. */
  inInterface?: string
  /** Name of the interface that a socket of this host is bound to. */
  outInterface?: string
  mark?: { value: number; mask: number }
  tos?: number
  /** Of IP. */
  protocol?: number
  sourcePorts?: PortRange
  destinationPorts?: PortRange
  /** Packets of processes of these users. */
  users?: { first: number; last: number }
  /** The table is that of the VRF of the interface. */
  ofVrf?: true
  /** Routes to prefixes of this length or shorter do not count. */
  suppressedLength?: number
}

export type RulePort = {
  /** Those of both families in their order; none of a family whose kernel has no rules. */
  rules(): Promise<RoutingRule[]>
}
