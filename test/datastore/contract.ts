// What every store promises, run against the one in memory and against a real server.
import type { ExecutionContext, TestFn } from 'ava'
import type { Resource } from '../../api/kinds.ts'
import { Conflict, type Fields, NotFound, Refused, type Store } from '../../datastore/port.ts'
import { aBlock, aNode, aPod, aPool, aPoolAt, aResource, Recorded } from './objects.ts'

/** The group of Calico's resources at the server. */
type Counted = { group: string; version: string }

/** Registers the suite; `open` gives an empty store of its own to every test. */
export function storeContract(
  test: TestFn,
  open: () => Promise<{ store: Store; counted?: Counted; close(): Promise<void> }>,
): void {
  const promise = (title: string, body: (t: ExecutionContext, store: Store, counted: Counted) => Promise<void>): void =>
    test(title, async t => {
      const { store, counted = { group: 'projectcalico.org', version: 'v3' }, close } = await open()
      try {
        await body(t, store, counted)
      } finally {
        await close()
      }
    })

  promise('what was created is read back with its defaults, its uid and its version', async (t, store) => {
    const made = await store.create('IPPool', aPool('p1'))
    const read = await store.get('IPPool', 'p1')
    t.deepEqual(read, made)
    t.is(read.spec.blockSize, 26)
    t.truthy(read.metadata.uid)
    t.truthy(read.metadata.resourceVersion)
    t.is(read.metadata.generation, 1)
    t.false('kind' in read)
  })

  promise('a name that is taken is a conflict, and a name that is not there is not found', async (t, store) => {
    await store.create('IPPool', aPool('p1'))
    await t.throwsAsync(store.create('IPPool', aPool('p1')), { instanceOf: Conflict })
    await t.throwsAsync(store.get('IPPool', 'p2'), { instanceOf: NotFound })
    await t.throwsAsync(store.update('IPPool', aPool('p2')), { instanceOf: NotFound })
    await t.throwsAsync(store.patch('IPPool', 'p2', {}), { instanceOf: NotFound })
    await t.throwsAsync(store.delete('IPPool', 'p2'), { instanceOf: NotFound })
  })

  promise('the number of objects of any kind that is served is told with one of them', async (t, store, counted) => {
    const reservations = { ...counted, plural: 'ipreservations' }
    t.is(await store.count(reservations), undefined)
    for (const name of ['p1', 'p2', 'p3'])
      await store.create(
        'IPReservation',
        aResource('IPReservation', { metadata: { name }, spec: { reservedCIDRs: [] } }),
      )
    t.deepEqual(await store.count(reservations), { count: 3, atLeast: false, name: 'p1' })
    await store.create('Pod', aPod('web'))
    t.like(await store.count({ group: '', version: 'v1', plural: 'pods' }), { count: 1, namespace: 'default' })
    const ingresses = { group: 'networking.k8s.io', version: 'v1', plural: 'ingresses' }
    await t.throwsAsync(store.count(ingresses), { instanceOf: NotFound })
  })

  promise('a policy of Kubernetes and one of Calico with the same name are two objects', async (t, store) => {
    const metadata = { name: 'p', namespace: 'default' }
    await store.create(
      'KubernetesNetworkPolicy',
      aResource('KubernetesNetworkPolicy', { metadata, spec: { podSelector: {} } }),
    )
    await store.create('NetworkPolicy', aResource('NetworkPolicy', { metadata, spec: { selector: 'all()' } }))
    t.like(await store.get('KubernetesNetworkPolicy', 'p', 'default'), { metadata, spec: { podSelector: {} } })
    t.like(await store.get('NetworkPolicy', 'p', 'default'), { metadata, spec: { selector: 'all()' } })
    await store.delete('NetworkPolicy', 'p', { namespace: 'default' })
    t.is((await store.list('KubernetesNetworkPolicy')).length, 1)
    t.is((await store.list('NetworkPolicy')).length, 0)
  })

  promise(
    'an object of any kind that is served is made, and one of a kind that is not is not found',
    async (t, store, counted) => {
      const pool = { ...counted, plural: 'ippools', kind: 'IPPool' }
      await store.writeAny(pool, { metadata: { name: 'p1' }, spec: { cidr: '10.0.0.0/16' } })
      await t.throwsAsync(store.writeAny(pool, { metadata: { name: 'p1' }, spec: { cidr: '10.0.0.0/16' } }), {
        instanceOf: Conflict,
      })
      t.like(await store.get('IPPool', 'p1'), { spec: { cidr: '10.0.0.0/16' } })
      const events = { group: '', version: 'v1', plural: 'events', kind: 'Event' }
      await t.throwsAsync(store.writeAny(events, { metadata: { name: 'e', namespace: 'default' } }), {
        instanceOf: NotFound,
      })
    },
  )

  promise('a write over an old version is a conflict and changes nothing', async (t, store) => {
    const first = await store.create('IPPool', aPool('p1'))
    const second = await store.update('IPPool', { ...first, spec: { ...first.spec, disabled: true } })
    await t.throwsAsync(store.update('IPPool', { ...first, spec: { ...first.spec, natOutgoing: true } }), {
      instanceOf: Conflict,
    })
    t.deepEqual(await store.get('IPPool', 'p1'), second)
    t.is(second.metadata.generation, 2)
  })

  promise('a write without a version is unconditional', async (t, store) => {
    const { metadata, ...rest } = await store.create('IPPool', aPool('p1'))
    await store.patch('IPPool', 'p1', { metadata: { labels: { a: 'b' } } })
    const { resourceVersion: _, ...unversioned } = metadata
    const after = await store.update('IPPool', {
      ...rest,
      metadata: unversioned,
      spec: { ...rest.spec, disabled: true },
    })
    t.true(after.spec.disabled)
  })

  promise('a write that changes nothing keeps the version', async (t, store) => {
    const first = await store.create('IPPool', aPool('p1'))
    t.deepEqual(await store.update('IPPool', first), first)
  })

  promise('an invalid object is refused with 422 and a message that names the field', async (t, store) => {
    const bad = { ...aPool('p1'), spec: { ...aPool('p1').spec, blockSize: 99 } }
    const error = await t.throwsAsync(store.create('IPPool', bad), { instanceOf: Refused, message: /spec\.blockSize/ })
    t.is(error?.status, 422)
  })

  promise('unknown fields and integers above 2^53 survive a read-modify-write', async (t, store) => {
    const sequenceNumber = 1_766_000_000_123_456_789n
    await store.create('IPAMBlock', aBlock('10.0.0.0/31', { sequenceNumber, fromTheFuture: { deep: [1, null, 'x'] } }))
    const read = await store.get('IPAMBlock', '10-0-0-0-31')
    const after = await store.update('IPAMBlock', {
      ...read,
      spec: { ...read.spec, sequenceNumber: sequenceNumber + 1n },
    })
    t.is(after.spec.sequenceNumber, sequenceNumber + 1n)
    t.deepEqual((await store.get('IPAMBlock', '10-0-0-0-31')).spec['fromTheFuture'], { deep: [1, null, 'x'] })
    t.deepEqual(after.spec.allocations, [null, null])
  })

  promise('a status write leaves the spec alone, and a plain write the status', async (t, store) => {
    const pool = await store.create('IPPool', aPool('p1'))
    const when = { lastTransitionTime: '2026-01-02T03:04:05Z' }
    const conditions = [{ type: 'Ready', status: 'True' as const, reason: 'Fine', message: 'it is', ...when }]
    const marked = await store.updateStatus('IPPool', {
      ...pool,
      spec: { ...pool.spec, disabled: true },
      status: { conditions },
    })
    t.false(marked.spec.disabled)
    t.deepEqual(marked.status, { conditions })
    const { status: _, ...plain } = marked
    t.deepEqual((await store.update('IPPool', { ...plain, spec: { ...plain.spec, disabled: true } })).status, {
      conditions,
    })
  })

  promise('a status patch of a core object may carry annotations, as node agents publish', async (t, store) => {
    await store.create('Node', aNode('n1'))
    const patch = {
      metadata: { annotations: { 'projectcalico.org/IPv4Address': '192.0.2.1/24' } },
      spec: { podCIDR: 'x' },
    }
    const node = await store.patch('Node', 'n1', patch, { subresource: 'status' })
    t.is(node.metadata.annotations?.['projectcalico.org/IPv4Address'], '192.0.2.1/24')
    t.is(node.spec.podCIDR, undefined)
  })

  promise('a strategic merge patch of a status writes one condition, and those of others stay', async (t, store) => {
    await store.create('Node', aNode('n1'))
    const condition = (type: string, status: string) => ({ type, status })
    const patch = (...conditions: object[]) =>
      store.patch('Node', 'n1', { status: { conditions } }, { subresource: 'status', strategic: true })
    await patch(condition('Ready', 'True'), condition('NetworkUnavailable', 'True'))
    const node = await patch(condition('NetworkUnavailable', 'False'))
    t.deepEqual(node.status?.['conditions'], [condition('Ready', 'True'), condition('NetworkUnavailable', 'False')])
  })

  promise('a merge patch sets, replaces and removes', async (t, store) => {
    await store.create('IPPool', aPool('p1', {}, { labels: { a: '1', b: '2' } }))
    const pool = await store.patch('IPPool', 'p1', {
      metadata: { labels: { a: null, c: '3' } },
      spec: { allowedUses: ['Tunnel'] },
    })
    t.deepEqual(pool.metadata.labels, { b: '2', c: '3' })
    t.deepEqual(pool.spec.allowedUses, ['Tunnel'])
  })

  promise('a list selects by namespace, label and field', async (t, store) => {
    await store.create('Pod', aPod('a', { nodeName: 'n1' }, { labels: { app: 'web' } }))
    await store.create('Pod', aPod('b', { nodeName: 'n2' }, { labels: { app: 'web', tier: 'x' } }))
    await store.create('Pod', aPod('c', { nodeName: 'n1' }, { labels: { app: 'db' } }))
    const names = async (options: object): Promise<string[]> =>
      (await store.list('Pod', options)).map(({ metadata }) => metadata.name).sort()
    t.deepEqual(await names({ namespace: 'default' }), ['a', 'b', 'c'])
    t.deepEqual(await names({ namespace: 'elsewhere' }), [])
    t.deepEqual(await names({ labelSelector: 'app=web' }), ['a', 'b'])
    t.deepEqual(await names({ labelSelector: 'app in (web, db),!tier' }), ['a', 'c'])
    t.deepEqual(await names({ fieldSelector: 'spec.nodeName=n1' }), ['a', 'c'])
    t.deepEqual(await names({ fieldSelector: 'metadata.name=b,spec.nodeName!=n1' }), ['b'])
  })

  promise('a delete takes only the object that its precondition names', async (t, store) => {
    const { metadata } = await store.create('IPPool', aPool('p1'))
    const uid = '00000000-0000-0000-0000-000000000000'
    await t.throwsAsync(store.delete('IPPool', 'p1', { uid }), { instanceOf: Conflict })
    await t.throwsAsync(store.delete('IPPool', 'p1', { resourceVersion: '999999' }), { instanceOf: Conflict })
    await store.delete('IPPool', 'p1', { uid: metadata.uid, resourceVersion: metadata.resourceVersion })
    await t.throwsAsync(store.get('IPPool', 'p1'), { instanceOf: NotFound })
  })

  promise('a finalizer holds a deleted object back until it is taken off', async (t, store) => {
    await store.create('IPPool', aPool('p1', {}, { finalizers: ['example.org/hold'] }))
    await store.delete('IPPool', 'p1')
    const dying = await store.get('IPPool', 'p1')
    t.truthy(dying.metadata.deletionTimestamp)
    await store.patch('IPPool', 'p1', { metadata: { finalizers: null } })
    await t.throwsAsync(store.get('IPPool', 'p1'), { instanceOf: NotFound })
  })

  promise('of the writers over one version one wins', async (t, store) => {
    const pool = await store.create('IPPool', aPool('p1'))
    const labelled = (label: string): Promise<unknown> =>
      store.update('IPPool', { ...pool, metadata: { ...pool.metadata, labels: { [label]: 'here' } } })
    const results = await Promise.allSettled(['a', 'b', 'c', 'd'].map(labelled))
    const lost = results.filter(({ status }) => status === 'rejected').map(result => Reflect.get(result, 'reason'))
    t.is(lost.length, 3)
    for (const reason of lost) t.true(reason instanceof Conflict)
  })

  promise('an apply makes an object that is not there, and then leaves what it does not name', async (t, store) => {
    const named = { metadata: { name: 'p1', labels: { a: 'x' } }, spec: { cidr: '10.0.0.0/16' } }
    const made = await store.patch('IPPool', 'p1', named, { applyAs: 'me' })
    t.deepEqual(made.metadata.labels, { a: 'x' })
    await store.patch('IPPool', 'p1', { spec: { disabled: true } })
    const again = await store.patch('IPPool', 'p1', named, { applyAs: 'me' })
    t.true(again.spec.disabled)
  })

  promise('a watch gives the state first, then each change in order', async (t, store) => {
    await store.create('IPPool', aPool('old'))
    const seen = new Recorded(store, 'IPPool')
    await seen.until(s => s.events.length === 1)
    const pool = await store.create('IPPool', aPoolAt(1, 'new'))
    await store.update('IPPool', { ...pool, spec: { ...pool.spec, disabled: true } })
    await store.delete('IPPool', 'old')
    await seen.until(s => s.events.length === 4)
    t.deepEqual(seen.lines(), ['sync old', 'set new', 'set new', 'gone old'])
    t.true(seen.state().get('new')?.spec.disabled)
  })

  promise('a watch with a selector sees objects come into it and leave it', async (t, store) => {
    const seen = new Recorded(store, 'IPPool', { labelSelector: 'on=yes' })
    await seen.until(s => s.events.length === 1)
    await store.create('IPPool', aPool('p1'))
    await store.patch('IPPool', 'p1', { metadata: { labels: { on: 'yes' } } })
    await store.patch('IPPool', 'p1', { metadata: { labels: { on: 'no' } } })
    await seen.until(s => s.events.length === 3)
    t.deepEqual(seen.lines(), ['sync ', 'set p1', 'gone p1'])
  })

  promise('a closed watch says nothing more', async (t, store) => {
    const closed = new Recorded(store, 'IPPool')
    const open = new Recorded(store, 'IPPool')
    await closed.until(s => s.events.length === 1)
    await open.until(s => s.events.length === 1)
    closed.watch.close()
    await store.create('IPPool', aPool('p1'))
    await open.until(s => s.events.length === 2)
    t.deepEqual(closed.lines(), ['sync '])
  })

  promise('a watch from a version tells what came after it, deletions too, and no state first', async (t, store) => {
    await store.create('IPPool', aPool('old'))
    await store.create('IPPool', aPoolAt(2, 'kept'))
    const first = new Recorded(store, 'IPPool')
    await first.until(s => s.versions.length > 0)
    first.watch.close()
    await store.delete('IPPool', 'old')
    await store.create('IPPool', aPoolAt(1, 'new'))
    const second = new Recorded(store, 'IPPool', { since: first.versions.at(-1)! })
    await second.until(s => s.events.length === 2)
    t.deepEqual(second.lines(), ['gone old', 'set new'])
    t.deepEqual(second.connections, [true])
  })

  promise('a watch from a version that the server never had begins with the state', async (t, store) => {
    await store.create('IPPool', aPool('a'))
    const seen = new Recorded(store, 'IPPool', { since: '999999' })
    await seen.until(s => s.events.length === 1)
    t.deepEqual(seen.lines(), ['sync a'])
  })

  promise('a watch of some fields gives those alone', async (t, store) => {
    await store.create('Node', aNode('n1', { labels: { a: 'b' }, annotations: { long: 'text' } }))
    const fields: Fields = { metadata: { name: true, labels: true }, spec: true }
    const seen = new Recorded(store, 'Node', { fields })
    await seen.until(s => s.events.length === 1)
    t.deepEqual(seen.state().get('n1'), { metadata: { name: 'n1', labels: { a: 'b' } }, spec: {} })
  })

  promise('a change that leaves the fields as they are held is not told, but moves the version', async (t, store) => {
    await store.create('Node', aNode('n1'))
    const fields: Fields = { metadata: { name: true, labels: true }, spec: true }
    const held = new Map<string, Resource<'Node'>>()
    const seen = new Recorded(store, 'Node', { fields, held: name => held.get(name) })
    await seen.until(s => s.versions.length === 1)
    for (const [name, node] of seen.state()) held.set(name, node)
    await store.patch('Node', 'n1', { metadata: { annotations: { beat: '1' } } })
    const labelled = await store.patch('Node', 'n1', { metadata: { labels: { a: 'b' } } })
    await seen.until(s => s.versions.at(-1) === labelled.metadata.resourceVersion)
    t.deepEqual(seen.lines(), ['sync n1', 'set n1'])
    t.is(seen.versions.length, 3)
    await store.delete('Node', 'n1')
    await seen.until(s => s.events.length === 3)
    t.is(seen.lines().at(-1), 'gone n1')
  })
}
