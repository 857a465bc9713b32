// The books of `npm run soak`: what counts as lost, as held twice and as left behind.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { type Holdings, newLeaks } from '../../bench/soak/holdings.ts'
import { Ledger, parseStart, percentile, type Start, targetWords } from '../../bench/soak/ledger.ts'
import type { Outcome } from '../../bench/soak/soak.ts'
import { isFine, outcomeTable } from '../../bench/soak/table.ts'

const MAIN = fileURLToPath(new URL('../../bench/soak/main.ts', import.meta.url))
const asked = {
  ...{ other4: '10.0.1.1', own4: '10.0.0.1', service4: '10.96.0.10', outside4: '192.0.2.1' },
  ...{ other6: 'fd00::1:1', own6: 'fd00::1', service6: 'fd00:96::10', outside6: '2001:db8::1' },
}
const FROM4 = '00000000000000000000ffff0a000002'
const FROM6 = 'fd000000000000000000000000000002'
const SOURCES = ['10.0.0.2', 'fd00::2']

function aStart(pod: string, addresses: readonly string[], changed: Partial<Start['answered']> = {}): Start {
  const answered = {
    ...{ other4: 1, own4: 1, service4: 1, outside4: 1, other6: 1, own6: 1, service6: 1, outside6: 1 },
    ...changed,
  }
  return { pod, node: 'n1', addresses, asked, answered }
}

function holdings(
  node: Partial<{ veths: string[]; routes: string[]; rows: string[]; ruleset: string }> = {},
): Holdings {
  const whole = { veths: [], routes: [], rows: [], ruleset: '', ...node }
  return { nodes: new Map([['n1', whole]]), objects: { problems: [], blocks: [{ cidr: '10.0.0.0/28', owner: 'n1' }] } }
}

const FOUR = `other4=${FROM4}:800 own4=${FROM4}:90 service4=${FROM4}:lost outside4=${FROM4}:100`
const SIX = `other6=${FROM6}:801 own6=${FROM6}:91 service6=${FROM6}:101 outside6=${'0'.repeat(32)}:errno:101`

test('a line of a pod has its addresses, the time of its ADD, and of each first packet of each family the time or why none came back', t => {
  const line = `add=12500 n1-s1 ${FOUR} ${SIX}\n`
  t.deepEqual(parseStart(line, { node: 'n1', asked }), {
    ...{ pod: 'n1-s1', node: 'n1', addresses: SOURCES, addMs: 12.5, asked },
    answered: {
      ...{ other4: 0.8, own4: 0.09, service4: 'lost', outside4: 0.1 },
      ...{ other6: 0.801, own6: 0.091, service6: 0.101, outside6: 'errno:101' },
    },
  })
})

test('a line that does not tell of every first packet is none', t => {
  for (const line of [
    '',
    'refused=300',
    `n1-s1 ${FOUR}`,
    `n1-s1 ${FOUR} ${SIX} else4=${FROM4}:1`,
    `n1-s1 ${FOUR} other6=1`,
  ])
    t.throws(() => parseStart(line, { node: 'n1', asked }), { message: /a pod said/ })
})

test('the program of a pod is told whom it asks as one kind of address for both families', t => {
  const words = targetWords({ ...asked, other4: '10.0.0.2', other6: 'fd00::2' }, 7)
  t.true(words.includes(`other4=${FROM4}:7`))
  t.true(words.includes(`other6=${FROM6}:7`))
})

test('each first packet that did not come back is counted, by whom it was for', t => {
  const ledger = new Ledger()
  ledger.started(aStart('a', ['10.0.0.2'], { service4: 'lost', outside6: 'errno:1' }), 5)
  ledger.started(aStart('b', ['10.0.0.3']), 6)
  t.deepEqual(
    ledger.lost.map(({ pod, to, why }) => [pod, to, why]),
    [
      ['a', 'service4', 'lost'],
      ['a', 'outside6', 'errno:1'],
    ],
  )
})

test('an address of a pod that nobody began to take away is held twice; afterwards it is free for others', t => {
  const ledger = new Ledger()
  ledger.started(aStart('a', SOURCES), 1)
  ledger.ending({ pod: 'a', addresses: SOURCES })
  ledger.started(aStart('b', SOURCES), 2)
  t.deepEqual(ledger.doubles, [])
  ledger.started(aStart('c', ['10.0.0.3', 'fd00::2']), 3)
  t.deepEqual(ledger.doubles, [{ address: 'fd00::2', pods: ['b', 'c'], atMs: 3 }])
})

test('a percentile is a value that was measured', t => {
  t.is(percentile([], 50), undefined)
  t.is(percentile([3, 1, 2], 50), 2)
  t.is(percentile([3, 1, 2], 99), 3)
})

test('what was there before the first pod is not left behind, and everything beyond is, each by its kind', t => {
  const kept = { veths: ['cali00000000001'], routes: ['10.0.0.1/32', 'fd00::1/128'], rows: ['interface a'] }
  const before = holdings({ ...kept, ruleset: 'iifname "cali00000000001" ip saddr 10.0.0.1' })
  t.deepEqual(newLeaks(before, before, new Set(SOURCES)), [])
  const after = holdings({
    ...{
      veths: [...kept.veths, 'cali00000000002'],
      routes: [...kept.routes, '10.0.0.2/32', '10.0.9.0/28', 'fd00::2/128', 'fd00:9::/124'],
    },
    rows: [...kept.rows, 'interface b'],
    ruleset: 'iifname "cali00000000003" ip saddr { 10.0.0.2, 10.0.0.20 } ip6 saddr { fd00::2, fd00::20, fd00::2/127 }',
  })
  const objects = {
    problems: ['allocated and not in use: 10.0.0.2 (b)', 'handle without address: h'],
    blocks: ['10.0.0.0/28', '10.0.0.16/28'].map(cidr => ({ cidr, owner: 'n1' })),
  }
  t.deepEqual(
    newLeaks(before, { ...after, objects }, new Set(SOURCES)).map(({ kind, what }) => `${kind} ${what}`),
    [
      'veths n1: cali00000000002',
      'routes n1: 10.0.0.2/32',
      'routes n1: 10.0.9.0/28',
      'routes n1: fd00::2/128',
      'routes n1: fd00:9::/124',
      'rows n1: interface b',
      'rules n1: cali00000000003',
      'rules n1: 10.0.0.2',
      'rules n1: fd00::2',
      'blocks n1: 2 where it had 1',
      'addresses allocated and not in use: 10.0.0.2 (b)',
      'objects handle without address: h',
    ],
  )
})

test('a route to a block that somebody has is none of those that are left, and a block of no node is left', t => {
  const objects = {
    problems: [],
    blocks: [
      { cidr: '10.0.0.0/28', owner: 'n1' },
      { cidr: '10.0.9.0/28', owner: 'gone' },
    ],
  }
  const leaks = newLeaks(holdings(), { ...holdings({ routes: ['10.0.9.0/28'] }), objects }, new Set())
  t.deepEqual(leaks, [{ kind: 'blocks', what: '10.0.9.0/28 of gone' }])
})

const outcome: Outcome = {
  ...{
    starts: 2,
    seconds: 4,
    lost: [],
    doubles: [],
    leaks: [],
    alarms: [],
    failed: [],
    refused: 1,
    kills: new Map([['agent', 3]]),
  },
  ...{ add: { p50: 9.96, p99: 20, most: 30 }, start: undefined, firstAnswer: { p50: 0.5, p99: 1, most: 2 } },
  memory: { start: new Map([['n1', 90.2]]), end: new Map([['n1', 91.7]]) },
}

test('a soak is fine only with starts and without anything lost, held twice, left, or not started', t => {
  t.true(isFine(outcome))
  t.false(isFine({ ...outcome, starts: 0 }))
  t.false(isFine({ ...outcome, failed: ['it does not run'] }))
  t.false(isFine({ ...outcome, leaks: [{ kind: 'rows', what: 'one' }] }))
  t.false(isFine({ ...outcome, alarms: ['n1: PathsPass'] }))
  t.false(isFine({ ...outcome, doubles: [{ address: 'a', pods: ['b', 'c'], atMs: 1 }] }))
  const lost = { pod: 'a', node: 'n1', to: 'own6', asked: 'c', why: 'lost', atMs: 1 } as const
  t.false(isFine({ ...outcome, lost: [lost] }))
  const table = outcomeTable({ ...outcome, lost: [lost] }, { about: 'here', seed: 7 })
  t.regex(table, /\| first packets lost, to a pod on its own node, IPv6 +\| 1 of 2 \|/)
  t.regex(table, /\| killed +\| agent 3 \|/)
  t.regex(table, /\| ADD, p50 \/ p99 \/ longest +\| 10\.0 ms \/ 20 ms \/ 30 ms \|/)
  t.regex(table, /\| memory of the agent of n1, start and end +\| 90 \/ 92 MiB \|/)
})

test('a wrong word is wrong usage, and help says every option', async t => {
  const run = async (...args: string[]) =>
    await promisify(execFile)(process.execPath, [MAIN, ...args]).then(
      ({ stdout }) => ({ code: 0, said: stdout }),
      (error: { code: number; stderr: string }) => ({ code: error.code, said: error.stderr }),
    )
  const [help, kill, starts] = await Promise.all([run('--help'), run('--kill', 'agents'), run('--starts', '-1')])
  t.is(help.code, 0)
  for (const option of ['--starts', '--minutes', '--seed', '--kill', '--where']) t.true(help.said.includes(option))
  t.deepEqual([kill.code, starts.code], [2, 2])
  t.regex(kill.said, /--kill agents: give some of agent, controllers, api, or none/)
})
