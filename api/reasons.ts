// Over 400 lines: one table, which grows by rows alone.
// Every reason that a condition can have: a closed table, from which the compiler takes the words that code may use, docs/conditions.md
// its rows and every message the page that it names. `when` says what is so, `cure` what to do about it where the condition itself
// cannot be more exact.

/** What a reason means, and what an operator does. */
export type ReasonRow = { when: string; cure: string }

/** What writes of the API server end with (datastore/port.ts). */
const STORE = {
  Unreachable: { when: 'the API server does not answer', cure: 'look at ApiServerConnected' },
  Refused: { when: 'the API server refuses the write', cure: 'look at what it says: rights, quotas, webhooks' },
  Conflict: { when: 'others write the same object all the time', cure: 'look who else writes it' },
  NotFound: { when: 'the object, or its kind, is not there', cure: 'apply the manifests of this version again' },
} as const satisfies Record<string, ReasonRow>

/** What the kernel says to a port that is to be listened at. */
const LISTEN = {
  PortInUse: { when: 'another program has the port', cure: 'stop that program, or choose another port' },
  NoSuchAddress: { when: 'the address is none of this node', cure: 'choose an address that the node has' },
  CannotListen: { when: 'the kernel refuses it for another reason', cure: 'look at what the system says' },
} as const satisfies Record<string, ReasonRow>

const NO_NFTABLES: ReasonRow = {
  when: 'this kernel has no nftables of that family',
  cure: 'load the modules that the remedy names, or use another kernel',
}
const NO_NAT: ReasonRow = {
  when: 'this kernel has no NAT of nftables',
  cure: 'load nft_chain_nat, nft_nat and nft_masq',
}
const REFUSED: ReasonRow = {
  when: 'the kernel refuses what is wanted',
  cure: 'it is tried again; the message has what the kernel says',
}
const NOT_SHOWN: ReasonRow = { when: 'the kernel took it, and does not show it', cure: 'find out who removes it' }
const NO_SESSION_PASSWORD = 'correct the Secret, at both ends'

/** By condition (CONDITION_TYPES of status.ts), then by reason. */
export const REASONS = {
  NodeAddressKnown: {
    NoAddress: {
      when: 'no address of the machine can be chosen for sessions and tunnels',
      cure: 'give the uplink an address, or name one of the machine: --node-ip (nodeIp of the ConfigMap)',
    },
    NotSeen: {
      when: 'the kernel could not be asked for the addresses of the machine',
      cure: 'wait a moment; then look at the message',
    },
  },
  FamiliesReachable: {
    NoIpv4Address: { when: 'there are IPv4 pools and the node has no IPv4 address', cure: 'give the uplink one' },
    NoIpv6Address: {
      when: 'there are IPv6 pools without VXLAN and the node has no IPv6 address',
      cure: 'give the uplink one, or set vxlanMode of all IPv6 pools',
    },
    NoCommonFamily: {
      when: 'this node and another one have no address of the same family',
      cure: 'give both an address of one family',
    },
  },
  DefaultRouteKept: {
    DefaultRouteLost: {
      when: 'the default route that the node had is gone',
      cure: 'put it back, and look at what removed it: link, DHCP client, network manager',
    },
  },
  NodeObjectKnown: {
    NoNodeObject: {
      when: 'the API server has no Node object of this name',
      cure: 'register the node again (restart its kubelet), or start the agent with the right name',
    },
  },
  NodePublished: {
    Forbidden: { when: 'the API server forbids it', cure: 'let the agents’ account patch nodes/status (RBAC)' },
    ...STORE,
  },
  KernelProgrammed: {
    NotApplied: {
      when: 'the agent started and the kernel has not taken everything yet',
      cure: 'wait a few seconds; then look at KernelInSync',
    },
  },
  PodTrafficPasses: {
    NoCarrier: { when: 'the uplink has no carrier', cure: 'look at the cable and at the port of the switch' },
    LinkDown: { when: 'an interface that pods need is down', cure: 'take it up: ip link set NAME up' },
    NoInterface: {
      when: 'an interface that pods need is not there',
      cure: 'bring it back; if the uplink was renamed, restart the agent',
    },
    ForeignOwner: {
      when: 'another program holds what must be ours',
      cure: 'remove what the message names, and what makes it',
    },
    Refused: REFUSED,
    NotShown: NOT_SHOWN,
    ForeignChainDrops: {
      when: 'a chain of another program drops packets between pods, before any accept rule that can be put in',
      cure: 'let it accept packets from and to cali+ interfaces',
    },
  },
  PoolsKnown: {
    NotSeen: { when: 'no IPPool was ever seen', cure: 'look at ApiServerConnected, then create an IPPool' },
  },
  PoolsUsable: {
    NoPool: { when: 'there is no IPPool', cure: 'create one' },
    AllDisabled: { when: 'every IPPool is disabled', cure: 'enable one' },
    NoPoolForNode: {
      when: 'no IPPool selects this node',
      cure: 'check nodeSelector and allowedUses of the pools, and the labels of the Node',
    },
    NoBlock: {
      when: 'the node has no block and gets none',
      cure: 'look at the message: pools full, limits, API server',
    },
  },
  AddressesLeft: {
    AllInUse: {
      when: 'no address is free and no block is to be had',
      cure: 'create another IPPool, or look at BlocksLeft',
    },
  },
  BlocksLeft: {
    NoBlock: { when: 'no block is to be had', cure: 'look at the message' },
    Scarce: { when: 'blocks are only had when another node gives one back', cure: 'create another IPPool' },
    PoolsFull: { when: 'every block of the pools has an owner', cure: 'create another IPPool' },
    BlockLimit: {
      when: 'the node has as many blocks as it may',
      cure: 'raise maxBlocksPerHost of the IPAMConfiguration',
    },
    Unreachable: { when: 'a block cannot be asked for: the API server is away', cure: 'look at ApiServerConnected' },
  },
  PoolsDisjoint: {
    Overlap: { when: 'an IPPool overlaps an older one and is not used', cure: 'delete one of them' },
    NodeSubnet: {
      when: 'pods get addresses of the subnet of the node, which machines there may have',
      cure: 'reserve that part in an IPReservation, or make a pool elsewhere',
    },
  },
  NetworkConfigured: {
    NotKept: { when: 'the file cannot be written or read', cure: 'look at the disk and the mounts' },
    Replaced: { when: 'the file is another network’s now', cure: 'remove it, or remove this network: docs/install.md' },
    OtherNetwork: { when: 'our file is gone and another network’s is there', cure: 'remove that one, or this network' },
    Missing: { when: 'the file is not there', cure: 'it is put back; else restart the node’s margay-node pod' },
    OtherNetworkFirst: { when: 'another network’s file comes before ours', cure: 'remove that file' },
  },
  ConnectionsTracked: {
    TableFull: {
      when: 'the connection tracking table is full: new connections are dropped',
      cure: 'raise net.netfilter.nf_conntrack_max, and look who fills it',
    },
  },
  ConnectionsRoom: {
    NearlyFull: {
      when: 'nine tenths of the connection tracking table were in use, and are still more than 85 %',
      cure: 'raise net.netfilter.nf_conntrack_max, and look who fills it',
    },
  },
  ConnectionsCut: {
    Refused: { when: 'the kernel does not list or delete connections', cure: 'load nf_conntrack_netlink' },
  },
  ForeignRoutesPass: {
    ForeignRule: {
      when: 'a rule (`ip rule`) of another program takes packets to pods',
      cure: 'remove it, and what makes it',
    },
    NoRule: {
      when: 'no rule leads to the table main',
      cure: 'ip rule add priority 32766 lookup main, of IPv6 ip -6 rule',
    },
    ForeignRoute: { when: 'a route of another program takes packets to pods', cure: 'remove it, and what makes it' },
  },
  SettingsRight: {
    ReversePathStrict: {
      when: 'net.ipv4.conf.all.rp_filter makes the filter of the reverse path strict on a tunnel',
      cure: 'set it to 2 or 0',
    },
    ArpIgnored: {
      when: 'arp_ignore 8 keeps the node from answering ARP on its uplink',
      cure: 'set it to 0, or to what the load balancer needs, which is 1 or 2',
    },
  },
  NeighboursRight: {
    ForeignNeighbour: {
      when: 'a permanent neighbour entry of another program has a MAC that does not answer for the address, and another one does',
      cure: 'if that one is the right machine, remove the entry, and what makes it; else find who answers in its place',
    },
  },
  ForeignChainsPass: {
    ForeignChainMayDrop: {
      when: 'a chain of another program may drop packets between pods; its rules do not tell',
      cure: 'let it accept packets from and to cali+ interfaces',
    },
  },
  ApiServerConnected: {
    NoDescriptor: { when: 'the agent has no file descriptor left', cure: 'raise its limit; look at DescriptorsLeft' },
    NothingListens: { when: 'nothing listens at the server’s address', cure: 'look whether the API server runs' },
    ConnectionLost: {
      when: 'connections are reset',
      cure: 'look whether the API server restarts, and at what is between',
    },
    NoRoute: { when: 'there is no route to the server', cure: 'look at the routes of the node' },
    NoLocalAddress: { when: 'the node has no address to connect from', cure: 'look at the addresses of the node' },
    Filtered: { when: 'something refuses the connection by ICMP', cure: 'look at firewalls between' },
    NoAnswer: { when: 'the server does not answer', cure: 'look at it, and at firewalls between' },
    NameUnknown: {
      when: 'DNS does not know the server’s name',
      cure: 'correct the kubeconfig, or add the name to DNS',
    },
    NoNameServer: { when: 'no name server answers', cure: 'look at /etc/resolv.conf and the route there' },
    CertificateExpired: { when: 'a certificate is out of date', cure: 'renew it' },
    CertificateNotYetValid: { when: 'a certificate is not valid yet', cure: 'look at the clocks of both machines' },
    NotTrusted: {
      when: 'the server’s certificate is not trusted',
      cure: 'correct the certificate authority in the kubeconfig',
    },
    NotServed: { when: 'the server does not serve a kind that is needed', cure: 'apply the CRDs of this version' },
    TooManyRequests: { when: 'the server asks to wait (429)', cure: 'look at its load and its flow control' },
    ServerFails: { when: 'the server answers with errors', cure: 'look at its log' },
    NoApiServer: { when: 'what answers is no API server', cure: 'correct the server in the kubeconfig' },
    Disconnected: {
      when: 'a watch is broken for another reason',
      cure: 'look at the message, and at the server’s log',
    },
    Unauthorized: { when: 'token or client certificate are not accepted', cure: 'put a valid one into the kubeconfig' },
    Forbidden: { when: 'the account may not read something', cure: 'give it the right that the message names' },
  },
  ClusterRecognised: {
    NotBelieved: {
      when: 'the API server is of another cluster, or lost most of what this node knows: nothing it says is used',
      cure: 'restore the server’s data, or accept what it says now: margayctl node accept-cluster',
    },
  },
  TunnelsAddressed: {
    NoTunnelAddress: { when: 'a tunnel device has no address', cure: 'see that a pool of its kind has one to give' },
  },
  DescriptorsLeft: {
    NoDescriptor: { when: 'no file can be opened', cure: 'raise the limit of open files, and look what holds them' },
  },
  PodsEntered: {
    Forbidden: { when: 'the agent may enter no network namespace', cure: 'give its container CAP_SYS_ADMIN' },
  },
  JournalWritable: {
    NotWritable: { when: 'the data directory cannot be written', cure: 'look at its disk, and make it writable' },
    DiskFull: { when: 'its disk is full', cure: 'make room' },
  },
  JournalKept: {
    Damaged: { when: 'a file of it was damaged and set aside', cure: 'check the disk, and remove the file' },
    NotWritable: {
      when: 'the data directory cannot be written, so the journal is elsewhere until the next boot',
      cure: 'make it writable, then restart the agent',
    },
    PasswordNotKept: {
      when: 'BGP passwords cannot be written beside the journal',
      cure: 'make the data directory writable; until then a restart needs the API server',
    },
  },
  JournalComplete: {
    PodsAdopted: {
      when: 'pods were found in the kernel that the journal did not know',
      cure: 'restart those pods in time',
    },
  },
  PeersConfigured: {
    SeveralRouters: {
      when: 'more than one router is on the link of a peer by interface',
      cure: 'name them by addresses',
    },
    BadMultipath: { when: 'annotation margay.io/Multipath cannot be read', cure: 'write it as docs/bgp.md says' },
    BadInterface: {
      when: 'annotation margay.io/Interface names no interface',
      cure: 'write the name of one interface',
    },
    BadRange: { when: 'annotation margay.io/Range names no usable prefix', cure: 'write one prefix, and limit=N' },
    NotForRanges: { when: 'a field has no meaning for a range of peers', cure: 'remove it' },
    TwoPlaces: { when: 'two of peerIP, peerSelector and the annotations say where the peer is', cure: 'keep one' },
    SecretNotRead: { when: 'the Secret with the password was not read yet', cure: 'wait a moment' },
    Forbidden: {
      when: 'the API server does not let the agent read the Secret',
      cure: 'give it the Role that the remedy names',
    },
    NoSecret: {
      when: 'the Secret is not there, or there can be none of that name',
      cure: 'create it, or correct secretKeyRef',
    },
    NoKey: { when: 'the Secret has no such key', cure: NO_SESSION_PASSWORD },
    EmptyPassword: { when: 'the password is empty', cure: NO_SESSION_PASSWORD },
    LongPassword: { when: 'the password is longer than the kernel takes', cure: 'take a shorter one, at both ends' },
    NoText: { when: 'the password holds a line end, or is no text', cure: NO_SESSION_PASSWORD },
    TooManySecrets: {
      when: 'more Secrets are named than an agent reads',
      cure: 'put several passwords under keys of one Secret',
    },
    TooManyRules: { when: 'a BGPFilter has more rules than are taken', cure: 'split it, or summarise its prefixes' },
    FilterMissing: { when: 'a BGPFilter that is named is not there', cure: 'create it, or take its name away' },
    FilterInvalid: { when: 'a BGPFilter cannot be read', cure: 'correct it' },
    NoAddressOfFamily: { when: 'the node has no address of the peer’s family', cure: 'give it one' },
    UnsignedInRange: { when: 'a peer without password lies in a range with one', cure: 'give both the same password' },
    NoPeeringAddress: {
      when: 'no address is set for sessions with pods',
      cure: 'set localWorkloadPeeringIPV4 or IPV6',
    },
    NotForPods: { when: 'a field has no meaning for peers in pods', cure: 'remove it' },
    BadBFD: { when: 'annotation margay.io/BFD cannot be read', cure: 'write it as docs/bgp.md says' },
    LongKey: { when: 'the key of BFD is longer than can be sent', cure: 'take a shorter one, at both ends' },
    BadASNumber: { when: 'the AS number of a node cannot be read', cure: 'correct the annotation of that Node' },
    BadTCPAO: { when: 'annotation margay.io/TCPAO cannot be read', cure: 'write it as docs/bgp.md says' },
    NoPeers: {
      when: 'the mesh is off and no BGPPeer is for this node',
      cure: 'create a BGPPeer, or switch the mesh on',
    },
    BadAddress: { when: 'peerIP is no address', cure: 'correct it' },
    NoAsNumber: { when: 'the peer has no AS number', cure: 'set asNumber' },
    RangeOfPods: { when: 'a range of peers holds addresses of pods', cure: 'write another prefix' },
    AddressClash: { when: 'two peers have one address', cure: 'delete one of them' },
    Closed: {
      when: 'a field that cannot be read could have closed the session, so there is none',
      cure: 'correct the field',
    },
  },
  SessionsAccepted: {
    ...LISTEN,
    NoDescriptor: { when: 'the agent has no file descriptor left', cure: 'look at DescriptorsLeft' },
    Forbidden: { when: 'the agent may not listen at the port', cure: 'give its container CAP_NET_BIND_SERVICE' },
    RangeFull: {
      when: 'a range has as many neighbours as it may',
      cure: 'write a larger limit=N, or a smaller prefix',
    },
  },
  BfdOnTime: {
    NoPriority: { when: 'the thread of BFD got no priority', cure: 'give the container CAP_SYS_NICE' },
  },
  PathsWatched: {
    BfdDown: {
      when: 'the session is up and its BFD is not',
      cure: 'switch BFD on at the peer, let its UDP port through',
    },
    BfdRefused: { when: 'BFD cannot be begun', cure: 'look at the message' },
  },
  PathsPass: {
    VxlanSilent: {
      when: 'the node answers, and neither probes nor the address of its tunnel do, which are sent to in VXLAN',
      cure: 'look at what both nodes say of themselves, either of which may keep packets; if nothing, let UDP port 4789 (or vxlanPort of FelixConfiguration) pass between the addresses of the nodes, both ways',
    },
    IpipSilent: {
      when: 'the node answers, and neither probes nor the address of its tunnel do, which are sent to in IP-in-IP',
      cure: 'look at what both nodes say of themselves, either of which may keep packets; if nothing, let IP protocol 4 pass between the addresses of the nodes, both ways, or use VXLAN',
    },
    PathLost: {
      when: 'probes that the node answered before are not answered any more, and nothing proves why',
      cure: 'look for what drops forwarded packets on both nodes, and for checks of source addresses in the network',
    },
    NoRoute: {
      when: 'this node has no route to the node’s pods, or a rule or route of another program refuses it',
      cure: 'look at ForeignRoutesPass, BlocksReachable and KernelInSync',
    },
    SourceTranslated: {
      when: 'probes of the node arrive under an address of the node, and not under their own',
      cure: 'take out of the rules of other programs that masquerade what goes from pods to pods',
    },
  },
  PathMtuFits: {
    PacketsTooLarge: {
      when: 'probes of the size of the largest packets of pods are lost, and smaller ones pass',
      cure: 'raise the MTU of the network between the nodes, or lower that of tunnels and uplinks',
    },
  },
  PeersUp: {
    NoInterface: { when: 'the interface of the peer is not there', cure: 'bring it back, or correct its name' },
    SessionDamped: { when: 'the session came and went too often', cure: 'look at why it goes down (docs/bgp.md)' },
    SessionDown: {
      when: 'there is no session for over five minutes',
      cure: 'follow the remedy (docs/bgp.md has them all)',
    },
  },
  SessionsUp: {
    NotAccepted: {
      when: 'one end does not accept the other, as the message says',
      cure: 'follow the remedy; docs/bgp.md has the reasons',
    },
    NoRoute: { when: 'the kernel has no way to the node', cure: 'look at routes and rules: `ip route get ADDRESS`' },
    NeighbourWrong: {
      when: 'a neighbour entry of another program gives the node, or the router to it, a wrong MAC',
      cure: 'follow the remedy of NeighboursRight',
    },
    NeighbourSilent: {
      when: 'nobody on the link says that it has the address of the node, or of the router to it',
      cure: 'look at that machine, its link and VLANs',
    },
    AgentAway: {
      when: 'the node refuses connections to the BGP port',
      cure: 'start the agent there: look at its pod and log',
    },
    NodeSilent: { when: 'the node answers neither BGP nor ping', cure: 'see whether it runs, and where packets end' },
    PortSilent: {
      when: 'the node answers ping and nothing from the BGP port',
      cure: 'look at firewalls of both nodes and between them, and compare passwords',
    },
    OneWay: {
      when: 'the session is up, and nothing comes from the other end for longer than two keepalives take',
      cure: 'look at the agent there, and at firewalls of both nodes and between them',
    },
    NotConnected: {
      when: 'no connection comes about, and nothing shows why from here',
      cure: 'look at margayctl node status on the other node',
    },
  },
  PrefixLimitsKept: {
    TooManyPrefixes: { when: 'the peer announced more than it may', cure: 'let it announce what it should' },
  },
  RoutesPreferred: {
    Draining: { when: 'the node is drained', cure: 'after the maintenance: margayctl node drain-bgp NODE --undo' },
  },
  BlocksOwned: {
    LostBlock: { when: 'a block with pods of this node belongs to another one now', cure: 'restart those pods' },
  },
  BlocksPublished: {
    ...STORE,
    DatabaseError: { when: 'the journal cannot be written', cure: 'look at JournalWritable' },
  },
  KernelInSync: {
    NotShown: NOT_SHOWN,
    NoInterface: { when: 'an interface that something needs is not there', cure: 'bring it back' },
    ForeignOwner: { when: 'another program holds what must be ours', cure: 'remove it, and what makes it' },
    Refused: REFUSED,
    NoResilientGroups: { when: 'this kernel has no resilient groups', cure: 'use Linux 5.13 or later' },
  },
  BlocksReachable: {
    Malformed: { when: 'prefix or next hop cannot be read', cure: 'correct the announcing router' },
    BadNextHop: { when: 'the next hop can be none', cure: 'correct next-hop-self, or reachableBy' },
    NextHopLoop: { when: 'the next hop is reached by the route itself', cure: 'add a route to the next hop' },
    NotBorrower: { when: 'somebody else announces an address that is lent to a node', cure: 'look who announces it' },
    OwnPrefix: { when: 'somebody else announces what belongs to this node', cure: 'look who announces it' },
    NotExported: { when: 'nodes do not exchange this pool over BGP', cure: 'set a tunnel, or disableBGPExport: false' },
    NextHopNotOnLink: {
      when: 'the next hop is in no subnet of this node and no tunnel is asked for',
      cure: 'set the pool to CrossSubnet, or peer with the router between',
    },
    NextHopLinkDown: { when: 'the interface of the next hop is down', cure: 'take it up, look at the cable' },
    NoIpv6Tunnel: { when: 'IP-in-IP carries no IPv6', cure: 'set vxlanMode of the IPv6 pool' },
    NoCommonEncapsulation: {
      when: 'one of the nodes lacks the tunnel that is asked for',
      cure: 'load its module there',
    },
    TunnelAddressMissing: { when: 'this node has no VXLAN address yet', cure: 'see that a pool has one to give' },
    VtepUnknown: {
      when: 'the far node’s VXLAN end is not known',
      cure: 'look at AddressesUnique and at its Node object',
    },
  },
  NextHopsReachable: {
    Unreachable: {
      when: 'there is no route to a next hop',
      cure: 'add a route to it, or let its router set next-hop-self',
    },
    Damped: {
      when: 'the next hop came and went too often',
      cure: 'look at cable, switch and at what changes the route',
    },
  },
  UplinksUp: {
    LinkDown: { when: 'the interface is down or has no carrier', cure: 'take it up, look at cable and switch' },
  },
  EncapsulationAsAsked: {
    IpipLackedHere: {
      when: 'this node has no IP-in-IP: VXLAN stands in',
      cure: 'load the ipip module, or set vxlanMode',
    },
    IpipLackedThere: { when: 'the far node has no IP-in-IP: VXLAN stands in', cure: 'load the ipip module there' },
  },
  AddressesUnique: {
    AddressClash: { when: 'two nodes name one address', cure: 'delete the Node whose machine is gone' },
    OwnPrefix: { when: 'a peer announces what belongs to this node', cure: 'look why it does' },
    PrefixOfNode: { when: 'a peer announces what belongs to another node', cure: 'look why it does' },
    IdentifierClash: { when: 'two nodes have one BGP identifier', cure: 'give one another address' },
    DuplicateVtep: {
      when: 'two nodes share an address, VTEP address or VTEP MAC',
      cure: 'delete the Node that is gone',
    },
    DuplicateIpv6Address: { when: 'two nodes share an IPv6 address', cure: 'take it from the Node that lost it' },
    PodTookAddress: {
      when: 'a pod also has the address of another pod',
      cure: 'take it from the interface in the pod, and look what adds it',
    },
    HostTookAddress: {
      when: 'this node itself has the address of a pod',
      cure: 'take it from the interface, if it is not meant so',
    },
    LanAnswers: {
      when: 'a machine on the link of the node says that it has the address of a pod',
      cure: 'give that machine another address, or reserve it and restart the pod',
    },
    AddressConflict: { when: 'two pods claim one address', cure: 'delete one of them' },
  },
  PodsFiltered: { NoNftables: NO_NFTABLES, Refused: REFUSED },
  OutgoingMasqueraded: { NoNat: NO_NAT, Refused: REFUSED },
  PoliciesEnforced: {
    NoNftables: NO_NFTABLES,
    Refused: REFUSED,
    NotEnforced: { when: 'something of it is not enforced', cure: 'follow the message' },
    NoInterface: { when: 'a host endpoint’s interface is not there', cure: 'correct interfaceName or expectedIPs' },
    Closed: {
      when: 'an object cannot be read, and what it is part of is closed',
      cure: 'correct the fields that are named',
    },
    ServicesUnknown: { when: 'Services that policies name were not read', cure: 'look at ApiServerConnected' },
  },
  FlowsTold: {
    GroupTaken: { when: 'another program reads the NFLOG group', cure: 'end that program' },
    NoCopies: { when: 'the kernel gives no copies of packets', cure: 'load nfnetlink_log' },
  },
  QosApplied: {
    NoNftables: NO_NFTABLES,
    Refused: REFUSED,
    Invalid: { when: 'an annotation cannot be read', cure: 'write it as docs/policy.md says' },
    ForeignOwner: { when: 'another program has a queue on the interface', cure: 'remove it: tc qdisc show' },
  },
  SourcesAllowed: {
    Invalid: { when: 'the annotation cannot be read', cure: 'write a list of prefixes in JSON' },
    Disabled: { when: 'no pod may send under other addresses', cure: 'set workloadSourceSpoofing: Any' },
    ReversePathFiltered: { when: 'net.ipv4.conf.all.rp_filter drops them', cure: 'set it to 0' },
  },
  FloatingAddressesHeld: {
    NoNat: NO_NAT,
    Refused: REFUSED,
    NoPool: { when: 'no pool has the address', cure: 'ask for one of an enabled IPPool' },
    GivenToPods: { when: 'its pool gives addresses to pods', cure: 'ask for one of a pool that gives none' },
    NamespaceUnknown: { when: 'the pod’s namespace is not known yet', cure: 'wait a moment' },
    NotForNamespace: { when: 'the pool is not for the pod’s namespace', cure: 'correct namespaceSelector' },
    InUse: { when: 'a pod has the address as its own', cure: 'ask for another one' },
    Taken: { when: 'another pod has it as floating address', cure: 'ask for another one' },
    FamilyMissing: { when: 'the pod has no address of its family', cure: 'ask for one of a family that it has' },
    Invalid: { when: 'the annotation cannot be read', cure: 'write a list of addresses in JSON' },
    Disabled: { when: 'no pod has floating addresses', cure: 'set floatingIPs: Enabled' },
  },
  ServiceLoopsPrevented: { NoNftables: NO_NFTABLES, Refused: REFUSED },
  FlowsOffloaded: {
    NoFlowtables: { when: 'this kernel takes no flowtable', cure: 'load nf_flow_table_inet and nft_flow_offload' },
    DeviceRefused: { when: 'an interface cannot be offloaded', cure: 'look at what the kernel says' },
    InvalidPattern: { when: 'the pattern of interfaces is no regular expression', cure: 'correct it' },
    NotCounted: { when: 'packets of connections are not counted', cure: 'sysctl -w net.netfilter.nf_conntrack_acct=1' },
  },
  PodsIntact: {
    UndoneInPod: {
      when: 'what was put back in a pod was undone twice within ten seconds, and is tried again only after a minute, then after longer, up to ten minutes',
      cure: 'find what changes the interface in the pod, then restart the pod',
    },
    Refused: { when: 'a pod lost something of its interface that cannot be put back', cure: 'restart the pod' },
  },
  PodMtuApplied: { Refused: { when: 'the pod’s MTU cannot be changed', cure: 'restart the pod' } },
  ObjectsReadable: {
    Invalid: { when: 'an object cannot be read', cure: 'correct the fields that are named' },
    BadAnnotation: { when: 'an annotation of a Node cannot be read', cure: 'correct or remove it' },
  },
  MetricsServed: LISTEN,
  FieldsSupported: {
    NoEffect: { when: 'a field has no effect', cure: 'remove it, or take it as not there' },
    Closed: { when: 'a field has no effect, and what it could have closed is closed', cure: 'remove it' },
    TooManyAddresses: {
      when: 'more addresses of Services are to be announced than are taken',
      cure: 'announce ranges',
    },
  },
} as const satisfies Record<string, Record<string, ReasonRow>>

/** What keeps an object `default` from being known. */
const NOT_KNOWN = {
  NotRead: {
    when: 'the API server did not give it yet',
    cure: 'look at the API server, and whether it serves the kind',
  },
  Forbidden: { when: 'the account may not read it', cure: 'apply the manifests of this version' },
  Invalid: { when: 'it cannot be read', cure: 'correct the object default' },
} as const satisfies Record<string, ReasonRow>

/** The same for margay-controllers (CONTROLLER_CONDITION_TYPES of controller-conditions.ts). */
export const CONTROLLER_REASONS = {
  LeaseKnown: { NoLease: { when: 'the Lease cannot be read or written', cure: 'look at the rights on leases' } },
  ConfigurationKnown: NOT_KNOWN,
  LockKnown: NOT_KNOWN,
  DatastoreUnlocked: {
    Locked: { when: 'the datastore is locked', cure: 'margayctl datastore unlock' },
    JustUnlocked: { when: 'it was locked a moment ago', cure: 'wait: it goes on by itself' },
  },
  ChoresDone: STORE,
  BlocksOwned: {
    OwnerAnswered: { when: 'a node without Node object lives', cure: 'register it again, or stop its agent' },
    Refused: { when: 'the block of a node that is gone cannot be freed', cure: 'give the rights on ipamblocks' },
    OwnerUnknown: { when: 'nobody can tell whose the block is', cure: 'if no pod has an address of it, delete it' },
  },
  BlocksLeft: { NoBlock: { when: 'no node gets a block of the pool any more', cure: 'create another IPPool' } },
  PoolsReleased: { InUse: { when: 'a deleted pool has pods or Services', cure: 'restart those pods' } },
  HostEndpointsMade: {
    ForeignObject: { when: 'an object of that name was made by others', cure: 'delete it, or give it another name' },
    NameTaken: { when: 'two templates make one name', cure: 'give each another generateName' },
    Refused: { when: 'the API server refuses it', cure: 'correct the labels of the Node, or the template' },
  },
  ServicesServed: {
    BadRequest: { when: 'an annotation of the Service cannot be read', cure: 'correct it' },
    NoPool: { when: 'no pool gives it an address', cure: 'create an IPPool for LoadBalancer, or correct the Service' },
    NoAddressLeft: { when: 'its pools have no address left', cure: 'create another IPPool' },
    AddressTaken: { when: 'the address that it asks for is taken', cure: 'ask for another one' },
    AddressOutside: { when: 'the address lies in none of its pools', cure: 'ask for one of a pool' },
    Refused: { when: 'the API server refuses its status', cure: 'give the right patch on services/status' },
  },
  ReflectorsPlaced: {
    ...NOT_KNOWN,
    BadAutoReflectors: { when: 'annotation margay.io/AutoReflectors cannot be read', cure: 'correct it' },
    MeshOff: { when: 'the mesh is off', cure: 'leave nodeToNodeMeshEnabled true, or take the annotation away' },
    SeveralAsNumbers: { when: 'nodes have several AS numbers', cure: 'give them one, or take the annotation away' },
    TooFewNodes: { when: 'fewer than two nodes can reflect', cure: 'look at the Nodes' },
    NodesBehind: { when: 'nodes did not say that they lose no route by the next move', cure: 'look at their agents' },
  },
  AddressesRested: {
    NodesBehind: { when: 'nodes did not say that they heard of ended pods', cure: 'look at their agents' },
  },
  MetricsServed: { CannotListen: LISTEN.CannotListen },
  FieldsSupported: { FieldsWithoutEffect: { when: 'a field has no effect', cure: 'remove it' } },
} as const satisfies Record<string, Record<string, ReasonRow>>

/**
 * Where a reason is explained: a page of the documentation with its anchor. `of`: the program whose condition it is. A reason of a
 * later version has the page of its condition.
 */
export function pageOf(type: string, reason: string, of: 'node' | 'controllers' = 'node'): string {
  return `docs/conditions.md#${anchorOf(type, reason, of)}`
}

/** Where it is explained what an event means: that of its condition, of the reason of a session that went down, or of its type. */
export function pageOfEvent({ type, reason, message }: { type: string; reason: string; message: string }): string {
  const [condition = ''] = message.split(':')
  if (type === 'ConditionChanged' && Object.hasOwn(REASONS, condition)) return pageOf(condition, reason)
  if (type === 'SessionChanged' && reason !== 'Established' && reason !== 'Summed') return `docs/bgp.md#down-${reason}`
  return `docs/conditions.md#${eventAnchor(type)}`
}

/** The anchor of a type of events, or of a reason of an Event of the Node object. */
export function eventAnchor(type: string): string {
  return `event-${type.toLowerCase()}`
}

/** Anchors of docs/conditions.md. */
export function anchorOf(type: string, reason: string, of: 'node' | 'controllers'): string {
  const rows: Readonly<Record<string, Readonly<Record<string, ReasonRow>>>> =
    of === 'node' ? REASONS : CONTROLLER_REASONS
  const isKnown = Object.hasOwn(rows, type) && Object.hasOwn(rows[type] ?? {}, reason)
  const words = [...(of === 'node' ? [] : [of]), type, ...(isKnown ? [reason] : [])]
  return words.join('-').toLowerCase()
}
