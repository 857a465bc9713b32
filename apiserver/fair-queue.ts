// A queue that takes turns: first between users, then between the connections of one user. A client with a thousand
// requests delays its own ones, not those of others.

type Lane<T> = Map<string, T[]>

export class FairQueue<T> {
  /** By user, then by connection; whoever was served goes to the end. */
  readonly #users = new Map<string, Lane<T>>()
  readonly #sizes = new Map<string, number>()
  readonly #limitPerUser: number

  constructor(limitPerUser: number) {
    this.#limitPerUser = limitPerUser
  }

  /** False, and nothing happens, when this user waits with too many already. */
  push(user: string, connection: string, item: T): boolean {
    const size = this.#sizes.get(user) ?? 0
    if (size >= this.#limitPerUser) return false
    this.#sizes.set(user, size + 1)
    const lane = this.#users.get(user) ?? new Map<string, T[]>()
    this.#users.set(user, lane)
    const waiting = lane.get(connection)
    if (waiting === undefined) lane.set(connection, [item])
    else waiting.push(item)
    return true
  }

  /** The next item; undefined when nobody waits. */
  shift(): T | undefined {
    const [user, lane] = firstOf(this.#users)
    if (user === undefined || lane === undefined) return undefined
    const [connection, waiting] = firstOf(lane)
    const item = waiting?.shift()
    this.#users.delete(user)
    lane.delete(connection!)
    if (waiting!.length > 0) lane.set(connection!, waiting!)
    if (lane.size > 0) this.#users.set(user, lane)
    const left = this.#sizes.get(user)! - 1
    if (left > 0) this.#sizes.set(user, left)
    else this.#sizes.delete(user)
    return item
  }
}

function firstOf<K, V>(map: ReadonlyMap<K, V>): readonly [K, V] | readonly [undefined, undefined] {
  for (const entry of map) return entry
  return [undefined, undefined]
}
