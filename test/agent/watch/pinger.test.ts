// When an address counts as answering ICMP echo.
import test from 'ava'
import { pinger } from '../../../agent/watch/pinger.ts'
import type { EchoSocket } from '../../../kernel/echo-socket.ts'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { settle } from '../../bgp/settle.ts'

const N2 = '192.0.2.12'

/** A machine whose `answers` come after so many requests. */
function aMachine(answers: { after: number; from: string } | undefined, { sends = true } = {}) {
  const clock = new ManualClock()
  const counts = { sent: 0, closed: 0 }
  const socket: EchoSocket = {
    send: () => {
      counts.sent++
      return sends
    },
    drain(deliver) {
      if (answers !== undefined && counts.sent >= answers.after) deliver(answers.from, Buffer.alloc(16))
    },
    close: () => void counts.closed++,
  }
  const ping = pinger({ open: () => socket, clock })
  const after = async (answer: Promise<boolean | undefined>) => {
    for (let i = 0; i < 3; i++) {
      await settle(4)
      clock.advance(300)
    }
    return answer
  }
  return { ping, after, counts }
}

test('an address answers when one of three requests is answered by it', async t => {
  const { ping, after, counts } = aMachine({ after: 2, from: N2 })
  t.true(await after(ping(N2)))
  t.deepEqual(counts, { sent: 2, closed: 1 })
})

test('an address without an answer, or with one of somebody else, is silent', async t => {
  for (const answers of [undefined, { after: 1, from: '192.0.2.1' }]) {
    const { ping, after, counts } = aMachine(answers)
    t.false(await after(ping(N2)))
    t.deepEqual(counts, { sent: 3, closed: 1 })
  }
})

test('nothing is known where this machine could send nothing, or may not', async t => {
  const { ping, after } = aMachine(undefined, { sends: false })
  t.is(await after(ping(N2)), undefined)
  const open = () => {
    throw new KernelError(ERRNO.EPERM, 'socket', 'ICMP')
  }
  t.is(await pinger({ open, clock: new ManualClock() })(N2), undefined)
})
