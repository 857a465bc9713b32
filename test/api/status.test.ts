import { globSync, readFileSync } from 'node:fs'
import test from 'ava'
import { broken, CONDITION_TYPES, conditionKey, EVENT_TYPES, formatRef, kept } from '../../api/status.ts'
import { conditionsText } from '../../manifests/conditions.ts'

test('condition types and event types are CamelCase words with a sentence each', t => {
  for (const type of [...Object.keys(CONDITION_TYPES), ...Object.keys(EVENT_TYPES)]) t.regex(type, /^([A-Z][a-z]+)+$/)
  for (const { promise } of Object.values(CONDITION_TYPES)) t.true(promise.length > 10)
})

const root = new URL('../..', import.meta.url).pathname
const rooms = globSync('{agent,bgp,cni,felix,ipam}/**/*.ts', { cwd: root })
  .map(file => readFileSync(`${root}${file}`, 'utf8'))
  .join('\n')

test('every type of condition and of event is reported somewhere', t => {
  const silent = [...Object.keys(CONDITION_TYPES), ...Object.keys(EVENT_TYPES)].filter(
    type => !rooms.includes(`'${type}'`),
  )
  t.deepEqual(silent, [])
})

test('docs/conditions.md has the tables as they are', t => {
  t.is(readFileSync(`${root}docs/conditions.md`, 'utf8'), conditionsText(), 'npm run manifests writes it')
})

test('a kept promise has nothing to say, a broken one says what is wrong and what to do', t => {
  t.deepEqual(kept('PoolsUsable'), { type: 'PoolsUsable', status: 'True', reason: 'Ok', message: '', remedy: '' })
  const problem = { reason: 'NoPool', message: 'there is no IPPool', remedy: 'create one' } as const
  t.deepEqual(broken('PoolsUsable', problem), { type: 'PoolsUsable', status: 'False', ...problem })
})

test('two conditions of one type are told apart by their objects', t => {
  const about = (name: string) => conditionKey({ type: 'BlocksReachable', object: { kind: 'Route', name } })
  t.not(about('10.0.0.0/26'), about('10.0.0.64/26'))
  t.is(conditionKey({ type: 'BlocksReachable' }), 'BlocksReachable')
  t.is(formatRef({ kind: 'Pod', namespace: 'a', name: 'b' }), 'Pod a/b')
})
