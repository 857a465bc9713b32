// Automatic route reflectors, as the ClusterInformation names them. They take the place of the mesh: its sessions with them stay, those
// between other nodes go. So nodes that are not in the mesh (reflectors that people made) have no part in it. Pure. Hazards: the
// program that names reflectors can be away, so where fewer than two of those it named are there, every node has sessions with all. What
// it wrote can be deleted, edited or put back from a backup while others need this node's reflection: such a word is not followed.
// Every node then has sessions with all, and reflectors go on reflecting and say so, until that program has written a later step.
import { isDeepStrictEqual } from 'node:util'
import { isLaterStep, LEAST_REFLECTORS, MOST_REFLECTORS, type ReflectorState } from '../../api/reflectors.ts'
import type { KnownNodes } from './known-nodes.ts'
import { addressesOf, type NodeFacts, routerIdOf } from './nodes.ts'

/** What is asked of a node of the mesh. */
export type ReflectionAsked = {
  step: number
  mesh: 'whole' | 'thin'
  /** Of each reflector its addresses, by its name. */
  reflectors: ReadonlyMap<string, readonly string[]>
  /** This node is one of them. */
  reflects: boolean
  /** What is written there now is not what this node goes by: `step` is what it followed last. */
  held: boolean
  nodeName: string
  /** The BGP identifiers of all nodes of the mesh. */
  members: () => ReadonlySet<string>
}

/** Which of the nodes reflect, for one node. */
export class Reflection {
  readonly #nodeName: string
  readonly #nodes: Pick<KnownNodes, 'get' | 'all'>
  /** What is written now. */
  #told: ReflectorState | undefined
  /** What this node followed last; it stays known after the end, so that an old one that comes back is known for it. */
  #followed: ReflectorState | undefined
  #goesBy: 'told' | 'held' | 'nothing' = 'nothing'
  #names: ReadonlySet<string> = new Set()

  constructor(nodeName: string, nodes: Pick<KnownNodes, 'get' | 'all'>) {
    this.#nodeName = nodeName
    this.#nodes = nodes
  }

  set(state: ReflectorState | undefined): void {
    this.#told = state
    this.#look()
  }

  /** A Node changed, appeared, or went: whether others reflect by it, or sessions are other ones. */
  nodeChanged(name: string): boolean {
    if (this.#followed?.nodes.includes(name) !== true) return false
    const before = [this.#names, this.#goesBy]
    this.#look()
    return !isDeepStrictEqual([this.#names, this.#goesBy], before)
  }

  has(name: string): boolean {
    return this.#names.has(name)
  }

  /** Whether two nodes have a session by the mesh: all have, or those with a reflector alone. */
  joins(one: string, other: string): boolean {
    const isThin = this.#mesh === 'thin' && this.#names.size >= LEAST_REFLECTORS
    return !isThin || this.has(one) || this.has(other)
  }

  /** What this node, as one of the mesh, has to say of reflectors; undefined: nothing. */
  asked(): ReflectionAsked | undefined {
    if (this.#followed === undefined || this.#goesBy === 'nothing') return undefined
    const reflectors = new Map([...this.#names].map(name => [name, addressesOf(this.#nodes.get(name))]))
    const members = () => new Set([...this.#nodes.all()].filter(isInMesh).map(routerIdOf))
    const [nodeName, held] = [this.#nodeName, this.#goesBy === 'held']
    return {
      ...{ step: this.#followed.step, mesh: this.#mesh, reflectors, reflects: this.has(nodeName), held },
      ...{ nodeName, members },
    }
  }

  get #mesh(): ReflectorState['mesh'] {
    return this.#goesBy === 'told' ? this.#followed!.mesh : 'whole'
  }

  #look(): void {
    const told = this.#told
    if (told !== undefined && this.#follows(told)) {
      this.#followed = told
      this.#goesBy = 'told'
    } else this.#goesBy = told === undefined && !this.has(this.#nodeName) ? 'nothing' : 'held'
    this.#names = this.#goesBy === 'nothing' ? new Set() : this.#there(this.#followed!)
  }

  #follows(told: ReflectorState): boolean {
    const before = this.#followed
    if (before === undefined || isDeepStrictEqual(told, before)) return true
    if (!isLaterStep(told.step, before.step)) return false
    if (!this.has(this.#nodeName) || told.nodes.includes(this.#nodeName)) return true
    // who begins again may not know yet that this node goes on, and names it once it does, where there is room for one more
    if (this.#goesBy === 'held') return told.nodes.length >= MOST_REFLECTORS
    // a reflector goes by a move of its own, once all nodes have said that they can do without it; who takes another one, or names one,
    // with the same word knows nothing of those that still need this node
    const others = [...this.#there(before)].filter(name => name !== this.#nodeName)
    return others.every(name => told.nodes.includes(name)) && told.nodes.every(name => before.nodes.includes(name))
  }

  #there({ nodes }: ReflectorState): Set<string> {
    const there = nodes.filter(name => {
      const facts = this.#nodes.get(name)
      return facts !== undefined && isInMesh(facts)
    })
    return new Set(there)
  }
}

/** Whether a node takes part where there is a mesh. */
function isInMesh({ address, ipv6Address, clusterId }: NodeFacts): boolean {
  return (address !== undefined || ipv6Address !== undefined) && clusterId === undefined
}
