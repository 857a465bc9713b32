// Settings of Calico's that nothing here reads, by groups, and what holds instead: for the texts of unsupported.ts. A name that
// ends with `*` stands for all that begin so. The first group that has a name counts.
import type { Kind } from './kinds.ts'

export type UnreadGroup = {
  kind: Kind
  names: readonly string[]
  instead: string
  comesWith: string
  /** What somebody relies on: it is told as not enforced. */
  guards?: true
}

const felix = (names: string, instead: string, comesWith: string, guards?: true): UnreadGroup => ({
  ...{ kind: 'FelixConfiguration' as const, names: names.split(' '), instead, comesWith },
  ...(guards && { guards }),
})

const bgp = (names: string, instead: string, comesWith: string): UnreadGroup => ({
  ...{ kind: 'BGPConfiguration' as const, names: names.split(' '), instead, comesWith },
})

const OTHER_PROGRAM = 'nothing: it is about how the other program is built'

export const UNREAD: readonly UnreadGroup[] = [
  felix('wireguard*', 'packets between nodes are not encrypted', 'WireGuard', true),
  felix(
    'allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads',
    'tunnel packets of pods to nodes are always dropped',
    'nothing yet',
  ),
  felix(
    'bpf* xdp* genericXDPEnabled cgroupV2Path',
    "there is no data plane in eBPF: the kernel's routes and nftables carry everything",
    'nothing: the data plane is the kernel as it is',
  ),
  felix(
    'iptables* chainInsertMode kubeNodePortRanges ipsetsRefreshInterval maxIpsetSize featureDetectOverride',
    'iptables is not used: rules lie in nftables tables of our own',
    'nothing: nftables does it',
  ),
  felix(
    'nftablesFilter* nftablesMangle* nftablesMarkMask nftablesMode nftablesRefreshInterval',
    'nftables are always used, in tables of our own, and put back when somebody changes them',
    'nothing yet',
  ),
  felix(
    'logFilePath logSeverityFile logSeveritySys logDebugFilenameRegex',
    'the log goes to the standard output alone',
    'nothing: whoever runs the container keeps its log',
  ),
  felix(
    'logPrefix',
    'what rules Log tell of goes to margayctl flows, with policy and rule by their names, and not to the log of the kernel',
    'nothing: every flow names its policy',
  ),
  felix(
    'flowLogs* policySyncPathPrefix',
    'of flows those are told that are denied or that a rule logs (margayctl flows)',
    'flows that are allowed',
  ),
  felix(
    'health*',
    '/livez and /readyz are always answered, at the address of --listen',
    'nothing: an answer costs nothing',
  ),
  felix(
    'endpointReporting* endpointStatusPathPrefix reporting* usageReporting*',
    'nothing is reported to anybody: conditions, metrics and events are asked for',
    'nothing: margayctl and the metrics tell it',
  ),
  felix(
    'ipipEnabled vxlanEnabled',
    'the modes of the IPPools say which tunnels there are',
    'nothing: a second record of the same fact could differ',
  ),
  felix(
    'routeSource routeSyncDisabled routeTableRange* deviceRouteSourceAddress* ipv4*RoutePriority ipv6*RoutePriority',
    'routes lie in the main table as DESIGN.md has them, and BGP tells of the blocks',
    'nothing: routes are the same on every node',
  ),
  felix(
    'netlinkTimeout interfaceRefreshInterval interfaceExclude mtuIfacePattern requireMTUFile localSubnetL2Reachability*',
    'the kernel tells of every change, the uplink is the interface of the node address, and its MTU counts',
    'nothing: there is nothing to ask for',
  ),
  felix('ipForwarding ipv6Support', 'forwarding is on, in the families that the pools have', 'nothing: pods need it'),
  felix('externalNodesList', 'nothing is done for them', 'nothing yet'),
  felix('nodeSelector', 'of the objects for some nodes only node.NAME is read', 'settings by selector'),
  felix(
    'openstackRegion metadata* awsSrcDstCheck windowsManageFirewallRules istio* sidecarAccelerationEnabled liveMigration*',
    'nothing is done for this cloud or program',
    'nothing yet',
  ),
  felix(
    'go* debug* feature* dataplane* useInternalDataplaneDriver disableConntrackInvalidCheck',
    'it has no meaning in this program',
    OTHER_PROGRAM,
  ),
  bgp('ignoredInterfaces', 'routes of interfaces are not announced', 'nothing: there is nothing to leave out'),
  {
    ...{ kind: 'IPAMConfiguration', names: ['kubeVirtVMAddressPersistence'] },
    instead: 'a virtual machine that moves gets another address',
    comesWith: 'nothing yet',
  },
]

/** The group of a setting; undefined when there is none. */
export function unreadGroup(kind: Kind, name: string): UnreadGroup | undefined {
  return UNREAD.find(group => group.kind === kind && group.names.some(pattern => standsFor(pattern, name)))
}

function standsFor(pattern: string, name: string): boolean {
  const [first = '', last] = pattern.split('*')
  return last === undefined ? name === first : name.startsWith(first) && name.endsWith(last)
}
