import { readFileSync } from 'node:fs'
import test from 'ava'
import { LOG_LEVELS, LOG_ROOMS, levelBesideDefault, levelOfSeverity } from '../../api/log-settings.ts'

test('Calico’s words for severities are read in any case, and others say nothing', t => {
  t.deepEqual(['Trace', 'debug', 'INFO', 'Warning', 'Error', 'Fatal', 'Panic', 'None'].map(levelOfSeverity), [
    'trace',
    'debug',
    'info',
    'warn',
    'error',
    'fatal',
    'fatal',
    'silent',
  ])
  t.deepEqual(['', 'loud', undefined].map(levelOfSeverity), [undefined, undefined, undefined])
  for (const level of LOG_LEVELS) t.true(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'].includes(level))
})

test('where a schema fills in Info, Info says nothing', t => {
  t.deepEqual(['Info', 'Debug', undefined].map(levelBesideDefault), [undefined, 'debug', undefined])
})

test('docs/observe.md lists every room with what its lines are about', t => {
  const text = readFileSync(new URL('../../docs/observe.md', import.meta.url), 'utf8')
  const rows = [...text.matchAll(/^\| `([a-z]+)` \| (.+) \|$/gm)].map(([, room, about]) => [room, about])
  t.deepEqual(rows, Object.entries(LOG_ROOMS))
})
