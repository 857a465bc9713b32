// What an old fault, or a clock that is set, must not delay.
import test from 'ava'
import { bringUp, type Pair, pair, reasonOf, stateOf } from './pair.ts'
import { settle } from './settle.ts'

/** Many faults, so that the pauses between attempts are long. */
async function failForLong(net: Pair, failed: () => boolean): Promise<boolean> {
  for (let i = 0; i < 12; i++) {
    net.clock.advance(60_000)
    await settle()
  }
  return failed()
}

test('a wrong AS that is corrected is tried at once, however long the pause after the old fault was to be', async t => {
  const net = await pair({ a: { asn: 65009 }, b: { asn: 65008 } })
  await bringUp(net)
  t.true(await failForLong(net, () => reasonOf(net.a, 'b')?.code === 'wrong-as'))
  net.a.setPeer({ ...net.toB, asn: 65002 })
  net.b.setPeer({ ...net.toA, asn: 65001 })
  await settle()
  t.is(stateOf(net.a, 'b'), 'Established')
  await net.close()
})

test('a prefix limit that is raised lets the peer come back at once', async t => {
  const net = await pair({ a: { prefixLimit: { max: 1 } } })
  net.b.announce({ prefix: '198.51.100.0/24' })
  net.b.announce({ prefix: '198.51.101.0/24' })
  await bringUp(net)
  t.true(await failForLong(net, () => reasonOf(net.a, 'b')?.code === 'prefix-limit'))
  net.a.setPeer({ ...net.toB, prefixLimit: { max: 10 } })
  net.b.clear('a', 'hard')
  await settle()
  t.is(stateOf(net.a, 'b'), 'Established')
  await net.close()
})

/** Hours ahead, hours back, to 1970 and to the end of time. */
const JUMPS = [10, -10].map(hours => 1_700_000_000_000 + hours * 3_600_000).concat([0, 253_402_300_799_000])

test('a wall clock that is set, hours ahead or back or to 1970, ends no session and shortens no restart time', async t => {
  const gracefulRestart = { restartSeconds: 30 }
  const net = await pair({ a: { gracefulRestart }, b: { gracefulRestart } })
  net.b.announce({ prefix: '198.51.100.0/24' })
  await bringUp(net)
  for (const wallMs of JUMPS) {
    net.clock.setWall(wallMs)
    for (let i = 0; i < 6; i++) {
      net.clock.advance(30_000)
      await settle()
    }
    t.is(stateOf(net.a, 'b'), 'Established')
  }
  t.is(net.a.peers()[0]?.flaps, 0)
  for (const connection of [...net.network.connections]) connection.closedByPeer()
  net.network.listeners.delete('10.0.0.2 179')
  net.network.listeners.delete('10.0.0.1 179')
  await settle()
  net.clock.setWall(1_900_000_000_000)
  net.clock.advance(29_000)
  await settle()
  t.true(net.routes.a.has('198.51.100.0/24'))
  net.clock.setWall(0)
  net.clock.advance(2_000)
  await settle()
  t.false(net.routes.a.has('198.51.100.0/24'))
  await net.close()
})

test('a dynamic neighbour is forgotten when it was away long enough, whatever the wall clock says', async t => {
  for (const wallMs of JUMPS) {
    const net = await pair()
    const pods = { name: 'pods', range: '10.0.0.0/30', asn: 'external', import: 'accept', export: 'accept' } as const
    net.a.setPeer(pods)
    net.b.setPeer(net.toA)
    await settle()
    t.is(stateOf(net.a, 'pods:10.0.0.2'), 'Established')
    net.clock.advance(59_000)
    await settle()
    await net.b.close()
    await settle()
    net.clock.setWall(wallMs)
    net.clock.advance(10_000)
    await settle()
    t.is(net.a.peers().length, 1, 'ten seconds are not long')
    net.clock.advance(120_000)
    await settle()
    t.is(net.a.peers().length, 0)
    await net.close()
  }
})
