// Every fault of the lab, one row each. `npm run faults` plays them, `npm run lab -- fault` puts one in for people to find.
// Numbers that are missing are kept elsewhere, so that nobody works for the table alone; 33 (a pool with `disableBGPExport`) is
// no fault any more: nodes tell each other the blocks of a pool with a tunnel whatever it says (docs/install.md).
import { type Deed, type Facts, type Fault, NODE_NAMES, type PodName } from './fault.ts'

const ROUTER = '192.168.10.1'
const GATEWAY = '169.254.1.1'
const WRONG_MAC = '02:00:00:00:00:99'

const toN2 = { from: 'n1-p1', to: 'n2-p1' } as const
const toN3 = { from: 'n1-p1', to: 'n3-p1' } as const
const fromN2 = { from: 'n2-p1', to: 'n1-p1' } as const

/** Of a node's sessions over TCP port 179, what comes from another one. */
const dropBgp = (rules: string) => `nft 'table ip faults { chain i { type filter hook input priority 0; ${rules} }; }'`

/** The name of the session with the node of this address. */
const meshPeer = (address: string) => `Mesh_${address.replaceAll('.', '_')}`

/** The pod's own side as the plugin leaves it. */
function restored(pod: PodName, { ip }: Facts): Deed {
  return {
    at: pod,
    sh: `ip link set eth0 mtu 1450 up
ip addr replace ${ip[pod]}/32 dev eth0
ip route replace ${GATEWAY} dev eth0 scope link
ip route replace default via ${GATEWAY} dev eth0
ip neigh replace ${GATEWAY} lladdr ee:ee:ee:ee:ee:ee nud permanent dev eth0`,
  }
}

export const FAULTS: readonly Fault[] = [
  {
    number: '01',
    name: 'route-missing',
    cause: 'n1: the route to the block of n2 was deleted from the main table',
    remedy: 'put the route back (the agent does, in milliseconds)',
    breaks: toN2,
    named: ({ block }) => [{ at: 'n1', event: 'Healed', kind: 'Route', about: block.n2 }],
    explained: 'healed',
    inject: ({ block }) => [{ at: 'n1', sh: `ip route del ${block.n2}` }],
    heal: ({ block, address }) => [
      {
        at: 'n1',
        sh: `ip route show ${block.n2} | grep -q . || ip route add ${block.n2} via ${address.n2} dev eth0 proto bird`,
      },
    ],
  },
  {
    number: '03',
    name: 'route-more-specific',
    cause: 'n1: a foreign static /32 route to n2-p1 via the router shadows the block route of n2',
    remedy: 'ip route del that /32 on n1',
    breaks: toN2,
    named: ({ ip }) => [{ at: 'n1', condition: 'ForeignRoutesPass', reason: 'ForeignRoute', about: ip['n2-p1'] }],
    explained: { at: 'n1', code: 'RouteShadowed' },
    inject: ({ ip }) => [{ at: 'n1', sh: `ip route add ${ip['n2-p1']}/32 via ${ROUTER} dev eth0 proto static` }],
    heal: ({ ip }) => [{ at: 'n1', sh: `ip route del ${ip['n2-p1']}/32 proto static` }],
  },
  {
    number: '05',
    name: 'rule-from-pod-wrong-table',
    cause:
      'n1: ip rule 90 looks up what n1-p2 sends in table 201 (of another tool), which has only an unreachable default',
    remedy: 'ip rule del pref 90 on n1',
    breaks: { from: 'n1-p2', to: 'n2-p1' },
    named: () => [{ at: 'n1', condition: 'ForeignRoutesPass', reason: 'ForeignRule', about: 'lookup 201' }],
    explained: { at: 'n1', code: 'RuleDiverts' },
    inject: ({ ip }) => [
      { at: 'n1', sh: 'ip route replace unreachable default table 201' },
      { at: 'n1', sh: `ip rule add pref 90 from ${ip['n1-p2']} lookup 201` },
    ],
    heal: () => [{ at: 'n1', sh: 'while ip rule del pref 90; do :; done; ip route flush table 201' }],
  },
  {
    number: '07',
    name: 'default-route-gone',
    cause: 'n1: the default route is gone, so n3 and the API server behind the router cannot be reached',
    remedy: `ip route add default via ${ROUTER} dev eth0 on n1`,
    breaks: toN3,
    named: () => [{ at: 'n1', condition: 'DefaultRouteKept', reason: 'DefaultRouteLost', about: '0.0.0.0/0' }],
    explained: { at: 'n1', code: 'RouteMissing' },
    inject: () => [{ at: 'n1', sh: 'ip route del default' }],
    heal: () => [{ at: 'n1', sh: `ip route replace default via ${ROUTER} dev eth0 proto static` }],
    watchSeconds: 12,
  },
  {
    number: '09',
    name: 'neigh-stale-mac-of-node',
    cause: 'n1: a permanent neighbour entry on eth0 gives n2 a wrong MAC',
    remedy: 'ip neigh del the address of n2 dev eth0 on n1',
    breaks: toN2,
    named: ({ address }) => [{ at: 'n1', condition: 'NeighboursRight', reason: 'ForeignNeighbour', about: address.n2 }],
    explained: { at: 'n1', code: 'NeighbourWrong' },
    inject: ({ address }) => [
      { at: 'n1', sh: `ip neigh replace ${address.n2} lladdr ${WRONG_MAC} nud permanent dev eth0` },
    ],
    heal: ({ address }) => [
      { at: 'n1', sh: `ip neigh del ${address.n2} dev eth0` },
      { at: 'n2', sh: `ping -n -q -c1 -W1 ${address.n1}` },
    ],
    watchSeconds: 12,
  },
  {
    number: '11',
    name: 'proxy-arp-0',
    cause: 'n1: proxy_arp is 0 on the cali interface of n1-p1, and the pod has lost its permanent entry of the gateway',
    remedy: 'sysctl net.ipv4.conf.caliX.proxy_arp=1, and the entry of the gateway in the pod (the agent does both)',
    breaks: { from: 'n1-p1', to: 'n1-p2' },
    named: ({ cali }) => [
      { at: 'n1', event: 'Healed', kind: 'Sysctl', about: `${cali['n1-p1']}/proxy_arp` },
      { at: 'n1', event: 'Healed', kind: 'Endpoint', about: `n1-p1: neighbour ${GATEWAY}` },
    ],
    explained: 'healed',
    inject: ({ cali }) => [
      { at: 'n1', sh: `sysctl -qw net.ipv4.conf.${cali['n1-p1']}.proxy_arp=0` },
      { at: 'n1-p1', sh: `ip neigh del ${GATEWAY} dev eth0` },
    ],
    heal: facts => [
      { at: 'n1', sh: `sysctl -qw net.ipv4.conf.${facts.cali['n1-p1']}.proxy_arp=1` },
      restored('n1-p1', facts),
    ],
  },
  {
    number: '13',
    name: 'cali-down',
    cause: 'n1: the cali interface of n1-p1 is down',
    remedy: 'ip link set caliX up on n1 (the agent does)',
    breaks: fromN2,
    named: ({ cali }) => [{ at: 'n1', event: 'Healed', kind: 'Link', about: cali['n1-p1'] }],
    explained: 'healed',
    inject: ({ cali }) => [{ at: 'n1', sh: `ip link set ${cali['n1-p1']} down` }],
    heal: ({ cali }) => [{ at: 'n1', sh: `ip link set ${cali['n1-p1']} up` }],
    watchSeconds: 15,
  },
  {
    number: '15',
    name: 'pod-address-removed',
    cause: 'n1-p1: the address of the pod was removed from its eth0',
    remedy: 'ip addr add the address of the pod to its eth0 (the agent does)',
    breaks: fromN2,
    named: ({ ip }) => [{ at: 'n1', event: 'Healed', kind: 'Endpoint', about: `n1-p1: address ${ip['n1-p1']}` }],
    explained: 'healed',
    inject: () => [{ at: 'n1-p1', sh: 'ip addr flush dev eth0' }],
    heal: facts => [restored('n1-p1', facts)],
  },
  {
    number: '17',
    name: 'pod-mtu-too-large',
    cause:
      'n1-p1: eth0 in the pod has MTU 1500 while its cali end and the tunnel have 1450: large packets vanish at the veth',
    remedy: 'ip link set eth0 mtu 1450 in the pod (the agent does)',
    breaks: { ...toN3, octets: 1440 },
    named: () => [{ at: 'n1', event: 'Healed', kind: 'Endpoint', about: 'n1-p1: link eth0 mtu' }],
    explained: 'healed',
    inject: () => [{ at: 'n1-p1', sh: 'ip link set eth0 mtu 1500' }],
    heal: facts => [restored('n1-p1', facts)],
  },
  {
    number: '19',
    name: 'ip-forward-0',
    cause: 'n2: net.ipv4.ip_forward is 0',
    remedy: 'sysctl net.ipv4.ip_forward=1 on n2 (the agent does)',
    breaks: toN2,
    named: () => [{ at: 'n2', event: 'Healed', kind: 'Sysctl', about: 'ip_forward' }],
    explained: 'healed',
    inject: () => [{ at: 'n2', sh: 'sysctl -qw net.ipv4.ip_forward=0' }],
    heal: () => [{ at: 'n2', sh: 'sysctl -qw net.ipv4.ip_forward=1' }],
  },
  {
    number: '21',
    name: 'cali-forwarding-0',
    cause: 'n1: forwarding is 0 on the cali interface of n1-p1',
    remedy: 'sysctl net.ipv4.conf.caliX.forwarding=1 (the agent does)',
    breaks: toN2,
    named: ({ cali }) => [{ at: 'n1', event: 'Healed', kind: 'Sysctl', about: `${cali['n1-p1']}/forwarding` }],
    explained: 'healed',
    inject: ({ cali }) => [{ at: 'n1', sh: `sysctl -qw net.ipv4.conf.${cali['n1-p1']}.forwarding=0` }],
    heal: ({ cali }) => [{ at: 'n1', sh: `sysctl -qw net.ipv4.conf.${cali['n1-p1']}.forwarding=1` }],
  },
  {
    number: '23',
    name: 'vxlan-down',
    cause: 'n1: vxlan.calico is down',
    remedy: 'ip link set vxlan.calico up (the agent does)',
    breaks: toN3,
    named: () => [{ at: 'n1', event: 'Healed', kind: 'Link', about: 'vxlan.calico' }],
    explained: 'healed',
    inject: () => [{ at: 'n1', sh: 'ip link set vxlan.calico down' }],
    heal: () => [{ at: 'n1', sh: 'ip link set vxlan.calico up' }],
  },
  {
    number: '25',
    name: 'fdb-missing',
    cause: 'n1: the forwarding entry of n3 on vxlan.calico is gone',
    remedy: 'bridge fdb add it again (the agent does)',
    breaks: toN3,
    named: ({ mac }) => [{ at: 'n1', event: 'Healed', kind: 'FdbEntry', about: mac.n3 }],
    explained: 'healed',
    inject: ({ mac }) => [{ at: 'n1', sh: `bridge fdb del ${mac.n3} dev vxlan.calico` }],
    heal: ({ mac, address }) => [
      { at: 'n1', sh: `bridge fdb replace ${mac.n3} dev vxlan.calico dst ${address.n3} self permanent` },
    ],
  },
  {
    number: '27',
    name: 'udp-4789-dropped',
    cause: 'router: udp/4789 between the LANs is dropped (a security group)',
    remedy: 'allow udp/4789 between the nodes',
    breaks: toN3,
    named: () => [
      { at: 'n1', condition: 'PathsPass', reason: 'VxlanSilent', about: 'Node n3' },
      { at: 'n3', condition: 'PathsPass', reason: 'VxlanSilent', about: 'Node n1' },
    ],
    explained: { at: 'n1', code: 'VxlanLost' },
    inject: () => [
      {
        at: 'router',
        sh: "nft 'table ip faults { chain f { type filter hook forward priority 0; udp dport 4789 drop; }; }'",
      },
    ],
    heal: () => [{ at: 'router', sh: 'nft delete table ip faults' }],
    watchSeconds: 15,
  },
  {
    number: '29',
    name: 'bgp-179-dropped',
    cause: 'n1: tcp/179 from n2 is dropped, so the session of n2 cannot come up again after a restart of its agent',
    remedy: 'allow tcp/179 between the nodes',
    breaks: toN2,
    named: ({ address }) => [
      { at: 'n2', event: 'SessionChanged', kind: 'BGPSession', reason: 'timeout', about: meshPeer(address.n1) },
      { at: 'n2', condition: 'SessionsUp', reason: 'PortSilent', about: meshPeer(address.n1) },
    ],
    explained: { at: 'n2', code: 'SessionDown' },
    inject: ({ address }) => [
      { at: 'n1', sh: dropBgp(`ip saddr ${address.n2} tcp dport 179 drop;`) },
      { agent: 'n2', is: 'restarted' },
    ],
    heal: () => [
      { at: 'n1', sh: 'nft delete table ip faults' },
      { agent: 'n2', is: 'running' },
    ],
    breaksWithinSeconds: 140,
    watchSeconds: 20,
  },
  {
    number: '31',
    name: 'bgp-one-way-loss',
    cause:
      'n1: packets of n2 to its BGP session are lost one way (a firewall drops them on n1); the hold timer of n1 expires',
    remedy: 'find what drops tcp/179 from n2 to n1',
    breaks: toN2,
    named: ({ address }) => [
      { at: 'n2', event: 'SessionChanged', kind: 'BGPSession', reason: 'timeout', about: meshPeer(address.n1) },
      { at: 'n1', condition: 'SessionsUp', reason: 'OneWay', about: meshPeer(address.n2) },
      { at: 'n2', condition: 'SessionsUp', reason: 'PortSilent', about: meshPeer(address.n1) },
    ],
    explained: { at: 'n1', code: 'SessionDown' },
    inject: ({ address }) => [
      {
        at: 'n1',
        sh: dropBgp(`ip saddr ${address.n2} tcp dport 179 drop; ip saddr ${address.n2} tcp sport 179 drop;`),
      },
    ],
    heal: () => [{ at: 'n1', sh: 'nft delete table ip faults' }],
    breaksWithinSeconds: 250,
    watchSeconds: 20,
  },
  {
    number: '35',
    name: 'iptables-forward-drop',
    cause: 'n1: iptables (nft) has policy DROP in FORWARD, as docker sets it',
    remedy: 'iptables -P FORWARD ACCEPT on n1, or an accept rule for cali+ (the agent puts one)',
    breaks: toN2,
    named: () => [{ at: 'n1', event: 'LetPass', kind: 'NftChain', about: 'ip filter FORWARD' }],
    explained: 'healed',
    inject: () => [{ at: 'n1', sh: 'iptables -P FORWARD DROP' }],
    heal: () => [{ at: 'n1', sh: 'iptables -P FORWARD ACCEPT; nft delete table ip filter' }],
  },
  {
    number: '37',
    name: 'nft-drop-one-port',
    cause: 'n2: a foreign nft rule drops tcp/8080 that is forwarded',
    remedy: 'remove that rule on n2',
    breaks: { ...toN2, port: 8080 },
    named: () => [],
    explained: { at: 'n2', code: 'ForeignDrops' },
    inject: () => [
      {
        at: 'n2',
        sh: "nft 'table inet firewall { chain forward { type filter hook forward priority 0; tcp dport 8080 drop; }; }'",
      },
    ],
    heal: () => [{ at: 'n2', sh: 'nft delete table inet firewall' }],
  },
  {
    number: '39',
    name: 'foreign-masquerade',
    cause: 'n1: somebody masquerades what pods send: n2-p1 sees the address of the node instead of n1-p1',
    remedy: 'leave the pool out of that masquerade rule of n1',
    breaks: { ...toN2, port: 8080, seenAs: 'itself' },
    named: () => [{ at: 'n2', condition: 'PathsPass', reason: 'SourceTranslated', about: 'Node n1' }],
    explained: { at: 'n1', code: 'ForeignTranslates' },
    inject: () => [
      {
        at: 'n1',
        sh: `nft 'table ip foreign { chain post {
  type nat hook postrouting priority 100; ip saddr 10.244.0.0/16 oifname "eth0" masquerade; }; }'`,
      },
    ],
    heal: () => [{ at: 'n1', sh: 'nft delete table ip foreign; conntrack -F' }],
  },
  {
    number: '41',
    name: 'two-pods-one-address',
    cause: 'n2: n2-p1 also has the address of n1-p1, with a route to it on n2',
    remedy: 'remove the address from n2-p1, and the /32 route on n2 (the agent does that)',
    breaks: { from: 'n2-p2', to: 'n1-p1', port: 8081 },
    named: ({ ip }) => [{ at: 'n2', condition: 'AddressesUnique', reason: 'PodTookAddress', about: ip['n1-p1'] }],
    explained: 'healed',
    inject: ({ ip, cali }) => [
      { at: 'n2-p1', sh: `ip addr add ${ip['n1-p1']}/32 dev eth0` },
      { at: 'n2', sh: `ip route add ${ip['n1-p1']}/32 dev ${cali['n2-p1']} scope link` },
    ],
    heal: ({ ip, cali }) => [
      { at: 'n2', sh: `ip route del ${ip['n1-p1']}/32 dev ${cali['n2-p1']}` },
      { at: 'n2-p1', sh: `ip addr del ${ip['n1-p1']}/32 dev eth0` },
    ],
    watchSeconds: 20,
  },
  {
    number: '43',
    name: 'pod-address-on-other-host',
    cause: 'n2: the host itself has the address of n1-p1 on its eth0',
    remedy: 'remove that address from eth0 of n2',
    breaks: { ...fromN2, port: 8081 },
    named: ({ ip }) => [{ at: 'n2', condition: 'AddressesUnique', reason: 'HostTookAddress', about: ip['n1-p1'] }],
    explained: { at: 'n2', code: 'RouteLocalHere' },
    inject: ({ ip }) => [{ at: 'n2', sh: `ip addr add ${ip['n1-p1']}/32 dev eth0` }],
    heal: ({ ip }) => [{ at: 'n2', sh: `ip addr del ${ip['n1-p1']}/32 dev eth0` }],
  },
  {
    number: '45',
    name: 'agent-dead',
    cause: 'n2: its agent is not running',
    remedy: 'start the agent of n2',
    breaks: { newPodOn: 'n2' },
    named: ({ address }) => [
      ...NODE_NAMES.filter(node => node !== 'n2').map(at => {
        return {
          at,
          event: 'SessionChanged',
          kind: 'BGPSession',
          reason: 'refused',
          about: meshPeer(address.n2),
        } as const
      }),
      { at: 'n3', condition: 'SessionsUp', reason: 'AgentAway', about: meshPeer(address.n2) },
    ],
    explained: { at: 'n2', code: 'AgentSilent' },
    inject: () => [{ agent: 'n2', is: 'killed' }],
    heal: () => [{ agent: 'n2', is: 'running' }],
    watchSeconds: 12,
  },
  {
    number: '47',
    name: 'pool-disabled',
    cause: 'cluster: IPPool default-ipv4-ippool is disabled, and it is the only one',
    remedy: 'disabled: false on the pool, or another pool',
    breaks: { newPodOn: 'n2' },
    named: () => [{ at: 'n2', condition: 'PoolsUsable', reason: 'AllDisabled', about: 'disabled' }],
    explained: { at: 'n2', code: 'PoolUnusable' },
    inject: () => [{ pool: { disabled: true } }],
    heal: () => [{ pool: { disabled: false } }],
  },
  {
    number: '49',
    name: 'node-object-deleted',
    cause: 'Node n2: the object was deleted from the API server while the node lives',
    remedy: 'create Node n2 again',
    breaks: toN2,
    named: () => [{ at: 'n2', condition: 'NodeObjectKnown', reason: 'NoNodeObject', about: 'n2' }],
    explained: { at: 'n2', code: 'NodeUnknown' },
    inject: () => [{ node: 'n2', is: 'deleted' }],
    heal: () => [{ node: 'n2', is: 'created' }],
    watchSeconds: 12,
  },
]

/** The fault of this number or name. */
export function faultOf(word: string): Fault | undefined {
  return FAULTS.find(({ number, name }) => number === word || name === word)
}
