// The arbitrary worlds: that they are such as an API server takes, and that their packets meet all that policy can say.
import test from 'ava'
import fc from 'fast-check'
import { apiVersion, type Kind, kinds } from '../../api/kinds.ts'
import { admit, formatProblems } from '../../api/validate.ts'
import type { WorldObject } from './reference/objects.ts'
import { judge } from './reference.ts'
import { cases } from './worlds.ts'

/** Under which name our rows have the kind of an object. */
function kindOf({ kind, apiVersion }: WorldObject): Kind {
  return kind === 'NetworkPolicy' && apiVersion === 'networking.k8s.io/v1' ? 'KubernetesNetworkPolicy' : kind
}

test('objects are such as an API server takes', t => {
  fc.assert(
    fc.property(cases({ packets: 1, without: ['unknown'] }), ({ world }) => {
      for (const object of world.objects) {
        const kind = kindOf(object)
        const result = admit(kind, { ...object, apiVersion: apiVersion(kinds[kind]) })
        if (Array.isArray(result)) throw new Error(`${JSON.stringify(object)}: ${formatProblems(result)}`)
      }
    }),
    { numRuns: 60, seed: 1 },
  )
  t.pass()
})

test('a world is plain JSON', t => {
  fc.assert(
    fc.property(cases({ packets: 3 }), given => {
      t.deepEqual(JSON.parse(JSON.stringify(given)), given)
    }),
    { numRuns: 20, seed: 1 },
  )
})

test('packets meet rules of every kind, ends of tiers and profiles, and both verdicts often', t => {
  const seen = new Map<string, number>()
  const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)
  let all = 0
  fc.assert(
    fc.property(cases(), ({ world, packets }) => {
      for (const packet of packets) {
        const { egress, ingress, allowed } = judge(world, packet)
        all++
        count(allowed ? 'allowed' : 'denied')
        for (const { verdict, reason } of [egress, ingress])
          count(reason.by === 'rule' ? `${verdict} by rule of ${reason.kind}` : `${verdict} by ${reason.by}`)
      }
    }),
    { numRuns: 300, seed: 1 },
  )
  const share = (what: string) => (seen.get(what) ?? 0) / all
  for (const [what, times] of [...seen].sort()) t.log(what, times)
  t.true(share('allowed') > 0.2, 'allowed')
  t.true(share('denied') > 0.2, 'denied')
  for (const kind of ['KubernetesClusterNetworkPolicy', 'NetworkPolicy', 'GlobalNetworkPolicy'])
    for (const verdict of ['allow', 'deny'])
      t.true(share(`${verdict} by rule of ${kind}`) > 0.005, `${verdict} ${kind}`)
  for (const what of [
    'allow by rule of KubernetesNetworkPolicy',
    'deny by tier',
    'allow by profile',
    'allow by not judged',
  ])
    t.true(share(what) > 0.01, what)
})
