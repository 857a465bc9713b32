// What pods were told counts until it expires, and no pod takes what is another's.
import test from 'ava'
import fc from 'fast-check'
import { DomainAnswers, type ToldName } from '../../../felix/dns/answers.ts'
import { NamePatterns } from '../../../felix/policy/name-patterns.ts'

const [LEAST_TTL_SECONDS, MOST_TTL_SECONDS] = [5, 86_400]
const told = (...pairs: [address: string, ttlSeconds: number][]) =>
  pairs.map(([address, ttlSeconds]) => ({ address, ttlSeconds }))
const NAME = 'www.example.com'

test('an address counts for its TTL, from when it was told last, and others of its name for theirs', t => {
  const answers = new DomainAnswers()
  t.deepEqual(answers.tell('a', NAME, told(['192.0.2.1', 60], ['192.0.2.2', 20]), 0).names, [
    { pod: 'a', name: NAME, addresses: ['192.0.2.1', '192.0.2.2'], expired: [] },
  ])
  t.deepEqual(answers.tell('a', NAME, told(['192.0.2.1', 60]), 10_000).names, [])
  t.deepEqual(answers.expire(19_999), [])
  t.deepEqual(answers.expire(20_000), [{ pod: 'a', name: NAME, addresses: ['192.0.2.1'], expired: ['192.0.2.2'] }])
  t.deepEqual(answers.expire(69_999), [])
  t.deepEqual(answers.expire(70_000), [{ pod: 'a', name: NAME, addresses: [], expired: ['192.0.2.2', '192.0.2.1'] }])
  t.is(answers.size, 0)
})

test('the shortest and the longest TTL have bounds', t => {
  const answers = new DomainAnswers()
  answers.tell('a', NAME, told(['192.0.2.1', 0], ['192.0.2.2', 2 ** 31 - 1]), 0)
  t.deepEqual(answers.expire(1000 * LEAST_TTL_SECONDS - 1), [])
  t.is(answers.expire(1000 * LEAST_TTL_SECONDS).length, 1)
  t.deepEqual(answers.expire(1000 * MOST_TTL_SECONDS - 1), [])
  t.is(answers.expire(1000 * MOST_TTL_SECONDS).length, 1)
})

test('a pod that is gone leaves nothing behind, and nobody else has what it was told', t => {
  const answers = new DomainAnswers()
  for (const pod of ['a', 'b']) answers.tell(pod, NAME, told(['192.0.2.1', 60]), 0)
  t.deepEqual(answers.forget('a'), [{ pod: 'a', name: NAME, addresses: [], expired: [] }])
  t.deepEqual(answers.forget('a'), [])
  t.is(answers.size, 1)
  t.deepEqual(answers.expire(60_000), [{ pod: 'b', name: NAME, addresses: [], expired: ['192.0.2.1'] }])
})

test('a name keeps what many answers say, and a pod with too much gives up what expires first', t => {
  const answers = new DomainAnswers({ ofName: 200, ofPod: 400, ofNode: 1000, expired: 20, expiredOfNode: 1000 })
  const many = (from: number, count: number, ttl: number) =>
    told(
      ...Array.from({ length: count }, (_, i): [string, number] => [
        `10.0.${(from + i) >> 8}.${(from + i) & 255}`,
        ttl,
      ]),
    )
  t.is(answers.tell('a', NAME, many(0, 130, 60), 0).names[0]!.addresses.length, 130)
  t.is(answers.tell('a', NAME, many(130, 130, 60), 0).names[0]!.addresses.length, 200)
  t.deepEqual(answers.tell('a', 'x.test', many(0, 200, 30), 0).givenUp, [])
  const { names, givenUp } = answers.tell('a', 'y.test', many(0, 1, 90), 0)
  t.deepEqual(givenUp, ['a'])
  t.is(answers.size, 401 - 51)
  t.deepEqual(names.map(({ name, addresses }) => [name, addresses.length]).toSorted(), [
    ['x.test', 149],
    ['y.test', 1],
  ])
})

test('what has expired is remembered until it is told again, the newest of it', t => {
  const answers = new DomainAnswers({ ofName: 10, ofPod: 10, ofNode: 10, expired: 3, expiredOfNode: 1000 })
  for (let i = 1; i <= 4; i++) {
    answers.tell('a', `n${i}.test`, told([`192.0.2.${i}`, 10]), 10_000 * i)
    answers.expire(10_000 * (i + 1))
  }
  t.deepEqual(
    answers.namesOf('a').flatMap(({ expired }) => expired),
    ['192.0.2.2', '192.0.2.3', '192.0.2.4'],
  )
  t.deepEqual(answers.tell('a', 'n3.test', told(['192.0.2.3', 10]), 60_000).names[0]?.expired, [])
  t.deepEqual(answers.remember('a', 'n3.test', ['192.0.2.9']), [
    { pod: 'a', name: 'n3.test', addresses: ['192.0.2.3'], expired: ['192.0.2.9'] },
  ])
  t.deepEqual(answers.of('a', 'n3.test'), told(['192.0.2.3', 10], ['192.0.2.9', 0]))
  t.is(answers.size, 1)
})

test('where all pods have too much, the one with most gives up', t => {
  const answers = new DomainAnswers({ ofName: 100, ofPod: 100, ofNode: 120, expired: 20, expiredOfNode: 1000 })
  answers.tell('little', NAME, told(['192.0.2.1', 5]), 0)
  for (let i = 0; i < 100; i++) answers.tell('much', NAME, told([`10.0.0.${i}`, 60]), 0)
  for (let i = 0; i < 30; i++) answers.tell('some', NAME, told([`10.0.1.${i}`, 60]), 0)
  t.true(answers.size <= 120)
  t.is(answers.of('little', NAME).length, 1)
  t.is(answers.of('some', NAME).length, 30)
})

test('of what has expired for all pods, the oldest of the one with most is forgotten, and told to be', t => {
  const answers = new DomainAnswers({ ofName: 100, ofPod: 100, ofNode: 1000, expired: 100, expiredOfNode: 40 })
  const held = new Map<string, number>()
  const take = (names: readonly ToldName[]) => {
    for (const { pod, name, expired } of names) held.set(`${pod} ${name}`, expired.length)
  }
  answers.tell('little', NAME, told(['192.0.2.1', 5]), 0)
  take(answers.expire(10_000))
  for (let i = 0; i < 60; i++) answers.tell('much', `n${i}.test`, told([`10.0.0.${i}`, 5]), 10_000 + 2000 * i)
  for (let nowMs = 12_000; nowMs < 200_000; nowMs += 1000) take(answers.expire(nowMs))
  const left = [...held].filter(([, count]) => count > 0).map(([key]) => key)
  t.true(left.length <= 40 && left.length > 30, `${left.length}`)
  t.true(left.includes(`little ${NAME}`) && left.includes('much n59.test') && !left.includes('much n0.test'))
  // what is read from an earlier run has no more room
  for (let i = 0; i < 60; i++) take(answers.remember('again', `m${i}.test`, [`10.0.1.${i}`]))
  t.true([...held.values()].reduce((sum, count) => sum + count, 0) <= 40)
  t.is(answers.of('little', NAME).length, 1)
})

test('what has expired counts once for the node, however often it is told, and no more when its pod is gone', t => {
  const answers = new DomainAnswers({ ofName: 10, ofPod: 10, ofNode: 10, expired: 10, expiredOfNode: 2 })
  for (let i = 0; i < 5; i++) {
    answers.remember(`p${i}`, NAME, ['192.0.2.1', '192.0.2.2'])
    answers.forget(`p${i}`)
  }
  answers.remember('a', NAME, ['192.0.2.1', '192.0.2.2', '192.0.2.1'])
  answers.remember('a', NAME, ['192.0.2.2'])
  t.deepEqual(answers.namesOf('a')[0]!.expired, ['192.0.2.1', '192.0.2.2'])
})

test('after any walk exactly that counts whose time is not over', t => {
  const step = fc.record({
    pod: fc.constantFrom('a', 'b'),
    name: fc.constantFrom('x.test', 'y.test'),
    address: fc.constantFrom('192.0.2.1', '192.0.2.2', '192.0.2.3'),
    ttl: fc.integer({ min: 0, max: 40 }),
    waitMs: fc.integer({ min: 0, max: 12_000 }),
    does: fc.constantFrom('tell', 'tell', 'tell', 'forget'),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), steps => {
      const answers = new DomainAnswers()
      const model = new Map<string, number>()
      const held = new Map<string, readonly string[]>()
      const take = (names: readonly { pod: string; name: string; addresses: readonly string[] }[]) => {
        for (const { pod, name, addresses } of names) held.set(`${pod} ${name}`, addresses)
      }
      let nowMs = 0
      for (const { pod, name, address, ttl, waitMs, does } of steps) {
        nowMs += waitMs
        take(answers.expire(nowMs))
        for (const [key, endMs] of model) if (endMs <= nowMs - 1000) model.delete(key)
        if (does === 'forget') {
          take(answers.forget(pod))
          for (const key of model.keys()) if (key.startsWith(`${pod} `)) model.delete(key)
        } else {
          take(answers.tell(pod, name, told([address, ttl]), nowMs).names)
          const key = `${pod} ${name} ${address}`
          model.set(key, Math.max(model.get(key) ?? 0, nowMs + 1000 * Math.max(LEAST_TTL_SECONDS, ttl)))
        }
        const counts = new Set([...held].flatMap(([key, addresses]) => addresses.map(each => `${key} ${each}`)))
        // it may count for the rest of its last second
        for (const key of counts) t.true(model.has(key), key)
        for (const [key, endMs] of model) if (endMs > nowMs) t.true(counts.has(key), key)
        t.is(answers.size, counts.size)
      }
    }),
    { numRuns: 200 },
  )
})

test('a pattern is one name, or all names that have labels before it', t => {
  const patterns = new NamePatterns(['example.com', '*.example.org', '*.a.test'])
  const names = [
    'example.com',
    'www.example.com',
    'example.org',
    'x.example.org',
    'x.y.example.org',
    'xexample.org',
    'a.test',
    'b.a.test',
  ]
  t.deepEqual(
    names.filter(name => patterns.match(name)),
    ['example.com', 'x.example.org', 'x.y.example.org', 'b.a.test'],
  )
})
