// A cluster and its routers on paper: real speakers over a network in memory, until nothing moves any more, and then the ways of
// packets by what each would route. Hazard: a mesh has a session for each pair of nodes, so the number of sessions is bounded.

import { NODE_ANNOTATION } from '../../api/core.ts'
import type { IpPool } from '../../api/pools.ts'
import { atRest, MemoryNetwork, type PathFault } from '../../bgp/simulation/memory-transport.ts'
import { ManualClock } from '../../lib/clock.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import { maskedAddresses } from '../cluster/nodes.ts'
import { bgpSettings } from '../cluster/settings.ts'
import type { Machine, SimulatedHop } from './machine.ts'
import { PaperNode } from './paper-node.ts'
import { PaperRouter } from './paper-router.ts'
import { asPublished, blocksOf, type Gone, NOTHING_GONE, type Topology } from './topology.ts'
import { type Host, placeOf, Underlay } from './underlay.ts'

/** Ends of sessions of one simulation, at the most: of a mesh of 200 nodes each has 199. About 20 kB each. */
export const MOST_ENDS = 40_000
/** The clock is moved on so often, by so much: what did not come up at once is tried again, and no keepalive is due. */
const STEPS = 3
const STEP_MS = 12_000
/** What a plain packet of IP begins with, as Linux sends it. */
const USUAL_TTL = 64
const MOST_TTL = 255

/** Too many sessions. */
export class TooLarge extends Error {}

/** The machine at which a packet ends before it arrives, and why. */
export type DeadEnd = {
  at: string
  why: 'no-route' | 'no-way' | 'next-hop-lost' | 'nobody' | 'loop'
  nextHop?: string
}

export class Simulation {
  readonly machines: ReadonlyMap<string, Machine>
  readonly underlay: Underlay
  readonly pools: readonly IpPool[]
  readonly #faults: ReadonlyMap<string, string>
  readonly #tables = new Map<string, PrefixIndex<string>>()
  /** Machines and prefixes that packets arrive at from there on every way. */
  readonly #arrives = new Set<string>()

  /** `faults`: what kept machines from connecting to addresses, by both. */
  constructor(
    machines: ReadonlyMap<string, Machine>,
    { underlay, pools, faults }: Pick<Simulation, 'underlay' | 'pools'> & { faults: ReadonlyMap<string, string> },
  ) {
    this.machines = machines
    this.underlay = underlay
    this.pools = pools
    this.#faults = faults
  }

  /** What on paper kept a machine from connecting to an address. */
  faultOf(name: string, address: string): string | undefined {
    return this.#faults.get(`${name} ${address}`)
  }

  /** Where packets of a machine to a prefix go next: by the longest prefix that holds it. */
  next(name: string, prefix: string): { prefix: string; hops: readonly SimulatedHop[] } | undefined {
    const machine = this.machines.get(name)!
    let table = this.#tables.get(name)
    if (table === undefined) {
      table = new PrefixIndex()
      for (const each of machine.prefixes()) table.set(parsePrefix(each)!, each)
      this.#tables.set(name, table)
    }
    const found = table.match(parsePrefix(prefix)!)
    return found === undefined ? undefined : { prefix: found, hops: machine.hops(found) }
  }

  /** Where packets of a machine to a prefix end on the first way on which they do not arrive; undefined where they arrive on every one. */
  deadEnd(from: string, prefix: string): DeadEnd | undefined {
    return this.#deadEnd(from, prefix, [])
  }

  #deadEnd(from: string, prefix: string, seen: readonly string[]): DeadEnd | undefined {
    // many equal paths meet again in one machine, in each layer of a Clos: it is looked at once. Behind one that arrives is no loop
    const key = `${from} ${prefix}`
    if (this.#arrives.has(key)) return undefined
    if (seen.includes(from)) return { at: from, why: 'loop' }
    if (!this.machines.get(from)!.own.includes(prefix)) {
      const next = this.next(from, prefix)
      if (next === undefined) return { at: from, why: 'no-route' }
      if (next.hops.length === 0) return { at: from, why: 'no-way' }
      for (const { nextHop } of next.hops) {
        const machine = this.underlay.ownerOf(nextHop)
        if (machine === undefined) return { at: from, why: 'nobody', nextHop }
        if (!this.machines.has(machine) || !this.underlay.reaches(from, nextHop))
          return { at: from, why: 'next-hop-lost', nextHop }
        const end = this.#deadEnd(machine, prefix, [...seen, from])
        if (end !== undefined) return end
      }
    }
    this.#arrives.add(key)
    return undefined
  }

  async close(): Promise<void> {
    await Promise.all([...this.machines.values()].map(machine => machine.close()))
  }
}

/** Whom each prefix belongs to: of those that several originate, as ranges of Services, the first. */
export function ownersOf({ machines }: Simulation): Map<string, string> {
  const owners = new Map<string, string>()
  for (const { name, own } of machines.values()) for (const each of own) if (!owners.has(each)) owners.set(each, name)
  return owners
}

/** Rejects with `TooLarge`. Without what is `gone` it is as if that had lost its power: the objects stay. */
export async function simulate(topology: Topology, gone: Gone = NOTHING_GONE): Promise<Simulation> {
  const blocks = blocksOf(topology)
  const nodes = topology.all('Node').map(node => asPublished(node, blocks.get(node.metadata.name) ?? []))
  if (leastEnds(topology) > MOST_ENDS) throw tooLarge()
  const published: Topology = { ...topology, all: kind => (kind === 'Node' ? nodes : topology.all(kind)) as never }
  const hosts = hostsOf(topology)
  const underlay = new Underlay(hosts, gone)
  const network = new MemoryNetwork()
  const faults = new Map<string, string>()
  network.path = attempt => {
    const fault = pathFault(underlay, attempt)
    if (fault !== undefined) faults.set(`${underlay.ownerOf(attempt.from)} ${attempt.dialled.address}`, fault.message)
    return fault
  }
  const clock = new ManualClock()
  const machines = new Map<string, Machine>()
  for (const { name, addresses } of hosts) {
    if (gone.machines.has(name)) continue
    const transport = network.host(addresses[0] === undefined ? '' : placeOf(addresses[0]).address)
    const node = nodes.find(({ metadata }) => metadata.name === name)
    const router = topology.routers.find(each => each.name === name)
    if (node !== undefined)
      machines.set(name, new PaperNode(node, { topology: published, blocks: blocks.get(name) ?? [], transport, clock }))
    else machines.set(name, new PaperRouter(router!, { transport, clock }))
  }
  const simulation = new Simulation(machines, { underlay, pools: topology.all('IPPool'), faults })
  const all = [...machines.values()]
  let ends = 0
  for (const machine of all) {
    await machine.open()
    ends += machine.sessions().length
    if (ends > MOST_ENDS) {
      await simulation.close()
      throw tooLarge()
    }
  }
  const isIdle = () => all.every(({ idle }) => idle)
  await atRest(network, isIdle)
  for (let i = 0; i < STEPS; i++) {
    clock.advance(STEP_MS)
    await atRest(network, isIdle)
  }
  return simulation
}

/** The nodes and routers with their addresses. */
export function hostsOf({ all, routers }: Topology): Host[] {
  return [
    ...all('Node').map(node => ({
      ...{ name: node.metadata.name, forwards: false },
      addresses: maskedAddresses(node).filter(each => each !== undefined),
    })),
    ...routers.map(({ name, addresses }) => ({ name, addresses, forwards: true })),
  ]
}

function tooLarge(): TooLarge {
  return new TooLarge(`more than ${MOST_ENDS / 2} sessions`)
}

/** The ends of sessions of the mesh; of BGPPeers it shows only as they are made. */
function leastEnds({ all }: Topology): number {
  const cluster = all('BGPConfiguration').find(({ metadata }) => metadata.name === 'default')
  if (!bgpSettings(cluster).nodeToNodeMeshEnabled) return 0
  const nodes = all('Node').filter(
    ({ metadata: { annotations = {} } }) => !annotations[NODE_ANNOTATION.routeReflectorClusterId],
  )
  return nodes.length * (nodes.length - 1)
}

type Attempt = Parameters<MemoryNetwork['path']>[0]

/** What of links, routers, TTLs and passwords keeps a connection from being made. */
function pathFault(underlay: Underlay, { from, dialled, accepted }: Attempt): PathFault | undefined {
  const { address } = dialled
  const name = underlay.ownerOf(from)
  if (name === undefined) return { code: 'EADDRNOTAVAIL', message: `nobody has the source address ${from}` }
  if (underlay.ownerOf(address) === undefined)
    return { code: 'ETIMEDOUT', message: `nobody of the topology has ${address}` }
  if (!underlay.reaches(name, address))
    return { code: 'EHOSTUNREACH', message: `on paper no link and no router leads from ${from} to ${address}` }
  if (accepted === undefined) return undefined
  const lost = (message: string): PathFault => ({ code: 'ETIMEDOUT', message })
  if (dialled.password !== accepted.password) return lost('the passwords of both ends differ')
  const routers = underlay.isOnLink(name, address) ? 0 : 1
  for (const [sender, receiver] of [
    [dialled, accepted],
    [accepted, dialled],
  ] as const) {
    const sent = sender.ttlSecurity === undefined ? (sender.ttl ?? USUAL_TTL) : MOST_TTL
    if (sent <= routers) return lost('a router is between, and one end sends packets for a link alone: multihop')
    if (receiver.ttlSecurity !== undefined && sent - routers < MOST_TTL + 1 - receiver.ttlSecurity)
      return lost('packets have come over more hops than the TTL security of the other end lets')
  }
  return undefined
}
