// What people see when something is wrong, and what it comes from: docs/troubleshooting.md. Where a condition tells it, the row names the
// condition, and its causes and remedies are those of api/reasons.ts; rows of other symptoms have their own words.
import type { ConditionType } from '../api/status.ts'

type ToldRow = { symptom: string; conditions: readonly ConditionType[] }
type WrittenRow = { symptom: string; cause: string; act: string }

/** In the order of the page. */
export const SYMPTOMS: readonly { title: string; rows: readonly (ToldRow | WrittenRow)[] }[] = [
  {
    title: 'Nodes',
    rows: [
      {
        symptom: 'all nodes NotReady after the installation, no pod of `margay-node`',
        cause: 'the image cannot be pulled',
        act: '`kubectl -n kube-system describe pod -l app.kubernetes.io/name=margay-node`; import it ([install.md](install.md))',
      },
      {
        symptom: 'init container `install` ends with 1',
        cause: `another network's file is in the runtime's folder`,
        act: 'its log names the file: remove it, or [migrate](migrate.md)',
      },
      {
        symptom: 'node NotReady: "cni plugin not initialized"',
        cause: 'the runtime reads another folder than Margay writes',
        act: '`crictl info`, `confDir` and `binDir`; patch the volumes ([install.md](install.md))',
      },
      {
        symptom: 'node Ready, `NetworkUnavailable=True`',
        cause: 'new pods would have no network; running ones have',
        act: 'its reason and message are those of the condition',
      },
      {
        symptom: '`ApiServerConnected`, `forbidden: list …`',
        cause: 'RBAC was changed or is of another version',
        act: 'apply the manifest again',
      },
      { symptom: `a node's condition came and went`, cause: '', act: '`margayctl events` on the node' },
      {
        symptom: 'a node is not ready, or does not become it, and its agent runs',
        conditions: [
          'NodeAddressKnown',
          'NodeObjectKnown',
          'NodePublished',
          'KernelProgrammed',
          'DescriptorsLeft',
          'PodsEntered',
        ],
      },
      {
        symptom: 'what is changed in the cluster has no effect on a node',
        conditions: ['ApiServerConnected', 'ClusterRecognised', 'ObjectsReadable'],
      },
      { symptom: 'new pods of a node use another network, or none', conditions: ['NetworkConfigured'] },
      { symptom: 'the node, and so its pods, reach nothing outside of its subnet', conditions: ['DefaultRouteKept'] },
    ],
  },
  {
    title: 'Pods',
    rows: [
      {
        symptom: 'ContainerCreating, "the Margay agent does not answer"',
        cause: 'the agent restarts (up to 70 s), or crashes',
        act: '`kubectl -n kube-system logs -p` of its pod',
      },
      {
        symptom: 'ContainerCreating, another message of the plugin',
        cause: 'said in the event',
        act: '`kubectl describe pod`: message and remedy',
      },
      {
        symptom:
          'a static pod has no network while the API server is away, other static pods of the node do ("told nothing of Pod … yet")',
        cause:
          'its file was changed, or the kubelet is of another version, since the API server was last heard: nobody can tell which policies are about it',
        act: 'put the file back, or wait for the API server',
      },
      {
        symptom: 'no pod on another node is reached, those on this node are',
        cause: 'the path between the nodes',
        act: '`SessionsUp` of both nodes says why there is no session, `PathsPass` what is lost although there is one: the network between the nodes drops VXLAN (UDP 4789) or IP-in-IP (IP protocol 4). Clouds drop IP-in-IP: set `vxlanMode`',
      },
      {
        symptom: 'some pods of another node, or none from one node alone',
        cause: '',
        act: '`margayctl bgp route ADDRESS` on both nodes; `margayctl ipam check`',
      },
      {
        symptom: 'small packets pass, large ones hang; `PathMtuFits` has the size that passes',
        cause: 'a link on the way has a smaller MTU than the uplink',
        act: '`ping -M do -s 1400 ADDRESS` from the node; `ipipMTU`, `vxlanMTU` of FelixConfiguration',
      },
      {
        symptom:
          'some pods, or this host, reach pods of some nodes over a wrong interface or not at all; `ip route get ADDRESS from POD iif INTERFACE` shows another table',
        cause:
          'a route or a rule (`ip rule`) of another program: on nodes with several uplinks cloud-init, NetworkManager and others write rules for the addresses of each',
        act: '`ForeignRoutesPass` names it, the packets that it takes, and the commands that remove it or spare pods',
      },
      {
        symptom: 'one node, or all that is behind a router, is not reached from one node; `NeighboursRight`',
        cause: `another program wrote a MAC into its neighbour table that is another machine's, or nobody's`,
        act: 'where the MAC that answers is that of the right machine, the command of the condition removes the entry',
      },
      {
        symptom: 'nothing outside of the cluster',
        cause: 'the pool has no `natOutgoing`, or a firewall of the host drops what is forwarded',
        act: '`PodTrafficPasses` names chain and rule; [traffic-out.md](traffic-out.md)',
      },
      {
        symptom: 'some connections of a pod are not answered, others are',
        cause: 'a policy denies them',
        act: '`margayctl flows -n NAMESPACE` on the node of either end names policy and rule; [policy.md](policy.md) has the order',
      },
      {
        symptom: 'a policy does nothing on some nodes',
        cause: 'they lag, or refuse a part of it',
        act: '`kubectl get policystatuses`, `status.lagging`; `PoliciesEnforced` and `KernelInSync` of the node',
      },
      {
        symptom: 'a node is not reached since there is a HostEndpoint',
        cause: 'one without policies and profiles shuts its host but for the failsafe ports',
        act: 'a GlobalNetworkPolicy that selects it, or `profiles: [projectcalico-default-allow]` ([policy.md](policy.md#host-endpoints))',
      },
      {
        symptom: 'Services are not reached, pod addresses are',
        cause: 'kube-proxy',
        act: 'its log; `nft list ruleset` or `iptables-save`',
      },
      { symptom: 'names are not resolved', cause: `the pods of the cluster's DNS`, act: 'reach them by address first' },
      {
        symptom: 'hostPort does nothing',
        cause: 'the plugin portmap is not on the node',
        act: '`ls /opt/cni/bin/portmap`: with it there, the next start of `margay-node` chains it',
      },
      {
        symptom: `the node's STATUS is not asked (it stays Ready although the agent is away for long)`,
        cause: 'a chained plugin speaks CNI up to 1.0, as those of Debian 12 do; STATUS came with 1.1',
        act: 'newer plugins of containernetworking (1.6 or later) or `chainedPlugins: none`',
      },
      { symptom: 'pods of a node are not reached, or reach nobody', conditions: ['PodTrafficPasses'] },
      {
        symptom: 'new pods stay in ContainerCreating: no address',
        conditions: ['PoolsUsable', 'PoolsKnown', 'AddressesLeft'],
      },
      {
        symptom: 'pods of some nodes are not reached from one node',
        conditions: ['BlocksReachable', 'UplinksUp', 'FamiliesReachable'],
      },
      { symptom: 'new connections hang, established ones go on', conditions: ['ConnectionsTracked'] },
      { symptom: 'a pod that was denied goes on with what it had open', conditions: ['ConnectionsCut'] },
      {
        symptom: 'a pod does not get the bandwidth, the floating address or the sources that it asks for',
        conditions: ['QosApplied', 'FloatingAddressesHeld', 'SourcesAllowed'],
      },
    ],
  },
  {
    title: 'Addresses and blocks',
    rows: [
      {
        symptom: '`margayctl ipam check` reports faults',
        cause: 'a block that contradicts itself, overlaps another one, lies in no pool or is of no node',
        act: 'each line has its remedy; `margayctl ipam release` frees what its owner denies',
      },
      {
        symptom: '`calicoctl ipam check` counts problems',
        cause: `agents publish what pods come and go up to two minutes late; the address that a tunnel left is held for 30 s; it asks no Node for its IPv6 tunnel address (\`vxlan-v6-tunnel-addr-NODE\`), in Calico's clusters too; a second interface of a pod is none of Kubernetes'; a node's own end of path probes (\`margay-probe-NODE-ipv4\`) is nothing that Calico has`,
        act: 'ask again after three minutes: what is still counted, but for second interfaces, IPv6 tunnel addresses and ends of path probes, is a fault of ours',
      },
      {
        symptom: 'an IPPool is not deleted',
        cause: 'pods still have its addresses',
        act: '`margayctl ipam show`; the finalizer goes with the last of them',
      },
      {
        symptom: 'blocks of a Node that is gone',
        cause: 'they are freed some minutes later by `margay-controllers`',
        act: '[controllers.md](controllers.md); `margayctl ipam release --node NODE`',
      },
      {
        symptom: 'one pod is not reached from one node, other pods are: `AddressesUnique`, `HostTookAddress`',
        cause: `that node has the pod's address on an interface of its own`,
        act: 'the command of the condition removes it',
      },
      { symptom: 'a node soon has no address for another pod', conditions: ['BlocksLeft'] },
      { symptom: 'two pods or nodes answer under one address', conditions: ['AddressesUnique'] },
      { symptom: 'pods have addresses of a block that another node has', conditions: ['BlocksOwned'] },
    ],
  },
  {
    title: 'The agent',
    rows: [
      {
        symptom: 'restarts in a loop',
        cause: '',
        act: 'exit code 3 and the last line: what it lacks (a right, a kernel feature, a disk)',
      },
      {
        symptom: '"another agent uses this directory"',
        cause: '',
        act: 'one agent holds `/var/lib/margay/lock`: a second DaemonSet, or one started by hand',
      },
      {
        symptom: 'uses much memory',
        cause: '',
        act: '[limits.md](limits.md) has what to expect; `margay_condition_objects` and the metrics of `process_` say more',
      },
      {
        symptom: '`PodsIntact` is not fine',
        cause: '',
        act: 'a program in the pod (a VPN, a network manager, a script) takes away what its interface needs, each time it is put back: the message names it where the kernel tells. Let it leave the interface alone, and restart the pod',
      },
      {
        symptom: 'keeps repairing (`Healed` in events)',
        cause: '',
        act: 'another program changes our routes or rules: the event names the object, and the process where the kernel tells. [NetworkManager and systemd-networkd](install.md#networkmanager-and-systemd-networkd) can be told to leave them alone',
      },
      { symptom: 'pods cannot be added: the disk', conditions: ['JournalWritable', 'JournalKept'] },
      { symptom: 'a BGPPeer has no session', conditions: ['PeersConfigured', 'SessionsAccepted', 'PeersUp'] },
      { symptom: 'something in the kernel is not as it should be', conditions: ['KernelInSync'] },
    ],
  },
]
