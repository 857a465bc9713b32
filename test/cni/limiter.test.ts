// The limiter of CNI requests: order, who waits for whom, and what is refused when it comes.
import test from 'ava'
import type { CniError } from '../../cni/error.ts'
import { type Admission, Limiter } from '../../cni/limiter.ts'
import { ManualClock } from '../../lib/clock.ts'

const gate = () => Promise.withResolvers<void>()
const nextLoop = () => new Promise(setImmediate)
/** Some rounds of the event loop, in which whoever may begin does. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await nextLoop()
}
const NEVER = () => new Promise<CniError>(() => undefined)
/** Whom a request is about. */
const of =
  (...keys: string[]) =>
  () =>
    keys
const nothing = async (): Promise<void> => {}

function aLimiter(limits: ConstructorParameters<typeof Limiter>[1] = {}) {
  const clock = new ManualClock()
  return { clock, limiter: new Limiter(clock, limits) }
}

/** An ADD from its arrival to its answer, which nothing but its turn ends. */
async function add(limiter: Limiter, key: string, body = nothing, octets = 100): Promise<void> {
  using admission = limiter.admit(octets)
  await limiter.runAdd(of(key), admission, admission.late, body)
}

/** Lets the clock run on while requests come and go. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 100) {
    clock.advance(100)
    await settled()
  }
}

test('requests of one container run one after the other; requests of other containers do not wait for them', async t => {
  const { limiter } = aLimiter()
  const { promise, resolve } = gate()
  const order: string[] = []
  const first = limiter.run(of('a'), async () => {
    await promise
    order.push('a1')
  })
  const second = limiter.run(of('a'), async () => void order.push('a2'))
  await limiter.run(of('b'), async () => void order.push('b'))
  resolve()
  await Promise.all([first, second])
  t.deepEqual(order, ['b', 'a1', 'a2'])
})

test('a request about a container and its pod waits for both, and who came before it for one of them is not overtaken', async t => {
  const { limiter } = aLimiter()
  const { promise, resolve } = gate()
  const order: string[] = []
  const run = (name: string, ...keys: string[]) => limiter.run(of(...keys), async () => void order.push(name))
  const running = limiter.run(of('a', 'ns/pod'), () => promise)
  const others = [run('older', 'a'), run('newer', 'b', 'ns/pod'), run('newer again', 'b'), run('other', 'c')]
  await settled()
  t.deepEqual(order, ['other'])
  resolve()
  await Promise.all([running, ...others])
  t.deepEqual(order, ['other', 'older', 'newer', 'newer again'])
})

test('a request that does not say its pod waits for those about it, as soon as one before it has made it known', async t => {
  const { limiter } = aLimiter()
  const [adding, replacing] = [gate(), gate()]
  let pod: string[] = []
  const first = limiter.run(of('a', 'ns/pod'), () => adding.promise)
  const newer = limiter.run(of('b', 'ns/pod'), () => replacing.promise)
  let begun = false
  const deleting = limiter.run(
    () => ['a', ...pod],
    async () => {
      begun = true
    },
  )
  pod = ['ns/pod']
  adding.resolve()
  await first
  await settled()
  t.false(begun, 'the other sandbox of the pod is being made')
  replacing.resolve()
  await Promise.all([newer, deleting])
  t.true(begun)
})

test('an ADD does not begin before a DEL that came before it for its container', async t => {
  const { limiter } = aLimiter({ running: 1 })
  const { promise, resolve } = gate()
  const order: string[] = []
  const running = limiter.run(of('other'), () => promise)
  const deleting = limiter.run(of('a'), async () => void order.push('DEL'))
  const adding = add(limiter, 'a', async () => void order.push('ADD'))
  await settled()
  resolve()
  await Promise.all([running, deleting, adding])
  t.deepEqual(order, ['DEL', 'ADD'])
})

test('no more requests run at once than the limit, and the next one starts when one ends', async t => {
  const { limiter } = aLimiter({ running: 2 })
  let now = 0
  let most = 0
  const work = async (): Promise<void> => {
    most = Math.max(most, ++now)
    await nextLoop()
    now--
  }
  await Promise.all(Array.from({ length: 8 }, (_, i) => limiter.run(of(`c${i}`), work)))
  await Promise.all(Array.from({ length: 8 }, (_, i) => add(limiter, `c${i}`, work)))
  t.is(most, 2)
})

test('requests above the limit of waiting ones are refused with code 11', async t => {
  const { limiter } = aLimiter({ running: 1, waiting: 2, octets: 1000 })
  const { promise, resolve } = gate()
  const others = ['a', 'b', 'c'].map(key => limiter.run(of(key), () => promise))
  await t.throwsAsync(limiter.run(of('d'), nothing), { code: 11, message: /^2 requests wait already/ })
  const adds = ['e', 'f'].map(key => add(limiter, key, () => promise))
  await t.throwsAsync(add(limiter, 'g'), { code: 11, message: /^2 ADDs are under way already/ })
  resolve()
  await Promise.all([...others, ...adds])
  await t.throwsAsync(add(limiter, 'h', nothing, 1001), { code: 11, message: /octets of configuration/ })
  await t.notThrowsAsync(Promise.all([add(limiter, 'i', nothing, 500), add(limiter, 'j', nothing, 500)]))
  await t.notThrowsAsync(limiter.run(of('k'), nothing))
})

test('a request that fails frees its place', async t => {
  const { limiter } = aLimiter({ running: 1, waiting: 1 })
  const fails = async (): Promise<void> => {
    throw new Error('no')
  }
  for (let i = 0; i < 3; i++) {
    await t.throwsAsync(limiter.run(of('a'), fails))
    await t.throwsAsync(add(limiter, 'a', fails))
  }
  await t.notThrowsAsync(limiter.run(of('a'), nothing))
  await t.notThrowsAsync(add(limiter, 'a'))
})

test('500 ADDs begin in the order of their arrival, 16 at a time, also one that comes back from a wait for a block', async t => {
  const { clock, limiter } = aLimiter()
  const { promise, resolve } = gate()
  const order: number[] = []
  const open: Admission[] = []
  const run = (i: number) =>
    limiter.runAdd(of(`c${i}`), open[i]!, NEVER(), async () => {
      order.push(i)
      await promise
    })
  for (let i = 0; i < 500; i++) {
    open.push(limiter.admit(100))
    clock.advance(1)
  }
  const turns = open.map((_, i) => (i === 20 ? Promise.resolve() : run(i)))
  await settled()
  t.is(order.length, 16)
  turns.push(run(20)) // behind all others, and before them
  resolve()
  await Promise.all(turns)
  t.deepEqual(
    order,
    Array.from({ length: 500 }, (_, i) => i),
  )
})

test('calls of a runtime that asks again and again for one pod take no place of others while they wait', async t => {
  const { limiter } = aLimiter({ running: 2 })
  const { promise, resolve } = gate()
  const again = Array.from({ length: 50 }, () => add(limiter, 'same', () => promise))
  await add(limiter, 'other')
  await limiter.run(of('another'), nothing)
  resolve()
  t.is((await Promise.all(again)).length, 50)
})

test('what is no ADD begins at once while ADDs have all places and others wait, also for the pod of one that waits', async t => {
  const { limiter } = aLimiter({ running: 2 })
  const { promise, resolve } = gate()
  const adds = ['a', 'b', 'c', 'd'].map(key => add(limiter, key, () => promise))
  await settled()
  await limiter.run(of('other'), nothing)
  await limiter.run(of('d'), nothing)
  let begun = false
  const ofOneThatRuns = limiter.run(of('a'), async () => {
    begun = true
  })
  await settled()
  t.false(begun)
  resolve()
  await Promise.all([...adds, ofOneThatRuns])
  t.true(begun)
})

test('an ADD that could not begin within a minute is refused when it comes, with the pace as the reason, and those before it begin', async t => {
  const { clock, limiter } = aLimiter({ running: 2 })
  const begun: number[] = []
  const body = (i: number) => async () => {
    begun.push(i)
    await new Promise<void>(resolve => clock.after(1000, resolve))
  }
  const served: Promise<void>[] = []
  const refused: CniError[] = []
  let i = 0
  for (; i < 20; i++) served.push(add(limiter, `c${i}`, body(i)))
  await pass(clock, 10_000) // by then it knows how long they take
  for (; i < 200; i++) {
    const one = add(limiter, `c${i}`, body(i))
    one.catch((error: CniError) => refused.push(error))
    served.push(one)
  }
  await settled()
  const kept = 200 - 20 - refused.length
  t.true(kept > 100 && kept < 130, `${kept} of 180 fit into a minute, two at a time for a second`)
  t.is(refused[0]?.code, 11)
  t.regex(refused[0]!.message, /^\d+ ADDs wait, and 2 at once take 1000 ms: this one would begin in 6\d s/)
  const told = refused.length
  await pass(clock, 70_000)
  await Promise.allSettled(served)
  t.is(refused.length, told, 'whoever was not refused at once began')
  t.is(begun.length, 20 + kept)
})

test('an ADD that has waited for a minute is refused, those that run go on, and the next one begins', async t => {
  const { clock, limiter } = aLimiter({ running: 1 })
  const { promise, resolve } = gate()
  const running = add(limiter, 'a', () => promise)
  const waiting = add(limiter, 'b')
  await pass(clock, 30_000)
  const later = add(limiter, 'c')
  await pass(clock, 30_000)
  await t.throwsAsync(waiting, { code: 11, message: /has waited for 60 s behind others/ })
  resolve()
  await Promise.all([running, later])
})

test('an ADD whose runtime gave it up leaves the queue, and one that has begun goes on', async t => {
  const { limiter } = aLimiter({ running: 1 })
  const { promise, resolve } = gate()
  const refusal = new Error('given up') as CniError
  const gone = Promise.withResolvers<CniError>()
  const run = (key: string) => limiter.runAdd(of(key), limiter.admit(1), gone.promise, () => promise)
  const [running, waiting] = [run('a'), run('b')]
  await settled()
  gone.resolve(refusal)
  await t.throwsAsync(waiting, { is: refusal })
  resolve()
  await t.notThrowsAsync(running)
  await t.notThrowsAsync(add(limiter, 'b'))
})

test('while a request comes in each round of the event loop no ADD begins, so that all are heard, for half a second at most', async t => {
  const { clock, limiter } = aLimiter()
  let begun = 0
  const adds: Promise<void>[] = []
  const arrive = async (rounds: number): Promise<void> => {
    for (let i = 0; i < rounds; i++) {
      adds.push(add(limiter, `c${adds.length}`, async () => void begun++))
      await nextLoop()
    }
  }
  await arrive(50)
  t.is(begun, 0)
  await limiter.run(of('DEL'), nothing)
  clock.advance(500)
  await arrive(3)
  t.true(begun > 0)
  await Promise.all(adds)
})
