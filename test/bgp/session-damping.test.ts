// Sessions that come up and fall again and again: how long they wait, and which falls count.
import test from 'ava'
import fc from 'fast-check'
import type { PeerConfig } from '../../bgp/config.ts'
import { fallen, NO_PENALTY, type Penalty } from '../../bgp/session-damping.ts'
import { isFault, type SessionEnd } from '../../bgp/session-end.ts'
import { cease, emitNotification, hardReset } from '../../bgp/wire/notification.ts'
import { Writer } from '../../lib/bytes.ts'
import { bringUp, type Pair, pair, reasonOf, stateOf } from './pair.ts'
import { settle } from './settle.ts'

const MINUTE_MS = 60_000

/** The pauses, in seconds, of falls that each come so many seconds after the pause of the one before. */
function waits(afterSeconds: readonly number[]): number[] {
  let penalty: Penalty = NO_PENALTY
  let nowMs = 1000
  return afterSeconds.map(seconds => {
    nowMs += seconds * 1000
    const fall = fallen(penalty, nowMs)
    penalty = fall.penalty
    nowMs += fall.waitMs
    return Math.round(fall.waitMs / 1000)
  })
}

test('the first four falls in a row have no pause, later ones wait from half a minute to five', t => {
  t.deepEqual(waits([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), [0, 0, 0, 0, 60, 120, 240, 300, 300, 300])
  t.deepEqual(waits([0, 20, 20, 20, 20, 20, 20, 20, 20]), [0, 0, 0, 0, 44, 77, 130, 215, 300])
  t.deepEqual(waits(Array(20).fill(600)), Array(20).fill(0), 'who falls every ten minutes is never damped')
})

test('after seven minutes up the next fall has no pause, however many there were', t => {
  const many = Array(30).fill(1)
  t.is(waits([...many, 7 * 60 + 5]).at(-1), 0)
  t.true(waits([...many, 5 * 60]).at(-1)! > 0)
})

test('pauses are bounded, a fall never shortens the next, and a longer time up never lengthens it', t => {
  const gap = fc.integer({ min: 0, max: 60 * MINUTE_MS })
  fc.assert(
    fc.property(fc.array(gap, { maxLength: 40 }), gap, gap, (gaps, some, more) => {
      let penalty: Penalty = NO_PENALTY
      let nowMs = 0
      for (const gapMs of gaps) {
        nowMs += gapMs
        const fall = fallen(penalty, nowMs)
        const isFree = fall.waitMs === 0
        if (!isFree && (fall.waitMs < 30_000 || fall.waitMs > 5 * MINUTE_MS)) return false
        if (isFree && fall.penalty.points > 4) return false
        // one more at once waits at least as long
        if (fallen(fall.penalty, nowMs + fall.waitMs).waitMs < fall.waitMs) return false
        penalty = fall.penalty
        nowMs += fall.waitMs
      }
      const [sooner, later] = [Math.min(some, more), Math.max(some, more)]
      return fallen(penalty, nowMs + later).waitMs <= fallen(penalty, nowMs + sooner).waitMs
    }),
  )
  t.pass()
})

test('what counts as a fault: no end on purpose at either end, no graceful restart, no limit with a pause of its own', t => {
  const graceful = {
    gracefulRestart: { families: ['ipv4-unicast'], restartSeconds: 120, restarting: false, forwarding: [] },
  } as const
  const lost: SessionEnd = { how: 'connection-lost', message: 'gone' }
  const sent = (code: number, subcode = 0): SessionEnd => ({
    ...{ how: 'sent', detail: '' },
    notification: { code, subcode, data: new Uint8Array(0) },
  })
  const received = (code: number, subcode = 0): SessionEnd => ({
    how: 'received',
    notification: { code, subcode, data: new Uint8Array(0) },
  })
  const NO_RESTART = { gracefulRestart: undefined }
  t.true(isFault(lost, NO_RESTART))
  t.false(isFault(lost, graceful as never))
  t.false(isFault({ how: 'closed' }, NO_RESTART))
  for (const negotiated of [NO_RESTART, graceful as never]) {
    for (const code of [1, 2, 3, 4, 5, 7, 8]) {
      t.true(isFault(sent(code), negotiated))
      t.true(isFault(received(code), negotiated))
    }
    // 9, a Hard Reset, is what is inside
    const ceases = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]
    t.deepEqual(
      ceases.filter(subcode => isFault(sent(6, subcode), negotiated)),
      [10],
    )
    t.deepEqual(
      ceases.filter(subcode => isFault(received(6, subcode), negotiated)),
      [1, 8, 10],
    )
    for (const [subcode, counts] of [
      [2, false],
      [10, true],
    ] as const)
      t.is(isFault({ how: 'received', notification: hardReset(cease(subcode)) }, negotiated), counts)
  }
})

/** The connection breaks and both ends see it; they have no graceful restart. */
async function breakOnce({ network, clock }: Pair, upMs = 1000): Promise<void> {
  clock.advance(upMs)
  for (const connection of [...network.connections]) connection.closedByPeer()
  await settle()
}

/** Four falls: after each the session is there again within 5 s, and then one more. */
async function fallFiveTimes(t: { is(a: unknown, b: unknown, why?: string): unknown }, net: Pair): Promise<void> {
  for (let i = 0; i < 4; i++) {
    await breakOnce(net)
    for (let second = 0; second < 9 && stateOf(net.a, 'b') !== 'Established'; second++) {
      net.clock.advance(1000)
      await settle()
    }
    t.is(stateOf(net.a, 'b'), 'Established', `after fall ${i + 1}`)
  }
  await breakOnce(net)
}

const NO_RESTART: Partial<PeerConfig> = { gracefulRestart: false, timers: { mostIdleHoldSeconds: 5 } }

for (const [role, a, b] of [
  ['both dial', {}, {}],
  ['it dials', {}, { passive: true }],
  ['it is dialled', { passive: true }, {}],
] as const)
  test(`a session that falls again and again is damped, with the fault and the time of the next try, and comes back by itself: ${role}`, async t => {
    const net = await pair({ a: { ...NO_RESTART, ...a }, b: { ...NO_RESTART, ...b } })
    await bringUp(net)
    await fallFiveTimes(t, net)
    const dials = net.network.dials.length
    for (const speaker of [net.a, net.b]) {
      const [peer] = speaker.peers()
      t.like(peer, { state: 'Idle', flaps: 5, lastReason: 'damped' })
      t.is(peer!.reason?.code, 'damped')
      t.regex(peer!.reason!.detail, /last for closed; next try at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(.+\)$/)
      t.regex(peer!.reason!.remedy, /margayctl bgp clear/)
      const saysMs = Date.parse(/next try at (\S+)/.exec(peer!.reason!.detail)![1]!)
      t.true(saysMs - net.clock.wallMs() > 29_000 && saysMs - net.clock.wallMs() <= 60_000)
    }
    net.clock.advance(29_000)
    await settle()
    t.is(net.network.dials.length, dials, 'nobody dials meanwhile')
    for (let i = 0; i < 35; i++) {
      net.clock.advance(1000)
      await settle()
    }
    t.is(stateOf(net.a, 'b'), 'Established')
    await net.close()
  })

test('while it is damped a connection of the peer is refused with Cease/Connection Rejected', async t => {
  const net = await pair({ a: NO_RESTART, b: NO_RESTART })
  await bringUp(net)
  await fallFiveTimes(t, net)
  // the other end begins again at once
  net.b.clear('a', 'hard')
  await settle()
  t.is(reasonOf(net.a, 'b')?.code, 'damped')
  t.is(reasonOf(net.b, 'a')?.code, 'peer-cease')
  t.regex(reasonOf(net.b, 'a')!.detail, /Connection Rejected/)
  t.is(stateOf(net.a, 'b'), 'Idle')
  net.clock.advance(MINUTE_MS)
  await settle()
  net.clock.advance(10_000)
  await settle()
  t.is(stateOf(net.a, 'b'), 'Established')
  await net.close()
})

for (const [what, act] of [
  ['an operator who clears it', net => net.a.clear('b', 'hard')],
  ['another password', net => net.a.setPeer({ ...net.toB, password: undefined, ttlSecurity: 1 })],
  ['a change that resets no session', net => net.a.setPeer({ ...net.toB, prefixLimit: { max: 10 } })],
] as readonly [string, (net: Pair) => void][])
  test(`a damped session is tried at once after ${what}, and what was before is forgotten`, async t => {
    const net = await pair({ a: NO_RESTART, b: { ...NO_RESTART, timers: { idleHoldSeconds: 0 } } })
    await bringUp(net)
    await fallFiveTimes(t, net)
    t.is(reasonOf(net.a, 'b')?.code, 'damped')
    act(net)
    await settle()
    t.is(stateOf(net.a, 'b'), 'Established')
    await breakOnce(net)
    t.not(reasonOf(net.a, 'b')?.code, 'damped')
    await net.close()
  })

test('other policies, which nodes have with every block, do not end the pause', async t => {
  const net = await pair({ a: NO_RESTART, b: { ...NO_RESTART, timers: { idleHoldSeconds: 0 } } })
  await bringUp(net)
  await fallFiveTimes(t, net)
  net.a.setPeer({ ...net.toB, import: [{ action: 'accept' }], export: 'reject' })
  await settle()
  t.is(reasonOf(net.a, 'b')?.code, 'damped')
  t.is(stateOf(net.a, 'b'), 'Idle')
  await net.close()
})

test('an operator who clears a session, or disables and enables it, again and again does not get it damped', async t => {
  const net = await pair({ a: NO_RESTART, b: NO_RESTART })
  await bringUp(net)
  for (let i = 0; i < 10; i++) {
    if (i % 2 === 0) net.a.clear('b', 'hard')
    else {
      net.a.setPeer({ ...net.toB, disabled: true })
      await settle()
      net.a.setPeer(net.toB)
    }
    for (let second = 0; second < 12 && stateOf(net.a, 'b') !== 'Established'; second++) {
      net.clock.advance(1000)
      await settle()
    }
    t.is(stateOf(net.a, 'b'), 'Established')
  }
  for (const speaker of [net.a, net.b]) t.not(speaker.peers()[0]?.lastReason, 'damped')
  await net.close()
})

test('restarts with graceful restart are not damped, however often, and lose no route', async t => {
  const gracefulRestart = { restartSeconds: 120, keepOverRestarts: true }
  const timers = { mostIdleHoldSeconds: 5 }
  const net = await pair({ a: { gracefulRestart, timers }, b: { gracefulRestart, timers } })
  net.b.announce({ prefix: '198.51.100.0/24' })
  await bringUp(net)
  for (let i = 0; i < 12; i++) {
    await breakOnce(net)
    t.true(net.routes.a.has('198.51.100.0/24'))
    for (let second = 0; second < 6 && stateOf(net.a, 'b') !== 'Established'; second++) {
      net.clock.advance(1000)
      await settle()
    }
    t.is(stateOf(net.a, 'b'), 'Established')
  }
  t.is(net.a.peers()[0]?.flaps, 12)
  await net.close()
})

test('three restarts in a row of a peer without graceful restart are not damped', async t => {
  const net = await pair({ a: NO_RESTART, b: NO_RESTART })
  await bringUp(net)
  for (let i = 0; i < 3; i++) {
    await breakOnce(net)
    net.clock.advance(5000)
    await settle()
    t.is(stateOf(net.a, 'b'), 'Established')
  }
  await net.close()
})

test('a fault that a NOTIFICATION tells counts with graceful restart too, and of dynamic neighbours is not forgotten while they wait', async t => {
  const net = await pair()
  const range = { name: 'pods', range: '10.0.0.0/30', asn: 'external', import: 'accept', export: 'accept' } as const
  net.a.setPeer({ ...range, gracefulRestart: { restartSeconds: 1 } })
  net.b.setPeer({ ...net.toA, gracefulRestart: { restartSeconds: 1 } })
  await settle()
  const name = 'pods:10.0.0.2'
  const passUntil = async (done: () => boolean) => {
    for (let second = 0; second < 300 && !done(); second++) {
      net.clock.advance(1000)
      await settle(20)
    }
  }
  for (let fall = 1; fall <= 7; fall++) {
    const w = new Writer(64)
    emitNotification(w, { code: 3, subcode: 1, data: new Uint8Array(0) })
    for (const connection of [...net.network.connections])
      if (connection.localAddress === '10.0.0.2') connection.write(w.done().slice())
    await settle()
    t.is(net.a.peers()[0]?.flaps, fall)
    t.is(reasonOf(net.a, name)?.code === 'damped', fall > 4)
    if (fall < 7) await passUntil(() => stateOf(net.a, name) === 'Established')
  }
  const { reason } = net.a.peers()[0]!
  const untilMs = Date.parse(/next try at (\S+)/.exec(reason!.detail)![1]!)
  t.true(untilMs - net.clock.wallMs() > 70_000, 'longer than a neighbour without a session is remembered')
  await passUntil(() => net.clock.wallMs() > untilMs - 3000)
  t.is(reasonOf(net.a, name)?.code, 'damped')
  t.is(net.a.peers()[0]?.flaps, 7)
  await net.close()
})
