// From objects of the API to rules of nftables: packets pass the rules of the nodes exactly where the reference lets them.
import test from 'ava'
import fc from 'fast-check'
import { podProfiles } from '../../agent/cluster/policies/endpoints.ts'
import { PolicyObjects } from '../../agent/cluster/policies/objects.ts'
import { felixSettings } from '../../agent/cluster/settings.ts'
import { PolicyCalculator } from '../../felix/policy/calculator.ts'
import { hostInterfaces } from '../../felix/policy/host-interfaces.ts'
import type { HostEndpointHere, PolicyEndpoint } from '../../felix/policy/model.ts'
import { KeptTable, TABLE } from '../felix/policy/kept-table.ts'
import { disagreements, judgeHop, type Rendered } from './agreement.ts'
import { type ClusterRow, clusterPokes, type ReachCase, reachWorld, testRows } from './corpora.ts'
import { hopsOf } from './hops.ts'
import { interpreter, type Table } from './interpreter.ts'
import { keyOf, kindOf, resourceOf } from './model.ts'
import { isJudged, nodeAddresses } from './reference/endpoints.ts'
import { ofKind, type Pod, type World } from './reference/objects.ts'
import type { Packet } from './reference.ts'
import { cases } from './worlds.ts'

const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const

/** As many names as there are pods, all different, in the order of the objects. */
function interfaces(world: World): (pod: Pod) => string {
  const names = new Map(ofKind(world, 'Pod').map((pod, i) => [keyOf(pod), `cali${i}`]))
  return pod => names.get(keyOf(pod))!
}

/** The table of each node, made of all objects of the world. `ownSets`: as that of `Members`. */
function rendered(world: World, ownSets?: number): Rendered {
  const interfaceOf = interfaces(world)
  const tables = new Map<string, Table>()
  return {
    interfaceOf,
    tablesOf(node) {
      const known = tables.get(node)
      if (known !== undefined) return [known]
      const calculator = new PolicyCalculator(TABLE, ownSets)
      const endpoints = new Map<string, PolicyEndpoint | undefined>()
      const policies = new PolicyObjects(({ kind, key, value }) => {
        if (kind === 'endpoint') endpoints.set(key, value)
        calculator.set(kind, key, value as never)
      })
      for (const object of world.objects) {
        const kind = kindOf(object)
        policies.change(kind, keyOf(object), resourceOf(kind, object))
      }
      for (const pod of ofKind(world, 'Pod'))
        if (isJudged(pod) && pod.spec.nodeName === node) {
          const profiles = podProfiles(resourceOf('Pod', pod))
          calculator.setLocal(keyOf(pod), { interfaceName: interfaceOf(pod), profiles })
        }
      for (const [i, { pod, name, addresses }] of (world.answers ?? []).entries()) {
        const from = endpoints.get(pod)?.addresses ?? []
        const told = { from, name: name.toLowerCase().replace(/\.$/, ''), addresses, expired: [] }
        calculator.setAnswer(`${i}`, told)
      }
      calculator.setHostRules({ ...hostSettings(), interfacePrefix: 'cali', tunnels: NO_TUNNELS })
      const { interfaces: of } = hostInterfaces(hostsOf(policies, node), uplinkOf(world, node), 'cali')
      for (const [key, { profiles }] of hostsOf(policies, node))
        calculator.setLocal(key, { interfaces: of.get(key) ?? [], profiles })
      const kept = new KeptTable()
      kept.apply(calculator.step())
      const table = kept.table()
      tables.set(node, table)
      return [table]
    },
  }
}

const NO_TUNNELS = { ipip: false, vxlan: false, vxlanPort: 4789 }
const hostSettings = () => felixSettings(undefined).hosts!

/** The host endpoints of a node. */
function hostsOf({ hosts }: PolicyObjects, node: string): Map<string, HostEndpointHere> {
  const here = [...hosts].filter(([, host]) => host.node === node)
  return new Map(
    here.map(([key, { endpoint, interfaceName, profiles }]) => [
      key,
      { addresses: endpoint.addresses, profiles, ...(interfaceName !== undefined && { interfaceName }) },
    ]),
  )
}

function uplinkOf(world: World, name: string): Map<string, readonly string[]> {
  const node = ofKind(world, 'Node').find(({ metadata }) => metadata.name === name)
  return new Map([['eth0', node === undefined ? [] : nodeAddresses(node)]])
}

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

/** Whether the rules let a packet through. */
function passes(world: World, packet: Packet): boolean {
  const made = rendered(world)
  return hopsOf(world, packet, made).every(hop => interpreter(made.tablesOf(hop.node))(hop.packet).verdict === 'accept')
}

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
