// The power goes at any commit of the journal, and the disk has any part of it; or the disk lies, and has even less. The node starts
// from that: no address is had twice, by pods that run and by those that come, and what was lost is told.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openDataDirectory } from '../../agent/data-directory.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { chanceOf } from '../controllers/world.ts'
import { aPool } from '../ipam/world.ts'
import { aHost, call, type Host } from './host.ts'
import { Mortal } from './kill-points.ts'
import { cutBetween, damage, type Files, readFiles, watched, writeFiles } from './power-cut.ts'
import { faultsOf, linksOf, mismatchesOf, settled } from './sound.ts'

const FAMILIES = { ipam: { assign_ipv4: true, assign_ipv6: true } }
const NEVER = {
  owner: { node: 'n1' },
  lost: (message: string): never => {
    throw new Error(message)
  },
}

const podOf = (id: string) => ({ id, netns: `/run/netns/${id}`, conf: FAMILIES })
type Answers = { has: Map<string, string>; mayHave: Set<string> }

/** What runs: pods that come and go, and the blocks that hold them are published. */
async function live(host: Host, { has, mayHave }: Answers): Promise<void> {
  const add = async (id: string) => {
    mayHave.add(id)
    const { exitCode, stdout } = await call(host, 'ADD', podOf(id))
    if (exitCode !== 0) throw new Error(stdout)
    has.set(id, addressesIn(stdout))
  }
  await add('a')
  await add('b')
  await host.allocator.flush()
  has.delete('a')
  await call(host, 'DEL', podOf('a'))
  await add('c')
  await settled(host)
}

const addressesIn = (stdout: string): string =>
  `${(JSON.parse(stdout) as { ips: { address: string }[] }).ips.map(({ address }) => address.replace(/\/.*/, '')).sort()}`

/** How many pages the log has before they are written back: in this short life too, and as SQLite does by itself. */
const OFTEN = 12
const SELDOM = 1000

type Cut = { world: FakeWorld; store: FakeStore; before: Files; after: Files; middle: Files; answers: Answers }

/** A node whose power goes at its commit `at`; undefined where it makes fewer. */
async function cutAt(t: ExecutionContext, folder: string, at: number, pagesInLog = OFTEN): Promise<Cut | undefined> {
  const world = new FakeWorld()
  for (const id of ['a', 'b', 'c', 'd', 'e', 'f']) world.addNetns(`/run/netns/${id}`)
  const store = createFakeStore()
  const path = mkdtempSync(join(folder, 'life-'))
  const data = openDataDirectory(path, NEVER)
  t.teardown(() => data.close())
  data.node.exec(`PRAGMA wal_autocheckpoint = ${pagesInLog}`)
  const mortal = new Mortal()
  const answers: Answers = { has: new Map(), mayHave: new Set() }
  const states = [readFiles(path)]
  const db = watched(data.node, () => {
    if (mortal.isDead || states.length > at + 1) return
    states.push(readFiles(path))
    if (states.length > at + 1) mortal.killAfter(-1)
  })
  const pools = [aPool('v4', '10.0.0.0/24'), aPool('v6', 'fd00::/112')]
  const life = (async () => {
    const options = { store, pools, takesOver: true, writes: mortal.store(store) }
    const host = await aHost(mortal.database(db), world, mortal.kernel(world.kernel()), options)
    await settled(host)
    await live(host, answers)
  })().catch(error => {
    if (!mortal.isDead) throw error
  })
  await Promise.race([life, mortal.died, untilDead(mortal, life)])
  if (states.length <= at + 1) return undefined
  return { world, store, middle: states[Math.ceil(at / 2)]!, before: states[at]!, after: states[at + 1]!, answers }
}

/** Nothing more happens of one that was killed between two of its operations. */
async function untilDead(mortal: Mortal, life: Promise<unknown>): Promise<void> {
  let ended = false
  void life.finally(() => {
    ended = true
  })
  while (!ended && !mortal.isDead) await new Promise(setImmediate)
}

const LEFT = ['the machine started anew', 'its pods run'] as const

type Start = { folder: string; cut: Cut; files: Files; left: (typeof LEFT)[number]; where: string }

/** Starts a node from these files, and looks at it, and at what comes then. Returns the reasons of what it tells. */
async function startFrom(t: ExecutionContext, { folder, cut, files, left, where }: Start): Promise<Set<string>> {
  const { world, store, answers } = cut
  const path = mkdtempSync(join(folder, 'start-'))
  writeFiles(path, files)
  if (left === 'the machine started anew')
    for (const id of ['a', 'b', 'c']) {
      world.removeNetns(`/run/netns/${id}`)
      world.addNetns(`/run/netns/${id}`)
    }
  const data = openDataDirectory(path, NEVER)
  t.teardown(() => data.close())
  const told = new Set(data.conditions().map(({ reason }) => reason))
  const report = (conditions: readonly { reason: string }[]) => {
    for (const { reason } of conditions) told.add(reason)
  }
  const host = await aHost(data.node, world, undefined, { store, pools: [], takesOver: true, report })
  await settled(host)
  t.deepEqual(await faultsOf(host), [], where)
  const running = new Map<string, string>()
  for (const { id, addresses } of host.deps.endpoints.all()) running.set(id, `${[...addresses].sort()}`)
  if (left === 'its pods run') {
    for (const [id, addresses] of answers.has)
      t.true([...running.values()].includes(addresses), `${where}: ${id} lost ${addresses}`)
    if (host.deps.endpoints.all().some(({ adopted }) => adopted)) t.true(told.has('PodsAdopted'), where)
  } else t.is(running.size, 0, where)
  for (const id of ['d', 'e', 'f']) {
    const { exitCode, stdout } = await call(host, 'ADD', podOf(id))
    t.is(exitCode, 0, `${where}: ${stdout}`)
  }
  await settled(host)
  t.deepEqual(await faultsOf(host), [], where)
  for (const id of ['d', 'e', 'f'])
    t.deepEqual(await mismatchesOf(host, 'net', { containerID: id, ifname: 'eth0' }), [], where)
  for (const id of ['a', 'b', 'c', 'd', 'e', 'f']) t.is((await call(host, 'DEL', podOf(id))).exitCode, 0, where)
  await settled(host)
  t.deepEqual(await linksOf(host), [], where)
  t.deepEqual([...host.deps.ipam.held().keys()], [], where)
  return told
}

/** In memory where there is such a disk: what is written is what counts here, and fsync takes most of the time elsewhere. */
function aFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'margay-power-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('the power goes at any commit: what was answered is there, whatever part of the commit the disk has', async t => {
  const folder = aFolder(t)
  let cuts = 0
  for (let at = 0; ; at++) {
    const first = await cutAt(t, folder, at)
    if (first === undefined) break
    for (const name of cutBetween(first.before, first.after, chanceOf(at)).keys()) {
      const cut = (await cutAt(t, folder, at))!
      const files = cutBetween(cut.before, cut.after, chanceOf(at)).get(name)!
      const left = LEFT[cuts++ % 2]!
      const where = `commit ${at}, ${name}, ${left}`
      // what was committed is on the disk: nothing is lost
      t.deepEqual([...(await startFrom(t, { folder, cut, files, left, where }))], [], where)
    }
  }
  t.log(`${cuts} cuts`)
  t.true(cuts > 50)
})

test('a disk that lies, or is put together from several times: pods that run keep their addresses alone, and what was lost is told', async t => {
  const folder = aFolder(t)
  const told = new Map<string, string>()
  for (const pagesInLog of [OFTEN, SELDOM]) {
    let last = 0
    while ((await cutAt(t, folder, last + 1, pagesInLog)) !== undefined) last++
    const kinds = damage((await cutAt(t, folder, last, pagesInLog))!, chanceOf(1)).keys()
    for (const name of kinds)
      for (const left of LEFT) {
        const cut = (await cutAt(t, folder, last, pagesInLog))!
        const files = damage(cut, chanceOf(1)).get(name)!
        const where = `${name}, ${pagesInLog} pages in the log, ${left}`
        told.set(where, `${[...(await startFrom(t, { folder, cut, files, left, where }))]}`)
      }
  }
  for (const [where, reasons] of told) t.log(`${where}: ${reasons}`)
  t.is(told.get(`no log, ${SELDOM} pages in the log, its pods run`), 'PodsAdopted')
  t.is(told.get(`half of the database, ${OFTEN} pages in the log, its pods run`), 'Damaged,PodsAdopted')
})
