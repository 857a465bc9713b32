import test from 'ava'
import fc from 'fast-check'
import { resolveCollision } from '../../../bgp/fsm/collision.ts'

const base = { localId: 10, remoteId: 20, localAs: 65001, remoteAs: 65002, otherSentMs: 0 }

test('for the lower identifier connections collide only once both OPENs were seen', t => {
  for (const otherPhase of ['Idle', 'Connect', 'Active', 'OpenSent'] as const)
    t.is(resolveCollision({ ...base, opened: 'incoming', otherPhase }), undefined)
})

test('the connection that the higher identifier dialled stays', t => {
  const higher = { ...base, localId: 30 }
  for (const opened of ['incoming', 'outgoing'] as const) {
    t.is(resolveCollision({ ...base, opened, otherPhase: 'OpenConfirm' }), 'outgoing')
    t.is(resolveCollision({ ...higher, opened, otherPhase: 'OpenConfirm' }), 'incoming')
  }
})

test('the higher identifier does not wait for the OPEN on the connection that it dialled, but for a while', t => {
  const sent = { ...base, localId: 30, otherPhase: 'OpenSent' } as const
  t.is(resolveCollision({ ...sent, opened: 'incoming' }), 'incoming')
  t.is(resolveCollision({ ...sent, opened: 'incoming', otherSentMs: 4999 }), 'incoming')
  t.is(resolveCollision({ ...sent, opened: 'incoming', otherSentMs: 5000 }), undefined)
  t.is(resolveCollision({ ...sent, opened: 'outgoing' }), undefined)
  for (const otherPhase of ['Idle', 'Connect', 'Active'] as const)
    t.is(resolveCollision({ ...sent, opened: 'incoming', otherPhase, otherSentMs: undefined }), undefined)
})

test('with equal identifiers the connection that the higher AS dialled stays', t => {
  const equal = { ...base, remoteId: 10, opened: 'incoming', otherPhase: 'OpenConfirm' } as const
  t.is(resolveCollision(equal), 'outgoing')
  t.is(resolveCollision({ ...equal, localAs: 65003 }), 'incoming')
})

test('an established session is never given up for a new connection', t => {
  for (const opened of ['incoming', 'outgoing'] as const)
    t.is(resolveCollision({ ...base, opened, otherPhase: 'Established' }), opened)
})

test('both speakers drop the same connection', t => {
  const id = fc.integer({ min: 1, max: 0xffffffff })
  const asn = fc.integer({ min: 1, max: 0xffffffff })
  fc.assert(
    fc.property(id, id, asn, asn, (a, b, asA, asB) => {
      fc.pre(a !== b || asA !== asB)
      const one = { otherSentMs: 0, localId: a, remoteId: b, localAs: asA, remoteAs: asB }
      const two = { otherSentMs: 0, localId: b, remoteId: a, localAs: asB, remoteAs: asA }
      const seenByOne = resolveCollision({ ...one, opened: 'outgoing', otherPhase: 'OpenConfirm' })
      const seenByTwo = resolveCollision({ ...two, opened: 'incoming', otherPhase: 'OpenConfirm' })
      t.not(seenByOne, seenByTwo) // what one dialled the other accepted
    }),
  )
})
