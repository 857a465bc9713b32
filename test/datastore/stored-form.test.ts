// The store over a server that has Calico's resources as Calico stores them.
import test, { type ExecutionContext } from 'ava'
import { METADATA_ANNOTATION, otherUid } from '../../api/stored-form.ts'
import { openStore } from '../../datastore/kube.ts'
import { openObjects } from '../../datastore/objects.ts'
import { Conflict, NotFound, Refused, type Store } from '../../datastore/port.ts'
import { runHere } from '../ctl/run.ts'
import { storeContract } from './contract.ts'
import { aBlock, aPool, aPoolAt, aResource, Recorded } from './objects.ts'
import { type StoredFormServer, startStoredFormServer } from './stored-form-server.ts'

storeContract(test, async () => {
  const server = await startStoredFormServer()
  const store = openStore({ server: server.url, token: server.token })
  return {
    store,
    counted: { group: 'crd.projectcalico.org', version: 'v1' },
    close: async () => {
      await store.close()
      await server.close()
    },
  }
})

type Parts = {
  server: StoredFormServer
  store: Store
  raw(path: string): Promise<Record<string, unknown>>
  write: Write
}
type Write = (method: string, path: string, body: object) => Promise<unknown>

const ROOT = '/apis/crd.projectcalico.org/v1'

function check(
  title: string,
  run: (t: ExecutionContext, parts: Parts) => Promise<void>,
  without?: readonly string[],
): void {
  test(title, async t => {
    const server = await startStoredFormServer({ without })
    const store = openStore({ server: server.url, token: server.token })
    const headers = { authorization: `Bearer ${server.token}` }
    const raw = async (path: string) =>
      (await (await fetch(`${server.url}${ROOT}/${path}`, { headers })).json()) as Record<string, unknown>
    const write: Write = async (method, path, body) => {
      const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
      const init = { method, headers: { ...headers, 'content-type': type }, body: JSON.stringify(body) }
      const answer = await fetch(`${server.url}${ROOT}/${path}`, init)
      t.true(answer.ok, await answer.clone().text())
      return answer.json()
    }
    try {
      await run(t, { server, store, raw, write })
    } finally {
      await store.close()
      await server.close()
    }
  })
}

const asStored = (kind: string, metadata: object, spec: object) => ({
  apiVersion: 'crd.projectcalico.org/v1',
  kind,
  metadata,
  spec,
})

check(
  'labels lie in the annotation, finalizers and Calico’s own labels in the metadata, and the UID is another one',
  async (t, { store, raw }) => {
    const labels = { rack: 'a', 'projectcalico.org/kind': 'x' }
    const made = await store.create('IPPool', aPool('p1', {}, { labels, finalizers: ['margay/blocks'] }))
    const stored = (await raw('ippools/p1')) as { apiVersion: string; metadata: Record<string, Record<string, string>> }
    const { annotations, labels: own, finalizers, uid } = stored.metadata
    t.is(stored.apiVersion, 'crd.projectcalico.org/v1')
    t.deepEqual(JSON.parse(annotations![METADATA_ANNOTATION]!), { labels })
    t.deepEqual(own, { 'projectcalico.org/kind': 'x' })
    t.deepEqual(finalizers as unknown, ['margay/blocks'])
    t.is(made.metadata.uid, otherUid(String(uid)))
    t.deepEqual(made.metadata.labels, labels)
    t.is(made.metadata.annotations, undefined)
  },
)

check('IPAMConfiguration is IPAMConfig there', async (t, { store, raw }) => {
  await store.create('IPAMConfiguration', aResource('IPAMConfiguration', { metadata: { name: 'default' }, spec: {} }))
  t.like(await raw('ipamconfigs/default'), { kind: 'IPAMConfig' })
  t.is((await store.list('IPAMConfiguration')).length, 1)
})

check(
  'a patch of labels keeps those of others, and one of the spec or the finalizers writes nothing else',
  async (t, { store, raw, server }) => {
    await store.create('IPPool', aPool('p1', {}, { labels: { mine: '1', others: '2' } }))
    const before = (await raw('ippools/p1')) as { metadata: { annotations: object } }
    const { metadata } = await store.patch('IPPool', 'p1', { metadata: { finalizers: ['margay/blocks'] } })
    t.deepEqual(metadata.finalizers, ['margay/blocks'])
    t.deepEqual(((await raw('ippools/p1')) as typeof before).metadata.annotations, before.metadata.annotations)
    t.deepEqual(server.asked.filter(each => /^(PUT|PATCH)/.test(each)).length, 1)
    const after = await store.patch('IPPool', 'p1', { metadata: { labels: { mine: null, more: '3' } } })
    t.deepEqual(after.metadata.labels, { others: '2', more: '3' })
    t.deepEqual(after.metadata.finalizers, ['margay/blocks'])
  },
)

check('an apply keeps the labels and annotations of others', async (t, { store }) => {
  await store.create('IPPool', aPool('p1', {}, { labels: { others: '2' }, annotations: { note: 'x' } }))
  const applied = await store.patch(
    'IPPool',
    'p1',
    { metadata: { name: 'p1', labels: { mine: '1' } }, spec: { cidr: '10.244.0.0/16', natOutgoing: true } },
    { applyAs: 'margayctl' },
  )
  t.deepEqual(applied.metadata.labels, { others: '2', mine: '1' })
  t.deepEqual(applied.metadata.annotations, { note: 'x' })
  t.true(applied.spec.natOutgoing)
  const again = await store.patch(
    'IPPool',
    'p1',
    { metadata: { name: 'p1' }, spec: { cidr: '10.244.0.0/16' } },
    { applyAs: 'margayctl' },
  )
  t.deepEqual(again.metadata.labels, { others: '2', mine: '1' })
})

check(
  'a label selector and a field selector select as with v3, in lists and in watches',
  async (t, { store, server }) => {
    await store.create('IPPool', aPoolAt(1, 'p1', { labels: { rack: 'a' } }))
    await store.create('IPPool', aPoolAt(2, 'p2', { labels: { rack: 'b' } }))
    t.deepEqual(
      (await store.list('IPPool', { labelSelector: 'rack=a' })).map(({ metadata }) => metadata.name),
      ['p1'],
    )
    const seen = new Recorded(store, 'IPAMBlock', { fieldSelector: 'spec.affinity=host:n1' })
    await seen.until(each => each.events.length > 0)
    const mine = await store.create('IPAMBlock', aBlock('10.1.0.0/31'))
    await store.create('IPAMBlock', aBlock('10.1.0.2/31', { affinity: 'host:n2' }))
    await store.update('IPAMBlock', { ...mine, spec: { ...mine.spec, affinity: 'host:n2' } })
    await store.create('IPAMBlock', aBlock('10.1.0.4/31'))
    await seen.until(each => each.events.length > 3)
    t.deepEqual(seen.lines(), ['sync ', 'set 10-1-0-0-31', 'gone 10-1-0-0-31', 'set 10-1-0-4-31'])
    t.false(server.asked.some(each => each.includes('Selector=')))
    const error = await t.throwsAsync<Refused>(store.list('IPPool', { labelSelector: 'a=b=c' }), {
      instanceOf: Refused,
    })
    t.is(error?.status, 400)
    seen.watch.close()
  },
)

check('an object that kubectl made, without the annotation, is read as it is', async (t, { store, write }) => {
  const metadata = { name: 'p1', labels: { rack: 'a' }, annotations: { note: 'x' } }
  await write('POST', 'ippools', asStored('IPPool', metadata, { cidr: '10.0.0.0/16' }))
  const pool = await store.get('IPPool', 'p1')
  t.like(pool.metadata, { labels: { rack: 'a' }, annotations: { note: 'x' } })
  t.is(pool.spec.blockSize, 26)
})

check(
  'an annotation that is no JSON makes the object one that is not valid: no label is guessed',
  async (t, { store, write }) => {
    const annotations = { [METADATA_ANNOTATION]: '{' }
    await write('POST', 'ippools', asStored('IPPool', { name: 'p1', annotations }, { cidr: '10.0.0.0/16' }))
    t.deepEqual(await store.list('IPPool'), [])
    await t.throwsAsync(store.get('IPPool', 'p1'), { instanceOf: Refused, message: /projectcalico\.org\/metadata/ })
    await t.throwsAsync(store.patch('IPPool', 'p1', { metadata: { labels: { a: 'b' } } }), { instanceOf: Refused })
  },
)

check(
  'what an older CRD of Calico has no status for is left out, and the object comes back as it is',
  async (t, { store }) => {
    const pool = await store.create('IPPool', aPool('p1'))
    const status = { conditions: [{ type: 'Ready', status: 'True' as const, reason: 'Fine', message: 'it is' }] }
    t.is((await store.updateStatus('IPPool', { ...pool, status })).status, undefined)
    t.is((await store.patch('IPPool', 'p1', { status }, { subresource: 'status' })).metadata.uid, pool.metadata.uid)
    await t.throwsAsync(store.patch('IPPool', 'p2', { status }, { subresource: 'status' }), { message: /p2/ })
  },
  ['ippools'],
)

check('a deletion names the UID that the server knows', async (t, { store }) => {
  const { metadata } = await store.create('IPPool', aPool('p1'))
  await t.throwsAsync(store.delete('IPPool', 'p1', { uid: otherUid(metadata.uid!) }), { message: /UID/i })
  await store.delete('IPPool', 'p1', { uid: metadata.uid })
  t.deepEqual(await store.list('IPPool'), [])
})

check(
  'the command line sees v3 objects, and writes them in each way but by paths into the annotation',
  async (t, { server }) => {
    const objects = openObjects({ server: server.url, token: server.token, manager: 'margayctl' })
    await objects.create('IPPool', { metadata: { name: 'p1', labels: { a: '1' } }, spec: { cidr: '10.0.0.0/16' } })
    t.like(await objects.get('IPPool', 'p1'), { apiVersion: 'projectcalico.org/v3', metadata: { labels: { a: '1' } } })
    const patched = await objects.patch('IPPool', 'p1', [{ op: 'add', path: '/spec/disabled', value: true }], 'json')
    t.like(patched.spec as object, { disabled: true })
    const labels = [{ op: 'add', path: '/metadata/labels/b', value: '2' }]
    await t.throwsAsync(objects.patch('IPPool', 'p1', labels, 'json'), { instanceOf: Refused, message: /merge patch/ })
    const dry = await objects.patch('IPPool', 'p1', { metadata: { labels: { b: '2' } } }, 'merge', { dryRun: true })
    t.deepEqual(dry.metadata.labels, { a: '1', b: '2' })
    t.deepEqual((await objects.list('IPPool', { labelSelector: 'b=2' })).length, 0)
    await objects.replace('IPPool', { metadata: { name: 'p1', labels: { c: '3' } }, spec: { cidr: '10.0.0.0/16' } })
    t.deepEqual((await objects.list('IPPool', { labelSelector: 'c=3' })).length, 1)
    objects.close()
  },
)

check(
  'the command line is told of an object whose annotation cannot be read, and neither copies nor replaces it',
  async (t, { server, write, raw }) => {
    const annotations = { [METADATA_ANNOTATION]: '{"labels":{"a":"1"' }
    const broken = { metadata: { name: 'p1', annotations }, spec: { cidr: '10.0.0.0/16' } }
    await write('POST', 'ippools', { apiVersion: 'crd.projectcalico.org/v1', kind: 'IPPool', ...broken })
    const told: string[] = []
    const warn = (text: string): void => void told.push(text)
    const objects = openObjects({ server: server.url, token: server.token, manager: 'margayctl', warn })
    const seen = await objects.get('IPPool', 'p1')
    await objects.list('IPPool')
    const why = /^IPPool p1: projectcalico\.org\/metadata is no object .* Correct or delete the annotation$/
    t.is(told.length, 2)
    for (const text of told) t.regex(text, why)
    await t.throwsAsync(objects.listWhole('IPPool'), { instanceOf: Refused, message: why })
    await t.throwsAsync(objects.replace('IPPool', seen), { instanceOf: Refused, message: why })
    t.like(await raw('ippools/p1'), { metadata: { annotations } })
    objects.close()
    const to = ['--server', server.url, '--token', server.token]
    const { code, out, err } = await runHere(['datastore', 'export', ...to])
    t.deepEqual([code, out], [1, ''])
    t.regex(err, /IPPool p1: projectcalico\.org\/metadata is no object/)
    t.regex(
      (await runHere(['get', 'ippool', 'p1', '-o', 'yaml', ...to])).err,
      /IPPool p1: projectcalico\.org\/metadata/,
    )
  },
)

check(
  'a policy that Calico before 3.32 stored has the name that a person gave, and is changed and deleted under it',
  async (t, { store, write, raw }) => {
    const policy = (name: string, order: number) =>
      asStored('GlobalNetworkPolicy', { name }, { tier: 'default', order, selector: 'all()', types: ['Ingress'] })
    await write('POST', 'globalnetworkpolicies', policy('default.web', 1))
    const old = await store.get('GlobalNetworkPolicy', 'web')
    t.is(old.metadata.name, 'web')
    await t.throwsAsync(store.create('GlobalNetworkPolicy', old), { instanceOf: Conflict })
    await store.update('GlobalNetworkPolicy', { ...old, spec: { ...old.spec, order: 2 } })
    t.like(await raw('globalnetworkpolicies/default.web'), { metadata: { name: 'default.web' }, spec: { order: 2 } })
    await store.patch('GlobalNetworkPolicy', 'web', { spec: { order: 3 } })

    // as Calico's migration does: the new one is made, then the old one goes
    const seen = new Recorded(store, 'GlobalNetworkPolicy')
    await seen.until(each => each.events.length > 0)
    await write('POST', 'globalnetworkpolicies', policy('web', 4))
    await write('PATCH', 'globalnetworkpolicies/default.web', { spec: { order: 5 } })
    await seen.until(each => each.events.length > 1)
    t.deepEqual(
      (await store.list('GlobalNetworkPolicy')).map(({ spec }) => spec['order']),
      [4],
    )
    await write('DELETE', 'globalnetworkpolicies/default.web', {})
    await store.patch('GlobalNetworkPolicy', 'web', { spec: { order: 6 } })
    await seen.until(each => each.events.length > 2)
    t.deepEqual(seen.lines(), ['sync web', 'set web', 'set web'])
    await store.delete('GlobalNetworkPolicy', 'web')
    await seen.until(each => each.events.length > 3)
    t.deepEqual(seen.lines().slice(3), ['gone web'])
    t.deepEqual([...seen.state().keys()], [])
    seen.watch.close()
  },
)

const aPolicy = (name: string, order: number, annotations = {}) =>
  asStored('GlobalNetworkPolicy', { name, annotations }, { tier: 'default', order, selector: 'all()' })

check('an apply of a policy that is stored as default.NAME changes that one and makes none', async (t, parts) => {
  const { store, write, raw } = parts
  await write('POST', 'globalnetworkpolicies', aPolicy('default.web', 1))
  const applied = { metadata: { name: 'web' }, spec: { tier: 'default', order: 2, selector: 'all()' } }
  const { metadata } = await store.patch('GlobalNetworkPolicy', 'web', applied, { applyAs: 'margayctl' })
  t.is(metadata.name, 'web')
  const { items } = (await raw('globalnetworkpolicies')) as { items: object[] }
  t.is(items.length, 1)
  t.like(items[0], { metadata: { name: 'default.web' }, spec: { order: 2 } })
  // a new one is stored as it is called
  await store.patch('GlobalNetworkPolicy', 'db', { ...applied, metadata: { name: 'db' } }, { applyAs: 'margayctl' })
  t.like(await raw('globalnetworkpolicies/db'), { metadata: { name: 'db' } })
})

check('a deletion removes a policy under both of its names, or under none', async (t, { store, write, raw }) => {
  for (const name of ['default.web', 'web']) await write('POST', 'globalnetworkpolicies', aPolicy(name, 1))
  const { metadata } = await store.get('GlobalNetworkPolicy', 'web')
  const seen = new Recorded(store, 'GlobalNetworkPolicy')
  await seen.until(each => each.events.length > 0)
  const stored = async () => ((await raw('globalnetworkpolicies')) as { items: object[] }).items.length
  await t.throwsAsync(store.delete('GlobalNetworkPolicy', 'web', { uid: otherUid(metadata.uid!) }), {
    instanceOf: Conflict,
  })
  t.is(await stored(), 2)
  await store.delete('GlobalNetworkPolicy', 'web', { uid: metadata.uid })
  t.is(await stored(), 0)
  await seen.until(each => each.events.length > 1)
  t.deepEqual(seen.lines(), ['sync web', 'gone web'])
  seen.watch.close()
})

check('the older policy counts again when another program deletes the newer one', async (t, { store, write }) => {
  await write('POST', 'globalnetworkpolicies', aPolicy('default.web', 1))
  await write('POST', 'globalnetworkpolicies', aPolicy('web', 2))
  const seen = new Recorded(store, 'GlobalNetworkPolicy')
  await seen.until(each => each.events.length > 0)
  await write('DELETE', 'globalnetworkpolicies/web', {})
  await seen.until(each => each.events.length > 1)
  t.deepEqual(seen.lines(), ['sync web', 'sync web'])
  t.is((await store.get('GlobalNetworkPolicy', 'web')).spec['order'], 1)
  seen.watch.close()
})

check('a policy that a person named default.NAME is not the one called NAME', async (t, { store, write }) => {
  const annotations = { [METADATA_ANNOTATION]: '{"name":"default.web"}' }
  await write('POST', 'globalnetworkpolicies', aPolicy('default.web', 1, annotations))
  await t.throwsAsync(store.get('GlobalNetworkPolicy', 'web'), { instanceOf: NotFound })
  await t.throwsAsync(store.delete('GlobalNetworkPolicy', 'web'), { instanceOf: NotFound })
  t.is((await store.get('GlobalNetworkPolicy', 'default.web')).metadata.name, 'default.web')
})
