// 200 nodes over one API server and a bad network, with pools of 64 blocks: agents are killed between any two calls, what they
// have sent still lands, nodes are cut off for a time, and some go for good, for which margay-controllers frees what they had. At no
// moment do two of them have the same block or address, and when all is well again, journals and store agree, and nothing is of
// a node that is gone. `npm run test:claims` plays longer.
import test from 'ava'
import type { Kind } from '../../api/kinds.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import type { Store, WatchHandlers, WatchOptions } from '../../datastore/port.ts'
import { ownersOf } from '../../ipam/block-owners.ts'
import { leader, pass, SETTINGS } from '../controllers/leader.ts'
import { Line } from '../controllers/world.ts'
import { aNode as aNodeObject } from '../datastore/objects.ts'
import { disagreement, twoOwners } from './agreement.ts'
import { flakyStore, type Network, randomFrom } from './flaky-store.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

const IS_LONG = process.env['MARGAY_CLAIMS'] === 'long'
const NODES = 200
/** In so many steps a node goes for good, and one with a borrowed address as soon as there is one. */
const GOES_EVERY = 20

/** Of the controllers, within which all that nodes that are gone had is free. */
const LAST_ROUNDS = 12

const breathe = (): Promise<void> => new Promise(setImmediate)

/** A store for one life of an agent: after its end no answer and no event comes, and what was sent goes on its way. */
function forLife(store: Store): { store: Store; end(): void } {
  let isAlive = true
  const answered = <T>(call: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      call.then(
        value => isAlive && resolve(value),
        error => isAlive && reject(error),
      )
    })
  const own: Store = {
    ...store,
    get: (...args) => answered(store.get(...args)),
    list: (...args) => answered(store.list(...args)),
    create: (...args) => answered(store.create(...args)),
    update: (...args) => answered(store.update(...args)),
    patch: (...args) => answered(store.patch(...args)),
    delete: (...args) => answered(store.delete(...args)),
    async *pages(...args) {
      yield (await answered(Array.fromAsync(store.pages(...args)))).flat()
    },
    watch<K extends Kind>(kind: K, handlers: WatchHandlers<K>, options?: WatchOptions<K>) {
      return store.watch(
        kind,
        {
          event: event => {
            if (isAlive) handlers.event(event)
          },
          connection: state => {
            if (isAlive) handlers.connection?.(state)
          },
        },
        options,
      )
    },
  }
  return {
    store: own,
    end() {
      isAlive = false
    },
  }
}

/** One machine: its disk outlives its agents. */
class Machine {
  node!: TestNode
  readonly network: Network
  readonly #name: string
  readonly #store: Store
  #line!: Line
  #life!: { store: Store; end(): void }

  constructor(name: string, server: FakeStore, random: () => number) {
    this.#name = name
    const { store, network } = flakyStore(server, random)
    this.#store = store
    this.network = network
    this.start()
  }

  start(): void {
    this.#line = new Line(this.#store)
    this.#life = forLife(this.#line.store)
    this.node = aNode(this.#life.store, this.#name, this.node?.db)
    this.node.start()
  }

  /** What its agent has sent still lands. */
  end(): void {
    this.#life.end()
    this.#line.end()
  }

  kill(): void {
    this.end()
    this.start()
  }

  cut(isCut: boolean): void {
    this.#line.set(isCut ? 'cut' : 'whole')
  }
}

async function play(seed: number, steps: number) {
  const random = randomFrom(seed)
  const below = (count: number) => Math.floor(random() * count)
  const server = createFakeStore()
  await server.create('IPPool', aPool('p', '10.0.0.0/24', 29))
  await server.create('IPPool', aPool('q', '10.0.2.0/24', 29))
  for (let i = 0; i < NODES; i++) await server.create('Node', aNodeObject(`n${i}`))
  const machines = Array.from({ length: NODES }, (_, i) => new Machine(`n${i}`, server, random))
  const { store, network: line } = flakyStore(server, random)
  const controllers = leader(store)
  const count = { given: 0, borrowed: 0, refused: 0, kills: 0, cuts: 0, gone: 0, goneBorrowers: 0 }
  const gone: Machine[] = []
  // which calls meet is chance, whatever the seed: it goes on until a pod was given a borrowed address, and a node with one went
  const isOver = (step: number) =>
    step >= steps && ((count.goneBorrowers > 0 && count.borrowed > 0) || step >= 10 * steps)
  for (let step = 0; !isOver(step); step++) {
    const borrowers = machines.filter(({ node }) => node.allocator.borrowed().length > 0)
    const some = borrowers.length > 0 && count.goneBorrowers * GOES_EVERY <= step ? borrowers : machines
    if (some === borrowers || step % GOES_EVERY === GOES_EVERY - 1) {
      const machine = some[below(some.length)]!
      machines.splice(machines.indexOf(machine), 1)
      machine.end()
      gone.push(machine)
      await server.delete('Node', machine.node.name)
      count.gone++
      if (some === borrowers) count.goneBorrowers++
    }
    line.tick()
    controllers.clock.advance(5_000)
    for (let i = 0; i < 10; i++) {
      const machine = machines[below(machines.length)]!
      const { allocator, clock } = machine.node
      const pod = aPod(`p${below(10)}`)
      const choice = random()
      if (choice < 0.45)
        void allocator.assign(pod).then(answer => {
          if ('refused' in answer) count.refused++
          else {
            count.given++
            if (answer.some(({ block }) => block.endsWith('/32'))) count.borrowed++
          }
        })
      else if (choice < 0.75) await allocator.release(pod.handle)
      else if (choice < 0.8) {
        count.kills++
        machine.kill()
      } else if (choice < 0.84) {
        count.cuts++
        machine.cut(true)
      } else if (choice < 0.9) machine.cut(false)
      else clock.advance(random() * 20_000)
    }
    for (const { network, node } of machines) {
      if (random() < 0.6) network.tick()
      if (random() < 0.4) node.clock.advance(random() * 250)
    }
    await breathe()
    const clash = twoOwners(machines.map(({ node }) => node))
    if (clash !== undefined) throw new Error(`seed ${seed}, step ${step}: ${clash}`)
  }
  for (const machine of machines) {
    machine.network.heal()
    machine.cut(false)
  }
  for (const { network } of [{ network: line }, ...gone]) network.heal()
  const nodes = machines.map(({ node }) => node)
  await converge(server, ...nodes)
  const names = new Set(gone.map(({ node }) => node.name))
  const ofGone = async () =>
    (await server.list('IPAMBlock')).find(block => ownersOf(block).nodes.some(node => names.has(node)))
  // rounds that failed while the network was bad are far apart, and each of what nodes had takes two
  for (let i = 0; i < LAST_ROUNDS && (await ofGone()) !== undefined; i++)
    await pass(SETTINGS.periodMs / 1000, controllers)
  await converge(server, ...nodes)
  const left = await ofGone()
  const wrong =
    twoOwners(nodes) ?? (await disagreement(server, nodes)) ?? (left && `${left.spec.cidr} is of a node that is gone`)
  if (wrong !== undefined) throw new Error(`seed ${seed}, in the end: ${wrong}`)
  await controllers.chores.close()
  for (const node of nodes) await node.close()
  return count
}

test('of 200 nodes that fight for 64 blocks no two ever have the same block or address, whatever is lost and whoever is killed', async t => {
  t.timeout(IS_LONG ? 3_600_000 : 110_000)
  for (let seed = 1; seed <= (IS_LONG ? 20 : 1); seed++) {
    const count = await play(seed, IS_LONG ? 1_000 : 100)
    t.log(seed, JSON.stringify(count))
    t.true(count.given > 50 && count.refused > 0 && count.borrowed > 0 && count.kills > 0 && count.goneBorrowers > 0)
  }
})
