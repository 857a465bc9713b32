// The MTUs of a node: of its tunnel devices and of its pods, worked out in one place so that a packet of a pod fits every
// way that it may take. Pure; all values in bytes.
import type { Settings } from '../input.ts'

/** Octets each encapsulation costs over IPv4: an outer header; outer IP, UDP, VXLAN and inner Ethernet (RFC 7348). */
const OVERHEAD = { ipip: 20, vxlan: 50 } as const

/** Which tunnels this node should have. IP-in-IP carries IPv4 alone, VXLAN what is named. */
export type TunnelsNeeded = {
  readonly ipip: boolean
  readonly vxlan: boolean
  /** The families of the packets of pods that VXLAN carries; for IPv4 it needs a tunnel address. */
  readonly vxlanIpv4: boolean
  readonly vxlanIpv6: boolean
}

const BOTH = [false, true] as const
const NEEDED: readonly TunnelsNeeded[] = BOTH.flatMap(ipip =>
  BOTH.flatMap(vxlanIpv4 => BOTH.map(vxlanIpv6 => ({ ipip, vxlan: vxlanIpv4 || vxlanIpv6, vxlanIpv4, vxlanIpv6 }))),
)

/** The same needs are the same object, so that nobody compares them by value at each pass. */
export function tunnelsNeeded({
  ipip,
  vxlanIpv4,
  vxlanIpv6,
}: Pick<TunnelsNeeded, 'ipip' | 'vxlanIpv4' | 'vxlanIpv6'>): TunnelsNeeded {
  return NEEDED[(ipip ? 4 : 0) + (vxlanIpv4 ? 2 : 0) + (vxlanIpv6 ? 1 : 0)]!
}

export type Mtus = { ipip: number; vxlan: number; pod: number }

/**
 * A device has the MTU that is configured, or what the encapsulation leaves of the smallest uplink. A pod has the smallest
 * of the uplink and of the devices that are needed.
 */
export function mtus(
  needed: Pick<TunnelsNeeded, 'ipip' | 'vxlan'>,
  { config, uplinkMtu }: Pick<Settings, 'config' | 'uplinkMtu'>,
): Mtus {
  const ipip = config.ipipMtu > 0 ? config.ipipMtu : uplinkMtu - OVERHEAD.ipip
  const vxlan = config.vxlanMtu > 0 ? config.vxlanMtu : uplinkMtu - OVERHEAD.vxlan
  return {
    ipip,
    vxlan,
    pod: Math.min(uplinkMtu, needed.ipip ? ipip : uplinkMtu, needed.vxlan ? vxlan : uplinkMtu),
  }
}
