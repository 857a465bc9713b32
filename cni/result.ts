// Results in the format of every version of the specification. A prevResult goes out as it came, whatever fields it has, with
// ours behind it (SPEC 1.1.0, "Success": equivalent to the one provided). In memory ours has the format of 1.1.0; a row per
// version says how it is written.
import { familyOf, parseAddress, parseCidr } from '../lib/ip.ts'
import { CNI_CODE, CniError } from './error.ts'

export type ResultInterface = { name: string; mac?: string; mtu?: number; sandbox?: string }
/** `interface`: which one of its own result. */
export type ResultIp = { address: string; gateway?: string; interface?: number }
export type ResultRoute = { dst: string; gw?: string } & { [K in RouteNumber]?: number }
export type CniResult = {
  interfaces: readonly ResultInterface[]
  ips: readonly ResultIp[]
  routes: readonly ResultRoute[]
  dns?: Readonly<Record<string, unknown>>
}

type Json = Readonly<Record<string, unknown>>
/** Fields of a route since 1.1.0. */
type RouteNumber = 'mtu' | 'advmss' | 'priority' | 'table' | 'scope'
const ROUTE_NUMBERS: readonly RouteNumber[] = ['mtu', 'advmss', 'priority', 'table', 'scope']

/** `whole`: as it came. */
export type PrevResult = Omit<CniResult, 'dns'> & { whole: Json }

/** Our result behind that of the plugins before. */
type Shape = (own: CniResult, before: Json) => Json

/** The supported versions, oldest first, with the format of each. */
const SHAPES: Record<string, Shape> = {
  '0.1.0': (own, before) => oneOfEach(older(own), before),
  '0.2.0': (own, before) => oneOfEach(older(own), before),
  '0.3.0': (own, before) => appended(withFamilies(older(own)), before),
  '0.3.1': (own, before) => appended(withFamilies(older(own)), before),
  '0.4.0': (own, before) => appended(withFamilies(older(own)), before),
  '1.0.0': (own, before) => appended(older(own), before),
  '1.1.0': appended,
}

export const CNI_VERSIONS: readonly string[] = Object.keys(SHAPES)

/** Whether `version` is supported and not older than `least`, which is supported. */
export function atLeast(version: string, least: string): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(least)
}

/** Our result behind that of the plugins before, in the format of `version`, as one line of JSON. */
export function emitResult(own: CniResult, version: string, prevResult?: PrevResult): string {
  const shape = SHAPES[version]
  if (shape === undefined) throw new Error(`no result for version ${version}`)
  const before = prevResult?.whole ?? {}
  return JSON.stringify({ ...before, ...shape(own, before), cniVersion: version })
}

/** Lists of interfaces, addresses and routes: all of the plugins before, then ours. */
function appended({ interfaces, ips, routes, dns }: CniResult, before: Json): Json {
  const all = (key: string, ours: readonly unknown[]): unknown[] => [...list(before[key], key), ...ours]
  const at = list(before['interfaces'], 'interfaces').length
  const everyInterface = all('interfaces', interfaces)
  return {
    // that of an IPAM plugin has none (SPEC 1.1.0, section 5)
    ...(everyInterface.length > 0 && { interfaces: everyInterface }),
    ips: all(
      'ips',
      ips.map(ip => (ip.interface === undefined ? ip : { ...ip, interface: at + ip.interface })),
    ),
    routes: all('routes', routes),
    dns: dns ?? before['dns'] ?? {},
  }
}

/** Before 1.1.0 interfaces have no MTU, and routes no numbers. */
function older({ interfaces, routes, ...rest }: CniResult): CniResult {
  return {
    ...rest,
    interfaces: interfaces.map(({ mtu: _mtu, ...each }) => each),
    routes: routes.map(({ dst, gw }) => ({ dst, ...(gw !== undefined && { gw }) })),
  }
}

/** 0.3.0 to 0.4.0: every address says its version. */
function withFamilies(own: CniResult): CniResult {
  return {
    ...own,
    ips: own.ips.map(ip => ({ version: familyOf(ip.address) === 'ipv4' ? '4' : '6', ...ip })),
  }
}

/** 0.1.0 and 0.2.0: one address of each family, the first one, with the routes of all, and no interfaces. */
function oneOfEach({ ips, routes, dns }: CniResult, before: Json): Json {
  const entry = (key: 'ip4' | 'ip6'): Json | undefined => {
    const family = key === 'ip4' ? 'ipv4' : 'ipv6'
    const ours = ips.find(({ address }) => familyOf(address) === family)
    const theirs = before[key] === undefined || before[key] === null ? undefined : object(before[key], key)
    if (ours === undefined) return theirs
    const first = theirs ?? { ip: ours.address, gateway: ours.gateway }
    const added = routes.filter(({ dst }) => familyOf(dst) === family)
    return { ...first, routes: [...list(theirs?.['routes'], 'routes'), ...added] }
  }
  return { ip4: entry('ip4'), ip6: entry('ip6'), dns: dns ?? before['dns'] ?? {} }
}

/** Parses a prevResult in the format of `version`. Throws `CniError` that names the field that is wrong. */
export function parseResult(value: unknown, version: string): PrevResult {
  const whole = object(value, 'prevResult')
  const { dns } = whole
  if (dns !== undefined && dns !== null) object(dns, 'prevResult.dns')
  if (atLeast(version, '0.3.0')) {
    const interfaces = list(whole['interfaces'], 'prevResult.interfaces').map(parseInterface)
    const ips = list(whole['ips'], 'prevResult.ips')
    const routes = list(whole['routes'], 'prevResult.routes')
    return {
      interfaces,
      ips: ips.map((ip, i) => parseIp(ip, `prevResult.ips[${i}]`, interfaces.length)),
      routes: routes.map((route, i) => parseRoute(route, `prevResult.routes[${i}]`)),
      whole,
    }
  }
  const entries = ['ip4', 'ip6'].filter(key => whole[key] !== undefined && whole[key] !== null)
  const parsed = entries.map(key => ({ where: `prevResult.${key}`, entry: object(whole[key], `prevResult.${key}`) }))
  return {
    interfaces: [],
    ips: parsed.map(({ where, entry }) => parseIp({ ...entry, address: entry['ip'] }, where, 0)),
    routes: parsed.flatMap(({ where, entry }) =>
      list(entry['routes'], `${where}.routes`).map((route, i) => parseRoute(route, `${where}.routes[${i}]`)),
    ),
    whole,
  }
}

type Types = Readonly<Record<string, 'string' | 'number'>>

const INTERFACE: Types = {
  ...{ name: 'string', mac: 'string', mtu: 'number', sandbox: 'string', socketPath: 'string', pciID: 'string' },
}
const ROUTE: Types = {
  ...{ dst: 'string', gw: 'string' },
  ...Object.fromEntries(ROUTE_NUMBERS.map(name => [name, 'number'])),
}

/** An object whose fields have their types, where they are there: numbers are whole and not negative. */
function record(value: unknown, types: Types, where: string): Json {
  const fields = object(value, where)
  for (const [key, type] of Object.entries(types)) {
    const field = fields[key]
    if (field === undefined || field === null) continue
    const fits = type === 'string' ? typeof field === 'string' : Number.isInteger(field) && Number(field) >= 0
    if (!fits) throw wrong(`${where}.${key}`, type === 'string' ? 'a text' : 'a whole number', field)
  }
  return fields
}

function parseInterface(value: unknown, i: number): ResultInterface {
  const { name, mac, mtu, sandbox } = record(value, INTERFACE, `prevResult.interfaces[${i}]`)
  if (typeof name !== 'string') throw wrong(`prevResult.interfaces[${i}].name`, 'a text', name)
  return {
    name,
    ...(typeof mac === 'string' && { mac }),
    ...(typeof mtu === 'number' && { mtu }),
    ...(typeof sandbox === 'string' && { sandbox }),
  }
}

function parseIp(value: unknown, where: string, interfaces: number): ResultIp {
  const { address, gateway, interface: index } = record(value, { gateway: 'string' }, where)
  const [host, length] = typeof address === 'string' ? address.split('/') : []
  const canonical = host === undefined ? undefined : parseAddress(host)
  if (canonical === undefined || parseCidr(String(address)) === undefined)
    throw wrong(`${where}.address`, 'an address with its prefix length', address)
  const known = typeof index === 'number' && Number.isInteger(index) && index >= 0 && index < interfaces
  if (index !== undefined && index !== null && !known)
    throw wrong(`${where}.interface`, 'the index of one of its interfaces', index)
  return {
    address: `${canonical}/${length}`,
    ...(typeof gateway === 'string' && { gateway }),
    ...(typeof index === 'number' && { interface: index }),
  }
}

/** Throws `CniError` that names the field that is wrong. */
export function parseRoute(value: unknown, where: string): ResultRoute {
  const fields = record(value, ROUTE, where)
  const { dst, gw } = fields
  if (typeof dst !== 'string' || parseCidr(dst) === undefined) throw wrong(`${where}.dst`, 'a CIDR', dst)
  const numbers = ROUTE_NUMBERS.filter(name => typeof fields[name] === 'number').map(name => [name, fields[name]])
  return { dst, ...(typeof gw === 'string' && { gw }), ...Object.fromEntries(numbers) }
}

function object(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(where, 'an object', value)
  return value as Record<string, unknown>
}

function list(value: unknown, where: string): unknown[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw wrong(where, 'a list', value)
  return value
}

function wrong(where: string, expected: string, value: unknown): CniError {
  return new CniError(
    CNI_CODE.decode,
    `${where} must be ${expected}, not ${JSON.stringify(value) ?? 'absent'}`,
    'the runtime must hand over the result of the previous ADD in the format of its cniVersion',
  )
}
