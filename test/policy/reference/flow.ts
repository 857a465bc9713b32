// One new connection (or one packet of a protocol without connections) as policies see it: addresses after the
// translation of Services, and which pods they belong to.
import type { Pod } from './objects.ts'

export type Direction = 'ingress' | 'egress'

export type End = {
  address: string
  /** The pod that has the address, unless it is in the network of its host. */
  pod?: Pod
  /** The node that has the address. */
  node?: string
}

export type Flow = {
  family: 4 | 6
  from: End
  to: End
  /** Its number. */
  protocol: number
  sourcePort?: number
  destinationPort?: number
  icmp?: { type: number; code: number }
}

/** The number of ICMP in a family. */
export const ICMP = { 4: 1, 6: 58 } as const

/** What a rule says of a flow that it is about. */
export type Verdict = 'allow' | 'deny' | 'pass'
/** Of one policy: the first rule that says something, by its place in the list; undefined: none does. */
export type Found = { rule: number; verdict: Verdict } | undefined
