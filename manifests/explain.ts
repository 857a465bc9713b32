// docs/explain.md from the table of causes.
import { CAUSES } from '../explain/causes.ts'

const EFFECT = {
  all: 'no packet passes',
  large: 'large packets do not pass',
  changed: 'packets arrive with another address',
} as const

export function explainText(): string {
  const causes = Object.entries(CAUSES).map(
    ([code, { effect, when, proof, remedy }]) => `### ${code}
${when}. Effect: ${EFFECT[effect]}.

- proof: ${proof}
- remedy: ${remedy.replaceAll(/\{(\w+)\}/g, (_, word: string) => `*${word}*`)}
`,
  )
  return `# Why can A not reach B
<!-- Written from explain/causes.ts by \`npm run manifests\`; a test compares it. -->

\`margayctl explain A B [PROTO/PORT]\` asks the agents of both ends one question and walks over what their kernels and their models say, in the
order in which a packet meets it: the pod and its side of the interface, policy, Service, rules and routes, reverse path and forwarding, chains of
other programs, translation, tunnel, neighbour, MTU, link, the network between the nodes, the other node, the other pod; then the answer's way back. It
prints the first thing that stops the packet, who made it so where that is known, and what to do; \`-o wide\` every step, \`-o json\` all of it.

A and B are \`NAMESPACE/POD\`, \`pod/NAME\`, \`node/NAME\`, an address, or a bare name of a pod or node; B also \`svc/NAME[:PORT]\`,
\`NAME.NAMESPACE.svc[:PORT]\`, or a name outside, which this machine's resolver looks up. A Service is known by its external addresses and those of its load balancer too,
and a node with a port that is one of a Service (\`nodePort\`) leads to its pods: of those only whether some are ready is said, and \`explain node/NAME svc/NAME\` is the way behind. Of two ends with addresses of both families, and of a Service with several ready
pods, each pair is walked: the answer is the worst, with the others in \`alternatives\`. \`margayctl explain NODE\` says why pods get no network on a node.

- \`STOPPED\`: something is proven to stop the packets; \`STOPPED (large packets)\`: small ones pass; \`CHANGED\`: they arrive with an address that they were not sent with. Exit code 1.
- \`UNKNOWN\`: nothing proves that they pass, and nothing that they stop; what is open is listed. A cause is never guessed. Exit code 1.
- \`PASSES\`: every step is known and passes. Exit code 0. Notes tell what was wrong a moment ago and was healed.

\`--probe\` sends the packet really, from the pod or node where it begins, and follows it on the nodes of both ends: whatever drops, rejects or translates it is named with table, chain and
rule, in tables of any program (nftables and iptables-nft; a rule of iptables-legacy where it alone counted just these packets), and packets that left one node and came to no
interface of the other were lost between them. It is found by what happens to the packet, never by reading rules. Up to three packets are sent, each 0.4 s after the last one was not answered: for
\`icmp\` an echo, for \`tcp\` a SYN that the kernel ends with a reset, so that no program hears of a connection, for \`udp\` eight octets, which a program does hear of. Of a Service
a packet goes to its own address, to see whether somebody translates it, and one to each of its pods. What stops packets inside a pod's own namespace, and programs below netfilter (XDP, tc), are not seen. Each node follows one probe at a time, for at most
10 s; meanwhile every packet of the node costs some comparisons more. Whoever may do that sends packets as the pod ([threats.md](threats.md)).
Where kube-proxy or another program has chains on a node, a packet is the only proof that it passes: without \`--probe\` the answer is \`UNKNOWN\` there.

Nodes are asked through the API server (\`pods/exec\` in the agents' pods: whoever may do that is root on the nodes), or with
\`--node-sockets n1=/run/margay/agent.sock,...\` by the agents' sockets on this machine; then pods and nodes are known from the agents, unless
\`--kubeconfig\` or \`--server\` is given too, and Services only then. A node that does not answer, or is of a version that does not know the question, leaves its steps open.

## Before a policy is applied
\`--policy FILE\` says what the policies of a manifest (of Calico's, Kubernetes' and cluster kinds, tiers, network sets, namespaces) would do, and \`--delete\` what it would do to delete them: to the packet
between two ends, or without ends to flows that nodes have recorded: connections that pods have open now (up to 10,000 different ones of a node), and packets that policies denied or logged. Each flow that would be judged in
another way is told with who decides it then. It is worked out where it is called, from the objects of the cluster, by the code that agents judge with: nothing is written. Not known here: host
endpoints, what pods were told of names of domains (a note says where a rule asks for some), and staged policies, which decide nothing. Exit code 1 where something that passes now would be denied, an object of the manifest cannot be read, or a node does not tell its flows.

## On a real cluster
\`npm run test:kubernetes -- --only explain:\` plays 22 cases on a Kubernetes of three nodes on two LANs with kube-proxy (with \`--short\` 6 of them), and expects of each the verdict, the code and the object in the JSON: pods of one node, of
another and of another LAN, one with the network of its node, a machine and a name outside; a Service by its address, its name, a headless name, a port of a node, an external address, without a ready pod, with a port
on which nobody listens, without the rules of kube-proxy, and the cluster's DNS without a pod; policies of both directions, tiers, a staged one, one of a host's interface, one before it is applied; an agent that is away, and a
pool that is switched off. All are answered right. One pair took 3 to 5 s, of which the start of \`margayctl\` from its source is the most, and a Service of three pods with \`--probe\` 7 to 9 s, on two processors with a load of 16.

## Causes
The table is closed: \`code\` of a cause in the JSON is one of these, and its \`page\` leads here.

${causes.join('\n')}`
}
