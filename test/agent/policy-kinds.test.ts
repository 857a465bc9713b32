// What felix is told of policies: everything before the first is enforced, and of Services only where a policy names one.
import test from 'ava'
import type { Gap } from '../../agent/cluster/policies/not-enforced.ts'
import { PolicyFeed } from '../../agent/policy-feed.ts'
import type { Kind } from '../../api/kinds.ts'
import type { Condition } from '../../api/status.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { NotFound, Refused, type WatchHandlers } from '../../datastore/port.ts'
import type { Policy } from '../../felix/policy/model.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'

/** A feed over a server; a kind of `failing` fails with the error until it is taken out. */
async function aFeed(failing = new Map<Kind, Error>()) {
  const [server, clock, database] = [createFakeStore(), new ManualClock(), openDatabase(':memory:')]
  const asked = new Set<Kind>()
  const waiting: (() => void)[] = []
  const watch = ((kind: Kind, handlers: WatchHandlers<Kind>, options: object) => {
    asked.add(kind)
    const cause = failing.get(kind)
    if (cause === undefined) return server.watch(kind, handlers, options)
    queueMicrotask(() => handlers.connection?.({ connected: false, cause }))
    waiting.push(() => server.watch(kind, handlers, options))
    return { close: () => undefined, hurry: () => undefined }
  }) as FakeStore['watch']
  const caches = openCaches({ ...server, watch }, { database, clock, log: silentLog })
  const policies = new Map<string, Policy | undefined>()
  const services = new Map<string, unknown>()
  const names = { wanted: 0, want: () => void names.wanted++, gaps: [] as Gap[] }
  let completed = false
  let conditions: readonly Condition[] = []
  const feed = new PolicyFeed({
    nodeName: 'n1',
    ...{ caches, clock, names, floating: { setHere: () => undefined }, pods: { setPod: () => undefined } },
    felix: {
      set: () => undefined,
      setPolicy: (kind, key, value) => {
        if (kind === 'policy') policies.set(key, value as Policy | undefined)
        if (kind === 'service') services.set(key, value)
      },
      setPolicyRevision: () => undefined,
      setLocalEndpoint: () => undefined,
      setHostEndpoint: () => undefined,
      complete: () => {
        completed = true
      },
    },
    report: told => {
      conditions = told
    },
  })
  const settle = async () => {
    for (let i = 0; i < 20; i++) await server.settled()
  }
  caches.start()
  await settle()
  const close = () => {
    feed.close()
    caches.close()
  }
  const answer = async () => {
    for (const start of waiting.splice(0)) start()
    await settle()
  }
  return {
    ...{ server, asked, policies, services, settle, answer, close, names, feed },
    done: () => completed,
    told: () => conditions,
  }
}

const rule = (action: string) => ({ action, destination: { services: { name: 'web' } } })
const policy = (...egress: object[]) =>
  aResource('NetworkPolicy', {
    metadata: { name: 'to-web', namespace: 'shop' },
    spec: { selector: 'all()', types: ['Egress'], egress },
  })
const slice = aResource('EndpointSlice', {
  metadata: { name: 'web-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
  ...{ addressType: 'IPv4', endpoints: [{ addresses: ['10.0.0.7'] }], ports: [{ protocol: 'TCP', port: 80 }] },
})

test('a kind that the server does not serve has no objects, and one that may not be read holds policy up, with the reason', async t => {
  const failing = new Map<Kind, Error>([['ClusterNetworkPolicy', new NotFound('not served')]])
  const absent = await aFeed(failing)
  t.true(absent.done())
  t.deepEqual(absent.told(), [])
  absent.close()
  failing.set('Tier', new Refused(403, 'tiers is forbidden'))
  const forbidden = await aFeed(failing)
  t.false(forbidden.done())
  t.like(forbidden.told()[0], { type: 'PoliciesEnforced', status: 'False' })
  t.regex(forbidden.told()[0]!.message, /Tier is not known.*tiers is forbidden/)
  await forbidden.answer()
  t.true(forbidden.done())
  t.deepEqual(forbidden.told(), [])
  forbidden.close()
})

test('EndpointSlices are watched once a policy names a Service, and not before', async t => {
  const { server, asked, services, policies, settle, close } = await aFeed()
  await server.create('EndpointSlice', slice)
  await settle()
  t.false(asked.has('EndpointSlice'))
  await server.create('NetworkPolicy', policy(rule('Allow')))
  await settle()
  t.true(asked.has('EndpointSlice'))
  t.deepEqual([...services.keys()], ['shop/web'])
  t.is([...policies.values()][0]?.egress?.[0]?.never, undefined)
  close()
})

test('a rule that names a Service is closed until it is known what is behind Services, also where it denies', async t => {
  const failing = new Map<Kind, Error>([['EndpointSlice', new Refused(403, 'forbidden')]])
  const { server, policies, settle, answer, close } = await aFeed(failing)
  await server.create('NetworkPolicy', policy(rule('Allow'), rule('Deny'), { action: 'Allow' }))
  await settle()
  const egress = () => [...policies.values()][0]!.egress!
  t.is(egress()[0]!.never, true)
  t.deepEqual(egress()[1], { action: 'deny', source: {}, destination: {} })
  t.like(egress()[2], { action: 'allow' })
  await answer()
  t.is(egress()[0]!.never, undefined)
  t.like(egress()[1], { action: 'deny', destination: { service: { namespace: 'shop', name: 'web' } } })
  close()
})

test('what is not right about names of domains is told', async t => {
  const { server, told, settle, names, asked, feed, close } = await aFeed()
  const byName = aResource('ClusterNetworkPolicy', {
    metadata: { name: 'names' },
    spec: {
      ...{ tier: 'Admin', priority: 5, subject: { namespaces: {} } },
      egress: [{ action: 'Accept', to: [{ domainNames: ['example.com'] }] }],
    },
  })
  t.is(names.wanted, 0)
  await server.create('ClusterNetworkPolicy', byName)
  await settle()
  t.is(names.wanted, 1)
  // the resolver is behind a Service
  t.true(asked.has('EndpointSlice'))
  names.gaps = [{ message: 'cannot be read', remedy: 'load the module' }]
  feed.namesChanged()
  t.like(told()[0], { type: 'PoliciesEnforced', status: 'False', reason: 'NotEnforced', message: 'cannot be read' })
  names.gaps = []
  feed.namesChanged()
  await settle()
  t.deepEqual(told(), [])
  close()
})
