// A policy that is refused counts as if it were not there, and what it denies would pass: so hardly anything refuses one.
import test from 'ava'
import { FELIX_ANNOTATION } from '../../api/core.ts'
import type { Kind } from '../../api/kinds.ts'
import { decodeStored, METADATA_ANNOTATION } from '../../api/stored-form.ts'
import { cachedFields, pickFields } from '../../datastore/fields.ts'
import { readObject } from '../../datastore/readable.ts'

/** As a watch of a cache reads an object that is stored so. */
function read(kind: Kind, stored: object): ReturnType<typeof readObject<Kind>> {
  const { object, problem } = decodeStored(kind, stored)
  return readObject(kind, pickFields(object, cachedFields(kind)), problem)
}

const POLICIES = ['NetworkPolicy', 'GlobalNetworkPolicy', 'StagedNetworkPolicy', 'StagedGlobalNetworkPolicy'] as const

test('a stored policy whose annotation cannot be read is read without it, and any other object is refused', t => {
  const metadata = { name: 'default.p', annotations: { [METADATA_ANNOTATION]: '{' } }
  for (const kind of POLICIES) {
    const place = kind.endsWith('GlobalNetworkPolicy') ? {} : { namespace: 'n' }
    t.like(read(kind, { metadata: { ...metadata, ...place }, spec: { selector: 'x' } }).item, {
      metadata: { name: 'p' },
    })
  }
  t.is(read('GlobalNetworkSet', { metadata, spec: {} }).item, undefined)
})

test('labels that are none, and a spec that is absent, do not refuse a policy', t => {
  const labels = { 'not a label!': 'x'.repeat(100) }
  for (const kind of [...POLICIES, 'KubernetesNetworkPolicy', 'ClusterNetworkPolicy', 'Tier'] as const) {
    const place = kind.includes('Global') || ['ClusterNetworkPolicy', 'Tier'].includes(kind) ? {} : { namespace: 'n' }
    const { item, refused } = read(kind, { metadata: { name: 'p', labels, ...place } })
    t.deepEqual(refused, undefined)
    t.is(item!.metadata.labels, undefined)
  }
})

test('of a Service what decides about announcing its addresses is kept, and of what it lacks nothing is made up', t => {
  const told = {
    metadata: { name: 's', namespace: 'n', annotations: { a: 'b' } },
    spec: { clusterIP: '10.96.0.1', externalIPs: ['192.0.2.1'], externalTrafficPolicy: 'Local', ports: [{ port: 80 }] },
    status: { loadBalancer: { ingress: [{ ip: '192.0.2.2', ipMode: 'VIP' }, { hostname: 'x' }] } },
  }
  const { item } = read('Service', told)
  t.deepEqual(item, {
    metadata: { name: 's', namespace: 'n' },
    spec: { type: 'ClusterIP', clusterIP: '10.96.0.1', externalIPs: ['192.0.2.1'], externalTrafficPolicy: 'Local' },
    status: { loadBalancer: { ingress: [{ ip: '192.0.2.2', ipMode: 'VIP' }, {}] } },
  })
  t.deepEqual(read('Service', { metadata: { name: 's', namespace: 'n' } }).item?.spec, { type: 'ClusterIP' })
})

test('of a Namespace the annotations that count for its pods are kept, and no others', t => {
  const names = ['ipv4pools', 'ipv6pools', 'ipFamilies', 'allowedSourcePrefixes']
  const said = Object.fromEntries(names.map(name => [`cni.projectcalico.org/${name}`, '[]']))
  const object = {
    metadata: { name: 'shop', annotations: { ...said, 'cni.projectcalico.org/ipAddrs': 'y' } },
    spec: {},
  }
  const kept = pickFields(object, cachedFields('Namespace')) as typeof object
  t.deepEqual(kept.metadata.annotations, said as typeof object.metadata.annotations)
})

test('the annotations of a FelixConfiguration that say something are kept, and no others', t => {
  const said = Object.fromEntries(Object.values(FELIX_ANNOTATION).map(name => [name, 'x']))
  const object = { metadata: { name: 'default', annotations: { ...said, 'example.com/secret': 'y' } }, spec: {} }
  const kept = pickFields(object, cachedFields('FelixConfiguration')) as typeof object
  t.deepEqual(kept.metadata.annotations, said as typeof object.metadata.annotations)
})
