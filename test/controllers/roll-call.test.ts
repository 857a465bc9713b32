// Whom margay-controllers ask how far they are with Pods, when, and who has not answered.
import test from 'ava'
import { RollCall } from '../../controllers/roll-call.ts'

const MINUTE = 60_000

/** A call among nodes n0, n1, ... that have said these versions. */
function called(...pods: (string | undefined)[]) {
  const call = new RollCall()
  call.take({ asked: undefined, settled: undefined }, 0)
  for (const [i, version] of pods.entries()) call.set(`n${i}`, { pods: version })
  return call
}

test('without an address that went on too early nobody is asked, and what all say anyway is settled, every five minutes', t => {
  const call = called('7', '12')
  t.like(call.step(0), { asked: undefined, settled: '7', behind: [] })
  call.set('n0', { pods: '13' })
  t.like(call.step(MINUTE), { settled: '7', waitMs: 4 * MINUTE })
  t.like(call.step(5 * MINUTE), { settled: '12' })
})

test('a node that has said nothing of Pods keeps everything unsettled', t => {
  const call = called('7', undefined)
  t.like(call.step(0), { asked: undefined, settled: undefined, behind: [] })
})

test('who has not answered in three minutes is named, until it answers or is no node any more', t => {
  const call = called('7', '7', '7')
  call.set('n1', { pods: '7', late: '9' })
  const { asked, behind, waitMs } = call.step(0)
  t.deepEqual([asked, behind, waitMs], ['9', [], 180_060])
  call.set('n0', { pods: '10' })
  t.like(call.step(waitMs - 1), { behind: [] })
  t.like(call.step(waitMs), { behind: ['n1', 'n2'], settled: '10' })
  call.set('n1', { pods: '9', late: '9' })
  t.like(call.step(waitMs), { behind: ['n2'] })
  call.set('n2', undefined)
  t.like(call.step(waitMs), { behind: [], settled: '10' })
})

test('while one node is down the others settle what they say without it, and it is named all the time', t => {
  const call = called('7', '7')
  call.set('n0', { pods: '9', late: '9' })
  call.step(0)
  for (let minute = 10; minute < 200; minute += 10) {
    call.set('n0', { pods: `${minute}`, late: '9' })
    t.like(call.step(minute * MINUTE), { behind: ['n1'], asked: '9', settled: `${minute}` })
  }
  call.set('n1', { pods: '500' })
  t.like(call.step(200 * MINUTE), { behind: [], settled: '190' })
})

test('however many nodes ask, all are asked once in ten minutes at the most, and 5,000 of them once in a thousand seconds', t => {
  for (const [nodes, periodMs] of [
    [3, 600_000],
    [5000, 1_000_000],
  ] as const) {
    const call = called(...Array.from({ length: nodes }, () => '1'))
    const seen = new Set<string>()
    let last: string | undefined
    for (let nowMs = 0; nowMs < 4 * periodMs; nowMs += periodMs / 20) {
      const version = `${100 + nowMs / 1000}`
      call.set(`n${(nowMs / 1000) % 3}`, { pods: version, late: version })
      last = call.step(nowMs).asked
      if (last !== undefined) seen.add(last)
    }
    t.is(seen.size, 4, `${nodes} nodes`)
  }
})

test('another leader goes on with what was asked, and gives the nodes their time again', t => {
  const call = called('7', '9')
  call.set('n1', { pods: '9', late: '9' })
  call.take({ asked: '9', settled: '7' }, 1000)
  t.like(call.step(1000), { asked: '9', settled: '7', behind: [] })
  call.take({ asked: '9', settled: '6' }, 100_000)
  t.like(call.step(181_039), { behind: [] })
  t.like(call.step(181_040), { behind: ['n0'] })
})

test('a question that could not be written is asked again at once', t => {
  const call = called('7', '9')
  call.set('n1', { pods: '9', late: '9' })
  t.like(call.step(0), { asked: '9' })
  call.take({ asked: undefined, settled: undefined }, 1000)
  t.like(call.step(1000), { asked: '9', settled: '7' })
})

test('versions that no node knows of are those of another server, and void', t => {
  const call = called('7', '9')
  call.take({ asked: '900', settled: '800' }, 0)
  t.like(call.step(0), { asked: undefined, settled: '7' })
})

test('versions that are no decimal numbers are never settled, and nobody is asked for one', t => {
  const call = called('7', 'x')
  call.set('n0', { pods: '7', late: 'y' })
  t.like(call.step(0), { asked: undefined, settled: undefined, behind: [] })
})

test('versions beyond 2^53 keep their order', t => {
  const call = called('18446744073709551614', '18446744073709551615')
  call.set('n1', { pods: '18446744073709551615', late: '18446744073709551615' })
  t.like(call.step(0), { asked: '18446744073709551615', settled: '18446744073709551614' })
  t.deepEqual(call.step(10 * MINUTE).behind, ['n0'])
})
