// What was answered is on disk. The process is stopped at every single write to the journal and to the store, before
// and after its effect, and started again from what is left; then, once more, by a real kill -9.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { createFakeStore } from '../../datastore/fake.ts'
import { type Store, Unreachable } from '../../datastore/port.ts'
import { affinityOf, isPublished } from '../../ipam/block.ts'
import { Journal } from '../../ipam/journal.ts'
import { type Database, DatabaseError, openDatabase } from '../../lib/database.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

/** What a process that is gone gets of its own writes. */
class DiskGone extends DatabaseError {
  constructor() {
    super('the process is gone', undefined)
  }
}
class StoreGone extends Unreachable {}

/** Counts writes; at number `at` the process is "gone": that write and all later ones throw. */
class Fuse {
  #left: number
  readonly #effect: 'before' | 'after'
  used = 0
  constructor(at: number, effect: 'before' | 'after') {
    this.#left = at
    this.#effect = effect
  }

  get blown(): boolean {
    return this.#left <= 0
  }

  pass<T>(perform: () => T, Gone: typeof DiskGone | typeof StoreGone): T {
    this.used++
    if (this.blown) throw new Gone()
    this.#left--
    if (!this.blown) return perform()
    if (this.#effect === 'after') {
      const done = perform()
      if (done instanceof Promise)
        return done.then(() => {
          throw new Gone()
        }) as T
    }
    throw new Gone()
  }
}

function fusedDb(db: Database, fuse: Fuse): Database {
  return new Proxy(db, {
    get(target, name) {
      if (name === 'exec')
        return (sql: string) => {
          if (/^(BEGIN|ROLLBACK)/.test(sql)) target.exec(sql)
          else fuse.pass(() => target.exec(sql), DiskGone)
        }
      if (name === 'prepare')
        return (sql: string) => {
          const statement = target.prepare(sql)
          return {
            all: statement.all.bind(statement),
            get: statement.get.bind(statement),
            run: (...values: string[]) => fuse.pass(() => statement.run(...values), DiskGone),
          }
        }
      return name === 'isTransaction' ? target.isTransaction : Reflect.get(target, name)
    },
  })
}

function fusedStore(store: Store, fuse: Fuse): Store {
  return {
    ...store,
    create: (...args) => fuse.pass(() => store.create(...args), StoreGone),
    update: (...args) => fuse.pass(() => store.update(...args), StoreGone),
    delete: (...args) => fuse.pass(() => store.delete(...args), StoreGone),
  }
}

type Answers = { held: Map<string, string>; asked: Set<string> }

/** A life of a node that claims, fills, spares, empties and gives back blocks of four. */
async function live(node: TestNode, store: { settled(): Promise<void> }, answers: Answers, fuse: Fuse): Promise<void> {
  const { allocator } = node
  const assign = async (name: string): Promise<void> => {
    const { handle } = aPod(name)
    answers.asked.add(handle)
    const answer = await allocator.assign(aPod(name))
    if (!('refused' in answer)) answers.held.set(handle, answer[0]!.address)
  }
  const release = async (name: string): Promise<void> => {
    answers.held.delete(aPod(name).handle) // once asked for, both outcomes are right
    await allocator.release(aPod(name).handle)
  }
  node.start()
  await converge(store, node)
  for (const name of ['a', 'b', 'c', 'd', 'e']) await assign(name)
  await converge(store, node)
  for (const name of ['a', 'c']) await release(name)
  for (const name of ['f', 'g', 'h', 'i']) await assign(name)
  await converge(store, node)
  for (const name of ['d', 'e', 'f', 'g', 'h']) await release(name)
  await converge(store, node)
  if (fuse.blown) throw new DiskGone()
}

async function crashAt(point: number, effect: 'before' | 'after'): Promise<{ writes: number; complaint?: string }> {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p', '10.0.0.0/27', 30))
  const db = openDatabase(':memory:')
  const fuse = new Fuse(point, effect)
  const answers: Answers = { held: new Map(), asked: new Set() }
  try {
    const node = aNode(fusedStore(store, fuse), 'n1', fusedDb(db, fuse))
    // what is left by a process that is gone is judged after its restart
    await live(node, { settled: () => store.settled() }, answers, fuse)
    await node.close()
  } catch (error) {
    if (!(error instanceof DiskGone || error instanceof StoreGone)) throw error
  }
  if (db.isTransaction) db.exec('ROLLBACK') // as the next open of the file does

  const node = aNode(store, 'n1', db)
  node.start()
  await converge(store, node)
  const complaint = await disagreement(store, db, node, answers)
  await node.close()
  return { writes: fuse.used, complaint }
}

async function disagreement(
  store: Store,
  db: Database,
  { allocator }: TestNode,
  { held, asked }: Answers,
): Promise<string | undefined> {
  const written = new Journal(db)
  const journal = written.blocks()
  const objects = (await store.list('IPAMBlock')).filter(({ spec }) => spec.affinity === affinityOf('n1'))
  if (objects.length !== journal.length) return `${objects.length} objects, ${journal.length} blocks in the journal`
  for (const { block } of journal) {
    const object = objects.find(({ spec }) => spec.cidr === block.cidr)
    if (object === undefined || !isPublished(block, object, written)) return `${block.cidr} differs`
  }
  for (const [handle, address] of held)
    if (allocator.held().get(handle)?.[0]?.address !== address) return `${handle} lost ${address}`
  for (const handle of allocator.held().keys()) if (!asked.has(handle)) return `nobody asked for ${handle}`
  const addresses = [...allocator.held().values()].flat().map(({ address }) => address)
  return new Set(addresses).size === addresses.length ? undefined : 'an address is held twice'
}

for (const effect of ['before', 'after'] as const)
  test(`stopped ${effect} any write, a node comes back with every answered address, and journal and store agree`, async t => {
    let point = 1
    for (let last = false; !last && point < 1_000; point++) {
      const { writes, complaint } = await crashAt(point, effect)
      t.is(complaint, undefined, `stopped ${effect} write ${point}`)
      last = writes < point
    }
    t.log(`${point - 1} write points`)
    t.true(point > 60)
  })

test('after kill -9 at any time, every address that was answered is held, by one pod only', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'margay-ipam-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'node.db')
  const held = new Map<string, string>()
  const asked = new Set<string>()
  for (let life = 0; life < 6; life++) {
    const child = spawn(
      process.execPath,
      [fileURLToPath(new URL('./crash-child.ts', import.meta.url)), path, `${life}`],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    let text = ''
    child.stdout.setEncoding('utf8').on('data', chunk => {
      text += chunk
      if (text.split('\n').length > 30 + life * 17) child.kill('SIGKILL')
    })
    await once(child, 'close')
    for (const line of text.split('\n').slice(0, -1)) {
      const [verb, handle, address] = line.split(' ')
      if (verb === 'asked') asked.add(handle!)
      if (verb === 'assigned') held.set(handle!, address!)
      if (verb === 'releasing') held.delete(handle!)
    }
  }
  const db = openDatabase(path)
  const slots = new Journal(db).blocks().flatMap(({ block }) => block.slots.filter(slot => slot !== null))
  const { allocator } = aNode(createFakeStore(), 'n1', db)
  for (const [handle, address] of held) t.is(allocator.held().get(handle)?.[0]?.address, address)
  const handles = slots.map(({ handle }) => handle)
  t.is(new Set(handles).size, handles.length)
  t.deepEqual(
    handles.filter(handle => !asked.has(handle)),
    [],
  )
  t.true(held.size > 20)
  db.close()
})
