// The tunnel devices a node needs. A device is wanted while some pool may need it, not while some route does: devices
// must not come and go with BGP sessions.
import { createHash } from 'node:crypto'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import type { NamedAddress } from '../../kernel/reconcile/objects.ts'
import type { TunnelDevice } from '../desired.ts'
import type { Settings, ThisNode } from '../input.ts'
import { mtus, type TunnelsNeeded } from './mtu.ts'

export const IPIP_DEVICE = 'tunl0'
export const VXLAN_DEVICE = 'vxlan.calico'
/** VXLAN over IPv6, for nodes of which one has no IPv4 address: a device sends over one family alone. */
export const VXLAN_DEVICE_V6 = 'vxlan-v6.calico'

export const TUNNEL_DEVICES: ReadonlySet<string> = new Set([IPIP_DEVICE, VXLAN_DEVICE, VXLAN_DEVICE_V6])

/** The names of the devices over IPv4 that are needed. */
export function tunnelNames({ ipip, vxlan }: Pick<TunnelsNeeded, 'ipip' | 'vxlan'>): string[] {
  return [...(ipip ? [IPIP_DEVICE] : []), ...(vxlan ? [VXLAN_DEVICE] : [])]
}

/** The VTEP MAC of a node that was given none: Calico's rule, `66` and five octets of SHA-1 over the node's name. */
export function vtepMac(nodeName: string): string {
  const hash = createHash('sha1').update(nodeName).digest().subarray(0, 5)
  return ['66', ...[...hash].map(octet => octet.toString(16).padStart(2, '0'))].join(':')
}

/** The devices that are needed and can be made. */
export function tunnelDevices(
  needed: TunnelsNeeded,
  node: ThisNode,
  settings: Pick<Settings, 'config' | 'uplinkMtu'>,
): TunnelDevice[] {
  const { config } = settings
  const mtu = mtus(needed, settings)
  const devices: TunnelDevice[] = []
  if (needed.ipip)
    devices.push({
      name: IPIP_DEVICE,
      kind: 'ipip',
      address: node.ipipTunnelAddress,
      mtu: mtu.ipip,
    })
  const { vxlanVni: vni, vxlanPort: port } = config
  const vxlan = { kind: 'vxlan', mac: node.vxlanTunnelMac ?? vtepMac(node.name), vni, port } as const
  const [ipv4, ipv6] = [node.ipv4, node.ipv6].map(subnet => subnet?.split('/')[0])
  if (needed.vxlan && (needed.vxlanIpv6 || node.vxlanTunnelAddress !== undefined))
    devices.push({ ...vxlan, name: VXLAN_DEVICE, address: node.vxlanTunnelAddress, mtu: mtu.vxlan, local: ipv4 })
  if (needed.vxlanOverIpv6) devices.push({ ...vxlan, name: VXLAN_DEVICE_V6, mtu: mtu.vxlanOverIpv6, local: ipv6 })
  return devices
}

/** The addresses of the tunnel devices. */
export function ownAddresses(devices: readonly TunnelDevice[]): NamedAddress[] {
  return devices.flatMap(({ name, address }) =>
    address === undefined ? [] : [{ interfaceName: name, address, length: 32, scope: ROUTE_SCOPE.universe }],
  )
}
