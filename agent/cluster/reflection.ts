// Automatic route reflectors, as the ClusterInformation names them. They take the place of the mesh: its sessions with them stay, those
// between other nodes go. So nodes that are not in the mesh (reflectors that people made) have no part in it. Pure. Hazard: the
// program that names reflectors can be away; where fewer than two of those it named are there, every node has sessions with all.
import { isDeepStrictEqual } from 'node:util'
import { LEAST_REFLECTORS, type ReflectorState } from '../../api/reflectors.ts'
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
  nodeName: string
  /** The BGP identifiers of all nodes of the mesh. */
  members: () => ReadonlySet<string>
}

/** Which of the nodes reflect. */
export class Reflection {
  readonly #nodes: Pick<KnownNodes, 'get' | 'all'>
  #state: ReflectorState | undefined
  #names: ReadonlySet<string> = new Set()

  constructor(nodes: Pick<KnownNodes, 'get' | 'all'>) {
    this.#nodes = nodes
  }

  set(state: ReflectorState | undefined): void {
    this.#state = state
    this.#look()
  }

  /** A Node changed, appeared, or went: whether others reflect by it. */
  nodeChanged(name: string): boolean {
    if (this.#state?.nodes.includes(name) !== true) return false
    const before = this.#names
    this.#look()
    return !isDeepStrictEqual(this.#names, before)
  }

  has(name: string): boolean {
    return this.#names.has(name)
  }

  /** Whether two nodes have a session by the mesh: all have, or those with a reflector alone. */
  joins(one: string, other: string): boolean {
    const isThin = this.#state?.mesh === 'thin' && this.#names.size >= LEAST_REFLECTORS
    return !isThin || this.has(one) || this.has(other)
  }

  /** What a node of the mesh has to say of reflectors; undefined: nothing. */
  askedOf(nodeName: string): ReflectionAsked | undefined {
    if (this.#state === undefined) return undefined
    const { step, mesh } = this.#state
    const reflectors = new Map([...this.#names].map(name => [name, addressesOf(this.#nodes.get(name))]))
    const members = () => new Set([...this.#nodes.all()].filter(isInMesh).map(routerIdOf))
    return { step, mesh, reflectors, reflects: this.has(nodeName), nodeName, members }
  }

  #look(): void {
    const there = (this.#state?.nodes ?? []).filter(name => {
      const facts = this.#nodes.get(name)
      return facts !== undefined && isInMesh(facts)
    })
    this.#names = new Set(there)
  }
}

/** Whether a node takes part where there is a mesh. */
function isInMesh({ address, ipv6Address, clusterId }: NodeFacts): boolean {
  return (address !== undefined || ipv6Address !== undefined) && clusterId === undefined
}
