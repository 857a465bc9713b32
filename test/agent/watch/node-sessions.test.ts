// Why a session with another node is down: which cause is named, by what is proved, and when.
import test from 'ava'
import { NodeSessions, type NodeSessionsDeps } from '../../../agent/watch/node-sessions.ts'
import { type SessionFacts, sessionIll } from '../../../agent/watch/session-causes.ts'
import type { Condition } from '../../../api/status.ts'
import { DOWN_REASONS, type DownCode } from '../../../bgp/down-reasons.ts'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import type { Route } from '../../../kernel/port/routes.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { settle } from '../../bgp/settle.ts'

const N2 = '192.0.2.12'
const ROUTER = '192.0.2.1'

function down(code: DownCode, more: Partial<SessionFacts> = {}): Condition {
  return sessionIll({
    ...{ session: 'Mesh_192_0_2_12', node: 'n2', address: N2, answers: true },
    reason: { code, detail: `what ${code} says`, remedy: DOWN_REASONS[code].remedy },
    way: { is: 'found', next: N2, interfaceName: 'eth0', neighbour: 'answers' },
    ...more,
  })
}

const by = (neighbour: 'answers' | 'silent' | 'wrong' | 'unknown', next = N2): SessionFacts['way'] => {
  return { is: 'found', next, interfaceName: 'eth0', neighbour }
}

for (const [what, condition, reason, says] of [
  ['other AS numbers', down('wrong-as', { answers: false }), 'NotAccepted', /wrong-as: what wrong-as says/],
  ['a lost default route', down('timeout', { way: { is: 'none', says: 'ENETUNREACH' } }), 'NoRoute', /ENETUNREACH/],
  [
    'a wrong neighbour entry',
    down('timeout', { way: by('wrong'), answers: false }),
    'NeighbourWrong',
    /wrong MAC on eth0/,
  ],
  [
    'a node that is off',
    down('timeout', { way: by('silent'), answers: false }),
    'NeighbourSilent',
    /nobody on eth0.*192\.0\.2\.12/,
  ],
  [
    'a router that is off',
    down('timeout', { way: by('silent', ROUTER), answers: false }),
    'NeighbourSilent',
    /router 192\.0\.2\.1/,
  ],
  [
    'a node that is off behind a router',
    down('timeout', { way: by('answers', ROUTER), answers: false }),
    'NodeSilent',
    /neither BGP nor ping/,
  ],
  ['an agent that is not running', down('refused'), 'AgentAway', /its agent is not running/],
  ['the same where ping is dropped', down('refused', { answers: false }), 'AgentAway', /refuses/],
  ['TCP that is dropped one way', down('timeout'), 'PortSilent', /answers ping and nothing from the BGP port/],
  ['other passwords', down('signature-suspected'), 'PortSilent', /only one end has the right password/],
  ['the other end that does not dial', down('never-tried'), 'NotConnected', /answers ping/],
  ['a session that was closed and does not come back', down('closed'), 'NotConnected', /closed: what closed says/],
  [
    'a timeout where nobody knows whether ping passes',
    down('timeout', { answers: undefined, way: by('unknown') }),
    'NotConnected',
    /timeout/,
  ],
  [
    'a switch that keeps probes from a node that answers ping',
    down('timeout', { way: by('silent') }),
    'PortSilent',
    /ping/,
  ],
] as const)
  test(`${what}: ${reason}`, t => {
    t.like(condition, {
      type: 'SessionsUp',
      status: 'False',
      reason,
      object: { kind: 'BGPSession', name: 'Mesh_192_0_2_12' },
    })
    t.regex(condition.message, says)
    t.true(condition.remedy.length > 10)
  })

for (const [what, more, reason, says] of [
  ['two keepalives did not come', {}, 'OneWay', /nothing has come from node n2 .* for 65 s, and it ends after 90 s/],
  ['the way there is lost', { way: { is: 'none', says: 'ENETUNREACH' } }, 'NoRoute', /nothing has come .*ENETUNREACH/],
  ['the node went off', { answers: false }, 'NodeSilent', /nothing has come .*answers neither/],
] as const)
  test(`of a session that is up, when ${what}: ${reason}`, t => {
    const condition = down('closed', { reason: undefined, silence: { heardMs: 65_000, holdSeconds: 90 }, ...more })
    t.is(condition.reason, reason)
    t.regex(condition.message, says)
  })

test('a firewall is blamed by no cause but as one of several', t => {
  const messages = (['timeout', 'refused'] as const).map(code => down(code).message)
  for (const message of messages) t.regex(message, / or /)
})

function aNode(more: Partial<NodeSessionsDeps> = {}) {
  const clock = new ManualClock()
  const session = {
    ...{ name: 'Mesh_192_0_2_12', address: N2, node: 'n2', holdTimeSeconds: 90 },
    state: 'Established' as 'Established' | 'Active',
    lastReceivedMs: undefined as number | undefined,
  }
  const reason = { code: 'timeout' as DownCode, detail: '', remedy: '' }
  const sessions = [session]
  const pinged: string[] = []
  let told: readonly Condition[] = []
  const route: Route = { dst: `${N2}/32`, table: 254, type: 'unicast', protocol: 2, scope: 253, ifindex: 2 }
  const watch = new NodeSessions({
    kernel: {
      lookupRoute: async () => route,
      link: async () => ({ index: 2, name: 'eth0', mtu: 1500, up: true, running: true }),
      neighbour: async () => undefined,
    },
    asker: { who: async () => ['02:00:00:00:00:12'] },
    ...{
      clock,
      sessions: () =>
        sessions.map(each => ({ ...each, ...(each.state !== 'Established' && { reason: { ...reason } }) })),
      isWrong: () => false,
    },
    ping: async address => pinged.push(address) > 0,
    sourceTo: () => undefined,
    report: conditions => (told = conditions),
    ...more,
  })
  const pass = async (ms: number) => {
    await settle(12)
    clock.advance(ms)
    await settle(12)
  }
  return { clock, session, reason, sessions, pinged, watch, pass, told: () => told }
}

test('a session that is down for ten seconds is told, until it is up; nobody is asked of one that is up', async t => {
  const { clock, session, pinged, watch, pass, told } = aNode()
  watch.start()
  await pass(60_000)
  t.deepEqual([pinged, told()], [[], []])
  session.state = 'Active'
  await pass(5000)
  await pass(5000)
  t.deepEqual(told(), [], 'an agent that restarts is back before')
  await pass(5000)
  t.is(told()[0]?.reason, 'PortSilent')
  session.state = 'Established'
  await pass(5000)
  t.deepEqual(told(), [])
  watch.close()
  t.is(clock.pending, 0)
})

test('a session by which nothing comes is told before its hold time ends, but not by an agent that stood still', async t => {
  const { clock, session, watch, pass, told } = aNode()
  session.lastReceivedMs = clock.wallMs()
  watch.start()
  for (let seconds = 0; seconds < 60; seconds += 5) await pass(5000)
  t.deepEqual(told(), [])
  await pass(5000)
  t.is(told()[0]?.reason, 'OneWay')
  session.lastReceivedMs = clock.wallMs()
  await pass(5000)
  t.deepEqual(told(), [])
  await pass(80_000)
  t.deepEqual(told(), [], 'what came meanwhile is not read yet')
  watch.close()
})

test('who is down for long is asked once a minute, and at once when the speaker says another reason', async t => {
  const { session, reason, pinged, watch, pass, told } = aNode()
  session.state = 'Active'
  watch.start()
  for (let seconds = 0; seconds < 600; seconds += 5) await pass(5000)
  const before = pinged.length
  t.true(before < 20, `${before} in ten minutes`)
  for (let seconds = 0; seconds < 60; seconds += 5) await pass(5000)
  t.is(pinged.length, before + 1)
  t.is(told()[0]?.reason, 'PortSilent')
  reason.code = 'refused'
  await pass(5000)
  t.is(pinged.length, before + 2)
  t.is(told()[0]?.reason, 'AgentAway')
  watch.close()
})

test('of a thousand sessions that are down twenty are looked into', async t => {
  const { session, sessions, pinged, watch, pass, told } = aNode()
  session.state = 'Active'
  for (let i = 0; i < 1000; i++) sessions.push({ ...session, name: `m${i}` })
  watch.start()
  await pass(5000)
  await pass(5000)
  t.deepEqual([pinged.length, told().length], [20, 20])
  watch.close()
})

for (const [what, errnos, reason] of [
  ['no route', [ERRNO.ENETUNREACH], 'NoRoute'],
  ['a route that drops', [ERRNO.EINVAL, ERRNO.EINVAL], 'NoRoute'],
  ['a source that the machine has lost', [ERRNO.EINVAL], 'PortSilent'],
  ['a kernel that does not answer', [ERRNO.ENOBUFS], 'PortSilent'],
] as const)
  test(`the kernel is asked for the way: ${what} is ${reason}`, async t => {
    const left = [...errnos]
    const { session, watch, pass, told } = aNode({
      kernel: {
        async lookupRoute() {
          const errno = left.shift()
          if (errno !== undefined) throw new KernelError(errno, 'look up route', N2)
          return { dst: '0.0.0.0/0', table: 254, type: 'unicast', protocol: 3, scope: 0, ifindex: 2, gateway: ROUTER }
        },
        link: async () => ({ index: 2, name: 'eth0', mtu: 1500, up: true, running: true }),
        neighbour: async () => undefined,
      },
    })
    session.state = 'Active'
    watch.start()
    await pass(5000)
    await pass(5000)
    t.is(told()[0]?.reason, reason)
    watch.close()
  })
