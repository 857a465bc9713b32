// From objects of the API to rules of nftables: packets pass the rules of the nodes exactly where the reference lets them.
import test from 'ava'
import fc from 'fast-check'
import { disagreements, judgeHop } from './agreement.ts'
import { type ClusterRow, clusterPokes, type ReachCase, reachWorld, testRows } from './corpora.ts'
import { hopsOf } from './hops.ts'
import { interpreter } from './interpreter.ts'
import type { Packet } from './reference.ts'
import { passes, rendered } from './rendered.ts'
import { cases } from './worlds.ts'

const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const

test('rules of host endpoints and pods together let packets pass where the reference does', t => {
  let judged = 0
  let denied = 0
  fc.assert(
    fc.property(cases({ hosts: true, without: ['domains'] }), ({ world, packets }) => {
      const found = disagreements(world, packets, rendered(world))
      if (found.length > 0) throw new Error(found.join('\n'))
      for (const packet of packets)
        for (const hop of hopsOf(world, packet, rendered(world))) {
          const { verdict, reason } = judgeHop(world, packet, hop)
          if (reason.by !== 'not judged') judged++
          if (verdict === 'deny') denied++
        }
    }),
    { numRuns: 60 },
  )
  t.log(`host endpoints judged ${judged} packets and denied ${denied}`)
  t.true(denied > 50 && judged - denied > 50)
})

test('rules made of arbitrary policies of every kind let packets pass where the reference does', t => {
  fc.assert(
    fc.property(cases(), fc.constantFrom(undefined, 0, 2), ({ world, packets }, ownSets) => {
      const found = disagreements(world, packets, rendered(world, ownSets))
      if (found.length > 0) throw new Error(found.join('\n'))
    }),
    { numRuns: 100 },
  )
  t.pass()
})

function reachFaults({ id, steps }: ReachCase): string[] {
  return steps.flatMap((step, i) => {
    const world = reachWorld(step)
    const made = rendered(world)
    const walks = new Map<string, ReturnType<typeof interpreter>>()
    const found: string[] = []
    for (const [port, rows] of Object.entries(step.expect)) {
      const [name, number] = port.split('/') as [keyof typeof PROTOCOLS, string]
      for (const [x, from] of step.order.entries())
        for (const [y, to] of step.order.entries()) {
          if (x === y) continue
          const packet: Packet = {
            ...{ from: { pod: from }, to: { pod: to }, family: 4, protocol: PROTOCOLS[name] },
            ...{ sourcePort: 40_000, destinationPort: Number(number) },
          }
          const isAllowed = hopsOf(world, packet, made).every(hop => {
            const walk = walks.get(hop.node) ?? interpreter(made.tablesOf(hop.node))
            walks.set(hop.node, walk)
            return walk(hop.packet).verdict === 'accept'
          })
          if (isAllowed !== (rows[x]![y] === '.')) found.push(`${id} step ${i}: ${from} to ${to} ${port}`)
        }
    }
    return found
  })
}

for (const file of ['cyclonus.ndjson', 'k8s-e2e-netpol.ndjson'] as const)
  testRows<ReachCase>(`rules made of NetworkPolicies do what ${file} says`, file, (t, rows) => {
    t.deepEqual(rows.flatMap(reachFaults), [])
  })

testRows<ClusterRow>(
  'rules made of ClusterNetworkPolicies do what their conformance tests say',
  'cnp-conformance.ndjson',
  (t, rows) => {
    const found: string[] = []
    for (const row of rows)
      for (const [i, { poke, world }] of clusterPokes(row).entries()) {
        const packet: Packet = {
          ...{ from: { pod: `${poke.fromNs}/${poke.fromPod}` }, to: { pod: poke.to.join('/') }, family: 4 },
          ...{ protocol: PROTOCOLS[poke.proto.toUpperCase() as keyof typeof PROTOCOLS] },
          ...{ sourcePort: 40_000, destinationPort: Number(poke.port) },
        }
        if (passes(world, packet) !== poke.allow) found.push(`${row.file}, ${row.subtest}, poke ${i}`)
      }
    t.deepEqual(found, [])
  },
)
