// Writes into each IPPool whether nodes take addresses of it: Calico's condition `Allocatable` with its reasons, which `kubectl get
// ippools` shows. Conditions of others stay. Hazard: another program may write the same condition (calico-kube-controllers does),
// so what is said of a pool is written again after ten minutes at the earliest, and words of a message alone never.
import { conditionList, type ObjectCondition } from '../api/meta.ts'
import { type IpPool, usesOf } from '../api/pools.ts'
import { Conflict, NotFound, Refused, type Store } from '../datastore/port.ts'
import { overlappingPools } from '../ipam/pick.ts'
import { type Clock, formatSeconds } from '../lib/clock.ts'

export type PoolConditionsDeps = {
  store: Pick<Store, 'patch'>
  clock: Clock
  /** Every IPPool, as a watch told it last. */
  pools(): readonly IpPool[]
}

type Said = Pick<ObjectCondition, 'status' | 'reason' | 'message'>

const TYPE = 'Allocatable'
/** Pools that are made or changed together share a run. */
const REST_MS = 1_000
const SAME_WORDS_MS = 600_000
/** What an API server answers to an object that breaks its rules. */
const UNPROCESSABLE = 422

export class PoolConditions {
  readonly name = 'pool conditions'
  readonly restMs = REST_MS
  readonly #deps: PoolConditionsDeps
  /** What was written last, and when, by the uid of the pool. */
  readonly #written = new Map<string, { words: string; atMs: number }>()

  constructor(deps: PoolConditionsDeps) {
    this.#deps = deps
  }

  /** Resolves with the time until the next run. Rejects as the store. */
  async run(): Promise<number> {
    const pools = this.#deps.pools()
    const uids = new Set(pools.map(uidOf))
    for (const uid of this.#written.keys()) if (!uids.has(uid)) this.#written.delete(uid)
    const overlaps = new Map(overlappingPools(pools).map(({ refused, because }) => [refused, because]))
    for (const pool of pools) {
      const said = saidOf(pool, overlaps.get(pool.metadata.name))
      if (!this.#isDue(pool, said)) continue
      await this.#write(pool, said)
    }
    return SAME_WORDS_MS
  }

  #isDue(pool: IpPool, { status, reason }: Said): boolean {
    const before = conditionsOf(pool).find(({ type }) => type === TYPE)
    if (before?.status === status && before.reason === reason) return false
    const last = this.#written.get(uidOf(pool))
    return last?.words !== reason || this.#deps.clock.monotonicMs() - last.atMs >= SAME_WORDS_MS
  }

  async #write(pool: IpPool, { status, reason, message }: Said): Promise<void> {
    const { store, clock } = this.#deps
    const { name, uid, resourceVersion, generation } = pool.metadata
    const all = conditionsOf(pool)
    const last = all.find(({ type }) => type === TYPE)
    const lastTransitionTime = (last?.status === status && last.lastTransitionTime) || formatSeconds(clock.wallMs())
    const ours: ObjectCondition = {
      ...{ type: TYPE, status, reason, message, lastTransitionTime },
      ...(generation !== undefined && { observedGeneration: generation }),
    }
    const conditions = [...all.filter(({ type }) => type !== TYPE), ours]
    const patch = { metadata: { uid, resourceVersion }, status: { conditions } }
    try {
      await store.patch('IPPool', name, patch, { subresource: 'status' })
    } catch (error) {
      if (error instanceof Conflict) return // the watch tells what it is now
      // it is gone, or has no status; or it breaks a rule of the server, and keeps no other one waiting
      if (!(error instanceof NotFound) && !(error instanceof Refused && error.status === UNPROCESSABLE)) throw error
    }
    this.#written.set(uidOf(pool), { words: reason, atMs: clock.monotonicMs() })
  }
}

/** By the rules of `usablePools`, with the reasons of Calico. */
function saidOf({ metadata, spec }: IpPool, overlaps: string | undefined): Said {
  const no = (reason: string, message: string): Said => ({ status: 'False', reason, message })
  if (metadata.deletionTimestamp !== undefined)
    return no('Terminating', 'it was deleted: nobody gets an address of it, and it goes with the last one who has one')
  if (spec.disabled) return no('PoolDisabled', 'spec.disabled: nobody gets an address of it, and who has one keeps it')
  if (overlaps !== undefined) return no('CIDROverlap', `it overlaps the older IPPool ${overlaps} and is not used`)
  const isForServices = usesOf(spec).includes('LoadBalancer')
  const message = isForServices
    ? 'Services of type LoadBalancer get addresses of it'
    : 'nodes that it selects take blocks of it'
  return { status: 'True', reason: 'OK', message }
}

function conditionsOf({ status }: IpPool): readonly ObjectCondition[] {
  // the CRD lets no others in
  const { data = [] } = conditionList.safeParse((status as { conditions?: unknown } | undefined)?.conditions ?? [])
  return data
}

/** A pool that was deleted and made again is another one. */
function uidOf({ metadata }: IpPool): string {
  return metadata.uid ?? metadata.name
}
