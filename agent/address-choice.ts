// How an operator says which address is the node's, in Calico's words, and which one that is on a machine. Pure. Hazard: bridges
// and devices of other networks have addresses too, the same ones on every node; none of them is ever taken unasked.
import type { Address } from '../kernel/port/addresses.ts'
import type { Link } from '../kernel/port/links.ts'
import { interfacesOf, ROUTE_SCOPE, type Route } from '../kernel/port/routes.ts'
import { contains, type Family, familyOf, isLinkLocal, isLoopback, parseAddress, parseCidr } from '../lib/ip.ts'
import { userPattern } from '../lib/user-pattern.ts'

export type AddressChoice =
  /** The address in use, that of the annotation, the Node's InternalIP, else the only one of the default route's interface. */
  | { by: 'auto' }
  | { by: 'address'; address: string }
  /** The Node's InternalIP and nothing else. */
  | { by: 'kubernetes-internal-ip' }
  /** The first address of the first interface that is no device of another network. */
  | { by: 'first-found' }
  | { by: 'skip-interface' | 'interface'; patterns: readonly RegExp[] }
  | { by: 'can-reach'; address: string }
  | { by: 'cidr'; cidrs: readonly string[] }
  /** No address of this family. */
  | { by: 'none' }

/** A choice that looks at the machine alone. */
export type MachineChoice = Extract<
  AddressChoice,
  { by: 'first-found' | 'skip-interface' | 'interface' | 'can-reach' | 'cidr' }
>

/** The addresses of one family, all interfaces, and for `can-reach` the route there. */
export type Machine = { addresses: readonly Address[]; links: readonly Link[]; route?: Route }

/** What people call a family. */
export const FAMILY_NAME: Readonly<Record<Family, string>> = { ipv4: 'IPv4', ipv6: 'IPv6' }

/** Devices of container runtimes, virtual machines, other networks and our own: Calico's list, and the links that limit bandwidth. */
const OTHERS =
  /^(docker.*|br-[0-9a-f]{12}|podman.*|cbr.*|virbr.*|lxcbr.*|lxdbr.*|veth.*|cali.*|mgbw.*|tunl.*|flannel.*|kube-ipvs.*|cni.*|vxlan\.calico|vxlan-v6\.calico|wireguard\.cali|wg-v6\.cali|nodelocaldns.*|cilium_.*|weave.*)$/
/** May carry a node's address, but only one that somebody names. */
const NAMED_ONLY = /^(lo|dummy.*)$/

/** Whether an interface belongs to another program, whose addresses are not the node's unless somebody says so. */
export function isOthers(interfaceName: string): boolean {
  return OTHERS.test(interfaceName)
}

/** Throws Error with the words that are right when `text` is none of them. */
export function parseChoice(text: string, family: Family): AddressChoice {
  if (text === 'auto' || text === 'first-found' || text === 'kubernetes-internal-ip') return { by: text }
  if (text === 'none') return { by: 'none' }
  const [word, value] = [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]
  const parts = value.split(',').map(part => part.trim())
  switch (text.includes('=') ? word : '') {
    case 'interface':
    case 'skip-interface':
      return { by: word as 'interface', patterns: parts.map(patternOf) }
    case 'can-reach': {
      const address = parseAddress(value)
      if (address !== undefined && familyOf(address) === family) return { by: 'can-reach', address }
      throw new Error(`${value} is no ${family} address: a name would be another address on another day`)
    }
    case 'cidr':
      return { by: 'cidr', cidrs: parts.map(part => cidrOf(part, family)) }
  }
  const address = parseAddress(text.split('/')[0]!)
  if (address !== undefined && familyOf(address) === family) return { by: 'address', address }
  throw new Error(
    `${text} is none of: an ${family} address, auto, kubernetes-internal-ip, first-found, interface=REGEX, skip-interface=REGEX, can-reach=ADDRESS, cidr=CIDR, none`,
  )
}

/** The address that a choice names on a machine; a text that says why there is none. */
export function choose(choice: MachineChoice, machine: Machine): Address | string {
  const found = candidates(choice, machine)[0]
  if (found !== undefined) return found
  const nameOf = ({ ifindex }: Address) => machine.links.find(({ index }) => index === ifindex)?.name ?? `#${ifindex}`
  const has = machine.addresses.map(each => `${each.address} on ${nameOf(each)}`).join(', ')
  return `no address of this machine fits ${emitChoice(choice)}${has === '' ? '' : ` (it has ${has})`}`
}

function candidates(choice: MachineChoice, { addresses, links, route }: Machine): Address[] {
  const up = links.filter(link => link.up).toSorted((a, b) => a.index - b.index)
  const usable = addresses.filter(each => !isLocal(each.address) && each.tentative !== true)
  const of = (some: readonly Link[]) => some.flatMap(({ index }) => usable.filter(({ ifindex }) => ifindex === index))
  const own = up.filter(({ name }) => !isOthers(name) && !NAMED_ONLY.test(name))
  switch (choice.by) {
    case 'first-found':
      return of(own)
    case 'skip-interface':
      return of(own.filter(({ name }) => !choice.patterns.some(pattern => pattern.test(name))))
    case 'interface':
      return choice.patterns.flatMap(pattern => of(up.filter(({ name }) => isNamed(name, pattern))))
    case 'cidr':
      return choice.cidrs.flatMap(cidr =>
        of(up.filter(({ name }) => !isOthers(name))).filter(({ address }) => contains(cidr, address)),
      )
    case 'can-reach': {
      const onRoute = usable.filter(({ ifindex }) => route !== undefined && interfacesOf(route).includes(ifindex))
      return onRoute.toSorted((a, b) => Number(b.address === route?.source) - Number(a.address === route?.source))
    }
  }
}

/** A pattern may match a part of a name, as in Calico, but the whole name of a device that is another program's. */
function isNamed(name: string, pattern: RegExp): boolean {
  return isOthers(name) ? pattern.exec(name)?.[0] === name : pattern.test(name)
}

/** Whether an address is one that no other host reaches: of the machine itself, or of one link alone. */
export function isLocal(address: string): boolean {
  return isLoopback(address) || isLinkLocal(address) || contains('169.254.0.0/16', address)
}

/** Have addresses of Services, and in Calico's nodes each the one under which pods find the BGP of their node. */
const NOT_OWN = /^(cali|kube-ipvs)/

/** The subnets in which addresses of a machine are, as CIDRs; host bits kept. One of an address without a subnet is as long as that. */
export function subnetsOf({ addresses, links }: Machine): string[] {
  const others = new Set(links.flatMap(({ name, index }) => (NOT_OWN.test(name) ? [index] : [])))
  const own = addresses.filter(({ scope, ifindex }) => scope === ROUTE_SCOPE.universe && !others.has(ifindex))
  return own.map(({ address, length }) => `${address}/${length}`)
}

/** Whether it is made among the addresses that the machine has, whatever the cluster says. */
export function isMachineChoice(choice: AddressChoice): choice is MachineChoice {
  return !['auto', 'address', 'kubernetes-internal-ip', 'none'].includes(choice.by)
}

function emitChoice(choice: MachineChoice): string {
  switch (choice.by) {
    case 'first-found':
      return choice.by
    case 'interface':
    case 'skip-interface':
      return `${choice.by}=${choice.patterns.map(({ source }) => source).join(',')}`
    case 'cidr':
      return `cidr=${choice.cidrs.join(',')}`
    case 'can-reach':
      return `can-reach=${choice.address}`
  }
}

function patternOf(text: string): RegExp {
  if (text === '') throw new Error('a name of an interface is missing: interface=eth.*,ens.*')
  return userPattern(text)
}

function cidrOf(text: string, family: Family): string {
  const parsed = parseCidr(text)
  if (parsed === undefined || parsed.family !== family) throw new Error(`${text} is no ${family} CIDR`)
  return text
}

/** `defaults`: the default routes of the family; `last`: the interface that last had an address of it. */
type Uplinks = {
  local: readonly Address[]
  links: readonly Link[]
  defaults: readonly Route[]
  last: string | undefined
}

/** Those of devices that no other program owns. */
export function ownOf(local: readonly Address[], links: readonly Link[]): Address[] {
  const own = links.filter(({ name }) => !isOthers(name)).map(({ index }) => index)
  return local.filter(({ ifindex }) => own.includes(ifindex))
}

/**
 * The only address of the interface of the default route, or a text that says why there is none. With an address goes its
 * default route: then that of the last uplink.
 */
export function chooseByUplink(family: Family, { local, links, defaults, last }: Uplinks): Address | string {
  const usable = defaults.filter(r => interfacesOf(r).length > 0)
  const best = usable.reduce((least, r) => Math.min(least, r.metric ?? 0), Number.POSITIVE_INFINITY)
  const uplinks = new Set(usable.filter(r => (r.metric ?? 0) === best).flatMap(interfacesOf))
  if (uplinks.size === 0) for (const link of links) if (link.name === last) uplinks.add(link.index)
  const found = local.filter(a => uplinks.has(a.ifindex))
  if (found.length === 1) return found[0]!
  const names = found.map(a => `${a.address} on ${links.find(l => l.index === a.ifindex)?.name}`)
  return found.length === 0
    ? `this machine has no ${FAMILY_NAME[family]} default route to tell the node address by`
    : `the default route leaves the choice between ${names.join(', ')}`
}
