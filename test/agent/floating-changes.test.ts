// What changes of the cluster cost, and that they end where a start with the same objects would.
import test from 'ava'
import fc from 'fast-check'
import { FloatingAddresses } from '../../agent/floating-addresses.ts'
import type { Condition } from '../../api/status.ts'
import type { PodEndpoint } from '../../cni/endpoints.ts'
import type { FloatingAddress } from '../../felix/input.ts'
import { aPool, aResource } from '../datastore/objects.ts'

type Kind = 'Pod' | 'Namespace' | 'IPPool' | 'IPReservation' | 'Node' | 'FelixConfiguration'
type Change = { key: string; before?: unknown; after?: unknown }

/** The objects of a cluster, which may be followed by several. */
class Objects {
  readonly all = new Map<Kind, Map<string, unknown>>()
  readonly listeners = new Map<Kind, Set<(change: Change) => void>>()
  /** Looks at all Pods. */
  looks = 0
  readonly nodes = new Map<string, string>()
  readonly tenants = new Map<string, string>()

  set(kind: Kind, key: string, after: unknown): void {
    const objects = this.all.get(kind) ?? new Map<string, unknown>()
    const before = objects.get(key)
    if (after === undefined) objects.delete(key)
    else objects.set(key, after)
    this.all.set(kind, objects)
    for (const listen of this.listeners.get(kind) ?? []) listen({ key, before, after })
  }

  caches(): never {
    const of = (kind: Kind) => ({
      known: true,
      all: () => {
        if (kind === 'Pod') this.looks++
        return [...(this.all.get(kind)?.values() ?? [])]
      },
      get: (name: string) => this.all.get(kind)?.get(name),
      onState: () => () => undefined,
      onChange: (listen: (change: Change) => void) => {
        const listeners = this.listeners.get(kind) ?? new Set()
        this.listeners.set(kind, listeners.add(listen))
        return () => void listeners.delete(listen)
      },
    })
    return { of } as never
  }
}

/** One node that follows them. */
async function follow(objects: Objects, here: ReadonlyMap<string, PodEndpoint>) {
  const told = new Map<string, FloatingAddress>()
  const seen = { told, sets: 0, conditions: [] as readonly Condition[] }
  const floating = new FloatingAddresses({
    caches: objects.caches(),
    felix: {
      set(_kind: string, address: string, value: FloatingAddress | undefined) {
        seen.sets++
        if (value === undefined) told.delete(address)
        else told.set(address, value)
      },
      completeFloating: () => undefined,
    } as never,
    flows: { adopt: async () => undefined, follow: () => undefined, close: () => undefined },
    selects: (selector, namespace) => {
      const tenant = objects.tenants.get(namespace)
      return tenant === undefined ? undefined : tenant === selector
    },
    nodeWith: address => objects.nodes.get(address),
    changed: () => undefined,
    report: conditions => {
      seen.conditions = conditions
    },
  })
  for (const [key, endpoint] of here) floating.setHere(key, endpoint)
  await floating.start()
  return { floating, seen }
}

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

function aPod(namespace: string, name: string, { ip = '', text = '', created = '1' }): unknown {
  const annotations = text === '' ? {} : { 'cni.projectcalico.org/floatingIPs': text }
  const metadata = { namespace, name, annotations, creationTimestamp: `2026-01-01T00:00:0${created}Z` }
  return aResource('Pod', { metadata, spec: { nodeName: 'n1' }, status: ip === '' ? {} : { podIPs: [{ ip }] } })
}

function enabled(objects: Objects, is = true): void {
  const spec = { floatingIPs: is ? 'Enabled' : 'Disabled' }
  objects.set('FelixConfiguration', 'default', aResource('FelixConfiguration', { metadata: { name: 'default' }, spec }))
}

test('what one pod asks for may change at any rate: no other Pod is looked at, and felix is told of that address alone', async t => {
  const objects = new Objects()
  enabled(objects)
  objects.set('IPPool', 'floating', aPool('floating', { cidr: '192.0.2.0/24', disabled: true }))
  for (let i = 0; i < 100; i++) {
    const pod = aPod('shop', `p${i}`, { ip: `10.244.0.${i}`, text: `["192.0.2.${100 + i}"]` })
    objects.set('Pod', `shop/p${i}`, pod)
  }
  const { floating, seen } = await follow(objects, new Map())
  t.is(seen.told.size, 100)
  const [looks, sets] = [objects.looks, seen.sets]
  for (let i = 1; i < 50; i++) {
    objects.set('Pod', 'bank/b', aPod('bank', 'b', { text: `["192.0.2.${i}"]`, ip: i < 25 ? '' : '10.244.1.1' }))
    await turn()
  }
  objects.set('Pod', 'bank/c', aPod('bank', 'c', { ip: '192.0.2.1' }))
  objects.set('Node', 'n7', {})
  objects.set('Namespace', 'other', {})
  await turn()
  t.is(objects.looks, looks)
  // each address comes, and goes with the next
  t.is(seen.sets - sets, 49 + 48)
  floating.close()
})

test('whatever changes in whatever order, a node tells what one would that starts with the same objects', async t => {
  const address = fc.integer({ min: 1, max: 4 }).map(last => `192.0.2.${last}`)
  const pod = fc.record({
    key: fc.constantFrom('shop/a', 'shop/b', 'bank/a'),
    created: fc.constantFrom('1', '2'),
    ip: fc.oneof(fc.constant(''), address, fc.constant('10.244.0.1')),
    asks: fc.array(address, { maxLength: 2 }),
    isGone: fc.boolean(),
  })
  const step = fc.oneof(
    { weight: 4, arbitrary: pod.map(value => ({ is: 'pod' as const, ...value })) },
    fc.record({ is: fc.constant('pool' as const), disabled: fc.boolean(), selector: fc.constantFrom('', "of == 'x'") }),
    fc.record({ is: fc.constant('reserved' as const), cidr: fc.constantFrom('', '192.0.2.0/31', '192.0.2.2/31') }),
    fc.record({
      is: fc.constant('tenant' as const),
      of: fc.constantFrom('shop', 'bank'),
      to: fc.constantFrom("of == 'x'", "of == 'y'"),
    }),
    fc.record({ is: fc.constant('node' as const), address, has: fc.boolean() }),
    fc.record({ is: fc.constant('enabled' as const), value: fc.constantFrom(true, true, false) }),
    fc.record({ is: fc.constant('here' as const), key: fc.constantFrom('shop/a', 'bank/a'), has: fc.boolean() }),
  )
  let held = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 40 }), async steps => {
      const objects = new Objects()
      const here = new Map<string, PodEndpoint>()
      enabled(objects)
      objects.set('IPPool', 'p', aPool('p', { cidr: '192.0.2.0/24', disabled: true }))
      const { floating, seen } = await follow(objects, here)
      for (const each of steps) {
        if (each.is === 'pod') {
          const [namespace = '', name = ''] = each.key.split('/')
          const { ip, created, asks } = each
          const text = asks.length === 0 ? '' : JSON.stringify(asks)
          objects.set('Pod', each.key, each.isGone ? undefined : aPod(namespace, name, { ip, created, text }))
        } else if (each.is === 'pool') {
          const of = { cidr: '192.0.2.0/24', disabled: each.disabled, namespaceSelector: each.selector }
          objects.set('IPPool', 'p', aPool('p', of))
        } else if (each.is === 'reserved') {
          const spec = { reservedCIDRs: each.cidr === '' ? [] : [each.cidr] }
          objects.set('IPReservation', 'r', aResource('IPReservation', { metadata: { name: 'r' }, spec }))
        } else if (each.is === 'tenant') {
          objects.tenants.set(each.of, each.to)
          objects.set('Namespace', each.of, {})
        } else if (each.is === 'node') {
          if (each.has) objects.nodes.set(each.address, 'n9')
          else objects.nodes.delete(each.address)
          objects.set('Node', 'n9', {})
        } else if (each.is === 'enabled') enabled(objects, each.value)
        else {
          const endpoint = { id: each.key, addresses: ['10.244.0.1'] } as unknown as PodEndpoint
          if (each.has) here.set(each.key, endpoint)
          else here.delete(each.key)
          floating.setHere(each.key, here.get(each.key))
        }
        await turn()
        const fresh = await follow(objects, here)
        t.deepEqual(Object.fromEntries(seen.told), Object.fromEntries(fresh.seen.told))
        const texts = (conditions: readonly Condition[]) => conditions.map(({ message }) => message).sort()
        t.deepEqual(texts(seen.conditions), texts(fresh.seen.conditions))
        t.deepEqual(floating.held, fresh.floating.held)
        held += floating.held.length
        fresh.floating.close()
      }
      floating.close()
    }),
    { numRuns: 40 },
  )
  t.true(held > 0)
})
