// What a pool and a block may not become, and ranges that do not overlap, at the server and in the CRDs.
import anyTest, { type TestFn } from 'ava'
import { crdOf } from '../../api/crd.ts'
import { transitionProblems } from '../../api/transitions.ts'
import { type ApiServer, startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import { Conflict, NotFound, Refused, type Store } from '../../datastore/port.ts'
import { aBlock, aPool, aResource } from '../datastore/objects.ts'

const test = anyTest as TestFn<{ server: ApiServer; store: Store }>
test.beforeEach(async t => {
  const server = await startApiServer()
  t.context = { server, store: openStore({ server: server.url, token: server.token }) }
})
test.afterEach.always(async t => {
  await t.context.store.close()
  await t.context.server.close()
})

test('the CIDR and the block size of a pool do not change, by any way of writing', async t => {
  const { store } = t.context
  const pool = await store.create('IPPool', aPool('p1', { blockSize: 28 }))
  for (const spec of [{ cidr: '10.245.0.0/16' }, { blockSize: 27 }, { cidr: '10.244.0.0/15' }]) {
    const [field] = Object.keys(spec)
    const refusal = {
      instanceOf: Refused,
      message: new RegExp(`spec\\.${field}: cannot change from .*make another pool`),
    }
    await t.throwsAsync(store.update('IPPool', { ...pool, spec: { ...pool.spec, ...spec } }), refusal)
    await t.throwsAsync(store.patch('IPPool', 'p1', { spec }), refusal)
    const named = { metadata: { name: 'p1' }, spec: { cidr: pool.spec.cidr, ...spec } }
    await t.throwsAsync(store.patch('IPPool', 'p1', named, { applyAs: 'me' }), refusal)
  }
  const same = await store.patch('IPPool', 'p1', { spec: { cidr: '10.244.0.0/16', blockSize: 28, disabled: true } })
  t.true(same.spec.disabled)
})

test('a pool that overlaps another one is refused, and the refusal names it', async t => {
  const { store } = t.context
  await store.create('IPPool', aPool('p1', { cidr: '10.244.0.0/16' }))
  for (const cidr of ['10.244.0.0/16', '10.244.8.0/24', '10.0.0.0/8'])
    await t.throwsAsync(store.create('IPPool', aPool('p2', { cidr })), {
      instanceOf: Refused,
      message: /spec\.cidr: overlaps with ippool p1 \(10\.244\.0\.0\/16\)/,
    })
  await store.create('IPPool', aPool('p2', { cidr: '10.245.0.0/16' }))
  await store.create('IPPool', aPool('p3', { cidr: 'fd00::/64' }))
  await t.throwsAsync(store.create('IPPool', aPool('p4', { cidr: 'fd00::/48' })), {
    message: /overlaps with ippool p3/,
  })
  await store.delete('IPPool', 'p1')
  await store.create('IPPool', aPool('p4', { cidr: '10.244.8.0/24' }))
})

test('while the datastore is locked a part of a pool may be one, and still nothing that is as large or lies across', async t => {
  const { store } = t.context
  await store.create('IPPool', aPool('p1', { cidr: '10.244.0.0/16' }))
  const lock = (datastoreReady: boolean) =>
    aResource('ClusterInformation', { metadata: { name: 'default' }, spec: { datastoreReady } })
  const info = await store.create('ClusterInformation', lock(true))
  const part = aPool('part', { cidr: '10.244.0.0/17' })
  await t.throwsAsync(store.create('IPPool', part), { message: /overlaps with ippool p1/ })
  await store.update('ClusterInformation', { ...info, spec: lock(false).spec })
  await store.create('IPPool', part)
  for (const cidr of ['10.244.0.0/16', '10.244.0.0/15', '10.244.0.0/17'])
    await t.throwsAsync(store.create('IPPool', aPool('other', { cidr })), { instanceOf: Refused })
  await store.create('IPPool', aPool('other', { cidr: '10.244.128.0/17' }))
})

test('a block that overlaps another one is not claimed, whichever is the larger', async t => {
  const { store } = t.context
  await store.create('IPAMBlock', aBlock('10.244.0.8/31'))
  for (const cidr of ['10.244.0.8/30', '10.244.0.9/32', '10.244.0.0/20'])
    await t.throwsAsync(store.create('IPAMBlock', aBlock(cidr)), {
      instanceOf: Conflict,
      message: /overlaps with ipamblock 10-244-0-8-31/,
    })
  await store.create('IPAMBlock', aBlock('10.244.0.10/31'))
  await store.create('IPAMBlock', aBlock('fd00::a0/127'))
  await t.throwsAsync(store.create('IPAMBlock', aBlock('fd00::/116')), { message: /fd00--a0-127/ })
  await t.throwsAsync(store.create('IPAMBlock', aBlock('fd00::a1/128')), { message: /fd00--a0-127/ })
})

test('a block has the name of its CIDR, which is its lock, and keeps both', async t => {
  const { store } = t.context
  const block = aBlock('10.244.0.8/31')
  const other = { ...block, metadata: { name: 'mine' } }
  await t.throwsAsync(store.create('IPAMBlock', other), { message: /metadata\.name: must be 10-244-0-8-31/ })
  await store.create('IPAMBlock', block)
  const patch = store.patch('IPAMBlock', '10-244-0-8-31', { spec: { cidr: '10.244.0.10/31' } })
  await t.throwsAsync(patch, { instanceOf: Refused, message: /spec\.cidr: cannot change/ })
})

test('what is being deleted keeps its finalizers, and gets no new ones', async t => {
  const { store } = t.context
  await store.create('IPPool', aPool('p1', {}, { finalizers: ['margay/blocks', 'example.org/b'] }))
  await store.delete('IPPool', 'p1')
  t.truthy((await store.get('IPPool', 'p1')).metadata.deletionTimestamp)
  const more = store.patch('IPPool', 'p1', { metadata: { finalizers: ['margay/blocks', 'example.org/c'] } })
  await t.throwsAsync(more, { instanceOf: Refused, message: /metadata\.finalizers: no new ones .*example\.org\/c/ })
  await store.patch('IPPool', 'p1', { metadata: { finalizers: ['margay/blocks'] } })
  await store.patch('IPPool', 'p1', { metadata: { finalizers: [] } })
  await t.throwsAsync(store.get('IPPool', 'p1'), { instanceOf: NotFound })
})

test('the CRDs say in CEL what the server refuses', t => {
  const crd = JSON.stringify(crdOf('IPPool'))
  t.true(crd.includes('"rule":"self == oldSelf"'))
  t.regex(crd, /has\(self\.blockSize\) == has\(oldSelf\.blockSize\)/)
  t.deepEqual(transitionProblems('IPPool', aPool('a'), aPool('a', { disabled: true })), [])
})
