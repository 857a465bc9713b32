// One pod interface as the kernel should have it (DESIGN section 4): the facts that cni and felix share. Pure.
import type { Family } from '../lib/ip.ts'

/** MAC of the host side of every pod interface. */
export const HOST_MAC = 'ee:ee:ee:ee:ee:ee'
/** A pod's next hop per family. The IPv6 one is the EUI-64 link-local address of `HOST_MAC`. */
export const GATEWAY: Record<Family, string> = { ipv4: '169.254.1.1', ipv6: 'fe80::ecee:eeff:feee:eeee' }
