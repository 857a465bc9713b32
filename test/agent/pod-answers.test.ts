// When a node answers how far it is with Pods.
import test from 'ava'
import { PodAnswers } from '../../agent/pod-answers.ts'
import { RECEIPT_ANNOTATION } from '../../api/policy-receipts.ts'
import type { Caches } from '../../datastore/cache.ts'
import { ManualClock } from '../../lib/clock.ts'

/** A node whose watch of Pods has brought `heard`, and whose kernel is at `worked`. */
function started() {
  const it = { heard: '5', worked: '5' as string | undefined, asked: undefined as string | undefined, takes: true }
  const looks: (() => void)[] = []
  const calls: string[] = []
  const cluster = {
    get: () => ({ metadata: { annotations: { [RECEIPT_ANNOTATION.podsAsked]: it.asked } } }),
    onChange(look: () => void) {
      looks.push(look)
      return () => undefined
    },
    onState: () => () => undefined,
  }
  const pods = {
    get version() {
      return it.heard
    },
  }
  const clock = new ManualClock()
  const answers = new PodAnswers({
    caches: { of: (kind: string) => (kind === 'Pod' ? pods : cluster) } as unknown as Pick<Caches, 'of'>,
    clock,
    worked: () => it.worked,
    pass: async () => {
      calls.push('pass')
      if (it.takes) it.worked = it.heard
    },
    answered: () => void calls.push(`answer ${it.worked}`),
  })
  answers.start()
  const turn = async (ms = 0) => {
    clock.advance(ms)
    for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  }
  const ask = async (version: string) => {
    it.asked = version
    for (const look of looks) look()
    await turn()
  }
  return Object.assign(it, { answers, calls, turn, ask })
}

test('a node that is so far answers at once, and nothing happens where nobody asks', async t => {
  const node = started()
  await node.turn(60_000)
  t.deepEqual(node.calls, [])
  await node.ask('5')
  t.deepEqual(node.calls, ['answer 5'])
  await node.turn(60_000)
  t.deepEqual(node.calls, ['answer 5'])
})

test('what the watch has brought is put into the kernel before the answer', async t => {
  const node = started()
  node.heard = '7'
  await node.ask('6')
  t.deepEqual(node.calls, ['pass', 'answer 7'])
})

test('a version that the watch has not brought is waited for, without work for the kernel', async t => {
  const node = started()
  await node.ask('9')
  await node.turn(60_000)
  t.deepEqual(node.calls, [])
  node.heard = '9'
  await node.turn(5_000)
  t.deepEqual(node.calls, ['pass', 'answer 9'])
})

test('while the kernel does not take it there is no answer', async t => {
  const node = started()
  node.heard = '9'
  node.takes = false
  await node.ask('9')
  await node.turn(5_000)
  t.deepEqual(node.calls, ['pass', 'pass'])
  node.takes = true
  await node.turn(5_000)
  t.deepEqual(node.calls, ['pass', 'pass', 'pass', 'answer 9'])
  node.answers.close()
})
