// What a kernel table promises whatever the kind, over a kind of object that lives in a map.
// Over 400 lines: one promise a test, over one setting that all of them share.
import test from 'ava'
import fc from 'fast-check'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import { KernelTable, type TableDriver, type Write } from '../../../kernel/reconcile/table.ts'

type Thing = { owner: 'us' | 'them'; on: string; value: number }

const ours = (value: number, on = 'a'): Thing => ({ owner: 'us', on, value })
const theirs = (value: number, on = 'a'): Thing => ({ owner: 'them', on, value })

/** A kernel of things; every read and write is noted. `takeable`: foreign things under these keys may be taken. */
function setting({ takeable = [] as readonly string[], confirm = true } = {}) {
  const kernel = new Map<string, Thing>()
  const log: string[] = []
  const refused = new Set<string>()
  /** Keys that a look does not show. */
  const hidden = new Set<string>()
  /** What lies behind the object of a key, which is the first. */
  const behind = new Map<string, Thing[]>()
  const driver: TableDriver<Thing & { key?: string }> = {
    kind: 'neighbour',
    same: (wanted, seen) => wanted.owner === seen.owner && wanted.on === seen.on && wanted.value === seen.value,
    interfaceOf: ({ on }) => on,
    owns: ({ owner }) => owner === 'us',
    mayTake: (_, { value }) => takeable.includes(String(value)),
    wordsOf: ({ value }) => `value ${value}`,
    list: async () => {
      log.push('list')
      return [...kernel]
    },
    listInterface: async name => {
      log.push(`list ${name}`)
      return [...kernel].filter(([, { on }]) => on === name)
    },
    look: async objects => {
      log.push(`look ${objects.map(({ key }) => key).join(' ')}`)
      return objects.map(({ key }) => [key, hidden.has(key) ? undefined : kernel.get(key)] as const)
    },
    write: async writes => {
      return writes.map(({ verb, key, value }: Write<Thing>) => {
        log.push(`${verb} ${key}`)
        if (refused.has(key)) return { reason: 'Refused', errno: ERRNO.EPERM, message: 'no' }
        if (verb === 'add' && kernel.has(key)) return { reason: 'Refused', errno: ERRNO.EEXIST, message: 'exists' }
        const others = behind.get(key) ?? []
        if (verb === 'replace' && others.some(other => driver.same(other, value, key)))
          return { reason: 'Refused', errno: ERRNO.EEXIST, message: 'exists' }
        const next = verb === 'delete' ? others.shift() : undefined
        if (next !== undefined) kernel.set(key, next)
        else if (verb === 'delete') kernel.delete(key)
        else kernel.set(key, value)
        return undefined
      })
    },
  }
  const table = new KernelTable<Thing>(driver, { confirm })
  return { kernel, log, refused, hidden, behind, table, driver }
}

test('what was not read is added, what was read as ours is replaced', async t => {
  const { kernel, log, table } = setting({ confirm: false })
  kernel.set('old', ours(1))
  table.want('old', ours(2))
  table.want('new', ours(3))
  await table.apply(() => true)
  t.deepEqual(log, ['list', 'replace old', 'add new'])
})

test('a foreign object that was read is refused as such, and nothing is sent', async t => {
  const { kernel, log, table } = setting()
  kernel.set('k', theirs(1))
  table.want('k', ours(2))
  const { refused } = await table.apply(() => true)
  t.deepEqual(
    refused.map(({ kind, key, interfaceName, reason, errno }) => ({ kind, key, interfaceName, reason, errno })),
    [{ kind: 'neighbour', key: 'k', interfaceName: 'a', reason: 'ForeignOwner', errno: ERRNO.EEXIST }],
  )
  t.deepEqual(log, ['list'])
  t.deepEqual(kernel.get('k'), theirs(1))
})

test('an object that came unseen is looked at when the kernel says that it exists: foreign stays, ours is replaced', async t => {
  const { kernel, log, table } = setting()
  await table.apply(() => true)
  kernel.set('foreign', theirs(1)).set('mine', ours(1)).set('same', ours(2))
  for (const key of ['foreign', 'mine', 'same']) table.want(key, ours(2))
  log.length = 0
  const { refused, written } = await table.apply(() => true)
  t.deepEqual(
    refused.map(({ key, reason }) => `${key} ${reason}`),
    ['foreign ForeignOwner'],
  )
  t.deepEqual(written.map(({ key }) => key).toSorted(), ['mine', 'same'])
  t.deepEqual(log, ['add foreign', 'add mine', 'add same', 'look foreign mine same', 'replace mine', 'look same mine'])
  t.deepEqual(kernel.get('foreign'), theirs(1))
})

test('a foreign object that may be taken is replaced in place', async t => {
  const { kernel, log, table } = setting({ takeable: ['7'] })
  kernel.set('k', theirs(1))
  table.want('k', ours(7))
  t.deepEqual((await table.apply(() => true)).refused, [])
  t.deepEqual(log, ['list', 'replace k', 'look k'])
})

test('a key that is taken and that a look does not show is read with all others, and decided again', async t => {
  const { kernel, log, hidden, table } = setting({ confirm: false })
  await table.apply(() => true)
  for (const [key, thing] of [
    ['own', ours(9)],
    ['foreign', theirs(9)],
  ] as const) {
    kernel.set(key, thing)
    hidden.add(key)
    table.want(key, ours(2))
  }
  log.length = 0
  const { refused } = await table.apply(() => true)
  t.deepEqual(log, ['add own', 'add foreign', 'look own foreign', 'list', 'replace own'])
  t.deepEqual(kernel.get('own'), ours(2))
  t.like(refused, [{ key: 'foreign', reason: 'ForeignOwner' }])
})

test('ours behind others under its key leads when they are gone: those that may be taken are removed, and no other', async t => {
  const { kernel, behind, log, table } = setting({ takeable: ['2'] })
  table.want('k', ours(2))
  table.want('l', ours(5))
  await table.apply(() => true)
  for (const [key, value] of [...kernel]) {
    kernel.set(key, theirs(1))
    behind.set(key, [theirs(1), value, theirs(1)])
    table.observe(key, theirs(1))
  }
  log.length = 0
  const { refused, healed } = await table.apply(() => true)
  t.deepEqual(
    log.filter(line => line.startsWith('delete')),
    ['delete k', 'delete k'],
  )
  t.deepEqual([kernel.get('k'), behind.get('k')], [ours(2), [theirs(1)]])
  t.deepEqual([kernel.get('l'), behind.get('l')], [theirs(1), [theirs(1), ours(5), theirs(1)]])
  t.deepEqual([healed.map(({ key }) => key), refused.map(({ reason }) => reason)], [['k'], ['ForeignOwner']])
})

test('whoever puts others before ours without end does not hold up a pass', async t => {
  const { kernel, behind, log, table } = setting({ takeable: ['2'] })
  table.want('k', ours(2))
  await table.apply(() => true)
  kernel.set('k', theirs(1))
  behind.set('k', [...Array.from({ length: 40 }, () => theirs(1)), ours(2)])
  const passes: number[] = []
  for (let pass = 0; pass < 3; pass++) {
    table.observe('k', theirs(1))
    log.length = 0
    await table.apply(() => true)
    passes.push(log.filter(line => line === 'delete k').length)
  }
  t.deepEqual(passes, [16, 16, 9])
  t.deepEqual(kernel.get('k'), ours(2))
})

test('what is wanted is written before what is not wanted is removed, a key that was taken included', async t => {
  const { kernel, log, table } = setting({ confirm: false })
  kernel.set('old', ours(1)).set('other', ours(1))
  await table.apply(() => false)
  kernel.set('taken', ours(9))
  table.want('taken', ours(2))
  table.want('other', ours(2))
  log.length = 0
  await table.apply(() => true)
  t.deepEqual(log, ['add taken', 'replace other', 'look taken', 'replace taken', 'delete old'])
})

test('a stale interface makes only its objects be read, and what vanished there heals and is named', async t => {
  const { kernel, log, table } = setting()
  for (const on of ['a', 'b']) for (const n of [1, 2]) table.want(`${on}${n}`, ours(n, on))
  await table.apply(() => true)
  log.length = 0
  kernel.delete('a1')
  kernel.delete('b1')
  table.invalidateInterface('a')
  table.invalidateInterface('nothing is on it')
  const { healed } = await table.apply(() => true)
  t.deepEqual(log, ['list a', 'add a1', 'look a1'])
  t.deepEqual(healed, [{ kind: 'neighbour', key: 'a1', interfaceName: 'a', gone: true, is: 'value 1' }])
  t.false(kernel.has('b1'))
})

test('what others changed is told with what was found and who did it, as it was last before it is right again', async t => {
  const { kernel, table, refused } = setting()
  table.want('k', ours(1))
  await table.apply(() => true)
  kernel.set('k', ours(2))
  table.observe('k', ours(2), { port: 7 })
  refused.add('k')
  t.deepEqual((await table.apply(() => true)).healed, [])
  kernel.set('k', ours(3))
  table.observe('k', ours(3), { port: 8 })
  refused.clear()
  const { healed } = await table.apply(() => true)
  const name = { kind: 'neighbour', key: 'k', interfaceName: 'a' } as const
  t.deepEqual(healed, [{ ...name, found: 'value 3', is: 'value 1', by: { port: 8 } }])
})

test('what another process made under our mark is known as its own until it goes, and told when it is removed', async t => {
  const { kernel, table } = setting()
  table.want('ours', ours(1))
  await table.apply(() => true)
  const asked: unknown[] = []
  const apply = (may: boolean) =>
    table.apply(({ key, foreign }) => {
      asked.push([key, foreign])
      return may
    })
  for (const key of ['theirs', 'unknown']) kernel.set(key, ours(9))
  table.observe('theirs', ours(9), { port: 7 })
  table.observe('unknown', ours(9))
  t.deepEqual((await apply(false)).removed, [])
  const { removed } = await apply(true)
  const found = { kind: 'neighbour', key: 'theirs', interfaceName: 'a', found: 'value 9', by: { port: 7 } } as const
  t.deepEqual(removed, [found])
  // the process that made it is not to blame for what has its name later
  kernel.set('theirs', ours(9))
  table.observe('theirs', ours(9))
  t.deepEqual((await apply(true)).removed, [])
  const [foreign, own] = [
    ['theirs', true],
    ['unknown', false],
  ]
  t.deepEqual(asked, [foreign, own, foreign, own, ['theirs', false]])
})

test('what was wanted when another process made it again is removed without a word', async t => {
  const { kernel, table } = setting()
  table.want('k', ours(1))
  await table.apply(() => true)
  table.want('k')
  kernel.set('k', ours(1))
  table.observe('k', ours(1), { port: 7 })
  t.deepEqual((await table.apply(() => true)).removed, [])
  t.false(kernel.has('k'))
})

test('nothing is read or sent while nothing changed, however often it is applied', async t => {
  const { log, table } = setting()
  table.want('k', ours(1))
  await table.apply(() => true)
  log.length = 0
  table.want('k', ours(1))
  t.false(table.observe('k', ours(1)))
  for (const _ of [1, 2]) await table.apply(() => true)
  t.deepEqual(log, [])
})

test('of 40,000 objects that are written, or removed, in parts all are read back once', async t => {
  const { kernel, log, table } = setting()
  await table.apply(() => true)
  const keys = Array.from({ length: 40_000 }, (_, i) => `k${i}`)
  for (const value of [ours(1), undefined]) {
    for (const key of keys) table.want(key, value)
    log.length = 0
    const { written } = await table.apply(() => true)
    t.is(written.length, keys.length)
    t.deepEqual(
      log.filter(each => /^(list|look)/.test(each)),
      ['list'],
    )
    t.is(kernel.size, value === undefined ? 0 : keys.length)
  }
})

test('a refused object is tried again by each apply and does not stop the others', async t => {
  const { kernel, log, refused, table } = setting()
  refused.add('bad')
  table.want('bad', ours(1))
  table.want('good', ours(1))
  const outcome = await table.apply(() => true)
  t.deepEqual(
    outcome.refused.map(({ key, reason, errno }) => ({ key, reason, errno })),
    [{ key: 'bad', reason: 'Refused', errno: ERRNO.EPERM }],
  )
  t.deepEqual(kernel.get('good'), ours(1))
  log.length = 0
  refused.clear()
  await table.apply(() => true)
  t.deepEqual(log, ['add bad', 'look bad'])
})

test('ours that nobody wants is withheld until it may go; what is foreign is never removed', async t => {
  const { kernel, table } = setting()
  kernel.set('mine', ours(1)).set('theirs', theirs(1))
  const first = await table.apply(({ dropped }) => dropped)
  t.deepEqual(
    first.withheld.map(({ key }) => key),
    ['mine'],
  )
  await table.apply(() => true)
  t.deepEqual([...kernel.keys()], ['theirs'])
})

test('what was wanted in this process and is dropped is told apart from what an earlier one left', async t => {
  const { kernel, table } = setting()
  kernel.set('left', ours(1))
  table.want('dropped', ours(1))
  await table.apply(() => false)
  table.want('dropped')
  const seen: string[] = []
  await table.apply(({ key, dropped }) => {
    seen.push(`${key} ${dropped}`)
    return false
  })
  t.deepEqual(seen.toSorted(), ['dropped true', 'left false'])
})

test('a foreign object in the way of a key that is given up stays', async t => {
  const { kernel, table } = setting()
  kernel.set('k', theirs(1))
  table.want('k', ours(2))
  await table.apply(() => true)
  table.want('k')
  await table.apply(() => true)
  t.deepEqual(kernel.get('k'), theirs(1))
})

test('a foreign object that took the place of ours before ours was removed stays', async t => {
  const { kernel, table } = setting()
  table.want('k', ours(1))
  await table.apply(() => true)
  table.want('k')
  kernel.set('k', theirs(1))
  t.false(table.observe('k', theirs(1)))
  await table.apply(() => true)
  t.deepEqual(kernel.get('k'), theirs(1))
})

test('an object without a mark that was wanted is removed when it is not, also when it is read again before', async t => {
  const { kernel, table } = setting()
  table.want('k', theirs(1))
  await table.apply(() => true)
  t.deepEqual(kernel.get('k'), theirs(1))
  table.want('k')
  table.invalidate()
  await table.apply(() => true)
  t.is(kernel.size, 0)
})

test('a wanted object that appeared by itself is removed when it is wanted no more', async t => {
  const { kernel, table } = setting()
  await table.apply(() => true)
  table.want('k', ours(1))
  kernel.set('k', ours(1))
  t.false(table.observe('k', ours(1)))
  table.want('k')
  await table.apply(() => true)
  t.is(kernel.size, 0)
})

test('the echo of a removal makes nothing be read again', async t => {
  const { kernel, log, table } = setting({ confirm: false })
  table.want('k', ours(1))
  await table.apply(() => true)
  table.want('k')
  kernel.delete('k')
  t.false(table.observe('k', undefined))
  await table.apply(() => true)
  log.length = 0
  t.false(table.isStale)
  await table.apply(() => true)
  t.deepEqual(log, [])
})

test('after a failure of the kernel to answer, everything is read again', async t => {
  const { kernel, log, table, driver } = setting()
  table.want('k', ours(1))
  const { write } = driver
  driver.write = async () => {
    throw new KernelError(ERRNO.ENOBUFS, 'wait for', 'netlink')
  }
  await t.throwsAsync(
    table.apply(() => true),
    { instanceOf: KernelError },
  )
  driver.write = write
  log.length = 0
  await table.apply(() => true)
  t.deepEqual(log, ['list', 'add k', 'look k'])
  t.deepEqual(kernel.get('k'), ours(1))
})

test('any walk of wishes, foreign changes, events and applies ends as wanted, with foreign objects untouched', async t => {
  const key = fc.constantFrom('p', 'q', 'r', 's')
  const thing = fc.record({ on: fc.constantFrom('a', 'b'), value: fc.nat(2) })
  const step = fc.oneof(
    fc.record({ do: fc.constant('want' as const), key, thing: fc.option(thing, { nil: undefined }) }),
    fc.record({ do: fc.constant('set' as const), key, thing, owner: fc.constantFrom('us' as const, 'them' as const) }),
    fc.record({ do: fc.constant('delete' as const), key }),
    fc.record({ do: fc.constant('apply' as const) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async steps => {
      const { kernel, table } = setting()
      const foreign = new Map<string, Thing>()
      const wanted = new Map<string, Thing>()
      await table.apply(() => true)
      for (const s of steps)
        if (s.do === 'want') {
          const value = s.thing && ours(s.thing.value, s.thing.on)
          table.want(s.key, value)
          if (value === undefined) wanted.delete(s.key)
          else wanted.set(s.key, value)
        } else if (s.do === 'apply') await table.apply(() => true)
        else {
          const value = s.do === 'delete' ? undefined : { owner: s.owner, on: s.thing.on, value: s.thing.value }
          foreign.delete(s.key)
          if (value === undefined) kernel.delete(s.key)
          else kernel.set(s.key, value)
          if (value?.owner === 'them') foreign.set(s.key, value)
          table.observe(s.key, value)
        }
      await table.apply(() => true)
      t.deepEqual([...kernel].toSorted(byKey), [...new Map([...wanted, ...foreign])].toSorted(byKey))
    }),
    { numRuns: 2000 },
  )
})

function byKey([a]: readonly [string, Thing], [b]: readonly [string, Thing]): number {
  return a < b ? -1 : 1
}

test('a pass that reads what is ours does not forget that it is time to look at everything', async t => {
  const { table, driver } = setting()
  const listed: string[] = []
  const { list, write } = driver
  driver.list = (wanted, which) => {
    listed.push(which)
    return list(wanted, which)
  }
  await table.apply(() => true)
  driver.write = writes => {
    table.invalidate()
    return write(writes)
  }
  for (let i = 0; i < 100; i++) table.want(`${i}`, ours(i))
  await table.apply(() => true)
  await table.apply(() => true)
  t.deepEqual(listed, ['all', 'all'])
})

test('an object that goes, and is wanted no more, while its interface is read stops no pass', async t => {
  for (const isOnSeveral of [false, true]) {
    const { kernel, driver } = setting()
    let meanwhile = () => {}
    const slow: TableDriver<Thing> = {
      ...driver,
      interfacesOf: ({ on }) => (isOnSeveral ? [on, 'b'] : undefined),
      listInterface: async () => {
        meanwhile()
        return []
      },
    }
    const table = new KernelTable<Thing>(slow, { confirm: true })
    table.want('k', ours(1))
    await table.apply(() => true)
    meanwhile = () => {
      kernel.delete('k')
      table.want('k', undefined)
      table.observe('k', undefined)
    }
    table.invalidateInterface('a')
    await table.apply(() => true)
    meanwhile = () => {}
    table.want('k', ours(2))
    await table.apply(() => true)
    t.deepEqual(kernel.get('k'), ours(2))
  }
})
