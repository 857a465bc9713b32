// What a pod's interface needs on the host: a route and a neighbour for each address, and sysctls. An interface belongs
// to one endpoint: of several that name it, the first by id.

import { hostSide } from '../../kernel/pod-interface.ts'
import {
  type NamedNeighbour,
  type NamedRoute,
  type NamedSysctl,
  neighbourKey,
  sysctlKey,
} from '../../kernel/reconcile/objects.ts'
import { familyOf } from '../../lib/ip.ts'
import type { Endpoint } from '../input.ts'
import type { Output } from './output.ts'
import type { RouteClaims } from './route-claims.ts'

/** An endpoint that has its interface, with what is wanted there. */
export type Pod = {
  endpoint: Endpoint
  routes: readonly NamedRoute[]
  neighbours: readonly NamedNeighbour[]
  sysctls: readonly NamedSysctl[]
}

export class EndpointGroup {
  readonly #claims: RouteClaims
  readonly #neighbours: Output<NamedNeighbour>
  readonly #sysctls: Output<NamedSysctl>
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #byInterface = new Map<string, Set<string>>()
  readonly #pods = new Map<string, Pod>()
  #withIpv6 = 0

  constructor(claims: RouteClaims, neighbours: Output<NamedNeighbour>, sysctls: Output<NamedSysctl>) {
    this.#claims = claims
    this.#neighbours = neighbours
    this.#sysctls = sysctls
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
      this.#settle(before.interfaceName, routeProtocol)
    }
    if (endpoint === undefined) return
    const ids = this.#byInterface.get(endpoint.interfaceName) ?? new Set()
    this.#byInterface.set(endpoint.interfaceName, ids.add(id))
    this.#settle(endpoint.interfaceName, routeProtocol)
  }

  /** Another protocol for the routes of all pods. */
  reroute(routeProtocol: number): void {
    for (const interfaceName of this.#byInterface.keys()) this.#settle(interfaceName, routeProtocol)
  }

  /** The pod that has an interface. */
  on(interfaceName: string): Pod | undefined {
    return this.#pods.get(interfaceName)
  }

  #settle(interfaceName: string, routeProtocol: number): void {
    const [first] = [...(this.#byInterface.get(interfaceName) ?? [])].sort()
    const endpoint = first === undefined ? undefined : this.#endpoints.get(first)
    const before = this.#pods.get(interfaceName)
    if (before !== undefined) {
      for (const route of before.routes) this.#claims.removePod(route)
      for (const neighbour of before.neighbours) this.#neighbours.want(neighbourKey(neighbour), undefined)
      for (const sysctl of before.sysctls) this.#sysctls.want(sysctlKey(sysctl), undefined)
      this.#pods.delete(interfaceName)
    }
    if (endpoint === undefined) return
    const { routes, neighbours, sysctls } = hostSide(endpoint, routeProtocol)
    const pod: Pod = {
      endpoint,
      routes: routes.map(route => ({ ...route, interfaceName })),
      neighbours: neighbours.map(({ address, mac }) => ({ interfaceName, address, mac, permanent: true })),
      sysctls,
    }
    for (const route of pod.routes) this.#claims.addPod(route)
    for (const neighbour of pod.neighbours) this.#neighbours.want(neighbourKey(neighbour), neighbour)
    for (const sysctl of sysctls) this.#sysctls.want(sysctlKey(sysctl), sysctl)
    this.#pods.set(interfaceName, pod)
  }
}

function usesIpv6(endpoint: Endpoint | undefined): boolean {
  return endpoint?.addresses.some(address => familyOf(address) === 'ipv6') === true
}
