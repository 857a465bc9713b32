// Whether a peer has what was announced to it: it is asked for its routes, and answers once it has.
import test from 'ava'
import { Hearing } from '../../bgp/hearing.ts'
import { bringUp, pair } from './pair.ts'
import { settle } from './settle.ts'

const FAMILY = 'ipv4-unicast'

test('a peer is heard once what was announced stands where its routes go, and not before', async t => {
  const inKernel: (() => void)[] = []
  const seen: string[][] = []
  const net = await pair({
    depsA: {
      settled: () => {
        seen.push([...net.routes.a.keys()])
        return new Promise<void>(resolve => inKernel.push(resolve))
      },
    },
  })
  await bringUp(net)
  net.b.announce({ prefix: '198.51.100.0/24' })
  let heard: string | undefined
  const asked = net.b.heard('a', FAMILY).then(how => {
    heard = how
  })
  await settle()
  t.deepEqual(seen, [['198.51.100.0/24']])
  t.is(heard, undefined)
  inKernel[0]!()
  await asked
  t.is(heard, 'heard')
  await net.close()
  t.is(net.clock.pending, 0)
})

test('a peer that has started again is heard once it selects routes, not while it waits for the tables of others', async t => {
  const graceful = { gracefulRestart: { restartSeconds: 60 } }
  const net = await pair({ a: graceful, b: graceful, depsA: { restarting: true, settled: async () => {} } })
  net.a.setPeer({ name: 'away', address: '10.0.0.9', asn: 65009, passive: true, ...graceful })
  await bringUp(net)
  net.b.announce({ prefix: '198.51.100.0/24' })
  let heard: string | undefined
  const asked = net.b.heard('a', FAMILY).then(how => {
    heard = how
  })
  await settle()
  t.deepEqual([heard, [...net.routes.a.keys()]], [undefined, []])
  net.clock.advance(60_000)
  await asked
  t.is(heard, 'heard')
  t.deepEqual([...net.routes.a.keys()], ['198.51.100.0/24'])
  await net.close()
})

test('a peer whose kernel does not take what it learned is heard after five seconds', async t => {
  const net = await pair({ depsA: { settled: () => new Promise<void>(() => {}) } })
  await bringUp(net)
  let heard: string | undefined
  const asked = net.b.heard('a', FAMILY).then(how => {
    heard = how
  })
  await settle()
  net.clock.advance(4900)
  await settle()
  t.is(heard, undefined)
  net.clock.advance(200)
  await asked
  t.is(heard, 'heard')
  await net.close()
})

test('a peer keeps what it had announced when it is asked, also without routes of its own', async t => {
  const net = await pair()
  await bringUp(net)
  t.is(await net.b.heard('a', FAMILY), 'heard')
  net.a.announce({ prefix: '203.0.113.0/24' })
  await settle()
  t.deepEqual(await Promise.all([net.b.heard('a', FAMILY), net.b.heard('a', FAMILY)]), ['heard', 'heard'])
  t.deepEqual([...net.routes.b.keys()], ['203.0.113.0/24'])
  await net.close()
})

test('a peer without a session is gone, also one that ends before its answer; one that cannot say it is told apart', async t => {
  const net = await pair({ depsA: { settled: () => new Promise<void>(() => {}) } })
  t.is(await net.b.heard('a', FAMILY), 'gone')
  await bringUp(net)
  t.is(await net.b.heard('a', 'ipv6-unicast'), 'cannot')
  const asked = net.b.heard('a', FAMILY)
  await settle()
  net.b.removePeer('a')
  t.is(await asked, 'gone')
  await net.close()
})

test('one request of a family is under way at a time: a question that comes meanwhile is answered by the next one', t => {
  const hearing = new Hearing()
  const heard: string[] = []
  hearing.ask(FAMILY, how => heard.push(`first ${how}`))
  t.deepEqual(hearing.take(), [FAMILY])
  hearing.ask(FAMILY, how => heard.push(`second ${how}`))
  t.deepEqual(hearing.take(), [])
  t.true(hearing.answered(FAMILY))
  t.deepEqual(heard, ['first heard'])
  t.deepEqual(hearing.take(), [FAMILY])
  hearing.ask('ipv6-unicast', how => heard.push(`third ${how}`))
  hearing.lost()
  t.deepEqual(heard, ['first heard', 'second gone', 'third gone'])
  t.deepEqual(hearing.take(), [])
})
