// What a pod's interface needs on the host: a route, a neighbour and a place in the pod filter for each address, sysctls, up. An
// interface belongs to one endpoint: of several that name it, the first by id. The route back to a source that is no address of
// the pod is not made here: who has the pod send under it knows the way back.
import { broken, type Condition } from '../../api/status.ts'
import { hostRoute, hostSide } from '../../kernel/pod-interface.ts'
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
import { type Family, familyOf } from '../../lib/ip.ts'
import type { Desired, PodLink } from '../desired.ts'
import type { AllowedSources, Endpoint } from '../input.ts'
import type { ConditionCounts } from './conditions.ts'
import type { Output } from './output.ts'
import { type PodFilterMarks, peerElement, podElements, sourceElements } from './pod-filter.ts'
import type { RouteClaims } from './route-claims.ts'

/** An endpoint that has its interface, with what is wanted there. */
export type Pod = {
  endpoint: Endpoint
  routes: readonly NamedRoute[]
  neighbours: readonly NamedNeighbour[]
  sysctls: readonly NamedSysctl[]
  link: PodLink
  addresses: readonly NamedAddress[]
  /** To floating addresses, without which the node itself would not find them. */
  floating: readonly NamedRoute[]
  /** What it may send under beside its addresses. */
  sources: readonly string[]
  /** What lets its packets pass. */
  filter: readonly NamedNftElement[]
}

/** Whether pods may have sources beside their addresses: what they ask for, none, or it is not known yet. */
export type SourceRule = 'as asked' | 'none' | 'unknown'

type Outputs = { readonly [K in 'link' | 'address' | 'neighbour' | 'sysctl' | 'nftElement']: Output<Desired[K]> }

export class EndpointGroup {
  readonly #claims: RouteClaims
  readonly #outputs: Outputs
  readonly #filter: PodFilterMarks | undefined
  readonly #conditions: ConditionCounts
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #sources = new Map<string, AllowedSources>()
  #sourceRule: SourceRule = 'unknown'
  readonly #peers = new Set<string>()
  #mayPeer = false
  readonly #floating = new Map<string, readonly string[]>()
  readonly #withSources = new Set<string>()
  readonly #byInterface = new Map<string, Set<string>>()
  readonly #pods = new Map<string, Pod>()
  #withIpv6 = 0

  constructor(claims: RouteClaims, conditions: ConditionCounts, outputs: Outputs, filter: PodFilterMarks | undefined) {
    this.#filter = filter
    this.#conditions = conditions
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

  /** What an endpoint may send under beside its addresses, once that is allowed at all. */
  updateSources(id: string, sources: AllowedSources | undefined, routeProtocol: number): void {
    this.#conditions.replace(this.#inVain(id), undefined)
    if (sources === undefined) this.#sources.delete(id)
    else this.#sources.set(id, sources)
    this.#conditions.replace(undefined, this.#inVain(id))
    const endpoint = this.#endpoints.get(id)
    if (endpoint !== undefined) this.#claimRoutes(endpoint.interfaceName, routeProtocol)
  }

  /** Whether an endpoint is a BGP peer of this node, where some may be. */
  updatePeer(id: string, isPeer: boolean, routeProtocol: number): void {
    if (isPeer) this.#peers.add(id)
    else this.#peers.delete(id)
    const endpoint = this.#endpoints.get(id)
    if (endpoint !== undefined) this.#claimRoutes(endpoint.interfaceName, routeProtocol)
  }

  /** The same again costs nothing. */
  allowPeers(mayPeer: boolean, routeProtocol: number): void {
    if (mayPeer === this.#mayPeer) return
    this.#mayPeer = mayPeer
    for (const id of this.#peers) this.updatePeer(id, true, routeProtocol)
  }

  /** Whether some pod with an address of a family is a BGP peer of this node. */
  hasPeer(family: Family): boolean {
    return this.#peers
      .values()
      .some(id => this.#endpoints.get(id)?.addresses.some(address => familyOf(address) === family) === true)
  }

  /** The floating addresses that lead to an endpoint. */
  updateFloating(id: string, addresses: readonly string[], routeProtocol: number): void {
    if (addresses.length === 0) this.#floating.delete(id)
    else this.#floating.set(id, addresses)
    const endpoint = this.#endpoints.get(id)
    if (endpoint !== undefined) this.#claimRoutes(endpoint.interfaceName, routeProtocol)
  }

  /** The same again costs nothing. */
  ruleSources(rule: SourceRule, routeProtocol: number): void {
    if (rule === this.#sourceRule) return
    const before = [...this.#sources.keys()].map(id => this.#inVain(id))
    this.#sourceRule = rule
    for (const condition of before) this.#conditions.replace(condition, undefined)
    for (const [id] of this.#sources) {
      this.#conditions.replace(undefined, this.#inVain(id))
      const endpoint = this.#endpoints.get(id)
      if (endpoint !== undefined) this.#claimRoutes(endpoint.interfaceName, routeProtocol)
    }
  }

  /** The interfaces of pods that may send under other IPv4 sources than their addresses. */
  get withSources(): ReadonlySet<string> {
    return this.#withSources
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
      for (const route of [...before.routes, ...before.floating]) this.#claims.removePod(route)
      this.#wantAll(before, 'absent')
      this.#pods.delete(interfaceName)
      this.#withSources.delete(interfaceName)
    }
    if (endpoint === undefined) return
    const { mtu, routes, addresses, neighbours, sysctls } = hostSide(endpoint, routeProtocol)
    const cidrs = this.#filter === undefined ? [] : this.#allowed(first!)
    const needsNoWayBack = cidrs.some(cidr => familyOf(cidr) === 'ipv4')
    if (needsNoWayBack) this.#withSources.add(interfaceName)
    const pod: Pod = {
      endpoint,
      routes: routes.map(route => ({ ...route, interfaceName })),
      floating: (this.#floating.get(first!) ?? []).map(address => ({
        ...hostRoute(address, routeProtocol),
        interfaceName,
      })),
      neighbours: neighbours.map(({ address, mac }) => ({ interfaceName, address, mac, permanent: true })),
      sysctls: needsNoWayBack ? [...sysctls, noWayBack(interfaceName)] : sysctls,
      link: { name: interfaceName, mtu },
      addresses: addresses.map(address => ({ ...address, interfaceName })),
      sources: cidrs,
      filter:
        this.#filter === undefined
          ? []
          : [
              ...podElements(this.#filter, endpoint),
              ...sourceElements(this.#filter, interfaceName, cidrs),
              ...(this.#mayPeer && this.#peers.has(first!) ? [peerElement(this.#filter, interfaceName)] : []),
            ],
    }
    for (const route of [...pod.routes, ...pod.floating]) this.#claims.addPod(route)
    this.#wantAll(pod, 'present')
    this.#pods.set(interfaceName, pod)
  }

  #allowed(id: string): readonly string[] {
    return this.#sourceRule === 'as asked' ? (this.#sources.get(id)?.cidrs ?? []) : []
  }

  /** What is told of a pod that asks for sources which no pod may have. */
  #inVain(id: string): Condition | undefined {
    const sources = this.#sources.get(id)
    if (sources === undefined || this.#sourceRule !== 'none') return undefined
    return broken('SourcesAllowed', {
      object: { kind: 'Pod', ...sources.pod },
      reason: 'Disabled',
      message: `the pod asks to send under ${shown(sources.cidrs)}, and no pod may: it sends under its own addresses alone`,
      remedy:
        'set workloadSourceSpoofing: Any in FelixConfiguration, where whoever makes pods may send under any address, or take the annotation cni.projectcalico.org/allowedSourcePrefixes away',
    })
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

/** Most CIDRs that a condition names. */
const SHOWN = 5

function shown(cidrs: readonly string[]): string {
  return cidrs.slice(0, SHOWN).join(', ') + (cidrs.length > SHOWN ? ', …' : '')
}

/**
 * The filter of the reverse path asks for a route back by the same interface (strict) or by any (loose). Of a source that is no
 * address of the pod there need be none, and the pod filter says more exactly what may be sent.
 */
function noWayBack(interfaceName: string): NamedSysctl {
  const path = ['conf', interfaceName, 'rp_filter']
  return { family: 'ipv4', path, value: '0', needs: 'pod filter', withoutFilter: '1' }
}

function usesIpv6(endpoint: Endpoint | undefined): boolean {
  return endpoint?.addresses.some(address => familyOf(address) === 'ipv6') === true
}
