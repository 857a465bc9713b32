// One packet as the hooks of a host see it: its octets from the network header on, the interfaces that it comes by and
// leaves by, and what connection tracking knows of it. Nothing is made up: what a rule asks and the packet does not say
// is an error.
import type { NftFibFlag } from '../../../kernel/port/nftables.ts'

export type ConnectionState = 'new' | 'established' | 'related' | 'invalid' | 'untracked'

/** What is asked of the routes of the host: `fib saddr . iif oifname` and its like. */
export type RouteQuestion = {
  address: string
  flags: readonly NftFibFlag[]
  iif?: string
  oif?: string
  mark: number
}
export type RouteAnswer = { oif?: string; type?: string }

export type HookPacket = {
  /**
   * From the header of IPv4 or IPv6 on. Where connections are tracked the kernel puts fragments together first, and takes the
   * header of a fragment away from what is whole: such packets are to be given so.
   */
  bytes: Uint8Array
  /** The same after the destination was translated: what hooks see from the priority dstnat on. */
  translated?: Uint8Array
  /** The Ethernet header; only where it came by an interface. */
  link?: Uint8Array
  /** By which interface it came; without one this host sends it. */
  iif?: string
  /** By which one it leaves; without one this host takes it. */
  oif?: string
  state?: ConnectionState
  direction?: 'original' | 'reply'
  /** Bits of `ct status`, as IPS_DNAT. */
  status?: number
  /** Of the connection, in the direction in which it began. */
  original?: { from: string; to: string; sourcePort?: number; destinationPort?: number }
  mark?: number
  ctMark?: number
  /** The numbers of interfaces. */
  indexes?: Readonly<Record<string, number>>
  routes?: (question: RouteQuestion) => RouteAnswer
  /** There are more packets or connections than every limit lets pass. */
  isOverLimits?: true
}

/** Where the header of the transport begins, and whose it is. */
export type Transport = { protocol: number; at: number; isLaterFragment: boolean }

export const isV6 = (bytes: Uint8Array): boolean => bytes[0]! >> 4 === 6

const FRAGMENT = 44
/** Headers of IPv6 that stand before that of the transport: hop-by-hop options, routing, destination options. */
const EXTENSIONS = [0, 43, 60]

/** undefined: the headers do not go that far. */
export function transportOf(bytes: Uint8Array): Transport | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (!isV6(bytes)) {
    if (bytes.length < 20) return undefined
    const isLaterFragment = (view.getUint16(6) & 0x1fff) !== 0
    return { protocol: view.getUint8(9), at: 4 * (view.getUint8(0) & 0xf), isLaterFragment }
  }
  let protocol = bytes[6]
  let at = 40
  let isLaterFragment = false
  while (protocol === FRAGMENT || EXTENSIONS.includes(protocol ?? -1)) {
    if (at + 8 > bytes.length) return undefined
    if (protocol === FRAGMENT) isLaterFragment = view.getUint16(at + 2) >> 3 !== 0
    const length = protocol === FRAGMENT ? 8 : 8 * (bytes[at + 1]! + 1)
    protocol = bytes[at]!
    at += length
    // of a later fragment there is no header of the transport to find
    if (isLaterFragment) break
  }
  return protocol === undefined ? undefined : { protocol, at, isLaterFragment }
}
