// What the configuration of a plugin that names margay-ipam in `ipam.type` asks beside addresses. Pure.
import type { SubnetRequest } from '../../ipam/port.ts'
import { parseAddress } from '../../lib/ip.ts'
import { badField, field, typed } from '../fields.ts'
import { DELEGATING, type Delegating } from '../keys.ts'
import { parseRoute, type ResultRoute } from '../result.ts'

type Json = Record<string, unknown>

/** What the configuration of another plugin asks beside addresses: of how many blocks they may be, and the routes of its result. */
export type Behind = Pick<SubnetRequest, 'blocks'> & { routes: readonly ResultRoute[] }

/** Throws `CniError` where containers of that plugin would have no way back. */
export function behindOf(json: Json, ipam: Json): Behind {
  const type = typed(json, 'type', 'text') ?? ''
  const row: Delegating | undefined = Object.hasOwn(DELEGATING, type) ? DELEGATING[type] : undefined
  if (row === undefined)
    throw badField(
      'type',
      type,
      `one of ${Object.keys(DELEGATING).join(', ')}: of others, such as macvlan and ipvlan, no way leads back from other nodes; addresses of a LAN are for host-local or static`,
    )
  const isGateway = field(json, 'isGateway')
  if (row.needsGateway && isGateway !== true && field(json, 'isDefaultGateway') !== true)
    throw badField(
      'isGateway',
      isGateway,
      'true, or isDefaultGateway: without an address of the bridge other nodes have no way to its containers',
    )
  return { blocks: row.blocks, routes: routesOf(ipam) }
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
