// What is wrong on paper, by cause and with a remedy. Pure, but that it asks the machines.
import { type IpPool, nodesExchange, poolOf } from '../../api/pools.ts'
import { type Condition, conditionKey } from '../../api/status.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import { parseAddress } from '../../lib/ip.ts'
import type { Machine } from './machine.ts'
import { type DeadEnd, ownersOf, type Simulation } from './simulation.ts'

/** `risk`: all works, and one loss takes it away. `machines`: whom it concerns. */
export type Finding = {
  severity: 'fault' | 'risk'
  reason: string
  machines: readonly string[]
  message: string
  remedy: string
}

/** A prefix of one machine to which a node has no way. */
export type CutOff = { from: string; to: string; prefix: string; end: DeadEnd }

/** The nodes that have no way to what another machine of the topology originates. */
export function cutOffs(simulation: Simulation): CutOff[] {
  const { machines } = simulation
  const nodes = [...machines.values()].filter(({ isNode }) => isNode)
  return [...ownersOf(simulation)].flatMap(([prefix, to]) =>
    // what only routers have may be none of the cluster's business: those ask for it who have a filter
    machines.get(to)!.isNode
      ? nodes.flatMap(({ name: from }) => {
          const end = from === to ? undefined : simulation.deadEnd(from, prefix)
          return end === undefined ? [] : [{ from, to, prefix, end }]
        })
      : [],
  )
}

export function findingsOf(simulation: Simulation, cut: readonly CutOff[]): Finding[] {
  const machines = [...simulation.machines.values()]
  return [
    ...refusals(machines),
    ...deadSessions(simulation),
    ...lostPrefixes(simulation, cut),
    ...singleReflectors(simulation),
  ]
}

/** What agents refuse of their configuration; told once where many nodes say the same. */
function refusals(machines: readonly Machine[]): Finding[] {
  const all = machines.flatMap(machine => machine.refused().map(condition => ({ name: machine.name, condition })))
  const same = Map.groupBy(all, ({ condition }) => `${conditionKey(condition)} ${condition.message}`)
  return [...same.values()].map(each => {
    const { reason, message, remedy } = each[0]!.condition
    return { ...{ severity: 'fault', reason, message, remedy }, machines: each.map(({ name }) => name) }
  })
}

/** A session is told once, though it has two ends. */
function deadSessions(simulation: Simulation): Finding[] {
  const { machines, underlay } = simulation
  const told = new Set<string>()
  return [...machines.values()].flatMap(machine =>
    machine.sessions().flatMap((session): Finding[] => {
      if (session.state === 'Established') return []
      if (parseAddress(session.address) === undefined) return [notSimulated(machine.name, session)]
      const far = underlay.ownerOf(session.address)
      const pair = [machine.name, far ?? session.address].sort().join(' ')
      if (told.has(pair)) return []
      told.add(pair)
      const others = far === undefined ? undefined : machines.get(far)
      const back = others?.sessions().find(({ address }) => underlay.ownerOf(address) === machine.name)
      const fault =
        simulation.faultOf(machine.name, session.address) ?? (back && simulation.faultOf(far!, back.address))
      const { reason, why, remedy } = causeOf(machine.name, far, { here: session, there: back, fault })
      const message = `session ${session.name} of ${machine.name} with ${far ?? session.address} does not come up: ${why}`
      return [
        { severity: 'fault', reason, machines: [machine.name, ...(far === undefined ? [] : [far])], message, remedy },
      ]
    }),
  )
}

/** A session of an interface has no address before a neighbour is seen there, and nobody is on paper. */
function notSimulated(name: string, { name: session }: PeerStatus): Finding {
  return {
    ...{ severity: 'risk', reason: 'NotSimulated', machines: [name] },
    message: `session ${session} of ${name} is by an interface, and such sessions are left out on paper`,
    remedy: 'give both ends addresses in the topology to see what it would carry',
  }
}

type Cause = { reason: string; why: string; remedy: string }

/** `fault`: what on paper is between both. */
type Ends = { here: PeerStatus; there: PeerStatus | undefined; fault: string | undefined }

function causeOf(name: string, far: string | undefined, { here, there, fault }: Ends): Cause {
  if (far === undefined)
    return {
      reason: 'NobodyThere',
      why: `no machine of the topology has ${here.address}`,
      remedy: 'describe the router that has it, or correct the address of the peer',
    }
  if (there === undefined)
    return {
      reason: 'OneSided',
      why: `${far} has no session with ${name}`,
      remedy: `configure ${name} as a neighbour of ${far}, at the address that it connects from`,
    }
  // who was refused knows more than who only waits
  const ends = [here, there]
  const told = ends.find(({ reason }) => reason?.code === 'wrong-as' || reason?.code === 'bad-open')
  const {
    code = 'never-tried',
    detail = '',
    remedy = '',
  } = (told ?? ends.find(({ reason }) => reason !== undefined && reason.code !== 'never-tried') ?? here).reason ?? {}
  if (code === 'never-tried')
    return { reason: 'BothWait', why: 'both ends wait for the other one to dial', remedy: 'let one end dial' }
  return { reason: pascal(code), why: fault ?? detail, remedy }
}

function pascal(code: string): string {
  return code
    .split('-')
    .map(word => (word === 'as' ? 'AS' : word[0]!.toUpperCase() + word.slice(1)))
    .join('')
}

function lostPrefixes(simulation: Simulation, cut: readonly CutOff[]): Finding[] {
  const back = new Set(cut.map(({ from, to }) => `${from} ${to}`))
  const causes = cut.map(each => ({ each, cause: causeOfLoss(simulation, each) }))
  return [...Map.groupBy(causes, ({ cause }) => `${cause.reason} ${cause.why}`).values()].map(group => {
    const { reason, why, remedy } = group[0]!.cause
    const pairs = group.map(({ each }) => each)
    const oneWay = pairs.filter(({ from, to }) => !back.has(`${to} ${from}`))
    const from = [...new Set(pairs.map(each => each.from))]
    const to = [...new Set(pairs.map(each => `${each.prefix} of ${each.to}`))]
    const half =
      oneWay.length === 0
        ? ''
        : `; the way back works for ${oneWay.length === pairs.length ? 'all' : oneWay.length} of them, so answers are lost`
    return {
      ...{ severity: 'fault', reason: oneWay.length > 0 && reason === 'Filtered' ? 'AsymmetricFilter' : reason },
      ...{ machines: from, remedy },
      message: `${some(from)} ${from.length === 1 ? 'has' : 'have'} no way to ${some(to)}: ${why}${half}`,
    }
  })
}

/** The first three, and how many more. */
export function some(names: readonly string[]): string {
  return names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`
}

/** Why packets of a node to a prefix end where they end; of another machine than the node the text says which. */
function causeOfLoss(simulation: Simulation, { from, prefix, end }: CutOff): Cause {
  const cause = causeAt(simulation, prefix, end)
  return end.at === from || end.why === 'loop'
    ? cause
    : { ...cause, why: `packets get as far as ${end.at}: ${cause.why}` }
}

function causeAt(simulation: Simulation, prefix: string, { at, why, nextHop }: DeadEnd): Cause {
  const machine = simulation.machines.get(at)!
  switch (why) {
    case 'loop':
      return {
        reason: 'ForwardingLoop',
        why: `the ways of ${at} and of those after it lead back to ${at}`,
        remedy:
          'let one of them take its next hop from who announces the prefix: look at nextHopMode and at LOCAL_PREF',
      }
    case 'nobody':
      return {
        reason: 'NextHopUnknown',
        why: `next hop ${nextHop} belongs to no machine of the topology`,
        remedy: 'describe the router that has it, or let the peer say itself as next hop (nextHopSelf)',
      }
    case 'next-hop-lost':
      return {
        reason: 'NextHopUnreachable',
        why: `next hop ${nextHop} cannot be reached on paper`,
        remedy: 'join both by a link or a router, or let the router between say itself as next hop (nextHopSelf)',
      }
    case 'no-way': {
      const { reason, message, remedy } = machine.noWay(simulation.next(at, prefix)?.prefix ?? prefix) ?? NO_WORD
      return { reason, why: message, remedy }
    }
    case 'no-route':
      return whyNoRoute(simulation, machine, prefix)
  }
}

const NO_WORD: Pick<Condition, 'reason' | 'message' | 'remedy'> = {
  reason: 'NoWay',
  message: 'the kernel gets no route',
  remedy: 'look at the IPPools and at the addresses of the nodes',
}

function whyNoRoute({ machines, underlay, pools }: Simulation, machine: Machine, prefix: string): Cause {
  const refused = machine.explain(prefix).candidates.find(({ import: { accepted } }) => !accepted)
  if (refused !== undefined) {
    const { reason, detail } = refused.import
    if (reason === 'as-loop')
      return {
        reason: 'ASLoop',
        why: `its own AS number is in the path that it hears, ${refused.attributes.asPath ?? ''}`,
        remedy:
          'give each rack an AS number of its own (annotation margay.io/ASNumberLabel of the BGPConfiguration), or set numAllowedLocalASNumbers of the BGPPeer',
      }
    if (reason === 'policy') return { ...FILTERED, why: `import refuses it, ${detail}` }
    return { reason: pascal(reason), why: `it is refused: ${detail}`, remedy: REMEDIES[reason] ?? LOOK }
  }
  const pool = poolOf(pools, prefix)
  const inside = pool?.spec.disableBGPExport === true ? keptInside(pool) : undefined
  // no filter lets it out to a router
  if (inside !== undefined && !machine.isNode) return inside
  for (const other of machines.values()) {
    const up = other
      .sessions()
      .filter(({ address, state }) => state === 'Established' && underlay.ownerOf(address) === machine.name)
    if (up.length === 0) continue
    const withheld = other.explain(prefix).withheld.find(({ peers }) => up.some(({ name }) => peers.includes(name)))
    if (withheld?.reason.startsWith('policy'))
      return { ...FILTERED, why: `${other.name} does not pass it on, ${withheld.reason}` }
  }
  if (inside !== undefined) return inside
  return {
    reason: 'Partition',
    why: 'nobody announces it there',
    remedy: 'join them: by the mesh, by a route reflector, or by a router that passes routes on',
  }
}

/** What `disableBGPExport` of an IPPool does where packets need a route. */
function keptInside(pool: IpPool): Cause {
  const { name } = pool.metadata
  if (!nodesExchange(pool))
    return {
      reason: 'NotExported',
      why: `IPPool ${name} has disableBGPExport and no tunnel, so that its blocks are told to nobody`,
      remedy:
        'set its ipipMode or vxlanMode, or disableBGPExport to false and reject its blocks by a BGPFilter at routers outside',
    }
  return {
    reason: 'NotExported',
    why: `IPPool ${name} has disableBGPExport, so that nodes tell its blocks to nodes alone`,
    remedy: 'join the nodes by the mesh or by nodes that are route reflectors, or set disableBGPExport to false',
  }
}

const FILTERED = {
  reason: 'Filtered',
  remedy: 'let the BGPFilters of the BGPPeer accept it, at both ends alike, or put it into an IPPool',
} as const

const LOOK = 'look at the AS numbers, cluster ids and BGP identifiers of both ends'
const REMEDIES: Readonly<Record<string, string>> = {
  'own-next-hop': 'let the peer say itself as next hop (nextHopSelf)',
  owned: 'announce it from the node that owns it alone',
  'cluster-loop': 'give reflectors that serve different clients cluster ids of their own',
}

/** Nodes that hear of the others by one reflector alone. */
function singleReflectors({ machines, underlay }: Simulation): Finding[] {
  const by = new Map<string, string[]>()
  for (const machine of machines.values()) {
    if (!machine.isNode) continue
    const { name } = machine
    const up = machine.sessions().filter(({ state }) => state === 'Established')
    const [only, ...others] = [...new Set(up.flatMap(({ address }) => underlay.ownerOf(address) ?? []))]
    if (only !== undefined && others.length === 0 && serves(machines.get(only)!) > 1)
      by.set(only, [...(by.get(only) ?? []), name])
  }
  return [...by].map(([reflector, nodes]) => ({
    ...{ severity: 'risk', reason: 'SinglePeer', machines: nodes },
    message: `${some(nodes)} ${nodes.length === 1 ? 'has' : 'have'} a session with ${reflector} alone: without it they are cut off`,
    remedy: `give them a second reflector or router beside ${reflector}`,
  }))
}

function serves(machine: Machine): number {
  return machine.sessions().filter(({ state }) => state === 'Established').length
}
