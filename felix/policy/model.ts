// What a cluster's policy is made of, whatever kind of object said it: endpoints and sets with labels, tiers, policies,
// profiles. Names of pods and namespaces are labels here, so that one selector says each choice; what a selector cannot say
// (addresses, ports) stands beside it. Pure values: objects of the API are turned into them in agent/cluster/policies/.

import type { ObjectRef } from '../../api/status.ts'
import type { Shape } from '../../kernel/reconcile/objects.ts'

/**
 * A selector in canonical text (`canonicalSelector`): two texts that choose the same by the same words are one text, and one
 * set in the kernel. Labels of a namespace are asked as `pcns.KEY`, of a service account as `pcsa.KEY`.
 */
export type SelectorText = string

/** Labels that every endpoint or set has beside its own. */
export const LABEL = {
  /** The namespace, of what is in one. */
  namespace: 'projectcalico.org/namespace',
  serviceAccount: 'projectcalico.org/serviceaccount',
  /** `k8s` for pods: policies of Kubernetes select nothing else. */
  orchestrator: 'projectcalico.org/orchestrator',
} as const

/** What the labels of a namespace and of a service account are known by at their pods. */
export const INHERITED = { namespace: 'pcns.', serviceAccount: 'pcsa.' } as const

/** An IP protocol by its number (RFC 790), 1 to 255. */
export type Protocol = number

export type NamedPort = { name: string; protocol: Protocol; port: number }

/** A pod of the cluster that has an address of its own, or an interface of a host. Host-networked pods are none. */
export type PolicyEndpoint = {
  kind: 'pod' | 'host'
  /** All: its own, those of LABEL, and the inherited ones. */
  labels: Readonly<Record<string, string>>
  /** Without masks. */
  addresses: readonly string[]
  ports: readonly NamedPort[]
}

/** A NetworkSet or GlobalNetworkSet: labelled CIDRs. */
export type NetworkSet = { labels: Readonly<Record<string, string>>; nets: readonly string[] }

/** From `first` to `last`, both included. */
export type PortRange = { first: number; last: number }

/**
 * One of the ranges, or a port that the endpoint of this side has by one of these names, with the protocol of that port. Ranges are
 * disjoint and sorted, names sorted.
 */
export type Ports = { ranges: readonly PortRange[]; names: readonly string[] }

/** `code` undefined: any. */
export type Icmp = { type: number; code?: number }

/**
 * One end of a rule. What is absent asks nothing; all that is there must hold. Within `nets`, `ports` one is enough; of
 * `notNets` and `notPorts` none may hold. Addresses are those after the translation of Services.
 */
export type RuleSide = {
  nets?: readonly string[]
  notNets?: readonly string[]
  selector?: SelectorText
  notSelector?: SelectorText
  ports?: Ports
  notPorts?: Ports
  /**
   * The ready and not ready endpoints of this Service, with their protocol and port on the destination's side. One without
   * ports has the port 0, which no packet has.
   */
  service?: { namespace: string; name: string }
  /** The addresses of the Nodes whose own labels this selector chooses. */
  nodes?: SelectorText
  /** Names of which the pod itself got an answer: `example.com`, `*.example.com`. Egress only. */
  domains?: readonly string[]
}

/** `log` counts and tells, and the next rule is asked. `pass` goes to the next tier. */
export type RuleAction = 'allow' | 'deny' | 'pass' | 'log'

/**
 * One rule. `ipVersion` absent: both families. An `icmp` says its protocol by `protocol`. `never`: it matches nothing. A rule that
 * cannot be expressed is that where it would allow or log, and a `deny` without conditions where it would deny or pass (closed
 * when unsure).
 */
export type PolicyRule = {
  action: RuleAction
  ipVersion?: 4 | 6
  protocol?: Protocol
  notProtocol?: Protocol
  icmp?: Icmp
  notIcmp?: Icmp
  source: RuleSide
  destination: RuleSide
  never?: true
  /** Which rule of its object it is of, counted from 0, where that is not its place in the list: one can become several. */
  of?: number
}

/**
 * Where a policy on host endpoints is asked. `forward`: as `normal`, and of forwarded packets too. Pods are not asked for those that
 * are `preDNAT` or `untracked`, and all others are the same to them.
 */
export type HostStage = 'normal' | 'forward' | 'preDNAT' | 'untracked'

/**
 * One policy. A direction without a list is not asked of this policy at all; an empty list is asked, and matches nothing.
 * Policies of a tier are asked in the order of `order` (Infinity: last), then of `sortName` by code points.
 */
export type Policy = {
  ref: ObjectRef
  tier: string
  order: number
  /** `name/namespace/kind`. */
  sortName: string
  selector: SelectorText
  ingress?: readonly PolicyRule[]
  egress?: readonly PolicyRule[]
  hostStage: HostStage
  /** Evaluated and counted, never enforced. */
  staged?: true
}

/** `order` Infinity: behind all that have one; then by name. A tier that policies name and that is no object is behind all. */
export type Tier = { name: string; order: number; defaultAction: 'deny' | 'pass' }

/** What is asked when no tier decided. Endpoints have profiles by name, in order; what none decides is denied. */
export type Profile = { ingress: readonly PolicyRule[]; egress: readonly PolicyRule[] }

/**
 * Everything that is told to the calculation, by kind and key: `namespace/name`, or `name`; of a policy `formatRef` of its
 * object, since policies of several kinds may have one name.
 */
export type PolicyInputs = {
  endpoint: PolicyEndpoint
  networkSet: NetworkSet
  tier: Tier
  policy: Policy
  profile: Profile
  service: ServiceEndpoints
  node: { labels: Readonly<Record<string, string>>; addresses: readonly string[] }
}

/**
 * What a pod of this node, which sends from these addresses, was told of a name: in lower case, without the dot at the end. It
 * counts until it is taken away. `expired` counted before: for connections that are open it still does.
 */
export type DomainAnswer = {
  from: readonly string[]
  name: string
  addresses: readonly string[]
  expired: readonly string[]
}

/**
 * Whose answers about names are believed: of what is behind a Service, asked at this port, and of an address with its port, as
 * those who ask know it.
 */
export type Resolvers = {
  services: readonly { namespace: string; name: string; port: number }[]
  addresses: readonly { address: string; port: number }[]
}

/** What a Service's EndpointSlices say. */
export type ServiceEndpoints = { addresses: readonly { address: string; protocol: Protocol; port: number }[] }

/** Packets per second, and how many more after a pause; connections that there may be at a time. */
export type PacketLimits = { rate?: { perSecond: number; burst: number }; connections?: number }

/** What a pod asks of its own packets, beside what policies say. `dscp`: of packets that leave the pools. */
export type Qos = { ingress?: PacketLimits; egress?: PacketLimits; dscp?: number }

/** So many packets of one rule are copied, and after a pause `burst` more. `rate` and `burst` are 1 or more. */
export type LogLimit = { rate: number; per: 'second' | 'minute' | 'hour' | 'day'; burst: number }

/** A pod of this node: the interface that its packets come by, the profiles that are asked last, and what it asks for itself. */
export type LocalEndpoint = { interfaceName: string; profiles: readonly string[]; qos?: Qos; bandwidth?: Shape }

/** Of host endpoints: every interface that no other host endpoint is for. */
export const ALL_INTERFACES = '*'

/**
 * A host endpoint of this node: the interfaces that it is for, ALL_INTERFACES among them, and the profiles that are asked last
 * of what is for the host and from it.
 */
export type LocalHost = { interfaces: readonly string[]; profiles: readonly string[] }

/**
 * A host endpoint of this node as its object has it: for the interface of this name, or for all (ALL_INTERFACES); without a name
 * for each interface that has one of the addresses.
 */
export type HostEndpointHere = { interfaceName?: string; addresses: readonly string[]; profiles: readonly string[] }

/** A port of hosts that stays open. `net`: to the other ends in this CIDR alone. */
export type OpenPort = { protocol: Protocol; port: number; net?: string }

/**
 * What holds on host endpoints whatever their policies say. `inbound`: ports of the host, `outbound`: of others.
 * `podsToHost`: what becomes of packets of a pod to its own host that its policies allow.
 */
export type HostSettings = {
  inbound: readonly OpenPort[]
  outbound: readonly OpenPort[]
  podsToHost: 'accept' | 'drop'
}

/** The tunnels between nodes that this node may have: their packets come to hosts and leave them, from nodes and to nodes. */
export type HostTunnels = { ipip: boolean; vxlan: boolean; vxlanPort: number }
