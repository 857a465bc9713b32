// Answers of nodes as their kernels would give them: a healthy pair first, and changes of it. Two nodes on one LAN by a direct route, a
// third behind a router by VXLAN.
import type { End, NodeFacts, PodFacts, Question, RouteFacts, WayFacts } from '../../api/explain.ts'
import type { TraceFacts } from '../../api/trace.ts'
import type { NodeAnswer } from '../../explain/crossing.ts'
import { walk } from '../../explain/walk.ts'

const KERNEL = { of: 'kernel', ageMs: 0 } as const
const MODEL = { of: 'model', ageMs: 0 } as const

export const kernel = <T>(value: T) => ({ value, ...KERNEL })
export const model = <T>(value: T) => ({ value, ...MODEL })
export const absent = (why = 'not to be had') => ({ absent: why, ...KERNEL })

export const AT_MS = Date.parse('2026-11-27T12:00:00Z')

type NodeName = 'n1' | 'n2' | 'n3'
const ADDRESS: Record<NodeName, string> = { n1: '192.0.2.11', n2: '192.0.2.12', n3: '198.51.100.13' }
const VTEP: Record<NodeName, string> = { n1: '10.244.1.0', n2: '10.244.2.0', n3: '10.244.3.0' }
export const POD: Record<string, End & { node: NodeName }> = Object.fromEntries(
  (['n1', 'n2', 'n3'] as const).flatMap(node =>
    [1, 2].map(i => {
      const name = `${node}-p${i}`
      const address = `10.244.${node.slice(1)}.${i}`
      return [name, { address, role: 'pod', node, pod: { namespace: 'default', name } }]
    }),
  ),
)
export const NODE: Record<NodeName, End & { node: NodeName }> = {
  n1: { address: ADDRESS.n1, role: 'node', node: 'n1' },
  n2: { address: ADDRESS.n2, role: 'node', node: 'n2' },
  n3: { address: ADDRESS.n3, role: 'node', node: 'n3' },
}
export const OUTSIDE: End = { address: '203.0.113.80', role: 'outside' }

export const cali = (end: End) => `cali-${end.pod?.name}`
const MAC: Record<NodeName, string> = { n1: '02:00:00:00:00:11', n2: '02:00:00:00:00:12', n3: '02:00:00:00:00:13' }

/** As the margayctl of the user asks. */
export function aQuestion(from: End, to: End, packet: Partial<Question['packet']> = {}): Question {
  const family = from.address.includes(':') ? 'ipv6' : 'ipv4'
  const common = { family, protocol: family === 'ipv4' ? 'icmp' : 'icmpv6', ...packet } as const
  return {
    from,
    to,
    packet: { ...common, source: from.address, destination: to.address },
    back: { ...common, source: to.address, destination: from.address },
  }
}

export const link = (name: string, change: object = {}) => ({ name, up: true, running: true, mtu: 1450, ...change })

const uplink = (node: NodeName) => link('eth0', { mtu: 1500, mac: MAC[node] })

export function aPod(end: End, change: Partial<PodFacts> = {}): PodFacts {
  return {
    endpoint: `default/${end.pod!.name}/eth0`,
    pod: end.pod!,
    interface: cali(end),
    addresses: [end.address],
    state: 'live',
    mismatches: kernel([]),
    mtu: kernel({ pod: 1450, host: 1450, wanted: 1450 }),
    ...change,
  }
}

const route = (change: Partial<RouteFacts> & { prefix: string }): RouteFacts => ({
  type: 'unicast',
  table: 254,
  protocol: 'margay',
  ...change,
})

export const settingsOf = (device: string) => [
  { name: `net.ipv4.conf.${device}.forwarding`, is: '1', wanted: '1' },
  { name: `net.ipv4.conf.${device}.rp_filter`, is: '0' },
  { name: 'net.ipv4.conf.all.rp_filter', is: '0' },
  { name: 'net.ipv4.ip_forward', is: '1', wanted: '1' },
  { name: 'net.ipv6.conf.all.forwarding', is: '1', wanted: '1' },
]

const neighbour = (address: string, mac: string, ours = false) =>
  kernel({ address, mac, state: ours ? ('permanent' as const) : ('reachable' as const), ours })

/** To an end of this node, from where it comes in. */
function arrivalWay(
  node: NodeName,
  source: End,
  target: End,
  from: WayFacts['from'],
  direction: WayFacts['direction'],
): WayFacts {
  const entersBy =
    from === 'host'
      ? undefined
      : from === 'pod'
        ? link(cali(source))
        : from === 'tunnel'
          ? link('vxlan.calico')
          : uplink(node)
  const isPod = target.role === 'pod'
  const to = isPod
    ? route({ prefix: `${target.address}/32`, device: cali(target), protocol: 'margay' })
    : route({ type: 'local', prefix: `${target.address}/32`, table: 255, device: 'lo', protocol: 'kernel' })
  return {
    direction,
    from,
    ...(entersBy !== undefined && { entersBy: kernel(entersBy) }),
    lookup: kernel({ route: to }),
    plain: kernel({ route: to }),
    ofSource: kernel({ route: wayBack(node, source) }),
    rules: kernel([]),
    ...(isPod && { wanted: { route: to, origin: { of: 'pod' as const } } }),
    ...(isPod && {
      leavesBy: kernel(link(cali(target))),
      neighbour: neighbour(target.address, 'aa:bb:cc:00:00:01', true),
    }),
    settings: kernel(settingsOf(entersBy?.name ?? 'lo')),
  }
}

/** The route of a node to an end anywhere. */
function wayBack(node: NodeName, end: End): RouteFacts {
  const other = end.node as NodeName | undefined
  const prefix = `10.244.${other?.slice(1)}.0/26`
  if (other === node && end.role === 'pod') return route({ prefix: `${end.address}/32`, device: cali(end) })
  if (other === undefined || end.role !== 'pod')
    return route({ prefix: '0.0.0.0/0', gateway: '192.0.2.1', device: 'eth0', protocol: 'static' })
  const isTunnel = (node === 'n3') !== (other === 'n3')
  return isTunnel
    ? route({ prefix, gateway: VTEP[other], device: 'vxlan.calico' })
    : route({ prefix, gateway: ADDRESS[other], device: 'eth0' })
}

/** From an end of this node to another node, or outside. */
function leavingWay(node: NodeName, source: End, target: End, direction: WayFacts['direction']): WayFacts {
  const to = wayBack(node, target)
  const other = target.node as NodeName | undefined
  const isTunnel = to.device === 'vxlan.calico'
  const enters = source.role === 'pod' ? link(cali(source)) : undefined
  const next = isTunnel ? VTEP[other!] : to.gateway!
  return {
    direction,
    from: source.role === 'pod' ? 'pod' : 'host',
    ...(enters !== undefined && { entersBy: kernel(enters) }),
    lookup: kernel({ route: to }),
    plain: kernel({ route: to }),
    ofSource: kernel({ route: wayBack(node, source) }),
    rules: kernel([]),
    wanted:
      target.role === 'pod'
        ? { route: to, origin: { of: 'learned', peer: `Mesh_${other}`, nextHop: ADDRESS[other!] } }
        : { origin: { of: 'outside' } },
    leavesBy: kernel(isTunnel ? link('vxlan.calico') : uplink(node)),
    neighbour: neighbour(next, isTunnel ? '66:00:00:00:00:03' : (MAC[other!] ?? '02:00:00:00:00:01'), isTunnel),
    ...(isTunnel && {
      outer: {
        encapsulation: 'vxlan' as const,
        remote: ADDRESS[other!],
        lookup: kernel({
          route: route({ prefix: '0.0.0.0/0', gateway: '192.0.2.1', device: 'eth0', protocol: 'static' }),
        }),
        entry: kernel({ mac: '66:00:00:00:00:03', remote: ADDRESS[other!] }),
        neighbour: neighbour('192.0.2.1', '02:00:00:00:00:01'),
        leavesBy: kernel(uplink(node)),
      },
    }),
    settings: kernel(settingsOf(enters?.name ?? 'lo')),
  }
}

const allowed = (): NodeFacts['policies'][number]['decision'] => ({
  action: 'allow',
  by: { of: 'no policy', text: 'no policy selects it' },
  passed: [],
})

/** What a healthy node answers. */
export function aNode(
  node: NodeName,
  { from, to }: Pick<Question, 'from' | 'to'>,
  change: Partial<NodeFacts> = {},
): NodeFacts {
  const isOne = from.node === to.node
  const other = [from, to].find(end => end.node !== node)?.node as NodeName | undefined
  const ways: WayFacts[] = []
  for (const [direction, source, target] of [
    ['there', from, to],
    ['back', to, from],
  ] as const) {
    const inside = source.role === 'pod' ? ('pod' as const) : ('host' as const)
    if (source.node === node && isOne) ways.push(arrivalWay(node, source, target, inside, direction))
    else if (source.node === node) ways.push(leavingWay(node, source, target, direction))
    else if (target.node === node) {
      const isTunnel = wayBack(node, source).device === 'vxlan.calico'
      ways.push(arrivalWay(node, source, target, isTunnel ? 'tunnel' : 'uplink', direction))
    }
  }
  const here = [from, to].filter(end => end.node === node && end.role === 'pod')
  return {
    node,
    version: '0.1.0',
    atMs: AT_MS,
    startedMs: AT_MS - 3_600_000,
    modelAgeMs: 0,
    endpoints: here.map(end => aPod(end)),
    ways,
    policies: here.map(end => ({
      direction: 'there' as const,
      at: end === from ? ('egress' as const) : ('ingress' as const),
      endpoint: `default/${end.pod!.name}`,
      decision: allowed(),
      enforced: 'kernel' as const,
    })),
    masqueraded: model(false),
    connections: kernel([]),
    connectionTable: kernel({ count: 100, most: 262_144 }),
    sessions: model(other === undefined ? [] : [aSession(other)]),
    blocks: model([from, to].flatMap(end => (end.role !== 'pod' ? [] : [aBlock(end)]))),
    path: { value: other === undefined ? undefined : aPath(node, other), of: 'probe', ageMs: 1000 },
    hooks: kernel([]),
    conditions: [],
    recent: [],
    ...change,
  }
}

export function aSession(node: NodeName, change: object = {}) {
  return {
    peer: `Mesh_${node}`,
    address: ADDRESS[node],
    node,
    state: 'Established',
    lastReceivedMs: AT_MS - 5000,
    lastSentMs: AT_MS - 5000,
    ...{ reason: '', message: '', remedy: '' },
    ...change,
  }
}

export const aBlock = (end: End, change: object = {}) => ({
  address: end.address,
  pool: '10.244.0.0/16',
  block: `10.244.${end.node!.slice(1)}.0/26`,
  owner: end.node!,
  ...change,
})

export function aPath(from: NodeName, node: NodeName, change: object = {}) {
  const encapsulation = (from === 'n3') !== (node === 'n3') ? ('vxlan' as const) : ('direct' as const)
  return {
    node,
    encapsulation,
    state: 'passes' as const,
    sinceMs: AT_MS - 60_000,
    lastAnswerMs: AT_MS - 1000,
    ...change,
  }
}

export const aTrace = (node: string, change: Partial<TraceFacts> = {}): TraceFacts => ({
  node,
  direction: 'there',
  ...{ sent: 3, cameIn: 3, left: 3, reversePathDrops: 0, incomplete: false },
  ...change,
})

export const answered = (facts: NodeFacts): NodeAnswer => ({ node: facts.node, ms: 7, facts })
export const silent = (node: string, away = false): NodeAnswer => ({ node, ms: 0, silent: 'it does not answer', away })

type Change = (facts: NodeFacts) => void
export type World = {
  question: Question
  near?: NodeAnswer | undefined
  far?: NodeAnswer | undefined
  traces?: TraceFacts[]
  toService?: TraceFacts
}

/** A healthy pair, of which each end's answer was changed. */
export function aPair(
  from: End,
  to: End,
  { near, far, packet }: { near?: Change; far?: Change; packet?: Partial<Question['packet']> } = {},
): World {
  const question = aQuestion(from, to, packet)
  const of = (end: End, change: Change | undefined) => {
    if (end.node === undefined) return undefined
    const facts = aNode(end.node as NodeName, question)
    change?.(facts)
    return answered(facts)
  }
  const nearAnswer = of(from, near)
  return { question, near: nearAnswer, far: from.node === to.node ? nearAnswer : of(to, far) }
}

export function walked({ question, near, far, traces, toService }: World) {
  return walk(question, near, far, { traces, toService })
}

/** The way of a direction in an answer that a change may alter. */
export function wayOf(facts: NodeFacts, direction: WayFacts['direction'] = 'there'): WayFacts {
  return facts.ways.find(each => each.direction === direction)!
}
