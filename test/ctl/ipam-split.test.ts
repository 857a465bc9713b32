// `ipam split`: what is refused before anything is changed, and that a run that was cut off is made again.
import test from 'ava'
import { startApiServer } from '../../apiserver/server.ts'
import { splitPool } from '../../ctl/ipam-split.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { openStore } from '../../datastore/kube.ts'
import { Unreachable } from '../../datastore/port.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { aBlock, aPool, aResource } from '../datastore/objects.ts'
import { runHere } from './run.ts'

/** A locked cluster with one pool, which has a block. */
async function aCluster({ locked = true, spec = {}, metadata = {} } = {}) {
  const store = createFakeStore()
  const info = { metadata: { name: 'default' }, spec: { datastoreReady: !locked } }
  await store.create('ClusterInformation', aResource('ClusterInformation', info))
  const labels = { team: 'net' }
  const annotations = { note: 'x', 'kubectl.kubernetes.io/last-applied-configuration': '{}' }
  const more = { labels, annotations, finalizers: ['margay/blocks'], ...metadata }
  await store.create('IPPool', aPool('p', { natOutgoing: true, ipipMode: 'Always', ...spec }, more))
  await store.create('IPAMBlock', aBlock('10.244.64.0/31'))
  return store
}

const poolsOf = async (store: FakeStore) =>
  (await store.list('IPPool')).map(({ metadata, spec }) => `${metadata.name} ${spec.cidr}`).toSorted()

test('the parts have the range of the whole between them, its settings, labels and finalizer, and it is gone', async t => {
  const store = await aCluster()
  const split = await splitPool(store, { cidr: '10.244.0.0/16' }, 4)
  t.is(split.pool, 'p')
  t.deepEqual(await poolsOf(store), [
    ...[
      'split-p-0 10.244.0.0/18',
      'split-p-1 10.244.64.0/18',
      'split-p-2 10.244.128.0/18',
      'split-p-3 10.244.192.0/18',
    ],
  ])
  const { metadata, spec } = await store.get('IPPool', 'split-p-2')
  t.like(spec, { natOutgoing: true, ipipMode: 'Always', blockSize: 26, disabled: false })
  t.like(metadata, { labels: { team: 'net' }, annotations: { note: 'x' }, finalizers: ['margay/blocks'] })
  t.is(metadata.annotations?.['kubectl.kubernetes.io/last-applied-configuration'], undefined)
})

test('IPv6 is split too, beyond what a double can hold, and a long name stays within what a server takes', async t => {
  const store = await aCluster()
  const name = 'x'.repeat(253)
  await store.create('IPPool', aPool(name, { cidr: 'fd00::/48', blockSize: 122 }))
  const { parts } = await splitPool(store, { name }, 2)
  t.deepEqual(
    parts.map(({ cidr }) => cidr),
    ['fd00::/49', 'fd00:0:0:8000::/49'],
  )
  t.true(parts.every(part => part.name.length <= 253))
})

const refusals: [title: string, cluster: Parameters<typeof aCluster>[0], number: number, message: RegExp][] = [
  ['a datastore that is not locked', { locked: false }, 2, /the datastore is not locked/],
  ['a number that is no power of 2', {}, 3, /3 is no power of 2/],
  ['one part', {}, 1, /1 is no power of 2/],
  ['no number', {}, Number.NaN, /no power of 2/],
  ['parts smaller than a block', { spec: { blockSize: 20 } }, 32, /has no 32 parts of one block/],
  [
    'more parts than a cluster can use',
    { spec: { cidr: 'fd00::/48', blockSize: 122, ipipMode: 'Never' } },
    2 ** 40,
    /at most 1024 parts/,
  ],
  ['a pool that somebody else holds', { metadata: { finalizers: ['x/y'] } }, 2, /other finalizers \(x\/y\)/],
]

for (const [title, cluster, number, message] of refusals)
  test(`${title} is refused, and nothing is changed`, async t => {
    const store = await aCluster(cluster)
    await t.throwsAsync(splitPool(store, { name: 'p' }, number), { message })
    t.deepEqual(await poolsOf(store), [`p ${cluster?.spec?.['cidr' as never] ?? '10.244.0.0/16'}`])
    t.is((await store.get('IPPool', 'p')).metadata.deletionTimestamp, undefined)
  })

test('a block that would lie in several parts is named, and so is a name that another pool has', async t => {
  const wide = await aCluster({ spec: { cidr: '10.244.0.0/18' } })
  await wide.create('IPAMBlock', aBlock('10.244.0.0/20', { allocations: [], unallocated: [] }))
  await t.throwsAsync(splitPool(wide, { name: 'p' }, 8), {
    message: /block 10\.244\.0\.0\/20 would lie in several parts/,
  })
  const taken = await aCluster()
  await taken.create('IPPool', aPool('split-p-1', { cidr: '10.9.0.0/16' }))
  await t.throwsAsync(splitPool(taken, { name: 'p' }, 2), { message: /another IPPool split-p-1/ })
  await t.throwsAsync(splitPool(taken, { name: 'q' }, 2), { message: /there is no IPPool q/ })
})

test('cut off at any write, a split leaves the whole or all parts in effect, and is ended by the same command', async t => {
  for (let writes = 0; ; writes++) {
    const store = await aCluster()
    let left = writes
    const cut =
      <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
      async (...args: A): Promise<R> => {
        if (left-- <= 0) throw new Unreachable('cut off')
        return call(...args)
      }
    const { create, patch } = store
    const broken = { ...store, create: cut(create), patch: cut(patch), delete: cut(store.delete) } as FakeStore
    const ended = await splitPool(broken, { name: 'p' }, 2).then(
      () => true,
      () => false,
    )
    const left0 = await store.list('IPPool')
    const whole = left0.find(({ metadata }) => metadata.name === 'p')
    t.true(whole !== undefined ? whole.metadata.deletionTimestamp === undefined : left0.length === 2)
    if (whole !== undefined) await splitPool(store, { name: 'p' }, 2)
    t.deepEqual(await poolsOf(store), ['split-p-0 10.244.0.0/17', 'split-p-1 10.244.128.0/17'])
    if (ended) break
  }
})

test('the command splits a pool at an API server, where overlaps are refused otherwise', async t => {
  const server = await startApiServer()
  t.teardown(() => server.close())
  const store = openStore({ server: server.url, token: server.token })
  t.teardown(() => store.close())
  await store.create('IPPool', aPool('p', {}, { finalizers: ['margay/blocks'] }))
  await store.create('IPAMBlock', aBlock('10.244.64.0/31'))
  const ctl = (...args: string[]) => runHere(['ipam', 'split', ...args, '--kubeconfig', kubeconfigFor(server)])
  t.like(await ctl('2', '--name', 'p'), { code: 2 }, 'not locked')
  const info = { metadata: { name: 'default' }, spec: { datastoreReady: false } }
  await store.create('ClusterInformation', aResource('ClusterInformation', info))
  const { code, out } = await ctl('2', '--cidr', '10.244.0.0/16')
  t.is(code, 0)
  t.regex(out, /^IPPool p is split into 2:\nIPPool split-p-0 has 10\.244\.0\.0\/17\nIPPool split-p-1 has /)
  const pools = (await store.list('IPPool')).map(({ metadata }) => metadata.name)
  t.deepEqual(pools.toSorted(), ['split-p-0', 'split-p-1'])
  t.is((await ctl('2')).code, 2)
  t.is((await ctl('2', '--cidr', 'x')).code, 2)
})
