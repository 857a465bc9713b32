// Routes on the wire: rtmsg is family u8 | dst length u8 | src length u8 | tos u8 | table u8 | protocol u8 | scope u8 |
// type u8 | flags u32. Hazards: a metric of 0 in a deletion means any metric, so IPv6's default is always spelt out
// there; IPv6 dumps dropping routes with `lo` as their device.
import { addressBits, addressBytes, type Family, familyOf, formatAddress, formatCidr } from '../../../lib/ip.ts'
import {
  defaultMetric,
  drops,
  type LookedUp,
  type NextHop,
  type Route,
  type RouteFilter,
  type RouteType,
} from '../../port/routes.ts'
import { eachAttribute, type Message, type NlWriter } from '../message.ts'
import { AF } from '../numbers.ts'
import { RTA, RTAX, RTM_F, RTNH_F } from './numbers.ts'

const RTMSG = 12
/** rtnexthop: length u16 | flags u8 | weight less one u8 | ifindex i32, and attributes. */
const RTNEXTHOP = 8

/** rtm_type by name (RTN_* of linux/rtnetlink.h). */
const TYPE = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
} as const satisfies Record<RouteType, number>

const TYPE_NAMES: (RouteType | undefined)[] = []
for (const [name, number] of Object.entries(TYPE)) TYPE_NAMES[number] = name as RouteType

/** The head of a dump that the kernel filters (with NETLINK_GET_STRICT_CHK) as far as it can. */
export function emitRouteDump(w: NlWriter, family: number, filter: RouteFilter): void {
  const { table, protocol, type, ifindex } = filter
  emitHeader(w, family, [0, 0], table ?? 0, protocol ?? 0, 0, type === undefined ? 0 : TYPE[type], 0)
  if (table !== undefined) w.attrU32(RTA.table, table)
  if (ifindex !== undefined) w.attrU32(RTA.oif, ifindex)
}

/** RTM_NEWROUTE and RTM_DELROUTE. */
export function emitRoute(w: NlWriter, route: Route, { forDelete = false }: { forDelete?: boolean } = {}): void {
  const slash = route.dst.indexOf('/')
  const length = Number(route.dst.slice(slash + 1))
  const family = familyOf(route.dst)
  const flags = route.onlink && route.nextHopId === undefined ? RTNH_F.onlink : 0
  const wireFamily = family === 'ipv4' ? AF.inet : AF.inet6
  emitHeader(w, wireFamily, [length, 0], route.table, route.protocol, route.scope, TYPE[route.type], flags)
  if (length > 0) w.attrAddress(RTA.dst, route.dst.slice(0, slash))
  if (route.table > 255) w.attrU32(RTA.table, route.table)
  const { nextHops, nextHopId } = route
  if (nextHopId !== undefined) w.attrU32(RTA.nhId, nextHopId)
  else if (nextHops === undefined) {
    if (route.ifindex !== undefined && !drops(route.type)) w.attrU32(RTA.oif, route.ifindex)
    if (route.gateway !== undefined) emitGateway(w, family, route.gateway)
    // of IPv6 each next hop that a deletion names is deleted by itself, and the rest of the route stays
  } else if (family === 'ipv4' || !forDelete)
    w.nest(RTA.multipath, () => {
      for (const hop of nextHops) emitNextHop(w, family, hop)
    })
  const metric = route.metric ?? (forDelete ? defaultMetric(route.dst) : 0)
  if (metric !== 0) w.attrU32(RTA.priority, metric)
  if (route.source !== undefined) w.attrAddress(RTA.prefsrc, route.source)
  if (route.mtu !== undefined) w.nest(RTA.metrics, () => w.attrU32(RTAX.mtu, route.mtu!))
}

function emitGateway(w: NlWriter, family: Family, gateway: string): void {
  if (familyOf(gateway) === family) w.attrAddress(RTA.gateway, gateway)
  else w.nest(RTA.via, () => w.u16(familyOf(gateway) === 'ipv4' ? AF.inet : AF.inet6).put(addressBytes(gateway)))
}

function emitNextHop(w: NlWriter, family: Family, { gateway, ifindex, onlink, weight = 1 }: NextHop): void {
  // where an attribute has its type an rtnexthop has flags and weight
  w.nest((onlink ? RTNH_F.onlink : 0) | ((weight - 1) << 8), () => {
    w.u32(ifindex)
    if (gateway !== undefined) emitGateway(w, family, gateway)
  })
}

function parseNextHops(value: Buffer): NextHop[] {
  const hops: NextHop[] = []
  for (let at = 0; at + RTNEXTHOP <= value.length; ) {
    const length = value.readUInt16LE(at)
    if (length < RTNEXTHOP || at + length > value.length) break
    const hop: NextHop = { ifindex: value.readInt32LE(at + 4) }
    eachAttribute(value.subarray(at, at + length), RTNEXTHOP, (attribute, octets) => {
      if (attribute === RTA.gateway) hop.gateway = formatAddress(octets)
      else if (attribute === RTA.via) hop.gateway = formatAddress(octets.subarray(2))
    })
    if (value[at + 2]! & RTNH_F.onlink) hop.onlink = true
    if (value[at + 3]! > 0) hop.weight = value[at + 3]! + 1
    hops.push(hop)
    at += (length + 3) & ~3
  }
  return hops
}

/** An IPv6 route by a group of one has a list of one. */
function setNextHops(route: Route, hops: NextHop[]): void {
  const [first, second] = hops
  if (second !== undefined) route.nextHops = hops
  else if (first !== undefined) {
    const { weight: _, ...way } = first
    Object.assign(route, way)
  }
}

/** RTM_GETROUTE for the way to one address, of such packets. */
export function emitRouteLookup(w: NlWriter, dst: string, packet: LookedUp): void {
  const { source, ifindex, mark, tos, protocol, sourcePort, destinationPort } = packet
  const family = familyOf(dst)
  // IPv6 takes no second flag here, and tells the table without it
  const flags = family === 'ipv4' ? RTM_F.fibMatch | RTM_F.lookupTable : RTM_F.fibMatch
  const bits = addressBits(family)
  emitHeader(w, family === 'ipv4' ? AF.inet : AF.inet6, [bits, source === undefined ? 0 : bits], 0, 0, 0, 0, flags, tos)
  w.attrAddress(RTA.dst, dst)
  if (source !== undefined) w.attrAddress(RTA.src, source)
  if (ifindex !== undefined) w.attrU32(RTA.iif, ifindex)
  if (mark !== undefined) w.attrU32(RTA.mark, mark)
  if (protocol !== undefined) w.attrU8(RTA.ipProto, protocol)
  if (sourcePort !== undefined) w.nest(RTA.sport, () => w.u16be(sourcePort))
  if (destinationPort !== undefined) w.nest(RTA.dport, () => w.u16be(destinationPort))
}

function emitHeader(
  w: NlWriter,
  family: number,
  [length, sourceLength]: readonly [destination: number, source: number],
  table: number,
  protocol: number,
  scope: number,
  type: number,
  flags: number,
  tos = 0,
): void {
  w.u8(family).u8(length).u8(sourceLength).u8(tos)
  w.u8(table > 255 ? 0 : table)
    .u8(protocol)
    .u8(scope)
    .u8(type)
    .u32(flags)
}

/** Whether a message is about exactly this destination: of a long table it costs a tenth of reading each route. */
export function isAbout(dst: string): (message: Message) => boolean {
  const slash = dst.indexOf('/')
  const [address, length] = [addressBytes(dst.slice(0, slash)), Number(dst.slice(slash + 1))]
  return ({ body }) => {
    if (body.length < RTMSG || body[1] !== length) return false
    let isSame = length === 0
    eachAttribute(body, RTMSG, (attribute, value) => {
      if (attribute === RTA.dst) isSame = value.equals(address)
    })
    return isSame
  }
}

/**
 * A route of the tables; undefined for what `parseWay` leaves out, and for routes of one type of service or of some senders (`from`),
 * which the kernel keeps beside any other of their destination and metric.
 */
export function parseRoute(message: Message): Route | undefined {
  const [, , sourceLength, tos] = message.body as unknown as number[]
  return sourceLength === 0 && tos === 0 ? parseWay(message) : undefined
}

/** The route that a look-up ends at; undefined for cached clones and for types and families that Margay knows nothing of. */
export function parseWay({ body }: Message): Route | undefined {
  if (body.length < RTMSG) return undefined
  const [family, length, , , table, protocol, scope, typeNumber] = body as unknown as number[]
  const flags = body.readUInt32LE(8)
  const type = TYPE_NAMES[typeNumber!]
  if ((family !== AF.inet && family !== AF.inet6) || type === undefined || flags & RTM_F.cloned) return undefined
  const route: Route = {
    dst: family === AF.inet ? `0.0.0.0/${length}` : `::/${length}`,
    table: table!,
    type,
    protocol: protocol!,
    scope: scope!,
  }
  eachAttribute(body, RTMSG, (attribute, value) => {
    if (attribute === RTA.dst) route.dst = formatCidr({ address: formatAddress(value), length: length! })
    else if (attribute === RTA.table) route.table = value.readUInt32LE(0)
    else if (attribute === RTA.oif) route.ifindex = value.readUInt32LE(0)
    else if (attribute === RTA.gateway) route.gateway = formatAddress(value)
    else if (attribute === RTA.via) route.gateway = formatAddress(value.subarray(2))
    else if (attribute === RTA.multipath) setNextHops(route, parseNextHops(value))
    else if (attribute === RTA.nhId) route.nextHopId = value.readUInt32LE(0)
    else if (attribute === RTA.priority) route.metric = value.readUInt32LE(0)
    else if (attribute === RTA.prefsrc) route.source = formatAddress(value)
    else if (attribute === RTA.metrics)
      eachAttribute(value, 0, (metric, number) => {
        if (metric === RTAX.mtu) route.mtu = number.readUInt32LE(0)
      })
  })
  if (flags & RTNH_F.onlink) route.onlink = true
  if (route.metric === defaultMetric(route.dst)) delete route.metric
  if (drops(type)) delete route.ifindex
  return route
}
