import test from 'ava'
import { SessionLog } from '../../../agent/status/session-log.ts'
import type { PeerStatus } from '../../../bgp/config.ts'
import { MemoryNetwork } from '../../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../../bgp/speaker.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { createLog } from '../../../lib/log.ts'
import { settle } from '../../bgp/settle.ts'

type Status = Pick<PeerStatus, 'name' | 'state' | 'reason'>

function aLog() {
  const lines: Record<string, unknown>[] = []
  const events: string[] = []
  const clock = new ManualClock()
  const sessions = new SessionLog({
    clock,
    log: createLog('test', 'info', { write: line => void lines.push(JSON.parse(line)) }),
    record: ({ object, message }) => events.push(`${object.name} ${message}`),
  })
  return { lines, events, clock, sessions }
}

const up = (name: string): Status => ({ name, state: 'Established' })
const down = (name: string, code: 'refused' | 'timeout' = 'refused', detail = 'nobody listens'): Status => ({
  name,
  state: 'Active',
  reason: { code, detail, remedy: '' },
})

test('5,000 peers that are down are two lines: the first at once, the others summed after a minute', t => {
  const { lines, events, clock, sessions } = aLog()
  for (let i = 0; i < 5000; i++) sessions.note(down(`p${i}`, i < 3000 ? 'refused' : 'timeout'))
  clock.advance(60_000)
  t.is(lines.length, 2)
  t.like(lines[0], { peer: 'p0', state: 'Down', reason: 'refused' })
  t.like(lines[1], { changes: 4999, peers: 4999, now: { refused: 2999, timeout: 2000 } })
  t.is(events.length, 21)
  t.is(events[20], '* 4980 more changes within a minute; 4999 peers are now: 2999 refused, 2000 timeout')
})

test('a peer that stays down for the same reason is told of once, whatever the words', t => {
  const { lines, clock, sessions } = aLog()
  for (let i = 0; i < 100; i++) {
    sessions.note(down('a', 'refused', `attempt ${i}`))
    clock.advance(60_000)
  }
  t.is(lines.length, 1)
})

test('while something changes all the time there is one line a minute', t => {
  const { lines, clock, sessions } = aLog()
  for (let second = 0; second < 600; second++) {
    sessions.note(second % 2 === 0 ? up('a') : down('a'))
    clock.advance(1000)
  }
  t.true(lines.length <= 11, String(lines.length))
})

test('after a quiet minute a change is told at once again', t => {
  const { lines, clock, sessions } = aLog()
  sessions.note(down('a'))
  clock.advance(60_000)
  sessions.note(up('a'))
  t.deepEqual(
    lines.map(({ reason }) => reason),
    ['refused', 'Established'],
  )
})

test('a peer that comes up for the first time has no reason to be told of before', t => {
  const { lines, sessions } = aLog()
  sessions.note({ name: 'a', state: 'Connect', reason: { code: 'never-tried', detail: '', remedy: '' } })
  t.deepEqual(lines, [])
  sessions.note(up('a'))
  t.is(lines.length, 1)
})

test('a peer that was removed and comes back is told of anew', t => {
  const { events, clock, sessions } = aLog()
  sessions.note(down('a'))
  sessions.forget('a')
  clock.advance(60_000)
  sessions.note(down('a'))
  t.is(events.length, 2)
})

test('one peer that flaps is two lines in a minute, with its name, and so it is for the whole speaker', async t => {
  const { lines, clock, sessions } = aLog()
  const log = createLog('test', 'info', { write: line => void lines.push(JSON.parse(line)) })
  const network = new MemoryNetwork()
  const [a, b] = ['10.0.0.1', '10.0.0.2'].map(
    (address, i) =>
      new Speaker(
        { asn: 65001 + i, routerId: address },
        { transport: network.host(address), clock, random: () => 1, ...(i === 0 && { log }) },
      ),
  ) as [Speaker, Speaker]
  a.onChange(status => sessions.note(status))
  await a.listen({ address: '10.0.0.1', port: 179 })
  a.setPeer({ name: 'b', address: '10.0.0.2', asn: 65002, passive: true })
  b.setPeer({ name: 'a', address: '10.0.0.1', asn: 65001 })
  for (let second = 0; second < 59; second++) {
    await settle()
    if (b.peers()[0]?.state === 'Established') b.clear('a', 'hard')
    clock.advance(1000)
  }
  t.true(a.peers()[0]!.flaps >= 3)
  clock.advance(1000)
  t.is(lines.length, 2)
  t.like(lines[1], { peers: 1, names: ['b'] })
  await Promise.all([a.close(), b.close()])
})
