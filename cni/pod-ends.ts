// Which pod's interface an index in a numbered namespace is, by the host's ends of the pairs.
import type { Link } from '../kernel/port/links.ts'
import { INTERFACE_PREFIX } from './interface-name.ts'

/** What the host's end of a pair says of the other one. */
type End = { name: string; namespace: number; index: number; mtu: number }

export class PodEnds {
  readonly #byName = new Map<string, End>()
  readonly #byNamespace = new Map<number, Map<number, End>>()

  /** Takes in a link of the host as it is now. */
  saw({ name, kind, peer, peerNetnsId, mtu }: Link): void {
    if (kind !== 'veth' || !name.startsWith(INTERFACE_PREFIX)) return
    this.gone(name)
    if (peer === undefined || peerNetnsId === undefined) return
    const end = { name, namespace: peerNetnsId, index: peer, mtu }
    this.#byName.set(name, end)
    const ends = this.#byNamespace.get(peerNetnsId) ?? new Map<number, End>()
    this.#byNamespace.set(peerNetnsId, ends.set(peer, end))
  }

  gone(name: string): void {
    const end = this.#byName.get(name)
    if (end === undefined) return
    this.#byName.delete(name)
    const ends = this.#byNamespace.get(end.namespace)
    // another pair may be in its place by now
    if (ends?.get(end.index) === end) ends.delete(end.index)
    if (ends?.size === 0) this.#byNamespace.delete(end.namespace)
  }

  /** The pair whose end in a namespace has this index. */
  at(namespace: number, index: number): End | undefined {
    return this.#byNamespace.get(namespace)?.get(index)
  }

  /** All pairs that lead into a namespace. */
  into(namespace: number): Iterable<End> {
    return this.#byNamespace.get(namespace)?.values() ?? []
  }
}
