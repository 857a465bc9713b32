// All that a runtime can say to us: verbs, variables, CNI_ARGS and the keys of a configuration, a row each. The parser reads no
// key without a row (`KeyName`), and docs/cni.md is written from the rows.

/** The plugin's second name, under which it is the IPAM plugin of others (`ipam/`). plugin.c knows both. */
export const IPAM_PROGRAM = 'margay-ipam'

export type CniVerb = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'

type Needed = 'CNI_CONTAINERID' | 'CNI_NETNS' | 'CNI_IFNAME' | 'CNI_PATH'

/** One row per verb: the variables it needs, since which version it may be called, and what it does here. */
export const VERBS: Readonly<Record<CniVerb, { needs: readonly Needed[]; since: string; does: string }>> = {
  ADD: {
    ...{ needs: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'], since: '0.1.0' },
    does: 'makes the interface, or leaves nothing behind. Again for the same container and interface, as runtimes do that timed out, it gives the same result; for an interface that something else made it is code 4',
  },
  DEL: {
    ...{ needs: ['CNI_CONTAINERID', 'CNI_IFNAME'], since: '0.1.0' },
    does: 'deletes what is there of the interface and frees its addresses. It needs no namespace and no prevResult, and is fine where nothing is left',
  },
  CHECK: {
    ...{ needs: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'], since: '0.4.0' },
    does: 'compares links, MACs, MTU, settings, addresses, neighbours and routes of both sides, the pod filter, policies, limits of packets and reserved addresses with what they must be, and names each difference. MAC and MTU are those that prevResult has, and where it has no MTU a smaller one is none; routes that prevResult does not have any more, or that are in another table (`sbr`, `vrf`), are no fault',
  },
  GC: {
    ...{ needs: ['CNI_PATH'], since: '1.1.0' },
    does: 'deletes the interfaces of this network that the runtime does not list, and frees addresses that nobody has. What was made in the last minute and has its namespace stays until another GC: the list may be older',
  },
  STATUS: {
    ...{ needs: [], since: '1.1.0' },
    does: 'says whether this node serves pods. A node that served pods and has no address left stays fine for it, since a kubelet takes a node whose STATUS fails for NotReady; ADD has the reason then',
  },
  VERSION: { needs: [], since: '0.1.0', does: 'lists the versions; it needs no agent' },
}

/** What each variable is for. */
export const VARIABLES = {
  CNI_COMMAND: 'the verb',
  CNI_CONTAINERID: 'begins with a letter or digit and holds letters, digits, `_`, `.` and `-`, at most 253',
  CNI_NETNS:
    'absolute path of the namespace: a name below `/run/netns`, or any other path, also of a process (`/proc/PID/ns/net`), which the plugin mounts below `/run/netns` for the agent. Not the host’s own',
  CNI_NETNS_OVERRIDE: '`1`: it may be the host’s own',
  CNI_IFNAME: 'name in the container: 1 to 15 octets, not `.` or `..`, no `/`, `:` or white space',
  CNI_ARGS: '`KEY=VALUE;KEY=VALUE`; keys that have no row below are ignored',
  CNI_PATH: 'needed by GC; where the plugin of `ipam.type` is looked for, and no other one',
} as const

/** The keys of CNI_ARGS. */
export const ARGS = {
  K8S_POD_NAMESPACE:
    'with K8S_POD_NAME: the pod, whose policies hold and whose name the interface on the host is made of',
  K8S_POD_NAME: 'a name of more than 253 characters is none: the container is known by its id alone',
  K8S_POD_UID: 'tells a pod from an earlier one of that name',
  IP: 'addresses, separated by commas, where neither an annotation nor `runtimeConfig.ips` nor `args.cni.ips` names any',
  MAC: 'where neither an annotation nor `runtimeConfig.mac` names one',
} as const

const OWN_RANGE =
  'absent: make an IPPool, and name it in ipam.ipv4_pools or ipv6_pools; it may be there where ipam.type names another plugin'

/** `absent`: what holds without the key. `instead`: what must be in its place, or ADD is refused. */
type Key = { is: string; absent: string; means: string } | { instead: string }

/** By path. */
export const KEYS = {
  cniVersion: { is: 'text', absent: '`0.1.0`', means: 'version of the specification, in which the result is written' },
  name: { is: 'text', absent: 'code 7', means: 'the network; the form is that of CNI_CONTAINERID' },
  agentSocket: { is: 'absolute path', absent: '`/run/margay/agent.sock`', means: 'where the agent listens' },
  mtu: { is: '0, or 68 to 65535', absent: '0: the node’s, also when it changes', means: 'octets, on both sides' },
  ipam: { is: 'object', absent: 'an empty one', means: 'which addresses' },
  'ipam.type': {
    ...{
      is: '`""`, `margay`, `margay-ipam` or `calico-ipam`, or the name of another plugin, but `dhcp`',
      absent: '`margay`',
      means: 'who gives the addresses: IPPools, or that plugin (below)',
    },
  },
  'ipam.assign_ipv4': {
    ...{ is: '`true`, `false` or `"auto"`', absent: '`true`' },
    means:
      'an IPv4 address. `"auto"`, which the installed configuration has: where a pool serves the pod, of one family at the least. What a pool serves is given, or ADD is refused',
  },
  'ipam.assign_ipv6': { is: 'the same', absent: '`false`', means: 'an IPv6 address' },
  'ipam.ipv4_pools': {
    ...{ is: 'list of names or CIDRs of IPPools', absent: 'those that choose node and namespace' },
    means: 'the pools of the IPv4 address, in this order',
  },
  'ipam.ipv6_pools': { is: 'the same', absent: 'the same', means: 'the pools of the IPv6 address' },
  'ipam.subnet': { instead: OWN_RANGE },
  'ipam.ranges': { instead: OWN_RANGE },
  'ipam.rangeStart': { instead: OWN_RANGE },
  'ipam.rangeEnd': { instead: OWN_RANGE },
  'ipam.addresses': { instead: OWN_RANGE },
  dns: { is: 'object', absent: 'that of the plugins before', means: 'goes into the result as it is' },
  'dns.nameservers': { is: 'list of texts', absent: 'none', means: 'as in the specification' },
  'dns.domain': { is: 'text', absent: 'none', means: 'as in the specification' },
  'dns.search': { is: 'list of texts', absent: 'none', means: 'as in the specification' },
  'dns.options': { is: 'list of texts', absent: 'none', means: 'as in the specification' },
  args: { is: 'object', absent: 'nothing', means: '`args.cni` alone is read' },
  'args.cni': { is: 'object', absent: 'nothing', means: '`ips` alone is read' },
  'args.cni.ips': {
    ...{ is: 'list of addresses, `ADDRESS` or `ADDRESS/LENGTH`', absent: 'any address' },
    means: 'as the capability `ips`, which goes before it',
  },
  runtimeConfig: { is: 'object', absent: 'nothing', means: 'what the runtime fills in; see the capabilities' },
  'runtimeConfig.dns.servers': { is: 'list of texts', absent: '`dns.nameservers`', means: 'in its place' },
  'runtimeConfig.dns.searches': { is: 'list of texts', absent: '`dns.search`', means: 'in its place' },
  'runtimeConfig.dns.options': { is: 'list of texts', absent: '`dns.options`', means: 'in its place' },
  prevResult: {
    ...{ is: 'result', absent: 'none; code 7 for CHECK' },
    means:
      'of the plugins before; of the whole chain for CHECK. It goes into our result as it came, with ours behind it',
  },
  'cni.dev/valid-attachments': {
    ...{ is: 'list of objects with `containerID` and `ifname`', absent: 'code 7: GC deletes nothing' },
    means: 'what GC leaves; null is an empty list',
  },
} as const satisfies Readonly<Record<string, Key>>

/**
 * `blocks`: of how many the addresses of a network may be on a node. `needsGateway`: without `isGateway` or `isDefaultGateway` it is refused.
 * `isOnLan`: its containers are on the LAN of its master. `mode`: the only one in which they are; absent: they are in each.
 */
export type Delegating = { blocks: 'one' | 'any'; needsGateway?: true; isOnLan?: true; mode?: string; does: string }

/**
 * The plugins that may name margay-ipam in `ipam.type`, by what their sources make of what they are given (containernetworking/plugins
 * 1.1.1): bridge and ptp want a gateway, and neither a single address (ptp deletes the route to the subnet that the kernel makes of an
 * address, and fails where there is none); macvlan and ipvlan put the address on an interface of the LAN, as it is.
 */
export const DELEGATING: Readonly<Record<string, Delegating>> = {
  bridge: {
    ...{ blocks: 'one', needsGateway: true },
    does: 'with `isGateway` or `isDefaultGateway`, or it is refused: the bridge has the gateway’s address, and its containers find each other on it. It has one address, so a network has one block of each family on a node, and a full one refuses ADD',
  },
  ptp: {
    blocks: 'any',
    does: 'the host’s end of each pair has the gateway’s address; a network gets as many blocks as it needs',
  },
  macvlan: {
    ...{ blocks: 'any', isOnLan: true },
    does: 'its containers are on the LAN of `master`: with `ipam.subnet`, `ipam.gateway` and pools of addresses of the LAN (below)',
  },
  ipvlan: {
    ...{ blocks: 'any', isOnLan: true, mode: 'l2' },
    does: 'the same, in `mode` `l2` alone, which is its default: in `l3` and `l3s` nobody on the LAN hears who has an address',
  },
}

/** Of a configuration of another plugin that asks margay-ipam for addresses, beside `cniVersion`, `name`, `dns`, `args` and the keys of `ipam` above. */
export const IPAM_KEYS = {
  type: { is: 'name', absent: 'refused', means: 'the plugin that asks: it must have a row above' },
  isGateway: {
    is: '`true`',
    absent: '`isDefaultGateway` must be',
    means: 'of `bridge`: it has the address of the gateway',
  },
  isDefaultGateway: { is: '`true`', absent: '`isGateway` must be', means: 'the same, with a default route' },
  mode: { is: '`l2`', absent: '`l2`', means: 'of `ipvlan`; of others it is theirs' },
  'ipam.subnet': {
    ...{ is: 'CIDR, or a list with one of each family', absent: 'refused for `macvlan` and `ipvlan`' },
    means: 'the LAN; its length is that of the addresses. Refused for `bridge` and `ptp`, whose subnets are blocks',
  },
  'ipam.gateway': {
    ...{ is: 'address in `ipam.subnet`, or a list with one of each family', absent: 'none: `routes` need a `gw` each' },
    means: 'the router of the LAN. Refused for `bridge` and `ptp`, whose gateways are of their blocks',
  },
  'ipam.routes': {
    ...{ is: 'list of objects with `dst`', absent: 'none' },
    means:
      'goes into the result as it is. The plugin that asks makes them, through the gateway where a route has no `gw`',
  },
} as const satisfies Readonly<Record<string, Key>>

type Segment<K> = K extends `${infer A}.${infer B}` ? A | Segment<B> : K

/** What the parser may look up. */
export type KeyName =
  | Segment<keyof typeof KEYS | keyof typeof IPAM_KEYS>
  | keyof typeof KEYS
  | keyof typeof IPAM_KEYS
  | 'containerID'
  | 'ifname'

/** The keys below `ipam` that are refused, with what must be in their place. */
export function refusedOfIpam(): [key: KeyName, instead: string][] {
  return Object.entries(KEYS).flatMap(([path, key]): [KeyName, string][] =>
    'instead' in key ? [[path.replace('ipam.', '') as KeyName, key.instead]] : [],
  )
}
