// Peers that connect from a range.
import test from 'ava'
import type { PeerConfig } from '../../bgp/config.ts'
import { pair, reasonOf, stateOf } from './pair.ts'
import { settle } from './settle.ts'

const OPEN = { import: 'accept', export: 'accept' } as const
const RANGE = { name: 'pods', range: '10.0.0.0/29', asn: 'external', ...OPEN } as const satisfies PeerConfig
const B = 'pods:10.0.0.2'

/** `a` has the ranges, and `b` dials. */
async function ranged(ranges: readonly PeerConfig[], toA: Partial<PeerConfig> = {}) {
  const net = await pair()
  for (const range of ranges) net.a.setPeer(range)
  net.b.setPeer({ ...net.toA, ...toA })
  await settle()
  /** Until what was refused or ended is tried again. */
  const again = async () => {
    for (let i = 0; i < 8; i++) {
      net.clock.advance(1000)
      await settle()
    }
  }
  const names = () => net.a.peers().map(({ name, state }) => `${name} ${state}`)
  return { ...net, again, names }
}

test('a peer that is configured takes the place of a neighbour with its address, and gives it back when it goes', async t => {
  const net = await ranged([RANGE])
  t.deepEqual(net.names(), [`${B} Established`])
  net.a.setPeer({ ...net.toB, passive: true })
  await settle()
  t.is(stateOf(net.a, B), undefined)
  t.regex(reasonOf(net.b, 'a')?.detail ?? '', /Other Configuration Change/)
  await net.again()
  t.deepEqual(net.names(), ['b Established'])
  net.a.removePeer('b')
  await settle()
  await net.again()
  t.deepEqual(net.names(), [`${B} Established`])
  await net.close()
})

test('also a configured peer that is shut down keeps its address from a range', async t => {
  const net = await ranged([RANGE])
  net.a.setPeer({ ...net.toB, disabled: true })
  await settle()
  await net.again()
  t.deepEqual(net.names(), ['b Idle'])
  await net.close()
})

test('a neighbour is of the longest range that holds it, whatever came first, and of none where that is shut down', async t => {
  const narrow = { ...RANGE, name: 'narrow', range: '10.0.0.2/31' }
  for (const order of [
    [RANGE, narrow],
    [narrow, RANGE],
  ]) {
    const net = await ranged(order)
    t.deepEqual(net.names(), ['narrow:10.0.0.2 Established'])
    await net.close()
  }
  const net = await ranged([RANGE])
  net.a.setPeer(narrow)
  await settle()
  t.deepEqual(net.names(), [])
  t.regex(reasonOf(net.b, 'a')?.detail ?? '', /Other Configuration Change/)
  await net.again()
  t.deepEqual(net.names(), ['narrow:10.0.0.2 Established'])
  net.a.setPeer({ ...narrow, disabled: true })
  await settle()
  await net.again()
  t.deepEqual(net.names(), [])
  net.a.removePeer('narrow')
  await net.again()
  t.deepEqual(net.names(), [`${B} Established`])
  await net.close()
})

test('another prefix, policy or limit of a range resets no neighbour that it still holds; another AS number resets all', async t => {
  const net = await ranged([RANGE])
  for (const change of [{ range: '10.0.0.0/28' }, { rangeLimit: 1 }, { import: 'reject' }] as const) {
    net.a.setPeer({ ...RANGE, ...change })
    await settle()
    t.deepEqual(net.names(), [`${B} Established`], JSON.stringify(change))
    t.is(net.a.peer(B)?.flaps, 0)
  }
  net.a.setPeer({ ...RANGE, asn: 65002 })
  await settle()
  t.not(stateOf(net.a, B), 'Established')
  net.a.setPeer({ ...RANGE, range: '10.0.0.4/30' })
  await settle()
  t.deepEqual(net.names(), [])
  await net.close()
})

test('a range that becomes a peer takes nobody any more, and a peer that becomes a range is none', async t => {
  const net = await ranged([RANGE])
  net.a.setPeer({ name: 'pods', address: '10.0.0.7', asn: 65007, passive: true, ...OPEN })
  await settle()
  await net.again()
  t.deepEqual(net.names(), ['pods Active'])
  t.deepEqual(
    net.a.configured().map(({ address }) => address),
    ['10.0.0.7'],
  )
  net.a.setPeer(RANGE)
  await net.again()
  t.deepEqual(net.names(), [`${B} Established`])
  await net.close()
})

test('a range keeps what its prefix asks for when another one with that prefix goes, or gets another one', async t => {
  const [taken, left] = [
    { ...RANGE, name: 'taken', password: 'new' },
    { ...RANGE, password: 'old' },
  ]
  for (const gone of [undefined, { ...left, range: '10.0.9.0/24' }]) {
    const net = await ranged([left, taken], { password: 'new' })
    if (gone === undefined) net.a.removePeer(left.name)
    else net.a.setPeer(gone)
    await net.again()
    t.deepEqual(net.names(), ['taken:10.0.0.2 Established'])
    await net.close()
  }
})

test('a peer with another address takes connections from there, and its old one falls to the range', async t => {
  const net = await ranged([])
  net.a.setPeer({ ...net.toB, address: '10.0.0.9', passive: true })
  net.a.setPeer(RANGE)
  await net.again()
  t.deepEqual(net.names(), ['b Active', `${B} Established`])
  net.a.setPeer({ ...net.toB, passive: true })
  await net.again()
  t.deepEqual(net.names(), ['b Established'])
  net.a.setPeer({ ...net.toB, address: '10.0.0.9', passive: true })
  await net.again()
  t.deepEqual(net.names(), ['b Active', `${B} Established`])
  await net.close()
})

test('whoever is not admitted has no session by a range, and one that stands ends', async t => {
  const net = await ranged([RANGE])
  net.a.admit(address => address !== '10.0.0.2')
  await settle()
  await net.again()
  t.deepEqual(net.names(), [])
  net.a.admit(() => true)
  await net.again()
  t.deepEqual(net.names(), [`${B} Established`])
  await net.close()
})

test('a full range says so with who was turned away last, until it is not', async t => {
  const net = await ranged([{ ...RANGE, rangeLimit: 1 }])
  const full = { name: 'pods', range: '10.0.0.0/29', limit: 1, neighbours: 1 }
  t.deepEqual(net.a.ranges(), [full])
  const c = net.make(65003, '10.0.0.3', 'b')
  c.setPeer({ ...net.toA, name: 'a' })
  await settle()
  t.deepEqual(net.a.ranges(), [{ ...full, refused: '10.0.0.3' }])
  net.a.setPeer({ ...RANGE, rangeLimit: 1, import: 'reject' })
  t.is(net.a.ranges()[0]?.refused, '10.0.0.3', 'a change that makes no room')
  net.a.setPeer({ ...RANGE, rangeLimit: 2 })
  t.deepEqual(net.a.ranges(), [{ ...full, limit: 2 }])
  await net.again()
  t.is(reasonOf(c, 'a'), undefined)
  await c.close()
  await net.close()
})

test('who is refused by a full range gets in by no wider one', async t => {
  const net = await ranged([
    { ...RANGE, rangeLimit: 1 },
    { ...RANGE, name: 'wide', range: '10.0.0.0/8' },
  ])
  const c = net.make(65003, '10.0.0.3', 'b')
  c.setPeer({ ...net.toA, name: 'a' })
  await settle()
  t.deepEqual(net.names(), [`${B} Established`])
  t.deepEqual(
    net.a.ranges().map(({ refused }) => refused),
    ['10.0.0.3', undefined],
  )
  await c.close()
  await net.close()
})

test('a neighbour that goes is told, and nothing of it stays', async t => {
  const net = await ranged([RANGE])
  const forgotten: string[] = []
  net.a.onForgotten(name => void forgotten.push(name))
  net.b.announce({ prefix: '198.51.100.0/24' })
  await settle()
  t.true(net.routes.a.has('198.51.100.0/24'))
  await net.b.close()
  await settle()
  t.deepEqual(forgotten, [])
  net.clock.advance(130_000)
  await settle()
  t.deepEqual(forgotten, [B])
  t.deepEqual(net.a.rib.peers(), [])
  t.false(net.routes.a.has('198.51.100.0/24'))
  t.is(net.a.ranges()[0]?.neighbours, 0)
  await net.a.close()
  t.is(net.clock.pending, 0)
})

test('a neighbour is not forgotten before its own restart time is over, and no longer than a minute where nothing of it is kept', async t => {
  const range = { ...RANGE, gracefulRestart: { restartSeconds: 10 } } as const
  for (const announces of [true, false]) {
    const net = await ranged([range], { gracefulRestart: { restartSeconds: 300 } })
    if (announces) net.b.announce({ prefix: '198.51.100.0/24' })
    await settle()
    await net.b.close({ graceful: true })
    await settle()
    net.clock.advance(290_000)
    await settle()
    t.is(net.a.peers().length, announces ? 1 : 0)
    t.is(net.routes.a.has('198.51.100.0/24'), announces)
    net.clock.advance(70_000)
    await settle()
    t.deepEqual([net.a.peers().length, net.routes.a.size], [0, 0])
    await net.a.close()
  }
})

test('a pause after too many prefixes is not forgotten with the neighbour, and does not begin again before it is over', async t => {
  const net = await ranged([{ ...RANGE, prefixLimit: { max: 1, restartSeconds: 300 } }])
  for (const prefix of ['198.51.100.0/24', '198.51.101.0/24']) net.b.announce({ prefix })
  await settle()
  t.is(reasonOf(net.a, B)?.code, 'prefix-limit')
  for (let second = 0; second < 290; second += 10) {
    net.clock.advance(10_000)
    await settle()
    t.is(reasonOf(net.a, B)?.code, 'prefix-limit', `after ${second} s`)
  }
  await net.b.close()
  net.clock.advance(130_000)
  await settle()
  t.is(net.a.peers().length, 0)
  await net.a.close()
})

test('no timer of a neighbour is left after close, or with its range', async t => {
  for (const removed of [true, false]) {
    const net = await ranged([RANGE])
    t.deepEqual(net.names(), [`${B} Established`])
    if (removed) net.a.removePeer('pods')
    await net.close()
    t.is(net.clock.pending, 0)
  }
})

test('a restart waits for the neighbours of a range: 15 s to select routes, to the end of the restart time to know that they are all', async t => {
  const gracefulRestart = { restartSeconds: 60 }
  for (const dials of [true, false]) {
    const net = await pair()
    const next = net.make(65001, '10.0.0.9', 'a', { restarting: true })
    await next.listen({ address: '10.0.0.9', port: 179 })
    let complete = false
    next.onRestartComplete(() => {
      complete = true
    })
    next.setPeer({ ...RANGE, range: '10.0.0.0/24', gracefulRestart })
    net.b.announce({ prefix: '198.51.100.0/24' })
    if (dials) net.b.setPeer({ ...net.toA, address: '10.0.0.9', gracefulRestart })
    await settle()
    net.clock.advance(14_000)
    await settle()
    t.true(next.restarting)
    net.clock.advance(1000)
    await settle()
    t.false(next.restarting)
    t.is(net.routes.a.has('198.51.100.0/24'), dials)
    net.clock.advance(44_000)
    t.false(complete, 'others may dial yet')
    net.clock.advance(1000)
    t.true(complete)
    await next.close()
    await net.close()
  }
})

test('a range that goes, or is shut down, holds up no restart', async t => {
  const net = await pair()
  const next = net.make(65001, '10.0.0.9', 'a', { restarting: true })
  next.setPeer({ ...RANGE, gracefulRestart: { restartSeconds: 60 } })
  t.true(next.restarting)
  next.removePeer('pods')
  t.false(next.restarting)
  await next.close()
  const other = net.make(65001, '10.0.0.8', 'a', { restarting: true })
  const range = { ...RANGE, gracefulRestart: { restartSeconds: 60 } }
  other.setPeer(range)
  other.setPeer({ ...range, disabled: true })
  t.false(other.restarting)
  await other.close()
  await net.close()
})
