// Every answer of every socket: what margay-node and margay-bgp send, and what margayctl reads and prints with `-o json`.
// Unknown fields of an answer pass, since the running program may be newer.
import * as z from 'zod'
import { connectionsAnswer } from './connection-answer.ts'
import { nodeFacts } from './explain.ts'
import { learnedRoute } from './learned-answer.ts'
import { openconfigAnswer } from './openconfig-answer.ts'
import { pathAnswer } from './paths.ts'
import { condition, event, objectRef } from './status-answers.ts'
import { traceAnswer } from './trace.ts'

/** Calico's word for a session of the node-to-node mesh. */
export const MESH_PEER = 'node-to-node mesh'

const counts = z.object({ received: z.number(), accepted: z.number(), announced: z.number() })

const agentPeer = z.object({
  name: z.string(),
  address: z.string(),
  /** Calico's word for where the session comes from. */
  type: z.string(),
  asn: z.number().optional(),
  state: z.string(),
  /** RFC 3339, UTC. */
  since: z.string(),
  /** Machine word for why it is not up, '' when it is; `detail` says it to people. */
  reason: z.string(),
  detail: z.string(),
  /** What helps; '' when it is up, and from an agent that does not say it yet. */
  remedy: z.string().default(''),
  flaps: z.number(),
  prefixes: counts,
  /** The BFD session that watches the path, where it is asked for. */
  bfd: z
    .object({
      hops: z.string(),
      state: z.string(),
      /** Why the path was lost last, and how often it was. */
      diagnostic: z.string(),
      losses: z.number(),
      sinceMs: z.number(),
      /** Why there is no session. */
      fault: z.string().optional(),
    })
    .optional(),
})

export type PeerAnswer = z.infer<typeof agentPeer>

const daemonPeer = z
  .object({
    ...agentPeer.omit({ type: true, since: true, reason: true, detail: true, remedy: true }).shape,
    sinceMs: z.number(),
    reason: z.object({ code: z.string(), detail: z.string(), remedy: z.string().default('') }).optional(),
  })
  .transform(
    ({ name, address, asn, state, sinceMs, reason, flaps, prefixes, bfd }): PeerAnswer => ({
      name,
      address,
      type: 'configured',
      asn,
      state,
      since: new Date(sinceMs).toISOString(),
      reason: reason?.code ?? '',
      detail: reason?.detail ?? '',
      remedy: reason?.remedy ?? '',
      flaps,
      prefixes,
      ...(bfd !== undefined && { bfd }),
    }),
  )

const agentStatus = z.looseObject({
  /** The node's name and address; margay-bgp has none. */
  node: z.string().optional(),
  address: z.string().optional(),
  uplink: z.string().optional(),
  /** Of its address: nodes of one subnet reach each other without a router. Absent in answers of versions without it. */
  subnet: z.string().optional(),
  capabilities: z.object({ ipip: z.boolean(), vxlan: z.boolean() }).optional(),
  tunnels: z
    .object({ ipip: z.string().optional(), vxlan: z.string().optional(), vxlanV6: z.string().optional() })
    .optional(),
  ready: z.boolean(),
  conditions: z.array(condition),
  peers: z.array(agentPeer),
  blocks: z.array(z.object({ cidr: z.string(), pool: z.string(), used: z.number(), size: z.number() })).optional(),
  endpoints: z
    .array(
      z.object({
        id: z.string(),
        interface: z.string(),
        addresses: z.array(z.string()),
        pod: z.object({ name: z.string(), namespace: z.string() }).optional(),
        /** The floating addresses that lead to it, as a WorkloadEndpoint of Calico has them; absent where none does. */
        ipNATs: z.array(z.object({ internalIP: z.string(), externalIP: z.string() })).optional(),
      }),
    )
    .optional(),
  learned: z.array(learnedRoute).optional(),
  /** What the pod filter dropped since it was written: one row for each of its reasons, however many pods there are. */
  dropped: z.array(z.object({ reason: z.string(), packets: z.number() })).optional(),
})

export type Status = z.infer<typeof agentStatus>

/** The agent's `GET /status`, or margay-bgp's `GET /peers`, which is ready once it answers. */
export const statusAnswer: z.ZodType<Status> = z.union([
  agentStatus,
  z.array(daemonPeer).transform((peers): Status => ({ ready: true, conditions: [], peers })),
])

const routeText = z.object({
  nextHop: z.string().optional(),
  asPath: z.string().optional(),
  origin: z.string().optional(),
  med: z.number().optional(),
  localPref: z.number().optional(),
  communities: z.array(z.string()).optional(),
  extendedCommunities: z.array(z.string()).optional(),
  largeCommunities: z.array(z.string()).optional(),
  atomicAggregate: z.literal(true).optional(),
  aggregator: z.string().optional(),
  originatorId: z.string().optional(),
  clusterList: z.array(z.string()).optional(),
  otc: z.number().optional(),
  /** Type codes of attributes that this version does not know. */
  unknown: z.array(z.number()).optional(),
})

/** A route's attributes as text; those that it does not have are absent. */
export type RouteText = z.infer<typeof routeText>

const candidate = z.looseObject({
  /** '' for a network of our own. */
  peer: z.string(),
  pathId: z.number(),
  best: z.boolean(),
  /** Packets go over it: the best one, and with multipath others. Absent in answers of versions without it. */
  used: z.boolean().optional(),
  /** Its share among those that are used; absent: all have the same. */
  weight: z.number().optional(),
  /** Whether its next hop can be reached; absent where next hops are not tracked. */
  reached: z
    .union([
      z.object({ reachable: z.literal(false), why: z.string() }),
      z.object({ reachable: z.literal(true), cost: z.number(), over: z.string() }),
    ])
    .optional(),
  /** Why it is not used although no step before the tie breaks removed it. */
  unused: z.string().optional(),
  /** The decision step that left the best one alone, or in which another accepted one lost. */
  step: z.string().optional(),
  import: z.object({ accepted: z.boolean(), reason: z.string(), detail: z.string() }),
  stale: z.string().optional(),
  attributes: z.looseObject(routeText.shape),
})

export type Candidate = z.infer<typeof candidate>

export const routeAnswer = z.object({
  prefix: z.string(),
  candidates: z.array(candidate),
  withheld: z.array(z.object({ peers: z.array(z.string()), reason: z.string() })),
})

export type RouteAnswer = z.infer<typeof routeAnswer>

export const drainAnswer = z.object({
  drains: z.boolean(),
  /** `yes`: it has worked through what it was told; `sent`: it is told, and cannot say so; `no`: it has no session, or is slow. */
  peers: z.array(z.object({ name: z.string(), address: z.string(), told: z.enum(['yes', 'sent', 'no']) })),
  /** The prefixes for which this node knows no other way. */
  alone: z.array(z.string()),
})

export type DrainAnswer = z.infer<typeof drainAnswer>

export const clearAnswer = z.object({ peer: z.string(), kind: z.string() })

export const reloadAnswer = z.object({
  resets: z.array(z.object({ peer: z.string(), because: z.array(z.string()) })),
  added: z.array(z.string()),
  removed: z.array(z.string()),
  changed: z.array(z.string()),
  /** The use of several paths changes; absent in answers of versions that have one path of each prefix. */
  multipath: z.boolean().optional(),
  networks: z.object({ announced: z.array(z.string()), withdrawn: z.array(z.string()) }),
  drain: z.enum(['begins', 'ends']).optional(),
})

export type ReloadAnswer = z.infer<typeof reloadAnswer>

export type NodeEvent = z.infer<typeof event>

/** The most events that one question may ask for: as many as an agent keeps. */
export const MOST_EVENTS = 10_000

/** Newest first. */
export const eventsAnswer = z.array(event)

/** What was in doubt; '' when nothing was. */
export const acceptAnswer = z.object({ doubt: z.string() })

/** The level of each room, and who said it: `option`, `configuration` or `request`. */
export const logLevelAnswer = z.array(z.object({ room: z.string(), level: z.string(), from: z.string() }))

/** One end of a flow. `kind` is absent where nobody has the address; `Endpoint` is one that is no pod of Kubernetes. */
const flowEnd = z.object({
  address: z.string(),
  kind: z.enum(['Pod', 'Node', 'HostEndpoint', 'NetworkSet', 'GlobalNetworkSet', 'Endpoint']).optional(),
  namespace: z.string().optional(),
  name: z.string().optional(),
})

export type FlowEnd = z.infer<typeof flowEnd>

/** What became of packets: `staged-*` is what a staged policy would do, and nothing was done. */
export const FLOW_VERDICTS = ['deny', 'log', 'staged-deny', 'staged-unmatched'] as const

/** Packets of one rule between the same ends. `packets` counts copies, which the kernel limits: there were at least so many. */
export const flow = z.object({
  /** RFC 3339, UTC. */
  first: z.string(),
  last: z.string(),
  packets: z.number(),
  verdict: z.enum(FLOW_VERDICTS),
  direction: z.enum(['ingress', 'egress']).optional(),
  family: z.enum(['ipv4', 'ipv6']),
  /** A word of IANA, or a number. */
  protocol: z.string(),
  source: flowEnd,
  destination: flowEnd,
  /** Of the first packet. */
  sourcePort: z.number().optional(),
  destinationPort: z.number().optional(),
  icmp: z.object({ type: z.number(), code: z.number() }).optional(),
  /** `NetworkPolicy NAMESPACE/NAME`; absent where no policy decided. */
  policy: z.string().optional(),
  profile: z.string().optional(),
  tier: z.string().optional(),
  /** Counted from 0, in the direction. */
  rule: z.number().optional(),
  /** What decided, as the kernel's rule has it. */
  because: z.string(),
})

export type Flow = z.infer<typeof flow>

/** The most flows that one question may ask for: as many as an agent keeps. */
export const MOST_FLOWS = 10_000

/** One line of `GET /flows?follow`; `lost`: so many packets are told nowhere. */
export const flowLine = z.union([z.object({ flow }), z.object({ lost: z.number() })])

export type FlowLine = z.infer<typeof flowLine>

/** What one rule of policies has counted; `rule` names it as the kernel's rule does. Of a connection its first packets alone are counted. */
const ruleCount = z.object({
  rule: z.string(),
  policy: z.string().optional(),
  direction: z.string().optional(),
  outcome: z.string().optional(),
  packets: z.number(),
  octets: z.number(),
})

export type RuleCount = z.infer<typeof ruleCount>

export const ruleCountsAnswer = z.array(ruleCount)

const addressFinding = z.object({
  object: objectRef,
  fault: z.string(),
  remedy: z.string(),
  addresses: z.array(z.string()),
})

export type AddressFindingAnswer = z.infer<typeof addressFinding>

const heldAddress = z.object({
  address: z.string(),
  block: z.string(),
  handle: z.string(),
  /** `nobody`: it is given, and no pod or tunnel of the node has it. */
  use: z.enum(['pod', 'tunnel', 'nobody']),
  /** A pod, a container's id, or Calico's word for a tunnel; '' for nobody. */
  owner: z.string(),
})

export type HeldAddress = z.infer<typeof heldAddress>

const ownBlock = z.object({ cidr: z.string(), sequence: z.string() })

/** Whether what a node has given is what its kernel has. */
export const addressesAnswer = z.object({
  node: z.string(),
  /** With the `sequenceNumber` that the IPAMBlock has as soon as it is published as it is. */
  blocks: z.array(ownBlock),
  addresses: z.array(heldAddress),
  findings: z.array(addressFinding),
  /** Pods that were looked at, and ids of those that were not, since too many requests wait. */
  looked: z.number(),
  unlooked: z.array(z.string()),
})

export type AddressesAnswer = z.infer<typeof addressesAnswer>

/** The same in lines, of which none is long: what `margayctl` at a node writes for one elsewhere. The last has `node`. */
export const addressLine = z.union([
  z.object({ block: ownBlock }),
  z.object({ address: heldAddress }),
  z.object({ finding: addressFinding }),
  z.object({ unlooked: z.string() }),
  z.object({ node: z.string(), looked: z.number() }),
])

export type AddressLine = z.infer<typeof addressLine>

const drops = z.record(z.string(), z.number())

/** The BFD sessions of a program with what they counted. */
export const bfdAnswer = z.looseObject({
  /** Whether packets are on time on a busy machine: `real-time`, `raised` or `usual`. */
  scheduling: z.string(),
  sessions: z.array(
    z.looseObject({
      /** The kind of path and its ends: `single 192.0.2.1 192.0.2.2`. */
      name: z.string(),
      state: z.string(),
      diagnostic: z.string(),
      remote: z.looseObject({ state: z.string(), diagnostic: z.string() }),
      transmitIntervalMs: z.number(),
      detectionTimeMs: z.number(),
      sent: z.number(),
      received: z.number(),
      dropped: drops,
      ups: z.number(),
      losses: z.number(),
      fault: z.string().optional(),
    }),
  ),
  /** Packets of no session, by the reason. */
  dropped: drops,
})

export type BfdAnswer = z.infer<typeof bfdAnswer>

const bmpStatus = z.looseObject({
  collector: z.string(),
  state: z.string(),
  reason: z.string().optional(),
  octets: z.number(),
  waiting: z.number(),
})

/** One row for each other node and family that this node probes. */
export const pathsAnswer = z.array(pathAnswer)

/** What the sockets answer in JSON when all is well; with any other status than 200 or 503 it is `{error}`. */
export const ANSWERS = {
  'margay-node': {
    'GET /healthz': z.object({ ok: z.literal(true) }),
    'GET /livez': z.object({ ok: z.literal(true) }),
    'GET /readyz': z.array(condition),
    'GET /status': agentStatus,
    'GET /events': eventsAnswer,
    /** The one that was seen last behind all. */
    'GET /flows': z.array(flow),
    'GET /connections': connectionsAnswer,
    'GET /policy-counters': ruleCountsAnswer,
    'GET /bgp/route': routeAnswer,
    'POST /facts': nodeFacts,
    'GET /bgp/openconfig': openconfigAnswer,
    'GET /bgp/drain': drainAnswer,
    'GET /bgp/bfd': bfdAnswer,
    'GET /ipam-check': addressesAnswer,
    'GET /paths': pathsAnswer,
    /** `traceOrder` in the body. */
    'POST /trace': traceAnswer,
    'POST /accept-cluster': acceptAnswer,
    'GET /log-level': logLevelAnswer,
    'POST /log-level': logLevelAnswer,
  },
  'margay-bgp': {
    'GET /healthz': z.looseObject({ restarting: z.boolean() }),
    'GET /peers': z.array(daemonPeer),
    'GET /openconfig': openconfigAnswer,
    'GET /route': routeAnswer,
    'GET /bfd': bfdAnswer,
    'GET /bmp': z.array(bmpStatus),
    'POST /clear': clearAnswer,
    'POST /reload': reloadAnswer,
  },
} as const

export type AgentStatus = z.input<(typeof ANSWERS)['margay-node']['GET /status']>
