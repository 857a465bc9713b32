// The MTUs of a node: of its tunnel devices and of its pods, worked out in one place so that a packet of a pod fits every
// way that it may take. Pure; all values in bytes.
import type { Settings } from '../input.ts'

/** Octets each encapsulation costs over IPv4: an outer header; outer IP, UDP, VXLAN and inner Ethernet (RFC 7348). */
const OVERHEAD = { ipip: 20, vxlan: 50 } as const

/** Which tunnels this node should have, and thus which tunnel addresses it should hold. */
export type TunnelsNeeded = { readonly ipip: boolean; readonly vxlan: boolean }

const NEEDED: readonly TunnelsNeeded[] = [false, true].flatMap(ipip => [false, true].map(vxlan => ({ ipip, vxlan })))

/** The same needs are the same object, so that nobody compares them by value at each pass. */
export function tunnelsNeeded(ipip: boolean, vxlan: boolean): TunnelsNeeded {
  return NEEDED[(ipip ? 2 : 0) + (vxlan ? 1 : 0)]!
}

export type Mtus = { ipip: number; vxlan: number; pod: number }

/**
 * A device has the MTU that is configured, or what the encapsulation leaves of the smallest uplink. A pod has the smallest
 * of the uplink and of the devices that are needed.
 */
export function mtus(needed: TunnelsNeeded, { config, uplinkMtu }: Pick<Settings, 'config' | 'uplinkMtu'>): Mtus {
  const ipip = config.ipipMtu > 0 ? config.ipipMtu : uplinkMtu - OVERHEAD.ipip
  const vxlan = config.vxlanMtu > 0 ? config.vxlanMtu : uplinkMtu - OVERHEAD.vxlan
  return {
    ipip,
    vxlan,
    pod: Math.min(uplinkMtu, needed.ipip ? ipip : uplinkMtu, needed.vxlan ? vxlan : uplinkMtu),
  }
}
