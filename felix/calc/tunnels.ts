// The tunnel devices a node needs. A device is wanted while some pool may need it, not while some route does: devices
// must not come and go with BGP sessions.
import { createHash } from 'node:crypto'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import type { NamedAddress } from '../../kernel/reconcile/objects.ts'
import type { TunnelDevice } from '../desired.ts'
import type { Settings, ThisNode } from '../input.ts'

export const IPIP_DEVICE = 'tunl0'
export const VXLAN_DEVICE = 'vxlan.calico'
/** Octets each encapsulation costs over IPv4: an outer header; outer IP, UDP, VXLAN and inner Ethernet (RFC 7348). */
export const OVERHEAD = { ipip: 20, vxlan: 50 } as const

/** Which tunnels this node should have, and thus which tunnel addresses it should hold. */
export type TunnelsNeeded = { readonly ipip: boolean; readonly vxlan: boolean }

/** The VTEP MAC of a node that was given none: Calico's rule, `66` and five octets of SHA-1 over the node's name. */
export function vtepMac(nodeName: string): string {
  const hash = createHash('sha1').update(nodeName).digest().subarray(0, 5)
  return ['66', ...[...hash].map(octet => octet.toString(16).padStart(2, '0'))].join(':')
}

/** The devices, with MTUs: configured, or the smallest uplink MTU minus what the encapsulation costs. */
export function tunnelDevices(
  needed: TunnelsNeeded,
  node: ThisNode,
  { config, uplinkMtu }: Pick<Settings, 'config' | 'uplinkMtu'>,
): TunnelDevice[] {
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
export function ownAddresses(devices: readonly TunnelDevice[]): NamedAddress[] {
  return devices.flatMap(({ name, address }) =>
    address === undefined ? [] : [{ interfaceName: name, address, length: 32, scope: ROUTE_SCOPE.universe }],
  )
}
