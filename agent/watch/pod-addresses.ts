// Addresses that a pod has beside its own and that are another pod's: what it sends there stays in it. Nothing is removed: a pod's
// namespace is its own.
import { broken, type Condition } from '../../api/status.ts'
import type { PodEndpoint } from '../../cni/endpoints.ts'
import type { ForeignAddress } from '../../cni/pod-watch.ts'
import type { Clock } from '../../lib/clock.ts'
import { SoonestTimer } from '../../lib/soonest-timer.ts'
import { type AddressClaims, claimantOf } from './address-claims.ts'

export type PodAddressesDeps = {
  clock: Clock
  claims: () => AddressClaims
  foreign: () => Iterable<ForeignAddress>
  endpoints: () => readonly PodEndpoint[]
  report: (conditions: readonly Condition[]) => void
}

/** An address that moves is in two pods for a moment. */
const SOON_MS = 1500
/** Whose an address is changes too. */
const LOOK_MS = 10_000
/** More of them are one mistake. */
const MOST_TOLD = 20

export class PodAddresses {
  readonly #deps: PodAddressesDeps
  readonly #timer: SoonestTimer
  #told = false

  constructor(deps: PodAddressesDeps) {
    this.#deps = deps
    this.#timer = new SoonestTimer(deps.clock, () => this.#look())
  }

  start(): void {
    this.#timer.within(LOOK_MS)
  }

  /** Pods have others than before. */
  changed(): void {
    this.#timer.within(SOON_MS)
  }

  close(): void {
    this.#timer.cancel()
  }

  #look(): void {
    const found: Condition[] = []
    const foreign = [...this.#deps.foreign()]
    const claims = foreign.length > 0 ? this.#deps.claims() : undefined
    for (const each of foreign) {
      if (claims === undefined || found.length === MOST_TOLD) break
      const owner = claimantOf(each.address, claims)
      if (owner !== undefined && !this.#isOfSamePod(each)) found.push(tookAddress(each, owner))
    }
    if (found.length > 0 || this.#told) this.#deps.report(found)
    this.#told = found.length > 0
    this.#timer.within(LOOK_MS)
  }

  /** A pod may have several interfaces of ours. */
  #isOfSamePod({ endpoint, address }: ForeignAddress): boolean {
    return this.#deps.endpoints().some(each => each.netns === endpoint.netns && each.addresses.includes(address))
  }
}

function tookAddress({ endpoint: { id, pod }, address, by }: ForeignAddress, owner: string): Condition {
  const whose = pod === undefined ? `the pod of ${id}` : `Pod ${pod.namespace}/${pod.name}`
  const given = by === undefined ? '' : `, given by ${by}`
  return broken('AddressesUnique', {
    object: { kind: 'Address', name: address },
    reason: 'PodTookAddress',
    message: `${whose} also has ${address}${given}: it is ${owner}, and what this pod sends there stays in it`,
    remedy: `remove it in the pod (ip address del ${address} dev ...), and what adds it`,
  })
}
