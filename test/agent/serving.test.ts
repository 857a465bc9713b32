// What stands against a node, and what the runtime and the Node object are told of it.
import test from 'ava'
import { Serving } from '../../agent/serving.ts'
import type { Condition, ConditionType } from '../../api/status.ts'
import { ManualClock } from '../../lib/clock.ts'
import { createLog } from '../../lib/log.ts'

const cause = { reason: 'Why', message: 'what is wrong', remedy: 'do this' }
const is = (type: ConditionType): Condition => ({ type, status: 'False', ...cause })
const maybe = (type: ConditionType): Condition => ({ type, status: 'Unknown', ...cause })

function aNode({ servedAgoMs }: { servedAgoMs?: number } = {}) {
  const clock = new ManualClock()
  const lines: string[] = []
  const log = createLog('test', 'info', { write: line => void lines.push(line) })
  const serving = new Serving({ clock, log, servedAgoMs })
  /** Looks once a second for so long, and says what STATUS answers at the end. */
  const after = (seconds: number, ...stops: Condition[]) => {
    serving.look(stops)
    for (let i = 0; i < seconds; i++) {
      clock.advance(1000)
      serving.look(stops)
    }
    const { unserved } = serving
    return unserved === undefined ? 'ok' : unserved.limited ? 51 : 50
  }
  return { serving, after, lines }
}

test('a node that never served a pod is not ready while anything stands against it', t => {
  for (const stop of [maybe('PoolsKnown'), is('PoolsUsable'), is('NodePublished'), maybe('NodeAddressKnown')]) {
    const { after, serving } = aNode()
    t.is(after(0, stop), 50)
    t.is(after(3600, stop), 50)
    t.false(serving.serves)
    t.is(after(0), 'ok')
    t.true(serving.serves)
  }
})

test('what takes the network from running pods fails STATUS at once, after a restart too', t => {
  for (const stop of [is('PodTrafficPasses'), is('NodeObjectKnown')])
    for (const servedAgoMs of [undefined, 1000]) {
      const { after } = aNode({ servedAgoMs })
      t.is(after(0, stop), 51)
      t.is(after(0), 'ok')
      t.is(after(0, is('PoolsUsable'), stop), 51)
    }
})

test('what keeps new pods alone from an address never makes a node NotReady that served pods, and the Node object says it', t => {
  for (const stop of [is('PoolsUsable'), is('JournalWritable'), is('DescriptorsLeft'), is('NodePublished')]) {
    const { after, serving } = aNode({ servedAgoMs: 3_600_000 })
    t.is(after(3600, stop), 'ok')
    t.true(serving.serves, 'the next agent is told')
    t.deepEqual(serving.networkCondition(), {
      status: 'True',
      reason: 'Why',
      message: `${stop.type}: what is wrong`,
    })
  }
})

test('an agent that starts again within a minute leaves the node as it was while it does not know yet; longer it does not', t => {
  const begins = [maybe('KernelProgrammed'), maybe('PoolsKnown')]
  const { after, serving } = aNode({ servedAgoMs: 10_000 })
  t.is(after(55, ...begins), 'ok')
  t.is(serving.networkCondition(), undefined, 'what the Node object says stays')
  t.false(serving.serves)
  t.is(after(10, ...begins), 50)
  t.like(serving.networkCondition(), { status: 'True' })
  t.is(aNode({ servedAgoMs: 71_000 }).after(0, ...begins), 50)
})

test('the Node object says for what lasts, and at once when it is over', t => {
  const { after, serving } = aNode()
  after(0)
  t.like(serving.networkCondition(), { status: 'False', reason: 'PodsServed' })
  after(9, is('PodTrafficPasses'))
  t.is(serving.networkCondition(), undefined)
  after(1, is('PodTrafficPasses'))
  t.like(serving.networkCondition(), { status: 'True', message: 'PodTrafficPasses: what is wrong' })
  after(0)
  t.like(serving.networkCondition(), { status: 'False' })
  for (let i = 0; i < 100; i++) {
    after(4, is('PodTrafficPasses'))
    t.is(serving.networkCondition(), undefined, 'one that flaps is not written')
    after(0)
  }
  const long = { ...is('PoolsUsable'), message: 'x'.repeat(10_000) }
  after(20, long, is('NodePublished'), is('DescriptorsLeft'))
  t.true(serving.networkCondition()!.message.length < 600)
  t.regex(serving.networkCondition()!.message, /; and 2 more$/)
})

test('a message that is cut within a character is one that a server stores as it is', t => {
  for (const message of ['😀'.repeat(1000), `x${'😀'.repeat(1000)}`, 'half \ud83d of one']) {
    const { after, serving } = aNode()
    after(20, { ...is('PoolsUsable'), message }, is('NodePublished'))
    const said = serving.networkCondition()!.message
    t.is(Buffer.from(said).toString(), said)
    t.regex(said, /; and 1 more$/)
  }
})

test('the log has one line for each change of what the runtime is told, however often it asks', t => {
  const { after, lines } = aNode()
  after(100, is('PoolsUsable'))
  after(100)
  after(100, is('PodTrafficPasses'))
  after(100, is('PodTrafficPasses'), is('PoolsUsable'))
  t.is(lines.length, 3, lines.join(''))
  t.regex(lines[0]!, /not ready for pods: what is wrong/)
  t.regex(lines[1]!, /is ready for pods/)
})
