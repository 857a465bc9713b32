// What `margayctl explain` asks of a node and what a node answers: one form for the agents' socket, for margayctl and for the map.
// Every fact says where it is from and how old it is; what could not be had says why, since "I do not know" is an answer and a wrong
// cause is a fault. Fields of a later version pass unread; a word that this version does not know makes an answer not understood.
import * as z from 'zod'
import { condition, event, objectRef } from './status-answers.ts'

const family = z.enum(['ipv4', 'ipv6'])

/** A protocol by its word, or its number. */
const packetProtocol = z.union([z.enum(['icmp', 'icmpv6', 'tcp', 'udp']), z.int().min(0).max(255)])

export type PacketProtocol = z.infer<typeof packetProtocol>

const port = z.int().min(0).max(65535)
/** Longer than any name of Kubernetes, and than any address in text. */
const name = z.string().max(253)

const askedPacket = z.object({
  family,
  source: name,
  destination: name,
  protocol: packetProtocol,
  sourcePort: port.optional(),
  destinationPort: port.optional(),
  length: z.int().min(20).max(65535).optional(),
})

/** One packet to ask about, after names were resolved. Addresses in canonical text; `length` with its IP header, in octets. */
export type AskedPacket = z.infer<typeof askedPacket>

const end = z.object({
  address: name,
  role: z.enum(['pod', 'node', 'outside']),
  node: name.optional(),
  pod: z.object({ namespace: name, name }).optional(),
})

/** Where a packet begins or ends. Without `node` the end is outside of the cluster. */
export type End = z.infer<typeof end>

const serviceView = z.object({
  namespace: name,
  name,
  address: name,
  port,
  protocol: z.enum(['tcp', 'udp']),
  /** Ready ones only. */
  backends: z.array(z.object({ address: name, port, node: name.optional() })).max(1000),
})

/** A Service between the ends, as the asker sees it: what its address and port are to become. */
export type ServiceView = z.infer<typeof serviceView>

/**
 * What one node is asked. The same value goes to the nodes of both ends. `back` is the answer to `packet`. Where the asker
 * chose a backend of `service`, `packet` is the one that goes to that backend.
 */
export const question = z.object({
  packet: askedPacket,
  back: askedPacket,
  from: end,
  to: end,
  service: serviceView.optional(),
})

export type Question = z.infer<typeof question>

const factSource = z.enum(['kernel', 'model', 'probe', 'events'])

export type FactSource = z.infer<typeof factSource>

/** A fact, or why it could not be had. `ageMs`: how old the value was when the node answered. */
export type Fact<T> = ({ value: T } | { absent: string }) & { of: FactSource; ageMs: number }

const source = { of: factSource, ageMs: z.number() }

/** In JSON a value of `undefined` is no field: what is not `absent` is a value. */
function fact<S extends z.ZodType>(value: S) {
  return z.union([z.object({ absent: z.string(), ...source }), z.object({ value, ...source })])
}

const linkFacts = z.object({
  name: z.string(),
  kind: z.string().optional(),
  up: z.boolean(),
  running: z.boolean(),
  mtu: z.number(),
  mac: z.string().optional(),
  wanted: z.object({ mtu: z.number().optional(), up: z.boolean().optional() }).optional(),
})

export type LinkFacts = z.infer<typeof linkFacts>

const neighbourFacts = z.object({
  address: z.string(),
  mac: z.string().optional(),
  state: z.enum(['permanent', 'noarp', 'reachable', 'stale', 'delay', 'probe', 'incomplete', 'failed']),
  /** It is one that the agent writes. */
  ours: z.boolean(),
  /** Who wrote it last, where the kernel told. */
  by: z.string().optional(),
})

export type NeighbourFacts = z.infer<typeof neighbourFacts>

const routeFacts = z.object({
  type: z.string(),
  prefix: z.string(),
  table: z.number(),
  device: z.string().optional(),
  gateway: z.string().optional(),
  metric: z.number().optional(),
  mtu: z.number().optional(),
  /** The word of its protocol: `kernel`, `static`, `margay`, or a number. */
  protocol: z.string(),
})

export type RouteFacts = z.infer<typeof routeFacts>

const lookupFacts = z.union([
  z.object({ route: routeFacts }),
  /** The word of the error (`EHOSTUNREACH`), which alone is no cause. */
  z.object({ errno: z.string(), message: z.string() }),
])

/** What the kernel answers for a packet. */
export type LookupFacts = z.infer<typeof lookupFacts>

const settingFact = z.object({ name: z.string(), is: z.string(), wanted: z.string().optional() })

/** A setting in effect, such as `net.ipv4.conf.eth0.forwarding`: `wanted` where the agent has a word in it. */
export type SettingFact = z.infer<typeof settingFact>

const ruleFacts = z.object({
  text: z.string(),
  priority: z.number(),
  matches: z.boolean(),
  by: z.string().optional(),
  /** It is not there: the one that leads all packets to the main table. */
  gone: z.literal(true).optional(),
})

/** A rule (`ip rule`) that some packets of this way meet before the main table. */
export type RuleFacts = z.infer<typeof ruleFacts>

const routeOrigin = z.discriminatedUnion('of', [
  z.object({ of: z.literal('learned'), peer: z.string(), nextHop: z.string() }),
  z.object({ of: z.enum(['block', 'pod', 'connected', 'outside']) }),
  z.object({
    of: z.literal('none'),
    reason: z.string(),
    message: z.string(),
    remedy: z.string(),
    object: objectRef.optional(),
  }),
])

/** Why the agent wants a route, or why it wants none. */
export type RouteOrigin = z.infer<typeof routeOrigin>

const wayFacts = z.object({
  direction: z.enum(['there', 'back']),
  /** `pod`: from a pod of this node; `host`: made by this node; `uplink`, `tunnel`: from another node or from outside. */
  from: z.enum(['pod', 'host', 'uplink', 'tunnel']),
  entersBy: fact(linkFacts).optional(),
  /** With source, device and ports, as the packet meets it. */
  lookup: fact(lookupFacts),
  /** Without source and device: what routes alone say. */
  plain: fact(lookupFacts),
  /** Where answers to the packet's source go: what reverse path filters ask. */
  ofSource: fact(lookupFacts).optional(),
  rules: fact(z.array(ruleFacts)),
  wanted: z
    .object({
      route: routeFacts.optional(),
      origin: routeOrigin,
      divergence: z.enum(['missing', 'shadowed', 'elsewhere']).optional(),
    })
    .optional(),
  leavesBy: fact(linkFacts).optional(),
  /** Of the next hop on `leavesBy`, or of the pod. */
  neighbour: fact(neighbourFacts.optional()).optional(),
  /** The outer packet, where it leaves through a tunnel. */
  outer: z
    .object({
      encapsulation: z.enum(['ipip', 'vxlan']),
      remote: z.string(),
      lookup: fact(lookupFacts),
      /** VXLAN: the forwarding entry of the MAC that the inner neighbour has. */
      entry: fact(z.object({ mac: z.string(), remote: z.string().optional() }).optional()).optional(),
      /** Of the outer packet's next hop on `leavesBy`. */
      neighbour: fact(neighbourFacts.optional()).optional(),
      leavesBy: fact(linkFacts).optional(),
    })
    .optional(),
  settings: fact(z.array(settingFact)),
})

/** One crossing of a node by a packet: where it comes in, what the kernel does with it, where it leaves. */
export type WayFacts = z.infer<typeof wayFacts>

const podMismatch = z.object({
  side: z.enum(['host', 'pod']),
  kind: z.enum(['netns', 'link', 'sysctl', 'address', 'neighbour', 'route', 'nft']),
  object: z.string(),
  is: z.string().optional(),
  should: z.string().optional(),
})

/** One difference between what a pod should have and what it has, as CNI CHECK tells it. */
export type PodMismatch = z.infer<typeof podMismatch>

const podFacts = z.object({
  endpoint: z.string(),
  pod: z.object({ namespace: z.string(), name: z.string() }).optional(),
  interface: z.string(),
  addresses: z.array(z.string()),
  /** `expected`: known from the datastore or journal, its interface is not there (yet). */
  state: z.enum(['live', 'leaving', 'expected']),
  mismatches: fact(z.array(podMismatch)),
  /** `pod`: of its own end; `host`: of the end on the node. */
  mtu: fact(z.object({ pod: z.number().optional(), host: z.number().optional(), wanted: z.number() })),
})

export type PodFacts = z.infer<typeof podFacts>

/** What policy says of a packet, and which rule says it. */
const policyDecision = z.object({
  action: z.enum(['allow', 'deny']),
  by: z.object({
    /** What decided: a rule of a policy or profile, the end of a tier, or that there is nothing that allows. */
    of: z.enum(['rule', 'tier end', 'profile rule', 'no profile allows', 'no policy']),
    tier: z.string().optional(),
    /** As people name it: `NetworkPolicy default/web`. */
    policy: z.string().optional(),
    /** From 1, in the order of the policy. */
    rule: z.number().optional(),
    text: z.string(),
  }),
  /** What was asked before, in its order. */
  passed: z.array(
    z.object({
      tier: z.string(),
      policy: z.string().optional(),
      rule: z.number().optional(),
      why: z.enum(['pass', 'no match', 'log', 'staged']),
    }),
  ),
})

export type PolicyDecision = z.infer<typeof policyDecision>

const policyFacts = z.object({
  direction: z.enum(['there', 'back']),
  at: z.enum(['egress', 'ingress', 'host forward', 'host in', 'host out', 'pre-DNAT', 'untracked']),
  endpoint: z.string(),
  decision: policyDecision,
  /** `lagging`: the kernel has an older state of these policies; `refused`: it refused the present one. */
  enforced: z.enum(['kernel', 'lagging', 'refused']),
  message: z.string().optional(),
})

export type PolicyFacts = z.infer<typeof policyFacts>

const tuple = z.object({
  source: z.string(),
  destination: z.string(),
  sourcePort: z.number().optional(),
  destinationPort: z.number().optional(),
})

/** One tracked connection of the pair, as the kernel has it: the tuple as sent and the tuple that answers have. */
const connectionFacts = z.object({
  protocol: z.number(),
  sent: tuple,
  answered: tuple,
  packets: z.object({ sent: z.number(), answered: z.number() }).optional(),
  hasAnswers: z.boolean(),
})

export type ConnectionFacts = z.infer<typeof connectionFacts>

const sessionFacts = z.object({
  peer: z.string(),
  address: z.string(),
  node: z.string().optional(),
  state: z.string(),
  sinceMs: z.number().optional(),
  lastReceivedMs: z.number().optional(),
  lastSentMs: z.number().optional(),
  reason: z.string(),
  message: z.string(),
  remedy: z.string(),
})

/** A BGP session that routes of the other end may come by. Milliseconds since the epoch by the node's clock, as `atMs`. */
export type SessionFacts = z.infer<typeof sessionFacts>

/** Of an address of the question: the pool and block it lies in. */
const blockFacts = z.object({
  address: z.string(),
  pool: z.string().optional(),
  block: z.string().optional(),
  owner: z.string().optional(),
  /** Why its routes are told to nobody or not to all. */
  withheld: z.string().optional(),
})

export type BlockFacts = z.infer<typeof blockFacts>

const pathFacts = z.object({
  node: z.string(),
  /** Absent while nobody looked, and where there is no route. */
  encapsulation: z.enum(['direct', 'ipip', 'vxlan']).optional(),
  state: z.enum(['unknown', 'passes', 'suspect', 'lost', 'absent']),
  sinceMs: z.number(),
  lastAnswerMs: z.number().optional(),
  /** Whether the node itself, and the address of its tunnel, answer. */
  hostAnswers: z.boolean().optional(),
  tunnelAnswers: z.boolean().optional(),
  /** Largest packet that passes whole, in octets, where it was measured. */
  mtu: z.number().optional(),
  /** Under which source probes of that node arrive here, where it is not their own. */
  sourceSeen: z.string().optional(),
})

/** What this node's probes say of the way to another node. */
export type PathFacts = z.infer<typeof pathFacts>

const hookFacts = z.object({
  family: z.string(),
  table: z.string(),
  chain: z.string(),
  hook: z.string(),
  priority: z.number(),
  policy: z.enum(['accept', 'drop']),
})

/** A base chain of another program that packets of this way meet. Its rules are never read: whether it drops is seen by a traced packet. */
export type HookFacts = z.infer<typeof hookFacts>

/** All that one node says about a question. */
export const nodeFacts = z.object({
  node: z.string(),
  version: z.string(),
  atMs: z.number(),
  startedMs: z.number(),
  /** How old what the node knows of the cluster is: 0 while its watches are alive. */
  modelAgeMs: z.number(),
  /** The pods here that have one of the addresses: two where an address is claimed twice. */
  endpoints: z.array(podFacts),
  ways: z.array(wayFacts),
  policies: z.array(policyFacts),
  /** Whether this node gives the packet an address of its own, by the model. */
  masqueraded: fact(z.boolean()),
  connections: fact(z.array(connectionFacts)),
  connectionTable: fact(z.object({ count: z.number(), most: z.number() })),
  sessions: fact(z.array(sessionFacts)),
  blocks: fact(z.array(blockFacts)),
  path: fact(pathFacts.optional()),
  hooks: fact(z.array(hookFacts)),
  /** That are not True. */
  conditions: z.array(condition),
  /** Of the last 15 minutes, at most 50, newest first. */
  recent: z.array(event),
})

export type NodeFacts = z.infer<typeof nodeFacts>
