// The decision process: RFC 4271 §9.1.2.2 as amended by RFC 4456 §9 (originator, cluster list), RFC 5065 §5.3
// (confederations), RFC 6286 §2.3 (identifiers are numbers) and RFC 9494 §4.3 (long-lived stale comes last). Each step
// keeps only the paths that are best in it. Hazard: comparing paths in pairs would make the result depend on the order of
// arrival, because MED counts only between routes of one neighbour AS. Step e (interior cost) is absent: this speaker does
// not know interior costs.
import type { AttributeFacts } from './store/attribute-facts.ts'
import { SET_FLAG } from './store/attribute-facts.ts'
import type { PathTable } from './store/path-table.ts'

export type StepName =
  | 'only'
  | 'local'
  | 'stale'
  | 'local-pref'
  | 'as-path-length'
  | 'origin'
  | 'med'
  | 'external'
  | 'router-id'
  | 'cluster-list'
  | 'peer-address'
  | 'path-id'

/** Per peer index. Index 0 is this speaker: its own networks. */
export type PeerFacts = {
  /** 1 for a peer outside the AS and outside the confederation. */
  external: Uint8Array
  routerId: Uint32Array
  /** Place of the peer among all peers by remote address (as a number, IPv6 first), then by key. */
  rank: Uint32Array
}

export type Columns = { paths: PathTable; facts: AttributeFacts; peers: PeerFacts }

type DecisionOptions = { alwaysCompareMed: boolean }

/** Fills `keys[i]` for each of the first `count` of `slots`; the paths with the lowest key stay. */
type Load = (c: Columns, slots: Uint32Array, count: number, keys: Float64Array) => void

function steps({ alwaysCompareMed }: DecisionOptions): readonly { name: StepName; load: Load }[] {
  return [
    {
      name: 'local',
      load({ paths }, slots, count, keys) {
        for (let i = 0; i < count; i++) keys[i] = paths.peer(slots[i]!) === 0 ? 0 : 1
      },
    },
    {
      name: 'stale',
      load({ paths, facts: { flags } }, slots, count, keys) {
        for (let i = 0; i < count; i++) keys[i] = flags[paths.accepted(slots[i]!)]! & SET_FLAG.llgrStale
      },
    },
    {
      name: 'local-pref',
      load({ paths, facts: { localPref } }, slots, count, keys) {
        for (let i = 0; i < count; i++) keys[i] = -localPref[paths.accepted(slots[i]!)]!
      },
    },
    {
      name: 'as-path-length',
      load({ paths, facts: { pathLength } }, slots, count, keys) {
        for (let i = 0; i < count; i++) keys[i] = pathLength[paths.accepted(slots[i]!)]!
      },
    },
    {
      name: 'origin',
      load({ paths, facts: { origin } }, slots, count, keys) {
        for (let i = 0; i < count; i++) keys[i] = origin[paths.accepted(slots[i]!)]!
      },
    },
    { name: 'med', load: alwaysCompareMed ? loadMed : loadMedByNeighbour },
    {
      name: 'external',
      load({ paths, peers: { external } }, slots, count, keys) {
        for (let i = 0; i < count; i++) keys[i] = -external[paths.peer(slots[i]!)]!
      },
    },
    {
      name: 'router-id',
      load({ paths, facts: { originator }, peers: { routerId } }, slots, count, keys) {
        for (let i = 0; i < count; i++) {
          const original = originator[paths.accepted(slots[i]!)]!
          keys[i] = original === 0 ? routerId[paths.peer(slots[i]!)]! : original
        }
      },
    },
    {
      name: 'cluster-list',
      load({ paths, facts: { clusterLength } }, slots, count, keys) {
        for (let i = 0; i < count; i++) keys[i] = clusterLength[paths.accepted(slots[i]!)]!
      },
    },
    {
      name: 'peer-address',
      load({ paths, peers: { rank } }, slots, count, keys) {
        for (let i = 0; i < count; i++) keys[i] = rank[paths.peer(slots[i]!)]!
      },
    },
    {
      name: 'path-id',
      load({ paths }, slots, count, keys) {
        for (let i = 0; i < count; i++) keys[i] = paths.pathId(slots[i]!)
      },
    },
  ]
}

/** Chooses the best path; keeps nothing between calls but scratch memory. */
export class Decision {
  readonly #steps: readonly { name: StepName; load: Load }[]
  /** The steps from MED on. The steps before MED are one comparison of `preference`. */
  readonly #late: readonly { name: StepName; load: Load }[]
  #keys = new Float64Array(64)

  constructor(options: DecisionOptions) {
    this.#steps = steps(options)
    this.#late = this.#steps.slice(this.#steps.findIndex(({ name }) => name === 'med'))
  }

  /** The best of the first `count` (at least 1) of `slots`, as `decide` finds it, without saying why. */
  best(slots: Uint32Array, count: number, columns: Columns): number {
    const { paths, facts } = columns
    const { preference } = facts
    let least = Number.POSITIVE_INFINITY
    let kept = 0
    for (let i = 0; i < count; i++) {
      const slot = slots[i]!
      // a network of our own is preferred to everything, and a prefix has at most one
      if (paths.peer(slot) === 0) return slot
      const own = preference[paths.accepted(slot)]!
      if (own > least) continue
      if (own < least) kept = 0
      least = own
      slots[kept++] = slot
    }
    if (kept > 1) this.#run(this.#late, slots, kept, columns)
    return slots[0]!
  }

  /**
   * Moves the best of the first `count` (at least 1) of `slots` to the front and returns the step that left it alone.
   * All of them must be usable (accepted attributes that are not 0). `lost` is called with every other path and the step in which it was removed.
   */
  decide(slots: Uint32Array, count: number, columns: Columns, lost?: (slot: number, step: StepName) => void): StepName {
    return count === 1 ? 'only' : this.#run(this.#steps, slots, count, columns, lost)
  }

  #run(
    steps: readonly { name: StepName; load: Load }[],
    slots: Uint32Array,
    count: number,
    columns: Columns,
    lost?: (slot: number, step: StepName) => void,
  ): StepName {
    if (count > this.#keys.length) this.#keys = new Float64Array(count * 2)
    const keys = this.#keys
    for (const { name, load } of steps) {
      load(columns, slots, count, keys)
      let least = keys[0]!
      let same = true
      for (let i = 1; i < count; i++) {
        const key = keys[i]!
        if (key !== least) same = false
        if (key < least) least = key
      }
      if (same) continue
      let kept = 0
      for (let i = 0; i < count; i++) {
        if (keys[i] === least) slots[kept++] = slots[i]!
        else lost?.(slots[i]!, name)
      }
      count = kept
      if (count === 1) return name
    }
    throw new Error('two paths of one peer share a path id')
  }
}

function loadMed({ paths, facts: { med } }: Columns, slots: Uint32Array, count: number, keys: Float64Array): void {
  for (let i = 0; i < count; i++) keys[i] = med[paths.accepted(slots[i]!)]!
}

/** 0 for a path with the least MED among those of its neighbour AS, else 1. */
function loadMedByNeighbour(
  { paths, facts: { med, neighbourAs } }: Columns,
  slots: Uint32Array,
  count: number,
  keys: Float64Array,
): void {
  keys.fill(0, 0, count)
  const first = med[paths.accepted(slots[0]!)]!
  let i = 1
  while (i < count && med[paths.accepted(slots[i]!)] === first) i++
  if (i === count) return
  const least = new Map<number, number>()
  for (i = 0; i < count; i++) {
    const set = paths.accepted(slots[i]!)
    const seen = least.get(neighbourAs[set]!)
    if (seen === undefined || med[set]! < seen) least.set(neighbourAs[set]!, med[set]!)
  }
  for (i = 0; i < count; i++) {
    const set = paths.accepted(slots[i]!)
    keys[i] = med[set]! > least.get(neighbourAs[set]!)! ? 1 : 0
  }
}
