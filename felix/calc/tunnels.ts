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

/** The names of the devices that are needed. */
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
  const local = node.ipv4?.split('/')[0]
  if (local !== undefined && (needed.vxlanIpv6 || (needed.vxlanIpv4 && node.vxlanTunnelAddress !== undefined)))
    devices.push({
      name: VXLAN_DEVICE,
      kind: 'vxlan',
      address: node.vxlanTunnelAddress,
      mtu: mtu.vxlan,
      mac: node.vxlanTunnelMac ?? vtepMac(node.name),
      vni: config.vxlanVni,
      port: config.vxlanPort,
      local,
    })
  return devices
}

/** The addresses of the tunnel devices. */
export function ownAddresses(devices: readonly TunnelDevice[]): NamedAddress[] {
  return devices.flatMap(({ name, address }) =>
    address === undefined ? [] : [{ interfaceName: name, address, length: 32, scope: ROUTE_SCOPE.universe }],
  )
}
