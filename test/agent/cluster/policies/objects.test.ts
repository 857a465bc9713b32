import test from 'ava'
import fc from 'fast-check'
import { type InputChange, type PolicyKind, PolicyObjects } from '../../../../agent/cluster/policies/objects.ts'
import { keyOf, kindOf, listener, modelOf, resourceOf } from '../../../policy/model.ts'
import {
  aCalicoPolicy,
  aNamespace,
  aNetworkPolicy,
  aNetworkSet,
  aNode,
  anAccount,
  aPod,
  aSlice,
  aTier,
} from '../../../policy/objects.ts'
import type { WorldObject } from '../../../policy/reference/objects.ts'

const id = (object: WorldObject) => `${kindOf(object)} ${keyOf(object)}`

function feed() {
  const { model, tell, told } = listener()
  const objects = new PolicyObjects(tell)
  const set = (object: WorldObject) => {
    const kind = kindOf(object)
    objects.change(kind, keyOf(object), resourceOf(kind, object))
  }
  const remove = (object: WorldObject) => objects.change(kindOf(object), keyOf(object), undefined)
  const news = (): InputChange[] => told.splice(0)
  return { model, objects, set, remove, news }
}

test('the tiers that every cluster has, and the profile that allows all, are there from the beginning', t => {
  const { model } = feed()
  t.deepEqual([...model.tier.keys()], ['kube-admin', 'default', 'kube-baseline'])
  t.deepEqual([...model.profile.keys()], ['projectcalico-default-allow'])
})

test('a label of a namespace changes what is in it, and nothing else', t => {
  const { set, news, model } = feed()
  for (const object of [
    ...[aNamespace('a'), aNamespace('b'), aNetworkSet('a/s', {}, []), aNetworkSet('g', {}, [])],
    ...[aPod('a/p', { addresses: [], node: 'n' }), aPod('b/p', { addresses: [], node: 'n' })],
  ])
    set(object)
  news()
  set(aNamespace('a', { env: 'x' }))
  t.deepEqual(
    news()
      .map(({ kind, key }) => `${kind} ${key}`)
      .sort(),
    ['endpoint a/p', 'networkSet a/s'],
  )
  t.is(model.endpoint.get('a/p')!.labels['pcns.env'], 'x')
  set(aNamespace('a', { env: 'x' }))
  t.deepEqual(news(), [], 'the same again is no news')
})

test('policies of several kinds with one name are several', t => {
  const { set, model } = feed()
  set(aNetworkPolicy('a/p', { podSelector: {} }))
  set(aCalicoPolicy('a/p', {}))
  t.deepEqual([...model.policy.keys()], ['KubernetesNetworkPolicy a/p', 'NetworkPolicy a/p'])
})

test('what makes no sense is told until it is corrected or gone', t => {
  const { set, remove, objects } = feed()
  const bad = aCalicoPolicy('g', { selector: '(' })
  set(bad)
  t.deepEqual(
    objects.refused.map(({ object }) => object),
    [{ kind: 'GlobalNetworkPolicy', name: 'g' }],
  )
  set(aCalicoPolicy('g', {}))
  t.deepEqual(objects.refused, [])
  set(bad)
  remove(bad)
  t.deepEqual(objects.refused, [])
})

test('a tier of every cluster stays when its object goes', t => {
  const { set, remove, model } = feed()
  set(aTier('default', 1, 'Pass'))
  remove(aTier('default'))
  t.deepEqual(model.tier.get('default'), { name: 'default', order: 1_000_000, defaultAction: 'deny' })
})

test('a host endpoint has the labels of the profiles that it names, and is among the hosts', t => {
  const { set, remove, model, objects } = feed()
  const host: WorldObject = {
    ...{ apiVersion: 'projectcalico.org/v3', kind: 'HostEndpoint', metadata: { name: 'h', labels: { role: 'x' } } },
    spec: { node: 'n', interfaceName: '*', expectedIPs: ['10.0.0.1'], profiles: ['kns.a'] } as never,
  }
  set(host)
  set(aNamespace('a', { env: 'x' }))
  t.like(model.endpoint.get('h'), { kind: 'host', labels: { role: 'x', 'pcns.env': 'x' } })
  t.like(objects.hosts.get('h'), { node: 'n', interfaceName: '*', profiles: ['kns.a'] })
  remove(host)
  t.is(model.endpoint.get('h'), undefined)
  t.is(objects.hosts.size, 0)
})

const labels = fc.constantFrom<Readonly<Record<string, string>>>({}, { app: 'a' }, { app: 'b' })
const some: fc.Arbitrary<WorldObject> = fc.oneof(
  fc.tuple(fc.constantFrom('a', 'b'), labels).map(([name, of]) => aNamespace(name, of)),
  fc.tuple(fc.constantFrom('a/r', 'b/r'), labels).map(([name, of]) => anAccount(name, of)),
  fc
    .tuple(fc.constantFrom('a/p', 'b/p'), labels, fc.constantFrom('r', undefined), fc.boolean())
    .map(([name, of, account, hostNetwork]) =>
      aPod(name, { labels: of, addresses: ['10.0.0.1'], node: 'n', account, hostNetwork }),
    ),
  fc.tuple(fc.constantFrom('a/s', 'g'), labels).map(([name, of]) => aNetworkSet(name, of, ['192.0.2.0/24'])),
  fc
    .tuple(fc.constantFrom('a/s', 'a/t'), fc.constantFrom('10.0.0.1', '10.0.0.2'), fc.constantFrom('v4', 'more'))
    .map(([service, address, suffix]) => aSlice(service, [address], [{ port: 80 }], suffix)),
  labels.map(of => aNode('n', ['10.1.0.1'], of)),
  fc.constantFrom(1, 2).map(order => aTier('early', order)),
  fc.constantFrom('a/c', 'g').map(name => aCalicoPolicy(name, { ingress: [{ action: 'Allow' }] })),
  fc.constantFrom('', '(').map(selector => aCalicoPolicy('h', { selector })),
)

test('whatever came, changed and went before, the inputs are those of the objects that are there', t => {
  fc.assert(
    fc.property(fc.array(fc.record({ object: some, goes: fc.boolean() }), { maxLength: 30 }), walk => {
      const { set, remove, model, objects } = feed()
      const there = new Map<string, WorldObject>()
      for (const { object, goes } of walk)
        if (goes) {
          remove(object)
          there.delete(id(object))
        } else {
          set(object)
          there.set(id(object), object)
        }
      const fresh = modelOf({ objects: [...there.values()] })
      const sorted = (of: typeof model) =>
        Object.entries(of).map(([kind, inputs]: [string, Map<string, unknown>]) => [kind, [...inputs].sort()])
      t.deepEqual(sorted(model), sorted(fresh.model))
      t.is(objects.refused.length, fresh.refused.length)
    }),
    { numRuns: 300 },
  )
})

test('an object of every kind that policy is made of may go that was never there', t => {
  const { objects, news } = feed()
  news()
  const kinds: readonly PolicyKind[] = [
    'Pod',
    'Namespace',
    'EndpointSlice',
    'NetworkSet',
    'HostEndpoint',
    'NetworkPolicy',
  ]
  for (const kind of kinds) objects.change(kind, 'x', undefined)
  t.deepEqual(news(), [])
})
