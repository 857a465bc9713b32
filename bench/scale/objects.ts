// The objects of a simulated cluster, as a cluster has them: a Node of about 10 kB, most of it images and conditions that
// the agent does not use. Node 0 is the one whose agent is measured.
import { CLUSTER_ASN, NODE_ADDRESS, ROUTER } from './ground.ts'

/** The name of simulated node `n`. */
export function nodeName(n: number): string {
  return `node-${n}`
}

/** Its BGP address. */
export function nodeAddress(n: number): string {
  return n === 0 ? NODE_ADDRESS : `10.99.${Math.floor(n / 250)}.${1 + (n % 250)}`
}

const IMAGES = 40

/** The Node object of node `n`, as at its first heartbeat. */
export function nodeObject(n: number): object {
  const address = nodeAddress(n)
  const labels = {
    'kubernetes.io/hostname': nodeName(n),
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': 'amd64',
    'topology.kubernetes.io/zone': `zone-${n % 3}`,
    'node.kubernetes.io/instance-type': 'large',
    rack: `rack-${n % 40}`,
  }
  const annotations =
    n === 0
      ? {}
      : {
          'projectcalico.org/IPv4Address': `${address}/16`,
          'projectcalico.org/IPv4VXLANTunnelAddr': `10.${128 + Math.floor(n / 1024)}.${Math.floor(n / 4) % 256}.${(n % 4) * 64}`,
          ...vtepMac(n, 0),
        }
  return {
    metadata: { name: nodeName(n), labels, annotations: { ...annotations, 'node.alpha.kubernetes.io/ttl': '0' } },
    spec: { podCIDR: `10.200.${n % 256}.0/24`, providerID: `simulated://${n}` },
    status: {
      addresses: [
        { type: 'InternalIP', address },
        { type: 'Hostname', address: nodeName(n) },
      ],
      capacity: { cpu: '16', memory: '65536000Ki', pods: '110' },
      images: Array.from({ length: IMAGES }, (_, i) => ({
        names: [
          `registry.example.org/team/image-${i}@sha256:${digest(n * IMAGES + i)}`,
          `registry.example.org/team/image-${i}:v1.${i}`,
        ],
        sizeBytes: 100_000_000 + i,
      })),
      ...conditions(0),
    },
  }
}

/** Where node `n` answers path probes (`answerProbes`). */
export function probeAddress(n: number): string {
  return `10.127.${n >> 8}.${n & 255}`
}

/** The status of a heartbeat: nothing that the agent uses. */
export function conditions(beat: number): object {
  const types = ['MemoryPressure', 'DiskPressure', 'PIDPressure', 'NetworkUnavailable', 'Ready']
  const at = new Date(1_800_000_000_000 + beat * 1000).toISOString()
  return {
    conditions: types.map(type => ({
      type,
      status: type === 'Ready' ? 'True' : 'False',
      reason: `Kubelet${type}`,
      message: `the kubelet of this node reports ${type}`,
      lastHeartbeatTime: at,
    })),
  }
}

/** The annotation with the MAC address of a node's VTEP, after `changes` changes. */
export function vtepMac(n: number, changes: number): Record<string, string> {
  return { 'projectcalico.org/VXLANTunnelMACAddr': `66:00:00:${hex(changes)}:${hex(n >> 8)}:${hex(n & 255)}` }
}

/** The block of node `n`: a /26 of 10.128.0.0/9. */
export function blockName(n: number): string {
  return blockCidr(n).replace(/[./]/g, '-')
}

export function blockObject(n: number): object {
  const used = Array.from({ length: 20 }, (_, i) => i)
  return {
    metadata: { name: blockName(n) },
    spec: {
      cidr: blockCidr(n),
      affinity: `host:${nodeName(n)}`,
      strictAffinity: true,
      allocations: Array.from({ length: 64 }, (_, i) => (i < used.length ? i : null)),
      unallocated: Array.from({ length: 44 }, (_, i) => i + 20),
      attributes: used.map(i => ({
        handle_id: `net.${nodeName(n)}-pod-${i}.eth0`,
        secondary: { pod: `pod-${i}`, namespace: 'default', node: nodeName(n) },
      })),
    },
  }
}

export function poolObject(vxlanMode: 'Never' | 'Always'): object {
  return { metadata: { name: 'pods' }, spec: { cidr: '10.128.0.0/9', blockSize: 26, vxlanMode } }
}

/** Where the routes of the router lie: of a peer outside the cluster no others are taken. Nobody gets addresses from it. */
export function routerPool(): object {
  return { metadata: { name: 'router' }, spec: { cidr: '10.64.0.0/16', blockSize: 26, disabled: true } }
}

export function bgpConfiguration(mesh: boolean): object {
  return { metadata: { name: 'default' }, spec: { nodeToNodeMeshEnabled: mesh, asNumber: CLUSTER_ASN } }
}

/** The session with the router, of all nodes. */
export function routerPeer(): object {
  return { metadata: { name: 'router' }, spec: { peerIP: ROUTER.address, asNumber: CLUSTER_ASN } }
}

export function blockCidr(n: number): string {
  return `10.${128 + Math.floor(n / 1024)}.${Math.floor(n / 4) % 256}.${(n % 4) * 64}/26`
}

function hex(octet: number): string {
  return (octet & 255).toString(16).padStart(2, '0')
}

/** 64 hexadecimal digits that differ from number to number. */
function digest(n: number): string {
  return (BigInt(n + 1) * 0x9e3779b97f4a7c15f39cc0605cedc835n).toString(16).padStart(64, 'a').slice(-64)
}
