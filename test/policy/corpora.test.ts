// The reference evaluator against the tables of other projects.
import { type ClusterRow, clusterPokes, type ReachCase, reachWorld, testRows } from './corpora.ts'
import type { World, WorldObject } from './reference/objects.ts'
import { isExpression, matchesExpression } from './reference/selectors.ts'
import { tiersOf } from './reference/tiers.ts'
import { judge } from './reference.ts'

const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const

/** What of a case is not so. What a pod sends to itself is not asked: implementations differ. */
function differences({ id, steps }: ReachCase): string[] {
  const found: string[] = []
  for (const [i, step] of steps.entries()) {
    const world = reachWorld(step)
    for (const [port, rows] of Object.entries(step.expect)) {
      const [name, number] = port.split('/') as [keyof typeof PROTOCOLS, string]
      for (const [x, from] of step.order.entries())
        for (const [y, to] of step.order.entries()) {
          if (x === y) continue
          const { allowed } = judge(world, {
            from: { pod: from },
            to: { pod: to },
            family: 4,
            protocol: PROTOCOLS[name],
            sourcePort: 40_000,
            destinationPort: Number(number),
          })
          if (allowed !== (rows[x]![y] === '.')) found.push(`${id} step ${i}: ${from} to ${to} ${port}`)
        }
    }
  }
  return found
}

for (const [file, count] of [
  ['cyclonus.ndjson', 230],
  ['k8s-e2e-netpol.ndjson', 24],
] as const)
  testRows<ReachCase>(`NetworkPolicy means what ${file} says`, file, (t, rows) => {
    t.is(rows.length, count)
    t.deepEqual(rows.flatMap(differences), [])
  })

testRows<ClusterRow>(
  'ClusterNetworkPolicy means what its conformance tests say',
  'cnp-conformance.ndjson',
  (t, rows) => {
    t.is(rows.length, 46)
    // the pokes of two are at addresses of nodes, which the table does not have
    const unasked = rows.filter(({ pokes }) => pokes.length === 0).map(({ subtest }) => subtest)
    t.true(unasked.length === 2 && unasked.every(subtest => subtest.endsWith('egress-node-peer')))
    const found: string[] = []
    for (const row of rows)
      for (const [i, { poke, world }] of clusterPokes(row).entries()) {
        const { allowed } = judge(world, {
          from: { pod: `${poke.fromNs}/${poke.fromPod}` },
          to: { pod: poke.to.join('/') },
          family: 4,
          protocol: PROTOCOLS[poke.proto.toUpperCase() as keyof typeof PROTOCOLS],
          sourcePort: 40_000,
          destinationPort: Number(poke.port),
        })
        if (allowed !== poke.allow) found.push(`${row.file}, ${row.subtest}, poke ${i}`)
      }
    t.deepEqual(found, [])
  },
)

type Labels = Record<string, string>
type SelectorRow = {
  selector: string
  valid: boolean
  match?: Labels[]
  noMatch?: Labels[]
  canonical?: string
  prefix?: string
  prefixed?: string
}

/** All sets of labels over a few words that the table uses. */
const LABELS: readonly Labels[] = ['a', 'b', 'c', 'k', 'x'].reduce<Labels[]>(
  (sets, key) => sets.flatMap(set => [set, ...['b', 'd', 'v', '"'].map(value => ({ ...set, [key]: value }))]),
  [{}],
)

testRows<SelectorRow>('selectors mean what those of Calico do', 'calico-selectors-even.ndjson', (t, rows) => {
  t.is(rows.length, 80)
  for (const { selector, valid, match = [], noMatch = [], canonical, prefix = '', prefixed } of rows) {
    t.is(isExpression(selector), valid, selector)
    for (const labels of match) t.true(matchesExpression(selector, labels), `${selector} of ${JSON.stringify(labels)}`)
    for (const labels of noMatch)
      t.false(matchesExpression(selector, labels), `${selector} of ${JSON.stringify(labels)}`)
    // other texts for it say the same of all labels
    for (const [text, before] of [[canonical, ''] as const, [prefixed, prefix] as const])
      if (text !== undefined)
        t.deepEqual(
          LABELS.filter(labels => {
            const longer = Object.fromEntries(Object.entries(labels).map(([key, value]) => [before + key, value]))
            return matchesExpression(text, longer) !== matchesExpression(selector, labels)
          }),
          [],
          text,
        )
  }
})

type TierRow = { name: string; order?: number; valid: boolean }
type OrderRow = { op: string; name: string; input?: TierRow[]; expect?: TierRow[] | null }

testRows<OrderRow>('tiers are asked in the order of Calico', 'calico-names-order-even.ndjson', (t, rows) => {
  const orders = rows.filter(({ op }) => op === 'tierOrder')
  t.is(orders.length, 4)
  for (const { name, input = [], expect } of orders) {
    const world: World = {
      objects: input.map(
        (tier): WorldObject =>
          tier.valid
            ? {
                apiVersion: 'projectcalico.org/v3',
                kind: 'Tier',
                metadata: { name: tier.name },
                spec: { order: tier.order },
              }
            : // a tier that only a policy names
              {
                apiVersion: 'projectcalico.org/v3',
                kind: 'GlobalNetworkPolicy',
                metadata: { name: `of-${tier.name}` },
                spec: { tier: tier.name },
              },
      ),
    }
    const own = tiersOf(world)
      .map(tier => tier.name)
      .filter(each => input.some(tier => tier.name === each))
    t.deepEqual(
      own,
      (expect ?? []).map(tier => tier.name),
      name,
    )
  }
})
