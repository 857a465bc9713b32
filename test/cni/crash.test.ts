// kill -9 at every change of kernel, journal and API server that a verb makes, and a restart from what is left: no interface is
// without its addresses, no address without its interface, and what the runtime does next gets its right end.
import test, { type ExecutionContext } from 'ava'
import { createFakeStore } from '../../datastore/fake.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { type Database, openDatabase } from '../../lib/database.ts'
import { aPool } from '../ipam/world.ts'
import { aHost, call, type Host } from './host.ts'
import { Gone, Mortal } from './kill-points.ts'
import { faultsOf, linksOf, mismatchesOf, settled } from './sound.ts'

const BOTH = { ipam: { assign_ipv4: true, assign_ipv6: true } }
const ONE = { id: 'c1', netns: '/run/netns/c1' }
const BESIDE = { ...ONE, ifname: 'net1', conf: { ...BOTH, name: 'second' } }
const FIRST = { ...ONE, conf: BOTH }
/** GC takes nothing that is younger. */
const GC_MS = 60_000
/** A pod that nobody touches. */
const OTHER = { id: 'other', netns: '/run/netns/other', conf: BOTH }
const POD = 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=db-0'
const OLDER = { id: 'older', netns: '/run/netns/older', args: POD, conf: BOTH }
const NEWER = { ...FIRST, args: POD }
const DEL = { netns: '' }

type Call = Parameters<typeof call>[2] & object
type Verb = readonly [verb: string, call: Call]

const valid = (...calls: Call[]) => ({
  'cni.dev/valid-attachments': calls.map(({ id, ifname = 'eth0' }) => ({ containerID: id, ifname })),
})
const gc = (...calls: Call[]): Verb => ['GC', { conf: { ...BOTH, ...valid(...calls, OTHER) } }]

/** What a node does before the moment of interest, and then until it is killed. */
type Life = {
  title: string
  before: readonly Verb[]
  verb: Verb
  least: number
  prepare?: (host: Host) => Promise<unknown>
}

const lives: readonly Life[] = [
  { title: 'ADD', before: [], verb: ['ADD', FIRST], least: 30 },
  { title: 'ADD of a second interface', before: [['ADD', FIRST]], verb: ['ADD', BESIDE], least: 30 },
  {
    title: 'ADD of an interface that lost its far end',
    before: [['ADD', FIRST]],
    verb: ['ADD', FIRST],
    prepare: ({ world }) => world.kernel().inside(ONE.netns).deleteLink('eth0'),
    least: 30,
  },
  { title: 'ADD of a newer sandbox of a pod', before: [['ADD', OLDER]], verb: ['ADD', NEWER], least: 30 },
  { title: 'DEL', before: [['ADD', FIRST]], verb: ['DEL', { ...FIRST, ...DEL }], least: 5 },
  {
    title: 'DEL of one of two interfaces',
    before: [
      ['ADD', FIRST],
      ['ADD', BESIDE],
    ],
    verb: ['DEL', { ...BESIDE, ...DEL }],
    least: 5,
  },
  {
    title: 'GC',
    before: [
      ['ADD', FIRST],
      ['ADD', OLDER],
    ],
    verb: gc(OLDER),
    prepare: async ({ clock }) => clock.advance(GC_MS),
    least: 5,
  },
]

const DEL_ALL = [FIRST, BESIDE, OLDER].map((each): Verb => ['DEL', { ...each, ...DEL }])
const GC_ALL: readonly Verb[] = [gc(), ['GC', { conf: { ...BOTH, name: 'second', ...valid(OTHER) } }]]

/** What the runtime does after a restart: after each the same again, after every other point it gives up at once. */
const ends = {
  again: { every: 1, verbs: (verb: Verb) => [verb, ...DEL_ALL] },
  gone: { every: 2, verbs: (_: Verb, point: number) => (point % 4 === 0 ? DEL_ALL : GC_ALL) },
}

async function start(world: FakeWorld, store = createFakeStore(), db = openDatabase(':memory:'), mortal?: Mortal) {
  const kernel = world.kernel()
  const pools = (await store.list('IPPool')).length > 0 ? [] : [aPool('v4', '10.0.0.0/24'), aPool('v6', 'fd00::/112')]
  const options = { store, pools, takesOver: true, ...(mortal && { writes: mortal.store(store) }) }
  const host = await aHost(mortal?.database(db) ?? db, world, mortal?.kernel(kernel) ?? kernel, options)
  await settled(host)
  return host
}

/** A node with a pod that nobody touches, and what happened to it before. */
async function aNode(t: ExecutionContext, before: readonly Verb[], mortal?: Mortal) {
  const world = new FakeWorld()
  for (const { netns } of [OTHER, FIRST, OLDER]) world.addNetns(netns)
  const store = createFakeStore()
  const db = openDatabase(':memory:')
  const host = await start(world, store, db, mortal)
  for (const [name, each] of [['ADD', OTHER] as const, ...before])
    t.is((await call(host, name, each)).exitCode, 0, `before: ${name}`)
  return { world, store, db, host }
}

/** Starts a node that was killed anew, from what is left, and looks at it. */
async function restarted(
  t: ExecutionContext,
  { world, store, db }: Pick<Awaited<ReturnType<typeof aNode>>, 'world' | 'store' | 'db'>,
  where: string,
): Promise<Host> {
  if (db.isTransaction) db.exec('ROLLBACK') // as the next one to open the file does
  const again = await start(world, store, db)
  t.deepEqual(await faultsOf(again), [], where)
  t.deepEqual(await lacks(again, OTHER), [], where)
  return again
}

const lacks = (host: Host, { id = '', ifname = 'eth0', conf }: Call) =>
  mismatchesOf(host, (conf as { name?: string }).name ?? 'net', { containerID: id, ifname })

async function killed(t: ExecutionContext, { before, verb, prepare }: Life, point: number, end: keyof typeof ends) {
  const mortal = new Mortal()
  const node = await aNode(t, before, mortal)
  const { host } = node
  await prepare?.(host)
  await settled(host)
  mortal.killAfter(point)
  let answered = false
  const life = call(host, ...verb).then(async ({ exitCode, stdout }) => {
    if (!mortal.isDead) t.is(exitCode, 0, stdout)
    answered = !mortal.isDead
    await settled(host)
  })
  await Promise.race([life, mortal.died])
  const { operations, isDead } = mortal
  const where = `killed at ${point}: ${operations[point]}, then ${end}`
  mortal.killAfter(-1)

  const again = await restarted(t, node, where)
  again.clock.advance(host.clock.monotonicMs() + GC_MS)
  if (answered && verb[0] === 'ADD') t.deepEqual(await lacks(again, verb[1]), [], `${where}: it was answered`)
  for (const [name, each] of ends[end].verbs(verb, point)) {
    const { exitCode, stdout } = await call(again, name, each)
    t.is(exitCode, 0, `${where}: ${name}: ${stdout}`)
    if (name === 'ADD') {
      const check = await call(again, 'CHECK', { ...each, conf: { ...each.conf, prevResult: JSON.parse(stdout) } })
      t.is(check.stdout, '', where)
    }
  }
  await settled(again)
  t.deepEqual(await faultsOf(again), [], where)
  t.deepEqual(await lacks(again, OTHER), [], where)
  t.is((await linksOf(again)).length, 1, where)
  t.deepEqual([...again.deps.ipam.held().keys()], ['net.other.eth0'], where)
  return { operations, isDead }
}

for (const life of lives)
  test(`killed at any change that ${life.title} makes, a node comes back with addresses and interfaces alike, and the runtime gets on`, async t => {
    for (const end of ['again', 'gone'] as const)
      for (let point = 0; ; point += ends[end].every) {
        const { operations, isDead } = await killed(t, life, point, end)
        if (isDead) continue
        t.true(point >= life.least, `${point} points`)
        if (end === 'again') t.log(`${point} points: ${operations.join('\n')}`)
        break
      }
  })

/** What happens to a node while no agent runs, and which pods it has then. */
const pauses = [
  {
    title: 'a reboot that left the journal',
    happens: ({ world }: { world: FakeWorld }) => {
      for (const { netns } of [FIRST, OLDER]) world.removeNetns(netns)
    },
    pods: 1,
  },
  {
    title: 'the loss of the journal',
    happens: ({ db }: { db: Database }) => {
      const tables = db.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name DESC").all()
      for (const { name } of tables) db.exec(`DROP TABLE ${name}`)
    },
    pods: 3,
  },
]

for (const { title, happens, pods } of pauses)
  test(`killed at any change that a start after ${title} makes, a node comes back with what runs, and with nothing else`, async t => {
    for (let point = 0; ; point++) {
      const mortal = new Mortal()
      const node = await aNode(
        t,
        [
          ['ADD', FIRST],
          ['ADD', OLDER],
        ],
        mortal,
      )
      await node.host.allocator.flush()
      mortal.killAfter(-1)
      happens(node)
      const next = new Mortal()
      next.killAfter(point)
      await Promise.race([start(node.world, node.store, node.db, next).catch(ifGone), next.died])
      const { operations, isDead } = next
      const where = `killed at ${point}: ${operations[point]}`
      next.killAfter(-1)
      const again = await restarted(t, node, where)
      t.is((await linksOf(again)).length, pods, where)
      t.is(again.deps.ipam.held().size, pods, where)
      if (isDead) continue
      t.true(point > 10, `${point} points`)
      t.log(`${point} points: ${operations.join('\n')}`)
      break
    }
  })

/** A start that dies while it opens its journal says so. */
function ifGone(error: unknown): void {
  if (!(error instanceof Gone)) throw error
}
