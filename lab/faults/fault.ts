// A fault that operators meet, as data: what breaks, the one right cause and remedy, how it is put in and taken out, and by which
// condition or event it is named right. It is about the lab as it is without `--nodes`: n1 and n2 on LAN A, n3 on LAN B, two
// pods on each.
import type { ConditionType, EventType, ObjectKind, ReasonOf } from '../../api/status.ts'

type NodeName = 'n1' | 'n2' | 'n3'
export type PodName = `${NodeName}-p${1 | 2}`

export const NODE_NAMES = ['n1', 'n2', 'n3'] as const satisfies readonly NodeName[]
export const POD_NAMES = NODE_NAMES.flatMap(node => [`${node}-p1`, `${node}-p2`] as const) satisfies PodName[]

/** What the lab has where: read while all is well, since no two labs have the same. */
export type Facts = {
  /** Of nodes: address on its LAN, block of pod addresses, MAC of `vxlan.calico`. */
  address: Readonly<Record<NodeName, string>>
  block: Readonly<Record<NodeName, string>>
  mac: Readonly<Record<NodeName, string>>
  /** Of pods: address, and the end on the node of its interface. */
  ip: Readonly<Record<PodName, string>>
  cali: Readonly<Record<PodName, string>>
}

/** One thing that is done to put a fault in or to take it out. A script runs in the namespace of a node, a pod or the router. */
export type Deed =
  | { at: NodeName | PodName | 'router'; sh: string }
  | { agent: NodeName; is: 'killed' | 'restarted' | 'running' }
  | { pool: { disabled: boolean } }
  | { node: NodeName; is: 'deleted' | 'created' }

/** What fails while the fault is in. `octets`: of the data of a ping. `seenAs`: the server sees the client's own address. */
export type Traffic =
  | { from: PodName; to: PodName; octets?: number }
  | { from: PodName; to: PodName; port: number; seenAs?: 'itself' }
  | { newPodOn: NodeName }

/** A condition that is not True, or an event, of one node. It names the object: `about` is in the kind and name of its object or in its message. */
export type Word = { at: NodeName; about: string } & (
  | { [T in ConditionType]: { condition: T; reason: ReasonOf<T> } }[ConditionType]
  | { event: EventType; kind: ObjectKind; reason?: string }
)

export type Fault = {
  /** Two digits, for all time. */
  number: string
  name: string
  cause: string
  remedy: string
  breaks: Traffic
  /** Each of them alone names the fault. A word that only the remedy has does not count. */
  named: (facts: Facts) => readonly Word[]
  /** What `explain` gives first: a code of its table and the node; or what the product heals, as a note of that node. */
  explained: { at: NodeName; code: string } | 'healed'
  inject: (facts: Facts) => readonly Deed[]
  /** Takes it out also where the product has healed it meanwhile; what fails here is no failure. */
  heal: (facts: Facts) => readonly Deed[]
  /** Within so many seconds `breaks` fails, unless the product is quicker; 5 when absent. */
  breaksWithinSeconds?: number
  /** So long what is said is listened to, from then on; 10 when absent. */
  watchSeconds?: number
}

/** What people see of a fault, without its cause. */
export function symptom({ breaks }: Fault): string {
  if ('newPodOn' in breaks) return `no pod can be added on ${breaks.newPodOn}`
  const { from, to } = breaks
  if ('octets' in breaks) return `${from} does not reach ${to} with large packets`
  if (!('port' in breaks)) return `${from} does not reach ${to}`
  if (breaks.seenAs !== undefined) return `${to} sees connections of ${from} from another address`
  return `${from} does not reach port ${breaks.port} of ${to}`
}

/** The words with which `explain` is asked about it. */
export function question(breaks: Traffic): string[] {
  if ('newPodOn' in breaks) return [breaks.newPodOn]
  return [breaks.from, breaks.to, 'port' in breaks ? `tcp/${breaks.port}` : 'icmp']
}
