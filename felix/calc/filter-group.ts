// The part of the pod filter that is no pod's own: its tables, and the IPv4 addresses of all nodes, this one's too. Several
// nodes may claim one address: it is known while one of them does.
import { isDeepStrictEqual } from 'node:util'
import { nftElementKey } from '../../kernel/reconcile/objects.ts'
import type { Desired } from '../desired.ts'
import type { ThisNode } from '../input.ts'
import type { Output } from './output.ts'
import { nodeElement, type PodFilterMarks, podFilterPrograms, type TunnelFacts, thisNodeElement } from './pod-filter.ts'

type Outputs = { readonly [K in 'nftTable' | 'nftElement']: Output<Desired[K]> }

export class FilterGroup {
  readonly #marks: PodFilterMarks | undefined
  readonly #outputs: Outputs
  readonly #byNode = new Map<string, string>()
  readonly #claims = new Map<string, number>()
  #own: string | undefined
  #node: ThisNode | undefined
  #tunnels: TunnelFacts | undefined

  /** Without `marks` nothing is wanted. */
  constructor(marks: PodFilterMarks | undefined, outputs: Outputs) {
    this.#marks = marks
    this.#outputs = outputs
  }

  /** Takes in the address of a node, or that it has none. */
  updateNode(name: string, address: string | undefined): void {
    const before = this.#byNode.get(name)
    if (before === address) return
    if (address === undefined) this.#byNode.delete(name)
    else this.#byNode.set(name, address)
    if (before !== undefined) this.#count(before, -1)
    if (address !== undefined) this.#count(address, 1)
  }

  /** Takes in what the tables depend on, once this node is known. The same again costs nothing. */
  updateHere(node: ThisNode | undefined, tunnels: TunnelFacts): void {
    if (this.#marks === undefined || node === undefined) return
    if (this.#node === node && isDeepStrictEqual(this.#tunnels, tunnels)) return
    this.#node = node
    this.#tunnels = tunnels
    const { nftTable, nftElement } = this.#outputs
    for (const [key, program] of podFilterPrograms(this.#marks, tunnels)) nftTable.want(key, program)
    const own = thisNodeElement(this.#marks, addressOf(node))
    const key = nftElementKey(own)
    if (this.#own !== undefined && this.#own !== key) nftElement.want(this.#own, undefined)
    nftElement.want(key, own)
    this.#own = key
  }

  #count(address: string, change: 1 | -1): void {
    const claims = (this.#claims.get(address) ?? 0) + change
    if (claims === 0) this.#claims.delete(address)
    else this.#claims.set(address, claims)
    const element = this.#marks && nodeElement(this.#marks, address)
    if (element !== undefined) this.#outputs.nftElement.want(nftElementKey(element), claims === 0 ? undefined : element)
  }
}

/** The IPv4 address of a node without its mask. */
export function addressOf({ ipv4 }: ThisNode): string {
  return ipv4.split('/')[0]!
}
