// The state machine against RFC 5880: a row per (phase, event), and the rules of §6.5, §6.6 and §6.8 about timers and packets.
import test from 'ava'
import type { BfdState, ControlPacket } from '../../../bgp/bfd/packet.ts'
import { type BfdRules, type FsmState, initialState } from '../../../bgp/bfd/state.ts'
import { type FsmAction, type FsmEvent, type FsmStep, step } from '../../../bgp/bfd/step.ts'
import { detectionDueMs, detectionTimeMs, jitterOf, nextDueMs, transmitDueMs } from '../../../bgp/bfd/timers.ts'
import { aPacket } from './packets.ts'

const rules: BfdRules = { desiredMinTxUs: 300_000, requiredMinRxUs: 300_000, multiplier: 3, passive: false }
const phases: readonly BfdState[] = ['AdminDown', 'Down', 'Init', 'Up']

/** One session that a test leads through its life; time passes only where a test says so. */
class Walk {
  nowMs = 0
  state: FsmState
  shown = ''
  actions: FsmAction[] = []

  constructor(more: Partial<BfdRules> = {}) {
    this.state = initialState({ ...rules, ...more }, 1)
  }

  do(event: FsmEvent, chance = 0.999_999): this {
    const done = step(this.state, event, { nowMs: this.nowMs, chance })
    const [state, ...actions] = done
    this.shown = shownStep(done)
    this.state = state
    this.actions = actions
    return this
  }

  hears(more: Partial<ControlPacket>): this {
    return this.do({ type: 'packet', packet: aPacket(more) })
  }

  /** Lets time pass up to a moment, and does nothing then. */
  until(nowMs: number): this {
    this.nowMs = nowMs
    return this
  }

  get sent(): ControlPacket[] {
    return this.actions.flatMap(action => (action.do === 'send' ? [action.packet] : []))
  }
}

/** `Up(diagnostic): changed SEND`: the phase after it and the actions, as one line. */
function shownStep([state, ...actions]: FsmStep): string {
  const diagnostic = state.diagnostic === 'none' ? '' : `(${state.diagnostic})`
  return `${state.phase}${diagnostic}: ${actions.map(word).join(' ')}`.trimEnd()
}

function word(action: FsmAction): string {
  if (action.do === 'changed') return `${action.from}>${action.to}`
  const { state, poll, final } = action.packet
  return `${state.toUpperCase()}${poll ? '+P' : ''}${final ? '+F' : ''}`
}

/** A session that came into a phase on the RFC's way, with nothing due and no Poll Sequence under way. */
function at(phase: BfdState, more: Partial<BfdRules> = {}): Walk {
  const walk = new Walk(more).do({ type: 'due' })
  if (phase === 'AdminDown') return walk.do({ type: 'disable' })
  if (phase === 'Down') return walk
  walk.hears({ state: 'Down', yourDiscriminator: 0, desiredMinTxUs: 1_000_000 })
  if (phase === 'Init') return walk
  return walk.hears({ state: 'Init', desiredMinTxUs: 1_000_000 }).hears({ final: true }).hears({})
}

/** Every event, by a short name. Packets come with what they had before but their state. */
const events: Readonly<Record<string, FsmEvent & { atMs?: number }>> = {
  AdminDown: { type: 'packet', packet: aPacket({ state: 'AdminDown' }) },
  Down: { type: 'packet', packet: aPacket({ state: 'Down' }) },
  Init: { type: 'packet', packet: aPacket({ state: 'Init' }) },
  Up: { type: 'packet', packet: aPacket({ state: 'Up' }) },
  'Down with Poll': { type: 'packet', packet: aPacket({ state: 'Down', poll: true }) },
  'Up with Poll': { type: 'packet', packet: aPacket({ state: 'Up', poll: true }) },
  'nothing due': { type: 'due' },
  'transmission due': { type: 'due', atMs: 1000 },
  'detection due': { type: 'due', atMs: 3000 },
  configure: { type: 'configure', rules: { ...rules, desiredMinTxUs: 50_000, requiredMinRxUs: 50_000 } },
  disable: { type: 'disable' },
  enable: { type: 'enable' },
}

const lost = 'detection-time-expired'
const told = 'neighbor-signaled-down'
const admin = 'administratively-down'

/** One row per (phase, event). A packet in capitals is sent; `same` is nothing at all. */
const table: Readonly<Record<BfdState, Readonly<Record<string, string>>>> = {
  AdminDown: {
    // discarded, but its discriminator is told back
    AdminDown: `AdminDown(${admin}): ADMINDOWN`,
    Down: `AdminDown(${admin}): ADMINDOWN`,
    Init: `AdminDown(${admin}): ADMINDOWN`,
    Up: `AdminDown(${admin}): ADMINDOWN`,
    'Down with Poll': `AdminDown(${admin}): ADMINDOWN`,
    'Up with Poll': `AdminDown(${admin}): ADMINDOWN`,
    'nothing due': 'same',
    'transmission due': `AdminDown(${admin}): ADMINDOWN`,
    'detection due': `AdminDown(${admin}): ADMINDOWN`,
    configure: `AdminDown(${admin}): ADMINDOWN`,
    disable: 'same',
    enable: `Down(${admin}): AdminDown>Down DOWN`,
  },
  Down: {
    AdminDown: 'Down: DOWN',
    Down: 'Init: Down>Init INIT',
    Init: 'Up: Down>Up UP+P',
    // the neighbour has not yet seen that this session was lost
    Up: 'Down: DOWN',
    'Down with Poll': 'Init: Down>Init INIT+F',
    'Up with Poll': 'Down: DOWN+F',
    'nothing due': 'same',
    'transmission due': 'Down: DOWN',
    // it was never heard of
    'detection due': 'Down: DOWN',
    configure: 'Down: DOWN',
    disable: `AdminDown(${admin}): Down>AdminDown ADMINDOWN`,
    enable: 'same',
  },
  Init: {
    AdminDown: `Down(${told}): Init>Down DOWN`,
    Down: 'same',
    Init: 'Up: Init>Up UP+P',
    Up: 'Up: Init>Up UP+P',
    'Down with Poll': 'Init: INIT+F',
    'Up with Poll': 'Up: Init>Up UP+F',
    'nothing due': 'same',
    'transmission due': 'Init: INIT',
    'detection due': `Down(${lost}): Init>Down DOWN`,
    configure: 'Init: INIT',
    disable: `AdminDown(${admin}): Init>AdminDown ADMINDOWN`,
    enable: 'same',
  },
  Up: {
    AdminDown: `Down(${told}): Up>Down DOWN`,
    Down: `Down(${told}): Up>Down DOWN`,
    Init: 'same',
    Up: 'same',
    'Down with Poll': `Down(${told}): Up>Down DOWN+F`,
    'Up with Poll': 'Up: UP+F',
    'nothing due': 'same',
    'transmission due': `Down(${lost}): Up>Down DOWN`,
    'detection due': `Down(${lost}): Up>Down DOWN`,
    configure: 'Up: UP+P',
    disable: `AdminDown(${admin}): Up>AdminDown ADMINDOWN`,
    enable: 'same',
  },
}

test('every phase has a row for every event, and the machine does what the row says', t => {
  for (const phase of phases) {
    t.deepEqual(Object.keys(table[phase]), Object.keys(events))
    for (const [name, { atMs = 0, ...event }] of Object.entries(events)) {
      const before = at(phase)
      const expected = table[phase][name]!
      const same = `${shownStep([before.state])}`
      t.is(before.until(atMs).do(event).shown, expected === 'same' ? same : expected, `${name} in ${phase}`)
    }
  }
})

test('a session begins Down, with a second between packets and nothing known of its neighbour', t => {
  const walk = new Walk().do({ type: 'due' })
  t.like(walk.sent[0], { state: 'Down', diagnostic: 'none', myDiscriminator: 1, yourDiscriminator: 0 })
  t.like(walk.sent[0], { desiredMinTxUs: 1_000_000, requiredMinRxUs: 300_000, multiplier: 3 })
  t.like(walk.sent[0], { poll: false, final: false, demand: false, controlPlaneIndependent: false })
  t.is(detectionDueMs(walk.state), undefined)
})

test('the interval is drawn anew for each packet, 75 to 100 % of what was agreed, and at most 90 % where one miss is enough', t => {
  for (const [multiplier, least, most] of [
    [1, 0.75, 0.9],
    [2, 0.75, 1],
    [255, 0.75, 1],
  ] as const) {
    t.is(jitterOf(multiplier, 0), least)
    t.true(Math.abs(jitterOf(multiplier, 1) - most) < 1e-9)
  }
  const walk = at('Down')
  for (const [chance, dueMs] of [
    [0, 750],
    [0.5, 875],
    [0.2, 800],
  ] as const) {
    walk.until(walk.nowMs + 10_000).do({ type: 'due' }, chance)
    t.is(transmitDueMs(walk.state), walk.nowMs + dueMs)
  }
})

test('packets go at the slower of what we want and what the neighbour takes', t => {
  const dueAfter = (requiredMinRxUs: number) => Math.round(transmitDueMs(at('Up').hears({ requiredMinRxUs }).state)!)
  t.is(dueAfter(1), 300)
  t.is(dueAfter(299_999), 300)
  t.is(dueAfter(2_000_000), 2000)
})

test('a neighbour that takes packets more often gets them at once, counted from the last one', t => {
  const walk = at('Up').hears({ requiredMinRxUs: 5_000_000 }).until(800).do({ type: 'due' })
  t.deepEqual(walk.sent, [])
  t.deepEqual(walk.hears({ requiredMinRxUs: 2_000_000 }).sent, [])
  t.is(Math.round(transmitDueMs(walk.state)!), 2000)
  // its time has passed already
  t.is(walk.hears({ requiredMinRxUs: 300_000 }).shown, 'Up: UP')
})

test('the detection time is the neighbour’s multiplier times the slower of its interval and what we take', t => {
  const timeMs = (more: Partial<ControlPacket>) => detectionTimeMs(at('Up').hears(more).state)
  t.is(timeMs({}), 900)
  t.is(timeMs({ multiplier: 5 }), 1500)
  t.is(timeMs({ desiredMinTxUs: 50_000 }), 900)
  t.is(timeMs({ desiredMinTxUs: 400_000, multiplier: 2 }), 800)
  t.is(timeMs({ desiredMinTxUs: 0xffffffff, multiplier: 255 }), (255 * 0xffffffff) / 1000)
})

test('a session is lost when the detection time is over, not before, and each packet begins it anew', t => {
  const walk = at('Up').until(500).hears({})
  t.is(walk.until(1399).do({ type: 'due' }).state.phase, 'Up')
  t.is(walk.until(1400).do({ type: 'due' }).shown, `Down(${lost}): Up>Down DOWN`)
  t.like(walk.sent[0], { state: 'Down', diagnostic: lost, yourDiscriminator: 0, desiredMinTxUs: 1_000_000 })
  t.is(detectionDueMs(walk.state), undefined)
})

test('a neighbour that is not heard of for a detection time is forgotten in every phase', t => {
  for (const phase of phases) {
    const walk = at(phase).hears({ state: 'AdminDown' })
    t.is(walk.state.remote.discriminator, 2)
    walk.until(walk.nowMs + detectionTimeMs(walk.state)).do({ type: 'due' })
    t.is(walk.state.remote.discriminator, 0, phase)
    t.like(walk.sent[0], { yourDiscriminator: 0 })
  }
})

test('the reason of the last failure is told until the next one, also when the session is Up again', t => {
  const walk = at('Up').until(5000).do({ type: 'due' })
  walk.hears({ state: 'Down', yourDiscriminator: 0 }).hears({ state: 'Up' })
  t.is(walk.state.phase, 'Up')
  t.like(walk.sent[0], { state: 'Up', diagnostic: lost })
  t.like(walk.hears({ state: 'Down' }).sent[0], { diagnostic: told })
})

test('a passive session is silent until it has heard of its neighbour, and again when that is gone', t => {
  const walk = new Walk({ passive: true }).do({ type: 'due' }).until(10_000).do({ type: 'due' })
  t.deepEqual(walk.sent, [])
  t.is(nextDueMs(walk.state), undefined)
  t.deepEqual(walk.do({ type: 'disable' }).sent, [])
  walk.do({ type: 'enable' })
  t.is(walk.hears({ state: 'Down', yourDiscriminator: 0 }).shown, `Init(${admin}): Down>Init INIT`)
  walk.hears({ state: 'Up' })
  walk.until(20_000).do({ type: 'due' })
  t.deepEqual(walk.sent, [])
  t.is(nextDueMs(walk.state), undefined)
})

test('Up begins a Poll Sequence, on packets that are due anyway, and the Final ends it', t => {
  const walk = at('Init').hears({ state: 'Up' })
  t.like(walk.sent[0], { state: 'Up', poll: true, final: false, desiredMinTxUs: 300_000 })
  t.deepEqual(walk.do({ type: 'due' }).sent, [])
  t.like(walk.until(300).do({ type: 'due' }).sent[0], { poll: true })
  t.deepEqual(walk.hears({ final: true }).sent, [])
  t.like(walk.until(600).do({ type: 'due' }).sent[0], { poll: false })
})

test('a session whose interval is a second anyway has nothing to be confirmed when it comes Up', t => {
  t.is(at('Init', { desiredMinTxUs: 2_000_000 }).hears({ state: 'Up' }).shown, 'Up: Init>Up UP')
})

test('a Poll is answered at once, with the state that follows from it, and the next periodic packet stays where it was', t => {
  const walk = at('Up')
  const dueMs = transmitDueMs(walk.state)
  walk.until(100).hears({ poll: true })
  t.deepEqual(walk.shown, 'Up: UP+F')
  t.is(transmitDueMs(walk.state), dueMs)
  // while we poll ourselves too: never both bits in one packet
  const both = at('Init').hears({ state: 'Up', poll: true })
  t.like(both.sent[0], { poll: false, final: true, state: 'Up' })
  t.is(both.sent.length, 1)
  t.like(both.until(1000).do({ type: 'due' }).sent.at(-1), { final: false })
})

const faster: BfdRules = { ...rules, desiredMinTxUs: 50_000, requiredMinRxUs: 50_000 }
const slower: BfdRules = { ...rules, desiredMinTxUs: 600_000, requiredMinRxUs: 600_000 }

test('a shorter interval is kept at once, a shorter detection time only when the neighbour has confirmed it', t => {
  const walk = at('Up')
  walk.hears({ requiredMinRxUs: 50_000, desiredMinTxUs: 50_000 }).do({ type: 'configure', rules: faster })
  t.like(walk.sent[0], { poll: true, desiredMinTxUs: 50_000, requiredMinRxUs: 50_000 })
  t.is(Math.round(transmitDueMs(walk.state)!), 50)
  t.is(detectionTimeMs(walk.state), 900)
  walk.hears({ requiredMinRxUs: 50_000, desiredMinTxUs: 50_000, final: true })
  t.is(detectionTimeMs(walk.state), 150)
})

test('a longer detection time is kept at once, a longer interval only when the neighbour has confirmed it', t => {
  const walk = at('Up').do({ type: 'configure', rules: slower })
  t.like(walk.sent[0], { poll: true, desiredMinTxUs: 600_000, requiredMinRxUs: 600_000 })
  t.is(detectionTimeMs(walk.state), 1800)
  t.is(Math.round(transmitDueMs(walk.state)!), 300)
  walk.hears({ final: true })
  t.is(Math.round(transmitDueMs(walk.state)!), 600)
})

test('while a session is not Up every change is kept at once and never below a second', t => {
  const walk = at('Init').do({ type: 'configure', rules: faster })
  t.like(walk.sent[0], { poll: false, desiredMinTxUs: 1_000_000, requiredMinRxUs: 50_000 })
  walk.do({ type: 'configure', rules: { ...rules, desiredMinTxUs: 3_000_000 } })
  t.like(walk.sent[0], { desiredMinTxUs: 3_000_000 })
  // and a session that is lost in the middle of a Poll Sequence is slow at once
  const lostWalk = at('Up').do({ type: 'configure', rules: faster }).hears({ state: 'Down' })
  t.like(lostWalk.sent[0], { state: 'Down', poll: false, desiredMinTxUs: 1_000_000 })
  t.is(Math.round(transmitDueMs(lostWalk.state)!), 1000)
})

test('a second change waits for the Final of the first and a packet without one', t => {
  const walk = at('Up').do({ type: 'configure', rules: faster })
  t.deepEqual(walk.do({ type: 'configure', rules: slower }).sent, [])
  // the answer of the first, and an answer to a repeated Poll of it
  t.deepEqual(walk.hears({ final: true }).sent, [])
  t.deepEqual(walk.hears({ final: true }).sent, [])
  t.like(walk.hears({}).sent[0], { poll: true, desiredMinTxUs: 600_000 })
})

test('a multiplier that changes is told at once', t => {
  t.like(at('Up').do({ type: 'configure', rules: { ...rules, multiplier: 7 } }).sent[0], { multiplier: 7, poll: false })
})

test('a neighbour that demands gets no periodic packets while both are Up, and the session stays Up by its own', t => {
  const walk = at('Up').hears({ demand: true, poll: true })
  t.is(walk.shown, 'Up: UP+F')
  t.is(transmitDueMs(walk.state), undefined)
  for (let nowMs = 300; nowMs < 60_000; nowMs += 300) t.deepEqual(walk.until(nowMs).hears({ demand: true }).sent, [])
  t.is(walk.state.phase, 'Up')
  // its Polls are answered
  t.is(walk.hears({ demand: true, poll: true }).shown, 'Up: UP+F')
  // and when it does not demand any more, packets go at once
  t.is(walk.hears({}).shown, 'Up: UP')
})

test('a neighbour that demands without being Up is sent to as any', t => {
  t.not(transmitDueMs(at('Up').hears({ state: 'Init', demand: true }).state), undefined)
  t.not(transmitDueMs(at('Init').hears({ state: 'Down', demand: true }).state), undefined)
})

test('a neighbour that demands has every change confirmed by a Poll Sequence', t => {
  const walk = at('Up').hears({ demand: true })
  walk.do({ type: 'configure', rules: { ...rules, multiplier: 7 } })
  t.like(walk.sent[0], { multiplier: 7, poll: true })
  t.like(walk.until(300).do({ type: 'due' }).sent[0], { multiplier: 7, poll: true })
  t.deepEqual(walk.hears({ demand: true, final: true }).sent, [])
  t.is(transmitDueMs(walk.state), undefined)
})

test('a neighbour that demands and is gone is lost as any', t => {
  const walk = at('Up').hears({ demand: true }).until(900).do({ type: 'due' })
  t.is(walk.shown, `Down(${lost}): Up>Down DOWN`)
})

test('a neighbour that wants no packets gets none but answers and what has changed', t => {
  const walk = at('Up').hears({ requiredMinRxUs: 0 })
  t.is(transmitDueMs(walk.state), undefined)
  t.is(walk.hears({ requiredMinRxUs: 0, poll: true }).shown, 'Up: UP+F')
  t.is(walk.do({ type: 'disable' }).shown, `AdminDown(${admin}): Up>AdminDown ADMINDOWN`)
})

test('a neighbour may change its discriminator, and is told the new one', t => {
  t.like(at('Up').hears({ myDiscriminator: 99 }).sent[0], { state: 'Up', yourDiscriminator: 99 })
})

test('a session that is disabled says so for as long as it is there, and begins anew when it is enabled', t => {
  const walk = at('Up').do({ type: 'disable' })
  t.like(walk.sent[0], { state: 'AdminDown', diagnostic: admin, desiredMinTxUs: 1_000_000 })
  for (let nowMs = 1000; nowMs < 10_000; nowMs += 1000)
    t.like(walk.until(nowMs).do({ type: 'due' }).sent[0], { state: 'AdminDown' })
  t.is(walk.hears({ state: 'Down' }).state.phase, 'AdminDown')
  t.is(walk.do({ type: 'enable' }).state.phase, 'Down')
  t.is(walk.hears({ state: 'Down' }).state.phase, 'Init')
})
