import test from 'ava'
import { StatusModel } from '../../../agent/status/model.ts'
import {
  broken,
  CONDITION_TYPES,
  type Condition,
  type EventRecord,
  type ReasonOf,
  unknown,
} from '../../../api/status.ts'
import { ManualClock } from '../../../lib/clock.ts'

function aModel() {
  const events: EventRecord[] = []
  const clock = new ManualClock(0)
  const model = new StatusModel({ clock, node: { kind: 'Node', name: 'n1' }, record: event => events.push(event) })
  return { model, clock, events }
}

const cause = <R extends string>(reason: R) => ({ reason, message: `it is ${reason}`, remedy: 'repair it' })
const noWay = (prefix: string, reason: ReasonOf<'BlocksReachable'> = 'VtepUnknown'): Condition =>
  broken('BlocksReachable', { ...cause(reason), object: { kind: 'Route', name: prefix } })

test('every type of the table is shown, once as kept or once per object that breaks it', t => {
  const { model } = aModel()
  t.deepEqual(
    model.conditions().map(({ type, status }) => `${type} ${status}`),
    Object.keys(CONDITION_TYPES).map(type => `${type} True`),
  )
  model.report('felix', [noWay('10.0.2.0/26'), noWay('10.0.1.0/26')])
  t.deepEqual(
    model
      .conditions()
      .filter(({ type }) => type === 'BlocksReachable')
      .map(({ object }) => object?.name),
    ['10.0.1.0/26', '10.0.2.0/26'],
  )
})

test('what two sources say of one object is one condition, which is kept when neither says it any more', t => {
  const { model, events } = aModel()
  const twin = (message: string) =>
    broken('AddressesUnique', {
      reason: 'DuplicateVtep',
      message,
      remedy: 'delete it',
      object: { kind: 'Node', name: 'old' },
    })
  model.report('felix', [twin('one VTEP')])
  model.report('peers', [twin('one address')])
  const rows = () => model.conditions().filter(({ type }) => type === 'AddressesUnique')
  t.is(rows().length, 1)
  t.like(rows()[0], { message: 'one VTEP; one address', remedy: 'delete it', sinceMs: 0 })
  model.report('felix', [])
  t.like(rows(), [{ status: 'False', message: 'one address' }])
  model.report('peers', [])
  t.like(rows(), [{ status: 'True' }])
  t.deepEqual(
    events.map(({ reason }) => reason),
    ['DuplicateVtep', 'DuplicateVtep', 'Ok'],
  )
})

test('only vital conditions decide readiness; one that is not known yet is not kept', t => {
  const { model } = aModel()
  t.true(model.ready())
  model.report('felix', [noWay('10.0.1.0/26')])
  t.true(model.ready())
  model.report('kernel', [unknown('KernelProgrammed', cause('NotApplied'))])
  t.false(model.ready())
  model.report('kernel', [])
  t.true(model.ready())
})

test('since is when the status or the reason changed, not when it was last told', t => {
  const { model, clock } = aModel()
  clock.advance(1000)
  model.report('felix', [noWay('10.0.1.0/26')])
  clock.advance(1000)
  model.report('felix', [{ ...noWay('10.0.1.0/26'), message: 'in other words' }])
  const since = () => model.conditions().find(({ type }) => type === 'BlocksReachable')?.sinceMs
  t.is(since(), 1000)
  model.report('felix', [noWay('10.0.1.0/26', 'NoIpv6Tunnel')])
  t.is(since(), 2000)
  clock.advance(1000)
  model.report('felix', [])
  t.is(since(), 3000)
})

test('each change is an event; the same report again is none', t => {
  const { model, events } = aModel()
  model.report('felix', [noWay('10.0.1.0/26')])
  model.report('felix', [noWay('10.0.1.0/26')])
  model.report('felix', [])
  t.deepEqual(
    events.map(({ reason, object }) => `${reason} ${object.kind} ${object.name}`),
    ['VtepUnknown Route 10.0.1.0/26', 'Ok Route 10.0.1.0/26'],
  )
})

test('what one source says stays when another one reports', t => {
  const { model } = aModel()
  model.report('felix', [noWay('10.0.1.0/26')])
  model.report('ipam', [broken('BlocksOwned', cause('LostBlock'))])
  model.report('ipam', [])
  t.is(model.conditions().filter(({ status }) => status === 'False').length, 1)
})

test('a thousand changes of one type at once are one event with their number', t => {
  const { model, events } = aModel()
  model.report(
    'felix',
    Array.from({ length: 1000 }, (_, i) =>
      noWay(`10.${i >> 8}.${i & 255}.0/26`, i < 600 ? 'VtepUnknown' : 'Malformed'),
    ),
  )
  t.is(events.length, 1)
  t.is(events[0]!.message, 'BlocksReachable: 1000 changes: 600 VtepUnknown, 400 Malformed')
  t.deepEqual(events[0]!.object, { kind: 'Node', name: 'n1' })
})
