import test from 'ava'
import { FairQueue } from '../../apiserver/fair-queue.ts'
import { checkShape } from '../../apiserver/limits.ts'
import { ApiError } from '../../apiserver/status.ts'
import { Turns } from '../../apiserver/turns.ts'
import { ManualClock } from '../../lib/clock.ts'

test('a user with many requests delays its own, not those of others', t => {
  const queue = new FairQueue<string>(100)
  for (let i = 0; i < 5; i++) queue.push('big', 'c1', `big ${i}`)
  queue.push('small', 'c2', 'small')
  queue.push('third', 'c3', 'third')
  const order = Array.from({ length: 8 }, () => queue.shift())
  t.deepEqual(order, ['big 0', 'small', 'third', 'big 1', 'big 2', 'big 3', 'big 4', undefined])
})

test('the connections of one user take turns, and one connection keeps its order', t => {
  const queue = new FairQueue<string>(100)
  for (let i = 0; i < 3; i++) queue.push('u', 'busy', `busy ${i}`)
  queue.push('u', 'calm', 'calm')
  t.deepEqual([queue.shift(), queue.shift(), queue.shift(), queue.shift()], ['busy 0', 'calm', 'busy 1', 'busy 2'])
})

test('a user who waits with too many is refused until some are served', t => {
  const queue = new FairQueue<number>(2)
  t.deepEqual(
    [1, 2, 3].map(n => queue.push('u', String(n), n)),
    [true, true, false],
  )
  t.true(queue.push('other', 'c', 4))
  queue.shift()
  t.true(queue.push('u', '5', 5))
})

test('a read waits while a write is not on disk, and so does everybody while the disk has enough to do', async t => {
  const disk = { isSettled: false, isFull: true }
  const turns = new Turns(new ManualClock(), disk)
  const done: string[] = []
  const asker = { user: 'u', connection: 'c' }
  const all = [turns.run(asker, () => void done.push('write')), turns.read(asker, () => void done.push('read'))]
  const round = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
  await round()
  await round()
  t.deepEqual(done, [])
  disk.isFull = false
  await round()
  await round()
  t.deepEqual(done, ['write'])
  disk.isSettled = true
  await Promise.all(all)
  t.deepEqual(done, ['write', 'read'])
})

test("a turn that throws is that job's failure alone", async t => {
  const turns = new Turns(new ManualClock(), { isSettled: true, isFull: false })
  const asker = { user: 'u', connection: 'c' }
  const fails = turns.run(asker, () => {
    throw new ApiError('BadRequest', 'no')
  })
  const works = turns.run(asker, () => 1)
  await t.throwsAsync(fails, { instanceOf: ApiError })
  t.is(await works, 1)
})

const shapes: [title: string, text: string, most: number, code: number | undefined][] = [
  ['brackets in text do not count', `{"a":"${'[{,'.repeat(500)}\\"[[["}`, 50, undefined],
  ['a hundred levels are taken', `${'['.repeat(100)}${']'.repeat(100)}`, 1000, undefined],
  ['a hundred and one are not', `${'['.repeat(101)}${']'.repeat(101)}`, 1000, 400],
  ['fifty values are taken', `[${'1,'.repeat(48)}1]`, 50, undefined],
  ['more are not', `[${'1,'.repeat(60)}1]`, 50, 413],
  ['text without an end is for the parser', `{"a":"${'[{,'.repeat(500)}`, 50, undefined],
]

for (const [title, text, most, code] of shapes)
  test(`of a body's shape: ${title}`, t => {
    if (code === undefined) t.notThrows(() => checkShape(text, most))
    else t.is(t.throws(() => checkShape(text, most), { instanceOf: ApiError })?.code, code)
  })

test('while new connections arrive no turn starts, for the length of one turn at most', async t => {
  const clock = new ManualClock()
  const turns = new Turns(clock, { isSettled: true, isFull: false })
  let served = 0
  for (let i = 0; i < 10; i++)
    void turns.run({ user: 'u', connection: 'c' }, () => {
      served++
      clock.advance(5) // it takes all of its turn
    })
  const round = () => new Promise(setImmediate)
  await round()
  await round()
  const before = served
  for (let i = 0; i < 20; i++) {
    turns.arrived()
    clock.advance(0.1)
    await round()
  }
  t.is(served, before)
  for (let i = 0; i < 60; i++) {
    turns.arrived()
    clock.advance(0.1)
    await round()
  }
  t.is(served, before + 1, 'connections without end do not stop the work')
})
