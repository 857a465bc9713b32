// docs/cni.md from the tables of the CNI room: verbs, variables, keys, capabilities and errors.
import { ADDRESS_ANNOTATIONS } from '../api/address-annotations.ts'
import { CAPABILITIES, ownCapabilities } from '../cni/capabilities.ts'
import { CNI_ERRORS } from '../cni/error.ts'
import { ARGS, DELEGATING, IPAM_KEYS, KEYS, VARIABLES, VERBS } from '../cni/keys.ts'

export function cniText(): string {
  const verbs = Object.entries(VERBS).map(
    ([verb, { needs, since, does }]) =>
      `| ${verb} | ${since} | ${needs.map(name => `\`${name}\``).join(', ')} | ${does} |`,
  )
  const named = (rows: Readonly<Record<string, string>>) =>
    Object.entries(rows).map(([name, text]) => `| \`${name}\` | ${text} |`)
  const keys = Object.entries(KEYS).map(([path, key]) =>
    'instead' in key
      ? `| \`${path}\` | refused | | ${key.instead} |`
      : `| \`${path}\` | ${key.is} | ${key.absent} | ${key.means} |`,
  )
  const delegating = Object.entries(DELEGATING).map(([type, { does }]) => `| \`${type}\` | ${does} |`)
  const ipamKeys = Object.entries(IPAM_KEYS).map(
    ([path, { is, absent, means }]) => `| \`${path}\` | ${is} | ${absent} | ${means} |`,
  )
  const own = ownCapabilities()
  const capabilities = Object.entries(CAPABILITIES).map(
    ([name, row]) =>
      `| \`${name}\` | ${name in own ? 'yes' : ''} | ${'does' in row ? row.does : `refused: ${row.instead}`} |`,
  )
  const annotations = Object.values(ADDRESS_ANNOTATIONS).map(
    ({ annotation, namespace, is, means }) =>
      `| \`${annotation.replace(/.*\//, '')}\` | ${namespace === true ? 'yes' : ''} | ${is} | ${means} |`,
  )
  const errors = Object.values(CNI_ERRORS).map(
    ({ code, when, remedy }) => `| <a id="code-${code}"></a>${code} | ${when} | ${remedy} |`,
  )
  return `# The CNI plugin

\`margay\` is a program of some 30 KB that carries the request of a runtime to the agent of its node, and the answer back; it
executes no other program but the one that \`ipam.type\` names. It speaks every version of the [specification](https://www.cni.dev/docs/spec/) from 0.1.0 to 1.1.0. \`margay-node install\` writes it and a
configuration ([install.md](install.md)); for a network of your own, as of Multus, this is a whole one:
\`\`\`json
{ "cniVersion": "1.0.0", "name": "backend", "plugins": [ { "type": "margay", "ipam": { "ipv4_pools": ["backend"] } } ] }
\`\`\`
\`npm run manifests\` writes this page from the tables that the program reads: \`cni/keys.ts\`, \`cni/capabilities.ts\`, \`api/address-annotations.ts\`, \`cni/error.ts\`.

## Verbs
| verb | since | needs | here |
|---|---|---|---|
${verbs.join('\n')}

ADD waits for a new block of addresses for 10 s at the most, and for neither lock nor place of others meanwhile; DEL and CHECK wait for no ADD. While an agent starts again, ADD and DEL wait for it. Every refused ADD leaves nothing behind.

## Variables
| variable | |
|---|---|
${named(VARIABLES).join('\n')}

| key of \`CNI_ARGS\` | |
|---|---|
${named(ARGS).join('\n')}

## Keys of the configuration
Upper and lower case are the same, as for every plugin that is written in Go. DEL, GC, STATUS and CHECK look at \`cniVersion\`, \`name\`, \`ipam.type\` and their own keys alone, so that nothing else holds them back. Keys without a row are ignored.

| key | value | without it | meaning |
|---|---|---|---|
${keys.join('\n')}

## Addresses by another plugin
Where \`ipam.type\` names one, such as \`host-local\` or \`static\`, the plugin executes it on the host as the specification says: the first one of that name in \`CNI_PATH\`, with the environment and the configuration of the runtime. What it says when it fails is the answer.
\`\`\`json
{ "type": "margay", "ipam": { "type": "host-local", "ranges": [ [ { "subnet": "usePodCidr" } ], [ { "subnet": "usePodCidrIPv6" } ] ] } }
\`\`\`
- \`usePodCidr\` and \`usePodCidrIPv6\` stand for the ranges of \`spec.podCIDRs\` of the Node, as in Calico; without one requests are told to come again.
- A pod gets at most one address of each family, as /32 or /128 with our gateway; gateway and routes that the other plugin says are not used, its \`dns\` is where the configuration has none. Policies and the pod filter hold as for other pods.
- Other nodes hear nothing of such addresses: routes to them are of whoever gave the ranges. Nor are they masqueraded, unless an IPPool holds them; such a pool must give none itself (\`disabled\`). An address of a block of this node is refused, and is never given by Margay as well.
- ADD that is called again asks for no other address; where ADD fails, the other plugin is told DEL. DEL reaches it also while the agent is away, and fails then, so that it is called again. GC tells it DEL for each interface that it deletes. GC and STATUS go to it too, and a plugin that does not know them is fine.
- \`dhcp\` is refused: a pod’s interface is routed, and no DHCP server of a LAN hears it. Annotations that name pools or families are not used, and \`ipAddrs\` is refused.

## Addresses for other plugins: margay-ipam
The program is installed under a second name too, \`margay-ipam\`, under which it is an IPAM plugin: a plugin that makes interfaces in another way names it in \`ipam.type\`, and its containers get addresses of IPPools: of blocks which other nodes have routes to, or of a LAN.
\`\`\`json
{ "cniVersion": "1.0.0", "name": "backend", "type": "bridge", "bridge": "backend0", "isGateway": true,
  "ipam": { "type": "margay-ipam", "ipv4_pools": ["backend"], "routes": [ { "dst": "0.0.0.0/0" } ] } }
\`\`\`
| plugin | |
|---|---|
${delegating.join('\n')}

Any other \`type\` is refused (code 2).

| key | value | without it | meaning |
|---|---|---|---|
${ipamKeys.join('\n')}

Of the keys above \`agentSocket\`, \`dns\`, \`args.cni.ips\`, \`runtimeConfig.ips\`, and below \`ipam\` \`assign_ipv4\`, \`assign_ipv6\`, \`ipv4_pools\` and \`ipv6_pools\` are the same here, and so are CNI_ARGS, the annotations of addresses, and the keys that are refused below \`ipam\`. All else in \`runtimeConfig\` but \`ipRanges\`, which is refused, is the other plugin’s.
- **The result** has an address of each family with the length of its block, a gateway out of that block (for \`macvlan\` and \`ipvlan\` see below), \`routes\` as the configuration has them, and \`dns\`. Without a default route in it, or \`isDefaultGateway\` of \`bridge\`, a container reaches its own block alone.
- **Blocks of its own:** a network has blocks of each node for itself, each with one address for the gateway; neither Margay’s own pods nor other networks get addresses of them. \`blockSize\` must be 30 or less (IPv6: 126), and the first address, and the last one of IPv4, are nobody’s. A pool of its own, with \`assignmentMode: Manual\`, keeps them apart. Two networks must not have one \`bridge\`.
- **The route** \`blackhole BLOCK proto 80\` of such a block has the metric 1024 on its node: the route to the subnet that the kernel makes of the bridge’s address, which has 0, comes first. ADD answers when that is so.
- **An address lives** until DEL, until a GC of the runtime that does not list the container (and that the other plugin hands on: since containernetworking-plugins 1.6), or until the machine boots. ADD again gives the same, but for a container of \`ptp\` that runs: that is refused (code 4), since \`ptp\` would have its address freed then; DEL again is fine. The gateway stays with the network until no container has an address of the block and no interface of the node has the gateway’s, which GC and a start of the agent look for.
- **CHECK** compares the addresses that are reserved with prevResult; what the other plugin made it checks itself. \`margayctl ipam check\` counts such addresses as those of their pods. STATUS is that of the node.
- **Policies do not hold** for these containers, nor does the pod filter: their interfaces are not Margay’s ([threats.md](threats.md#containers-of-other-plugins)). They are masqueraded like other pods of the pool where it has \`natOutgoing\`.
- **The MTU** is the other plugin’s: give \`bridge\` and \`ptp\` the \`mtu\` of Margay’s pods, or their first large packets to nodes behind a tunnel come back as too big.
- **Every such ADD and DEL writes the IPAMBlock** within seconds: where the journal of the node is lost, the object alone says who has an address.

### Addresses of a LAN: macvlan and ipvlan
Containers of \`macvlan\` and \`ipvlan\` are machines on the LAN of their \`master\`: everybody there, nodes too, finds them by ARP or neighbour discovery. So an IPPool is a range of that LAN, and the configuration says what the LAN is:
\`\`\`yaml
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: { name: lan }
spec: { cidr: 192.0.2.128/26, blockSize: 29, disableBGPExport: true, assignmentMode: Manual, allowedUses: [Workload] }
\`\`\`
\`\`\`json
{ "cniVersion": "1.0.0", "name": "lan", "type": "macvlan", "master": "eth0",
  "ipam": { "type": "margay-ipam", "subnet": "192.0.2.0/24", "gateway": "192.0.2.1", "ipv4_pools": ["lan"], "routes": [ { "dst": "0.0.0.0/0" } ] } }
\`\`\`
- **Refused, with the remedy:** no \`subnet\`; a family without \`subnet\` or without named pools; a \`gateway\` outside of \`subnet\`, none where a route has no \`gw\`; \`ipvlan\` in another mode than \`l2\` (code 2). A pool that does not lie inside \`subnet\`, that holds \`gateway\`, that is announced (\`disableBGPExport\` must be true, \`ipipMode\` and \`vxlanMode\` Never), that any pod gets addresses of (\`assignmentMode\` must be Manual), or tunnels (\`allowedUses\` must be Workload alone): code 100.
- **The result** has an address with the length of \`subnet\`, and \`gateway\`. The first address of the LAN, and the last one of IPv4, are given to nobody.
- **Blocks** are ranges of their node, of one network each, without a gateway of their own; none of their addresses is lent or goes to Margay's own pods, of which one that names the pool has a block apart, and an address that nobody on the LAN finds. Blocks of eight (\`blockSize: 29\`) suit a LAN: a node takes as many as it needs.
- **No route leads to them** but the one to the LAN that each host has: the node of such a block has no \`blackhole\` for it while a container has an address of it, and announces nothing, also where the pool says later that it is announced. ADD answers when that is so.
- **Whether another machine has an address is not looked at.** The range must be no part of what DHCP gives out, and addresses in it that nodes, routers or others have must be in an IPReservation. Nodes on different LANs must not run the same network: make a pool and a network for each LAN.
- **Pods and their own node:** the kernel gives containers of \`macvlan\` and \`ipvlan\` no way to the host that they are on, nor, then, to Margay's pods there. Pods of other nodes reach them, with their own addresses as sources, also with \`natOutgoing\`: to addresses of pools nothing is masqueraded. The answer needs a way: the router of the LAN knows the pods by BGP, or \`routes\` leads their range to a node (\`{ "dst": "10.244.0.0/16", "gw": "192.0.2.12" }\`), which forwards it. \`natOutgoing\` of the pool of the LAN changes nothing, since its containers pass no node.

## Capabilities
A runtime fills in \`runtimeConfig\` for the \`capabilities\` of a plugin's configuration. The installed configuration has those with a yes. One that is refused counts where it asks for something: null, an empty list and zeros do not.

| capability | installed | here |
|---|---|---|
${capabilities.join('\n')}

hostPort is done by the plugin portmap behind ours, and what a runtime says of bandwidth by the plugin bandwidth, where the node has them (\`chainedPlugins\`, [install.md](install.md)). Annotations of bandwidth need neither ([policy.md](policy.md#limits-and-marks-of-pods-quality-of-service)).
portmap stands behind \`bridge\` and \`ptp\` with margay-ipam in the same way. On a node with br_netfilter a container of \`bridge\` reaches itself by its own port with \`hairpinMode: true\` alone; one of \`ptp\`, and a pod of ours, as they are.

## Annotations
Of a Pod, with Calico’s names: each begins with \`cni.projectcalico.org/\`. One with a yes counts at its Namespace too, for Pods that have none. What a Pod or its Namespace says comes before the configuration, the capabilities and CNI_ARGS, as in Calico.

| annotation | Namespace | value | meaning |
|---|---|---|---|
${annotations.join('\n')}

- An empty value is none. One that cannot be read refuses ADD (code 2) with object, annotation and remedy, and the runtime asks again: a pod keeps its address for its life.
- They are about the interface that Kubernetes knows, the first of the container. Later ones, as Multus makes them, have what their own networks say.
- ADD reads them before it gives an address, from the last that the agent has seen of the Pod and its Namespace, also while the API server is away. For a Pod that it has seen nothing of it waits 5 s (code 11), as it does for the pod’s policies.
- \`allowedSourcePrefixes\` is followed while the pod runs ([traffic-out.md](traffic-out.md#sources-that-are-not-the-pods-own)); and so is \`floatingIPs\` ([traffic-in.md](traffic-in.md)); what a pod asks of its packets is in [policy.md](policy.md).

## Result
Ours stands behind that of the plugins before, which goes out as it came, with every field: two interfaces (that of the host, and that of the container with its \`sandbox\`), an address of each family as /32 or /128, and its default route; \`mtu\` of interfaces and \`priority\` of routes since 1.1.0.
The gateway is 169.254.1.1 or fe80::ecee:eeff:feee:eeee on every node. Where another interface has the default route, ours has a \`priority\` behind it. Before 0.3.0 there is one address of each family, that of the first plugin, and no interface.

## Plugins behind ours
| plugin of containernetworking-plugins | |
|---|---|
| \`portmap\`, \`bandwidth\` | do what a runtime asks for by their capabilities (above) |
| \`tuning\` | its settings, its MAC and a smaller MTU stay |
| \`sbr\` | for several interfaces (below) |
| \`vrf\` | the interface goes into a VRF of the container, whose table has its routes from then on. The plugin writes them since 1.4; those of earlier versions, as Debian 12 has it, leave none, and the agent writes them some milliseconds after: what a container sends through the VRF before that is lost. The VRF is for programs that are bound to it (\`ip vrf exec\`, SO_BINDTODEVICE), or that accept from each (\`net.ipv4.tcp_l3mdev_accept\`): where the only interface of a pod is in it, a server that knows nothing of it is not reached, nor are probes of a kubelet answered |
| \`firewall\`, \`loopback\` | nothing here depends on them |

CHECK finds no fault with what they changed.

## Several interfaces of a container
Each call is one interface, with its own network and name, as Multus makes them; they may be deleted in any order. The default route stays that of the first, so what comes for the address of another one would be answered by the first interface, whose source the pod filter drops.
Put the plugin sbr behind ours in the second network, and answers leave where the question came:
\`\`\`json
{ "cniVersion": "1.0.0", "name": "backend", "plugins": [ { "type": "margay" }, { "type": "sbr" } ] }
\`\`\`

## Errors
\`msg\` says what is wrong, with object and value, and \`details\` what to do about it.

| code | when | remedy |
|---|---|---|
${errors.join('\n')}
`
}
