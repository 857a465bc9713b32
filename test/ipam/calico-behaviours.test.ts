// What Calico's IPAM tests say in words, one test for each sentence of the corpus. A part that differs here on purpose is in
// `differs`, with what holds instead.
import test, { type ExecutionContext } from 'ava'
import type { Resource } from '../../api/kinds.ts'
import { usage } from '../../ctl/ipam-usage.ts'
import { pickBlock, poolsFor } from '../../ipam/pick.ts'
import type { Assigned, AssignRefusal } from '../../ipam/port.ts'
import { Cluster, corpusText } from './calico-play.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

type Behaviour = {
  /** How the sentence of the corpus begins. */
  says: string
  differs?: string
  holds(t: ExecutionContext): Promise<void> | void
}

const said = (answer: readonly Assigned[] | AssignRefusal) =>
  'refused' in answer ? answer.refused : answer.map(({ address }) => address).join()

const ask = async ({ allocator }: TestNode, pod: string, more: object = {}) =>
  said(await allocator.assign({ ...aPod(pod), ...more }))

const configure = (cluster: Cluster, spec: Partial<Resource<'IPAMConfiguration'>['spec']>) =>
  cluster.store.patch('IPAMConfiguration', 'default', { spec })

const blocksOf = async ({ store }: Cluster) => (await store.list('IPAMBlock')).map(({ spec }) => spec.cidr).sort()

/** A node with three blocks of four, and a pod in each of them. */
async function threeBlocks(): Promise<{ cluster: Cluster; node: TestNode; pods: string[] }> {
  const cluster = await Cluster.of([aPool('p', '10.0.0.0/28', 30)])
  const node = await cluster.node('n1')
  for (let i = 0; i < 12; i++) await ask(node, `p${i}`)
  await cluster.settle()
  const first = new Map<string, string>()
  for (const [handle, [held]] of node.allocator.held()) if (!first.has(held!.block)) first.set(held!.block, handle)
  for (const handle of node.allocator.held().keys())
    if (![...first.values()].includes(handle)) await node.allocator.release(handle)
  await cluster.settle()
  return { cluster, node, pods: [...first.values()] }
}

const behaviours: readonly Behaviour[] = [
  {
    says: 'pool /28 block /30, strictAffinity, maxBlocksPerHost=2',
    differs: 'a request has no limit of blocks of its own beside the one of the cluster',
    async holds(t) {
      const cluster = await Cluster.of([aPool('p', '10.0.0.0/28', 30)], { strictAffinity: true, maxBlocksPerHost: 2 })
      t.deepEqual(await cluster.assign('n1', 'ipv4', 9), { got: 8, refused: 'block-limit' })
      await configure(cluster, { maxBlocksPerHost: 3 })
      await cluster.settle()
      t.deepEqual(await cluster.assign('n1', 'ipv4', 1), { got: 1 })
    },
  },
  {
    says: 'pool /28 = one /28 block',
    async holds(t) {
      const cluster = await Cluster.of([aPool('p', '10.0.0.0/28', 28)], { strictAffinity: true })
      t.deepEqual(await cluster.assign('n1', 'ipv4', 1), { got: 1 })
      t.deepEqual(await cluster.assign('n2', 'ipv4', 1), { got: 0, refused: 'exhausted' })
      await configure(cluster, { strictAffinity: false })
      await cluster.settle()
      t.deepEqual(await cluster.assign('n2', 'ipv4', 1), { got: 1 })
    },
  },
  {
    says: 'single block /30, allocate+release 4 times',
    async holds(t) {
      const cluster = await Cluster.of([aPool('p', '10.0.0.0/30', 30)])
      const node = await cluster.node('n1')
      const seen: string[] = []
      for (let i = 0; i < 5; i++) {
        seen.push(await ask(node, `p${i}`))
        await node.allocator.release(aPod(`p${i}`).handle)
      }
      t.is(new Set(seen.slice(0, 4)).size, 4)
      t.is(seen[4], seen[0])
    },
  },
  {
    says: 'release with a stale sequence number or a wrong handle fails and releases nothing',
    differs: 'a release names a handle, never an address with a sequence number, and a wrong handle is no error',
    async holds(t) {
      const cluster = await Cluster.of([aPool('p', '10.0.0.0/30', 30)])
      const node = await cluster.node('n1')
      const sequence = async () => {
        await cluster.settle()
        return BigInt((await cluster.store.list('IPAMBlock'))[0]!.spec.sequenceNumber ?? 0)
      }
      const before = await sequence()
      const address = await ask(node, 'a')
      const assigned = await sequence()
      t.deepEqual(await node.allocator.release(aPod('stranger').handle), [])
      t.is(await sequence(), assigned)
      t.deepEqual(await node.allocator.release(aPod('a').handle), [address])
      t.true(before < assigned && assigned < (await sequence()))
    },
  },
  {
    says: 'releaseByHandle on an unknown handle',
    async holds(t) {
      const cluster = await Cluster.of([aPool('p', '10.0.0.0/24', 26), aPool('q', 'fd00::/112', 122)])
      const { allocator } = await cluster.node('n1')
      t.deepEqual(await allocator.release('unknown'), [])
      const both = await allocator.assign({ ...aPod('a'), families: ['ipv4', 'ipv6'] })
      t.is(said(both).split(',').length, 2)
      t.is((await allocator.release(aPod('a').handle)).join(), said(both))
    },
  },
  {
    says: 'maxAllocToHandle=1',
    async holds(t) {
      const node = await (await Cluster.of([aPool('p', '10.0.0.0/24', 26)])).node('n1')
      const address = await ask(node, 'a')
      t.is(await ask(node, 'a'), address)
      t.is(await ask(node, 'a', { addresses: ['10.0.0.200'] }), address)
      t.is([...node.allocator.held().values()].flat().length, 1)
    },
  },
  {
    says: 'a deleted or disabled pool is never used for new addresses',
    async holds(t) {
      const disable = (cluster: Cluster) => cluster.store.patch('IPPool', 'p', { spec: { disabled: true } })
      const remove = (cluster: Cluster) => cluster.store.delete('IPPool', 'p')
      for (const end of [disable, remove]) {
        const cluster = await Cluster.of([aPool('p', '10.0.0.0/24', 26)])
        const node = await cluster.node('n1')
        t.regex(await ask(node, 'a'), /^10\./)
        await cluster.settle()
        await end(cluster)
        await cluster.settle()
        t.is(await ask(node, 'b'), 'no-pool')
        t.is(await ask(node, 'c', { addresses: ['10.0.0.9'] }), 'no-pool')
        t.is(await ask(node, 'd', { pools: { ipv4: ['p'] } }), 'no-pool')
        t.regex(await ask(node, 'a'), /^10\./, 'what a pod has it keeps')
      }
    },
  },
  {
    says: 'explicitly requested pools override the node selector',
    holds(t) {
      const pools = [
        aPool('elsewhere', '10.0.0.0/24', 26, { nodeSelector: 'a == "b"' }),
        aPool('off', '10.1.0.0/24', 26, { disabled: true }),
        aPool('six', 'fd00::/112', 122),
      ]
      const asked = (...names: string[]) => {
        const found = poolsFor(pools, { family: 'ipv4', use: 'Workload', pools: names }, { node: () => false })
        return 'refused' in found ? found.refused : found.map(({ metadata }) => metadata.name).join()
      }
      t.is(asked('elsewhere'), 'elsewhere')
      for (const names of [['off'], ['six'], ['elsewhere', 'off'], ['elsewhere', 'none'], ['elsewhere', 'six']])
        t.is(asked(...names), 'no-pool', names.join())
    },
  },
  {
    says: 'reserved CIDRs (IPReservation) are skipped by autoAssign',
    async holds(t) {
      const pool = aPool('p', '10.0.0.0/28', 28)
      const cluster = await Cluster.of([pool])
      t.is(await cluster.assignAddress('n1', '10.0.0.5'), undefined)
      const reserved = ['10.0.0.0/29', '10.0.0.4/30', '10.0.0.7/32']
      await cluster.store.create('IPReservation', { metadata: { name: 'r' }, spec: { reservedCIDRs: reserved } })
      await cluster.settle()
      t.deepEqual(await cluster.assign('n1', 'ipv4', 9), { got: 8, refused: 'exhausted' })
      await cluster.settle()
      const [counted] = usage([pool], await cluster.store.list('IPAMBlock'), reserved).pools
      t.like(counted, { total: 16, used: 9, reserved: 8, free: 0 })
    },
  },
  {
    says: 'block picking: random/deterministic per host order covers every block',
    holds(t) {
      for (const [cidr, length, count] of [
        ['10.0.0.0/24', 26, 4],
        ['10.16.0.0/16', 20, 16],
        ['10.0.0.0/24', 32, 256],
        ['fd00::/120', 122, 4],
        ['fd00::/114', 116, 4],
        ['fd00::/120', 128, 256],
      ] as const)
        for (const host of ['host-a', 'host-b']) {
          const pool = aPool('p', cidr, length)
          const taken: string[] = []
          for (let next: string | undefined; ; taken.push(next)) {
            next = pickBlock(pool, taken, [], host)
            if (next === undefined) break
          }
          t.is(new Set(taken).size, count)
          t.is(taken.length, count)
        }
    },
  },
  {
    says: 'releaseAffinity(block, mustBeEmpty=true) fails while the block holds an address',
    differs: 'no call gives a block back: the owner does, when it is empty and not needed',
    async holds(t) {
      const cluster = await Cluster.of([aPool('p', '10.0.0.0/28', 28)])
      const node = await cluster.node('n1')
      await ask(node, 'a')
      await cluster.store.patch('IPPool', 'p', { spec: { disabled: true } })
      await cluster.settle()
      t.deepEqual(await blocksOf(cluster), ['10.0.0.0/28'])
      await node.allocator.release(aPod('a').handle)
      await cluster.settle()
      t.deepEqual(await blocksOf(cluster), [])
    },
  },
  {
    says: 'releaseHostAffinities(host, mustBeEmpty=true) with 3 blocks of which 1 in use',
    differs: 'no call gives the blocks of a node back while it runs: it does, of a pool that no longer serves it',
    async holds(t) {
      const { cluster, node, pods } = await threeBlocks()
      t.is((await blocksOf(cluster)).length, 3)
      await node.allocator.release(pods[0]!)
      await node.allocator.release(pods[1]!)
      await cluster.store.patch('IPPool', 'p', { spec: { disabled: true } })
      await cluster.settle()
      t.deepEqual(
        await blocksOf(cluster),
        node.allocator.blocks().map(({ cidr }) => cidr),
      )
      t.is((await blocksOf(cluster)).length, 1)
    },
  },
  {
    says: 'releaseHostAffinities(host, false) after the pool was deleted',
    differs:
      'blocks of a deleted pool keep their owner, and the pool stays with them, until the last address is released',
    async holds(t) {
      const { cluster, node, pods } = await threeBlocks()
      await cluster.store.delete('IPPool', 'p')
      await cluster.settle()
      t.is((await blocksOf(cluster)).length, 3)
      for (const handle of pods) await node.allocator.release(handle)
      await cluster.settle()
      t.deepEqual(await blocksOf(cluster), [])
      t.deepEqual(await cluster.store.list('IPPool'), [])
    },
  },
  {
    says: 'releasing a not-allocated or not-in-any-pool address',
    differs: 'a release names a handle: one that holds nothing has no addresses, and that is no error',
    async holds(t) {
      const { allocator } = await (await Cluster.of([aPool('p', '10.0.0.0/28', 28)])).node('n1')
      t.deepEqual(await allocator.release(aPod('never').handle), [])
    },
  },
  {
    says: 'two hosts whose names are equal after truncation to 63 chars',
    async holds(t) {
      const cluster = await Cluster.of([aPool('p', '10.0.0.0/24', 26)])
      const long = 'a'.repeat(63)
      const nodes = [aNode(cluster.store, `${long}.x`), aNode(cluster.store, `${long}.y`)]
      for (const node of nodes) node.start()
      await converge(cluster.store, ...nodes)
      const owners = (await cluster.store.list('IPAMBlock')).map(({ spec }) => spec.affinity)
      t.deepEqual(owners.sort(), [`host:${long}.x`, `host:${long}.y`])
    },
  },
  {
    says: 'node-selector changes',
    async holds(t) {
      const cluster = await Cluster.of([aPool('p', '10.0.0.0/28', 30), aPool('q', '10.1.0.0/24', 26)])
      const node = await cluster.node('n1')
      t.regex(await ask(node, 'a'), /^10\.0\./)
      await cluster.settle()
      const select = async (nodeSelector: string) => {
        await cluster.store.patch('IPPool', 'p', { spec: { nodeSelector } })
        await cluster.settle()
      }
      await select('!all()')
      t.regex(await ask(node, 'b'), /^10\.1\./, 'not of the block that the node still has')
      t.true(
        (await blocksOf(cluster)).some(cidr => cidr.startsWith('10.0.')),
        'while a pod has an address of it',
      )
      await node.allocator.release(aPod('a').handle)
      await cluster.settle()
      t.false(
        (await blocksOf(cluster)).some(cidr => cidr.startsWith('10.0.')),
        'the last address takes it along',
      )
      await select('all()')
      t.regex(await ask(node, 'c', { pools: { ipv4: ['p'] } }), /^10\.0\./)
      await node.allocator.release(aPod('c').handle)
      await cluster.settle()
      await select('!all()')
      t.false(
        (await blocksOf(cluster)).some(cidr => cidr.startsWith('10.0.')),
        'an empty one goes at once',
      )
    },
  },
]

const { path, text } = corpusText('calico-ipam-cases.json')
for (const { says, differs, holds } of behaviours)
  test(`${says}${differs === undefined ? '' : ` (differs: ${differs})`}`, async t => await holds(t))

test('there is a test for each sentence of the corpus', t => {
  if (text === undefined) {
    t.log(`skipped: no ${path}; set MARGAY_CORPORA to the folder that has it`)
    t.pass()
    return
  }
  const sentences: string[] = JSON.parse(text).behaviours
  t.deepEqual(
    sentences.map((sentence, i) => sentence.startsWith(behaviours[i]?.says ?? '?')),
    sentences.map(() => true),
  )
  t.is(behaviours.length, sentences.length)
})
