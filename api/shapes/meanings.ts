// What a text or a number of a shape stands for, beyond what a schema can say: a selector that can be read, a network without
// host bits. Rules are Calico's (libcalico-go/lib/validator/v3), which calicoctl checks before it writes. A field that is an
// empty text counts as absent there, and so it does here.
import { familyOf, parseAddress, parseCidr, parseSocketAddress } from '../../lib/ip.ts'
import { isLabelValue, isObjectName, isQualifiedName } from '../names.ts'
import { isPortName, isProtocol, parsePorts } from '../ports.ts'
import { parseSelector, SelectorError } from '../selector.ts'

type Fault = string | undefined

function matched(expression: RegExp, message: string): (text: string) => Fault {
  return text => (expression.test(text) ? undefined : message)
}

/** A CIDR, or an address alone, which stands for itself. */
function networkOf(text: string): { address: string; base: string } | undefined {
  const address = parseAddress(text.split('/')[0]!)
  if (address === undefined) return undefined
  if (!text.includes('/')) return { address, base: address }
  const base = parseCidr(text)?.address
  return base === undefined ? undefined : { address, base }
}

function network(text: string): Fault {
  const found = networkOf(text)
  if (found === undefined) return 'must be a CIDR or an address'
  return found.address === found.base ? undefined : `must have no host bits: ${found.base} is the network`
}

function ofFamily(family: 'ipv4' | 'ipv6', check: (text: string) => Fault): (text: string) => Fault {
  const name = family === 'ipv4' ? 'IPv4' : 'IPv6'
  return text => check(text) ?? (familyOf(text.split('/')[0]!) === family ? undefined : `must be ${name}`)
}

const range = (text: string): Fault => (networkOf(text) === undefined ? 'must be a CIDR or an address' : undefined)
const address = (text: string): Fault => (parseAddress(text) === undefined ? 'must be an address' : undefined)

function selector(text: string): Fault {
  try {
    parseSelector(text)
    return undefined
  } catch (error) {
    if (error instanceof SelectorError) return error.message
    throw error
  }
}

/** `global()` takes objects without a namespace, so nothing may be joined to it. */
function namespaceSelector(text: string): Fault {
  const isAlone = /^\s*global\(\s*\)\s*$/.test(text)
  return selector(text) ?? (text.includes('global(') && !isAlone ? 'global() must stand alone' : undefined)
}

/** An expression of Go's; those of its forms that JavaScript writes in another way are rewritten. */
function expression(text: string): Fault {
  try {
    new RegExp(text.replace(/^\(\?[imsU]+\)/, '').replaceAll('(?P<', '(?<'))
    return undefined
  } catch {
    return 'must be a regular expression'
  }
}

function ports(value: string | number): Fault {
  const found = parsePorts(value)
  if (found === undefined) return 'must be a port, a range such as 80:90, or the name of a port'
  if ('name' in found) return undefined
  return found.first < 1 ? 'must be 1 to 65535' : undefined
}

/** A path of HTTP (RFC 3986 §3.3). */
function httpPath(text: string): Fault {
  if (!text.startsWith('/')) return 'must begin with /'
  return /[? #]/.test(text) ? 'must have no blank, ? or #' : undefined
}

function within(least: number, most: number): (value: number) => Fault {
  return value => (value >= least && value <= most ? undefined : `must be ${least} to ${most}`)
}

/** By its name: what is wrong with a value; undefined when nothing is. */
export const MEANINGS = {
  selector,
  namespaceSelector,
  network,
  networkV4: ofFamily('ipv4', network),
  networkV6: ofFamily('ipv6', network),
  /** As `network`, and never an address alone. */
  cidr: (text: string) => (text.includes('/') ? network(text) : 'must be a CIDR such as 10.0.0.0/8'),
  range,
  rangeV4: ofFamily('ipv4', range),
  rangeV6: ofFamily('ipv6', range),
  address,
  addressV4: ofFamily('ipv4', address),
  addressV6: ofFamily('ipv6', address),
  peerAddress: (text: string) =>
    parseSocketAddress(text, 179) === undefined ? 'must be an address, ip:port or [ipv6]:port' : undefined,
  mac: matched(/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i, 'must be a MAC address'),
  name: (text: string) => (isObjectName(text) ? undefined : 'must be lower-case letters, digits, - and .'),
  containerId: matched(/^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$/, 'must begin and end with a letter or digit'),
  interface: matched(/^(\*|[a-zA-Z0-9_.-]{1,15})$/, 'must be the name of an interface'),
  interfacePattern: matched(/^[a-zA-Z0-9_.*-]{1,15}$/, 'must be the name of an interface, in which * may stand'),
  ignoredInterface: matched(
    /^(?!\*$)[a-zA-Z0-9_.*-]{1,15}$/,
    'must be the name of an interface, in which * may stand, but not alone',
  ),
  interfaceFilter: matched(/^[a-zA-Z0-9:._+-]{1,15}$/, 'must be the name of an interface, which + may end'),
  expression,
  protocol: (value: string | number) =>
    isProtocol(value) ? undefined : 'must be TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or 1 to 255',
  ports,
  portName: (text: string) =>
    isPortName(text) ? undefined : 'must be at most 15 lower-case letters, digits and -, with a letter',
  zeroPort: within(0, 65535),
  portProtocol: matched(/^(TCP|UDP|SCTP)$/, 'must be TCP, UDP or SCTP'),
  httpPath,
  metricsHost: matched(/^[a-zA-Z0-9:._+-]{1,64}$/, 'must be an address or the name of a host'),
  healthName: matched(/^[a-zA-Z0-9_ -]+$/, 'must be letters, digits, _, - and blanks'),
  switch: matched(/^(Enabled|Disabled)$/, 'must be Enabled or Disabled'),
  mark: within(0, 0xffffffff),
  routePriority: within(1, 2147483646),
  rulePriority: within(1, 32765),
  routeTable: within(1, 0xffffffff),
  labelName: (text: string) => (isQualifiedName(text) ? undefined : 'must be the name of a label'),
  labelValue: (text: string) => (isLabelValue(text) ? undefined : 'must be at most 63 letters, digits, -, _ and .'),
} as const satisfies Record<
  string,
  ((text: string) => Fault) | ((value: number) => Fault) | ((value: string | number) => Fault)
>

export type Meaning = keyof typeof MEANINGS
