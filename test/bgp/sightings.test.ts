// Who is seen on the interface of an unnumbered peer, and whom its session is with.
import test from 'ava'
import { Sightings } from '../../bgp/sightings.ts'
import { ManualClock } from '../../lib/clock.ts'
import { pair, reasonOf, stateOf } from './pair.ts'
import { settle } from './settle.ts'

/** A link on which the test says who is seen. */
function link() {
  const told: string[] = []
  let found: (address: string) => void = () => undefined
  let hindered: (why: string | undefined) => void = () => undefined
  const discover = (_name: string, isFound: typeof found, isHindered: typeof hindered = () => undefined) => {
    found = isFound
    hindered = isHindered
    return () => told.push('ended')
  }
  return { told, discover, found: (address: string) => found(address), hindered: (why?: string) => hindered(why) }
}

test('other routers on the link are named until they have been silent for ten minutes', t => {
  const clock = new ManualClock()
  const { discover, found } = link()
  const sightings = new Sightings({ clock, discover }, { seen: () => undefined, hindered: () => undefined })
  sightings.begin('e0', () => undefined)
  found('fe80::1')
  t.is(sightings.others('fe80::1'), undefined)
  found('fe80::2')
  t.deepEqual(sightings.others('fe80::1'), ['fe80::2'])
  clock.advance(599_000)
  found('fe80::1')
  t.deepEqual(sightings.others('fe80::1'), ['fe80::2'])
  clock.advance(2_000)
  t.is(sightings.others('fe80::1'), undefined)
})

test('made-up senders fill no memory', t => {
  const { discover, found } = link()
  const sightings = new Sightings(
    { clock: new ManualClock(), discover },
    { seen: () => undefined, hindered: () => undefined },
  )
  sightings.begin('e0', () => undefined)
  for (let i = 1; i < 1000; i++) found(`fe80::${i.toString(16)}`)
  t.true(sightings.others('fe80::1')!.length <= 8)
  t.is(sightings.last, 'fe80::3e7')
})

test('nobody in sight for some seconds is told once, and not after somebody was seen or the end', t => {
  const clock = new ManualClock()
  const [unseen, seen] = [link(), link()]
  let count = 0
  for (const { discover } of [unseen, seen])
    new Sightings({ clock, discover }, { seen: () => undefined, hindered: () => undefined }).begin('e0', () => count++)
  seen.found('fe80::1')
  clock.advance(60_000)
  t.is(count, 1)
})

test('a session by interface stays with its neighbour while others are seen, and the next one is with whom was seen last', async t => {
  const { discover, found, hindered } = link()
  const both = await pair({ depsA: { discover } })
  const { a, b, toA } = both
  a.setPeer({
    name: 'e0',
    interface: 'e0',
    asn: 'external',
    families: ['ipv4-unicast'],
    import: 'accept',
    export: 'accept',
  })
  t.like(reasonOf(a, 'e0'), { code: 'never-tried', detail: 'no neighbour was seen on e0 yet' })
  hindered('this machine has no interface e0')
  t.like(reasonOf(a, 'e0'), { code: 'no-interface', detail: 'this machine has no interface e0' })
  hindered()
  t.is(reasonOf(a, 'e0')?.code, 'never-tried')
  b.setPeer({ ...toA, passive: true })
  found('10.0.0.2')
  await settle()
  t.is(stateOf(a, 'e0'), 'Established')
  found('10.0.0.3')
  await settle()
  t.like(a.peer('e0'), { state: 'Established', address: '10.0.0.2%e0', others: ['10.0.0.3'] })
  hindered('e0 is down')
  t.is(stateOf(a, 'e0'), 'Established')
  b.removePeer('a')
  await settle()
  t.like(a.peer('e0'), { address: '10.0.0.3%e0', others: ['10.0.0.2'] })
  t.like(reasonOf(a, 'e0'), { code: 'no-interface', detail: 'e0 is down' })
  b.setPeer({ ...toA, passive: true })
  hindered()
  found('10.0.0.2')
  await settle()
  both.clock.advance(60_000)
  await settle()
  t.is(stateOf(a, 'e0'), 'Established')
  await both.close()
})
