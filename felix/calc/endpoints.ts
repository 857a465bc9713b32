// What a pod's interface needs on the host: a route, a neighbour and a place in the pod filter for each address, sysctls, up. An interface belongs
// to one endpoint: of several that name it, the first by id.

import { hostSide } from '../../kernel/pod-interface.ts'
import {
  addressKey,
  type NamedAddress,
  type NamedNeighbour,
  type NamedNftElement,
  type NamedRoute,
  type NamedSysctl,
  neighbourKey,
  nftElementKey,
  sysctlKey,
} from '../../kernel/reconcile/objects.ts'
import { familyOf } from '../../lib/ip.ts'
import type { Desired, PodLink } from '../desired.ts'
import type { Endpoint } from '../input.ts'
import type { Output } from './output.ts'
import { type PodFilterMarks, podElements } from './pod-filter.ts'
import type { RouteClaims } from './route-claims.ts'

/** An endpoint that has its interface, with what is wanted there. */
export type Pod = {
  endpoint: Endpoint
  routes: readonly NamedRoute[]
  neighbours: readonly NamedNeighbour[]
  sysctls: readonly NamedSysctl[]
  link: PodLink
  addresses: readonly NamedAddress[]
  /** What lets its packets pass. */
  filter: readonly NamedNftElement[]
}

type Outputs = { readonly [K in 'link' | 'address' | 'neighbour' | 'sysctl' | 'nftElement']: Output<Desired[K]> }

export class EndpointGroup {
  readonly #claims: RouteClaims
  readonly #outputs: Outputs
  readonly #filter: PodFilterMarks | undefined
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #byInterface = new Map<string, Set<string>>()
  readonly #pods = new Map<string, Pod>()
  #withIpv6 = 0

  constructor(claims: RouteClaims, outputs: Outputs, filter: PodFilterMarks | undefined) {
    this.#filter = filter
    this.#claims = claims
    this.#outputs = outputs
  }

  /** Whether some endpoint has an IPv6 address. */
  get hasIpv6(): boolean {
    return this.#withIpv6 > 0
  }

  update(id: string, endpoint: Endpoint | undefined, routeProtocol: number): void {
    const before = this.#endpoints.get(id)
    if (endpoint === undefined) this.#endpoints.delete(id)
    else this.#endpoints.set(id, endpoint)
    this.#withIpv6 += Number(usesIpv6(endpoint)) - Number(usesIpv6(before))
    if (before !== undefined && before.interfaceName !== endpoint?.interfaceName) {
      const ids = this.#byInterface.get(before.interfaceName)
      ids?.delete(id)
      if (ids?.size === 0) this.#byInterface.delete(before.interfaceName)
      this.#claimRoutes(before.interfaceName, routeProtocol)
    }
    if (endpoint === undefined) return
    const ids = this.#byInterface.get(endpoint.interfaceName) ?? new Set()
    this.#byInterface.set(endpoint.interfaceName, ids.add(id))
    this.#claimRoutes(endpoint.interfaceName, routeProtocol)
  }

  /** Another protocol for the routes of all pods. */
  reroute(routeProtocol: number): void {
    for (const interfaceName of this.#byInterface.keys()) this.#claimRoutes(interfaceName, routeProtocol)
  }

  /** The pod that has an interface. */
  on(interfaceName: string): Pod | undefined {
    return this.#pods.get(interfaceName)
  }

  #claimRoutes(interfaceName: string, routeProtocol: number): void {
    const [first] = [...(this.#byInterface.get(interfaceName) ?? [])].sort()
    const endpoint = first === undefined ? undefined : this.#endpoints.get(first)
    const before = this.#pods.get(interfaceName)
    if (before !== undefined) {
      for (const route of before.routes) this.#claims.removePod(route)
      this.#wantAll(before, 'absent')
      this.#pods.delete(interfaceName)
    }
    if (endpoint === undefined) return
    const { mtu, routes, addresses, neighbours, sysctls } = hostSide(endpoint, routeProtocol)
    const pod: Pod = {
      endpoint,
      routes: routes.map(route => ({ ...route, interfaceName })),
      neighbours: neighbours.map(({ address, mac }) => ({ interfaceName, address, mac, permanent: true })),
      sysctls,
      link: { name: interfaceName, mtu },
      addresses: addresses.map(address => ({ ...address, interfaceName })),
      filter: this.#filter === undefined ? [] : podElements(this.#filter, endpoint),
    }
    for (const route of pod.routes) this.#claims.addPod(route)
    this.#wantAll(pod, 'present')
    this.#pods.set(interfaceName, pod)
  }

  /** Everything of a pod but its routes, which others may claim too. */
  #wantAll({ link, addresses, neighbours, sysctls, filter }: Pod, wanted: 'present' | 'absent'): void {
    const value = <T>(each: T): T | undefined => (wanted === 'present' ? each : undefined)
    this.#outputs.link.want(link.name, value(link))
    for (const address of addresses) this.#outputs.address.want(addressKey(address), value(address))
    for (const neighbour of neighbours) this.#outputs.neighbour.want(neighbourKey(neighbour), value(neighbour))
    for (const sysctl of sysctls) this.#outputs.sysctl.want(sysctlKey(sysctl), value(sysctl))
    for (const element of filter) this.#outputs.nftElement.want(nftElementKey(element), value(element))
  }
}

function usesIpv6(endpoint: Endpoint | undefined): boolean {
  return endpoint?.addresses.some(address => familyOf(address) === 'ipv6') === true
}
