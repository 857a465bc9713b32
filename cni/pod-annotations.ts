// What a Pod of Kubernetes and its Namespace ask of the pod's interface, by Calico's annotations (cni-plugin/pkg/k8s/k8s.go of
// 3.31): pools and families of the Pod before those of its Namespace before the configuration, addresses and MAC of the Pod
// alone. As there, what cannot be read refuses ADD, since a pod keeps its address for its life. Pure.
import { ADDRESS_ANNOTATIONS, type AddressAnnotation } from '../api/address-annotations.ts'
import { type Family, familyOf, parseAddress } from '../lib/ip.ts'
import { parseUnicastMac } from './asked-for.ts'
import { CNI_CODE, CniError } from './error.ts'
import type { NetConf, PodName } from './request.ts'

type Texts = Readonly<Record<string, string>>
/** The annotations of a Pod, and those of its Namespace. */
export type PodAnnotations = { pod: Texts; namespace: Texts }

/** Pools of one list: what reads it looks for each among all pools. */
const MOST = 64
/** The most of a value that is told again. */
const SHOWN = 60
/** What the name or the CIDR of a pool is made of: what names none is told again by whoever looks for it, in logs and events. */
const POOL = /^[\w.:/-]{1,253}$/

/** The configuration with what the annotations ask in its place. Throws `CniError`, which names object, annotation and remedy. */
export function withAnnotations(conf: NetConf, pod: PodName, said: PodAnnotations): NetConf {
  const read = <T>(name: AddressAnnotation, parse: (text: string) => T | Unreadable): T | undefined => {
    const { annotation, namespace } = ADDRESS_ANNOTATIONS[name]
    // as in Calico an empty one is none
    const own = said.pod[annotation] || undefined
    const text = own ?? (namespace && (said.namespace[annotation] || undefined))
    if (text === undefined) return undefined
    const value = parse(text)
    if (!(value instanceof Unreadable)) return value
    const object = own === undefined ? `Namespace ${pod.namespace}` : `Pod ${pod.namespace}/${pod.name}`
    const shown = JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text)
    throw new CniError(
      CNI_CODE.field,
      `${object}: annotation ${annotation}: ${shown} ${value.because}`,
      `${value.remedy}, or take the annotation away; nothing was made, and the runtime asks again`,
    )
  }
  const [ipv4, ipv6] = [read('ipv4Pools', poolsOf), read('ipv6Pools', poolsOf)]
  const families = read('ipFamilies', familiesOf)
  const addresses = read('ipAddrs', addressesOf)
  read('ipAddrsNoIpam', () => new Unreadable('is not done here', 'name an address of an IPPool in ipAddrs'))
  const mac = read('hwAddr', text => parseUnicastMac(text) ?? NO_MAC) ?? conf.mac
  if (addresses !== undefined)
    return { ...conf, mac, addresses, families: addresses.map(familyOf), ifServed: [], pools: undefined }
  const pools = { ipv4: ipv4 ?? conf.pools?.ipv4, ipv6: ipv6 ?? conf.pools?.ipv6 }
  return {
    ...{ ...conf, mac, ...(families && { families, ifServed: [] }) },
    pools: { ipv4: anyIfEmpty(pools.ipv4), ipv6: anyIfEmpty(pools.ipv6) },
  }
}

class Unreadable {
  readonly because: string
  readonly remedy: string
  constructor(because: string, remedy: string) {
    this.because = because
    this.remedy = remedy
  }
}

const NO_MAC = new Unreadable(
  'is no unicast MAC address that a pod may have',
  'write one such as 02:00:5e:10:00:01, and not that of its gateway',
)
const NO_POOLS = `write a list of up to ${MOST} names or CIDRs of IPPools in JSON, such as ["pool-a"]`
const NO_FAMILIES = 'write ["IPv4"], ["IPv6"] or ["IPv4","IPv6"]'
const NO_ADDRESSES = 'write a list of one address of a family, or of each, in JSON, such as ["10.0.0.7"]'

function poolsOf(text: string): readonly string[] | Unreadable {
  const list = textsOf(text)
  if (typeof list === 'string') return new Unreadable(list, NO_POOLS)
  const wrong = list.find(each => !POOL.test(each))
  if (wrong === undefined) return list
  return new Unreadable(`names ${JSON.stringify(wrong.slice(0, SHOWN))}, which is no name or CIDR`, NO_POOLS)
}

function familiesOf(text: string): readonly Family[] | Unreadable {
  const list = textsOf(text)
  if (typeof list === 'string') return new Unreadable(list, NO_FAMILIES)
  const families = list.map(each => FAMILIES.find(family => family === each.toLowerCase()))
  const wrong = list[families.indexOf(undefined)]
  if (wrong !== undefined) return new Unreadable(`names ${JSON.stringify(wrong.slice(0, SHOWN))}`, NO_FAMILIES)
  if (list.length === 0) return new Unreadable('names no family', NO_FAMILIES)
  return FAMILIES.filter(family => families.includes(family))
}

const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']

function addressesOf(text: string): readonly string[] | Unreadable {
  const list = textsOf(text)
  if (typeof list === 'string') return new Unreadable(list, NO_ADDRESSES)
  const addresses: string[] = []
  for (const each of list) {
    const address = parseAddress(each)
    if (address === undefined)
      return new Unreadable(`names ${JSON.stringify(each.slice(0, SHOWN))}, which is no address`, NO_ADDRESSES)
    if (addresses.some(other => familyOf(other) === familyOf(address)))
      return new Unreadable('names two addresses of one family', NO_ADDRESSES)
    addresses.push(address)
  }
  return addresses.length === 0 ? new Unreadable('names no address', NO_ADDRESSES) : addresses
}

/** The texts of a list in JSON, or why it is none. */
function textsOf(text: string): readonly string[] | string {
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch {
    return 'is no JSON'
  }
  if (!Array.isArray(list) || !list.every(each => typeof each === 'string')) return 'is no list of texts'
  return list.length > MOST ? `names ${list.length}` : list
}

function anyIfEmpty(pools: readonly string[] | undefined): readonly string[] | undefined {
  return pools?.length === 0 ? undefined : pools
}
