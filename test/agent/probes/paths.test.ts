import test from 'ava'
import type { Packet } from '../../../agent/probes/paths.ts'
import { type Far, randomOf, Simulation, target } from './simulation.ts'

const HOUR_MS = 3_600_000
/** What is promised: a path that stops passing is told within this. */
const TOLD_MS = 10_000

/** Answers everything after a millisecond, with a session since the beginning. */
function well(i: number, answers: Far['answers'] = () => 1): Far {
  return { target: target(i), way: 'vxlan', sessionSinceMs: -60_000, answers }
}

/** After the first minute nothing of these kinds is answered. */
function silentFrom(fromMs: number, ...kinds: Packet['kind'][]): Far['answers'] {
  return ({ kind }, nowMs) => (nowMs >= fromMs && kinds.includes(kind) ? undefined : 1)
}

/** How long after `fromMs` it is lost, and as what. */
function lostAfter(far: Far, fromMs: number, seed: number, change: (world: Simulation) => void = () => undefined) {
  const world = new Simulation([far, well(2)], randomOf(seed))
  change(world)
  let told: string | undefined
  let tookMs = Number.POSITIVE_INFINITY
  world.run(fromMs + 60_000, () => {
    const { state, loss } = world.paths.of('n1', 'ipv4')!
    if (state !== 'lost' || told !== undefined) return
    told = loss
    tookMs = world.nowMs - fromMs
  })
  return { told, tookMs, world }
}

const seeds = Array.from({ length: 40 }, (_, i) => i)

test('VXLAN that is dropped while the session stays up is told within ten seconds, wherever in a round it begins', t => {
  for (const seed of seeds) {
    const fromMs = 60_000 + seed * 127
    const { told, tookMs } = lostAfter(well(1, silentFrom(fromMs, 'pod', 'tunnel')), fromMs, seed)
    t.is(told, 'VxlanSilent', `seed ${seed}`)
    t.true(tookMs <= TOLD_MS, `seed ${seed}: ${tookMs} ms`)
  }
})

test('a path that was answered and is not any more, while node and tunnel answer, is lost without a cause', t => {
  for (const seed of seeds) {
    const fromMs = 60_000 + seed * 127
    const { told, tookMs } = lostAfter(well(1, silentFrom(fromMs, 'pod')), fromMs, seed)
    t.is(told, 'PathLost', `seed ${seed}`)
    t.true(tookMs <= TOLD_MS, `seed ${seed}: ${tookMs} ms`)
  }
})

test('no tunnel is named where the node itself is silent, nor after it was in this silence', t => {
  const fromMs = 60_000
  const answers: Far['answers'] = ({ kind }, nowMs) =>
    nowMs < fromMs || (kind === 'host' && nowMs > 90_000) ? 1 : undefined
  const { told, world } = lostAfter(well(1, answers), fromMs, 1)
  t.is(told, 'PathLost')
  t.is(world.paths.of('n1', 'ipv4')?.loss, 'PathLost')
  t.true(world.paths.of('n1', 'ipv4')?.hostAnswers)
})

test('VXLAN that never passed is told once the session is ten seconds old, and a probe alone that never was answered is not', t => {
  const began = lostAfter({ ...well(1, silentFrom(0, 'pod', 'tunnel')), sessionSinceMs: 0 }, 0, 3)
  t.is(began.told, 'VxlanSilent')
  t.true(began.tookMs <= 20_000, `${began.tookMs} ms`)
  const old = lostAfter({ ...well(1, silentFrom(0, 'pod')), sessionSinceMs: 0 }, 0, 3)
  t.is(old.told, undefined)
  t.is(old.world.paths.of('n1', 'ipv4')?.state, 'unknown')
})

test('a probe of a node shows that its agent answers some, also where none from here was answered', t => {
  const far = { ...well(1, silentFrom(0, 'pod')), sessionSinceMs: 0 }
  const { told } = lostAfter(far, 0, 3, world => world.paths.heard('n1', 'ipv4', undefined, 5000))
  t.is(told, 'PathLost')
})

test('a silent node without a session is absent, and one that never had any to have is not told of for three minutes', t => {
  const fromMs = 60_000
  const down = lostAfter({ ...well(1, silentFrom(fromMs, 'pod', 'tunnel')), sessionSinceMs: undefined }, fromMs, 5)
  t.is(down.told, undefined)
  t.is(down.world.paths.of('n1', 'ipv4')?.state, 'absent')
  const reflected = lostAfter({ ...well(1, silentFrom(fromMs, 'pod', 'tunnel')), sessionSinceMs: 'none' }, fromMs, 5)
  t.is(reflected.told, undefined)
  reflected.world.run(200_000)
  t.is(reflected.world.paths.of('n1', 'ipv4')?.loss, 'VxlanSilent')
})

test('while objects of other nodes may be old, a silent probe alone is no loss, and what was proved stays', t => {
  const fromMs = 60_000
  const old = lostAfter(well(1, silentFrom(fromMs, 'pod')), fromMs, 5, world => {
    world.isViewFresh = false
  })
  t.is(old.told, undefined)
  const { world } = lostAfter(well(1, silentFrom(fromMs, 'pod')), fromMs, 5)
  world.isViewFresh = false
  world.run(60_000)
  t.is(world.paths.of('n1', 'ipv4')?.loss, 'PathLost')
})

test('a path passes again as soon as an answer comes', t => {
  const fromMs = 60_000
  const answers: Far['answers'] = ({ kind }, nowMs) =>
    kind === 'host' || nowMs < fromMs || nowMs > fromMs + 60_000 ? 1 : undefined
  const { world, told } = lostAfter(well(1, answers), fromMs, 7)
  t.is(told, 'VxlanSilent')
  world.run(6000)
  t.deepEqual(world.bad, [])
  const { loss, hostAnswers } = world.paths.of('n1', 'ipv4')!
  t.deepEqual({ loss, hostAnswers }, { loss: undefined, hostAnswers: undefined })
})

test('a path with another address begins anew, and one that is gone has no row', t => {
  const world = new Simulation([well(1)], randomOf(1))
  world.run(20_000)
  const told: string[] = []
  world.paths.onChange((before, now) =>
    told.push(`${before?.state} ${before?.address} -> ${now?.state} ${now?.address}`),
  )
  world.paths.set('n1', [{ ...target(1), address: '10.9.9.9' }], world.nowMs)
  world.paths.set('n1', [], world.nowMs)
  t.is(world.paths.of('n1', 'ipv4'), undefined)
  t.deepEqual(told, [
    'passes 10.0.0.1 -> undefined undefined',
    'undefined undefined -> unknown 10.9.9.9',
    'unknown 10.9.9.9 -> undefined undefined',
  ])
})

test('what could not be sent by this machine does not count as lost', t => {
  const world = new Simulation([well(1)], randomOf(1))
  world.run(20_000)
  const { step } = world.paths
  world.paths.step = (nowMs: number) => {
    const { packets, ...rest } = step.call(world.paths, nowMs)
    for (const packet of packets) world.paths.unsent(packet)
    return { ...rest, packets: [] }
  }
  world.run(60_000)
  t.true(['passes', 'suspect'].includes(world.paths.of('n1', 'ipv4')!.state))
})

test('a source that is not the own one is told after it was seen twice, and no more once the own one comes', t => {
  const world = new Simulation([well(1)], randomOf(1))
  const seen = () => world.paths.of('n1', 'ipv4')?.sourceSeen
  world.paths.heard('n1', 'ipv4', '192.168.0.1', 1000)
  t.is(seen(), undefined)
  world.paths.heard('n1', 'ipv4', '192.168.0.1', 2000)
  t.is(seen(), undefined)
  world.paths.heard('n1', 'ipv4', '192.168.0.1', 6000)
  t.is(seen(), '192.168.0.1')
  world.paths.heard('n1', 'ipv4', undefined, 11_000)
  t.is(seen(), undefined)
  world.paths.heard('n1', 'ipv4', '192.168.0.1', 12_000)
  world.paths.heard('n1', 'ipv4', '192.168.0.1', 17_000)
  t.is(seen(), '192.168.0.1')
  world.nowMs = 80_000
  world.restart
  world.paths.step(80_000)
  t.is(seen(), undefined, 'nothing came for a minute')
})

test('in a day with one packet of 200 lost each way, agents that start anew every ten minutes and loops that stand still, nothing is told', t => {
  const random = randomOf(2026)
  const passes = () => random() >= 0.005 && random() >= 0.005
  const upMs = new Map<string, number>()
  const far = Array.from({ length: 6 }, (_, k): Far => {
    const each = well(k + 1)
    each.answers = ({ kind }, nowMs) =>
      passes() && (kind !== 'pod' || nowMs >= (upMs.get(each.target.node) ?? 0)) ? 1 + random() * 300 : undefined
    return each
  })
  const world = new Simulation(far, random)
  // now and then this machine stands still
  world.lateMs = () => (random() < 0.001 ? random() * 8000 : random() * 20)
  let restarts = 0
  const told: string[] = []
  for (let hour = 0; hour < 24; hour++)
    for (let tenMinutes = 0; tenMinutes < 6; tenMinutes++) {
      const each = far[restarts++ % far.length]!
      // it ends, and its session: an image is fetched, and its end of probes is there soon after its session
      const awayMs = 1000 + random() * 120_000
      each.sessionSinceMs = undefined
      upMs.set(each.target.node, Number.POSITIVE_INFINITY)
      const check = () =>
        told.push(...world.bad.filter(bad => bad.includes('lost')).map(bad => `${world.nowMs} ${bad}`))
      world.run(awayMs, check)
      each.sessionSinceMs = world.nowMs
      upMs.set(each.target.node, world.nowMs + random() * 8000)
      if (restarts % 7 === 0) world.restart()
      world.run(600_000 - awayMs, check)
    }
  t.deepEqual(told, [])
  t.true(world.nowMs >= 24 * HOUR_MS - 1)
  t.deepEqual(world.bad, [])
  const perRound = world.sent / (world.nowMs / 4500) / far.length
  t.true(perRound < 1.5, `${perRound} packets for each node and round`)
})
