// Sessions with peers that refuse capabilities, over TCP in memory.
import test from 'ava'
import type { PeerConfig } from '../../bgp/config.ts'
import type { BgpConnection } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import type { Capability } from '../../bgp/wire/capabilities.ts'
import { ProtocolError } from '../../bgp/wire/errors.ts'
import { MESSAGE } from '../../bgp/wire/iana.ts'
import { emitKeepalive, HEADER, MAX_MESSAGE } from '../../bgp/wire/message.ts'
import { emitNotification, type Notification } from '../../bgp/wire/notification.ts'
import { emitOpen, type Open, parseOpen } from '../../bgp/wire/open.ts'
import { fromHex, Writer } from '../../lib/bytes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { settle } from './settle.ts'

const bytesOf = (emit: (w: Writer) => void): Uint8Array => {
  const w = new Writer(MAX_MESSAGE)
  emit(w)
  return w.done().slice()
}

/**
 * A speaker in AS 65001 that dials an old peer in AS 65002; `answer` says what that one thinks of an OPEN: undefined when it
 * takes it. Answers the types of the capabilities in each OPEN that came.
 */
async function dialOld(answer: (open: Open) => Notification | undefined, config: Partial<PeerConfig> = {}) {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const opens: (readonly Capability['type'][])[] = []
  const accept = (connection: BgpConnection) => {
    const data = (bytes: Uint8Array) => {
      if (bytes[HEADER - 1] !== MESSAGE.open) return
      const open = parseOpen(bytes, HEADER, bytes.length)
      if (open instanceof ProtocolError) throw open
      opens.push(open.capabilities.map(({ type }) => type))
      const refusal = answer(open)
      if (refusal === undefined) {
        const own: Open = { asn: 65002, holdTime: 90, routerId: 2, capabilities: [] }
        connection.write(bytesOf(w => emitOpen(w, own)))
        connection.write(bytesOf(emitKeepalive))
      } else {
        connection.write(bytesOf(w => emitNotification(w, refusal)))
        connection.close()
      }
    }
    connection.handlers = { data, drain: () => undefined, closed: () => undefined }
  }
  await network.host('10.0.0.2').listen({ address: '10.0.0.2', port: 179 }, accept)
  const speaker = new Speaker(
    { asn: 65001, routerId: '10.0.0.1' },
    { transport: network.host('10.0.0.1'), clock, random: () => 1 },
  )
  speaker.setPeer({ address: '10.0.0.2', asn: 65002, import: 'accept', export: 'accept', ...config })
  for (let second = 0; second < 20; second++) {
    await settle()
    clock.advance(1000)
  }
  await settle()
  const [peer] = speaker.peers()
  await speaker.close()
  return { opens, peer }
}

test('a peer that answers each OPEN with Unsupported Optional Parameter gets one without capabilities', async t => {
  const { opens, peer } = await dialOld(({ capabilities }) =>
    capabilities.length === 0 ? undefined : { code: 2, subcode: 4, data: new Uint8Array(0) },
  )
  t.is(peer?.state, 'Established')
  t.is(opens.length, 2)
  t.deepEqual(opens[1], [])
  t.deepEqual(peer?.families, ['ipv4-unicast'])
})

test('a peer that names the capability that it does not support gets an OPEN without that one', async t => {
  const { opens, peer } = await dialOld(({ capabilities }) =>
    capabilities.some(({ type }) => type === 'extendedMessage')
      ? { code: 2, subcode: 7, data: fromHex('06 00') }
      : undefined,
  )
  t.is(peer?.state, 'Established')
  t.is(opens.length, 2)
  t.deepEqual(
    opens[1],
    opens[0]!.filter(type => type !== 'extendedMessage'),
  )
})

test('a peer that refuses everything is tried with all capabilities again, and without a family nothing is left out', async t => {
  const refuse = () => ({ code: 2, subcode: 4, data: new Uint8Array(0) })
  const { opens, peer } = await dialOld(refuse)
  t.is(peer?.reason?.code, 'bad-open')
  t.true(opens.length > 3)
  t.deepEqual(new Set(opens.map(({ length }) => length)).size, 2)
  const over6 = await dialOld(refuse, { families: ['ipv6-unicast'] })
  t.true(over6.opens.every(({ length }) => length > 0))
})
