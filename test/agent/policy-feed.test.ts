// What felix is told of the pods of this node: under which labels and addresses, and when ADD may answer.
import test from 'ava'
import { PolicyFeed, type PolicyFeedDeps } from '../../agent/policy-feed.ts'
import { POD_ANNOTATION } from '../../api/core.ts'
import type { Kind, Resource } from '../../api/kinds.ts'
import type { Condition } from '../../api/status.ts'
import type { PodEndpoint } from '../../cni/endpoints.ts'
import type { Cache, CacheChange } from '../../datastore/kind-cache.ts'
import type { AllowedSources } from '../../felix/input.ts'
import type { HostEndpointHere, LocalEndpoint, PolicyEndpoint } from '../../felix/policy/model.ts'
import { ManualClock } from '../../lib/clock.ts'

type Listener = (change: CacheChange<Kind>) => void

/** The caches of all kinds, with what is put into them. */
function someCaches() {
  const objects = new Map<string, Resource<Kind>>()
  const listeners = new Map<Kind, Listener>()
  const states: (() => void)[] = []
  const it = { known: true }
  return Object.assign(it, {
    of<K extends Kind>(kind: K): Cache<K> {
      return {
        get: (name: string, namespace?: string) => objects.get(`${kind} ${namespace ?? ''}/${name}`),
        all: () => [],
        get known() {
          return it.known
        },
        onChange(listen: Listener) {
          listeners.set(kind, listen)
          return () => {}
        },
        onState(listen: () => void) {
          states.push(listen)
          return () => {}
        },
      } as unknown as Cache<K>
    },
    put(kind: Kind, key: string, after: unknown) {
      const id = `${kind} ${key.includes('/') ? key : `/${key}`}`
      const before = objects.get(id)
      if (after === undefined) objects.delete(id)
      else objects.set(id, after as Resource<Kind>)
      listeners.get(kind)!({ key, before, after: after as Resource<Kind> })
    },
    tellState: () => {
      for (const listen of states) listen()
    },
  })
}

function aFeed() {
  const caches = someCaches()
  const clock = new ManualClock()
  const endpoints = new Map<string, PolicyEndpoint | undefined>()
  const locals = new Map<string, LocalEndpoint | undefined>()
  const hosts = new Map<string, HostEndpointHere | undefined>()
  const sources = new Map<string, readonly string[] | undefined>()
  const reported: { now: readonly Condition[] } = { now: [] }
  const felix: PolicyFeedDeps['felix'] = {
    set: (kind, id, value) => {
      if (kind === 'sources') sources.set(id, (value as AllowedSources | undefined)?.cidrs)
    },
    setPolicy(kind: string, key: string, value: unknown) {
      if (kind === 'endpoint') endpoints.set(key, value as PolicyEndpoint)
    },
    setPolicyRevision: () => {},
    setLocalEndpoint: (key: string, local: LocalEndpoint | undefined) => void locals.set(key, local),
    setHostEndpoint: (name: string, host: HostEndpointHere | undefined) => void hosts.set(name, host),
    complete: () => {},
  }
  const names = { want: () => {}, gaps: [] }
  const here = new Map<string, PodEndpoint | undefined>()
  const floating = { setHere: (key: string, endpoint: PodEndpoint | undefined) => void here.set(key, endpoint) }
  const report: PolicyFeedDeps['report'] = told => (reported.now = told)
  const pods = new Map<string, string | undefined>()
  const setPod: PolicyFeedDeps['pods']['setPod'] = (id, local) =>
    void (local === undefined ? pods.delete(id) : pods.set(id, local.labels['app']))
  const feed = new PolicyFeed({ nodeName: 'here', caches, felix, floating, names, pods: { setPod }, clock, report })
  const seen = (key: string) => {
    const { labels, addresses } = endpoints.get(key) ?? {}
    return [labels?.['app'], addresses, locals.get(key)?.interfaceName]
  }
  return { caches, clock, feed, here, seen, locals, hosts, sources, pods, reported }
}

const pod = (uid: string, app: string, more: object = {}) => ({
  metadata: { namespace: 'ns', name: 'db-0', uid, labels: { app }, ...more },
  spec: { nodeName: 'here' },
  status: { podIPs: [{ ip: '10.9.9.9' }] },
})
const made = (id: string, uid: string | undefined, address: string): PodEndpoint => ({
  ...{
    id,
    network: 'net',
    containerID: id,
    ifname: 'eth0',
    interfaceName: `cali-${id}`,
    netns: '',
    mac: '',
    mtu: 1500,
  },
  ...{ addresses: [address], handle: id, pod: { namespace: 'ns', name: 'db-0', uid }, createdMs: Number(id) },
})
const state = async (promise: Promise<void>) => {
  let now = 'waits'
  promise.then(
    () => (now = 'known'),
    error => (now = error.message),
  )
  for (let i = 0; i < 5; i++) await Promise.resolve()
  return () => now
}
const turns = async () => {
  for (let i = 0; i < 5; i++) await Promise.resolve()
}

test('a pod that was made again under its name is not judged by what the older Pod was', async t => {
  const { caches, feed, seen } = aFeed()
  caches.tellState()
  caches.put('Namespace', 'ns', { metadata: { name: 'ns' } })
  caches.put('Pod', 'ns/db-0', pod('u1', 'friend'))
  const [older, newer] = [made('1', 'u1', '10.0.0.1'), made('2', 'u2', '10.0.0.2')]
  feed.setLocal(older)
  t.deepEqual(seen('ns/db-0'), ['friend', ['10.0.0.1'], 'cali-1'])
  feed.removeLocal(older)
  t.deepEqual(seen('ns/db-0'), ['friend', [], undefined], 'its address may be given to another pod')
  feed.setLocal(newer)
  t.deepEqual(seen('ns/db-0').at(-1), undefined, 'closed')
  const known = await state(feed.knows(newer))
  t.is(known(), 'waits')
  caches.put('Pod', 'ns/db-0', pod('u2', 'stranger'))
  await turns()
  t.is(known(), 'known')
  t.deepEqual(seen('ns/db-0'), ['stranger', ['10.0.0.2'], 'cali-2'])
})

test('a Pod that is on another node now has its own addresses, and the interface of the older one is closed', t => {
  const { caches, feed, seen } = aFeed()
  caches.put('Pod', 'ns/db-0', pod('u1', 'friend'))
  feed.setLocal(made('1', 'u1', '10.0.0.1'))
  caches.put('Pod', 'ns/db-0', pod('u2', 'friend'))
  t.deepEqual(seen('ns/db-0'), ['friend', ['10.9.9.9'], undefined])
})

test('a Pod whose interface went has addresses again when another Pod has its name', t => {
  const { caches, feed, seen } = aFeed()
  caches.put('Pod', 'ns/db-0', pod('u1', 'friend'))
  feed.setLocal(made('1', 'u1', '10.0.0.1'))
  feed.removeLocal(made('1', 'u1', '10.0.0.1'))
  t.deepEqual(seen('ns/db-0')[1], [])
  caches.put('Pod', 'ns/db-0', pod('u2', 'friend'))
  t.deepEqual(seen('ns/db-0')[1], ['10.9.9.9'])
})

test('a static pod is known by the uid that its kubelet gave it, and one without uid by its name', async t => {
  const { caches, feed, seen } = aFeed()
  caches.tellState()
  caches.put('Namespace', 'ns', { metadata: { name: 'ns' } })
  caches.put('Pod', 'ns/db-0', pod('u1', 'a', { annotations: { [POD_ANNOTATION.staticUid]: 'file' } }))
  feed.setLocal(made('1', 'file', '10.0.0.1'))
  await feed.knows(made('1', 'file', '10.0.0.1'))
  t.is(seen('ns/db-0').at(-1), 'cali-1')
  await feed.knows(made('1', undefined, '10.0.0.1'))
})

test('every interface of a pod is judged, each under its own addresses, and the first may go before the second', t => {
  const { caches, feed, seen } = aFeed()
  caches.put('Pod', 'ns/db-0', pod('u1', 'db'))
  const [first, second] = [made('1', 'u1', '10.0.0.1'), made('2', 'u1', '10.0.0.2')]
  feed.setLocal(second)
  feed.setLocal(first)
  t.deepEqual(seen('ns/db-0'), ['db', ['10.0.0.1'], 'cali-1'])
  t.deepEqual(seen('ns/db-0/2'), ['db', ['10.0.0.2'], 'cali-2'])
  feed.removeLocal(first)
  t.deepEqual(seen('ns/db-0'), ['db', ['10.0.0.2'], 'cali-2'])
  t.deepEqual(seen('ns/db-0/2'), [undefined, undefined, undefined])
})

test('ADD waits for all policies, its Pod and the namespace of that, and says which of them does not come', async t => {
  const { caches, clock, feed } = aFeed()
  caches.known = false
  const late = await state(feed.knows(made('1', 'u1', '10.0.0.1')))
  clock.advance(5000)
  await turns()
  t.regex(late(), /nothing of the kinds Pod, .*KubernetesNetworkPolicy/)
  caches.known = true
  const known = await state(feed.knows(made('1', 'u1', '10.0.0.1')))
  const gone = await state(feed.knows(made('1', 'u9', '10.0.0.1')))
  caches.tellState()
  await turns()
  t.is(known(), 'waits')
  caches.put('Pod', 'ns/db-0', pod('u1', 'db'))
  await turns()
  t.is(known(), 'waits', 'what selects by labels of the namespace is not about it yet')
  caches.put('Namespace', 'ns', { metadata: { name: 'ns' } })
  await turns()
  t.is(known(), 'known')
  clock.advance(5000)
  await turns()
  t.regex(gone(), /nothing of Pod ns\/db-0 yet/)
})

test('an interface of no Pod of Kubernetes waits for the policies alone', async t => {
  const { caches, feed, locals } = aFeed()
  const { pod: _, ...alone } = made('1', undefined, '10.0.0.1')
  feed.setLocal(alone)
  caches.tellState()
  await feed.knows(alone)
  t.deepEqual(locals.get('/1'), { interfaceName: 'cali-1', profiles: ['projectcalico-default-allow'] })
})

test('host endpoints of this node are told, also when they move to another interface or node', t => {
  const { caches, hosts } = aFeed()
  const host = (spec: object) => ({ metadata: { name: 'eth', labels: { role: 'node' } }, spec })
  caches.put('HostEndpoint', 'eth', host({ node: 'elsewhere', interfaceName: 'eth0' }))
  t.false(hosts.has('eth'))
  caches.put('HostEndpoint', 'eth', host({ node: 'here', interfaceName: 'eth0', profiles: ['kns.ns'] }))
  t.deepEqual(hosts.get('eth'), { interfaceName: 'eth0', addresses: [], profiles: ['kns.ns'] })
  caches.put('HostEndpoint', 'eth', host({ node: 'here', expectedIPs: ['192.0.2.1', '2001:DB8::1'] }))
  t.deepEqual(hosts.get('eth'), { addresses: ['192.0.2.1', '2001:db8::1'], profiles: [] })
  caches.put('HostEndpoint', 'eth', host({ node: 'elsewhere', interfaceName: 'eth0' }))
  t.true(hosts.has('eth'))
  t.is(hosts.get('eth'), undefined)
})

const asking = (uid: string, prefixes: string) =>
  pod(uid, 'a', { annotations: { [POD_ANNOTATION.allowedSources]: prefixes } })

test('felix is told of every interface of a pod what its annotation says now, and of none of an older pod of that name', t => {
  const { caches, feed, sources } = aFeed()
  caches.tellState()
  caches.put('Pod', 'ns/db-0', asking('u2', '["198.51.100.0/24"]'))
  feed.setLocal(made('1', 'u1', '10.0.0.1'))
  feed.setLocal(made('2', 'u2', '10.0.0.2'))
  feed.setLocal(made('3', 'u2', '10.0.0.3'))
  const all = () => Object.fromEntries(sources)
  t.deepEqual(all(), { 2: ['198.51.100.0/24'], 3: ['198.51.100.0/24'] })
  caches.put('Pod', 'ns/db-0', asking('u2', '["198.51.100.7", "2001:db8::/64"]'))
  t.deepEqual(all(), { 2: ['198.51.100.7/32', '2001:db8::/64'], 3: ['198.51.100.7/32', '2001:db8::/64'] })
  feed.removeLocal(made('3', 'u2', '10.0.0.3'))
  t.deepEqual(all(), { 2: ['198.51.100.7/32', '2001:db8::/64'], 3: undefined })
  caches.put('Pod', 'ns/db-0', asking('u3', '["198.51.100.7"]'))
  t.deepEqual(all(), { 2: undefined, 3: undefined }, 'the Pod of that name is another one now')
})

test('an annotation about sources that cannot be read allows none, and the condition names the pod until it is corrected', t => {
  const { caches, feed, sources, reported } = aFeed()
  caches.tellState()
  caches.put('Pod', 'ns/db-0', asking('u1', '["198.51.100.0/24"]'))
  feed.setLocal(made('1', 'u1', '10.0.0.1'))
  caches.put('Pod', 'ns/db-0', asking('u1', '["198.51.100.0/24", "everything"]'))
  t.is(sources.get('1'), undefined)
  const ofPod = () => reported.now.filter(({ type }) => type === 'SourcesAllowed')
  t.like(ofPod()[0], { status: 'False', reason: 'Invalid', object: { kind: 'Pod', namespace: 'ns', name: 'db-0' } })
  caches.put('Pod', 'ns/db-0', asking('u1', '["198.51.100.0/25"]'))
  t.deepEqual([ofPod(), sources.get('1')], [[], ['198.51.100.0/25']])
})

test('sources that a Namespace allows are those of its pods here at once, of no other, and go with its annotation', t => {
  const { caches, feed, sources, reported } = aFeed()
  caches.tellState()
  const namespace = (name: string, prefixes?: string) => {
    const annotations = prefixes === undefined ? {} : { [POD_ANNOTATION.allowedSources]: prefixes }
    caches.put('Namespace', name, { metadata: { name, annotations } })
  }
  caches.put('Pod', 'ns/db-0', pod('u1', 'a'))
  feed.setLocal(made('1', 'u1', '10.0.0.1'))
  namespace('n', '["192.0.2.9"]')
  namespace('ns', '["198.51.100.0/24"]')
  t.deepEqual(sources.get('1'), ['198.51.100.0/24'])
  caches.put('Pod', 'ns/db-0', asking('u1', '["198.51.100.7"]'))
  t.deepEqual(sources.get('1'), ['198.51.100.7/32'], 'those of the Pod in their place')
  caches.put('Pod', 'ns/db-0', pod('u1', 'a'))
  namespace('ns', 'all')
  t.is(sources.get('1'), undefined)
  const told = () => reported.now.filter(({ type }) => type === 'SourcesAllowed').map(({ object }) => object)
  t.deepEqual(told(), [{ kind: 'Namespace', name: 'ns' }])
  namespace('ns')
  t.deepEqual([told(), sources.get('1')], [[], undefined])
})

test('who can have a floating address here is told with its first interface, while the Pod is known and it is here', async t => {
  const { caches, feed, here } = aFeed()
  caches.tellState()
  feed.setLocal(made('1', 'u1', '10.0.0.1'))
  t.is(here.get('ns/db-0'), undefined, 'nothing is known of the Pod')
  caches.put('Pod', 'ns/db-0', pod('u1', 'a'))
  t.is(here.get('ns/db-0')?.id, '1')
  feed.setLocal({ ...made('2', 'u1', '10.0.0.2'), createdMs: 9e12 })
  t.is(here.get('ns/db-0')?.id, '1')
  caches.put('Pod', 'ns/db-0', pod('u2', 'a'))
  t.is(here.get('ns/db-0'), undefined, 'it is another Pod of that name')
  caches.put('Pod', 'ns/db-0', pod('u1', 'a'))
  feed.removeLocal(made('1', 'u1', '10.0.0.1'))
  t.is(here.get('ns/db-0')?.id, '2')
  feed.removeLocal(made('2', 'u1', '10.0.0.2'))
  t.is(here.get('ns/db-0'), undefined)
})

test('which pods may be BGP peers follows the labels of the very Pod, each interface by itself, and ends with it', t => {
  const { caches, feed, pods } = aFeed()
  caches.known = true
  caches.tellState()
  feed.setLocal(made('c1', 'u1', '10.244.0.1'))
  t.deepEqual([...pods], [])
  caches.put('Namespace', 'ns', { metadata: { name: 'ns' } })
  caches.put('Pod', 'ns/db-0', pod('u1', 'router'))
  feed.setLocal(made('c2', 'u1', '10.244.0.2'))
  t.deepEqual(
    [...pods],
    [
      ['c1', 'router'],
      ['c2', 'router'],
    ],
  )
  caches.put('Pod', 'ns/db-0', pod('u1', 'plain'))
  t.deepEqual([...pods.values()], ['plain', 'plain'])
  feed.removeLocal(made('c2', 'u1', '10.244.0.2'))
  t.deepEqual([...pods.keys()], ['c1'])
  // another Pod of that name is not the one that has this interface
  caches.put('Pod', 'ns/db-0', pod('u2', 'router'))
  t.deepEqual([...pods], [])
  caches.put('Pod', 'ns/db-0', pod('u1', 'router'))
  feed.removeLocal(made('c1', 'u1', '10.244.0.1'))
  t.deepEqual([...pods], [])
})
