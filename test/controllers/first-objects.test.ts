import test from 'ava'
import { ineffectiveFields } from '../../api/unsupported.ts'
import { FirstObjects, parseRanges } from '../../controllers/first-objects.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { Unreachable } from '../../datastore/port.ts'
import { silentLog } from '../../lib/log.ts'
import { aPool } from '../datastore/objects.ts'
import { calicoObjects, calicoProblems } from '../ipam/calico-check.ts'

const KUBEADM = `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
networking:
  dnsDomain: cluster.local
  podSubnet: 10.17.0.0/16,fd00:17::/56
  serviceSubnet: 10.96.0.0/16
`

function first(store: FakeStore, { pools, kubeadm }: { pools?: string[]; kubeadm?: string } = {}) {
  return new FirstObjects({ store, log: silentLog, pools, kubeadm: () => kubeadm }).run()
}

const poolsOf = async (store: FakeStore) =>
  (await store.list('IPPool')).map(
    ({ metadata, spec }) => `${metadata.name} ${spec.cidr} ${spec.blockSize} ${spec.ipipMode}`,
  )

test('a new cluster gets the pools of kubeadm, a ClusterInformation and a KubeControllersConfiguration, once', async t => {
  const store = createFakeStore()
  await first(store, { kubeadm: KUBEADM })
  const made = ['default-ipv4-ippool 10.17.0.0/16 26 CrossSubnet', 'default-ipv6-ippool fd00:17::/56 122 Never']
  t.deepEqual(await poolsOf(store), made)
  const information = await store.get('ClusterInformation', 'default')
  t.regex(information.spec.clusterGUID ?? '', /^[0-9a-f]{32}$/)
  t.deepEqual(
    ineffectiveFields('KubeControllersConfiguration', await store.get('KubeControllersConfiguration', 'default')),
    [],
  )
  for (const name of ['default-ipv4-ippool', 'default-ipv6-ippool']) await store.delete('IPPool', name)
  await first(store, { kubeadm: KUBEADM })
  t.deepEqual(await poolsOf(store), [], 'what people delete does not come back')
  t.deepEqual(await store.get('ClusterInformation', 'default'), information)
  const nowMs = Date.now()
  t.deepEqual(calicoProblems(await calicoObjects(store), ['at once', 'published', 'cluster'], { nowMs }), [])
})

test('the configuration goes before kubeadm, and may say that no pool is made', async t => {
  const named = createFakeStore()
  await first(named, { pools: ['10.99.0.0/28'], kubeadm: KUBEADM })
  t.deepEqual(await poolsOf(named), ['default-ipv4-ippool 10.99.0.0/28 28 CrossSubnet'])
  const none = createFakeStore()
  await first(none, { pools: [], kubeadm: KUBEADM })
  t.deepEqual(await poolsOf(none), [])
})

test('where somebody made a pool, no other one is made', async t => {
  const store = createFakeStore()
  await store.create('IPPool', aPool('mine', { cidr: '10.1.0.0/16' }))
  await first(store, { kubeadm: KUBEADM })
  t.deepEqual(
    (await store.list('IPPool')).map(({ metadata }) => metadata.name),
    ['mine'],
  )
  t.truthy(await store.get('ClusterInformation', 'default'))
})

test('while nobody has said which pool is the first, it is asked again: a range that is named later becomes one', async t => {
  for (const named of [{ kubeadm: KUBEADM }, { pools: ['10.17.0.0/16'] }]) {
    const store = createFakeStore()
    t.true((await first(store)) <= 60_000)
    t.true((await first(store, { kubeadm: 'networking: {podSubnet: ten}' })) <= 60_000)
    t.is((await store.list('KubeControllersConfiguration')).length, 1)
    t.deepEqual(await store.list('ClusterInformation'), [])
    await first(store, named)
    t.is((await poolsOf(store))[0], 'default-ipv4-ippool 10.17.0.0/16 26 CrossSubnet')
    t.is((await store.list('ClusterInformation')).length, 1)
  }
})

test('no first pool is made after somebody said that there is none, or made one of their own', async t => {
  const none = createFakeStore()
  await first(none, { pools: [] })
  await first(none, { kubeadm: KUBEADM })
  t.deepEqual(await poolsOf(none), [])
  const own = createFakeStore()
  await first(own)
  await own.create('IPPool', aPool('mine', { cidr: '10.1.0.0/16' }))
  await first(own)
  await own.delete('IPPool', 'mine')
  await first(own, { kubeadm: KUBEADM })
  t.deepEqual(await poolsOf(own), [])
})

test('whatever the configuration of kubeadm holds, nothing but its ranges becomes a pool', async t => {
  for (const kubeadm of [
    undefined,
    '',
    'x',
    '[',
    'networking: 7',
    'networking: {podSubnet: [1]}',
    'networking: {podSubnet: ten}',
    'networking: {podSubnet: "10.0.0.0/8,10.1.0.0/16"}',
    '\0',
    '&a [*a]',
  ]) {
    const store = createFakeStore()
    await first(store, { kubeadm })
    t.deepEqual(await poolsOf(store), [], String(kubeadm))
  }
})

test('killed after any write, the next run makes what is missing and nothing twice', async t => {
  for (let writes = 0; writes < 5; writes++) {
    const store = createFakeStore()
    let left = writes
    const create: FakeStore['create'] = (kind, object) =>
      left-- > 0 ? store.create(kind, object) : Promise.reject(new Unreachable('killed'))
    await first({ ...store, create }, { kubeadm: KUBEADM }).catch(() => undefined)
    await first(store, { kubeadm: KUBEADM })
    t.is((await store.list('IPPool')).length, 2)
    t.is((await store.list('ClusterInformation')).length, 1)
    t.is((await store.list('KubeControllersConfiguration')).length, 1)
  }
})

test('ranges are one CIDR of each family at the most', t => {
  t.deepEqual(parseRanges('10.0.0.7/8, fd00::1/48'), ['10.0.0.0/8', 'fd00::/48'])
  t.deepEqual(parseRanges('none'), [])
  for (const text of ['', '10.0.0.0', 'a', ',', '10.0.0.0/8,10.1.0.0/16', '10.0.0.0/33'])
    t.throws(() => parseRanges(text), undefined, text)
})

test('a configuration of kubeadm that cannot be followed makes no pool, and ends nothing', async t => {
  const aliases = `a: &a [1,1,1,1,1,1,1,1,1,1]\n${[...'bcdefgh'].map((name, i) => `${name}: &${name} [${Array(10).fill(`*${'abcdefgh'[i]}`).join()}]`).join('\n')}\n`
  for (const kubeadm of ['networking: {podSubnet', '['.repeat(50_000), aliases]) {
    const store = createFakeStore()
    await first(store, { kubeadm })
    t.deepEqual(await store.list('IPPool'), [])
  }
})
