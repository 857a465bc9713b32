// Many peers that connect at once: they are taken in slices, and what nobody wants is refused meanwhile.
import { setImmediate as round } from 'node:timers/promises'
import test from 'ava'
import type { BgpConnection, ConnectionHandlers, Transport } from '../../bgp/port.ts'
import { Speaker } from '../../bgp/speaker.ts'

const PEERS = 40
/** More than a slice of work. */
const DEAR_MS = 8

/** A peer's end that says nothing. To take it costs a slice: its OPEN is dear. */
class Silent implements BgpConnection {
  readonly localAddress = '10.0.0.254'
  readonly localPort = 179
  readonly remotePort = 50_000
  readonly buffered = 0
  readonly remoteAddress: string
  readonly interface: string | undefined
  handlers: ConnectionHandlers = { data: () => undefined, drain: () => undefined, closed: () => undefined }
  opened = false
  ended = false

  constructor(remoteAddress: string, link?: string) {
    this.remoteAddress = remoteAddress
    this.interface = link
  }

  write(): boolean {
    for (const end = performance.now() + DEAR_MS; performance.now() < end; );
    this.opened = true
    return true
  }

  close(): void {
    this.ended = true
  }

  destroy(): void {
    this.ended = true
  }

  pause(): void {}
  resume(): void {}
  configure(): void {}
}

/** A speaker that waits for peers 10.0.0.1 and so on, and how they connect. */
async function waiting() {
  let accept: (connection: BgpConnection) => void = () => undefined
  const transport: Transport = {
    dial: () => Promise.reject(new Error('nobody listens')),
    listen: async (_, told) => {
      accept = told
      return { port: 179, setPeerOptions: () => undefined, close: async () => undefined }
    },
  }
  const speaker = new Speaker({ asn: 65000, routerId: '10.0.0.254' }, { transport })
  for (let n = 1; n <= PEERS; n++) speaker.setPeer({ address: `10.0.0.${n}`, asn: 65000, passive: true })
  await speaker.listen({ address: '10.0.0.254', port: 179 })
  const arrive = (connection: Silent) => {
    accept(connection)
    return connection
  }
  const connect = (n: number) => arrive(new Silent(`10.0.0.${n}`))
  return { speaker, connect, arrive }
}

test('of many peers that connect in one turn all are taken, and other work has its turns between', async t => {
  const { speaker, connect } = await waiting()
  const all = Array.from({ length: PEERS }, (_, i) => connect(i + 1))
  const taken = () => all.filter(({ opened }) => opened).length
  t.true(taken() <= 1, `${taken()} at once`)
  const turns: number[] = []
  while (taken() < PEERS && turns.length < 10 * PEERS) {
    await round()
    turns.push(taken())
  }
  t.is(taken(), PEERS)
  for (const [i, now] of turns.entries()) t.true(now - (turns[i - 1] ?? 1) <= 2, turns.join(' '))
  await speaker.close()
})

test('a newer connection of a peer that waits is the one that is taken, and what nobody wants does not wait', async t => {
  const { speaker, connect } = await waiting()
  connect(1)
  const [old, next] = [connect(2), connect(2)]
  t.true(old.ended)
  t.false(next.ended)
  t.true(connect(200).ended)
  t.is(speaker.listenerCounts.unknown, 1)
  for (let i = 0; i < 10 && !next.opened; i++) await round()
  t.true(next.opened)
  t.false(old.opened)
  await speaker.close()
})

test('of a router with many addresses on the link of an unnumbered peer one connection waits', async t => {
  const { speaker, connect, arrive } = await waiting()
  speaker.setPeer({ interface: 'eth1', asn: 'external', passive: true })
  connect(1)
  const all = Array.from({ length: 100 }, (_, i) => arrive(new Silent(`fe80::${i + 1}`, 'eth1')))
  t.is(all.filter(({ ended }) => !ended).length, 1)
  t.false(all.at(-1)!.ended)
  await speaker.close()
})

test('who still waits when its peer is removed is refused, and when the speaker closes reset', async t => {
  const { speaker, connect } = await waiting()
  const [, removed, late] = [connect(1), connect(2), connect(3)]
  speaker.removePeer('10.0.0.2')
  for (let i = 0; i < 10 && !removed.ended; i++) await round()
  t.true(removed.ended)
  t.is(speaker.peer('10.0.0.2'), undefined)
  connect(4)
  const last = connect(5)
  await speaker.close()
  t.true(last.ended)
  t.true(late.opened || late.ended)
})
