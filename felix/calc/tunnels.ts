// The tunnel devices a node needs. A device is wanted while some pool may need it, not while some route does: devices
// must not come and go with BGP sessions.
import { createHash } from 'node:crypto'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import type { NamedAddress } from '../../kernel/reconcile/objects.ts'
import { addressBits, type Family, familyOf } from '../../lib/ip.ts'
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

/** The names of the devices by which packets of a family that this node sends itself have an address of their own. */
export function devicesWithAddress(needed: TunnelsNeeded, family: Family): string[] {
  if (family === 'ipv4') return tunnelNames(needed)
  const { vxlan, vxlanIpv6, vxlanOverIpv6 } = needed
  return [...(vxlan && vxlanIpv6 ? [VXLAN_DEVICE] : []), ...(vxlanOverIpv6 ? [VXLAN_DEVICE_V6] : [])]
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
      addresses: given(node.ipipTunnelAddress),
      mtu: mtu.ipip,
    })
  const { vxlanVni: vni, vxlanPort: port } = config
  const vxlan = { kind: 'vxlan', mac: node.vxlanTunnelMac ?? vtepMac(node.name), vni, port } as const
  const [ipv4, ipv6] = [node.ipv4, node.ipv6].map(subnet => subnet?.split('/')[0])
  // the kernel chooses a source of the device that a packet leaves by, so both have it
  const ofIpv6 = needed.vxlanIpv6 ? given(node.vxlanTunnelAddressV6) : []
  if (needed.vxlan && (needed.vxlanIpv6 || node.vxlanTunnelAddress !== undefined)) {
    const addresses = [...given(node.vxlanTunnelAddress), ...ofIpv6]
    devices.push({ ...vxlan, name: VXLAN_DEVICE, addresses, mtu: mtu.vxlan, local: ipv4 })
  }
  if (needed.vxlanOverIpv6)
    devices.push({ ...vxlan, name: VXLAN_DEVICE_V6, addresses: ofIpv6, mtu: mtu.vxlanOverIpv6, local: ipv6 })
  return devices
}

function given(address: string | undefined): string[] {
  return address === undefined ? [] : [address]
}

/** The addresses of the tunnel devices. */
export function ownAddresses(devices: readonly TunnelDevice[]): NamedAddress[] {
  return devices.flatMap(({ name, addresses }) =>
    addresses.map(address => {
      const length = addressBits(familyOf(address))
      return { interfaceName: name, address, length, scope: ROUTE_SCOPE.universe }
    }),
  )
}
