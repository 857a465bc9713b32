// When a session sends next and when it gives its neighbour up, as functions of its state: RFC 5880 §6.8.2-4 and §6.8.7.
import type { FsmState } from './state.ts'

const US_PER_MS = 1000

/**
 * The part of an interval that passes before the next packet, for a number of [0, 1) that is drawn for it: 75 to 100 %, so
 * that systems do not fall into step, and at most 90 % where one missed packet is enough (§6.8.7).
 */
export function jitterOf(multiplier: number, chance: number): number {
  return 0.75 + (multiplier === 1 ? 0.15 : 0.25) * chance
}

/** Demand mode is active at the neighbour: it wants no periodic packets (§6.6). */
export function isRemoteDemanding({ phase, remote }: FsmState): boolean {
  return remote.demand && phase === 'Up' && remote.state === 'Up'
}

/** Whether a packet may be sent that is no answer to a Poll, because of what it says (§6.1, §6.6, §6.8.7). */
export function mayTransmit(state: FsmState): boolean {
  if (state.rules.passive && state.remote.discriminator === 0) return false
  return state.poll === 'active' || !isRemoteDemanding(state)
}

/** The interval between periodic packets before jitter: a longer one waits until the neighbour has confirmed it (§6.8.3). */
export function transmitIntervalMs({ phase, poll, announced, confirmed, remote }: FsmState): number {
  const ownUs =
    phase === 'Up' && poll === 'active'
      ? Math.min(announced.desiredMinTxUs, confirmed.desiredMinTxUs)
      : announced.desiredMinTxUs
  return Math.max(ownUs, remote.requiredMinRxUs) / US_PER_MS
}

/** How long nothing may come before the neighbour is given up: a shorter time waits until it has confirmed it (§6.8.3-4). */
export function detectionTimeMs({ phase, poll, announced, confirmed, remote }: FsmState): number {
  const ownUs =
    phase === 'Up' && poll === 'active'
      ? Math.max(announced.requiredMinRxUs, confirmed.requiredMinRxUs)
      : announced.requiredMinRxUs
  return (remote.multiplier * Math.max(ownUs, remote.desiredMinTxUs)) / US_PER_MS
}

/** How long the neighbour waits for us before it gives us up, as it was told. */
export function remoteDetectionTimeMs(state: FsmState): number {
  return state.rules.multiplier * transmitIntervalMs(state)
}

/** When the next periodic packet is due; undefined: none is to be sent. */
export function transmitDueMs(state: FsmState): number | undefined {
  if (!mayTransmit(state) || state.remote.requiredMinRxUs === 0) return undefined
  return state.sentAtMs === undefined ? 0 : state.sentAtMs + state.jitter * transmitIntervalMs(state)
}

/** When the neighbour is given up unless a packet comes; undefined: it is already, or was never heard of. */
export function detectionDueMs(state: FsmState): number | undefined {
  return state.receivedAtMs === undefined ? undefined : state.receivedAtMs + detectionTimeMs(state)
}

/** When something is due next; undefined: nothing before another event. */
export function nextDueMs(state: FsmState): number | undefined {
  const [transmit, detection] = [transmitDueMs(state), detectionDueMs(state)]
  return transmit === undefined ? detection : detection === undefined ? transmit : Math.min(transmit, detection)
}
