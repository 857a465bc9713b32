// The walk over answers of healthy nodes, and what it makes of silence.
import test from 'ava'
import { absent, aPair, kernel, NODE, OUTSIDE, POD, silent, walked, wayOf } from './worlds.ts'

const p = (name: string) => POD[name]!

const healthy: Record<string, ReturnType<typeof aPair>> = {
  'two pods of one node': aPair(p('n1-p1'), p('n1-p2')),
  'pods of two nodes on one link': aPair(p('n1-p1'), p('n2-p1')),
  'pods of two nodes through VXLAN': aPair(p('n1-p1'), p('n3-p1')),
  'a connection to a port': aPair(p('n1-p1'), p('n2-p1'), { packet: { protocol: 'tcp', destinationPort: 80 } }),
  'a node to its own pod': aPair(NODE.n1, p('n1-p1')),
  'a pod to its own node': aPair(p('n1-p1'), NODE.n1),
}

for (const [what, world] of Object.entries(healthy))
  test(`${what}, all healthy: passes, and no step is open`, t => {
    const found = walked(world)
    t.deepEqual(
      found.steps
        .filter(({ verdict }) => verdict !== 'passes')
        .map(({ name, node, direction, says }) => `${direction} ${node} ${name}: ${says}`),
      [],
    )
    t.is(found.verdict, 'passes')
    t.is(found.first, undefined)
  })

test('what is outside of the cluster is not seen: unknown, without a cause', t => {
  const found = walked(aPair(p('n1-p1'), OUTSIDE))
  t.is(found.verdict, 'unknown')
  t.is(found.first, undefined)
  t.deepEqual(
    found.steps.filter(({ verdict }) => verdict === 'unknown').map(({ name }) => name),
    ['fabric', 'fabric'],
  )
})

test('a node that is silent leaves its steps open and is no cause, also when nobody is there', t => {
  for (const away of [false, true]) {
    const world = aPair(p('n1-p1'), p('n2-p1'))
    const found = walked({ ...world, far: silent('n2', away) })
    t.is(found.verdict, 'unknown')
    t.is(found.first, undefined)
    t.deepEqual(found.asked.at(-1), { node: 'n2', ms: 0, silent: 'it does not answer' })
  }
})

test('a cause of the living node is told while the other is silent', t => {
  const world = aPair(p('n1-p1'), p('n2-p1'), {
    near: facts => {
      facts.endpoints[0]!.mismatches = kernel([{ side: 'pod', kind: 'address', object: '10.244.1.1/32 dev eth0' }])
    },
  })
  t.is(walked({ ...world, far: silent('n2') }).first?.code, 'PodAddressMissing')
})

test('two faults: the one that the packet meets first is the first, the other is told too', t => {
  const found = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        wayOf(facts).leavesBy = kernel({ name: 'eth0', up: true, running: false, mtu: 1500 })
      },
      far: facts => {
        facts.endpoints[0]!.mismatches = kernel([
          { side: 'host', kind: 'link', object: 'cali-n2-p1 state', is: 'down', should: 'up' },
        ])
      },
    }),
  )
  t.is(found.first?.code, 'UplinkDown')
  t.true(found.others.some(({ code }) => code === 'HostLinkDown'))
})

test('a fact that is absent opens its step and nothing else', t => {
  const found = walked(
    aPair(p('n1-p1'), p('n2-p1'), {
      near: facts => {
        facts.hooks = absent('no permission')
      },
    }),
  )
  t.is(found.verdict, 'unknown')
  t.deepEqual(
    [...new Set(found.steps.filter(({ verdict }) => verdict !== 'passes').map(({ name, says }) => `${name}: ${says}`))],
    [
      'foreign: chains of others on n1 are not known: no permission',
      'farForeign: chains of others on n1 are not known: no permission',
    ],
  )
})
