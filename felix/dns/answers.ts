// What pods were told of names, until it expires: per pod, name and address, as long as the record's TTL says. Pure; time is an
// argument. An address that is told again counts from then on; one that is not told again counts until its own time is over,
// since the pod may still use it. Hazard: a pod asks for as many names as it likes, so what is kept of it has a bound, and where
// all pods together have too much it goes from the one that has most: a pod takes nothing from another.

/** What counts of one name now, for one pod. */
export type ToldName = { pod: string; name: string; addresses: readonly string[] }
/** `ttlSeconds`: the longest with which the pod was told the address under this name. */
export type ToldAddress = { pod: string; name: string; address: string; ttlSeconds: number }
/** Names of which something else counts than before, and pods of which something was given up. */
export type AnswerChanges = { names: readonly ToldName[]; givenUp: readonly string[] }

export type AnswerBounds = { ofName: number; ofPod: number; ofNode: number }

/** An address must last for a connection: a first packet that is lost is sent again after one and after three seconds. */
const LEAST_TTL_SECONDS = 5
/** Nobody changes its address without saying so for longer (RFC 8767 §4 has a day to a week for what caches keep). */
const MOST_TTL_SECONDS = 86_400
/** Addresses. An element takes about 200 octets in the kernel, and about as much here. */
const ANSWER_BOUNDS: AnswerBounds = { ofName: 1024, ofPod: 8192, ofNode: 131_072 }
/** Of what a pod has, when it has too much: each sorting makes room for many. */
const GIVEN_UP = 1 / 8
const TICK_MS = 1000

type Known = { expiresMs: number; ttlSeconds: number }
type Name = { readonly pod: string; readonly name: string; readonly addresses: Map<string, Known>; dueTick: number }
type Pod = { readonly names: Map<string, Name>; addresses: number }

export class DomainAnswers {
  readonly #bounds: AnswerBounds
  readonly #pods = new Map<string, Pod>()
  /** Names by when an address of theirs expires at the earliest. */
  readonly #due = new Map<number, Set<Name>>()
  #tick = 0
  #size = 0

  constructor(bounds: AnswerBounds = ANSWER_BOUNDS) {
    this.#bounds = bounds
  }

  /** How many addresses count. */
  get size(): number {
    return this.#size
  }

  /** A pod was told addresses of a name. */
  tell(
    pod: string,
    name: string,
    told: readonly { address: string; ttlSeconds: number }[],
    nowMs: number,
  ): AnswerChanges {
    const of = this.#pods.get(pod) ?? { names: new Map<string, Name>(), addresses: 0 }
    const known = of.names.get(name) ?? { pod, name, addresses: new Map<string, Known>(), dueTick: Infinity }
    let isNew = false
    for (const { address, ttlSeconds } of told) {
      const ttl = Math.min(MOST_TTL_SECONDS, Math.max(LEAST_TTL_SECONDS, ttlSeconds))
      const before = known.addresses.get(address)
      if (before === undefined && known.addresses.size >= this.#bounds.ofName) continue
      const expiresMs = Math.max(before?.expiresMs ?? 0, nowMs + 1000 * ttl)
      known.addresses.set(address, { expiresMs, ttlSeconds: Math.max(before?.ttlSeconds ?? 0, ttl) })
      if (before === undefined) {
        isNew = true
        of.addresses++
        this.#size++
      }
      this.#schedule(known, expiresMs)
    }
    if (known.addresses.size === 0) return { names: [], givenUp: [] }
    of.names.set(name, known)
    this.#pods.set(pod, of)
    const changed = new Set(isNew ? [known] : [])
    const givenUp = this.#makeRoom(pod, changed)
    return { names: [...changed].map(shown), givenUp }
  }

  /** Forgets what has expired. Returns the names that lost an address. */
  expire(nowMs: number): readonly ToldName[] {
    const changed: ToldName[] = []
    const now = Math.floor(nowMs / TICK_MS)
    for (let tick = this.#tick; tick <= now && this.#due.size > 0; tick++) {
      const due = this.#due.get(tick)
      if (due === undefined) continue
      this.#due.delete(tick)
      for (const name of due) {
        name.dueTick = Infinity
        const before = name.addresses.size
        for (const [address, { expiresMs }] of name.addresses) {
          if (expiresMs <= nowMs) this.#drop(name, address)
          else this.#schedule(name, expiresMs)
        }
        if (name.addresses.size < before) changed.push(shown(name))
      }
    }
    this.#tick = now + 1
    return changed
  }

  /** A pod is gone. Returns the names that count for it no more. */
  forget(pod: string): readonly ToldName[] {
    const names = [...(this.#pods.get(pod)?.names.values() ?? [])]
    for (const name of names) {
      for (const address of name.addresses.keys()) this.#drop(name, address)
      this.#due.get(name.dueTick)?.delete(name)
    }
    return names.map(shown)
  }

  /** The names that count for a pod. */
  namesOf(pod: string): readonly ToldName[] {
    return [...(this.#pods.get(pod)?.names.values() ?? [])].map(shown)
  }

  /** All that a pod was told of a name and counts. */
  of(pod: string, name: string): ToldAddress[] {
    const known = this.#pods.get(pod)?.names.get(name)?.addresses ?? []
    return [...known].map(([address, { ttlSeconds }]) => ({ pod, name, address, ttlSeconds }))
  }

  #schedule(name: Name, expiresMs: number): void {
    const tick = Math.ceil(expiresMs / TICK_MS)
    if (this.#due.size === 0 || tick < this.#tick) this.#tick = tick
    if (name.dueTick <= tick) return
    this.#due.get(name.dueTick)?.delete(name)
    name.dueTick = tick
    const due = this.#due.get(tick)
    if (due === undefined) this.#due.set(tick, new Set([name]))
    else due.add(name)
  }

  #drop(name: Name, address: string): void {
    const pod = this.#pods.get(name.pod)!
    name.addresses.delete(address)
    pod.addresses--
    this.#size--
    if (name.addresses.size === 0) pod.names.delete(name.name)
    if (pod.names.size === 0) this.#pods.delete(name.pod)
  }

  /** Gives up what expires first of the pod, and of those that have most, where there is too much. */
  #makeRoom(pod: string, changed: Set<Name>): string[] {
    const givenUp: string[] = []
    if ((this.#pods.get(pod)?.addresses ?? 0) > this.#bounds.ofPod) givenUp.push(this.#giveUp(pod, changed))
    while (this.#size > this.#bounds.ofNode) {
      const most = [...this.#pods].reduce((a, b) => (b[1].addresses > a[1].addresses ? b : a))
      givenUp.push(this.#giveUp(most[0], changed))
    }
    return givenUp
  }

  #giveUp(pod: string, changed: Set<Name>): string {
    const { names, addresses } = this.#pods.get(pod)!
    const all = [...names.values()].flatMap(name =>
      [...name.addresses].map(([address, { expiresMs }]) => ({ name, address, expiresMs })),
    )
    all.sort((a, b) => a.expiresMs - b.expiresMs)
    for (const { name, address } of all.slice(0, Math.ceil(addresses * GIVEN_UP))) {
      this.#drop(name, address)
      if (name.addresses.size === 0) this.#due.get(name.dueTick)?.delete(name)
      changed.add(name)
    }
    return pod
  }
}

function shown({ pod, name, addresses }: Name): ToldName {
  return { pod, name, addresses: [...addresses.keys()] }
}
