import test from 'ava'
import {
  type BgpState,
  type FsmAction,
  type FsmEvent,
  type FsmRules,
  type FsmState,
  type FsmStep,
  type FsmTimer,
  idleState,
  step,
} from '../../../bgp/fsm/step.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'

const rules: FsmRules = {
  passive: false,
  connectRetrySeconds: 5,
  idleHoldSeconds: 1,
  mostIdleHoldSeconds: 60,
  delayOpenSeconds: 0,
  openHoldSeconds: 240,
}
const phases: readonly BgpState[] = ['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established']
const timers: readonly FsmTimer[] = ['connectRetry', 'hold', 'keepalive', 'delayOpen', 'idleHold', 'stable']
const cease = new ProtocolError(6, 2)
const malformed = new ProtocolError(3, 1)

/** Every event of the machine, by a short name. */
const events: Readonly<Record<string, FsmEvent>> = {
  'manual start': { type: 'start', manual: true },
  start: { type: 'start', manual: false },
  stop: { type: 'stop', error: cease },
  connected: { type: 'connected' },
  disconnected: { type: 'disconnected' },
  open: { type: 'open', holdSeconds: 90, keepaliveSeconds: 30 },
  fault: { type: 'fault', error: malformed },
  dump: { type: 'dump', error: cease },
  notification: { type: 'notification' },
  update: { type: 'update', message: { type: 2, bytes: new Uint8Array(0), start: 0, end: 0 } },
  ...Object.fromEntries(timers.map((timer): [string, FsmEvent] => [timer, { type: 'timer', timer }])),
  // the message and the timer share a word
  keepalive: { type: 'keepalive' },
  'keepalive-timer': { type: 'timer', timer: 'keepalive' },
}

const at = (phase: BgpState, more: Partial<FsmState> = {}): FsmState => ({
  ...idleState(rules),
  phase,
  holdSeconds: rank(phase) >= 4 ? 90 : 0,
  keepaliveSeconds: rank(phase) >= 4 ? 30 : 0,
  ...more,
})
const rank = (phase: BgpState) => phases.indexOf(phase)
/** `Active: drop arm:connectRetry=5`: the next phase and the actions, as one line. */
const shown = ([state, ...actions]: FsmStep) =>
  `${state.phase}${state.held ? '(held)' : ''}${state.delaying ? '(delaying)' : ''}: ${actions.map(word).join(' ')}`.trimEnd()
const word = (action: FsmAction): string => {
  switch (action.do) {
    case 'arm':
      return `${action.timer}=${action.seconds}`
    case 'disarm':
      return `-${action.timer}`
    case 'send':
      return action.message.toUpperCase()
    case 'notify':
      return `NOTIFY(${action.error.code}/${action.error.subcode})`
    case 'notify-fsm-error':
      return `NOTIFY(5 in ${action.phase})`
    case 'notify-hold-expired':
      return 'NOTIFY(4)'
    default:
      return action.do
  }
}
const over = 'drop -connectRetry -hold -keepalive -delayOpen -stable'
const confirmed = 'OpenConfirm: -connectRetry KEEPALIVE hold=90 keepalive=30'

/** One row per (phase, event): what happens. `same` is the phase unchanged without an action. */
const table: Readonly<Record<BgpState, Readonly<Record<string, string>>>> = {
  Idle: {
    'manual start': 'Connect: -idleHold connectRetry=5 dial',
    start: 'Connect: -idleHold connectRetry=5 dial',
    stop: 'Idle: -idleHold',
    dump: 'Idle: -idleHold',
    connected: 'Idle: drop',
    idleHold: 'Connect: -idleHold connectRetry=5 dial',
    ...same('disconnected open fault notification keepalive update'),
    ...same('connectRetry hold keepalive-timer delayOpen stable'),
  },
  Connect: {
    ...unopened('Connect'),
    connectRetry: 'Connect: drop -delayOpen connectRetry=5 dial',
  },
  Active: {
    ...unopened('Active'),
    connectRetry: 'Connect: connectRetry=5 dial',
  },
  OpenSent: {
    ...opened('OpenSent'),
    disconnected: 'Active: drop -hold -delayOpen connectRetry=5',
    open: confirmed,
    keepalive: `Idle(held): NOTIFY(5 in OpenSent) ${over} idleHold=1`,
    'keepalive-timer': 'same',
  },
  OpenConfirm: {
    ...opened('OpenConfirm'),
    open: `Idle(held): NOTIFY(5 in OpenConfirm) ${over} idleHold=1`,
    keepalive: 'Established: hold=90 stable=60 established',
    'keepalive-timer': 'OpenConfirm: KEEPALIVE keepalive=30',
  },
  Established: {
    ...Object.fromEntries(
      Object.entries(opened('Established')).map(([name, line]) => [name, line === 'same' ? line : `${line} ended`]),
    ),
    open: `Idle(held): NOTIFY(5 in Established) ${over} idleHold=1 ended`,
    keepalive: 'Established: hold=90',
    update: 'Established: hold=90 deliver',
    'keepalive-timer': 'Established: KEEPALIVE keepalive=30',
  },
}

function same(names: string): Record<string, string> {
  return Object.fromEntries(names.split(' ').map(name => [name, 'same']))
}

function unopened(_phase: BgpState): Record<string, string> {
  return {
    ...same('start hold keepalive-timer delayOpen idleHold stable'),
    'manual start': 'same',
    stop: `Idle: ${over}`,
    dump: `Idle: ${over}`,
    connected: 'OpenSent: -connectRetry OPEN hold=240',
    disconnected: 'Active: drop -hold -delayOpen connectRetry=5',
    ...Object.fromEntries(
      ['open', 'fault', 'notification', 'keepalive', 'update'].map(n => [n, `Idle(held): ${over} idleHold=1`]),
    ),
  }
}

function opened(phase: BgpState): Record<string, string> {
  return {
    ...same('start connected connectRetry delayOpen idleHold stable'),
    'manual start': 'same',
    stop: `Idle: NOTIFY(6/2) ${over}`,
    dump: `Idle: NOTIFY(6/2) ${over}`,
    disconnected: `Idle(held): ${over} idleHold=1`,
    notification: `Idle(held): ${over} idleHold=1`,
    fault: `Idle(held): NOTIFY(3/1) ${over} idleHold=1`,
    hold: `Idle(held): NOTIFY(4) ${over} idleHold=1`,
    update: `Idle(held): NOTIFY(5 in ${phase}) ${over} idleHold=1`,
  }
}

test('every phase has a row for every event, and the machine does what the row says', t => {
  for (const phase of phases)
    for (const [name, event] of Object.entries(events)) {
      const expected = table[phase][name]
      if (expected === undefined) {
        t.fail(`no row for ${name} in ${phase}`)
        continue
      }
      t.is(shown(step(at(phase), event)), expected === 'same' ? `${phase}:` : expected, `${name} in ${phase}`)
    }
})

test('a machine that waits never dials, whatever happens to it', t => {
  for (const phase of phases)
    for (const event of Object.values(events)) {
      const state = at(phase, { rules: { ...rules, passive: true } })
      const [, ...actions] = step(state, event)
      if (phase !== 'Connect') t.false(actions.some(a => a.do === 'dial'))
    }
})

test('IdleHoldTime doubles with every fault up to its ceiling and a stable session forgets the faults', t => {
  let state = at('Established')
  const held: number[] = []
  for (let i = 0; i < 8; i++) {
    const [next, ...actions] = step(state, { type: 'notification' })
    const arm = actions.find(a => a.do === 'arm' && a.timer === 'idleHold')
    held.push(arm?.do === 'arm' ? arm.seconds : -1)
    state = { ...next, phase: 'Established', holdSeconds: 90, held: false }
  }
  t.deepEqual(held, [1, 2, 4, 8, 16, 32, 60, 60])
  t.is(step(state, { type: 'timer', timer: 'stable' })[0].failures, 0)
})

test('while IdleHoldTimer runs an automatic start waits and a manual one does not', t => {
  const held = at('Idle', { held: true, failures: 3 })
  t.is(shown(step(held, { type: 'start', manual: false })), 'Idle(held):')
  t.is(shown(step(held, { type: 'start', manual: true })), 'Connect: -idleHold connectRetry=5 dial')
  t.is(step(held, { type: 'start', manual: true })[0].failures, 0)
})

test('DelayOpen holds the OPEN back, and an OPEN of the peer ends the delay', t => {
  const slow = { ...rules, delayOpenSeconds: 10 }
  const [delaying, ...actions] = step(at('Connect', { rules: slow }), { type: 'connected' })
  t.is(shown([delaying, ...actions]), 'Connect(delaying): -connectRetry delayOpen=10')
  t.is(shown(step(delaying, { type: 'timer', timer: 'delayOpen' })), 'OpenSent: OPEN hold=240')
  t.is(
    shown(step(delaying, events['open']!)),
    'OpenConfirm: -delayOpen OPEN -connectRetry KEEPALIVE hold=90 keepalive=30',
  )
  t.regex(shown(step(delaying, events['fault']!)), /^Idle\(held\): NOTIFY\(3\/1\) drop/)
})

test('a hold time of zero leaves neither hold timer nor keepalives', t => {
  const [state, ...actions] = step(at('OpenSent'), { type: 'open', holdSeconds: 0, keepaliveSeconds: 0 })
  t.is(shown([state, ...actions]), 'OpenConfirm: -connectRetry KEEPALIVE -hold')
  t.is(shown(step(state, { type: 'keepalive' })), 'Established: stable=60 established')
  t.is(shown(step({ ...state, phase: 'Established' }, events['update']!)), 'Established: deliver')
})

test('a waiting machine that loses its connection waits again at once', t => {
  const waiting = at('Established', { rules: { ...rules, passive: true } })
  t.is(shown(step(waiting, { type: 'disconnected' })), `Idle: ${over} ended`)
})
