// Two speakers that are each other's peers, for tests.
import type { PeerConfig } from '../../bgp/config.ts'
import type { BgpState } from '../../bgp/fsm/step.ts'
import type { RouteSink, SelectedRoute } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker, type SpeakerDeps } from '../../bgp/speaker.ts'
import { ManualClock } from '../../lib/clock.ts'
import { settle } from './settle.ts'

/** Two speakers on one network and one clock: `a` is 10.0.0.1 in AS 65001, `b` is 10.0.0.2 in AS 65002. */
export async function pair(
  options: { a?: Partial<PeerConfig>; b?: Partial<PeerConfig>; depsA?: Partial<SpeakerDeps>; bId?: string } = {},
) {
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const routes = { a: new Map<string, SelectedRoute>(), b: new Map<string, SelectedRoute>() }
  const make = (asn: number, address: string, side: 'a' | 'b', more: Partial<SpeakerDeps> = {}) =>
    new Speaker(
      { asn, routerId: side === 'b' ? (options.bId ?? address) : address },
      { transport: network.host(address), clock, random: () => 1, sink: sinkOf(routes[side]), ...more },
    )
  const a = make(65001, '10.0.0.1', 'a', options.depsA)
  const b = make(65002, '10.0.0.2', 'b')
  await a.listen({ address: '10.0.0.1', port: 179 })
  await b.listen({ address: '10.0.0.2', port: 179 })
  const open = { import: 'accept', export: 'accept' } as const
  const toB: PeerConfig = { name: 'b', address: '10.0.0.2', asn: 65002, ...open, ...options.a }
  const toA: PeerConfig = { name: 'a', address: '10.0.0.1', asn: 65001, ...open, ...options.b }
  const close = async () => {
    await Promise.all([a.close(), b.close()])
    await settle()
  }
  return { network, clock, routes, a, b, toB, toA, close, make }
}

function sinkOf(routes: Map<string, SelectedRoute>): RouteSink {
  return { selected: route => void routes.set(route.prefix, route), withdrawn: prefix => void routes.delete(prefix) }
}

export const stateOf = (speaker: Speaker, name: string): BgpState | undefined =>
  speaker.peers().find(peer => peer.name === name)?.state
export const reasonOf = (speaker: Speaker, name: string) => speaker.peers().find(peer => peer.name === name)?.reason

export type Pair = Awaited<ReturnType<typeof pair>>
export async function bringUp({ a, b, toA, toB }: Pair): Promise<void> {
  a.setPeer(toB)
  b.setPeer(toA)
  await settle()
}
