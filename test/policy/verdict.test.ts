// What policies say of established connections is what they say of new ones.
import test from 'ava'
import fc from 'fast-check'
import { podProfiles } from '../../agent/cluster/policies/endpoints.ts'
import { PolicyObjects } from '../../agent/cluster/policies/objects.ts'
import { PolicyCalculator } from '../../felix/policy/calculator.ts'
import type { JudgedPacket } from '../../felix/policy/verdict.ts'
import { TABLE } from '../felix/policy/kept-table.ts'
import { keyOf, kindOf, resourceOf } from './model.ts'
import { sameAddress } from './reference/addresses.ts'
import { isJudged, podOfAddress } from './reference/endpoints.ts'
import { ofKind, type World, type WorldObject } from './reference/objects.ts'
import { addressOf, judge, type Packet } from './reference.ts'
import { cases } from './worlds.ts'

const ENDS = { egress: 'from', ingress: 'to' } as const
const DIRECTIONS = ['egress', 'ingress'] as const

/** All pods of a world as those of one node. */
class Cluster {
  readonly calculator = new PolicyCalculator(TABLE)
  readonly #objects = new PolicyObjects(({ kind, key, value }) => this.calculator.set(kind, key, value as never))

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

  change(object: WorldObject, isThere: boolean): void {
    const kind = kindOf(object)
    this.#objects.change(kind, keyOf(object), isThere ? resourceOf(kind, object) : undefined)
  }
}

/** The packet as both its ends see it, with the pods that it is judged for. */
function judgedOf(world: World, packet: Packet) {
  const [source, destination] = [packet.from, packet.to].map(party => addressOf(world, party, packet.family)) as [
    string,
    string,
  ]
  const { protocol, sourcePort, destinationPort, icmp } = packet
  const ports = sourcePort !== undefined && destinationPort !== undefined
  const seen: JudgedPacket = {
    ...{ source, destination, protocol },
    ...(ports && { ports: { source: sourcePort, destination: destinationPort } }),
    ...(icmp !== undefined && { icmp }),
  }
  const pods = sameAddress(source, destination)
    ? []
    : DIRECTIONS.flatMap(direction => {
        const pod = podOfAddress(world, direction === 'egress' ? source : destination)
        return pod !== undefined && isJudged(pod) && !('node' in packet[ENDS[direction]])
          ? [[direction, keyOf(pod)] as const]
          : []
      })
  return { seen, pods }
}

test('arbitrary policies of every kind say of a packet what the reference says', t => {
  fc.assert(
    fc.property(cases(), ({ world, packets }) => {
      const { calculator } = new Cluster(world)
      calculator.step()
      for (const packet of packets) {
        const wanted = judge(world, packet)
        const { seen, pods } = judgedOf(world, packet)
        for (const [direction, key] of pods) {
          if (wanted[direction].reason.by === 'not judged') continue
          const found = calculator.verdict(key, direction, seen)
          if (found !== wanted[direction].verdict)
            throw new Error(
              `${JSON.stringify(packet)} ${direction}: ${found}, not ${JSON.stringify(wanted[direction])}`,
            )
        }
      }
    }),
    { numRuns: 200 },
  )
  t.pass()
})

test('no change denies what was allowed to a pod that is not told to be narrowed', t => {
  fc.assert(
    fc.property(cases(), fc.array(fc.nat(), { minLength: 1, maxLength: 6 }), ({ world, packets }, places) => {
      const cluster = new Cluster(world)
      const { calculator } = cluster
      const all = packets.map(packet => judgedOf(world, packet))
      const verdicts = () =>
        all.map(({ seen, pods }) => pods.map(([direction, key]) => calculator.verdict(key, direction, seen)))
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
