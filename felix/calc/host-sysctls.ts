// Forwarding for the node as a whole, and on each device over which packets of other nodes come in: the kernel asks the
// setting of that device, which others may have switched off alone. And the reverse path: packets between a pod and the
// address of another node go one way bare and the other way through a tunnel, which a strict filter (RFC 3704 §2.2) drops. And, of
// several uplinks, that a route over one without a carrier gives way to another route, as it does when the uplink goes down.
import { isDeepStrictEqual } from 'node:util'
import { type NamedSysctl, sysctlKey } from '../../kernel/reconcile/objects.ts'
import type { Output } from './output.ts'
import { IPIP_DEVICE, tunnelNames, VXLAN_DEVICE, VXLAN_DEVICE_V6 } from './tunnels.ts'

const FORWARD_IPV4: NamedSysctl = { family: 'ipv4', path: ['ip_forward'], value: '1' }
const FORWARD_IPV6: NamedSysctl = { family: 'ipv6', path: ['conf', 'all', 'forwarding'], value: '1' }
/**
 * A device on which IPv6 is off takes no route and no neighbour, and hosts with IPv4 addresses alone often have it off. What nodes
 * know of each other there is written by us: the device believes no router and asks nobody about its own address.
 */
const CARRY_IPV6 = { disable_ipv6: '0', forwarding: '1', accept_ra: '0', accept_dad: '0' } as const

export type HostSettings = {
  uplink: string | undefined
  /** Interfaces by which other nodes are reached, whose packets come back by `uplink`, and the reverse. */
  otherUplinks: readonly string[]
  /** Whether uplinks take packets which would go out by a tunnel. Tunnels always take those that would go out by them. */
  uplinkTwoWay: boolean
  /** Whether this node has the tunnel. */
  ipip: boolean
  vxlan: boolean
  vxlanOverIpv6: boolean
  /** Whether that of VXLAN over IPv4 carries IPv6, as the one over IPv6 always does. */
  vxlanIpv6: boolean
  /** Whether the device of IP-in-IP has an address; that of VXLAN always has one. */
  ipipAddressed: boolean
  /** Whether pods or blocks use IPv6. */
  ipv6: boolean
  /** The uplinks that take router advertisements; they are taken there while this node forwards too. */
  heedsRouters: readonly string[]
}

export class HostSysctls {
  readonly #output: Output<NamedSysctl>
  #settings: HostSettings | undefined
  #ofDevices: ReadonlyMap<string, NamedSysctl> = new Map()
  #heeds: ReadonlyMap<string, NamedSysctl> = new Map()

  constructor(output: Output<NamedSysctl>) {
    this.#output = output
  }

  /**
   * Wants the node to forward, and its uplink and tunnels. IPv6 only where it is used, and after the uplinks were told to go
   * on with router advertisements: as a router the kernel removes the default routes that it has of them, and lets
   * addresses of them end (`accept_ra` in ip-sysctl.rst). A filter of the reverse path that is off stays off, and
   * one that is strict becomes loose, of uplinks too where there are several, or off where the device has no address: Linux takes loose for strict there
   * (`fib_validate_source`). The same again costs nothing.
   */
  want(settings: HostSettings): void {
    const { uplink, otherUplinks, uplinkTwoWay, ipip, vxlan, vxlanOverIpv6, vxlanIpv6 } = settings
    const { ipipAddressed, ipv6, heedsRouters } = settings
    if (isDeepStrictEqual(settings, this.#settings)) return
    this.#settings = settings
    const before = this.#ofDevices
    const one = uplink === undefined || uplink === 'lo' ? [] : [uplink]
    const uplinks = [...new Set([...one, ...otherUplinks])]
    const several = otherUplinks.length > 0 ? uplinks : []
    const tunnels = tunnelNames({ ipip, vxlan })
    const twoWay = [...(uplinkTwoWay ? uplinks : several), ...tunnels]
    const families = ipv6 ? (['ipv4', 'ipv6'] as const) : (['ipv4'] as const)
    this.#ofDevices = new Map([
      ...[...uplinks, ...tunnels].map(forwardFrom),
      ...twoWay.map(device => (device === IPIP_DEVICE && !ipipAddressed ? filterNot(device) : filterLoosely(device))),
      ...several.flatMap(device => families.map(family => passOver(device, family))),
      ...(vxlan && vxlanIpv6 ? carryIpv6(VXLAN_DEVICE) : []),
      ...(vxlanOverIpv6 ? carryIpv6(VXLAN_DEVICE_V6) : []),
    ])
    this.#output.want(sysctlKey(FORWARD_IPV4), FORWARD_IPV4)
    const heeds = new Map(ipv6 ? heedsRouters.map(heedRouters) : [])
    for (const key of this.#heeds.keys()) if (!heeds.has(key)) this.#output.want(key, undefined)
    for (const [key, sysctl] of heeds) this.#output.want(key, sysctl)
    this.#heeds = heeds
    this.#output.want(sysctlKey(FORWARD_IPV6), ipv6 ? FORWARD_IPV6 : undefined)
    for (const key of before.keys()) if (!this.#ofDevices.has(key)) this.#output.want(key, undefined)
    for (const [key, sysctl] of this.#ofDevices)
      if (!isDeepStrictEqual(before.get(key), sysctl)) this.#output.want(key, sysctl)
  }
}

function forwardFrom(device: string): [string, NamedSysctl] {
  return keyed({ family: 'ipv4', path: ['conf', device, 'forwarding'], value: '1', needs: 'device' })
}

/**
 * 2: also while this machine forwards. Not by `needs`: what needs a device is written after forwarding, and uplinks are there. Whoever
 * switches it off keeps it off.
 */
function heedRouters(device: string): [string, NamedSysctl] {
  return keyed({ family: 'ipv6', path: ['conf', device, 'accept_ra'], value: '2', orValue: '0' })
}

function filterLoosely(device: string): [string, NamedSysctl] {
  return keyed({ family: 'ipv4', path: ['conf', device, 'rp_filter'], value: '2', orValue: '0', needs: 'device' })
}

function filterNot(device: string): [string, NamedSysctl] {
  return keyed({ family: 'ipv4', path: ['conf', device, 'rp_filter'], value: '0', needs: 'device' })
}

/** Routes over the device are not taken while it has no carrier (ip-sysctl.rst). */
function passOver(device: string, family: 'ipv4' | 'ipv6'): [string, NamedSysctl] {
  return keyed({ family, path: ['conf', device, 'ignore_routes_with_linkdown'], value: '1', needs: 'device' })
}

function carryIpv6(device: string): [string, NamedSysctl][] {
  return Object.entries(CARRY_IPV6).map(([name, value]) =>
    keyed({ family: 'ipv6', path: ['conf', device, name], value, needs: 'device' }),
  )
}

function keyed(sysctl: NamedSysctl): [string, NamedSysctl] {
  return [sysctlKey(sysctl), sysctl]
}
