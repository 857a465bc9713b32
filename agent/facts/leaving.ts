// How a packet leaves this node: by which link, to which neighbour, and through a tunnel as which outer packet.
import type { AskedPacket, NeighbourFacts, WayFacts } from '../../api/explain.ts'
import { IPIP_DEVICE, TUNNEL_DEVICES } from '../../felix/calc/tunnels.ts'
import { KernelError } from '../../kernel/port/error.ts'
import { type LookedUp, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { type NamedRoute, neighbourKey } from '../../kernel/reconcile/objects.ts'
import { familyOf } from '../../lib/ip.ts'
import type { Gathering } from './gathering.ts'
import type { Host } from './host.ts'

type Leaving = Pick<WayFacts, 'leavesBy' | 'neighbour' | 'outer'>

const UDP = 17
/** The protocol of IP-in-IP (RFC 2003). */
const IPIP = 4

export async function leaving(
  host: Host,
  { route, packet }: { route: NamedRoute; packet: AskedPacket },
  gathering: Gathering,
): Promise<Leaving> {
  const device = host.deviceOf(route)
  const link = host.link(device)
  if (device === undefined || link === undefined) return {}
  const nextHop = route.gateway ?? route.nextHops?.[0]?.gateway ?? packet.destination
  const leavesBy = await gathering.fact('kernel', () => host.linkFacts(link))
  // a device of IP-in-IP has no neighbours: the gateway is the address of the outer packet
  if (device === IPIP_DEVICE)
    return {
      leavesBy,
      outer: { encapsulation: 'ipip', ...(await outerOf(host, nextHop, { protocol: IPIP }, gathering)) },
    }
  const neighbour = await gathering.fact('kernel', () => neighbourOf(host, device, nextHop))
  if (!TUNNEL_DEVICES.has(device)) return { leavesBy, neighbour }
  const mac = 'value' in neighbour ? neighbour.value?.mac : undefined
  const entry = await gathering.fact('kernel', () => entryOf(host, device, mac))
  const remote = ('value' in entry ? entry.value?.remote : undefined) ?? remoteWanted(host, device, nextHop) ?? nextHop
  const port = link.vxlan?.port
  const packetOf = { protocol: UDP, ...(port !== undefined && { sourcePort: port, destinationPort: port }) }
  const outer = await outerOf(host, remote, packetOf, gathering)
  return { leavesBy, neighbour, outer: { encapsulation: 'vxlan', ...outer, entry } }
}

/** Undefined: the kernel has no entry, and asks when it has a packet. */
async function neighbourOf(host: Host, device: string, address: string): Promise<NeighbourFacts | undefined> {
  const { index } = host.link(device)!
  const found = await host.kernel.neighbour(index, address)
  if (found === undefined) return undefined
  const wanted = host.view.wanted.neighbour.get(neighbourKey({ interfaceName: device, address }))
  return {
    ...{ address, state: found.state ?? 'incomplete' },
    ...(found.mac !== undefined && { mac: found.mac }),
    ours: wanted !== undefined && wanted.mac?.toLowerCase() === found.mac?.toLowerCase() && found.permanent,
  }
}

async function entryOf(host: Host, device: string, mac: string | undefined) {
  if (mac === undefined) return undefined
  const found = await host.kernel.fdbEntry(host.link(device)!.index, mac)
  return { mac, ...(found !== undefined && { remote: found.dst }) }
}

/** Where frames for a next hop of a device of VXLAN should go. */
function remoteWanted({ view: { wanted } }: Host, device: string, nextHop: string): string | undefined {
  const mac = wanted.neighbour.get(neighbourKey({ interfaceName: device, address: nextHop }))?.mac
  return mac === undefined ? undefined : wanted.fdb.get(`${device} ${mac}`)?.dst
}

async function outerOf(host: Host, remote: string, packet: LookedUp, gathering: Gathering) {
  const source = ownAddress(host, remote)
  const found = await gathering.fact('kernel', () =>
    host.lookup(remote, { ...(packet.protocol === UDP && packet), ...(source !== undefined && { source }) }),
  )
  const route = 'value' in found && !(found.value instanceof KernelError) ? found.value.route : undefined
  const lookup = gathering.inWords(found, answer => host.lookupFacts(answer))
  const device = route && host.deviceOf(route)
  const link = host.link(device)
  if (route === undefined || link === undefined || route.table === ROUTE_TABLE.local) return { remote, lookup }
  const nextHop = route.gateway ?? route.nextHops?.[0]?.gateway ?? remote
  return {
    ...{ remote, lookup },
    neighbour: await gathering.fact('kernel', () => neighbourOf(host, link.name, nextHop)),
    leavesBy: await gathering.fact('kernel', () => host.linkFacts(link)),
  }
}

/** The address of this node that outer packets have. */
function ownAddress({ view: { node } }: Host, remote: string): string | undefined {
  return node?.[familyOf(remote)]?.split('/')[0]
}
