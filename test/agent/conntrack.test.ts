import test from 'ava'
import { Conntrack } from '../../agent/conntrack.ts'
import type { Condition } from '../../api/status.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { ManualClock } from '../../lib/clock.ts'

/** A node whose table has `held` of 1000 connections. */
function aTable() {
  const clock = new ManualClock()
  const reports: (readonly Condition[])[] = []
  const table: { held?: number } = { held: 10 }
  const readSysctl = (family: string, [name]: readonly string[]) => {
    if (table.held === undefined) throw new KernelError(ERRNO.ENOENT, 'read sysctl', `${family} ${name}`)
    return name === 'nf_conntrack_max' ? '1000' : String(table.held)
  }
  const watch = new Conntrack({ kernel: { readSysctl }, clock, report: conditions => reports.push(conditions) })
  return { clock, reports, table, watch }
}

test('a full connection tracking table is told within five seconds, with what to do, until it has room again', t => {
  const { clock, reports, table, watch } = aTable()
  watch.start()
  t.deepEqual(reports, [])
  table.held = 1000
  clock.advance(5000)
  const [[condition]] = reports as [[Condition]]
  t.like(condition, { type: 'ConnectionsTracked', reason: 'TableFull' })
  t.regex(condition.message, /1000 of 1000.*new connections .* are dropped/)
  t.regex(condition.remedy, /nf_conntrack_max=2000/)
  table.held = 960
  clock.advance(60_000)
  t.is(reports.length, 1)
  table.held = 800
  clock.advance(5000)
  t.deepEqual(reports.at(-1), [])
  watch.close()
  t.is(clock.pending, 0)
})

test('a kernel that tracks no connections has no full table', t => {
  const { clock, reports, table, watch } = aTable()
  delete table.held
  watch.start()
  clock.advance(60_000)
  t.deepEqual(reports, [])
  watch.close()
})

test('a table that is nearly full is told before it is, and does not come and go with every connection', t => {
  const { clock, reports, table, watch } = aTable()
  const types = () => reports.map(conditions => conditions.map(({ type }) => type))
  watch.start()
  for (const held of [899, 900, 899, 850, 849]) {
    table.held = held
    clock.advance(5000)
  }
  t.deepEqual(types(), [['ConnectionsRoom'], []])
  const [condition] = reports[0]!
  t.like(condition, { reason: 'NearlyFull' })
  t.regex(condition!.message, /900 of 1000/)
  for (const held of [1000, 940, 800]) {
    table.held = held
    clock.advance(5000)
  }
  t.deepEqual(types().slice(2), [['ConnectionsTracked', 'ConnectionsRoom'], ['ConnectionsRoom'], []])
  watch.close()
})
