// What a node's probes say of the way to pods of other nodes (agent/probes/): for conditions, `margayctl explain`, metrics and the
// agents' socket. A node that publishes no address for probes, or has none of a family, has no row.
import * as z from 'zod'
import type { Family } from '../lib/ip.ts'

export type PathEncapsulation = 'direct' | 'ipip' | 'vxlan'

/**
 * `unknown`: no answer yet, and no proof that one should come. `suspect`: the last packets got no answer. `lost`: none comes, and
 * `loss` says why as far as that is proved. `absent`: none comes, and none is expected, since the node's agent has no session with this one.
 */
type PathStateWord = 'unknown' | 'passes' | 'suspect' | 'lost' | 'absent'

/**
 * What is proved of a path that is lost: VXLAN or IP-in-IP is silent, where the node answers and its tunnel does not; there is no
 * route; or what is known is that probes that were answered before are not any more.
 */
export type PathLoss = 'VxlanSilent' | 'IpipSilent' | 'PathLost' | 'NoRoute'

/**
 * The way to the pods of one node, in one family. Times are of the monotonic clock of the program that answers, in milliseconds.
 */
export type PathState = {
  node: string
  family: Family
  /** Of the node's end of the probes: an address of one of its blocks, behind an interface as a pod's. */
  address: string
  /** How this node sends there; absent while nobody looked, and where there is no route. */
  encapsulation?: PathEncapsulation
  state: PathStateWord
  sinceMs: number
  lastAnswerMs?: number
  /** Of the first packets of each look, in thousandths, the latest counting most. */
  lossPermille: number
  /** The reason of the condition `PathsPass` while the path is lost. */
  loss?: PathLoss
  /** Whether the node itself, and the address of its tunnel, answered in the last look that found the path silent. */
  hostAnswers?: boolean
  tunnelAnswers?: boolean
  /** The largest packet of pods here that passes whole, in octets; absent where that was not measured yet. */
  mtu?: number
  /** Under which source probes of that node arrive here, where it is not their own: somebody translates it. */
  sourceSeen?: string
  /** Not looked at in each round, since there are many nodes. */
  sampled: boolean
}

export type PathBook = {
  of(node: string, family: Family): PathState | undefined
  all(): Iterable<PathState>
  /** Calls `listen` with each state that differs from the one before; undefined: there was none, or there is none any more. */
  onChange(listen: (before: PathState | undefined, now: PathState | undefined) => void): () => void
}

/** A `PathState` as the agent's socket tells it: times are milliseconds since the epoch. A later program may have more reasons. */
export const pathAnswer = z.object({
  node: z.string(),
  family: z.enum(['ipv4', 'ipv6']),
  address: z.string(),
  encapsulation: z.enum(['direct', 'ipip', 'vxlan']).optional(),
  state: z.enum(['unknown', 'passes', 'suspect', 'lost', 'absent']),
  sinceMs: z.number(),
  lastAnswerMs: z.number().optional(),
  lossPermille: z.number(),
  loss: z.string().optional(),
  hostAnswers: z.boolean().optional(),
  tunnelAnswers: z.boolean().optional(),
  mtu: z.number().optional(),
  sourceSeen: z.string().optional(),
  sampled: z.boolean(),
})

export type PathAnswer = z.infer<typeof pathAnswer>
