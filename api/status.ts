// How every room tells what is right, what is wrong and what happened: one object reference, one condition, one event.
// Condition types and event types are closed tables, so that metric labels are bounded and documents can list them.
import type { Kind } from './kinds.ts'
import type { REASONS } from './reasons.ts'

/** What is not an object at the API server but can still be named: things of this node's kernel and of BGP. */
type LocalKind =
  | 'Endpoint'
  | 'Block'
  | 'Link'
  | 'Address'
  | 'Route'
  | 'Rule'
  | 'Neighbour'
  | 'FdbEntry'
  | 'NextHop'
  | 'Sysctl'
  | 'Qdisc'
  | 'NftTable'
  | 'NftSet'
  | 'NftChain'
  | 'NftElement'
  | 'IptablesChain'
  | 'BGPSession'

export type ObjectKind = Kind | LocalKind

/** Names one object: a resource by its name, a route by its prefix, a sysctl by its path. */
export type ObjectRef = { kind: ObjectKind; name: string; namespace?: string }

/**
 * Every condition that a node can have. Each one is a promise that is kept (`True`), broken (`False`) or not known yet
 * (`Unknown`). The vital ones alone decide readiness, and none of them may depend on an object of another node. Without a
 * vital one of `running` the pods that run have no network; without one of `new` new pods get none.
 */
export const CONDITION_TYPES = {
  NodeAddressKnown: { vital: 'running', promise: 'this node has an address for its sessions and tunnels' },
  FamiliesReachable: {
    vital: false,
    promise:
      'this node has an address of each family of the pools, but of IPv6 where VXLAN carries them all over IPv4, and one in common with every other node',
  },
  DefaultRouteKept: { vital: false, promise: 'this node has the default route that it had' },
  NodeObjectKnown: { vital: 'running', promise: 'the cluster has the Node object of this node' },
  NodePublished: {
    vital: 'new',
    promise: 'the API server lets this node write its addresses into its Node object, by which other nodes find it',
  },
  KernelProgrammed: {
    vital: 'running',
    promise: 'the kernel took what the pods, blocks and tunnels of this node need, once since the start',
  },
  PodTrafficPasses: {
    vital: 'running',
    promise:
      'packets between pods pass: uplink, forwarding and proxy ARP are on, routes are there, no chain of others drops',
  },
  PoolsKnown: { vital: 'running', promise: 'this node has seen the IPPools, now or in an earlier run' },
  PoolsUsable: { vital: 'new', promise: 'an enabled IPPool gives addresses to the pods of this node' },
  AddressesLeft: { vital: false, promise: 'this node has a free address for a pod, or gets a block more' },
  BlocksLeft: { vital: false, promise: 'this node gets a block more before its last free address is in use' },
  PoolsDisjoint: { vital: false, promise: 'no IPPool overlaps an older one, or the subnet of this node' },
  NetworkConfigured: {
    vital: false,
    promise: 'the runtime’s network configuration of this node is there, and that of no other network comes before it',
  },
  ConnectionsTracked: { vital: 'new', promise: 'the connection tracking table has room for new connections' },
  ConnectionsRoom: {
    vital: false,
    promise: 'less than nine tenths of the connection tracking table are in use',
  },
  ConnectionsCut: { vital: false, promise: 'established connections that policies deny are ended' },
  ForeignRoutesPass: {
    vital: false,
    promise:
      'no route of another program takes packets to pods (one that is more specific, or of a smaller metric), and no rule (`ip rule`)',
  },
  SettingsRight: {
    vital: false,
    promise: 'no setting of the machine that is not ours to change stops packets of pods or of this node',
  },
  NeighboursRight: {
    vital: false,
    promise:
      'no permanent neighbour entry of another program gives a node or a next hop a MAC that another machine has',
  },
  ForeignChainsPass: {
    vital: false,
    promise: 'it is clear that no chain of another program drops packets between pods',
  },
  ApiServerConnected: { vital: false, promise: 'every watch of the API server is alive' },
  ClusterRecognised: {
    vital: false,
    promise:
      'the API server is of the cluster that this node knows, and did not lose this node, all pools or most peers',
  },
  TunnelsAddressed: { vital: false, promise: 'each tunnel device that is needed has its address' },
  DescriptorsLeft: { vital: 'new', promise: 'the agent can open files and connections, so that pods can be added' },
  PodsEntered: {
    vital: 'new',
    promise: 'the agent may enter the network namespaces of pods, so that pods can be added',
  },
  JournalWritable: { vital: 'new', promise: 'the disk of the journal has room, so that pods can be added' },
  JournalKept: { vital: false, promise: 'the journal is sound and on its own disk' },
  JournalComplete: { vital: false, promise: 'the journal knew every pod that runs on this node' },
  PeersConfigured: {
    vital: false,
    promise: 'every BGPPeer for this node has become a session of its own, and the node has sessions',
  },
  SessionsAccepted: { vital: false, promise: 'peers can connect to the BGP port of this node' },
  BfdOnTime: { vital: false, promise: 'where BFD is asked for, its packets are on time also on a busy machine' },
  PathsWatched: {
    vital: false,
    promise: 'BFD is up with every peer that is to be watched and has a session',
  },
  PathsPass: {
    vital: false,
    promise:
      'probes from this node reach every other node by the way that packets of pods take, and those of other nodes arrive under their own addresses (docs/observe.md)',
  },
  PathMtuFits: {
    vital: false,
    promise: 'the largest packets of pods pass whole to every other node, as probes of that size do',
  },
  PeersUp: {
    vital: false,
    promise: 'no peer outside the cluster is without a session for more than five minutes, or damped (docs/bgp.md)',
  },
  SessionsUp: {
    vital: false,
    promise: 'no session with another node is down for longer than a restart of an agent takes, or one way only',
  },
  PrefixLimitsKept: { vital: false, promise: 'no peer outside the cluster announced more prefixes than it may' },
  RoutesPreferred: {
    vital: false,
    promise: 'no peer is asked to take other paths than those by this node (`margayctl node drain-bgp`)',
  },
  BlocksOwned: { vital: false, promise: 'no block with pods of this node belongs to another node' },
  BlocksPublished: {
    vital: false,
    promise: 'the API server has the blocks of this node, with every change that is older than two minutes',
  },
  KernelInSync: { vital: false, promise: 'the kernel refuses nothing that is wanted now' },
  BlocksReachable: { vital: false, promise: 'there is a way to every learned block' },
  NextHopsReachable: {
    vital: false,
    promise: 'the next hops of all peers outside the cluster can be reached, and none is damped (docs/bgp.md)',
  },
  UplinksUp: { vital: false, promise: 'every further uplink, in whose subnet other nodes or next hops are, is up' },
  EncapsulationAsAsked: { vital: false, promise: 'packets are encapsulated as the pool asks, without a stand-in' },
  AddressesUnique: { vital: false, promise: 'no two nodes, pods or machines claim one address' },
  PodsFiltered: {
    vital: false,
    promise: 'packets under foreign addresses and tunnel packets of strangers are dropped',
  },
  OutgoingMasqueraded: {
    vital: false,
    promise:
      'packets out of pools with natOutgoing, and those of this node into its tunnels, get an address that leads back',
  },
  PoliciesEnforced: { vital: false, promise: 'every policy and host endpoint of the cluster is enforced' },
  FlowsTold: { vital: false, promise: 'packets that policies deny or log are told (margayctl flows)' },
  QosApplied: {
    vital: false,
    promise: 'what annotations of pods ask of their packets is done: bandwidth, rates, connections, DSCP',
  },
  SourcesAllowed: {
    vital: false,
    promise:
      'pods may send under the sources that their annotations name (`cni.projectcalico.org/allowedSourcePrefixes`)',
  },
  FloatingAddressesHeld: {
    vital: false,
    promise:
      'every floating address that a pod of this node asks for (`cni.projectcalico.org/floatingIPs`) leads to it alone',
  },
  ServiceLoopsPrevented: {
    vital: false,
    promise:
      'packets to addresses in the announced ranges of Services that nobody has end at this node (`serviceLoopPrevention`)',
  },
  FlowsOffloaded: {
    vital: false,
    promise: 'where FelixConfiguration wants it, connections that last are carried past the hooks of the kernel',
  },
  PodsIntact: {
    vital: false,
    promise: 'what a pod lost of its interface (addresses, routes, its gateway, the link itself) was put back',
  },
  PodMtuApplied: { vital: false, promise: 'every pod that follows the MTU of its node has it' },
  ObjectsReadable: { vital: false, promise: 'every object of the cluster that this node uses is valid' },
  MetricsServed: { vital: false, promise: 'where FelixConfiguration wants metrics to be served, they are' },
  FieldsSupported: {
    vital: false,
    promise: 'every field that is set in a configuration object has an effect',
  },
} as const satisfies Record<string, { vital: false | 'running' | 'new'; promise: string }>

export type ConditionType = keyof typeof CONDITION_TYPES

/** The reasons that a condition of this type can have. */
export type ReasonOf<T extends ConditionType> = keyof (typeof REASONS)[T] & string

/**
 * One promise and whether it is kept, as a whole (no `object`) or for one object. `reason` is one CamelCase word for
 * machines, `message` says what is wrong and `remedy` what to do about it; both are '' when all is well.
 */
export type Condition = {
  type: ConditionType
  status: 'True' | 'False' | 'Unknown'
  reason: string
  message: string
  remedy: string
  object?: ObjectRef
  /** Where the documentation explains the reason: a page with its anchor. Set where conditions are told, of those that are not True. */
  page?: string
  /** Milliseconds since the epoch at which `status` and `reason` became what they are. */
  sinceMs?: number
}

/** Every type of event. */
export const EVENT_TYPES = {
  Started: 'an agent began its work',
  Healed:
    'somebody else, who is named where the kernel tells, changed what is ours, from what to what, and it was put back',
  Removed:
    'somebody else made what would count as ours and nothing needs, as a route to the interface of a pod, and it was removed',
  LetPass: 'a chain of another program began to drop packets between pods, and two rules of ours in it let them pass',
  ConditionChanged: 'a condition came, went or got another reason',
  SessionChanged: 'a BGP session came up or went down',
} as const satisfies Record<string, string>

export type EventType = keyof typeof EVENT_TYPES

/** One thing that happened; `at` is RFC 3339 in UTC. */
export type Event = { at: string; type: EventType; object: ObjectRef; reason: string; message: string }

/** An event before it has a time. */
export type EventRecord = Omit<Event, 'at'>

/** What is wrong, before a condition type is given to it. */
export type ConditionCause<R extends string = string> = {
  reason: R
  message: string
  remedy: string
  object?: ObjectRef
}

/** What is wrong, where it is known which promise is broken by it. */
export type CauseOf<T extends ConditionType> = ConditionCause<ReasonOf<T>>

/** A promise that is kept. */
export function kept(type: ConditionType): Condition {
  return { type, status: 'True', reason: 'Ok', message: '', remedy: '' }
}

/** A promise of which nothing can be said yet. */
export function unknown<T extends ConditionType>(type: T, cause: CauseOf<T>): Condition {
  return { type, status: 'Unknown', ...cause }
}

/** A promise that is broken, and why. */
export function broken<T extends ConditionType>(type: T, cause: CauseOf<T>): Condition {
  return { type, status: 'False', ...cause }
}

/** `Kind name` or `Kind namespace/name`, for people. The kind may be one of a later version. */
export function formatRef({ kind, name, namespace }: Omit<ObjectRef, 'kind'> & { kind: string }): string {
  return `${kind} ${namespace === undefined ? name : `${namespace}/${name}`}`
}

/** The same text for the same promise about the same object, and for no other. */
export function conditionKey({ type, object }: Pick<Condition, 'type' | 'object'>): string {
  return object === undefined ? type : `${type} ${formatRef(object)}`
}
