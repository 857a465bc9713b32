import test from 'ava'
import type { Negotiated } from '../../bgp/fsm/negotiate.ts'
import { OwnRestart } from '../../bgp/own-restart.ts'
import { ManualClock } from '../../lib/clock.ts'

const restartSeconds = (seconds: number) => ({ asn: 65002, gracefulRestart: { restartSeconds: seconds } })
const came = (families: readonly string[], restarting = false) =>
  ({ gracefulRestart: { restarting, restartSeconds: 0, families, forwarding: [] } }) as unknown as Negotiated

function begun() {
  const clock = new ManualClock()
  const told: string[] = []
  const restart = new OwnRestart(clock, { active: true, over: () => void told.push('over') })
  restart.onComplete(() => told.push('listener'))
  return { clock, told, restart }
}

test('a restart is over when the last peer has sent the End-of-RIB of every family it kept', t => {
  const { clock, told, restart } = begun()
  for (const name of ['a', 'b']) restart.waitFor(name, [restartSeconds(30)])
  restart.sessionUp('a', came(['ipv4-unicast', 'ipv6-unicast']))
  restart.endOfRib('a', 'ipv4-unicast', ['ipv4-unicast', 'ipv6-unicast'])
  restart.endOfRib('a', 'ipv6-unicast', ['ipv4-unicast', 'ipv6-unicast'])
  t.true(restart.active)
  restart.done('b')
  t.false(restart.active)
  t.deepEqual(told, ['over', 'listener'])
  t.is(clock.pending, 0)
})

test('peers that restart themselves or have no graceful restart are not waited for, and those are that only help others (RFC 4724 §3, §4.1)', t => {
  for (const negotiated of [came(['ipv4-unicast'], true), {} as Negotiated]) {
    const { restart } = begun()
    restart.waitFor('a', [restartSeconds(30)])
    restart.sessionUp('a', negotiated)
    t.false(restart.active)
  }
  const { restart } = begun()
  restart.waitFor('a', [restartSeconds(30)])
  restart.sessionUp('a', came([]))
  t.true(restart.active)
  restart.endOfRib('a', 'ipv4-unicast', ['ipv4-unicast'])
  t.false(restart.active)
})

test('a peer that alone dials and does not, is waited for 15 s before routes are selected, and to the end of the restart time for its table', t => {
  const { clock, told, restart } = begun()
  restart.waitFor('a', [restartSeconds(120)], { isPassive: true })
  clock.advance(14_000)
  t.true(restart.active)
  clock.advance(1000)
  t.deepEqual(told, ['over'])
  restart.sessionUp('a', came(['ipv4-unicast']))
  restart.endOfRib('a', 'ipv4-unicast', ['ipv4-unicast'])
  t.deepEqual(told, ['over', 'listener'])
  t.is(clock.pending, 0)
})

test('a peer that dialled in time and is slow to tell its table is not given up after 15 s', t => {
  const { clock, restart } = begun()
  restart.waitFor('a', [restartSeconds(120)], { isPassive: true })
  restart.sessionUp('a', came(['ipv4-unicast']))
  clock.advance(60_000)
  t.true(restart.active)
})

test('a peer that alone dials and is lost before it has told its table is waited for 15 s again, each time that it came', t => {
  const { clock, told, restart } = begun()
  restart.waitFor('a', [restartSeconds(120)], { isPassive: true })
  for (let i = 0; i < 2; i++) {
    clock.advance(10_000)
    restart.sessionUp('a', came(['ipv4-unicast']))
    restart.sessionLost('a')
  }
  clock.advance(14_000)
  t.true(restart.active)
  clock.advance(1000)
  t.deepEqual(told, ['over'])
  clock.advance(85_000)
  t.deepEqual(told, ['over', 'listener'])
  t.is(clock.pending, 0)
})

test('a peer that is dialled and lost is not given up before its dials fail', t => {
  const { clock, restart } = begun()
  restart.waitFor('a', [restartSeconds(120)])
  restart.sessionUp('a', came(['ipv4-unicast']))
  restart.sessionLost('a')
  clock.advance(60_000)
  t.true(restart.active)
  restart.unreachable('a')
  t.false(restart.active)
})

test('the longest restart time bounds the wait, and a listener that comes late is told at once', t => {
  const { clock, told, restart } = begun()
  restart.waitFor('a', [restartSeconds(30)])
  restart.waitFor('b', [restartSeconds(30), restartSeconds(50)])
  clock.advance(49_000)
  t.true(restart.active)
  clock.advance(1000)
  t.deepEqual(told, ['over', 'listener'])
  restart.onComplete(() => told.push('late'))
  t.is(told.at(-1), 'late')
})

test('without a peer that cannot be reached routes are selected, and its table is waited for until the restart time ends', t => {
  const { clock, told, restart } = begun()
  for (const name of ['a', 'b']) restart.waitFor(name, [restartSeconds(120)])
  restart.unreachable('b')
  restart.sessionUp('a', came(['ipv4-unicast']))
  restart.endOfRib('a', 'ipv4-unicast', ['ipv4-unicast'])
  t.false(restart.active)
  clock.advance(119_000)
  t.deepEqual(told, ['over'])
  clock.advance(1000)
  t.deepEqual(told, ['over', 'listener'])
})

test('a peer that can be reached again in time completes the tables', t => {
  const { clock, told, restart } = begun()
  restart.waitFor('a', [restartSeconds(120)])
  restart.unreachable('a')
  t.deepEqual(told, ['over'])
  clock.advance(20_000)
  restart.sessionUp('a', came(['ipv4-unicast']))
  restart.endOfRib('a', 'ipv4-unicast', ['ipv4-unicast'])
  t.deepEqual(told, ['over', 'listener'])
  t.is(clock.pending, 0)
})

test('who is waited for late puts the end of the restart time off for nobody', t => {
  const { clock, told, restart } = begun()
  restart.waitFor('range', [restartSeconds(120)], { isPassive: true })
  for (let i = 0; i < 4; i++) {
    clock.advance(29_000)
    restart.waitFor(`neighbour ${i}`, [restartSeconds(120)], { isPassive: true })
  }
  t.deepEqual(told, ['over'])
  clock.advance(4000)
  t.deepEqual(told, ['over', 'listener'])
  t.is(clock.pending, 0)
})

test('after close nobody is told', t => {
  const { clock, told, restart } = begun()
  restart.waitFor('a', [restartSeconds(30)])
  restart.close()
  restart.done('a')
  clock.advance(600_000)
  t.deepEqual(told, [])
})
