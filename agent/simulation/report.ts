// What a simulation says, as values: the routes of each node and why, what is wrong, and what a loss changes. Pure, but that it asks
// the machines.
import type { Candidate } from '../../api/answers.ts'
import { type CutOff, cutOffs, type Finding, findingsOf } from './findings.ts'
import type { Machine } from './machine.ts'
import { hostsOf, ownersOf, type Simulation, simulate } from './simulation.ts'
import { type Gone, NOTHING_GONE, type Topology } from './topology.ts'
import { isHost, placeOf } from './underlay.ts'

/** `through`: whose the next hop is, as far as the topology tells. */
export type SimulatedWay = { nextHop: string; through: string | undefined; way: 'direct' | 'ipip' | 'vxlan' }

export type SimulatedRoute = {
  node: string
  prefix: string
  /** Whose it is, where a machine of the topology originates it. */
  of: string | undefined
  ways: readonly SimulatedWay[]
  why: string
}

export type SimulatedChange = {
  node: string
  prefix: string
  change: 'lost' | 'moved' | 'restored'
  before: readonly SimulatedWay[]
  after: readonly SimulatedWay[]
}

export type Loss = {
  without: readonly string[]
  changes: readonly SimulatedChange[]
  /** The nodes that have no way any more to what a machine originates that is still there. */
  cutOff: readonly { from: string; to: string; prefix: string }[]
}

export type Report = {
  nodes: number
  routers: number
  sessions: { up: number; down: number }
  routes: readonly SimulatedRoute[]
  findings: readonly Finding[]
}

/** The whole of a simulation that lost nothing. */
export function reportOf(simulation: Simulation): Report {
  const machines = [...simulation.machines.values()]
  const ends = machines.flatMap(machine => machine.sessions())
  const up = ends.filter(({ state }) => state === 'Established').length
  const nodes = machines.filter(({ isNode }) => isNode)
  return {
    ...{ nodes: nodes.length, routers: machines.length - nodes.length },
    sessions: { up: Math.ceil(up / 2), down: ends.length - up },
    routes: routesOf(simulation),
    findings: findingsOf(simulation, cutOffs(simulation)),
  }
}

function routesOf(simulation: Simulation): SimulatedRoute[] {
  const owners = ownersOf(simulation)
  return [...simulation.machines.values()]
    .filter(({ isNode }) => isNode)
    .flatMap(machine =>
      machine
        .prefixes()
        .sort()
        .map(prefix => {
          const ways = waysOf(simulation, machine, prefix)
          const why = ways.length > 0 ? whyOf(machine, prefix) : `no way: ${machine.noWay(prefix)?.message ?? ''}`
          return { node: machine.name, prefix, of: owners.get(prefix), ways, why }
        }),
    )
}

function waysOf({ underlay }: Simulation, machine: Machine, prefix: string): SimulatedWay[] {
  return machine
    .hops(prefix)
    .map(({ nextHop, way }) => ({ nextHop, through: underlay.ownerOf(nextHop), way }))
    .sort((a, b) => (a.nextHop < b.nextHop ? -1 : 1))
}

function whyOf(machine: Machine, prefix: string): string {
  const { candidates } = machine.explain(prefix)
  const accepted = candidates.filter(each => each.import.accepted)
  const used = accepted.filter(each => each.used)
  const [best] = accepted
  const path = best?.attributes.asPath ? `, AS path ${best.attributes.asPath}` : ''
  if (accepted.length === 1) return `the only path, from ${best!.peer}${path}`
  if (used.length > 1) return `${used.length} equal paths of ${accepted.length}${path}`
  return `best of ${accepted.length} ${stepText(best)}, from ${best?.peer ?? ''}${path}`
}

function stepText(best: Candidate | undefined): string {
  return best?.step === undefined ? '' : `by ${best.step}`
}

/** What a loss changes for the nodes that are left. Those of the prefixes that went with their machines are lost, and nobody is cut off from them. */
export function lossOf(before: Simulation, after: Simulation, without: readonly string[]): Loss {
  const changes: SimulatedChange[] = []
  for (const machine of after.machines.values()) {
    if (!machine.isNode) continue
    const was = before.machines.get(machine.name)!
    for (const prefix of new Set([...was.prefixes(), ...machine.prefixes()])) {
      const [old, now] = [waysOf(before, was, prefix), waysOf(after, machine, prefix)]
      const text = (ways: readonly SimulatedWay[]) => ways.map(({ nextHop, way }) => `${nextHop} ${way}`).join(' ')
      if (text(old) === text(now)) continue
      const change = now.length === 0 ? 'lost' : old.length === 0 ? 'restored' : 'moved'
      changes.push({ node: machine.name, prefix, change, before: old, after: now })
    }
  }
  const were = new Set(cutOffs(before).map(pairOf))
  const cutOff = cutOffs(after)
    .filter(each => !were.has(pairOf(each)))
    .map(({ from, to, prefix }) => ({ from, to, prefix }))
  return { without, changes, cutOff }
}

function pairOf({ from, prefix }: CutOff): string {
  return `${from} ${prefix}`
}

/**
 * The machines whose loss can cut others off: routers, which carry links, and nodes that pass on what others told them. Any other node takes
 * only its own prefixes with it, since nobody uses a path of which it is a part.
 */
export function carriers({ machines }: Simulation): string[] {
  return [...machines.values()]
    .filter(machine => !machine.isNode || passesOn(machine))
    .map(({ name }) => name)
    .sort()
}

function passesOn(machine: Machine): boolean {
  const { length } = machine.own
  return machine.sessions().some(({ prefixes }) => prefixes.announced > length)
}

/** The links, by their CIDRs. */
export function linksOf(topology: Topology): string[] {
  const all = hostsOf(topology).flatMap(({ addresses }) => addresses.map(each => placeOf(each).link))
  return [...new Set(all)].filter(link => !isHost(link)).sort()
}

/** Without each of these machines and links alone: who is cut off. */
export async function eachLoss(
  topology: Topology,
  before: Simulation,
  { machines = [], links = [] }: { machines?: readonly string[]; links?: readonly string[] },
  progress: (done: number) => void,
): Promise<Loss[]> {
  const losses: Loss[] = []
  const all: [string, Gone][] = [
    ...machines.map((name): [string, Gone] => [name, { ...NOTHING_GONE, machines: new Set([name]) }]),
    ...links.map((link): [string, Gone] => [link, { ...NOTHING_GONE, links: new Set([link]) }]),
  ]
  for (const [i, [name, gone]] of all.entries()) {
    const after = await simulate(topology, gone)
    losses.push(lossOf(before, after, [name]))
    await after.close()
    progress(i + 1)
  }
  return losses
}
