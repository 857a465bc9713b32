// From the cluster's objects to this node's BGP sessions: the node-to-node mesh and the BGPPeer objects. Pure.
// Peers and their names follow Calico (`Mesh_`, `Node_`, `Global_`), so that an operator reads the same words.
import { NODE_ANNOTATION } from '../../api/core.ts'
import { asNumberField } from '../../api/fields.ts'
import type { Resource } from '../../api/kinds.ts'
import { matchesSelector } from '../../api/selector.ts'
import type { PeerConfig } from '../../bgp/config.ts'
import { unicastFamily } from '../../bgp/family.ts'
import { familyOf, isHostAddress, parseAddress, parseEndpoint } from '../../lib/ip.ts'

export type MeshInput = {
  nodeName: string
  /** This node's own address, without a mask. */
  address: string
  asn: number
  nodes: readonly Resource<'Node'>[]
  peers: readonly Resource<'BGPPeer'>[]
  config: Resource<'BGPConfiguration'>['spec']
}

/** A peer that could not be made, and why: shown as a condition, never dropped in silence. */
export type MeshProblem = { object: string; message: string }

/** Where a peer listens that names no port. */
const BGP_PORT = 179
/** Seconds that neighbours keep our routes while this node's agent is away; long enough for an upgrade's restart. */
const RESTART_SECONDS = 120

/** All sessions this node should have. Two sources that name the same address give one session: the explicit peer. */
export function wantedPeers(input: MeshInput): { peers: PeerConfig[]; problems: MeshProblem[] } {
  const problems: MeshProblem[] = []
  const explicit = input.peers.flatMap(peer => explicitPeers(peer, input, problems))
  const taken = new Set(explicit.map(peer => peer.address))
  return { peers: [...explicit, ...meshPeers(input).filter(peer => !taken.has(peer.address))], problems }
}

/** The AS of a node: its annotation (also as `high.low`), or the cluster's where that is no AS number. */
export function nodeAsn(node: Resource<'Node'>, config: MeshInput['config']): number {
  const asn = asNumberField.safeParse(node.metadata.annotations?.[NODE_ANNOTATION.asNumber])
  return asn.success ? asn.data : config.asNumber
}

/** A node's BGP address without its mask; undefined while its agent has not published one that a host can have. */
export function nodeAddress(node: Resource<'Node'>): string | undefined {
  const text = node.metadata.annotations?.[NODE_ANNOTATION.ipv4Address]
  const address = text === undefined ? undefined : parseAddress(text.split('/')[0]!)
  return address !== undefined && isHostAddress(address) ? address : undefined
}

function isReflector(node: Resource<'Node'> | undefined): boolean {
  return node?.metadata.annotations?.[NODE_ANNOTATION.routeReflectorClusterId] !== undefined
}

function meshPeers({ nodeName, address, nodes, config }: MeshInput): PeerConfig[] {
  // Reflectors and their clients do not mesh: they are joined by BGPPeer objects.
  if (!config.nodeToNodeMeshEnabled || isReflector(nodes.find(n => n.metadata.name === nodeName))) return []
  return nodes.flatMap(node => {
    const remote = nodeAddress(node)
    if (node.metadata.name === nodeName || remote === undefined || remote === address || isReflector(node)) return []
    return [session(`Mesh_${remote}`, address, remote, nodeAsn(node, config), config.listenPort)]
  })
}

function explicitPeers(peer: Resource<'BGPPeer'>, input: MeshInput, problems: MeshProblem[]): PeerConfig[] {
  const { spec, metadata } = peer
  const problem = (message: string) => problems.push({ object: `BGPPeer ${metadata.name}`, message })
  const self = input.nodes.find(n => n.metadata.name === input.nodeName)
  if (spec.node !== undefined && spec.node !== input.nodeName) return []
  if (spec.nodeSelector !== undefined && !matchesSelector(spec.nodeSelector, self?.metadata.labels ?? {})) return []
  const scope = spec.node === undefined && spec.nodeSelector === undefined ? 'Global' : 'Node'
  if (spec.peerSelector !== undefined) {
    const selected = input.nodes.filter(n => matchesSelector(spec.peerSelector!, n.metadata.labels ?? {}))
    return selected.flatMap(node => {
      const remote = nodeAddress(node)
      if (remote === undefined || remote === input.address) return []
      const asn = nodeAsn(node, input.config)
      return [
        { ...session(`${scope}_${remote}`, input.address, remote, asn, input.config.listenPort), ...options(peer) },
      ]
    })
  }
  const target = parseEndpoint(spec.peerIP ?? '', BGP_PORT)
  if (target === undefined) {
    problem(`peerIP ${JSON.stringify(spec.peerIP)} is not an address: use IP, IP:port or [IPv6]:port`)
    return []
  }
  if (spec.asNumber === undefined) {
    problem('asNumber is missing: a peer named by peerIP needs one')
    return []
  }
  if (target.address === input.address) return []
  // the peer's port when it names one; a cluster's listenPort is about its own nodes only
  const base = session(`${scope}_${target.address}`, input.address, target.address, spec.asNumber, target.port)
  return [{ ...base, passive: false, ...options(peer) }]
}

function options({ spec }: Resource<'BGPPeer'>): Partial<PeerConfig> {
  return {
    ...(spec.localASNumber !== undefined && { localAs: spec.localASNumber }),
    ...(spec.numAllowedLocalASNumbers !== undefined && { allowAsIn: spec.numAllowedLocalASNumbers }),
    ...(spec.ttlSecurity !== undefined && { ttlSecurity: spec.ttlSecurity, multihop: undefined }),
    ...(spec.sourceAddress === 'None' && { source: undefined }),
    nextHop: nextHopMode(spec),
  }
}

function nextHopMode(spec: Resource<'BGPPeer'>['spec']): 'auto' | 'self' | 'keep' {
  if (spec.keepOriginalNextHop === true || spec.nextHopMode === 'Keep') return 'keep'
  return spec.nextHopMode === 'Self' ? 'self' : 'auto'
}

function session(name: string, own: string, remote: string, asn: number, port: number): PeerConfig {
  return {
    name: name.replaceAll(/[.:]/g, '_'),
    address: remote,
    asn,
    port,
    // an address of the other family cannot be bound
    source: familyOf(own) === familyOf(remote) ? own : undefined,
    // Calico's rule, on the text and not on the number: both ends must agree who dials in a mixed cluster.
    passive: remote > own,
    // nodes and top-of-rack routers may be hops away; ttlSecurity narrows it where asked for
    multihop: 255,
    families: [unicastFamily(familyOf(remote))],
    gracefulRestart: { restartSeconds: RESTART_SECONDS, notification: true },
    nextHop: 'auto',
    import: 'accept',
    export: 'accept',
  }
}
