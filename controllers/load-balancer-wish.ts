// What a Service of type LoadBalancer asks of this program, in Calico's words (kube-controllers, loadbalancer_controller.go:
// IsCalicoManagedLoadBalancer and parseAnnotations), and which Services may share an address, as with MetalLB but within one
// namespace: whoever learned a key elsewhere must not get at the address of others. Pure.
import type { Resource } from '../api/kinds.ts'
import { type Family, familyOf, parseAddress } from '../lib/ip.ts'

export type Service = Resource<'Service'>

/** Services without a class: all, or those that ask for Calico by an annotation. */
export type AssignIPs = 'AllServices' | 'RequestedServicesOnly'

/** Why a Service does not get what it asks for, and what a person can do about it. */
export type AddressRefusal = {
  reason: 'BadRequest' | 'NoPool' | 'NoAddressLeft' | 'AddressTaken' | 'AddressOutside'
  message: string
  remedy: string
}

export type ServiceWish = {
  /** In the order of the Service: one address of each. */
  families: readonly Family[]
  /** Whether one family is enough where no pool has the other (PreferDualStack). */
  oneIsEnough: boolean
  /** These, at most one of each family, and no others; none: of pools. */
  addresses: readonly string[]
  /** Names or CIDRs of pools; absent for a family: those that give addresses to everybody. */
  pools: Readonly<Partial<Record<Family, readonly string[]>>>
}

const CLASSES: readonly (string | undefined)[] = ['margay', 'calico']
const ASKED = {
  addresses: 'projectcalico.org/loadBalancerIPs',
  ipv4: 'projectcalico.org/ipv4pools',
  ipv6: 'projectcalico.org/ipv6pools',
} as const
export const SHARING_KEY = 'margay.io/AllowSharedIP'

const FAMILIES = { IPv4: 'ipv4', IPv6: 'ipv6' } as const

/** Whether the class of a Service leaves it to this program, or to nobody: what another one serves is never written. */
export function isOfOurClass({ spec }: Service): boolean {
  return spec.loadBalancerClass === undefined || CLASSES.includes(spec.loadBalancerClass)
}

/** Whether a Service asks this program for addresses. */
export function asksForAddresses({ metadata, spec }: Service, assignIPs: AssignIPs): boolean {
  if (spec.type !== 'LoadBalancer') return false
  if (spec.loadBalancerClass !== undefined) return CLASSES.includes(spec.loadBalancerClass)
  return assignIPs === 'AllServices' || Object.values(ASKED).some(name => (metadata.annotations?.[name] ?? '') !== '')
}

/** What it asks for, or what makes no sense in that. */
export function serviceWish({ metadata: { annotations = {} }, spec }: Service): ServiceWish | AddressRefusal {
  const families = (spec.ipFamilies ?? ['IPv4']).map(family => FAMILIES[family])
  const pools: { [F in Family]?: readonly string[] } = {}
  for (const family of ['ipv4', 'ipv6'] as const) {
    const asked = listOf(annotations, ASKED[family])
    if (asked === undefined) return bad(`${ASKED[family]} is no list in JSON`, 'write ["NAME or CIDR of an IPPool"]')
    if (asked.length > 0) pools[family] = asked
  }
  const texts = listOf(annotations, ASKED.addresses)
  if (texts === undefined) return bad(`${ASKED.addresses} is no list in JSON`, 'write ["ADDRESS"]')
  const [from, asked] = texts.length > 0 ? [ASKED.addresses, texts] : ['spec.loadBalancerIP', ownAddress(spec)]
  const addresses: string[] = []
  for (const text of asked) {
    const address = parseAddress(text)
    if (address === undefined) return bad(`${from} has ${text}, which is no IP address`, 'correct it')
    const family = familyOf(address)
    if (!families.includes(family))
      return bad(`${from} has ${address}, and the Service has no ${family}`, 'change spec.ipFamilies or the address')
    if (addresses.some(each => familyOf(each) === family))
      return bad(`${from} has more than one ${family} address`, 'leave one of each family')
    addresses.push(address)
  }
  return {
    families: addresses.length > 0 ? families.filter(each => addresses.some(at => familyOf(at) === each)) : families,
    oneIsEnough: spec.ipFamilyPolicy === 'PreferDualStack',
    ...{ addresses, pools },
  }
}

function ownAddress({ loadBalancerIP }: Service['spec']): string[] {
  return loadBalancerIP === undefined || loadBalancerIP === '' ? [] : [loadBalancerIP]
}

/** The list in an annotation: empty where it is absent, undefined where it is none. */
function listOf(annotations: Readonly<Record<string, string>>, name: string): string[] | undefined {
  const text = annotations[name] ?? ''
  if (text === '') return []
  try {
    const list: unknown = JSON.parse(text)
    const isList = Array.isArray(list) && list.every(each => typeof each === 'string' && each !== '')
    return isList ? list : undefined
  } catch {
    return undefined // what people write
  }
}

function bad(message: string, remedy: string): AddressRefusal {
  return { reason: 'BadRequest', message, remedy }
}

/**
 * Why two Services may not have one address; undefined when they may: the same key, no port of both, and where one of them is served on
 * nodes with its pods alone (externalTrafficPolicy Local), the same pods.
 */
export function sharingClash(one: Service, other: Service): string | undefined {
  if (one.metadata.namespace !== other.metadata.namespace) return 'they are of two namespaces'
  const key = sharingKey(one)
  if (key === undefined || key !== sharingKey(other)) return `they have not the same annotation ${SHARING_KEY}`
  const ports = new Set(portsOf(other))
  const both = portsOf(one).find(port => ports.has(port))
  if (both !== undefined) return `both have port ${both}`
  const selectors = [one, other].map(localPods)
  if (selectors[0] === selectors[1]) return undefined
  return 'externalTrafficPolicy is Local, and they do not select the same pods'
}

export function sharingKey({ metadata }: Service): string | undefined {
  return metadata.annotations?.[SHARING_KEY] || undefined
}

function portsOf({ spec }: Service): string[] {
  return (spec.ports ?? []).map(({ port, protocol = 'TCP' }) => `${port}/${protocol}`)
}

/** Which pods serve on their own nodes alone; undefined: all nodes serve. A Service without a selector shares with no other then. */
function localPods({ metadata, spec }: Service): string | undefined {
  if (spec.externalTrafficPolicy !== 'Local') return undefined
  const selector = Object.entries(spec.selector ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return selector.length === 0 ? `of ${metadata.name}` : JSON.stringify(selector)
}
