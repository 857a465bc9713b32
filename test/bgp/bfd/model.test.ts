// Two sessions over a network that loses, doubles and reorders packets, and is cut: in time that is moved by hand, with random
// configurations and histories. What RFC 5880 promises of any of them is checked here.
import test from 'ava'
import fc from 'fast-check'
import type { BfdSessionConfig } from '../../../bgp/bfd/config.ts'
import { type ControlPacket, parsePacket } from '../../../bgp/bfd/packet.ts'
import { Network, nowhere, numbers, only, promptly, type Way } from './network.ts'

const A = '192.0.2.1'
const B = '192.0.2.2'

/** The same 20 histories in each run. A search among others: `MARGAY_BFD_RUNS=2000 ava --timeout=1h test/bgp/bfd/model.test.ts`. */
const SEARCH = process.env['MARGAY_BFD_RUNS']
const RUNS = SEARCH === undefined ? { numRuns: 20, seed: 1 } : { numRuns: Number(SEARCH) }

type Ways = 'prompt' | 'lossy' | 'reordering' | 'doubling' | 'awful' | 'cut' | 'one-way'

/** How packets fare; `draw` is a number of 0-4294967295. */
function wayOf(kind: Ways, draw: () => number): Way {
  const chance = (of: number) => draw() % 100 < of
  const late = (most: number) => draw() % most
  switch (kind) {
    case 'prompt':
      return promptly
    case 'lossy':
      return () => (chance(30) ? [] : [late(10)])
    case 'reordering':
      return () => [late(500)]
    case 'doubling':
      return () => (chance(50) ? [late(5), late(800)] : [1])
    case 'awful':
      return () => (chance(60) ? [] : chance(30) ? [late(1500), late(1500)] : [late(1500)])
    case 'cut':
      return nowhere
    case 'one-way':
      return ({ from }) => (from === A ? [1] : [])
  }
}

const times: fc.Arbitrary<Partial<BfdSessionConfig>> = fc.record({
  desiredMinTxMs: fc.integer({ min: 50, max: 2000 }),
  requiredMinRxMs: fc.integer({ min: 50, max: 2000 }),
  multiplier: fc.integer({ min: 1, max: 6 }),
})
const sides = fc.record({
  a: times,
  b: times,
  passive: fc.constantFrom('a', 'b', undefined),
  authentication: fc.constantFrom('sha1' as const, 'meticulous-sha1' as const, undefined),
  seed: fc.integer(),
})
type Sides = typeof sides extends fc.Arbitrary<infer T> ? T : never

function begun({ a, b, passive, authentication, seed }: Sides) {
  const draw = numbers(seed)
  const network = new Network()
  const hosts = { a: network.host(draw, A), b: network.host(draw, B) }
  const keys = [{ id: 1, secret: 'sesame' }]
  const more = authentication && { authentication: { type: authentication, keys } }
  const configs = {
    a: { local: A, peer: B, passive: passive === 'a', ...a, ...more },
    b: { local: B, peer: A, passive: passive === 'b', ...b, ...more },
  }
  hosts.a.sessions.set('b', configs.a)
  hosts.b.sessions.set('a', configs.b)
  return { network, clock: network.clock, draw, hosts, configs, both: [hosts.a, hosts.b] as const }
}

/** Long enough to forget the numbers of the other's authentication, which are known for two detection times, and to come Up. */
const QUIET_MS = 30_000
/** Long enough to come Up and to confirm the times. */
const SETTLED_MS = 8000

test('whatever happened, when the network is well again both sessions are Up, of each other, and with the same times', t => {
  const history = fc.array(
    fc.record({
      way: fc.constantFrom<Ways>('prompt', 'lossy', 'reordering', 'doubling', 'awful', 'cut', 'one-way'),
      ms: fc.integer({ min: 1, max: 8000 }),
      what: fc.constantFrom('nothing', 'change', 'disable', 'remove'),
      times,
    }),
    { maxLength: 6 },
  )
  fc.assert(
    fc.property(sides, history, (of, events) => {
      const { network, clock, draw, hosts, configs, both } = begun(of)
      for (const event of events) {
        network.way = wayOf(event.way, draw)
        clock.advance(event.ms)
        if (event.what === 'change') hosts.a.sessions.set('b', { ...configs.a, ...event.times })
        if (event.what === 'disable') {
          hosts.b.sessions.disable('a')
          clock.advance(event.ms)
          hosts.b.sessions.enable('a')
        }
        if (event.what === 'remove') {
          hosts.b.sessions.remove('a')
          clock.advance(event.ms)
          hosts.b.sessions.set('a', configs.b)
        }
      }
      network.way = promptly
      clock.advance(QUIET_MS)
      const [a, b] = both.map(only) as [ReturnType<typeof only>, ReturnType<typeof only>]
      for (const [one, other] of [
        [a, b],
        [b, a],
      ] as const) {
        t.like(one, { state: 'Up', fault: undefined })
        t.like(one.remote, { state: 'Up', discriminator: other.discriminator })
        // one end's time to give up is the other's interval, as often as that said
        t.is(one.detectionTimeMs % other.transmitIntervalMs, 0)
      }
    }),
    RUNS,
  )
})

test('a cut is told by both ends when the detection time after the last packet is over, with its reason', t => {
  fc.assert(
    fc.property(sides, fc.integer({ min: 0, max: 2000 }), (of, ms) => {
      const { network, clock, both } = begun(of)
      const heardMs = new Map<string, number>()
      network.way = ({ to }) => {
        heardMs.set(to, clock.monotonicMs() + 1)
        return [1]
      }
      clock.advance(SETTLED_MS + ms)
      network.way = nowhere
      const detectionMs = both.map(host => only(host).detectionTimeMs)
      clock.advance(Math.max(...detectionMs) + 1)
      for (const [i, host] of both.entries()) {
        const last = host.changes.at(-1)!
        t.like(last, { from: 'Up', to: 'Down', diagnostic: 'detection-time-expired' })
        t.is(Math.round(last.atMs - heardMs.get(i === 0 ? A : B)!), detectionMs[i]!)
      }
    }),
    RUNS,
  )
})

test('without a loss no session goes down, at the fastest and with late packets too', t => {
  fc.assert(
    fc.property(sides, fc.boolean(), (of, change) => {
      const { network, clock, draw, hosts, configs, both } = begun(of)
      clock.advance(SETTLED_MS)
      // less than the tenth of 50 ms by which an interval is cut where one missed packet is enough
      network.way = () => [draw() % 5]
      const losses = () => both.map(host => only(host).losses)
      t.deepEqual(losses(), [0, 0])
      for (let i = 0; i < 5; i++) {
        if (change) hosts.a.sessions.set('b', { ...configs.a, ...(i % 2 === 0 ? of.b : of.a) })
        clock.advance(6000)
      }
      t.deepEqual(losses(), [0, 0])
    }),
    RUNS,
  )
})

test('a session that is Up loses no packet’s worth of patience to others: missing one less than the multiplier is no failure', t => {
  fc.assert(
    fc.property(sides, of => {
      const { network, clock, both } = begun(of)
      clock.advance(SETTLED_MS)
      // of each end's packets all but every multiplier-th are lost; jitter makes them come earlier than the detection time
      const count = new Map<string, number>()
      network.way = ({ from }) => {
        const sent = (count.get(from) ?? 0) + 1
        count.set(from, sent)
        const multiplier = (from === A ? of.a : of.b).multiplier!
        return sent % multiplier === 0 ? [0] : []
      }
      clock.advance(6000)
      t.deepEqual(
        both.map(host => only(host).losses),
        [0, 0],
      )
    }),
    RUNS,
  )
})

test('every packet that is sent is right: both bits of a poll never, one discriminator, never too often, never too seldom', t => {
  fc.assert(
    fc.property(sides, of => {
      const { network, clock, both } = begun(of)
      clock.advance(SETTLED_MS)
      const before = network.sent.length
      const startMs = clock.monotonicMs()
      const at: number[] = []
      network.way = packet => {
        if (packet.from === A) at.push(clock.monotonicMs())
        return [1]
      }
      clock.advance(6000)
      const { transmitIntervalMs, discriminator } = only(both[0])
      const ofA = network.sent.slice(before).filter(({ from }) => from === A)
      for (const { bytes } of network.sent) {
        const packet = parsePacket(bytes) as ControlPacket
        t.is(typeof packet, 'object')
        t.false(packet.poll && packet.final)
        t.false(packet.demand || packet.controlPlaneIndependent)
        t.true(packet.state === 'Up' || packet.desiredMinTxUs >= 1_000_000)
      }
      for (const { bytes } of ofA) t.is((parsePacket(bytes) as ControlPacket).myDiscriminator, discriminator)
      const most = transmitIntervalMs * (of.a.multiplier === 1 ? 0.9 : 1) + 1e-6
      const gaps = at.slice(1).map((ms, i) => ms - at[i]!)
      t.true(gaps.length > 0 && at[0]! - startMs <= most)
      t.deepEqual(
        gaps.filter(gap => gap < transmitIntervalMs * 0.75 - 1e-6 || gap > most),
        [],
      )
      // they do not fall into step
      t.true(new Set(gaps.map(gap => Math.round(gap * 1000))).size > gaps.length / 2)
    }),
    RUNS,
  )
})
