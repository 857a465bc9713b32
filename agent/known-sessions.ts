// The sessions of this node by the keys under which the speaker knows them, and by the names that people know. The session with a neighbour
// of a range is the range's: one is known here while the speaker has it.
import { neighbourOf } from './cluster/range-keys.ts'
import { neighbourName, type PeerOrigin, type Session } from './cluster/sessions.ts'
import { PEER_GROUP } from './cluster/trust.ts'

type Known = { session: Session; origin: PeerOrigin | undefined }

export class KnownSessions {
  readonly #sessions = new Map<string, Known>()
  /** The keys of neighbours of ranges. */
  readonly #neighbours = new Set<string>()
  /** By names. */
  readonly #keys = new Map<string, string>()
  /** Those that are no nodes, outside the cluster or pods, but for neighbours: a few of thousands. */
  readonly #outside = new Set<string>()

  /** The session, or the range of a neighbour. */
  get(key: string): Known | undefined {
    return this.#sessions.get(key) ?? this.#sessions.get(neighbourOf(key)?.range ?? '')
  }

  set(key: string, known: Known): void {
    const theirs =
      known.session.range === undefined ? [] : this.#neighbours.values().filter(each => this.#isOf(each, key))
    const named = [key, ...theirs]
    for (const each of named) this.#forgetName(each)
    this.#sessions.set(key, known)
    for (const each of named) this.#keys.set(this.nameOf(each), each)
    if (known.session.group === PEER_GROUP.cluster) this.#outside.delete(key)
    else this.#outside.add(key)
  }

  /** The speaker has a peer by this key; remembers one that is a neighbour of a range. */
  met(key: string): void {
    if (this.#sessions.has(key) || this.#neighbours.has(key) || neighbourOf(key) === undefined) return
    this.#neighbours.add(key)
    this.#keys.set(this.nameOf(key), key)
  }

  delete(key: string): void {
    this.#forgetName(key)
    this.#sessions.delete(key)
    this.#neighbours.delete(key)
    this.#outside.delete(key)
  }

  /** What people call a session; what is none keeps its name. */
  nameOf(key: string): string {
    const own = this.#sessions.get(key)?.session.name
    if (own !== undefined) return own
    const { range = '', address = '' } = neighbourOf(key) ?? {}
    const { origin } = this.#sessions.get(range) ?? {}
    return origin === undefined ? key : neighbourName(origin, address)
  }

  /** Undefined where no session is called so. */
  keyOf(name: string): string | undefined {
    return this.#keys.get(name)
  }

  entries(): MapIterator<[key: string, known: Known]> {
    return this.#sessions.entries()
  }

  /** The keys of neighbours of ranges. */
  neighbours(): readonly string[] {
    return [...this.#neighbours]
  }

  /** The keys of sessions and ranges that are outside the cluster, and those of pods. */
  outside(): readonly string[] {
    return [...this.#outside]
  }

  #isOf(neighbour: string, range: string): boolean {
    return neighbourOf(neighbour)?.range === range
  }

  #forgetName(key: string): void {
    const name = this.nameOf(key)
    // another session may have it by now
    if (this.#keys.get(name) === key) this.#keys.delete(name)
  }
}
