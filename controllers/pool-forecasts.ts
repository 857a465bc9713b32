// How many pods can still get an address of each IPPool, by the blocks that the collector counted last: for metrics, and for a
// condition before nodes get no block more.
import type { IpPool } from '../api/pools.ts'
import type { Store } from '../datastore/port.ts'
import { type ClaimedBlock, forecast, type PoolForecast } from '../ipam/forecast.ts'
import { inputsOf } from '../ipam/inputs.ts'
import type { Nodes } from './nodes.ts'

export type PoolForecastsDeps = {
  store: Store
  nodes: Pick<Nodes, 'all'>
  pools(): readonly IpPool[]
  /** Undefined before the first look. */
  blocks(): readonly ClaimedBlock[] | undefined
}

/** Every count of the blocks hurries it; this is for reservations and settings that change between two. */
const PERIOD_MS = 600_000

export class PoolForecasts {
  readonly name = 'pool forecasts'
  /** Pools that change together share a run. */
  readonly restMs = 10_000
  readonly #deps: PoolForecastsDeps
  #found: readonly PoolForecast[] = []

  constructor(deps: PoolForecastsDeps) {
    this.#deps = deps
  }

  get found(): readonly PoolForecast[] {
    return this.#found
  }

  /** Rejects as the store. */
  async run(): Promise<number> {
    const { store, nodes, pools, blocks } = this.#deps
    const [reservations, configurations] = [await store.list('IPReservation'), await store.list('IPAMConfiguration')]
    const counted = blocks()
    const inputs = inputsOf(pools(), reservations, configurations)
    this.#found = counted === undefined ? [] : forecast(inputs, counted, nodes.all()).pools
    return PERIOD_MS
  }
}
