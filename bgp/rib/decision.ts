// The decision process: RFC 4271 §9.1.2.2 as amended by RFC 4456 §9 (originator, cluster list), RFC 5065 §5.3
// (confederations), RFC 6286 §2.3 (identifiers are numbers) and RFC 9494 §4.3 (long-lived stale comes last). Each step
// keeps only the paths that are best in it. Hazard: comparing paths in pairs would make the result depend on the order of
// arrival, because MED counts only between routes of one neighbour AS. Step e (interior cost) is there where next hops are
// tracked; paths that cannot be used (§9.1.2.1) are no candidates.
import { MOST_PATHS, type Multipath } from '../config.ts'
import type { HopFacts } from './hop-facts.ts'
import type { AttributeFacts } from './store/attribute-facts.ts'
import { SET_FLAG } from './store/attribute-facts.ts'
import type { PathTable } from './store/path-table.ts'

export type StepName =
  | 'only'
  | 'reachable'
  | 'local'
  | 'stale'
  | 'local-pref'
  | 'as-path-length'
  | 'origin'
  | 'med'
  | 'external'
  | 'interior-cost'
  | 'router-id'
  | 'cluster-list'
  | 'peer-address'
  | 'path-id'

/**
 * Why a path that no step before the tie breaks removed is not used beside the best one: it is of another kind (`Multipath.of`),
 * its next hop costs more, its AS path is another one, its next hop is there already, or there are as many as may be.
 */
export type UnusedReason = 'kind' | 'cost' | 'as-path' | 'next-hop' | 'limit'

/** Per peer index. Index 0 is this speaker: its own networks. */
export type PeerFacts = {
  /** 1 for a peer outside the AS and outside the confederation. */
  external: Uint8Array
  /** 1 where next hops count: not those of our own networks, nor of a file or a program, which are only passed on. */
  tracked: Uint8Array
  routerId: Uint32Array
  /** Place of the peer among all peers by remote address (as a number, IPv6 first), then by key. */
  rank: Uint32Array
}

export type Columns = { paths: PathTable; facts: AttributeFacts; peers: PeerFacts }

/** By what paths are used beside the best one. */
type Beside = { rule: Multipath; hops: Pick<HopFacts, 'nextHop' | 'samePath'> }

type DecisionOptions = {
  alwaysCompareMed: boolean
  /** Interior cost of the next hop of a set. Absent: next hops are not tracked. */
  cost?: (set: number) => number
}

/** Fills `keys[i]` for each of the first `count` of `slots`; the paths with the lowest key stay. */
type Load = (c: Columns, slots: Uint32Array, count: number, keys: Float64Array) => void

function steps({ alwaysCompareMed, cost }: DecisionOptions): readonly { name: StepName; load: Load }[] {
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
    ...(cost === undefined ? [] : [{ name: 'interior-cost' as const, load: loadCost(cost) }]),
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
  readonly #med: Load
  /** The steps after MED. */
  readonly #order: readonly { name: StepName; load: Load }[]
  readonly #cost: ((set: number) => number) | undefined
  #keys = new Float64Array(64)
  readonly #pair = new Uint32Array(2)

  constructor(options: DecisionOptions) {
    this.#steps = steps(options)
    const med = this.#steps.findIndex(({ name }) => name === 'med')
    this.#late = this.#steps.slice(med)
    this.#med = this.#steps[med]!.load
    this.#order = this.#steps.slice(med + 1)
    this.#cost = options.cost
  }

  /** The best of the first `count` (at least 1) of `slots`, as `decide` finds it, without saying why. */
  best(slots: Uint32Array, count: number, columns: Columns): number {
    const kept = preferred(slots, count, columns)
    if (kept > 1) this.#run(this.#late, slots, kept, columns)
    return slots[0]!
  }

  /**
   * Moves the paths that are used together to the front of `slots`, the best first, the others in the order in which they would be
   * best, and returns how many there are. MED counts over the whole set first; only then paths are compared with the best one, so
   * the order of arrival does not matter. `unused` is called with each path that is left out after the steps before the tie breaks.
   */
  equals(
    slots: Uint32Array,
    count: number,
    columns: Columns,
    { rule, hops }: Beside,
    unused?: (slot: number, because: UnusedReason) => void,
  ): number {
    const kept = this.#keepLeast(this.#med, slots, preferred(slots, count, columns), columns)
    if (kept < 2) return kept
    if (kept === 2) {
      if (this.#compare(slots[0]!, slots[1]!, columns) > 0) slots.subarray(0, 2).reverse()
    } else slots.subarray(0, kept).sort((a, b) => this.#compare(a, b, columns))
    let used = 1
    for (let i = 1; i < kept; i++) {
      const slot = slots[i]!
      const cost = this.#cost
      const dearer = cost !== undefined && costOf(columns, slot, cost) !== costOf(columns, slots[0]!, cost)
      const because = unusedBecause(slots, used, slot, columns, { rule, hops, dearer })
      if (because === undefined) slots[used++] = slot
      else unused?.(slot, because)
    }
    return used
  }

  /** Which of two paths would be best of those that MED leaves: negative for the first. */
  #compare(a: number, b: number, columns: Columns): number {
    const pair = this.#pair
    const keys = this.#keys
    pair[0] = a
    pair[1] = b
    for (const { load } of this.#order) {
      load(columns, pair, 2, keys)
      if (keys[0] !== keys[1]) return keys[0]! - keys[1]!
    }
    return 0
  }

  #keepLeast(load: Load, slots: Uint32Array, count: number, columns: Columns): number {
    if (count > this.#keys.length) this.#keys = new Float64Array(count * 2)
    const keys = this.#keys
    load(columns, slots, count, keys)
    let least = keys[0]!
    for (let i = 1; i < count; i++) if (keys[i]! < least) least = keys[i]!
    let kept = 0
    for (let i = 0; i < count; i++) if (keys[i] === least) slots[kept++] = slots[i]!
    return kept
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

/** Keeps the paths that are best in the steps before MED, in front, and returns how many there are. */
function preferred(slots: Uint32Array, count: number, { paths, facts: { preference } }: Columns): number {
  let least = Number.POSITIVE_INFINITY
  let kept = 0
  for (let i = 0; i < count; i++) {
    const slot = slots[i]!
    // a network of our own is preferred to everything, and a prefix has at most one
    if (paths.peer(slot) === 0) {
      slots[0] = slot
      return 1
    }
    const own = preference[paths.accepted(slot)]!
    if (own > least) continue
    if (own < least) kept = 0
    least = own
    slots[kept++] = slot
  }
  return kept
}

/** Why a path that MED left is not used beside the first `used` of `slots`, of which the first is the best. */
function unusedBecause(
  slots: Uint32Array,
  used: number,
  slot: number,
  { paths, peers: { external } }: Columns,
  { rule, hops, dearer }: Beside & { dearer: boolean },
): UnusedReason | undefined {
  const best = slots[0]!
  const kind = external[paths.peer(best)]!
  if (rule.of !== 'merge') {
    const wanted = rule.of === 'ebgp' ? 1 : rule.of === 'ibgp' ? 0 : kind
    if (kind !== wanted || external[paths.peer(slot)] !== wanted) return 'kind'
  }
  if (dearer) return 'cost'
  const set = paths.accepted(slot)
  if (rule.asPath === 'same' && !hops.samePath(paths.accepted(best), set)) return 'as-path'
  const hop = hops.nextHop(set)
  for (let i = 0; i < used; i++) if (hops.nextHop(paths.accepted(slots[i]!)) === hop) return 'next-hop'
  return used < Math.min(rule.paths, MOST_PATHS) ? undefined : 'limit'
}

/** What the path in a slot costs to reach. */
function costOf({ paths, peers: { tracked } }: Columns, slot: number, cost: (set: number) => number): number {
  return tracked[paths.peer(slot)] === 0 ? 0 : cost(paths.accepted(slot))
}

function loadCost(cost: (set: number) => number): Load {
  return (columns, slots, count, keys) => {
    for (let i = 0; i < count; i++) keys[i] = costOf(columns, slots[i]!, cost)
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
