// Who is waited for until the other nodes have a route to a new block, and for how long.
import test from 'ava'
import { BlockSpread } from '../../agent/block-spread.ts'
import type { Heard } from '../../bgp/hearing.ts'
import { ManualClock } from '../../lib/clock.ts'

const FAMILY = 'ipv4-unicast'

function aSpread({ restarting = false } = {}) {
  const clock = new ManualClock()
  const asked: string[] = []
  const answers: ((heard: Heard) => void)[] = []
  const restarts: (() => void)[] = []
  const speaker = {
    heard: (name: string) => {
      asked.push(name)
      return new Promise<Heard>(resolve => answers.push(resolve))
    },
    onRestartComplete: (listen: () => void) => (restarting ? void restarts.push(listen) : listen()),
  }
  const strangers = new Set(['router'])
  const spread = new BlockSpread(speaker, clock, name => !strangers.has(name))
  const session = (name: string, state: 'Established' | 'Idle') => spread.note({ name, state })
  let isReached = false
  const ask = async () => {
    void spread.reached(FAMILY).then(() => {
      isReached = true
    })
    await turn()
  }
  const reached = async () => {
    await turn()
    return isReached
  }
  return { clock, asked, answers, session, ask, reached, strangers, restarted: () => restarts[0]!() }
}

const turn = () => new Promise(setImmediate)

test('every node with a session is asked, and no router; a block is reached once all have it', async t => {
  const { asked, answers, session, ask, reached, clock } = aSpread()
  for (const name of ['a', 'b', 'router']) session(name, 'Established')
  await ask()
  t.deepEqual(asked, ['a', 'b'])
  answers[0]!('heard')
  t.false(await reached())
  answers[1]!('cannot')
  t.true(await reached())
  t.is(clock.pending, 0)
})

test('without sessions nobody is waited for', async t => {
  const { ask, reached, clock } = aSpread()
  await ask()
  t.true(await reached())
  t.is(clock.pending, 0)
})

test('a node whose agent starts again is asked when it is back, also where it left before the question', async t => {
  for (const when of ['before', 'after'] as const) {
    const { asked, answers, session, ask, reached, clock } = aSpread()
    session('a', 'Established')
    if (when === 'before') session('a', 'Idle')
    clock.advance(1000)
    await ask()
    if (when === 'after') {
      session('a', 'Idle')
      answers[0]!('gone')
    }
    clock.advance(3000)
    t.false(await reached(), when)
    const before = asked.length
    session('a', 'Established')
    await turn()
    t.is(asked.length, before + 1, when)
    answers.at(-1)!('heard')
    t.true(await reached(), when)
  }
})

test('a node that does not come back holds a block up for eight seconds, and the next one no more', async t => {
  const { session, ask, reached, clock } = aSpread()
  session('a', 'Established')
  session('a', 'Idle')
  await ask()
  clock.advance(7900)
  t.false(await reached())
  clock.advance(200)
  t.true(await reached())
  const next = aSpread()
  next.session('a', 'Established')
  next.session('a', 'Idle')
  next.clock.advance(8100)
  await next.ask()
  t.true(await next.reached())
})

test('a node that is no peer any more is waited for no longer', async t => {
  const { session, ask, reached, strangers, answers } = aSpread()
  session('a', 'Established')
  await ask()
  strangers.add('a')
  session('a', 'Idle')
  answers[0]!('gone')
  t.true(await reached())
})

test('while this node itself starts again its sessions are waited for first', async t => {
  const { asked, answers, session, ask, reached, restarted } = aSpread({ restarting: true })
  await ask()
  t.false(await reached())
  session('a', 'Established')
  restarted()
  await turn()
  t.deepEqual(asked, ['a'])
  answers[0]!('heard')
  t.true(await reached())
})

test('a node that was there before this one started again, and is not, holds nothing up for longer than three seconds', async t => {
  const { session, ask, reached, clock, answers } = aSpread({ restarting: true })
  session('a', 'Established')
  await ask()
  clock.advance(2900)
  t.false(await reached())
  clock.advance(200)
  await turn()
  answers[0]!('heard')
  t.true(await reached())
})
