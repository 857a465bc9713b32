// Random histories of Nodes, configuration, changes of others, cut lines and restarts: in the end the HostEndpoints are those of a
// program that sees the end alone.
import test from 'ava'
import fc from 'fast-check'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Store } from '../../datastore/port.ts'
import { aHostEndpoint, aNodeAt, ENABLED, World } from './host-endpoint-world.ts'

const NODES = ['n1', 'n1-x', 'n2'] as const
const TEMPLATES = [
  [],
  [{ generateName: 'x', interfaceCIDRs: ['192.0.2.0/24'] }],
  [{ generateName: 'x', nodeSelector: "rack == 'a'", interfaceCIDRs: ['192.0.2.1', '198.51.100.0/24'] }, {}],
] as const

type Op =
  | { do: 'put'; node: (typeof NODES)[number]; address: string; rack: string }
  | { do: 'remove'; node: (typeof NODES)[number] }
  | { do: 'configure'; hostEndpoint: object }
  | { do: 'spoil' | 'restart' }
  | { do: 'cut' | 'join' }
  | { do: 'wait'; seconds: number }

const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      ...{ do: fc.constant('put' as const), node: fc.constantFrom(...NODES), rack: fc.constantFrom('a', 'b') },
      address: fc.constantFrom('192.0.2.1', '192.0.2.2', '198.51.100.1'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), node: fc.constantFrom(...NODES) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('configure' as const),
      hostEndpoint: fc.record({
        autoCreate: fc.constantFrom('Enabled', 'Enabled', 'Disabled'),
        createDefaultHostEndpoint: fc.constantFrom('Enabled', 'Disabled'),
        templates: fc.constantFrom(...TEMPLATES),
      }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('spoil' as const, 'restart' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('cut' as const, 'join' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 0, max: 4 }) }) },
)

/** What the objects say, without what the server gives them. */
async function told(store: Store): Promise<unknown[]> {
  const all = await store.list('HostEndpoint')
  return all
    .map(({ metadata: { name, labels, annotations = {} }, spec }) => ({ name, labels, annotations, spec }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

test('whatever the order in which Nodes and configuration change, in the end the objects are those of a program that sees the end alone', async t => {
  let made = 0
  await fc.assert(
    fc.asyncProperty(fc.array(op, { minLength: 5, maxLength: 30 }), async history => {
      const store = createFakeStore()
      await store.create('Node', aNodeAt('n9', '203.0.113.9'))
      await store.create('HostEndpoint', aHostEndpoint('n2-auto-hep', { owner: 'somebody' }))
      let hostEndpoint: object = ENABLED
      let world = new World(store, hostEndpoint)
      for (const step of history)
        switch (step.do) {
          case 'put': {
            const node = aNodeAt(step.node, step.address, { labels: { rack: step.rack } })
            const isNew = (await store.get('Node', step.node).catch(() => undefined)) === undefined
            await (isNew ? store.create('Node', node) : store.update('Node', node))
            break
          }
          case 'remove':
            await store.delete('Node', step.node).catch(() => undefined)
            break
          case 'configure':
            hostEndpoint = step.hostEndpoint
            world.configure(hostEndpoint)
            break
          case 'spoil': {
            const [first] = (await store.list('HostEndpoint')).filter(({ metadata }) => metadata.labels?.['rack'])
            if (first === undefined) break
            const spoiled = { ...first, metadata: { ...first.metadata, annotations: { a: 'b' } }, spec: { node: 'n9' } }
            await store.update('HostEndpoint', spoiled as typeof first)
            break
          }
          case 'restart':
            world.line.end()
            await world.close()
            world = new World(store, hostEndpoint)
            break
          case 'cut':
          case 'join':
            world.line.set(step.do === 'cut' ? 'cut' : 'whole')
            break
          case 'wait':
            await world.pass(step.seconds)
        }
      world.line.set('whole')
      await world.pass(130)
      const { writes } = world
      await world.pass(70)
      if (world.writes !== writes) throw new Error('it writes although nothing changes')
      await world.close()
      const fresh = createFakeStore()
      await fresh.create('HostEndpoint', aHostEndpoint('n2-auto-hep', { owner: 'somebody' }))
      for (const { metadata, ...rest } of (await store.list('Node')).toReversed()) {
        const { name, labels } = metadata
        await fresh.create('Node', { ...rest, metadata: { name, ...(labels && { labels }) } })
      }
      const other = new World(fresh, hostEndpoint)
      await other.pass(15)
      await other.close()
      const [ours, right] = [await told(store), await told(fresh)]
      made += right.length - 1
      t.deepEqual(ours, right)
    }),
    { numRuns: Number(process.env['MARGAY_RUNS'] ?? 40), endOnFailure: true },
  )
  t.true(made > 0)
})
