import test from 'ava'
import { broken, CONDITION_TYPES, conditionKey, EVENT_TYPES, formatRef, kept } from '../../api/status.ts'

test('condition types and event types are CamelCase words with a sentence each', t => {
  for (const type of [...Object.keys(CONDITION_TYPES), ...Object.keys(EVENT_TYPES)]) t.regex(type, /^([A-Z][a-z]+)+$/)
  for (const { promise } of Object.values(CONDITION_TYPES)) t.true(promise.length > 10)
})

test('a kept promise has nothing to say, a broken one says what is wrong and what to do', t => {
  t.deepEqual(kept('PoolsUsable'), { type: 'PoolsUsable', status: 'True', reason: 'Ok', message: '', remedy: '' })
  const problem = { reason: 'Overlap', message: 'a overlaps b', remedy: 'delete one of them' }
  t.deepEqual(broken('PoolsUsable', problem), { type: 'PoolsUsable', status: 'False', ...problem })
})

test('two conditions of one type are told apart by their objects', t => {
  const about = (name: string) => conditionKey({ type: 'BlocksReachable', object: { kind: 'Route', name } })
  t.not(about('10.0.0.0/26'), about('10.0.0.64/26'))
  t.is(conditionKey({ type: 'BlocksReachable' }), 'BlocksReachable')
  t.is(formatRef({ kind: 'Pod', namespace: 'a', name: 'b' }), 'Pod a/b')
})
