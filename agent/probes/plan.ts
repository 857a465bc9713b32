// Which paths are looked at in a round. Few are all looked at in each. Of many some are in every round: two of each LAN, so that what
// stops a whole LAN or a kind of tunnel is seen at once, chosen by a ring of names, so that each node is watched by about as many as
// it watches; the others take turns. Pure.

/** `lan`: paths to one LAN go the same way for most of it. */
export type Planned = { key: string; node: string; lan: string }

/** In one round. */
const MOST = 32
/** In every round, where there are more. */
const STEADY = 16
const STEADY_OF_LAN = 2

export class Plan {
  readonly #self: string
  #paths: readonly Planned[] = []
  #steady: readonly string[] = []
  #others: readonly string[] = []
  #next = 0

  constructor(self: string) {
    this.#self = self
  }

  /** Takes all paths in the place of those before; the turns go on from about where they were. */
  set(paths: Iterable<Planned>): void {
    this.#paths = [...paths]
    if (!this.isSampled) return
    const own = hash(this.#self)
    const ring = this.#paths
      .map(path => ({ path, distance: (hash(path.node) - own) >>> 0 }))
      .sort((a, b) => a.distance - b.distance || (a.path.key < b.path.key ? -1 : 1))
      .map(({ path }) => path)
    const steady = interleaved(ring)
      .filter(({ turn }) => turn < STEADY_OF_LAN)
      .slice(0, STEADY)
      .map(({ path }) => path)
    for (const path of ring) if (steady.length < STEADY && !steady.includes(path)) steady.push(path)
    const isSteady = new Set(steady.map(({ key }) => key))
    this.#steady = [...isSteady]
    this.#others = interleaved(ring)
      .map(({ path }) => path.key)
      .filter(key => !isSteady.has(key))
  }

  /** Whether there are more than a round has room for. */
  get isSampled(): boolean {
    return this.#paths.length > MOST
  }

  /** Whether a path is in every round. */
  isSteady(key: string): boolean {
    return !this.isSampled || this.#steady.includes(key)
  }

  /** The keys of the next round, none twice. */
  round(): readonly string[] {
    if (!this.isSampled) return this.#paths.map(({ key }) => key)
    const turns = MOST - this.#steady.length
    const count = this.#others.length
    const chosen = Array.from({ length: Math.min(turns, count) }, (_, i) => this.#others[(this.#next + i) % count]!)
    this.#next = (this.#next + turns) % count
    return [...this.#steady, ...chosen]
  }
}

/** One of each LAN, then the next one of each: LANs in the order of their first, and within a LAN in the order given. */
function interleaved(paths: readonly Planned[]): { path: Planned; turn: number }[] {
  const lans = [...Map.groupBy(paths, ({ lan }) => lan).values()]
  return lans.flatMap(lan => lan.map((path, turn) => ({ path, turn }))).sort((a, b) => a.turn - b.turn)
}

/** FNV-1a of 32 bits: spreads names that differ in their last digit. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  // its low bits change most: fold them over the others
  return Math.imul(value ^ (value >>> 15), 0x2c1b3c6d) >>> 0
}
