// Pools for containers that are on the LAN of the host (`macvlan`, `ipvlan`). Their addresses are found by ARP and neighbour discovery, on
// every node by the route to the LAN that the kernel has anyway: nothing may tell another way to them, nor give them to others. Pure.
import type { IpPool } from '../api/pools.ts'
import { nodesExchange, usesOf } from '../api/pools.ts'
import { addressAt, addressBits, cidr, contains, type Family } from '../lib/ip.ts'
import type { AssignRefusal, Lan } from './port.ts'

/** What each pool must be whose addresses are those of a LAN, and what becomes of the LAN otherwise. */
const LAN_POOL: readonly {
  is: (pool: IpPool, lan: Lan) => boolean
  otherwise: (pool: IpPool, lan: Lan) => string
  remedy: (lan: Lan) => string
}[] = [
  {
    is: ({ spec }, { subnet }) => contains(subnet, spec.cidr),
    otherwise: ({ spec }, { subnet }) => `${spec.cidr} does not lie inside ipam.subnet, ${subnet}`,
    remedy: ({ subnet }) => `name pools of addresses of the LAN, or correct ipam.subnet, ${subnet}`,
  },
  {
    is: ({ spec }, { gateway }) => gateway === undefined || !contains(spec.cidr, gateway),
    otherwise: ({ spec }, { gateway }) => `${spec.cidr} holds ipam.gateway, ${gateway}, which a container could get`,
    remedy: () => 'let the pool be a part of the LAN that no other machine has an address of',
  },
  {
    is: pool => !nodesExchange(pool),
    otherwise: () => 'its blocks are announced, so that other nodes would not look for its addresses on the LAN',
    remedy: () => 'set disableBGPExport of the pool to true, and its ipipMode and vxlanMode to Never',
  },
  {
    is: ({ spec }) => spec.assignmentMode === 'Manual',
    otherwise: () => 'it gives addresses to any pod',
    remedy: () => 'set assignmentMode of the pool to Manual',
  },
  {
    is: ({ spec }) => !usesOf(spec).includes('Tunnel'),
    otherwise: () => 'it gives addresses to tunnels',
    remedy: () => 'set allowedUses of the pool to ["Workload"]',
  },
]

/** Why containers of a LAN get no address of these pools. `lan`: undefined where the LAN has none of the family. */
export function lanRefusal(pools: readonly IpPool[], lan: Lan | undefined, family: Family): AssignRefusal | undefined {
  const refused = (message: string, remedy: string): AssignRefusal => ({ refused: 'no-pool', message, remedy })
  if (lan === undefined)
    return refused(`ipam.subnet has no ${family} of the LAN`, `name its ${family} CIDR too, or ask for no ${family}`)
  for (const pool of pools)
    for (const { is, otherwise, remedy } of LAN_POOL)
      if (!is(pool, lan))
        return refused(
          `IPPool ${pool.metadata.name} is none for containers on a LAN: ${otherwise(pool, lan)}`,
          remedy(lan),
        )
  return undefined
}

/** Whether an address of a LAN is one of a machine: the first is the network's (RFC 4291 2.6.1: of its routers), the last one of IPv4 the broadcast. */
export function isHostOf({ subnet }: Lan, address: string): boolean {
  const { family, length } = cidr(subnet)
  const last = (1n << BigInt(addressBits(family) - length)) - 1n
  return address !== addressAt(subnet, 0) && (family === 'ipv6' || address !== addressAt(subnet, last))
}
