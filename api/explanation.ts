// What is made of both ends' answers: the steps of a packet, which of them stops it, and why. `margayctl explain -o json` prints it,
// and the map draws it.
import type { Question } from './explain.ts'
import type { NamedObject } from './status-answers.ts'

/** What a packet meets, in this order; the answer to it meets the same on its way back. */
export type StepName =
  | 'ask'
  | 'endpoint'
  | 'podLink'
  | 'podAddress'
  | 'podRoute'
  | 'podGateway'
  | 'podFilter'
  | 'policyEgress'
  | 'hostPolicy'
  | 'service'
  | 'rule'
  | 'route'
  | 'reversePath'
  | 'forwarding'
  | 'foreign'
  | 'sourceNat'
  | 'tunnel'
  | 'neighbour'
  | 'mtu'
  | 'uplink'
  | 'conntrack'
  | 'fabric'
  | 'farRule'
  | 'farRoute'
  | 'farReversePath'
  | 'farForwarding'
  | 'farForeign'
  | 'farHostPolicy'
  | 'policyIngress'
  | 'farPod'
  | 'listener'
  | 'session'

/** Who made it so, where it is known. */
export type SetBy = { who: 'policy' | 'agent' | 'foreign' | 'operator' | 'fabric' | 'unknown'; text: string }

/** What becomes of packets: none passes, large ones do not, or they arrive with an address that they were not sent with. */
export type Effect = 'all' | 'large' | 'changed'

/** The one reason for which packets do not arrive as they were sent. `code` is a row of the table of causes. */
export type Cause = {
  code: string
  effect: Effect
  node: string
  object?: NamedObject
  message: string
  setBy: SetBy
  remedy: string
  /** Where it is documented. */
  page: string
}

export type Evidence = { of: 'kernel' | 'model' | 'probe' | 'events' | 'trace'; text: string; ageMs?: number }

export type Step = {
  name: StepName
  /** A node, or `between` for the network between nodes. */
  node: string
  direction: 'there' | 'back'
  verdict: 'passes' | 'stopped' | 'unknown'
  says: string
  evidence: Evidence[]
  cause?: Cause
}

/** Something near the way that does not stop the packet now: a fault that was healed, a word of caution. */
export type Note = { node: string; at?: string; text: string; code?: string }

/** A node that was asked; `silent` says why it did not answer. */
export type Asked = { node: string; ms: number; silent?: string }

/** What was sent from a node to find out, and how it ended. `said`: by whom and why. */
export type Probed = { node: string; sent: number; outcome: string; said?: string }

/** `stopped` by `first`; `unknown` where nothing proves that the packet passes or stops. */
export type Explanation = {
  question: Question
  verdict: 'passes' | 'stopped' | 'unknown'
  first?: Cause
  /** Further causes behind the first, in the order that the packet would meet them. */
  others: Cause[]
  steps: Step[]
  notes: Note[]
  asked: Asked[]
  /** Absent where nothing was sent. */
  probe?: Probed
}

/** Why pods get no network on a node, or that they do as far as its agent says. */
export type NodeExplanation = {
  node: string
  verdict: 'passes' | 'stopped' | 'unknown'
  first?: Cause
  others: Cause[]
  notes: Note[]
  asked: Asked[]
}
