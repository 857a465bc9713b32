// Which addresses of Services this node announces over BGP, by the rules of Calico's confd (routes.go, client.go), and what
// kube-proxy does with their packets here. Pure, and by Service: a change costs the Service that it is about.
//   The ranges of the BGPConfiguration as they are, from every node; those of LoadBalancers while they are aggregated. A range of one
//   address is announced for a Service that has it, as the addresses below.
//   With externalTrafficPolicy Local: each address inside the ranges of its kind, from nodes with an endpoint that takes packets of its family.
//   Else: an address that is a range itself, from every node; one of a LoadBalancer that is not aggregated while any endpoint takes packets.
// An endpoint takes packets while it is ready; one that terminates, while it serves and no other in the cluster is ready: so does
// kube-proxy (KEP-1669). Where a node still could but need not, it leaves: others are to be preferred before it withdraws. An endpoint
// that takes no more packets is no reason to stay for a moment: they would be dropped here.
// Hazards: an address outside the ranges is never announced, nor one that an IPPool gives pods, whatever a Service says.
import type { Resource } from '../../api/kinds.ts'
import { type IpPool, poolsInEffect, usesOf } from '../../api/pools.ts'
import { serviceRange } from '../../api/service-ranges.ts'
import { broken, type Condition } from '../../api/status.ts'
import { addressBits, contains, type Family, familyOf, hostPrefix, parseAddress, parseCidr } from '../../lib/ip.ts'
import { serviceOf } from './policies/services.ts'

/** CIDRs in canonical form. */
export type ServiceRanges = {
  clusterIPs: readonly string[]
  externalIPs: readonly string[]
  loadBalancerIPs: readonly string[]
  /** Whether ranges of LoadBalancers are announced as they are. */
  aggregated: boolean
  /** What IPPools give pods: no address of a Service. */
  pods: readonly string[]
}

/** Whether other nodes are to be preferred for a prefix, since this one is about to withdraw it. */
export type Standing = 'stays' | 'leaves'

/**
 * Addresses of one kind that a Service has announced, at the most: lists have no limit at the API server, every agent reads each of them
 * at each change of the Service, and each is a prefix for every router.
 */
const MOST_ADDRESSES = 256
/** With this label, said to be `true`, a node takes no traffic for Services from outside. */
const EXCLUDED = 'node.kubernetes.io/exclude-from-external-load-balancers'
const TYPES: ReadonlySet<string> = new Set(['ClusterIP', 'NodePort', 'LoadBalancer'])
const FAMILIES: { readonly [addressType: string]: Family } = { IPv4: 'ipv4', IPv6: 'ipv6' }

const NO_RANGES: ServiceRanges = {
  ...{ clusterIPs: [], externalIPs: [], loadBalancerIPs: [], pods: [] },
  aggregated: true,
}

/** What the objects say. Of an entry that is no range `ineffectiveFields` tells. */
export function serviceRanges(spec: Resource<'BGPConfiguration'>['spec'], pools: readonly IpPool[]): ServiceRanges {
  return {
    clusterIPs: ranges(spec.serviceClusterIPs),
    externalIPs: ranges(spec.serviceExternalIPs),
    loadBalancerIPs: ranges(spec.serviceLoadBalancerIPs),
    aggregated: spec.serviceLoadBalancerAggregation === 'Enabled',
    pods: poolsInEffect(pools).flatMap(({ spec: pool }) =>
      usesOf(pool).some(use => use !== 'LoadBalancer') ? [pool.cidr] : [],
    ),
  }
}

function ranges(entries: readonly { cidr?: string }[] = []): string[] {
  const found = entries.map(serviceRange).flatMap(read => ('range' in read ? [read.range] : []))
  return [...new Set(found)]
}

/** Every range in which Services have addresses. */
export function allRanges({ clusterIPs, externalIPs, loadBalancerIPs }: ServiceRanges): string[] {
  return [...new Set([...clusterIPs, ...externalIPs, ...loadBalancerIPs])]
}

/** Whether a node takes no traffic for Services from outside. */
export function isExcluded(labels: Readonly<Record<string, string>> = {}): boolean {
  return labels[EXCLUDED] === 'true'
}

export class Services {
  readonly #nodeName: string
  #ranges = NO_RANGES
  #excluded = false
  readonly #services = new Map<string, Resource<'Service'>>()
  /** By the key of the Service, then of the slice. */
  readonly #slices = new Map<string, Map<string, Resource<'EndpointSlice'>>>()
  /** The Service of each slice. */
  readonly #serviceOf = new Map<string, string>()
  /** What each Service asks for here. */
  readonly #asked = new Map<string, ReadonlyMap<string, Standing>>()
  /** Those with more addresses than are announced. */
  readonly #tooMany = new Set<string>()
  /** Services that changed. */
  readonly #changed = new Set<string>()

  constructor(nodeName: string) {
    this.#nodeName = nodeName
  }

  /** Sets what is announced at all. */
  setRanges(ranges: ServiceRanges): void {
    this.#ranges = ranges
    for (const key of this.#services.keys()) this.#changed.add(key)
  }

  /** Sets whether this node takes traffic for Services from outside. */
  setExcluded(excluded: boolean): void {
    this.#excluded = excluded
  }

  /** A Service by `namespace/name`. */
  setService(key: string, service: Resource<'Service'> | undefined): void {
    if (service === undefined) this.#services.delete(key)
    else this.#services.set(key, service)
    this.#changed.add(key)
  }

  /** An EndpointSlice by `namespace/name`. */
  setSlice(key: string, slice: Resource<'EndpointSlice'> | undefined): void {
    const [before, after] = [this.#serviceOf.get(key), slice && serviceOf(slice)]
    if (before !== undefined && before !== after) {
      const there = this.#slices.get(before)!
      there.delete(key)
      if (there.size === 0) this.#slices.delete(before)
      this.#serviceOf.delete(key)
      this.#changed.add(before)
    }
    if (slice === undefined || after === undefined) return
    this.#slices.set(after, (this.#slices.get(after) ?? new Map()).set(key, slice))
    this.#serviceOf.set(key, after)
    this.#changed.add(after)
  }

  /** Every prefix that this node announces, and how it stands. */
  prefixes(): Map<string, Standing> {
    for (const key of this.#changed) {
      const service = this.#services.get(key)
      const asked = service && this.#askedBy(service, [...(this.#slices.get(key)?.values() ?? [])])
      if (asked === undefined || asked.size === 0) this.#asked.delete(key)
      else this.#asked.set(key, asked)
      if (service !== undefined && hasTooMany(service)) this.#tooMany.add(key)
      else this.#tooMany.delete(key)
    }
    this.#changed.clear()
    const all = new Map<string, Standing>()
    for (const range of this.#wholeRanges()) all.set(range, 'stays')
    for (const asked of this.#asked.values())
      for (const [prefix, standing] of asked) if (all.get(prefix) !== 'stays') all.set(prefix, standing)
    if (this.#excluded) for (const prefix of all.keys()) all.set(prefix, 'leaves')
    return all
  }

  /** Services of which not all addresses are announced, by the last look at prefixes. */
  refused(): Condition[] {
    return this.#tooMany.size === 0 || allRanges(this.#ranges).length === 0 ? [] : [tooMany(this.#tooMany)]
  }

  #wholeRanges(): string[] {
    const { clusterIPs, externalIPs, loadBalancerIPs, aggregated } = this.#ranges
    return [...clusterIPs, ...externalIPs, ...(aggregated ? loadBalancerIPs : [])].filter(range => !isSingle(range))
  }

  #askedBy({ spec, status }: Resource<'Service'>, slices: readonly Resource<'EndpointSlice'>[]): Map<string, Standing> {
    const { clusterIP = '', clusterIPs = [clusterIP], externalIPs = [], type, externalTrafficPolicy } = spec
    const asked = new Map<string, Standing>()
    // without an address in the cluster kube-proxy does nothing for it
    if (!TYPES.has(type) || clusterIP === '' || clusterIP === 'None') return asked
    // what a balancer sends on to nodes under other addresses kube-proxy does not take (KEP-1860)
    const ofLoadBalancer = (type === 'LoadBalancer' ? (status?.loadBalancer?.ingress ?? []) : []).filter(
      ({ ipMode }) => ipMode !== 'Proxy',
    )
    const local = externalTrafficPolicy === 'Local'
    const { clusterIPs: cluster, externalIPs: external, loadBalancerIPs: balanced, aggregated } = this.#ranges
    const kinds = [
      { addresses: clusterIPs, within: cluster, each: false },
      { addresses: externalIPs, within: external, each: false },
      { addresses: ofLoadBalancer.map(({ ip = '' }) => ip), within: balanced, each: !aggregated },
    ]
    const families: { [F in Family]?: Behind } = {}
    for (const { addresses, within, each } of kinds)
      for (const text of addresses.slice(0, MOST_ADDRESSES)) {
        const address = parseAddress(text)
        if (address === undefined || this.#ranges.pods.some(pool => contains(pool, address))) continue
        const holding = within.filter(range => contains(range, address))
        if (holding.length === 0) continue
        const family = familyOf(address)
        families[family] ??= behind(slices, family, this.#nodeName)
        const { here, takesPackets } = families[family]
        const everywhere = holding.some(isSingle) || (each && takesPackets) ? 'stays' : undefined
        const standing = local ? here : everywhere
        const prefix = hostPrefix(address)
        if (standing !== undefined && asked.get(prefix) !== 'stays') asked.set(prefix, standing)
      }
    return asked
  }
}

/** What endpoints of one family say. `here`: of an address that only nodes with an endpoint announce. */
type Behind = { here: Standing | undefined; takesPackets: boolean }

function behind(slices: readonly Resource<'EndpointSlice'>[], family: Family, nodeName: string): Behind {
  const all = slices
    .filter(({ addressType }) => FAMILIES[addressType] === family)
    .flatMap(({ endpoints = [] }) =>
      endpoints.map(({ nodeName: where, conditions }) => {
        const ready = conditions?.ready ?? true
        // one that is not ready and does not end serves nothing, whatever it says
        const serving = ready || ((conditions?.serving ?? false) && conditions?.terminating === true)
        return { isHere: where === nodeName, ready, serving }
      }),
    )
  const here = all.filter(({ isHere }) => isHere)
  const leaves = all.some(({ ready }) => ready) ? 'leaves' : 'stays'
  return {
    here: here.some(({ ready }) => ready) ? 'stays' : here.some(({ serving }) => serving) ? leaves : undefined,
    takesPackets: all.some(({ serving }) => serving),
  }
}

function hasTooMany({ spec: { externalIPs = [] }, status }: Resource<'Service'>): boolean {
  return [externalIPs, status?.loadBalancer?.ingress ?? []].some(({ length }) => length > MOST_ADDRESSES)
}

function tooMany(services: ReadonlySet<string>): Condition {
  const [first, ...others] = services
  const more = others.length === 0 ? '' : `, and ${others.length} more Services have`
  return broken('FieldsSupported', {
    reason: 'TooManyAddresses',
    message: `${first} has more than ${MOST_ADDRESSES} addresses of one kind${more}: no more of them are announced`,
    remedy: 'give each Service fewer addresses, or name a range that is announced as it is',
  })
}

function isSingle(range: string): boolean {
  return parseCidr(range)?.length === addressBits(familyOf(range))
}
