// What pods were told of names, until it expires: per pod, name and address, as long as the record's TTL says. Pure; time is an
// argument. An address that is told again counts from then on; one that is not told again counts until its own time is over,
// since the pod may still use it. What has expired is remembered, as far as there is room: connections that are open stay.
// Hazard: a pod asks for as many names as it likes, so what is kept of it has a bound, and where
// all pods together have too much it goes from the one that has most: a pod takes nothing from another.

/** What counts of one name now, for one pod; `expired` counted before, and was not told again. */
export type ToldName = { pod: string; name: string; addresses: readonly string[]; expired: readonly string[] }
/** `ttlSeconds`: the longest with which the pod was told the address under this name; 0 where it has expired. */
export type ToldAddress = { address: string; ttlSeconds: number }
/** Names of which something else counts than before, and pods of which something was given up. */
export type AnswerChanges = { names: readonly ToldName[]; givenUp: readonly string[] }

/** `expired`: of a pod, beside those that count; `expiredOfNode`: of all. */
export type AnswerBounds = { ofName: number; ofPod: number; ofNode: number; expired: number; expiredOfNode: number }

/** An address must last for a connection: a first packet that is lost is sent again after one and after three seconds. */
const LEAST_TTL_SECONDS = 5
/** Nobody changes its address without saying so for longer (RFC 8767 §4 has a day to a week for what caches keep). */
const MOST_TTL_SECONDS = 86_400
/**
 * Addresses. An element takes about 200 octets in the kernel; here one under a long name of its own takes 1.5 KiB, and 2.5 KiB
 * once it has expired.
 */
const ANSWER_BOUNDS: AnswerBounds = {
  ...{ ofName: 1024, ofPod: 8192, ofNode: 65_536 },
  ...{ expired: 1024, expiredOfNode: 16_384 },
}
/** Of what a pod has, when it has too much: each sorting makes room for many. */
const GIVEN_UP = 1 / 8
const TICK_MS = 1000
/** Addresses of the names that lose one, of which felix takes in all again: some milliseconds. */
const EXPIRED_AT_ONCE = 2000
/** What a name costs beside its addresses, as so many of them. */
const NAME_COST = 8

type Known = { expiresMs: number; ttlSeconds: number }
type Name = {
  readonly pod: string
  readonly name: string
  readonly addresses: Map<string, Known>
  readonly expired: Set<string>
  dueTick: number
}
/** `expired`: the names of what has expired, with the addresses, the oldest first. */
type Pod = {
  readonly names: Map<string, Name>
  addresses: number
  readonly expired: Map<string, readonly [Name, string]>
}

export class DomainAnswers {
  readonly #bounds: AnswerBounds
  readonly #pods = new Map<string, Pod>()
  /** Names by when an address of theirs expires at the earliest. */
  readonly #due = new Map<number, Set<Name>>()
  #tick = 0
  #size = 0
  #expired = 0

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
    const [of, known] = this.#nameOf(pod, name)
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
        this.#forgetExpired(of, known, address)
      }
      this.#schedule(known, expiresMs)
    }
    this.#keep(of, known)
    const changed = new Set(isNew ? [known] : [])
    const givenUp = this.#makeRoom(pod, changed)
    return { names: [...changed].map(shown), givenUp }
  }

  /** Addresses of a name that a pod was told, and that had expired, before all that this one was told. */
  remember(pod: string, name: string, expired: readonly string[]): ToldName[] {
    const [of, known] = this.#nameOf(pod, name)
    const changed = new Set([known])
    for (const address of expired) {
      this.#addExpired(of, known, address, changed)
      this.#keep(of, known)
    }
    return [...changed].map(shown)
  }

  /**
   * Lets go of what has expired, some of it at a time: who serves names chooses that very many expire at once. Returns the names that
   * lost an address; none when there are no more.
   */
  expire(nowMs: number): readonly ToldName[] {
    const changed = new Set<Name>()
    let [cost, counted] = [0, 0]
    const isEnough = () => {
      if (changed.size > counted) cost = costOf(changed)
      counted = changed.size
      return cost >= EXPIRED_AT_ONCE
    }
    const now = Math.floor(nowMs / TICK_MS)
    for (let tick = this.#tick; tick <= now && this.#due.size > 0; tick++) {
      const due = this.#due.get(tick)
      if (due === undefined) continue
      for (const name of due) {
        for (const [address, { expiresMs }] of name.addresses) {
          if (expiresMs > nowMs) continue
          if (isEnough()) {
            this.#tick = tick
            return [...changed].map(shown)
          }
          this.#drop(name, address, changed)
        }
        due.delete(name)
        name.dueTick = Infinity
        for (const { expiresMs } of name.addresses.values()) this.#schedule(name, expiresMs)
      }
      this.#due.delete(tick)
    }
    this.#tick = now + 1
    return [...changed].map(shown)
  }

  /** A pod is gone. Returns the names that count for it no more. */
  forget(pod: string): readonly ToldName[] {
    const names = [...(this.#pods.get(pod)?.names.values() ?? [])]
    this.#expired -= this.#pods.get(pod)?.expired.size ?? 0
    this.#pods.delete(pod)
    for (const name of names) {
      this.#size -= name.addresses.size
      this.#due.get(name.dueTick)?.delete(name)
    }
    return names.map(({ name }) => ({ pod, name, addresses: [], expired: [] }))
  }

  /** The names that a pod was told. */
  namesOf(pod: string): readonly ToldName[] {
    return [...(this.#pods.get(pod)?.names.values() ?? [])].map(shown)
  }

  /** All that a pod was told of a name. */
  of(pod: string, name: string): ToldAddress[] {
    const { addresses = [], expired = [] } = this.#pods.get(pod)?.names.get(name) ?? {}
    return [
      ...[...addresses].map(([address, { ttlSeconds }]) => ({ address, ttlSeconds })),
      ...[...expired].map(address => ({ address, ttlSeconds: 0 })),
    ]
  }

  #nameOf(pod: string, name: string): [Pod, Name] {
    const of = this.#pods.get(pod) ?? { names: new Map(), addresses: 0, expired: new Map() }
    return [of, of.names.get(name) ?? { pod, name, addresses: new Map(), expired: new Set(), dueTick: Infinity }]
  }

  #keep(of: Pod, known: Name): void {
    if (known.addresses.size + known.expired.size === 0) return
    of.names.set(known.name, known)
    this.#pods.set(known.pod, of)
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

  /** An address counts no more. */
  #drop(name: Name, address: string, changed: Set<Name>): void {
    const pod = this.#pods.get(name.pod)!
    name.addresses.delete(address)
    pod.addresses--
    this.#size--
    changed.add(name)
    this.#addExpired(pod, name, address, changed)
  }

  #addExpired(pod: Pod, name: Name, address: string, changed: Set<Name>): void {
    this.#forgetExpired(pod, name, address)
    name.expired.add(address)
    pod.expired.set(`${name.name} ${address}`, [name, address])
    this.#expired++
    this.#keepNewest(pod, this.#bounds.expired, changed)
    while (this.#expired > this.#bounds.expiredOfNode) {
      const most = [...this.#pods.values(), pod].reduce((a, b) => (b.expired.size > a.expired.size ? b : a))
      this.#keepNewest(most, Math.floor(most.expired.size * (1 - GIVEN_UP)), changed)
    }
  }

  #keepNewest(pod: Pod, count: number, changed: Set<Name>): void {
    for (const [oldest, old] of pod.expired.values()) {
      if (pod.expired.size <= count) break
      this.#forgetExpired(pod, oldest, old)
      if (oldest.addresses.size + oldest.expired.size === 0) pod.names.delete(oldest.name)
      changed.add(oldest)
    }
  }

  #forgetExpired(pod: Pod, name: Name, address: string): void {
    name.expired.delete(address)
    if (pod.expired.delete(`${name.name} ${address}`)) this.#expired--
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
      this.#drop(name, address, changed)
    }
    return pod
  }
}

function costOf(names: Iterable<Name>): number {
  let cost = 0
  for (const { addresses, expired } of names) cost += NAME_COST + addresses.size + expired.size
  return cost
}

function shown({ pod, name, addresses, expired }: Name): ToldName {
  return { pod, name, addresses: [...addresses.keys()], expired: [...expired] }
}
