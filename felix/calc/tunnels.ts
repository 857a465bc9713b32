// The tunnel devices a node needs and whom vxlan.calico can reach. A device is wanted while some pool may need it,
// not while some route does: devices must not come and go with BGP sessions.
import { createHash } from 'node:crypto'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { DesiredAddress, DesiredFdb, DesiredNeighbour, Notice, TunnelDevice } from '../desired.ts'
import type { FelixInput, RemoteNode } from '../input.ts'
import { can, poolEncapsulation, TUNNEL_TYPE } from './encapsulation.ts'

export const IPIP_DEVICE = 'tunl0'
export const VXLAN_DEVICE = 'vxlan.calico'
/** Octets each encapsulation costs over IPv4: an outer header; outer IP, UDP, VXLAN and inner Ethernet (RFC 7348). */
export const OVERHEAD = { ipip: 20, vxlan: 50 } as const

type NeedInput = Pick<FelixInput, 'capabilities' | 'pools' | 'learned'>

/**
 * Which tunnels this node should have, and thus which tunnel addresses it should hold. VXLAN is needed for an IPIP
 * pool too, as soon as this kernel or the node behind a learned block of that pool lacks IP-in-IP.
 */
export function tunnelsNeeded({ capabilities, pools, learned }: NeedInput): { ipip: boolean; vxlan: boolean } {
  const asks = (kind: 'ipip' | 'vxlan') => pools.some(pool => poolEncapsulation(pool) === kind)
  const ipip = asks('ipip')
  const fallback = ipip && (!capabilities.ipip || learned.some(lacksIpip(pools)))
  return { ipip: ipip && capabilities.ipip, vxlan: capabilities.vxlan && (asks('vxlan') || fallback) }
}

function lacksIpip(pools: FelixInput['pools']): (route: FelixInput['learned'][number]) => boolean {
  const index = new PrefixIndex<boolean>()
  for (const pool of pools) index.add(pool.cidr, poolEncapsulation(pool) === 'ipip')
  return ({ prefix, encapsulations }) => {
    if (can(encapsulations, TUNNEL_TYPE.ipip)) return false
    const parsed = parsePrefix(prefix)
    return parsed !== undefined && index.match(parsed) === true
  }
}

/** The VTEP MAC of a node that was given none: Calico's rule, `66` and five octets of SHA-1 over the node's name. */
export function vtepMac(nodeName: string): string {
  const hash = createHash('sha1').update(nodeName).digest().subarray(0, 5)
  return ['66', ...[...hash].map(octet => octet.toString(16).padStart(2, '0'))].join(':')
}

/** The devices, with MTUs: configured, or the smallest uplink MTU minus what the encapsulation costs. */
export function tunnelDevices(input: FelixInput): TunnelDevice[] {
  const { node, config, uplinkMtu } = input
  const needed = tunnelsNeeded(input)
  const devices: TunnelDevice[] = []
  if (needed.ipip)
    devices.push({
      name: IPIP_DEVICE,
      kind: 'ipip',
      address: node.ipipTunnelAddress,
      mtu: config.ipipMtu > 0 ? config.ipipMtu : uplinkMtu - OVERHEAD.ipip,
    })
  if (needed.vxlan && node.vxlanTunnelAddress !== undefined)
    devices.push({
      name: VXLAN_DEVICE,
      kind: 'vxlan',
      address: node.vxlanTunnelAddress,
      mtu: config.vxlanMtu > 0 ? config.vxlanMtu : uplinkMtu - OVERHEAD.vxlan,
      mac: node.vxlanTunnelMac ?? vtepMac(node.name),
      vni: config.vxlanVni,
      port: config.vxlanPort,
      local: node.ipv4.split('/')[0],
    })
  return devices
}

/** The addresses of the tunnel devices. */
export function ownAddresses(devices: readonly TunnelDevice[]): DesiredAddress[] {
  return devices.flatMap(({ name, address }) =>
    address === undefined ? [] : [{ interfaceName: name, address, scope: ROUTE_SCOPE.universe }],
  )
}

export type Vtep = { node: string; address: string; vtep: string; mac: string }

/** Far VTEPs by node address, and what makes them reachable. The first node by name keeps an address that two claim. */
export function vteps(remotes: readonly RemoteNode[]): { byAddress: Map<string, Vtep>; notices: Notice[] } {
  const byAddress = new Map<string, Vtep>()
  const taken = new Map<string, string>()
  const notices: Notice[] = []
  for (const { name, address, vxlanTunnelAddress: vtep, vxlanTunnelMac } of remotes.toSorted(byName)) {
    if (vtep === undefined) continue
    const mac = (vxlanTunnelMac ?? vtepMac(name)).toLowerCase()
    const holder = [address, vtep, mac].map(claim => taken.get(claim)).find(other => other !== undefined)
    if (holder === name) continue
    if (holder !== undefined) {
      const message = `nodes ${holder} and ${name} share an address, VTEP address or VTEP MAC; ${name} gets no tunnel until its Node object is corrected`
      notices.push({ object: `node ${name}`, reason: 'DuplicateVtep', message })
      continue
    }
    for (const claim of [address, vtep, mac]) taken.set(claim, name)
    byAddress.set(address, { node: name, address, vtep, mac })
  }
  return { byAddress, notices }
}

/** Permanent neighbour and forwarding entries of vxlan.calico: where a VTEP's frames go, without a question asked. */
export function vtepEntries(byAddress: ReadonlyMap<string, Vtep>): {
  neighbours: DesiredNeighbour[]
  fdb: DesiredFdb[]
} {
  const all = [...byAddress.values()]
  return {
    neighbours: all.map(({ vtep, mac }) => ({ interfaceName: VXLAN_DEVICE, address: vtep, mac, permanent: true })),
    fdb: all.map(({ address, mac }) => ({ interfaceName: VXLAN_DEVICE, mac, dst: address })),
  }
}

function byName(a: RemoteNode, b: RemoteNode): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : a.address < b.address ? -1 : 1
}
