// A machine that comes back from a disk image of last week: its journal is old, none of its pods runs, and its blocks moved on.
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { blockName } from '../../api/names.ts'
import type { Store, Watch } from '../../datastore/port.ts'
import { assign, emitBlock, emptyBlock, epochOf, parseBlock } from '../../ipam/block.ts'
import { contains } from '../../lib/ip.ts'
import { aPool } from '../datastore/objects.ts'
import { aCluster, aMachine, cni, eventually, type Machine, startAgent } from './machines.ts'

const POOLS = { kept: '10.1.0.0/26', given: '10.2.0.0/26', remade: '10.3.0.0/26' } as const

const pods = (agent: NodeAgent) => agent.endpoints.live().flatMap(({ addresses }) => addresses)
const from = (pool: string) => ({ ipam: { type: 'margay', ipv4_pools: [pool] } })

/** n1 with a pod from each pool, whose disk is copied then. `image` is where. */
async function anImage(t: ExecutionContext) {
  const cluster = await aCluster(t)
  const { store, network, machines } = cluster
  await store.delete('IPPool', 'pool')
  for (const [name, cidr] of Object.entries(POOLS)) await store.create('IPPool', aPool(name, { cidr, blockSize: 28 }))
  const [at] = machines
  const agent = await startAgent(t, at, store, network)
  const isReady = () => agent.ready()
  await eventually(t, 'ready', () => agent.conditions(), isReady)
  for (const [index, pool] of Object.keys(POOLS).entries()) {
    const added = await cni(agent, 'ADD', `c${index}`, from(pool))
    t.is(added.exitCode, 0, added.stdout)
  }
  await agent.allocator.flush()
  await agent.close()
  const image = mkdtempSync(join(tmpdir(), 'margay-image-'))
  t.teardown(() => rmSync(image, { recursive: true }))
  cpSync(at.dataDir, image, { recursive: true })
  return { ...cluster, image }
}

const blocksIn = async (store: Store, pool: string) =>
  (await store.list('IPAMBlock')).filter(({ spec }) => contains(pool, spec.cidr))

/** The machine after its reboot: nothing runs, and its disk is the image. */
async function restored(t: ExecutionContext, image: string): Promise<Machine> {
  const machine = await aMachine(t, 'n1', '192.0.2.11')
  cpSync(image, machine.dataDir, { recursive: true })
  return machine
}

/** A block of n2 with a pod at its first addresses. */
const ofOther = (cidr: string, count = 3) => {
  let block = emptyBlock(cidr, 1_000n)
  for (let ordinal = 0; ordinal < count; ordinal++)
    block = assign(
      block,
      { handle: `net.far${ordinal}.eth0`, secondary: { node: 'n2', containerID: `far${ordinal}` } },
      ordinal,
    )
  return emitBlock(block, { node: 'n2', epoch: 'of n2' })
}

/** The store as n1 sees it: of blocks it hears so much later, and what it makes is noted. */
function slowStore(store: Store, delayMs: number) {
  const made: string[] = []
  const late = () => new Promise(resolve => setTimeout(resolve, delayMs))
  const of = (kind: string) => (kind === 'IPAMBlock' ? late() : undefined)
  const slow: Store = {
    ...store,
    get: async (kind, name, namespace) => {
      await of(kind)
      return store.get(kind, name, namespace)
    },
    create: async (kind, object) => {
      await of(kind)
      if (kind === 'IPAMBlock') made.push(object.metadata.name)
      return store.create(kind, object)
    },
    async *pages(kind, options) {
      await of(kind)
      yield* store.pages(kind, options)
    },
    watch: (kind, handlers, options) => {
      if (kind !== 'IPAMBlock') return store.watch(kind, handlers, options)
      let [watch, closed] = [undefined as Watch | undefined, false]
      void late().then(() => {
        if (!closed) watch = store.watch(kind, handlers, options)
      })
      return {
        hurry: () => watch?.hurry(),
        close: () => {
          closed = true
          watch?.close()
        },
      }
    },
  }
  return { slow, made }
}

for (const delayMs of [0, 300])
  test(`a node from a disk image of last week gives no address that moved on, and brings its blocks to what runs, where it hears of blocks after ${delayMs} ms`, async t => {
    const { store, network, image } = await anImage(t)
    // of the first pool a later pod has an address, which ended with the machine
    const [kept] = await blocksIn(store, POOLS.kept)
    const later = { handle: 'net.later.eth0', secondary: { node: 'n1', containerID: 'later' } }
    const grown = { ...assign(parseBlock(kept!), later, 9), sequence: parseBlock(kept!).sequence + 100n }
    await store.update('IPAMBlock', emitBlock(grown, { node: 'n1', epoch: epochOf(kept!)! }, kept))
    // that of the second was given back, and another node has it
    const [given] = await blocksIn(store, POOLS.given)
    await store.delete('IPAMBlock', given!.metadata.name)
    await store.create('IPAMBlock', ofOther(given!.spec.cidr))
    // the third pool was made anew with smaller blocks, and another node has one where the old one was
    const [remade] = await blocksIn(store, POOLS.remade)
    await store.delete('IPAMBlock', remade!.metadata.name)
    await store.patch('IPPool', 'remade', { metadata: { finalizers: null } })
    await store.delete('IPPool', 'remade')
    await store.create('IPPool', aPool('remade', { cidr: POOLS.remade, blockSize: 30 }))
    const small = remade!.spec.cidr.replace('/28', '/30')
    await store.create('IPAMBlock', ofOther(small))
    // and there is a block that the image does not know
    const unknown = emptyBlock('10.1.0.48/28', 2_000n)
    await store.create('IPAMBlock', emitBlock(assign(unknown, later, 3), { node: 'n1', epoch: epochOf(kept!)! }))

    const machine = await restored(t, image)
    const { slow, made } = slowStore(store, delayMs)
    const agent = await startAgent(t, machine, slow, network)
    const added = new Set<string>()
    const addAll = async () => {
      for (const [index, pool] of Object.keys(POOLS).entries()) {
        if (added.has(pool)) continue
        const { exitCode } = await cni(agent, 'ADD', `c${index}`, from(pool))
        if (exitCode === 0) added.add(pool)
      }
      return added
    }
    await eventually(t, 'a pod of each pool, as early as can be', addAll, ({ size }) => size === 3)
    await eventually(
      t,
      'its blocks',
      () => agent.allocator.blocksKnown,
      known => known,
    )
    for (const address of pods(agent))
      t.false(
        [given!.spec.cidr, small].some(cidr => contains(cidr, address)),
        address,
      )

    await eventually(
      t,
      'the pods that ended',
      async () => {
        await agent.allocator.flush()
        const mine = (await store.list('IPAMBlock')).filter(({ spec }) => spec.affinity === 'host:n1')
        return mine.flatMap(({ spec }) => spec.attributes.map(({ handle_id }) => handle_id)).sort()
      },
      handles => `${handles}` === 'net.c0.eth0,net.c1.eth0,net.c2.eth0',
    )
    const others = (await store.list('IPAMBlock')).filter(({ spec }) => spec.affinity === 'host:n2')
    t.deepEqual(
      others.map(({ spec }) => [spec.cidr, spec.attributes.length]),
      [given!.spec.cidr, small].map(cidr => [cidr, 3]),
    )
    await t.throwsAsync(store.get('IPAMBlock', blockName(remade!.spec.cidr)), { name: 'NotFound' })
    t.deepEqual(
      made.filter(name => [given!, remade!].some(({ metadata }) => metadata.name === name)),
      [],
      'not even for a moment',
    )
    const objects = (await store.list('IPAMBlock')).filter(({ spec }) => spec.affinity === 'host:n1')
    t.deepEqual(
      objects.map(({ spec }) => spec.cidr).sort(),
      agent.allocator
        .blocks()
        .map(({ cidr }) => cidr)
        .sort(),
    )
  })
