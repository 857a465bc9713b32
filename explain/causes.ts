// The closed table of causes: one row for each reason that `explain` can give, with what proves it and what to do. Docs, tests and the
// walk read the same rows. A cause is only ever given with its proof; where the proof lacks a fact the step is `unknown`.
import type { Cause, Effect, SetBy } from '../api/explanation.ts'
import type { NamedObject } from '../api/status-answers.ts'

type CauseRow = {
  effect: Effect
  /** What is so, for the documents. */
  when: string
  /** The facts that must all be there. */
  proof: string
  /** Who usually made it so. */
  by: SetBy['who']
  /** What to do; `{word}` is filled with what the walk found. */
  remedy: string
}

export const CAUSES = {
  AgentSilent: {
    effect: 'all',
    when: 'The agent of a node does not run: its pods get no network, and other nodes forget the way to it',
    proof: 'nobody listens on its socket, or its pod is not ready; between pods also that the other node has no way',
    by: 'operator',
    remedy:
      'start the agent of {node}: kubectl -n kube-system get pods -o wide -l app.kubernetes.io/name=margay-node says why it does not run',
  },
  NodeUnknown: {
    effect: 'all',
    when: 'The cluster has no Node object of a node that lives',
    proof: 'the API server or the node itself says so; between pods also that the other node has no way',
    by: 'operator',
    remedy: 'make Node {node} again: restart its kubelet, or create the object',
  },
  PoolUnusable: {
    effect: 'all',
    when: 'No IPPool gives addresses to new pods of a node',
    proof: 'the condition PoolsUsable of that node is False',
    by: 'operator',
    remedy: '{remedy}',
  },
  ConditionBroken: {
    effect: 'all',
    when: 'A vital condition of a node is not kept',
    proof: 'its agent says so',
    by: 'unknown',
    remedy: '{remedy}',
  },
  PodGone: {
    effect: 'all',
    when: 'No pod has the address',
    proof: 'the address lies in a block of a node, and that node has no pod with it',
    by: 'agent',
    remedy: 'look whether the pod was deleted or has another address now: kubectl get pods -o wide',
  },
  AddressTwice: {
    effect: 'all',
    when: 'Two have one address',
    proof: 'the kernels of both say so',
    by: 'unknown',
    remedy: 'remove {address} from {holder}',
  },
  PodLinkDown: {
    effect: 'all',
    when: "The pod's own interface is down or gone",
    proof: "the kernel, in the pod's namespace",
    by: 'unknown',
    remedy: 'ip link set {device} up in the pod; where the interface is gone, delete the pod',
  },
  PodAddressMissing: {
    effect: 'all',
    when: 'The pod lost its address',
    proof: "the kernel, in the pod's namespace",
    by: 'unknown',
    remedy: 'ip address add {address} dev {device} in the pod',
  },
  PodRouteMissing: {
    effect: 'all',
    when: "The pod's route to its gateway or its default route is gone or another one",
    proof: "the kernel, in the pod's namespace",
    by: 'unknown',
    remedy: 'put route {route} back in the pod, or delete the pod',
  },
  GatewayEntryMissing: {
    effect: 'all',
    when: 'The pod has no right neighbour entry of its gateway, and nobody answers when it asks',
    proof:
      "the kernel, in the pod's namespace, and that proxy ARP is off at the host's end; a wrong permanent entry is proof alone",
    by: 'unknown',
    remedy: 'ip neighbour replace {address} lladdr {mac} nud permanent dev {device} in the pod',
  },
  MtuPodLarger: {
    effect: 'large',
    when: "The pod's interface has a larger MTU than the end of it on the node, which drops what is larger",
    proof: 'both MTUs, of the kernel',
    by: 'unknown',
    remedy: 'ip link set {device} mtu {mtu} in the pod',
  },
  HostLinkDown: {
    effect: 'all',
    when: "The node's end of a pod's interface is down or gone",
    proof: 'the kernel',
    by: 'foreign',
    remedy: 'ip link set {device} up on {node}; where the interface is gone, delete the pod',
  },
  FilterMissing: {
    effect: 'all',
    when: 'The filter of pods lacks its part for an interface, without which all packets of the pod are dropped',
    proof: 'the kernel: the part is missing',
    by: 'foreign',
    remedy: 'restart the agent of {node}, which writes the filter again',
  },
  PolicyDenies: {
    effect: 'all',
    when: 'A policy or a profile denies it, and the kernel has that state',
    proof: 'the decision over the model of the node, or the rule at which a traced packet was dropped',
    by: 'policy',
    remedy: 'let {source} in a rule before it, or change {policy}',
  },
  HostPolicyDenies: {
    effect: 'all',
    when: "A policy of the node's own interfaces denies it",
    proof: 'the decision over the model of the node',
    by: 'policy',
    remedy: 'let {source} in a rule before it, or change {policy}',
  },
  PolicyLags: {
    effect: 'all',
    when: 'A policy denies it in an older state, since the kernel has not the present one or refused it',
    proof: 'a traced packet was dropped by a rule of a policy, and the agent says that the kernel is behind',
    by: 'agent',
    remedy: 'margayctl node status on {node} says what the kernel refused',
  },
  ServiceNoEndpoints: {
    effect: 'all',
    when: 'No pod of the Service is ready',
    proof: 'its EndpointSlices',
    by: 'operator',
    remedy: 'kubectl -n {namespace} get pods,endpointslices: make a pod ready that the selector of the Service selects',
  },
  ServiceNotProgrammed: {
    effect: 'all',
    when: 'Nobody translates the address of the Service',
    proof: 'a traced packet left the node with that address',
    by: 'operator',
    remedy: 'look at the log of kube-proxy on {node}',
  },
  RuleDiverts: {
    effect: 'all',
    when: 'A rule (ip rule) sends the packets to another table than the one that has the way',
    proof: 'the kernel answers otherwise than the main table, and one rule before it matches',
    by: 'foreign',
    remedy: '{ip} rule del pref {priority} on {node}',
  },
  RuleMissing: {
    effect: 'all',
    when: 'No rule (ip rule) looks into the main table, so that no route there counts',
    proof: 'the rules of the kernel, and that it answers that there is no route',
    by: 'foreign',
    remedy: '{ip} rule add priority 32766 lookup main on {node}',
  },
  RouteMissing: {
    effect: 'all',
    when: 'The kernel has no route to where the packets must go',
    proof: 'the kernel answers that there is none, whoever asks',
    by: 'unknown',
    remedy: 'ip route add {route} on {node}; margayctl node status says whether the agent put it back',
  },
  RouteShadowed: {
    effect: 'all',
    when: 'A route of somebody else is more specific than the right one',
    proof: 'the kernel answers with it',
    by: 'foreign',
    remedy: 'ip route del {route} on {node}',
  },
  RouteElsewhere: {
    effect: 'all',
    when: 'A route of somebody else to the same network leads elsewhere',
    proof: 'the kernel answers with it',
    by: 'foreign',
    remedy: 'ip route del {route} on {node}',
  },
  RouteLocalHere: {
    effect: 'all',
    when: 'A node has the address of a pod of another node as its own',
    proof: 'the kernel of that node takes the packets for itself, and the pod lives elsewhere',
    by: 'foreign',
    remedy: 'ip address del {address} dev {device} on {node}',
  },
  RouteDrops: {
    effect: 'all',
    when: 'A route says that packets are dropped or refused',
    proof: 'the kernel answers so, whoever asks',
    by: 'foreign',
    remedy: 'ip route get {address} on {node}, and delete the route of type unreachable, prohibit or blackhole',
  },
  NoWayLearned: {
    effect: 'all',
    when: 'The node was told no usable way to the block of the address',
    proof: 'its agent says why, and the kernel has no route',
    by: 'agent',
    remedy: '{remedy}',
  },
  NotExported: {
    effect: 'all',
    when: 'The pool of the address is told to nobody (disableBGPExport)',
    proof: 'the agent says so, and the kernel has no route',
    by: 'operator',
    remedy: '{remedy}',
  },
  SessionDown: {
    effect: 'all',
    when: 'The node has no way, since its BGP session with the node of the address is down',
    proof: 'the session is not Established, and the kernel has no route',
    by: 'unknown',
    remedy: '{remedy}',
  },
  ReversePath: {
    effect: 'all',
    when: 'A reverse path filter drops the packets: answers to their source would go another way',
    proof:
      'the kernel refuses the source, routes have a way, and the answer to the source goes another way than the filter allows; or no rule dropped the traced packets that came in and did not leave, and the kernel counted as many as dropped by such filters',
    by: 'foreign',
    remedy: 'sysctl -w {setting}={value} on {node}, or let the route of {source} lead over {device}',
  },
  ForwardingOff: {
    effect: 'all',
    when: 'A node does not forward packets',
    proof: 'the kernel refuses the packet, no route is unreachable, and the setting is 0',
    by: 'foreign',
    remedy: 'sysctl -w {setting}=1 on {node}',
  },
  Ipv6Off: {
    effect: 'all',
    when: 'IPv6 is switched off on an interface that the packets pass, or in the pod',
    proof: 'the kernel: disable_ipv6 of the interface is 1',
    by: 'foreign',
    remedy: 'sysctl -w {setting}=0 where that is',
  },
  ForeignDrops: {
    effect: 'all',
    when: 'A firewall rule of another program drops the packets',
    proof: 'a traced packet was dropped there',
    by: 'foreign',
    remedy: 'remove that rule on {node}, or accept the packets before it',
  },
  FilterDrops: {
    effect: 'all',
    when: "Margay's own filter drops the packets, for another reason than a policy",
    proof: 'a traced packet was dropped there',
    by: 'agent',
    remedy: 'read the text of the rule; margayctl node status on {node} counts such packets by reason',
  },
  ForeignTranslates: {
    effect: 'changed',
    when: 'A rule of another program gives the packets another address',
    proof: 'a traced packet was translated there, or the receiver of a probe saw another source',
    by: 'foreign',
    remedy: 'leave the addresses of pods out of the NAT rules of other programs on {node}',
  },
  TunnelDown: {
    effect: 'all',
    when: 'The tunnel interface is down',
    proof: 'the kernel',
    by: 'foreign',
    remedy: 'ip link set {device} up on {node}',
  },
  TunnelEntryMissing: {
    effect: 'all',
    when: 'The VXLAN device has no forwarding entry of the other node, or a wrong one',
    proof: 'the kernel',
    by: 'foreign',
    remedy: 'bridge fdb replace {mac} dev {device} dst {address} self permanent on {node}',
  },
  NeighbourWrong: {
    effect: 'all',
    when: 'A permanent neighbour entry that Margay did not write gives a node or a router a wrong MAC',
    proof: "the other node's own MAC is another, or the condition NeighboursRight of the node, which asked",
    by: 'foreign',
    remedy: 'ip neighbour del {address} dev {device} on {node}',
  },
  NeighbourFailed: {
    effect: 'all',
    when: 'The next hop does not answer ARP or neighbour discovery',
    proof: 'the kernel says failed, and a packet sent now or the probes of the path got no answer',
    by: 'fabric',
    remedy: 'look whether {address} runs and is on the same link as {device} of {node}',
  },
  UplinkDown: {
    effect: 'all',
    when: 'The interface by which the packets leave the node is down or has no carrier',
    proof: 'the kernel',
    by: 'unknown',
    remedy: 'ip link set {device} up on {node}; look at its cable or its bond',
  },
  MtuPath: {
    effect: 'large',
    when: 'Packets as large as pods send them do not pass whole between two nodes',
    proof: 'probes of several sizes',
    by: 'fabric',
    remedy:
      'set the MTU of the tunnels and pods so that {mtu} octets are enough (FelixConfiguration vxlanMTU, ipipMTU), or raise that of the network',
  },
  VxlanLost: {
    effect: 'all',
    when: 'VXLAN packets (UDP 4789) between two nodes are lost while the nodes reach each other',
    proof:
      'probes of the path are lost and the other node answers, or a traced packet left one node and did not come in on the other; nothing on either node stops it',
    by: 'fabric',
    remedy:
      'let UDP port 4789 through between {node} and {other}, both ways: security groups, firewalls of the network and of the nodes',
  },
  IpipLost: {
    effect: 'all',
    when: 'IP-in-IP packets (protocol 4) between two nodes are lost while the nodes reach each other',
    proof: 'as VxlanLost',
    by: 'fabric',
    remedy: 'let IP protocol 4 through between {node} and {other}, both ways, or use VXLAN for the pool',
  },
  PathLost: {
    effect: 'all',
    when: 'Packets between the pods of two nodes are lost without a tunnel',
    proof: 'as VxlanLost; or the other node does not answer either, by its own address',
    by: 'fabric',
    remedy:
      'let addresses of pods through between {node} and {other} (source checks of a cloud), or look whether {other} is up and connected',
  },
  ConntrackFull: {
    effect: 'all',
    when: 'The table of connections of a node is full: new ones are dropped',
    proof: 'the kernel: as many entries as there may be',
    by: 'unknown',
    remedy: 'sysctl -w net.netfilter.nf_conntrack_max=NUMBER on {node}, and look who opens so many: conntrack -L',
  },
  NoListener: {
    effect: 'all',
    when: 'Nothing listens on the port of the pod',
    proof: 'a traced connection was delivered to the pod and refused',
    by: 'operator',
    remedy: 'start what listens on port {port} of the pod, on its own address and not only on localhost',
  },
  PortRefused: {
    effect: 'all',
    when: 'The pod itself or something in its namespace says that the destination cannot be reached',
    proof: 'a traced packet was delivered to the pod and answered as unreachable',
    by: 'operator',
    remedy: 'look at the firewall and the listening programs inside the pod',
  },
} as const satisfies Record<string, CauseRow>

export type CauseCode = keyof typeof CAUSES

const PAGE = 'docs/explain.md'

/** The anchor of a code, as Markdown gives it to the heading of that name. */
function pageOf(code: CauseCode): string {
  return `${PAGE}#${code.toLowerCase()}`
}

/** What the walk found, for one row of the table. `values` fill its remedy beside `node`. */
export type Found = {
  code: CauseCode
  node: string
  object?: NamedObject
  message: string
  setBy?: SetBy
  values?: Readonly<Record<string, string | number | undefined>>
}

/** The cause in whole. A value that is not known stands as `?` in the remedy. */
export function causeOf({ code, node, object, message, setBy, values = {} }: Found): Cause {
  const row: CauseRow = CAUSES[code]
  const all: typeof values = { node, ...values }
  return {
    code,
    effect: row.effect,
    node,
    ...(object !== undefined && { object }),
    message,
    setBy: setBy ?? { who: row.by, text: '' },
    remedy: row.remedy.replace(/\{(\w+)\}/g, (_, word: string) => `${all[word] ?? '?'}`),
    page: pageOf(code),
  }
}
