import test from 'ava'
import { whenConverged } from '../../agent/convergence.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import type { AddressFamily } from '../../bgp/family.ts'
import type { RibEvent } from '../../bgp/rib/types.ts'
import { ManualClock } from '../../lib/clock.ts'

const [SETTLE_MS, FIRST_TABLES_MS] = [2_000, 30_000]
const families: AddressFamily[] = ['ipv4-unicast', 'ipv6-unicast']

function aSpeaker(restarting: boolean, peers: Pick<PeerStatus, 'name' | 'state' | 'families'>[] = []) {
  const clock = new ManualClock()
  let restartOver = () => undefined as unknown
  let tell = (_event: RibEvent) => undefined as unknown
  let listening = 0
  const speaker = {
    peers: () => peers,
    onRestartComplete: (listen: () => void) => {
      restartOver = listen
    },
    onRibEvent: (listen: (event: RibEvent) => void) => {
      tell = listen
      listening++
      return () => {
        listening--
      }
    },
  }
  let calls = 0
  const cancel = whenConverged(speaker, { clock, restarting }, () => calls++)
  return {
    clock,
    cancel,
    calls: () => calls,
    listening: () => listening,
    restartOver: () => restartOver(),
    endOfRib: (key: string, family: AddressFamily) => tell({ type: 'end-of-rib', key, family }),
  }
}

const up = (name: string) => ({ name, state: 'Established' as const, families })

test('with a restart it is over a moment after the restart is, and no sooner', t => {
  const it = aSpeaker(true)
  it.clock.advance(10 * FIRST_TABLES_MS)
  t.is(it.calls(), 0)
  it.restartOver()
  it.clock.advance(SETTLE_MS - 1)
  t.is(it.calls(), 0)
  it.clock.advance(1)
  t.is(it.calls(), 1)
})

test('without a restart it takes the End-of-RIB of every peer for every family', t => {
  const it = aSpeaker(false, [up('a'), up('b')])
  for (const family of families) it.endOfRib('a', family)
  it.endOfRib('b', 'ipv4-unicast')
  it.clock.advance(10_000)
  t.is(it.calls(), 0)
  it.endOfRib('b', 'ipv6-unicast')
  it.clock.advance(500 + SETTLE_MS)
  t.is(it.calls(), 1)
  it.clock.advance(FIRST_TABLES_MS)
  t.is(it.calls(), 1, 'once')
  t.is(it.listening(), 0)
  t.is(it.clock.pending, 0)
})

test('a peer that never comes costs half a minute, not for ever', t => {
  const it = aSpeaker(false, [up('a'), { ...up('b'), state: 'Active' }])
  for (const family of families) it.endOfRib('a', family)
  it.clock.advance(FIRST_TABLES_MS - 1)
  t.is(it.calls(), 0)
  it.clock.advance(1)
  t.is(it.calls(), 1)
})

test('cancelled, it never calls and leaves no timer and no listener', t => {
  const it = aSpeaker(false, [up('a')])
  it.cancel()
  it.clock.advance(2 * FIRST_TABLES_MS)
  t.is(it.calls(), 0)
  t.is(it.listening(), 0)
  t.is(it.clock.pending, 0)
})
