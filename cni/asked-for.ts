// What a runtime asks for one container beside its configuration: `runtimeConfig`, which it fills in for the capabilities that
// the configuration names, `args`, and CNI_ARGS (CONVENTIONS of CNI 1.1.0). What nobody here can act on is refused.
import { HOST_MAC } from '../kernel/pod-interface.ts'
import { familyOf, parseAddress, parseCidr } from '../lib/ip.ts'
import { CAPABILITIES, type CapabilityName } from './capabilities.ts'
import { badField, field, isObject, typed } from './fields.ts'
import type { KeyName } from './keys.ts'

type Json = Readonly<Record<string, unknown>>

/**
 * The addresses and the MAC that are asked for; no addresses where `delegate` gives them, which reads the same configuration: by the capabilities `ips` and `mac`, else by `args.cni.ips`, else by CNI_ARGS,
 * which `args` is in the place of. Throws `CniError`, also where `runtimeConfig` asks for what is not done here.
 */
export function askedFor(
  json: Json,
  args: Readonly<Record<string, string>>,
  delegate?: string,
): { addresses?: string[]; mac?: string } {
  const runtime = typed(json, 'runtimeConfig', 'object') ?? {}
  const refused = Object.keys(CAPABILITIES).filter(name => delegate === undefined || name !== 'ipRanges')
  refuseOthers(runtime, refused)
  const addresses = addressesOf(json, runtime, args)
  const asked: unknown = field(runtime, 'mac') || args['MAC'] || undefined
  const mac = typeof asked === 'string' ? parseUnicastMac(asked) : undefined
  if (asked !== undefined && mac === undefined)
    throw badField('mac', asked, 'a unicast MAC address such as 02:00:5e:10:00:01')
  return { addresses: delegate === undefined ? addresses : undefined, mac }
}

/** The addresses alone, for another plugin, to which all else in `runtimeConfig` is said. Throws `CniError`. */
export function addressesAsked(json: Json, args: Readonly<Record<string, string>>): string[] | undefined {
  const runtime = typed(json, 'runtimeConfig', 'object') ?? {}
  refuseOthers(runtime, ['ipRanges'])
  return addressesOf(json, runtime, args)
}

function addressesOf(json: Json, runtime: Json, args: Readonly<Record<string, string>>): string[] | undefined {
  const cni = typed(typed(json, 'args', 'object') ?? {}, 'cni', 'object') ?? {}
  const lists = [listOf(runtime, 'ips'), listOf(cni, 'ips'), (args['IP'] ?? '').split(',').filter(ip => ip !== '')]
  const addresses = lists.find(list => list.length > 0)?.map(addressOf)
  const twice = addresses?.find((address, i) => addresses.findIndex(of(familyOf(address))) !== i)
  if (twice === undefined) return addresses
  throw badField('ips', addresses, `one address of each family at most: ${twice} is one more`)
}

/** In lower case with colons: six octets that the kernel takes for an interface (is_valid_ether_addr), also with `-` between them. Not those of the host's side, whose link-local address is the pod's gateway. */
export function parseUnicastMac(text: string): string | undefined {
  const mac = text.toLowerCase().replaceAll('-', ':')
  return UNICAST_MAC.test(text) && mac !== NO_MAC && mac !== HOST_MAC ? mac : undefined
}

/**
 * `dns` of the configuration (SPEC section 1), else `before`, that of the plugins before, with what the capability `dns` says in
 * its place. It goes into the result, and a runtime must be able to read it. Throws `CniError`.
 */
export function dnsOf(json: Json, before: unknown): Json | undefined {
  const own = typed(json, 'dns', 'object')
  if (own !== undefined) {
    if (typeof (field(own, 'domain') ?? '') !== 'string') throw badField('dns.domain', field(own, 'domain'), 'a name')
    for (const key of ['nameservers', 'search', 'options'] as const) textsOf(own, key, 'dns')
  }
  const asked = typed(typed(json, 'runtimeConfig', 'object') ?? {}, 'dns', 'object') ?? {}
  const given = { nameservers: 'servers', search: 'searches', options: 'options' } as const
  const instead = Object.entries(given)
    .map(([key, capability]) => [key, textsOf(asked, capability, 'runtimeConfig.dns')] as const)
    .filter(([, texts]) => texts.length > 0)
  if (own === undefined && instead.length === 0) return undefined
  return { ...(own ?? (isObject(before) ? before : {})), ...Object.fromEntries(instead) }
}

const NO_MAC = '00:00:00:00:00:00'
const UNICAST_MAC = /^[0-9a-f][02468ace](?:(:[0-9a-f]{2}){5}|(-[0-9a-f]{2}){5})$/i

const of = (family: string) => (address: string) => familyOf(address) === family

function refuseOthers(runtime: Json, names: readonly string[]): void {
  for (const [name, row] of Object.entries(CAPABILITIES)) {
    const value = field(runtime, name as CapabilityName)
    if ('instead' in row && names.includes(name) && asksForSomething(value))
      throw badField(`runtimeConfig.${name}`, value, row.instead)
  }
}

/** Runtimes send null, empty lists and zeros for what nobody asked for. */
function asksForSomething(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0
  return isObject(value) ? Object.values(value).some(Boolean) : Boolean(value)
}

function listOf(json: Json, key: KeyName): unknown[] {
  const value = field(json, key) ?? []
  if (Array.isArray(value)) return value
  throw badField(key, value, 'a list of addresses')
}

function textsOf(json: Json, key: KeyName, where: string): string[] {
  const value = field(json, key) ?? []
  if (Array.isArray(value) && value.every(item => typeof item === 'string')) return value
  throw badField(`${where}.${key}`, value, 'a list of strings')
}

/** Of `ADDRESS` or `ADDRESS/LENGTH`, canonical. */
function addressOf(value: unknown): string {
  const text = typeof value === 'string' ? value : ''
  const address = parseAddress(text.replace(/\/.*$/, ''))
  if (address !== undefined && (!text.includes('/') || parseCidr(text) !== undefined)) return address
  throw badField('ips', value, 'an IP address, with or without a prefix length')
}
