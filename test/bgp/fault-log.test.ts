import test from 'ava'
import { FaultLog } from '../../bgp/fault-log.ts'
import { ManualClock } from '../../lib/clock.ts'
import { createLog } from '../../lib/log.ts'

test('a flood of faults gives a few lines, and then one line with the number of the others', t => {
  const lines: Record<string, unknown>[] = []
  const log = createLog('test', 'info', { write: line => void lines.push(JSON.parse(line)) })
  const clock = new ManualClock()
  const faults = new FaultLog(log, clock)
  for (let i = 0; i < 1000; i++) faults.note({ type: 'fault', key: 'p', cost: 'withdraw', reason: `bad ${i}` })
  faults.note({ type: 'fault', key: 'other', cost: 'discard', reason: 'its own window' })
  t.is(lines.length, 6)
  clock.advance(60_000)
  faults.note({ type: 'fault', key: 'p', cost: 'withdraw', reason: 'again' })
  t.is(lines[6]!['silenced'], 995)
  t.is(lines[7]!['reason'], 'again')
})

test('the same fault is one line a minute, however often it comes', t => {
  const lines: Record<string, unknown>[] = []
  const log = createLog('test', 'info', { write: line => void lines.push(JSON.parse(line)) })
  const clock = new ManualClock()
  const faults = new FaultLog(log, clock)
  for (let i = 0; i < 59; i++, clock.advance(1000))
    faults.note({ type: 'no-destination', key: 'p', prefix: '127.0.0.0/8' })
  t.deepEqual(
    lines.map(({ prefix }) => prefix),
    ['127.0.0.0/8'],
  )
})

test('an End-of-RIB is no fault', t => {
  const lines: string[] = []
  const faults = new FaultLog(createLog('test', 'info', { write: line => void lines.push(line) }), new ManualClock())
  faults.note({ type: 'end-of-rib', key: 'p', family: 'ipv4-unicast' })
  t.deepEqual(lines, [])
})
