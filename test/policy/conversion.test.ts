// What objects become in the model says of each packet what the reference says by the objects themselves.
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { type ClusterRow, clusterPokes, type ReachCase, reachWorld, testRows } from './corpora.ts'
import { judgeModel, type Model, modelOf } from './model.ts'
import { answers, calico, cluster, fixed, kubernetes, packet } from './random-worlds.ts'
import type { World, WorldObject } from './reference/objects.ts'
import type { Decision } from './reference/tiers.ts'
import { judge, type Packet } from './reference.ts'
import { cases } from './worlds.ts'

const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const

function by({ verdict, reason }: Decision): string {
  if (reason.by === 'rule') {
    const kind = reason.kind === 'KubernetesClusterNetworkPolicy' ? 'ClusterNetworkPolicy' : reason.kind
    return `${verdict} ${kind} ${reason.namespace ?? ''}/${reason.name}`
  }
  if (reason.by === 'tier') return `${verdict} tier ${reason.tier}`
  return reason.by === 'profile' ? `${verdict} profile ${reason.profile}` : `${verdict} not judged`
}

/** What of the packet is judged in another way; undefined where nothing is. */
function difference(world: World, model: Model, packet: Packet): string | undefined {
  const wanted = judge(world, packet)
  const found = judgeModel(model, world, packet)
  const ends = (['egress', 'ingress'] as const).map(end => {
    const told = `${found[end].verdict} ${found[end].by}`
    return told === by(wanted[end]) ? '' : `${end}: ${told}, not ${by(wanted[end])}`
  })
  return ends.every(end => end === '') ? undefined : `${JSON.stringify(packet)} ${ends.join(' ')}`
}

function differences({ id, steps }: ReachCase): string[] {
  return steps.flatMap((step, i) => {
    const world = reachWorld(step)
    const { model, refused } = modelOf(world)
    const found = refused.map(({ message }) => message)
    for (const [port, rows] of Object.entries(step.expect)) {
      const [name, number] = port.split('/') as [keyof typeof PROTOCOLS, string]
      for (const [x, from] of step.order.entries())
        for (const [y, to] of step.order.entries()) {
          if (x === y) continue
          const { egress, ingress } = judgeModel(model, world, {
            ...{ from: { pod: from }, to: { pod: to }, family: 4, protocol: PROTOCOLS[name] },
            ...{ sourcePort: 40_000, destinationPort: Number(number) },
          })
          const isAllowed = egress.verdict === 'allow' && ingress.verdict === 'allow'
          if (isAllowed !== (rows[x]![y] === '.')) found.push(`${id} step ${i}: ${from} to ${to} ${port}`)
        }
    }
    return found
  })
}

for (const file of ['cyclonus.ndjson', 'k8s-e2e-netpol.ndjson'] as const)
  testRows<ReachCase>(`what NetworkPolicies become means what ${file} says`, file, (t, rows) => {
    t.deepEqual(rows.flatMap(differences), [])
  })

testRows<ClusterRow>(
  'what ClusterNetworkPolicies become means what their conformance tests say',
  'cnp-conformance.ndjson',
  (t, rows) => {
    const found: string[] = []
    for (const row of rows)
      for (const [i, { poke, world }] of clusterPokes(row).entries()) {
        const { model, refused } = modelOf(world)
        found.push(...refused.map(({ message }) => message))
        const { egress, ingress } = judgeModel(model, world, {
          ...{ from: { pod: `${poke.fromNs}/${poke.fromPod}` }, to: { pod: poke.to.join('/') }, family: 4 },
          ...{ protocol: PROTOCOLS[poke.proto.toUpperCase() as keyof typeof PROTOCOLS] },
          ...{ sourcePort: 40_000, destinationPort: Number(poke.port) },
        })
        const isAllowed = egress.verdict === 'allow' && ingress.verdict === 'allow'
        if (isAllowed !== poke.allow) found.push(`${row.file}, ${row.subtest}, poke ${i}`)
      }
    t.deepEqual(found, [])
  },
)

function agrees(t: ExecutionContext, policy: fc.Arbitrary<WorldObject>, numRuns: number): void {
  const policies = fc.uniqueArray(policy, {
    ...{ minLength: 1, maxLength: 4 },
    selector: ({ kind, apiVersion, metadata }) => `${apiVersion} ${kind} ${metadata.namespace} ${metadata.name}`,
  })
  fc.assert(
    fc.property(fixed, policies, fc.array(packet, { minLength: 6, maxLength: 6 }), (rest, chosen, packets) => {
      const world = { objects: [...rest, ...chosen], answers }
      const { model } = modelOf(world)
      t.deepEqual(
        packets.map(each => difference(world, model, each)).filter(each => each !== undefined),
        [],
      )
    }),
    { numRuns },
  )
}

test('what random NetworkPolicies of Kubernetes become judges as the reference does', t => {
  agrees(t, kubernetes, 150)
})

test('what random policies of Calico become judges as the reference does', t => {
  agrees(t, calico, 400)
})

test('what random ClusterNetworkPolicies become judges as the reference does', t => {
  agrees(t, cluster, 150)
})

test('what policies of all kinds become together judges as the reference does', t => {
  agrees(t, fc.oneof(kubernetes, calico, cluster), 150)
})

test('what the worlds that the rules of the kernel are held to become judges as the reference does', t => {
  fc.assert(
    fc.property(cases(), ({ world, packets }) => {
      const { model } = modelOf(world)
      t.deepEqual(
        packets.map(each => difference(world, model, each)).filter(each => each !== undefined),
        [],
      )
    }),
    { numRuns: 500 },
  )
})

/** Each input by kind and key, in the order of the keys. */
function sortedModel(objects: readonly WorldObject[]): unknown {
  const { model } = modelOf({ objects })
  return Object.entries(model).map(([kind, inputs]: [string, Map<string, unknown>]) => [kind, [...inputs].sort()])
}

test('the order in which objects come does not change what they become', t => {
  fc.assert(
    fc.property(
      fixed.chain(rest =>
        fc.array(fc.oneof(kubernetes, calico, cluster), { maxLength: 3 }).map(more => [...rest, ...more]),
      ),
      fc.infiniteStream(fc.nat()),
      (objects, numbers) => {
        const last = new Map(
          objects.map(object => [`${object.kind} ${object.metadata.namespace} ${object.metadata.name}`, object]),
        )
        const all = [...last.values()]
        const mixed = all.map(object => [numbers.next().value as number, object] as const).sort(([a], [b]) => a - b)
        t.deepEqual(sortedModel(mixed.map(([, object]) => object)), sortedModel(all))
      },
    ),
    { numRuns: 100 },
  )
})
