// Results in the format of every version of the specification. In memory a result has the format of 1.1.0; a row per version
// says how it is written, and how a prevResult of that version is read.
import { familyOf, parseAddress, parseCidr } from '../lib/ip.ts'
import { CNI_CODE, CniError } from './error.ts'

export type ResultInterface = { name: string; mac?: string; mtu?: number; sandbox?: string }
export type ResultIp = { address: string; gateway?: string; interface?: number }
export type ResultRoute = { dst: string; gw?: string }
export type CniResult = {
  interfaces: readonly ResultInterface[]
  ips: readonly ResultIp[]
  routes: readonly ResultRoute[]
  dns?: Readonly<Record<string, unknown>>
}

type Shape = (result: CniResult) => Record<string, unknown>

/** The supported versions, oldest first, with the format of each. */
const SHAPES: Record<string, Shape> = {
  '0.1.0': oneOfEach,
  '0.2.0': oneOfEach,
  '0.3.0': withFamilies,
  '0.3.1': withFamilies,
  '0.4.0': withFamilies,
  '1.0.0': result => ({ ...plain(result), interfaces: result.interfaces.map(({ mtu: _mtu, ...rest }) => rest) }),
  '1.1.0': plain,
}

export const CNI_VERSIONS: readonly string[] = Object.keys(SHAPES)

/** Whether `version` is supported and not older than `least`, which is supported. */
export function atLeast(version: string, least: string): boolean {
  return CNI_VERSIONS.indexOf(version) >= CNI_VERSIONS.indexOf(least)
}

/** The result in the format of `version`, as one line of JSON. */
export function emitResult(result: CniResult, version: string): string {
  const shape = SHAPES[version]
  if (shape === undefined) throw new Error(`no result for version ${version}`)
  return JSON.stringify({ cniVersion: version, ...shape(result) })
}

function plain({ interfaces, ips, routes, dns }: CniResult): Record<string, unknown> {
  return { interfaces, ips, routes, dns: dns ?? {} }
}

/** 0.3.0 to 0.4.0: every address says its version; interfaces have no mtu. */
function withFamilies(result: CniResult): Record<string, unknown> {
  const ips = result.ips.map(ip => ({ version: familyOf(ip.address) === 'ipv4' ? '4' : '6', ...ip }))
  return { ...plain(result), interfaces: result.interfaces.map(({ mtu: _mtu, ...rest }) => rest), ips }
}

/** 0.1.0 and 0.2.0: the first address of each family with its routes, and no interfaces. */
function oneOfEach({ ips, routes, dns }: CniResult): Record<string, unknown> {
  const entry = (family: 'ipv4' | 'ipv6'): Record<string, unknown> | undefined => {
    const ip = ips.find(({ address }) => familyOf(address) === family)
    if (ip === undefined) return undefined
    return { ip: ip.address, gateway: ip.gateway, routes: routes.filter(({ dst }) => familyOf(dst) === family) }
  }
  return { ip4: entry('ipv4'), ip6: entry('ipv6'), dns: dns ?? {} }
}

/** Parses a prevResult in the format of `version`. Throws `CniError` that names the field that is wrong. */
export function parseResult(value: unknown, version: string): CniResult {
  const result = object(value, 'prevResult')
  if (atLeast(version, '0.3.0')) {
    const interfaces = list(result['interfaces'], 'prevResult.interfaces').map(parseInterface)
    return {
      interfaces,
      ips: list(result['ips'], 'prevResult.ips').map((ip, i) => parseIp(ip, `prevResult.ips[${i}]`, interfaces.length)),
      routes: list(result['routes'], 'prevResult.routes').map(parseRoute),
      dns: result['dns'] === undefined || result['dns'] === null ? undefined : object(result['dns'], 'prevResult.dns'),
    }
  }
  const entries = [result['ip4'], result['ip6']].filter(entry => entry !== undefined && entry !== null)
  const parsed = entries.map(entry => object(entry, 'prevResult.ip4 or ip6'))
  return {
    interfaces: [],
    ips: parsed.map(entry => parseIp({ ...entry, address: entry['ip'] }, 'prevResult.ip4 or ip6', 0)),
    routes: parsed.flatMap(entry => list(entry['routes'], 'routes of prevResult').map(parseRoute)),
  }
}

function parseInterface(value: unknown, i: number): ResultInterface {
  const { name, mac, mtu, sandbox } = object(value, `prevResult.interfaces[${i}]`)
  if (typeof name !== 'string') throw wrong(`prevResult.interfaces[${i}].name`, 'a text', name)
  return {
    name,
    ...(typeof mac === 'string' && { mac }),
    ...(typeof mtu === 'number' && { mtu }),
    ...(typeof sandbox === 'string' && { sandbox }),
  }
}

function parseIp(value: unknown, where: string, interfaces: number): ResultIp {
  const { address, gateway, interface: index } = object(value, where)
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

function parseRoute(value: unknown, i: number): ResultRoute {
  const { dst, gw } = object(value, `prevResult.routes[${i}]`)
  if (typeof dst !== 'string') throw wrong(`prevResult.routes[${i}].dst`, 'a CIDR', dst)
  return { dst, ...(typeof gw === 'string' && { gw }) }
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
