// What of a node's life becomes an Event for people who look with kubectl.
import test from 'ava'
import { type News, NodeNews } from '../../../agent/status/node-news.ts'
import { NODE_EVENTS } from '../../../api/node-events.ts'
import type { Condition, ConditionType } from '../../../api/status.ts'
import { ManualClock } from '../../../lib/clock.ts'

function world() {
  const clock = new ManualClock()
  const told: News[] = []
  const news = new NodeNews({ clock, tell: each => told.push(each) })
  return { clock, news, told, take: () => told.splice(0) }
}

const wrong = (type: ConditionType, name: string): Condition => ({
  ...{ type, status: 'False', reason: 'R', message: `${name} is wrong`, remedy: 'cure it' },
  object: { kind: 'Route', name },
})

const session = (name: string, reason: string) =>
  ({ type: 'SessionChanged', object: { kind: 'BGPSession', name }, reason, message: `Down: ${reason}` }) as const

test('a promise that is broken for ten seconds is told with its remedy once, and once more when it is kept again', t => {
  const { clock, news, take } = world()
  const all = [wrong('KernelInSync', '10.0.0.0/26'), wrong('KernelInSync', '10.0.0.64/26')]
  news.look(all)
  clock.advance(9_000)
  news.look(all)
  t.deepEqual(take(), [])
  clock.advance(1_000)
  news.look(all)
  news.look(all)
  t.deepEqual(take(), [{ reason: 'KernelRefuses', message: '10.0.0.0/26 is wrong; cure it; and 1 more' }])
  news.look([])
  news.look([])
  t.deepEqual(take(), [{ reason: 'ConditionKept', message: 'KernelInSync is kept again' }])
})

test('what is healed within ten seconds, is not known yet, or is no promise of the table is not told', t => {
  const { clock, news, take } = world()
  news.look([wrong('AddressesLeft', 'a')])
  clock.advance(9_999)
  news.look([])
  const others: Condition[] = [{ ...wrong('KernelInSync', 'a'), status: 'Unknown' }, wrong('FieldsSupported', 'x')]
  for (let i = 0; i < 60; i++) {
    clock.advance(1_000)
    news.look(others)
  }
  t.deepEqual(take(), [])
})

test('a node that does not serve its pods is told with the reason, another reason is told too, and the end of it', t => {
  const { news, take } = world()
  const served = { status: 'False', reason: 'PodsServed', message: 'ok' } as const
  const not = (message: string) => ({ status: 'True', reason: 'NoAddress', message }) as const
  news.network(served)
  news.network(undefined)
  t.deepEqual(take(), [], 'a node that begins well')
  news.network(not('NodeAddressKnown: no address'))
  news.network(not('NodeAddressKnown: still none'))
  news.network(undefined)
  news.network(not('PoolsUsable: all are disabled'))
  news.network(served)
  t.deepEqual(
    take().map(({ reason, message }) => `${reason} ${message.split(':')[0]}`),
    ['PodsNotServed NodeAddressKnown', 'PodsNotServed PoolsUsable', 'PodsServed this node serves its pods again'],
  )
})

test('a session is told when it goes down after it was up, and when it is up again, and not before its first time', t => {
  const { news, take } = world()
  news.record(session('rack', 'refused'))
  news.record(session('rack', 'Established'))
  t.deepEqual(take(), [])
  news.record(session('rack', 'hold-timer'))
  news.record(session('rack', 'refused'))
  news.record(session('rack', 'Established'))
  t.deepEqual(
    take().map(({ reason }) => reason),
    ['BGPSessionDown', 'BGPSessionUp'],
  )
})

test('of more sessions than a thousand those that changed last are kept in mind', t => {
  const { news, take } = world()
  for (let i = 0; i < 5000; i++) news.record(session(`n${i}`, 'Established'))
  for (const name of ['n0', 'n3999', 'n4000', 'n4999']) news.record(session(name, 'hold-timer'))
  t.deepEqual(
    take().map(({ message }) => message.split(' ')[3]),
    ['n4000', 'n4999'],
  )
})

test('what somebody else changed and was put back is told with the object', t => {
  const { news, take } = world()
  const object = { kind: 'Route', name: '10.0.0.0/26' } as const
  news.record({ type: 'Healed', object, reason: 'ChangedByOther', message: 'put back' })
  t.deepEqual(take(), [
    { reason: 'ForeignChangeRepaired', message: 'Route 10.0.0.0/26: put back; see docs/conditions.md#event-healed' },
  ])
})

test('reasons are words as Kubernetes takes them', t => {
  for (const reason of Object.keys(NODE_EVENTS)) t.regex(reason, /^[A-Z][A-Za-z]{2,40}$/)
})
