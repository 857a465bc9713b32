// Settings of a node's kernel that stop a packet: forwarding, reverse path filters, IPv6 that is switched off. Pure.
import type { LookupFacts, SettingFact, WayFacts } from '../api/explain.ts'
import type { Found } from './causes.ts'
import { type Crossing, known, type Place } from './crossing.ts'
import { routeOf } from './rules.ts'

/** EHOSTUNREACH alone may be an unreachable route as well; the setting says which. */
export function forwardingOff({ node }: Place, way: WayFacts, errno: string): Found | undefined {
  const device = known(way.entersBy)?.name
  if (way.from === 'host' || device === undefined || errno !== 'EHOSTUNREACH') return undefined
  const off = settings(way).find(
    ({ name, is }) => is === '0' && (settingIs(name, 'ipv4', device, 'forwarding') || /\bip_forward$/.test(name)),
  )
  return off && forwardingOffAt(node, device, off.name)
}

function forwardingOffAt(node: string, device: string, setting: string): Found {
  return {
    code: 'ForwardingOff',
    node,
    object: { kind: 'Sysctl', name: setting },
    message: `${node} does not forward what comes in by ${device}: ${setting} is 0`,
    values: { setting: inCommand(setting) },
  }
}

/** `effect`: 2 asks for any way back, 1 for one over the same device. */
type Filter = { named: SettingFact; effect: number; device: string; back: LookupFacts }

/**
 * The filter that may have refused the source. Kernels before 6.13 answer EXDEV for that, later ones EINVAL, which a blackhole answers
 * too: there must be a way for others.
 */
function filterOf(way: WayFacts, errno: string): Filter | undefined {
  if (errno !== 'EINVAL' && errno !== 'EXDEV') return undefined
  const plain = routeOf(known(way.plain))
  const device = known(way.entersBy)?.name
  const back = known(way.ofSource)
  if (plain === undefined || plain.type !== 'unicast' || device === undefined || back === undefined) return undefined
  const filters = ['all', device].map(each =>
    settings(way).find(({ name }) => settingIs(name, 'ipv4', each, 'rp_filter')),
  )
  if (filters[1] === undefined) return undefined
  // the kernel takes the larger of both numbers: 2, which is loose, wins over 1
  const effect = Math.max(...filters.map(each => Number(each?.is ?? 0)))
  const named = filters.find(each => Number(each?.is) === effect)
  return named && { named, effect, device, back }
}

/**
 * Whether a filter refuses the source since the node lost its way back, or has another one than its agent wants: then that is the fault,
 * of which the steps of the answer tell, and not the filter, nor a rule.
 */
export function isWayBackWrong({ facts }: Place, way: WayFacts, errno: string): boolean {
  const filter = filterOf(way, errno)
  if (filter === undefined || filter.effect === 0) return false
  if ('errno' in filter.back) return true
  const wanted = facts?.ways.find(({ direction }) => direction !== way.direction)?.wanted
  return wanted?.divergence !== undefined && wanted.route?.device === filter.device
}

export function reversePath({ packet }: Crossing, { node }: Place, way: WayFacts, errno: string): Found | undefined {
  const filter = filterOf(way, errno)
  if (filter?.effect !== 1 || 'errno' in filter.back) return undefined
  const { named, device, back } = filter
  if (back.route.device === device) return undefined
  return {
    code: 'ReversePath',
    node,
    object: { kind: 'Sysctl', name: named.name },
    message: `${node} refuses ${packet.source} on ${device}, since answers would go by ${back.route.device}: ${named.name} is ${named.is}`,
    values: { ...looseFilter(device), source: packet.source, device },
  }
}

/** The larger one of the interface's and that of all counts: 2 on the interface lets in what has any way back, whatever the other is. */
export function looseFilter(device: string): { setting: string; value: number } {
  return { setting: inCommand(`net.ipv4.conf.${device}.rp_filter`), value: 2 }
}

/** Of a name with dots between its words `sysctl` takes each for one: interfaces such as `vxlan.calico` need slashes between. */
function inCommand(name: string): string {
  const [, family, device = '', leaf] = /^net\.(ipv[46])\.conf\.(.+)\.(\w+)$/.exec(name) ?? []
  return device.includes('.') ? `net/${family}/conf/${device}/${leaf}` : name
}

/** An interface without IPv6 drops what comes in by it, and nothing leaves by it. */
export function ipv6Off({ packet }: Crossing, { node }: Place, way: WayFacts): Found | undefined {
  if (packet.family !== 'ipv6') return undefined
  const devices = [way.entersBy, way.leavesBy].flatMap(link => known(link)?.name ?? [])
  const off = settings(way).find(
    ({ name, is }) => is === '1' && devices.some(device => settingIs(name, 'ipv6', device, 'disable_ipv6')),
  )
  return off && ipv6OffAt(node, off.name)
}

export function ipv6OffAt(node: string, setting: string): Found {
  return {
    code: 'Ipv6Off',
    node,
    object: { kind: 'Sysctl', name: setting },
    message: `IPv6 is switched off: ${setting} is 1`,
    values: { setting: inCommand(setting) },
  }
}

/**
 * The kernel has one setting for all interfaces in IPv6, which its look-ups do not ask. It counts where the agent wants it: others
 * may forward by interface (force_forwarding).
 */
export function ipv6ForwardingOff({ packet }: Crossing, { node }: Place, way: WayFacts): Found | undefined {
  const device = known(way.entersBy)?.name
  if (packet.family !== 'ipv6' || way.from === 'host' || device === undefined) return undefined
  const off = settings(way).find(
    ({ name, is, wanted }) => is === '0' && wanted === '1' && settingIs(name, 'ipv6', 'all', 'forwarding'),
  )
  return off && forwardingOffAt(node, device, off.name)
}

function settings(way: WayFacts): SettingFact[] {
  return known(way.settings) ?? []
}

/** Names have dots or slashes between their words, and interfaces may have dots in theirs. */
function settingIs(name: string, family: 'ipv4' | 'ipv6', device: string, leaf: string): boolean {
  return ['.', '/'].some(each => name.endsWith([family, 'conf', device, leaf].join(each)))
}
