// The comparison itself: with tables that are plainly right or plainly wrong.
import test from 'ava'
import type { NftRule } from '../../kernel/port/nftables.ts'
import { disagreements, type Rendered } from './agreement.ts'
import type { Table } from './interpreter.ts'
import { aNamespace, aNetworkPolicy, aNode, aPod } from './objects.ts'
import type { World } from './reference/objects.ts'
import type { Packet } from './reference.ts'

const world: World = {
  objects: [
    aNode('n1', ['192.0.2.1']),
    aNode('n2', ['192.0.2.2']),
    aNamespace('x'),
    aPod('x/a', { node: 'n1', addresses: ['10.0.0.1'] }),
    aPod('x/b', { node: 'n2', addresses: ['10.0.0.2'] }),
    aPod('x/c', { node: 'n2', addresses: ['10.0.0.3'] }),
    aNetworkPolicy('x/p', { podSelector: {}, policyTypes: ['Ingress'] }),
  ],
}

const packet = (from: Packet['from'], to: Packet['to']): Packet => {
  return { from, to, family: 4, protocol: 6, sourcePort: 40_000, destinationPort: 80 }
}
const PACKETS = [
  packet({ pod: 'x/a' }, { pod: 'x/b' }),
  packet({ pod: 'x/b' }, { pod: 'x/c' }),
  packet({ pod: 'x/a' }, { address: '203.0.113.9' }),
  packet({ address: '203.0.113.9' }, { pod: 'x/a' }),
  packet({ node: 'n1' }, { pod: 'x/a' }),
  packet({ node: 'n1' }, { pod: 'x/b' }),
  packet({ pod: 'x/a' }, { address: '192.0.2.1' }),
  packet({ pod: 'x/a' }, { pod: 'x/a' }),
]

/** Drops what is forwarded to an interface whose name begins so. */
function dropTo(beginning: string): Table {
  const at = { family: 'inet', table: 't' } as const
  const rule: NftRule = {
    kind: 'rule',
    ...at,
    chain: 'main',
    expressions: [
      { type: 'meta', key: 'oifname', load: 1 },
      { type: 'cmp', op: 'eq', from: 1, value: Buffer.from(beginning).toString('hex') },
      { type: 'immediate', load: 0, data: { verdict: 'drop' } },
    ],
  }
  const base = { type: 'filter', hook: 'forward', priority: 0, policy: 'accept' } as const
  return { chains: [{ kind: 'chain', ...at, name: 'main', base }], sets: [], elements: [], rules: [rule] }
}

const rendered = (...tables: Table[]): Rendered => {
  return { tablesOf: () => tables, interfaceOf: ({ metadata }) => `cali-${metadata.name}` }
}

test('tables that do what the policies say agree with them', t => {
  t.deepEqual(disagreements(world, PACKETS, rendered(dropTo('cali-'))), [])
})

test('tables that let pass what is denied, or drop what is allowed, do not', t => {
  const open = disagreements(world, PACKETS, rendered())
  t.is(open.length, 4)
  t.regex(open[0]!, /ingress deny by .*"tier":"default".*but n1 accept after no rule/)
  const shut = disagreements(world, PACKETS, rendered(dropTo('cali-'), dropTo('eth0')))
  t.is(shut.length, 1)
  t.regex(shut[0]!, /203\.0\.113\.9.*egress allow by .*but n1 drop after t\/main rule 0/)
})
