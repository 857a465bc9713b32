import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import type { Resource } from '../../api/kinds.ts'
import { Gone, type WatchStream } from '../../datastore/connection.ts'
import { Unreachable, type WatchEvent } from '../../datastore/port.ts'
import { startWatch, type WatchSource } from '../../datastore/watch.ts'
import { ManualClock } from '../../lib/clock.ts'
import { aPool, aResource } from './objects.ts'

type Pool = Resource<'IPPool'>

const IDLE_MS = 60_000

/** A server's side of the watch, played by hand: what each list and each stream answers, in order. */
class Script implements WatchSource<Pool> {
  readonly fields = true
  readonly clock = new ManualClock()
  readonly opened: string[] = []
  readonly lines: string[] = []
  readonly connections: string[] = []
  readonly versions: string[] = []
  readonly streams: { push(event: object): void; end(): void; fail(): void }[] = []
  #lists: (string[] | Error)[] = []
  listed = 0

  answers(...lists: (string[] | Error)[]): this {
    this.#lists = lists
    return this
  }

  async list(): Promise<{ items: Pool[]; resourceVersion: string }> {
    const next = this.#lists[Math.min(this.listed++, this.#lists.length - 1)]!
    if (next instanceof Error) throw next
    return { items: next.map(name => aPool(name)), resourceVersion: String(100 * this.listed) }
  }

  async open(resourceVersion: string): Promise<WatchStream> {
    this.opened.push(resourceVersion)
    const chunks: (Buffer | 'end' | Error)[] = []
    let wake = (): void => {}
    const put = (chunk: Buffer | 'end' | Error): void => {
      chunks.push(chunk)
      wake()
    }
    this.streams.push({
      push: event => put(Buffer.from(`${JSON.stringify(event)}\n`)),
      end: () => put('end'),
      fail: () => put(new Unreachable('reset')),
    })
    return {
      destroy: () => put(new Unreachable('destroyed')),
      async each(take) {
        for (;;) {
          while (chunks.length === 0) await new Promise<void>(resolve => (wake = resolve))
          const chunk = chunks.shift()!
          if (chunk === 'end') return
          if (chunk instanceof Error) throw chunk
          take(chunk)
        }
      },
    }
  }

  read(object: unknown, type: 'set' | 'gone'): { type: 'set' | 'gone'; item: Pool } | undefined {
    return { type, item: aResource('IPPool', object) }
  }

  start(since?: string): { close(): void } {
    const event = (e: WatchEvent<'IPPool'>): void => {
      const names = e.type === 'sync' ? e.items.map(({ metadata }) => metadata.name).join(',') : e.item.metadata.name
      this.lines.push(`${e.type} ${names}`)
    }
    const connection = ({ connected, cause }: { connected: boolean; cause?: Error }): void =>
      void this.connections.push(connected ? 'up' : `down: ${cause?.message}`)
    const version = (resourceVersion: string): void => void this.versions.push(resourceVersion)
    const timing = { clock: this.clock, idleMs: IDLE_MS, random: () => 0.5 }
    return startWatch(this, { event, version, connection }, timing, since)
  }
}

const settle = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const changed = (type: string, name: string, version: string): object => ({
  type,
  object: { ...aPool(name), metadata: { name, resourceVersion: version } },
})

test('a stream that ends in order goes on from the last version, without a list', async t => {
  const script = new Script().answers(['a'])
  const watch = script.start()
  await settle()
  script.streams[0]!.push(changed('ADDED', 'b', '101'))
  script.streams[0]!.push({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '150' } } })
  script.streams[0]!.end()
  await settle()
  t.deepEqual(script.opened, ['100', '150'])
  t.deepEqual(script.lines, ['sync a', 'set b'])
  watch.close()
})

test('a stream that breaks off goes on from the last version, without a list', async t => {
  const script = new Script().answers(['a', 'b'])
  const watch = script.start()
  await settle()
  script.streams[0]!.push(changed('DELETED', 'a', '101'))
  await settle()
  script.streams[0]!.fail()
  await settle()
  script.clock.advance(10_000)
  await settle()
  t.deepEqual(script.opened, ['100', '101'])
  t.is(script.listed, 1)
  t.deepEqual(script.lines, ['sync a,b', 'gone a'])
  t.deepEqual(script.connections, ['up', 'down: reset', 'up'])
  watch.close()
})

test('a watch that starts from a version opens the stream there, and says that it is connected', async t => {
  const script = new Script().answers(['a'])
  const watch = script.start('90')
  await settle()
  script.streams[0]!.push(changed('ADDED', 'b', '101'))
  await settle()
  t.deepEqual(script.opened, ['90'])
  t.is(script.listed, 0)
  t.deepEqual(script.lines, ['set b'])
  t.deepEqual(script.versions, ['101'])
  t.deepEqual(script.connections, ['up'])
  watch.close()
})

test('bookmarks and objects with nothing to tell move the version on', async t => {
  const script = new Script().answers(['a'])
  script.read = () => undefined
  const watch = script.start()
  await settle()
  script.streams[0]!.push(changed('MODIFIED', 'a', '101'))
  script.streams[0]!.push({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '150' } } })
  await settle()
  t.deepEqual(script.lines, ['sync a'])
  t.deepEqual(script.versions, ['100', '101', '150'])
  watch.close()
})

for (const [title, play] of [
  ['in the stream', (s: Script) => s.streams[0]!.push({ type: 'ERROR', object: { code: 410, message: 'gone' } })],
] as const)
  test(`410 ${title} leads to a new list, and is no disconnection`, async t => {
    const script = new Script().answers(['a'], ['b'])
    const watch = script.start()
    await settle()
    play(script)
    await settle()
    script.clock.advance(10_000)
    await settle()
    t.deepEqual(script.lines, ['sync a', 'sync b'])
    t.deepEqual(script.connections, ['up'])
    watch.close()
  })

test('410 to the request itself leads to a new list', async t => {
  const script = new Script().answers(['a'], ['b'])
  const open = script.open.bind(script)
  script.open = version => (version === '100' ? Promise.reject(new Gone('gone')) : open(version))
  const watch = script.start()
  await settle()
  script.clock.advance(10_000)
  await settle()
  t.deepEqual(script.lines, ['sync a', 'sync b'])
  watch.close()
})

test('a server that has the version of no list of its own is told as away until it has one, and is listed more and more rarely', async t => {
  const script = new Script().answers(['a'])
  const open = script.open.bind(script)
  script.open = () => Promise.reject(new Gone('gone'))
  const watch = script.start()
  const minute = async () => {
    const before = script.listed
    for (let second = 0; second < 60; second++) {
      script.clock.advance(1000)
      await settle()
    }
    return script.listed - before
  }
  await minute()
  t.true((await minute()) <= 12)
  t.deepEqual(script.connections, ['down: gone'])
  script.open = open
  await minute()
  t.deepEqual(script.connections, ['down: gone', 'up'])
  watch.close()
})

test('a stream that falls silent is opened again from the last version', async t => {
  const script = new Script().answers(['a'])
  const watch = script.start()
  await settle()
  script.clock.advance(IDLE_MS - 1)
  script.streams[0]!.push(changed('MODIFIED', 'a', '102'))
  await settle()
  script.clock.advance(IDLE_MS - 1)
  await settle()
  t.is(script.opened.length, 1)
  script.clock.advance(1)
  await settle()
  script.clock.advance(10_000)
  await settle()
  t.deepEqual(script.opened, ['100', '102'])
  t.is(script.listed, 1)
  watch.close()
})

test('a server that stays away is asked ever more slowly, and for ever', async t => {
  const script = new Script().answers(new Unreachable('away'))
  const watch = script.start()
  await settle()
  const asked: number[] = []
  for (let minute = 0; minute < 10; minute++) {
    const before = script.listed
    for (let i = 0; i < 600; i++) {
      script.clock.advance(100)
      await settle()
    }
    asked.push(script.listed - before)
  }
  t.true(asked[0]! < 20)
  t.true(
    asked.slice(1).every(n => n >= 6 && n <= 12),
    String(asked),
  )
  t.deepEqual([...new Set(script.connections)], ['down: away'])
  watch.close()
})

test('a server that ends every stream at once is not asked in a tight loop', async t => {
  const script = new Script().answers(['a'])
  const watch = script.start()
  for (let i = 0; i < 100; i++) {
    await settle()
    script.streams.at(-1)?.end()
  }
  t.true(script.opened.length < 5)
  watch.close()
})

test('in a cluster where nothing happens no watch pauses, whether the server ends the stream or is silent', async t => {
  const script = new Script().answers(['a'])
  const watch = script.start()
  await settle()
  for (let i = 1; i <= 100; i++) {
    const quietMs = i % 2 === 0 ? IDLE_MS : IDLE_MS / 2
    script.clock.advance(quietMs)
    if (quietMs < IDLE_MS) script.streams.at(-1)!.end()
    await settle()
    await settle()
    t.is(script.opened.length, 1 + i, 'opened again at once')
  }
  // the first fault after it is not paid for with the pauses of a long one
  script.clock.advance(IDLE_MS / 2)
  script.streams.at(-1)!.fail()
  await settle()
  script.clock.advance(200)
  await settle()
  t.is(script.opened.length, 102)
  t.is(script.listed, 1)
  t.deepEqual(script.connections, ['up', 'down: reset', 'up'])
  watch.close()
})

test('a closed watch leaves no timer behind', async t => {
  for (const answer of [['a'], new Unreachable('away')]) {
    const script = new Script().answers(answer)
    const watch = script.start()
    await settle()
    watch.close()
    await settle()
    t.is(script.clock.pending, 0)
  }
})

for (const fault of ['list', 'read', 'event'])
  test(`a fault of this program in ${fault} ends it, and is not retried as if the server were away`, async t => {
    const child = new URL('./fault-child.ts', import.meta.url).pathname
    const error = await t.throwsAsync(promisify(execFile)(process.execPath, [child, fault]))
    t.regex(error!.message, new RegExp(`TypeError: a fault in ${fault}`))
  })

test('while a server is away, another reason for it is told too, and the same one once', async t => {
  const script = new Script().answers(['a'])
  let away: Error | undefined
  const open = script.open.bind(script)
  script.open = version => (away === undefined ? open(version) : Promise.reject(away))
  const watch = script.start()
  await settle()
  for (const message of ['no route', 'no route', 'refused']) {
    away = new Unreachable(message)
    script.streams[0]!.fail()
    for (let i = 0; i < 3; i++) {
      script.clock.advance(10_000)
      await settle()
    }
  }
  t.deepEqual(script.connections, ['up', 'down: reset', 'down: no route', 'down: refused'])
  watch.close()
})

test('bookmarks once a minute are no silence: an idle cluster costs no new stream in an hour', async t => {
  const script = new Script().answers(['a'])
  const watch = script.start()
  await settle()
  for (let minute = 0; minute < 60; minute++) {
    // the server's minute is a little longer than ours
    script.clock.advance(IDLE_MS - 500)
    script.streams[0]!.push({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(200 + minute) } } })
    await settle()
  }
  t.deepEqual(script.opened, ['100'])
  t.is(script.listed, 1)
  t.deepEqual(script.connections, ['up'])
  watch.close()
})

test('after a server was away for an hour the watch goes on from its version at once when asked, and is quick again', async t => {
  const script = new Script().answers(['a'])
  let away = false
  const open = script.open.bind(script)
  let asked = 0
  script.open = version => {
    asked++
    return away ? Promise.reject(new Unreachable('away')) : open(version)
  }
  const watch = script.start()
  await settle()
  script.streams[0]!.push(changed('MODIFIED', 'a', '101'))
  await settle()
  away = true
  script.streams[0]!.fail()
  for (let i = 0; i < 360; i++) {
    script.clock.advance(10_000)
    await settle()
  }
  away = false
  script.clock.advance(10_000)
  await settle()
  t.deepEqual(script.opened, ['100', '101'])
  t.is(script.listed, 1)
  // the delay of the long break does not hold up the cure of the next one
  script.streams[1]!.push(changed('MODIFIED', 'a', '102'))
  await settle()
  const before = asked
  script.streams[1]!.fail()
  await settle()
  script.clock.advance(200)
  await settle()
  t.is(asked, before + 1)
  t.is(script.opened.at(-1), '102')
  watch.close()
})

test('a watch that waits for its next attempt makes it at once when it is told to hurry', async t => {
  const script = new Script().answers(new Unreachable('away'), new Unreachable('away'), new Unreachable('away'), ['a'])
  const watch = script.start() as { close(): void; hurry(): void }
  await settle()
  for (let i = 0; i < 2; i++) {
    script.clock.advance(10_000)
    await settle()
  }
  t.is(script.listed, 3)
  watch.hurry()
  await settle()
  t.deepEqual(script.lines, ['sync a'])
  watch.close()
})
