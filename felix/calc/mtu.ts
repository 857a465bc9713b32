// The MTUs of a node: of its tunnel devices and of its pods, worked out in one place so that a packet of a pod fits every
// way that it may take. Pure; all values in bytes.
import type { Settings } from '../input.ts'

/** Octets each encapsulation costs: an outer header of IPv4; outer IP of either family, UDP, VXLAN and inner Ethernet (RFC 7348). */
const OVERHEAD = { ipip: 20, vxlan: 50, vxlanOverIpv6: 70 } as const

/** Which tunnels this node should have. IP-in-IP carries IPv4 alone, VXLAN what is named. */
export type TunnelsNeeded = {
  readonly ipip: boolean
  /** The device of VXLAN over IPv4, and the one over IPv6. */
  readonly vxlan: boolean
  readonly vxlanOverIpv6: boolean
  /** The families of the packets of pods that VXLAN carries; for IPv4 it needs a tunnel address. */
  readonly vxlanIpv4: boolean
  readonly vxlanIpv6: boolean
}

export type Mtus = { ipip: number; vxlan: number; vxlanOverIpv6: number; pod: number }

/**
 * A device has the MTU that is configured, or what the encapsulation leaves of the smallest uplink. A pod has the smallest
 * of the uplink and of the devices that are needed.
 */
export function mtus(
  needed: Pick<TunnelsNeeded, 'ipip' | 'vxlan' | 'vxlanOverIpv6'>,
  { config, uplinkMtu }: Pick<Settings, 'config' | 'uplinkMtu'>,
): Mtus {
  const of = (configured: number, overhead: number) => (configured > 0 ? configured : uplinkMtu - overhead)
  const ipip = of(config.ipipMtu, OVERHEAD.ipip)
  const vxlan = of(config.vxlanMtu, OVERHEAD.vxlan)
  const vxlanOverIpv6 = of(config.vxlanOverIpv6Mtu ?? 0, OVERHEAD.vxlanOverIpv6)
  const pod = Math.min(
    uplinkMtu,
    needed.ipip ? ipip : uplinkMtu,
    needed.vxlan ? vxlan : uplinkMtu,
    needed.vxlanOverIpv6 ? vxlanOverIpv6 : uplinkMtu,
  )
  return { ipip, vxlan, vxlanOverIpv6, pod }
}
