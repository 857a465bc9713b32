import test from 'ava'
import { type Evidence, lostCondition, verdict } from '../../../agent/probes/verdict.ts'

/** Everything speaks for a tunnel that is lost. */
const tunnelLost: Evidence = {
  way: 'vxlan',
  session: { is: 'up', forMs: 60_000 },
  silentMs: 4000,
  lookMs: 4000,
  wasAlive: true,
  isViewFresh: true,
  hostAnswers: true,
  tunnelAnswers: false,
  hostWasSilent: false,
}

const rows: [about: string, Partial<Evidence>, ReturnType<typeof verdict>][] = [
  ['the node answers and its tunnel does not', {}, 'VxlanSilent'],
  ['the same over IP-in-IP', { way: 'ipip' }, 'IpipSilent'],
  ['also of an agent that never answered here: its tunnel outlives it', { wasAlive: false }, 'VxlanSilent'],
  ['also with an old view', { isViewFresh: false }, 'VxlanSilent'],
  ['the tunnel answers', { tunnelAnswers: true }, 'PathLost'],
  ['there is no address of a tunnel', { tunnelAnswers: undefined }, 'PathLost'],
  ['the node is silent', { hostAnswers: false }, 'PathLost'],
  ['nothing could be sent to the node', { hostAnswers: undefined }, 'PathLost'],
  ['the node was silent before', { hostWasSilent: true }, 'PathLost'],
  ['no tunnel is used', { way: 'direct', tunnelAnswers: undefined }, 'PathLost'],
  ['nobody knows the way', { way: undefined }, 'PathLost'],
  ['a probe alone that nobody ever answered', { way: 'direct', tunnelAnswers: undefined, wasAlive: false }, 'unknown'],
  ['a probe alone, with an old view', { tunnelAnswers: true, isViewFresh: false }, 'unknown'],
  ['no session', { session: { is: 'down' } }, 'absent'],
  ['a session that has just come up', { session: { is: 'up', forMs: 13_999 } }, 'unknown'],
  ['a session that is ten seconds older than the look', { session: { is: 'up', forMs: 14_000 } }, 'VxlanSilent'],
  ['reflectors, and a moment', { session: { is: 'none' } }, 'unknown'],
  ['reflectors, and three minutes', { session: { is: 'none' }, silentMs: 180_000 }, 'VxlanSilent'],
  ['reflectors, and the node is silent', { session: { is: 'none' }, silentMs: 180_000, hostAnswers: false }, 'absent'],
  ['no route, where there was one', { way: 'no route' }, 'NoRoute'],
  ['no route yet', { way: 'no route', wasAlive: false }, 'unknown'],
  ['no route for long', { way: 'no route', wasAlive: false, silentMs: 30_000 }, 'NoRoute'],
]

for (const [about, part, is] of rows)
  test(`verdict: ${about}: ${is}`, t => {
    t.is(verdict({ ...tunnelLost, ...part }), is)
  })

test('no loss is told without a session that should be, whatever else is so', t => {
  const either = [true, false, undefined]
  for (const way of ['vxlan', 'ipip', 'direct', 'no route', undefined] as const)
    for (const hostAnswers of either)
      for (const tunnelAnswers of either)
        for (const wasAlive of [true, false])
          t.is(verdict({ ...tunnelLost, way, hostAnswers, tunnelAnswers, wasAlive, session: { is: 'down' } }), 'absent')
})

test('the condition names the node, the address, the protocol that is silent and what to let through', t => {
  const of = { node: 'n2', family: 'ipv4', address: '10.244.2.9', hostAnswers: true, tunnelAnswers: false } as const
  const condition = lostCondition({ ...of, way: 'vxlan', loss: 'VxlanSilent' })
  t.like(condition, { type: 'PathsPass', status: 'False', reason: 'VxlanSilent', object: { kind: 'Node', name: 'n2' } })
  t.regex(condition.message, /^nothing that is sent to n2 in VXLAN is answered: .*10\.244\.2\.9/)
  t.regex(
    condition.remedy,
    /n2 and this node .*ForeignRoutesPass.*if nothing, let UDP port 4789/,
    'a rule of n2 or of this node keeps packets in the same way',
  )
  t.regex(lostCondition({ ...of, way: 'ipip', loss: 'IpipSilent' }).remedy, /IP protocol 4/)
  t.regex(lostCondition({ ...of, way: 'direct', loss: 'PathLost' }).remedy, /source addresses/)
  t.regex(lostCondition({ ...of, way: 'no route', loss: 'NoRoute' }).message, /no route there, or a rule/)
  const silent = lostCondition({ ...of, hostAnswers: false, way: 'vxlan', loss: 'PathLost' })
  t.regex(silent.message, /n2 itself does not/)
  t.regex(silent.remedy, /first .*DefaultRouteKept, NeighboursRight/, 'a route that is gone here is no fault of n2')
  const unsent = lostCondition({ ...of, hostAnswers: undefined, way: 'vxlan', loss: 'PathLost' })
  t.regex(unsent.message, /nothing could be sent to n2 itself/)
})
