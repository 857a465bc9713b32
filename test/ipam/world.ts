// What the IPAM tests build worlds from: nodes over a store, each with a journal of its own and a clock that only
// moves when a test moves it. Whenever all is published, the objects are held to what `calicoctl ipam check` counts as a problem.
import type { Resource } from '../../api/kinds.ts'
import { kinds } from '../../api/kinds.ts'
import { openCaches } from '../../datastore/cache.ts'
import type { FakeStore } from '../../datastore/fake.ts'
import { type Store, Unreachable } from '../../datastore/port.ts'
import { NodeAllocator } from '../../ipam/allocator.ts'
import { Journal } from '../../ipam/journal.ts'
import type { Assigned, AssignRefusal, AssignRequest } from '../../ipam/port.ts'
import type { Sets } from '../../ipam/resting.ts'
import { ManualClock } from '../../lib/clock.ts'
import { type Database, openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { blockProblems, calicoProblemsOf } from './calico-check.ts'

export type TestNode = {
  name: string
  clock: ManualClock
  db: Database
  allocator: NodeAllocator
  /** Whether it may publish now. */
  mayWrite(): boolean
  /** Connects to the store. */
  start(): void
  close(): Promise<void>
  /** Stops without publishing and starts over from the journal. */
  restart(): Promise<TestNode>
}

export function aNode(
  store: Store,
  name: string,
  db: Database = openDatabase(':memory:'),
  mayWrite?: () => boolean,
  sets?: Sets,
  reached?: (cidr: string) => Promise<void>,
  withdrawn?: (cidr: string) => Promise<void>,
  floatsTo?: (address: string) => string | undefined,
): TestNode {
  const clock = new ManualClock()
  const selects = { node: (selector: string) => selector === 'all()' || selector === name }
  const caches = openCaches(store, { database: db, clock, log: silentLog })
  const journal = new Journal(db)
  const allocator = new NodeAllocator({
    node: name,
    store,
    mayWrite,
    caches,
    journal,
    clock,
    log: silentLog,
    selects,
    sets,
    reached,
    withdrawn,
    floatsTo,
  })
  // `aPod` does not know where it will run
  const assignNow = allocator.assignNow.bind(allocator)
  allocator.assignNow = (request, within) =>
    assignNow(
      { ...request, attributes: { ...request.attributes, ...(request.attributes.node === 'n1' && { node: name }) } },
      within,
    )
  const world: TestNode = {
    name,
    clock,
    db,
    allocator,
    mayWrite: () => mayWrite?.() ?? true,
    start() {
      caches.start()
      allocator.start()
    },
    async close() {
      running.delete(world)
      await allocator.close()
      caches.close()
    },
    async restart() {
      await world.close()
      const again = aNode(store, name, db, mayWrite, sets, reached, withdrawn, floatsTo)
      again.start()
      return again
    },
  }
  return world
}

/** From now on no node gives an address of its blocks to a pod of another one. */
export async function lendNothing(store: Pick<Store, 'create'>): Promise<void> {
  const input = { metadata: { name: 'default' }, spec: { strictAffinity: true } }
  await store.create('IPAMConfiguration', kinds.IPAMConfiguration.schema.parse(input))
}

export function aPod(name: string): AssignRequest {
  const attributes = { pod: name, namespace: 'default', node: 'n1', containerID: name }
  return { handle: `net.${name}.eth0`, attributes, families: ['ipv4'], use: 'Workload' }
}

export function aPool(
  name: string,
  cidr: string,
  blockSize?: number,
  spec: Partial<Resource<'IPPool'>['spec']> = {},
): Resource<'IPPool'> {
  return kinds.IPPool.schema.parse({ metadata: { name }, spec: { cidr, blockSize, ...spec } })
}

/** Without `list` and `watch` nobody looks at what lies in the store. */
type Settling = Pick<FakeStore, 'settled'> & Partial<Pick<Store, 'list' | 'watch'>>

/** Of a store: what was wrong with blocks as they were written, and what tests broke by hand. */
type Looked = { written: string[]; broken: RegExp[] }

const looked = new WeakMap<Settling, Looked>()
/** The nodes that are not closed, and where they write. */
const running = new Map<TestNode, Settling>()

/**
 * Lets everything that waits happen, for longer than a change waits to be published: events are delivered and timers fire. Then
 * `calicoctl ipam check` finds nothing in the store, as far as these nodes have written it. Rejects with what it finds.
 */
export async function converge(store: Settling, ...nodes: TestNode[]): Promise<void> {
  const { written, broken } = lookAt(store)
  for (const node of nodes) running.set(node, store)
  for (let round = 0; round < 30; round++) {
    await drained(store)
    for (const { clock } of nodes) clock.advance(5_000)
  }
  await drained(store)
  const found = [...written.splice(0), ...(await problemsOf(store, nodes))]
  const problems = found.filter(text => !broken.some(pattern => pattern.test(text)))
  if (problems.length > 0) throw new Error(problems.join('\n'))
}

/** Time passes on all of these, in steps that are short beside what nodes wait for each other. */
export async function pass(nodes: readonly TestNode[], ms: number): Promise<void> {
  for (let leftMs = ms; leftMs > 0; leftMs -= 100) {
    for (const { clock } of nodes) clock.advance(100)
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
  }
}

/** The answer to a pod, and how long it took: time passes on its node and the `others` until it is there, 20 s at the most. */
export async function assigned(
  node: TestNode,
  pod: AssignRequest,
  others: readonly TestNode[] = [],
): Promise<{ answer: readonly Assigned[] | AssignRefusal; ms: number }> {
  let answer: readonly Assigned[] | AssignRefusal | undefined
  void node.allocator.assign(pod).then(given => {
    answer = given
  })
  const sinceMs = node.clock.monotonicMs()
  const spent = () => node.clock.monotonicMs() - sinceMs
  await new Promise(setImmediate)
  while (answer === undefined) {
    if (spent() > 20_000) throw new Error(`${node.name} does not answer ${pod.handle}`)
    await pass([node, ...others], 100)
  }
  return { answer, ms: spent() }
}

/** `converge` once more, for all nodes that are not closed: what the last steps of tests left is sound as well. */
export async function convergeAll(): Promise<void> {
  const nodesOf = Map.groupBy(running.keys(), node => running.get(node)!)
  for (const [store, nodes] of nodesOf) await converge(store, ...nodes)
}

/** From now on `converge` over this store lets problems pass that are about this: the test makes them, and no allocator does. */
export function breaksByHand(store: Settling, about: RegExp): void {
  lookAt(store).broken.push(about)
}

function lookAt(store: Settling): Looked {
  const known = looked.get(store)
  if (known !== undefined) return known
  const written: string[] = []
  const begun = { written, broken: [] }
  looked.set(store, begun)
  store.watch?.('IPAMBlock', {
    event: event => {
      if (event.type === 'set') written.push(...blockProblems([event.item], Date.now()))
    },
  })
  return begun
}

/** What was asked for so far is answered, and no time passes. */
export async function drained(store: Settling): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
  await store.settled()
}

/** Nothing where the store cannot be reached. */
async function problemsOf({ list }: Settling, nodes: readonly TestNode[]): Promise<string[]> {
  const published = nodes.filter(node => node.mayWrite())
  try {
    const held = published.map(node => ({ name: node.name, addresses: addressesOf(node) }))
    return list === undefined ? [] : await calicoProblemsOf({ list }, held, Date.now())
  } catch (error) {
    if (error instanceof Unreachable) return []
    throw error
  }
}

function addressesOf({ name, allocator }: TestNode): (readonly [address: string, by: string])[] {
  return [...allocator.held()].flatMap(([handle, held]) =>
    held.map(({ address }) => [address, `${handle} on ${name}`] as const),
  )
}
