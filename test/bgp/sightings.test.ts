// Who is seen on the interface of an unnumbered peer, and whom its session is with.
import test from 'ava'
import type { PeerConfig } from '../../bgp/config.ts'
import type { BgpConnection, SocketOptions, Transport } from '../../bgp/port.ts'
import { Sightings } from '../../bgp/sightings.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { ManualClock } from '../../lib/clock.ts'
import type { TcpAoKey } from '../../lib/tcp-ao.ts'
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

const KEY: TcpAoKey = { sendId: 1, receiveId: 1, algorithm: 'hmac-sha1', secret: 'secret' }

/** Nothing comes over it. */
function connectionFrom(remoteAddress: string, onInterface = 'e0'): BgpConnection {
  const far = { remoteAddress, remotePort: 1024, interface: onInterface }
  return {
    ...{ localAddress: 'fe80::a', localPort: 179, ...far, buffered: 0 },
    handlers: { data: () => undefined, drain: () => undefined, closed: () => undefined },
    write: () => true,
    pause: () => undefined,
    resume: () => undefined,
    configure: () => undefined,
    close: () => undefined,
    destroy: () => undefined,
  }
}

/** A speaker with one peer by interface; what its listening socket was told of addresses, and connections that come to it. */
async function listening(config: Pick<PeerConfig, 'password' | 'tcpAo' | 'ttlSecurity'>) {
  const checked = new Map<string, SocketOptions | undefined>()
  let take: (connection: BgpConnection) => void = () => undefined
  const transport: Transport = {
    dial: () => Promise.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })),
    listen: async (_options, accept) => {
      take = accept
      return {
        port: 179,
        setPeerOptions: (peer, options) => void checked.set(peer, options),
        close: async () => undefined,
      }
    },
  }
  const { discover, found } = link()
  const clock = new ManualClock()
  const speaker = new Speaker({ asn: 65001, routerId: '192.0.2.1' }, { transport, clock, discover })
  await speaker.listen({ address: '::', port: 179 })
  speaker.setPeer({ name: 'e0', interface: 'e0', asn: 'external', ...config })
  const connects = async (address: string, onInterface?: string) => {
    const before = speaker.listenerCounts.rejected
    take(connectionFrom(address, onInterface))
    await settle()
    return speaker.listenerCounts.rejected === before ? 'taken' : 'rejected'
  }
  return { speaker, checked, found, connects, take: (address: string) => take(connectionFrom(address)) }
}

test('a neighbour by interface is checked by the listening socket from when it is seen on, and no connection is taken before', async t => {
  for (const config of [{ password: 'secret' }, { tcpAo: [KEY] }, { ttlSecurity: 1 }]) {
    const { speaker, checked, found, connects } = await listening(config)
    t.is(await connects('fe80::1'), 'rejected')
    t.like(checked.get('fe80::1'), config)
    t.is(await connects('fe80::1'), 'taken', 'the kernel has checked this one')
    found('fe80::2')
    t.is(checked.get('fe80::1'), undefined)
    t.like(checked.get('fe80::2'), config)
    speaker.removePeer('e0')
    t.is(checked.get('fe80::2'), undefined)
    await speaker.close()
  }
  const { speaker, connects } = await listening({})
  t.is(await connects('fe80::1'), 'taken')
  await speaker.close()
})

test('of two neighbours with one link-local address on two links none is taken that was checked for what the other one must carry', async t => {
  for (const [first, second] of [
    ['secret', undefined],
    [undefined, 'secret'],
    ['secret', 'other'],
  ]) {
    const { speaker, checked, connects } = await listening(first === undefined ? {} : { password: first })
    speaker.setPeer({ name: 'e1', interface: 'e1', asn: 'external', ...(second !== undefined && { password: second }) })
    // each is known by its address from then on
    await connects('fe80::1', 'e0')
    await connects('fe80::1', 'e1')
    const { password } = checked.get('fe80::1')!
    for (const [link, own] of [
      ['e0', first],
      ['e1', second],
    ] as const)
      t.is(await connects('fe80::1', link), own === password ? 'taken' : 'rejected', `${link} ${first} ${second}`)
    await speaker.close()
  }
})

test('a connection that waits to be taken is checked by what counted when it came, not by what counts by then', async t => {
  const { speaker, found, take } = await listening({ password: 'secret' })
  // this turn has no time left for what comes in it
  speaker.setPeer({ name: 'busy', address: 'fe80::9', interface: 'e0', asn: 65009, passive: true })
  take('fe80::9')
  for (const end = performance.now() + 20; performance.now() < end; );
  take('fe80::1')
  const before = speaker.listenerCounts.rejected
  found('fe80::1')
  await settle()
  t.is(speaker.listenerCounts.rejected - before, 1)
  await speaker.close()
})

test('a connection from a range that waits to be taken is checked by what the range asked for when it came', async t => {
  for (const config of [{ password: 'secret' }, { tcpAo: [KEY] }, { ttlSecurity: 1 }]) {
    const { speaker, take } = await listening({})
    const range = { name: 'range', range: 'fd00::/64', asn: 65002 }
    speaker.setPeer(range)
    speaker.setPeer({ name: 'busy', address: 'fe80::9', interface: 'e0', asn: 65009, passive: true })
    take('fe80::9')
    for (const end = performance.now() + 20; performance.now() < end; );
    take('fd00::1')
    const before = speaker.listenerCounts.rejected
    speaker.setPeer({ ...range, ...config })
    await settle()
    t.is(speaker.listenerCounts.rejected - before, 1, JSON.stringify(config))
    take('fd00::1')
    await settle()
    t.is(speaker.listenerCounts.rejected - before, 1, 'the kernel has checked this one')
    await speaker.close()
  }
})

test('the listening socket has one key for a range and none for each neighbour, and one more for a peer with an address in it', async t => {
  const { speaker, checked, connects } = await listening({})
  const range = { name: 'range', range: 'fd00::/64', asn: 65002, password: 'secret' }
  speaker.setPeer(range)
  t.is(await connects('fd00::1'), 'taken')
  speaker.setPeer({ ...range, password: 'other' })
  t.like(checked.get('fd00::/64'), { password: 'other' })
  t.false(checked.has('fd00::1'))
  speaker.setPeer({ name: 'own', address: 'fd00::1', asn: 65002, password: 'own', passive: true })
  t.like(checked.get('fd00::1'), { password: 'own' })
  speaker.removePeer('own')
  t.is(checked.get('fd00::1'), undefined)
  speaker.setPeer({ ...range, range: 'fd00:0:0:1::/64' })
  t.is(checked.get('fd00::/64'), undefined)
  t.like(checked.get('fd00:0:0:1::/64'), { password: 'secret' })
  await speaker.close()
})

test('who comes into sight while a session is being made is not whom it is with', async t => {
  const { discover, found } = link()
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const host = network.host('fe80::a')
  const onLink: Transport = {
    dial: (options, signal) => host.dial(options, signal),
    listen: (options, accept) =>
      host.listen(options, connection => accept(Object.assign(connection, { interface: 'e0' }))),
  }
  const a = new Speaker({ asn: 65001, routerId: '10.0.0.1' }, { transport: onLink, clock, discover })
  const b = new Speaker({ asn: 65002, routerId: '10.0.0.2' }, { transport: network.host('fe80::b'), clock })
  await a.listen({ address: 'fe80::a', port: 179 })
  a.setPeer({ name: 'e0', interface: 'e0', asn: 'external' })
  const states: string[] = []
  a.onChange(({ state }) => {
    states.push(state)
    if (state === 'OpenConfirm') found('fe80::c')
  })
  b.setPeer({ address: 'fe80::a', asn: 65001 })
  await settle()
  t.true(states.includes('OpenConfirm'), states.join())
  t.like(a.peer('e0'), { state: 'Established', address: 'fe80::b%e0' })
  await Promise.all([a.close(), b.close()])
})
