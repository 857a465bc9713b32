import test from 'ava'
import { guardKernel, guardStore } from '../../agent/write-guard.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { openStore } from '../../datastore/kube.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { aPool } from '../ipam/world.ts'

const lost = () => {
  throw new Error('lost')
}

test('with the lock lost nothing is written to the kernel, to that of a pod, or to the cluster, and reading works', async t => {
  const world = new FakeWorld()
  world.addNetns('/pod')
  const kernel = guardKernel(world.kernel(), lost)
  t.throws(() => kernel.createLink({ kind: 'dummy', name: 'd0' }), { message: 'lost' })
  t.throws(() => kernel.changeRoutes([]), { message: 'lost' })
  {
    using pod = kernel.inside('/pod')
    t.throws(() => pod.writeSysctl('ipv4', ['ip_forward'], '1'), { message: 'lost' })
    t.is((await pod.links()).length, 1)
    using limited = kernel.inside('/pod', { mostObjects: 10 })
    t.is((await limited.routes()).length, 0)
    t.throws(() => limited.changeRoutes([]), { message: 'lost' })
  }
  const store = guardStore(createFakeStore(), lost)
  t.throws(() => store.create('IPPool', aPool('p', '10.0.0.0/24')), { message: 'lost' })
  t.deepEqual(await store.list('IPPool'), [])
})

/** The verbs that only read; `monitor`, `traceNftables`, `nflog` and `inside` open something. */
const READS =
  'authorText links link addresses neighbours neighbour fdb fdbEntry routes nextHopObjects lookupRoute rules readSysctl nftables nftGeneration qdiscs ingressFilters flowsOf baseChains forwardChains legacyForwardChains legacyBaseChains chainTexts legacyDrops reversePathDrops monitor monitorNftables traceNftables nflog inside namespaces close'

test('every method of the kernel is known to read, or asks before it writes', t => {
  const kernel = openKernel()
  t.teardown(() => kernel.close())
  const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(kernel)).filter(name => name !== 'constructor')
  const guarded = guardKernel(kernel, lost)
  for (const name of methods) {
    if (READS.split(' ').includes(name)) continue
    const method: unknown = Reflect.get(guarded, name)
    t.throws(() => (method as () => void)(), { message: 'lost' }, name)
  }
})

test('every method of the API’s store is known to read, or asks before it writes', async t => {
  const store = openStore({ server: 'http://127.0.0.1:1' })
  t.teardown(() => store.close())
  const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(store)).filter(name => name !== 'constructor')
  t.true(methods.includes('patch'))
  const guarded = guardStore(store, lost)
  for (const name of methods) {
    if (['apiGroup', 'get', 'list', 'count', 'pages', 'watch', 'dropConnections', 'retryNow', 'close'].includes(name))
      continue
    const method: unknown = Reflect.get(guarded, name)
    t.throws(() => (method as () => void)(), { message: 'lost' }, name)
  }
})
