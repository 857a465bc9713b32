// Objects that were stored before a rule was there: they can be changed elsewhere, and deleted.
import test from 'ava'
import type { Kind } from '../../api/kinds.ts'
import type { AnyObject } from '../../api/lifecycle.ts'
import { Resources } from '../../apiserver/resources.ts'
import { Storage } from '../../apiserver/storage.ts'
import { ManualClock } from '../../lib/clock.ts'

const OPTIONS = { dryRun: false, guard: () => {}, manager: 'test' }

async function stored(kind: Kind, spec: object, metadata: object = {}) {
  const storage = new Storage({ path: ':memory:', history: { changes: 20, characters: 1e6 } })
  const resources = new Resources(storage, new ManualClock())
  const object = {
    ...{ apiVersion: 'projectcalico.org/v3', kind, spec },
    metadata: { name: 'x', uid: 'u', creationTimestamp: '2026-01-01T00:00:00Z', ...metadata },
  }
  await storage.write(writer => writer.put(kind, object as AnyObject))
  const patch = (body: object, subresource?: 'status') =>
    resources.patch({ kind, name: 'x', subresource }, 'merge', body, OPTIONS).then(
      ({ stored }) => stored.read(),
      error => (error as Error).message,
    )
  return { resources, patch }
}

const pool = (more: object): object => ({ cidr: '10.1.0.0/16', blockSize: 26, ...more })

for (const [title, kind, spec] of [
  ['a pool that names a use twice', 'IPPool', pool({ allowedUses: ['Workload', 'Workload'] })],
  [
    'a pool for tunnels with a selector of namespaces',
    'IPPool',
    pool({ allowedUses: ['Tunnel'], namespaceSelector: 'all()' }),
  ],
  ['a pool that selects with global()', 'IPPool', pool({ nodeSelector: 'global()' })],
  ['a pool with an unknown mode', 'IPPool', pool({ ipipMode: 'Sometimes' })],
  ['a pool with two encapsulations', 'IPPool', pool({ ipipMode: 'Always', vxlanMode: 'Always' })],
  ['an affinity without a state', 'BlockAffinity', { cidr: '10.1.0.0/26', node: 'n1' }],
  ['a policy with a name that has too many dots', 'GlobalNetworkPolicy', { ingress: [{ action: 'Permit' }] }],
] as const)
  test(`${title} from before the rule gets its status, its labels and its end`, async t => {
    const { resources, patch } = await stored(kind, spec, { finalizers: ['margay/blocks'] })
    t.like(await patch({ metadata: { labels: { a: 'b' } } }), { metadata: { labels: { a: 'b' } }, spec })
    if (kind === 'IPPool')
      t.like(await patch({ status: { conditions: [] } }, 'status'), { status: { conditions: [] }, spec })
    t.false((await resources.delete({ kind, name: 'x' }, OPTIONS)).gone)
    t.like(await patch({ metadata: { finalizers: [] } }), { metadata: { name: 'x' }, spec })
    await t.throwsAsync(resources.get({ kind, name: 'x' }), { message: /not found/ })
  })

test('what is wrong may stay where it is, and neither grow nor come with a change of its part', async t => {
  const twice = await stored('IPPool', pool({ allowedUses: ['Workload', 'Workload'] }))
  t.like(await twice.patch({ spec: { disabled: true } }), { spec: { disabled: true } })
  t.regex(
    String(await twice.patch({ spec: { allowedUses: ['Tunnel', 'Tunnel'] } })),
    /allowedUses: must name each use once/,
  )
  t.regex(String(await twice.patch({ spec: { nodeSelector: 'global()' } })), /nodeSelector/)
  t.like(await twice.patch({ spec: { allowedUses: ['Workload'] } }), { spec: { allowedUses: ['Workload'] } })
  t.regex(
    String(await twice.patch({ spec: { allowedUses: ['Workload', 'Workload'] } })),
    /allowedUses/,
    'once right, it stays right',
  )
  const tunnel = await stored('IPPool', pool({ allowedUses: ['Tunnel'], namespaceSelector: 'all()' }))
  t.regex(
    String(await tunnel.patch({ spec: { disabled: true } })),
    /namespaceSelector/,
    'the rule is about the spec, and it changes',
  )
  t.regex(String(await tunnel.patch({ spec: { namespaceSelector: "a == 'b'" } })), /namespaceSelector/)
})
