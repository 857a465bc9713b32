// What policies say of established connections is what they say of new ones.
import test from 'ava'
import fc from 'fast-check'
import { podProfiles } from '../../agent/cluster/policies/endpoints.ts'
import { PolicyObjects } from '../../agent/cluster/policies/objects.ts'
import type { PolicyDecision } from '../../api/explain.ts'
import { formatRef } from '../../api/status.ts'
import { PolicyCalculator } from '../../felix/policy/calculator.ts'
import { TABLE } from '../felix/policy/kept-table.ts'
import { judgeHop } from './agreement.ts'
import { hopsOf } from './hops.ts'
import { judgedOf } from './judged.ts'
import { keyOf, kindOf, resourceOf } from './model.ts'
import { isJudged } from './reference/endpoints.ts'
import { ofKind, type World, type WorldObject } from './reference/objects.ts'
import type { Decision as Reference } from './reference/tiers.ts'
import { judge, type Packet } from './reference.ts'
import { interfaces, tellHosts } from './rendered.ts'
import { cases } from './worlds.ts'

/** All pods of a world as those of one node. */
class Cluster {
  readonly calculator = new PolicyCalculator(TABLE)
  readonly #objects = new PolicyObjects(({ kind, key, value }) => this.calculator.set(kind, key, value as never))

  #hosts = new Set<string>()

  constructor({ objects, answers = [] }: World) {
    for (const object of objects) this.change(object, true)
    for (const pod of ofKind({ objects }, 'Pod'))
      if (isJudged(pod)) {
        const profiles = podProfiles(resourceOf('Pod', pod))
        this.calculator.setLocal(keyOf(pod), { interfaceName: `cali-${keyOf(pod)}`, profiles })
      }
    for (const [i, { pod, name, addresses }] of answers.entries()) {
      const of = ofKind({ objects }, 'Pod').find(each => keyOf(each) === pod)
      const from = of?.status?.podIPs?.map(({ ip }) => ip) ?? []
      this.calculator.setAnswer(`${i}`, { from, name: name.toLowerCase().replace(/\.$/, ''), addresses, expired: [] })
    }
  }

  /** As those of this node, with the changes so far. */
  tellHosts(world: World, node: string): void {
    for (const key of this.#hosts) if (!this.#objects.hosts.has(key)) this.calculator.setLocal(key, undefined)
    this.#hosts = new Set(this.#objects.hosts.keys())
    tellHosts(this.calculator, this.#objects, { world, node })
  }

  change(object: WorldObject, isThere: boolean): void {
    const kind = kindOf(object)
    this.#objects.change(kind, keyOf(object), isThere ? resourceOf(kind, object) : undefined)
  }
}

/** Whether what a person is told decides is what decides in the reference, and does the same. */
function agrees({ action, by }: PolicyDecision, { verdict, reason }: Reference): boolean {
  if (action !== verdict) return false
  if (reason.by === 'tier') return by.of === 'tier end' && by.tier === reason.tier
  if (reason.by === 'profile') return by.of === (verdict === 'allow' ? 'profile rule' : 'no profile allows')
  if (reason.by !== 'rule') return false
  const kind = reason.kind.replace(/^KubernetesCluster/, 'Cluster')
  const isSame = by.of === 'rule' && by.tier === reason.tier && by.policy === formatRef({ ...reason, kind })
  return isSame && by.rule === reason.rule + 1
}

test('arbitrary policies of every kind say of a packet what the reference says, and who says it', t => {
  const decided: Record<string, number> = {}
  fc.assert(
    fc.property(cases(), ({ world, packets }) => {
      const { calculator } = new Cluster(world)
      calculator.step()
      for (const packet of packets) {
        const wanted = judge(world, packet)
        const { seen, pods } = judgedOf(world, packet)
        for (const [direction, key] of pods) {
          if (wanted[direction].reason.by === 'not judged') continue
          const found = calculator.verdicts.verdict(key, direction, seen)
          const { decision } = calculator.verdicts.decision(`cali-${key}`, direction, seen)
          decided[decision.by.of] = (decided[decision.by.of] ?? 0) + 1
          if (found !== wanted[direction].verdict || !agrees(decision, wanted[direction]))
            throw new Error(
              `${JSON.stringify(packet)} ${direction}: ${found}, ${JSON.stringify(decision)}, not ${JSON.stringify(wanted[direction])}`,
            )
        }
      }
    }),
    { numRuns: 200 },
  )
  for (const by of ['rule', 'tier end', 'profile rule']) t.true((decided[by] ?? 0) > 20, JSON.stringify(decided))
})

/** What each node says of a packet, but of neighbour discovery, of which the kernel knows no connections. */
function hostsAsked(world: World, packet: Packet) {
  const isDiscovery = packet.icmp !== undefined && packet.icmp.type >= 130 && packet.icmp.type <= 136
  const { seen } = judgedOf(world, packet)
  const hops = isDiscovery ? [] : hopsOf(world, packet, { interfaceOf: interfaces(world) })
  return hops.map(hop => {
    const { iif: from, oif: to } = hop.packet
    return {
      hop,
      packet,
      denial: (node: Cluster) => node.calculator.verdicts.hostDenial({ from, to }, { sent: seen, translated: seen }),
      decisions: (node: Cluster) =>
        node.calculator.verdicts.hostDecisions({ from, to }, { sent: seen, translated: seen }),
    }
  })
}

/** By their names. */
function nodesOf(world: World): Map<string, Cluster> {
  return new Map(
    ofKind(world, 'Node').map(({ metadata: { name } }) => {
      const cluster = new Cluster(world)
      cluster.tellHosts(world, name)
      cluster.calculator.step()
      return [name, cluster]
    }),
  )
}

test('arbitrary host endpoints say of a packet what the reference says', t => {
  const said = { allow: 0, deny: 0 }
  fc.assert(
    fc.property(cases({ hosts: true, without: ['domains'] }), ({ world, packets }) => {
      const nodes = nodesOf(world)
      for (const { hop, packet, denial, decisions } of packets.flatMap(packet => hostsAsked(world, packet))) {
        const { verdict, reason } = judgeHop(world, packet, hop)
        const at = denial(nodes.get(hop.node)!)
        const last = decisions(nodes.get(hop.node)!).at(-1)?.decision
        if ((last?.action ?? 'allow') !== verdict || (verdict === 'deny' && !agrees(last!, { verdict, reason })))
          throw new Error(
            `${JSON.stringify(packet)} at ${hop.node}: ${JSON.stringify(last)}, not ${JSON.stringify(reason)}`,
          )
        said[verdict]++
        if ((at === undefined ? 'allow' : 'deny') !== verdict)
          throw new Error(
            `${JSON.stringify(packet)} at ${hop.node}: ${JSON.stringify(at)}, not ${JSON.stringify(reason)}`,
          )
      }
    }),
    { numRuns: 200 },
  )
  t.true(said.deny > 20 && said.allow > 20, JSON.stringify(said))
})

test('no change denies what was allowed by a host endpoint while none is told to be narrowed', t => {
  let narrowedHosts = 0
  fc.assert(
    fc.property(
      cases({ hosts: true, without: ['domains'] }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 6 }),
      ({ world, packets }, places) => {
        const asked = packets.flatMap(packet => hostsAsked(world, packet))
        const gone = new Set<WorldObject>()
        for (const [name, node] of nodesOf(world)) {
          const here = asked.filter(({ hop }) => hop.node === name)
          const verdicts = () => here.map(({ denial }) => denial(node) !== undefined)
          for (const place of places) {
            const object = world.objects[place % world.objects.length]!
            const before = verdicts()
            node.change(object, gone.has(object))
            if (!gone.delete(object)) gone.add(object)
            node.tellHosts(world, name)
            const { narrowed } = node.calculator.step()
            const isTold = [...narrowed].some(key => node.calculator.judgedEndpoint(key)?.kind === 'host')
            if (isTold) narrowedHosts++
            for (const [i, isDenied] of verdicts().entries())
              if (isDenied && !before[i] && !isTold)
                throw new Error(`${JSON.stringify(here[i]!.packet)} after ${object.kind} ${keyOf(object)}`)
          }
          for (const object of gone) node.change(object, true)
          gone.clear()
        }
      },
    ),
    { numRuns: 100 },
  )
  t.true(narrowedHosts > 0)
})

test('no change denies what was allowed to a pod that is not told to be narrowed', t => {
  fc.assert(
    fc.property(cases(), fc.array(fc.nat(), { minLength: 1, maxLength: 6 }), ({ world, packets }, places) => {
      const cluster = new Cluster(world)
      const { calculator } = cluster
      const all = packets.map(packet => judgedOf(world, packet))
      const verdicts = () =>
        all.map(({ seen, pods }) => pods.map(([direction, key]) => calculator.verdicts.verdict(key, direction, seen)))
      calculator.step()
      const gone = new Set<WorldObject>()
      for (const place of places) {
        const object = world.objects[place % world.objects.length]!
        const before = verdicts()
        cluster.change(object, gone.has(object))
        if (!gone.delete(object)) gone.add(object)
        const { narrowed } = calculator.step()
        for (const [i, now] of verdicts().entries())
          for (const [j, verdict] of now.entries()) {
            const [direction, key] = all[i]!.pods[j]!
            if (before[i]![j] === 'allow' && verdict === 'deny' && !narrowed.has(key))
              throw new Error(`${key} ${direction} after ${object.kind} ${keyOf(object)}`)
          }
      }
    }),
    { numRuns: 200 },
  )
  t.pass()
})
