// The same policies as others write them: chains of iptables for each pod and each policy, with a rule for each address (as
// kube-router does without ipset), and a table of nftables laid out as ours, loaded by the program nft.
import { CLIENT, LOCAL, peersOf, podAddress, policy, SERVER, subjectOf } from './cluster.ts'

export type Peer = {
  name: string
  /** Loads standard input. */
  load: string
  /** All policies of so many. */
  all(policies: number): string
  /** One more, that lets the client send to a port of the server. */
  one(port: number): string
}

const PORT = policy(0).ingress![0]!.destination.ports!.ranges[0]!.first
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i)

/** The policies of each pod. */
function bySubject(policies: number): Map<number, number[]> {
  return Map.groupBy(numbers(policies), subjectOf)
}

const iptables: Peer = {
  name: 'iptables',
  load: 'iptables-nft-restore -n',
  all(policies) {
    const of = bySubject(policies)
    const judged = [SERVER, ...of.keys()]
    return [
      '*filter',
      ...judged.map(pod => `:POD-${pod} - [0:0]`),
      ...numbers(policies).map(i => `:POLICY-${i} - [0:0]`),
      '-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      ...judged.map(pod => `-A FORWARD -d ${podAddress(pod)}/32 -j POD-${pod}`),
      ...numbers(policies).flatMap(i =>
        peersOf(i).map(peer => `-A POLICY-${i} -s ${podAddress(peer)}/32 -p udp --dport ${PORT} -j ACCEPT`),
      ),
      ...judged.flatMap(pod => [
        ...(of.get(pod) ?? []).map(i => `-A POD-${pod} -j POLICY-${i}`),
        ...(pod === SERVER ? [`-A POD-${pod} -s ${podAddress(CLIENT)}/32 -p udp --dport 1:19999 -j ACCEPT`] : []),
        `-A POD-${pod} -j DROP`,
      ]),
      'COMMIT\n',
    ].join('\n')
  },
  one: port => `*filter
:POLICY-new${port} - [0:0]
-A POLICY-new${port} -s ${podAddress(CLIENT)}/32 -p udp --dport ${port} -j ACCEPT
-I POD-${SERVER} 1 -j POLICY-new${port}
COMMIT
`,
}

const nft: Peer = {
  name: 'nft -f',
  load: 'nft -f -',
  all(policies) {
    const of = bySubject(policies)
    const own = `ip saddr ${podAddress(CLIENT)} udp dport 1-19999 accept`
    const chain = (pod: number) => [
      `  chain pod${pod} {\n    ct state established,related accept`,
      ...(of.get(pod) ?? []).map(i => `    ip saddr @s${i} udp dport ${PORT} accept`),
      ...(pod === SERVER ? [`    ${own}`] : []),
      '    drop\n  }',
    ]
    return [
      'table inet plain {',
      ...numbers(policies).map(
        i => `  set s${i} { type ipv4_addr; elements = { ${peersOf(i).map(podAddress).join(', ')} } }`,
      ),
      ...numbers(LOCAL).flatMap(chain),
      `  map to_pod { type ifname : verdict; elements = { ${numbers(LOCAL).map(pod => `"cali${pod}" : goto pod${pod}`)} } }`,
      '  chain to { oifname vmap @to_pod\n    drop\n  }',
      '  chain forward { type filter hook forward priority 0; oifname "cali*" jump to\n  }',
      '}\n',
    ].join('\n')
  },
  one: port => `add set inet plain new${port} { type ipv4_addr; }
add element inet plain new${port} { ${podAddress(CLIENT)} }
insert rule inet plain pod${SERVER} ip saddr @new${port} udp dport ${port} accept
`,
}

export const PEERS: readonly Peer[] = [iptables, nft]
