// Which size of packets passes to a node, as it is measured, and when it is told.
import test from 'ava'
import { PathMtus } from '../../../agent/probes/mtu.ts'
import type { PathState } from '../../../api/paths.ts'

type Network = { passes: (octets: number, count: number) => boolean }

/** A node that measures the way to others, an hour in steps of half a second. */
function aNode(network: Network, { mtu = 1450, nodes = ['n2'] }: { mtu?: number; nodes?: readonly string[] } = {}) {
  const found: string[] = []
  const sent: number[] = []
  let nowMs = 0
  const here = { mtu }
  const states: PathState[] = nodes.map(node => ({
    ...{ node, family: 'ipv4', address: `10.244.0.${node.slice(1)}`, encapsulation: 'vxlan', state: 'passes' },
    ...{ sinceMs: 0, lossPermille: 0, sampled: false },
  }))
  const mtus = new PathMtus({ random: () => 0.5, found: ({ node }, octets) => found.push(`${node} ${octets}`) })
  const pass = (seconds: number) => {
    for (const endMs = nowMs + seconds * 1000; nowMs < endMs; nowMs += 100) {
      const { packets } = mtus.step(nowMs, states, here.mtu)
      for (const { octets, look } of packets) {
        sent.push(octets)
        if (network.passes(octets, sent.length)) mtus.answered(look)
      }
    }
  }
  return { mtus, states, here, found, sent, pass, told: () => mtus.conditions() }
}

for (const limit of [1448, 1400, 1374, 1280, 600])
  test(`packets of up to ${limit} octets pass: that is found within eight in some seconds, and told with what helps`, t => {
    const { found, sent, pass, told } = aNode({ passes: octets => octets <= limit })
    pass(17)
    const [condition, ...others] = told()
    t.deepEqual(others, [])
    t.like(condition, { type: 'PathMtuFits', reason: 'PacketsTooLarge', object: { kind: 'Node', name: 'n2' } })
    const octets = Number(found.at(-1)!.split(' ')[1])
    t.true(octets <= limit && octets > limit - 10, `${octets}`)
    t.true(condition!.message.includes(`up to 1450 octets`) && condition!.message.includes(`${octets} octets pass`))
    t.regex(condition!.remedy, new RegExp(`vxlanMTU .*${octets}`))
    t.true(sent.length <= 2 * 3 * 10, `${sent.length} packets`)
  })

test('where all sizes pass, a large and a small packet are sent in ten seconds, to a thousand nodes in ten minutes', t => {
  const { found, sent, pass, told } = aNode({ passes: () => true })
  pass(600)
  t.deepEqual([[...new Set(found)], told()], [['n2 1450'], []])
  t.true(sent.length > 100 && sent.length <= 2 * 70, `${sent.length} packets`)
  const nodes = Array.from({ length: 1000 }, (_, i) => `n${i}`)
  const many = aNode({ passes: () => true }, { nodes })
  many.pass(900)
  t.true(many.sent.length > 2000 && many.sent.length <= 2 * 2500, `${many.sent.length} packets`)
})

test('an odd MTU fits by the size below it', t => {
  const { found, pass } = aNode({ passes: () => true }, { mtu: 1379 })
  pass(60)
  t.deepEqual(found, ['n2 1379'])
})

test('losses that are not about size tell nothing', t => {
  for (const part of [2, 3, 5]) {
    const { pass, told } = aNode({ passes: (_, count) => count % part === 0 })
    pass(3600)
    t.deepEqual(told(), [], `one packet in ${part}`)
  }
})

test('a large packet that is lost by chance three times is asked for again before anything is told', t => {
  let lost = 0
  const { pass, told, found } = aNode({ passes: octets => octets < 1450 || ++lost > 3 })
  pass(60)
  t.deepEqual([told(), found], [[], ['n2 1450']])
})

test('what was told ends within ten seconds of its cure, and is not measured again before', t => {
  const network = { limit: 1374 }
  const { sent, pass, told } = aNode({ passes: octets => octets <= network.limit })
  pass(30)
  t.is(told().length, 1)
  const before = sent.length
  pass(240)
  t.is(told().length, 1)
  t.deepEqual([...new Set(sent.slice(before))].sort(), [1450, 508], 'the largest alone is asked for')
  network.limit = 1450
  pass(10)
  t.deepEqual(told(), [])
})

test('another encapsulation or MTU is measured anew, and what is lost as a whole is no matter of sizes', t => {
  const { states, here, found, pass, told } = aNode({ passes: octets => octets <= 1374 })
  pass(60)
  here.mtu = 1370
  pass(30)
  t.deepEqual([found.slice(-2), told()], [['n2 undefined', 'n2 1370'], []])
  here.mtu = 1450
  pass(60)
  states[0] = { ...states[0]!, state: 'lost' }
  pass(2)
  t.deepEqual([found.at(-1), told()], ['n2 undefined', []])
  states[0] = { ...states[0]!, state: 'passes', encapsulation: 'direct' }
  pass(60)
  t.regex(told()[0]!.remedy, /uplinks .* MTU/)
  t.regex(told()[0]!.remedy, /large ICMP echoes alone/)
  states.pop()
  pass(2)
  t.deepEqual(told(), [])
})

test('of a thousand nodes four are measured at a time', t => {
  const nodes = Array.from({ length: 1000 }, (_, i) => `n${i}`)
  const { mtus, states } = aNode({ passes: () => false }, { nodes })
  mtus.step(0, states, 1450)
  let most = 0
  for (let nowMs = 5000; nowMs < 7000; nowMs += 500)
    most = Math.max(most, mtus.step(nowMs, states, 1450).packets.length)
  t.is(most, 8, 'a large and a small one each')
})

test('what this machine could not send tells nothing', t => {
  const { mtus, states, told } = aNode({ passes: () => true })
  for (let nowMs = 0; nowMs < 600_000; nowMs += 500) {
    mtus.step(nowMs, states, 1450)
    mtus.discard(nowMs)
  }
  t.deepEqual(told(), [])
})
