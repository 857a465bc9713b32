// Kernel objects as they are wanted: under the name of their interface, since an ifindex means nothing until the link
// exists, and each kind with the key that names its objects for good. Pure.
import { addressBits, familyOf } from '../../lib/ip.ts'
import type { Address } from '../port/addresses.ts'
import type { FdbEntry, Neighbour } from '../port/neighbours.ts'
import type { NftChain, NftElements, NftFamily, NftRule, NftSet, NftTable } from '../port/nftables.ts'
import { defaultMetric, type NextHop, type Route } from '../port/routes.ts'
import type { SysctlFamily } from '../port/sysctls.ts'

export type WantedLink = {
  name: string
  /** A device of this kind is made when there is none. Without it the link is somebody else's to make. */
  kind?: 'ipip' | 'vxlan'
  mtu: number
  /** Taken up where it is down; without it a link is left as it is. */
  up?: true
  mac?: string
  vni?: number
  port?: number
  local?: string
}

/** Routes that drop packets have no interface. */
export type NamedRoute = Omit<Route, 'ifindex' | 'nextHops'> & {
  interfaceName?: string
  nextHops?: readonly NamedNextHop[]
}
/** What a route is beside its destination, which its key has. */
export type RouteWay = Omit<NamedRoute, 'dst'>
export type NamedNextHop = Omit<NextHop, 'ifindex'> & { interfaceName: string }
export type NamedAddress = Omit<Address, 'ifindex' | 'tentative'> & { interfaceName: string }
export type NamedNeighbour = Omit<Neighbour, 'ifindex' | 'proxy' | 'state'> & { interfaceName: string }
export type NamedFdbEntry = Omit<FdbEntry, 'ifindex'> & { interfaceName: string }

/**
 * One `net.<family>.<path>` that must read `value`. One that needs the pod filter reads `withoutFilter` without it ('0' where absent);
 * one that needs a device is written after links are made. `orValue` is as good, and left. An `rp_filter` counts as the kernel
 * takes it, the larger one of the device's and that of all; one that should be 0 counts by itself: that of all is nobody's to lower.
 */
export type NamedSysctl = {
  family: SysctlFamily
  path: readonly string[]
  value: string
  orValue?: string
  needs?: 'pod filter' | 'device'
  withoutFilter?: string
}

/** One table of nftables as it must be, without the elements that come and go by themselves. Nobody else may write into it. */
export type NftProgram = {
  table: NftTable
  sets: readonly NftSet[]
  chains: readonly NftChain[]
  /** Those of one chain in their order. */
  rules: readonly NftRule[]
  /**
   * All elements of some of the sets. They are part of the table: where one differs the set is written anew, in the
   * transaction of the rules, since ranges that overlap cannot be exchanged one by one.
   */
  contents?: readonly NftElements[]
  /** The table shall not be there; there is nothing else then. */
  absent?: true
}

/** One element of a set of such a table: its key in nft's words, and the interface that it is about where it has one. */
export type NamedNftElement = {
  family: NftFamily
  table: string
  set: string
  words: readonly string[]
  interfaceName?: string
}

/** How fast packets go, in octets and octets per second: after a pause `burst` octets at once, or as fast as `peak`. `peak.burst` absent: one packet. */
export type Rate = { rate: number; burst: number; peak?: { rate: number; burst?: number } }

/** Seen from the pod: what it gets, and what it sends. */
export const SHAPED_DIRECTIONS = ['ingress', 'egress'] as const
export type ShapedDirection = (typeof SHAPED_DIRECTIONS)[number]

/** How fast the interface of a pod is. `yields`: another program may limit it soon after it was made, and comes first. */
export type Shape = { [D in ShapedDirection]?: Rate } & { yields?: true }

/** The identity of a route within its table: `10.1.0.0/26`, with ` metric N` where that is not the default one. */
export function routeKeyOf({ dst, metric }: Pick<Route, 'dst' | 'metric'>): string {
  return metric === undefined || metric === defaultMetric(dst) ? dst : [dst, 'metric', metric].join(' ')
}

/** The destination in such a key. */
export function dstOf(key: string): string {
  const end = key.indexOf(' ')
  return end < 0 ? key : key.slice(0, end)
}

/** `tunl0 10.1.0.1`, with `/LENGTH` where that is not the full one. */
export function addressKey({ interfaceName, address, length }: NamedAddress): string {
  return `${interfaceName} ${address}${length === addressBits(familyOf(address)) ? '' : `/${length}`}`
}

export function neighbourKey({ interfaceName, address }: Pick<NamedNeighbour, 'interfaceName' | 'address'>): string {
  return `${interfaceName} ${address}`
}

export function fdbKey({ interfaceName, mac }: Pick<NamedFdbEntry, 'interfaceName' | 'mac'>): string {
  return `${interfaceName} ${mac}`
}

/** `inet margay`. */
export function nftTableKey({ family, name }: Pick<NftTable, 'family' | 'name'>): string {
  return `${family} ${name}`
}

/** `inet margay pod_addresses cali1 . 10.0.0.1`. */
export function nftElementKey({ family, table, set, words }: NamedNftElement): string {
  return `${family} ${table} ${set} ${words.join(' . ')}`
}

export function sysctlKey({ family, path }: Pick<NamedSysctl, 'family' | 'path'>): string {
  return `net.${family} ${path.join('/')}`
}
