// What the configuration of a plugin that names margay-ipam in `ipam.type` asks beside addresses. Pure.
import type { AssignRequest, Lan, Lans, SubnetRequest } from '../../ipam/port.ts'
import { addressBits, contains, type Family, familyOf, formatCidr, parseAddress, parseCidr } from '../../lib/ip.ts'
import { badField, field, typed } from '../fields.ts'
import { DELEGATING, type Delegating, type KeyName } from '../keys.ts'
import { parseRoute, type ResultRoute } from '../result.ts'

type Json = Record<string, unknown>

/** What the configuration of another plugin asks beside addresses: of how many blocks they may be, of which LAN, and the routes of its result. */
export type Behind = Pick<SubnetRequest, 'blocks' | 'lan'> & { routes: readonly ResultRoute[] }

type Asked = Required<Pick<AssignRequest, 'families' | 'ifServed'>> & Pick<AssignRequest, 'pools'>

/** Throws `CniError` where containers of that plugin would have no way back. */
export function behindOf(json: Json, ipam: Json, asked: Asked): Behind {
  const type = typed(json, 'type', 'text') ?? ''
  const row: Delegating | undefined = Object.hasOwn(DELEGATING, type) ? DELEGATING[type] : undefined
  if (row === undefined)
    throw badField(
      'type',
      type,
      `one of ${Object.keys(DELEGATING).join(', ')}: of others it is not known how their containers are reached`,
    )
  const mode = field(json, 'mode') ?? row.mode
  if (row.mode !== undefined && mode !== row.mode)
    throw badField('mode', mode, `${row.mode}: else nobody on the LAN hears who has an address`)
  const isGateway = field(json, 'isGateway')
  if (row.needsGateway && isGateway !== true && field(json, 'isDefaultGateway') !== true)
    throw badField(
      'isGateway',
      isGateway,
      'true, or isDefaultGateway: without an address of the bridge other nodes have no way to its containers',
    )
  const routes = routesOf(ipam)
  if (row.isOnLan === true) return { blocks: row.blocks, routes, lan: lansOf(type, ipam, routes, asked) }
  for (const key of ['subnet', 'gateway'] as const)
    if (field(ipam, key) !== undefined)
      throw badField(
        `ipam.${key}`,
        field(ipam, key),
        `absent for ${type}, whose subnets are blocks with a gateway of their own: make an IPPool, and name it in ipam.ipv4_pools or ipv6_pools`,
      )
  return { blocks: row.blocks, routes }
}

/** The LAN of each family. Whether the pools are of it is looked at when an address is given: they may change. */
function lansOf(type: string, ipam: Json, routes: readonly ResultRoute[], asked: Asked): Lans {
  const subnets = ofFamilies(ipam, 'subnet', subnetOf, 'a CIDR of several addresses')
  const gateways = ofFamilies(ipam, 'gateway', parseAddress, 'an address')
  for (const family of [...asked.families, ...asked.ifServed]) {
    if (subnets.get(family) === undefined)
      throw badField(
        'ipam.subnet',
        field(ipam, 'subnet'),
        `the CIDR of the LAN that containers of ${type} are on, of ${family} too, which ipam.assign_${family} asks for`,
      )
    const key = `${family}_pools` as const
    if (asked.pools?.[family] === undefined)
      throw badField(
        `ipam.${key}`,
        field(ipam, key),
        'a list of IPPools that lie inside ipam.subnet, since no other one has addresses of the LAN',
      )
    const open = routes.find(({ dst, gw }) => gw === undefined && familyOf(dst) === family)
    if (open !== undefined && gateways.get(family) === undefined)
      throw badField('ipam.gateway', field(ipam, 'gateway'), `the router of the LAN: route ${open.dst} has no gw`)
  }
  for (const [family, gateway] of gateways) {
    const subnet = subnets.get(family)
    if (subnet === undefined || !contains(subnet, gateway))
      throw badField('ipam.gateway', gateway, 'an address in ipam.subnet')
  }
  return Object.fromEntries(
    [...subnets].map(([family, subnet]): [Family, Lan] => {
      const gateway = gateways.get(family)
      return [family, { subnet, ...(gateway !== undefined && { gateway }) }]
    }),
  )
}

function subnetOf(text: string): string | undefined {
  const parsed = parseCidr(text)
  return parsed && addressBits(parsed.family) - parsed.length >= 2 ? formatCidr(parsed) : undefined
}

/** What a text, or a list of them, says of each family. */
function ofFamilies(
  ipam: Json,
  key: KeyName,
  parse: (text: string) => string | undefined,
  what: string,
): Map<Family, string> {
  const value = field(ipam, key) ?? []
  const found = new Map<Family, string>()
  for (const each of Array.isArray(value) ? value : [value]) {
    const one = typeof each === 'string' ? parse(each) : undefined
    if (one === undefined || found.has(familyOf(one)))
      throw badField(`ipam.${key}`, value, `${what}, or a list with one of each family`)
    found.set(familyOf(one), one)
  }
  return found
}

function routesOf(ipam: Json): ResultRoute[] {
  const value = field(ipam, 'routes') ?? []
  if (!Array.isArray(value)) throw badField('ipam.routes', value, 'a list of objects with dst')
  return value.map((each: unknown) => {
    const fault = badField('ipam.routes', each, 'objects with a CIDR as dst and, where they have one, an address as gw')
    try {
      const route = parseRoute(each, 'ipam.routes')
      if (route.gw === undefined || parseAddress(route.gw) !== undefined) return route
    } catch {} // said in the words of a configuration
    throw fault
  })
}
