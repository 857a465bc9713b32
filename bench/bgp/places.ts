// Addresses of the bench: one daemon and up to a few thousand test peers on one link, by number.

/**
 * The number of 20.0.0.0/24, the first prefix of every span, counted in /24s from 0.0.0.0. A million of them hold no peer: in the kernel, routes
 * to peers' addresses would be reached over themselves.
 */
export const FIRST_PREFIX = 0x140000

export const DAEMON = { address: '10.77.0.1', asn: 65000 } as const
/** Length of the prefix that the daemon and all test peers share. */
export const LINK_LENGTH = 16

/** A test peer: `ipv6` ones carry no IPv4 routes, so that nothing but KEEPALIVEs goes to them. */
export type TestPlace = { address: string; asn: number; family: 'ipv4' | 'ipv6' }

/** The place of test peer `n`, 0-9999. */
export function place(n: number, family: 'ipv4' | 'ipv6' = 'ipv4'): TestPlace {
  return { address: `10.77.${1 + Math.floor(n / 200)}.${1 + (n % 200)}`, asn: 61_000 + n, family }
}
