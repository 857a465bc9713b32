// Every whole-message codec against its goldens, both ways, cut short everywhere, and with random values.
import test from 'ava'
import fc from 'fast-check'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { emitKeepalive, MessageSplitter } from '../../../bgp/wire/message.ts'
import { emitNotification, parseNotification } from '../../../bgp/wire/notification.ts'
import { emitOpen, parseOpen } from '../../../bgp/wire/open.ts'
import { emitRouteRefresh, parseRouteRefresh } from '../../../bgp/wire/route-refresh.ts'
import { emitUpdate, parseUpdate } from '../../../bgp/wire/update.ts'
import { toHex, type Writer } from '../../../lib/bytes.ts'
import * as arbitrary from './arbitraries.ts'
import { notifications, opens, routeRefreshes, updates } from './goldens.ts'
import { aMessage, body, emitted, parseWith, plain } from './wire.ts'

type Case = {
  name: string
  bytes: Uint8Array
  value: unknown
  parse: (bytes: Uint8Array, start: number, end: number) => unknown
  emit: (w: Writer) => void
}

const cases: Case[] = [
  ...opens.map(g => ({ ...g, parse: parseOpen, emit: (w: Writer) => emitOpen(w, g.value) })),
  ...notifications.map(g => ({ ...g, parse: parseNotification, emit: (w: Writer) => emitNotification(w, g.value) })),
  ...routeRefreshes.map(g => ({ ...g, parse: parseRouteRefresh, emit: (w: Writer) => emitRouteRefresh(w, g.value) })),
  ...updates.map(g => ({
    ...g,
    value: { ...g.value, faults: [] },
    parse: (b: Uint8Array, start: number, end: number) => parseUpdate(b, start, end, g.session),
    emit: (w: Writer) => emitUpdate(w, g.value, g.session),
  })),
]

for (const { name, bytes, value, parse, emit } of cases) {
  const type = bytes[18]!
  test(`type ${type}, ${name}: the bytes are read as the value`, t => {
    t.deepEqual(plain(parseWith(parse, bytes)), plain(value))
  })
  test(`type ${type}, ${name}: the value is written as the bytes`, t => {
    t.is(toHex(emitted(emit)), toHex(bytes))
  })
  test(`type ${type}, ${name}: every body cut short is a value or an error, never an exception`, t => {
    const { bytes: chunk, start, end } = body(bytes)
    for (let cut = start; cut < end; cut++) t.notThrows(() => parse(chunk.slice(0, cut), start, cut))
  })
}

test('messages that arrive one byte at a time are the messages that arrive at once', t => {
  const stream = Buffer.concat([...cases.map(c => c.bytes), emitted(emitKeepalive), ...cases.map(c => c.bytes)])
  const collect = (chunks: Iterable<Uint8Array>) => {
    const found: string[] = []
    const splitter = new MessageSplitter()
    for (const chunk of chunks) {
      const reused = Uint8Array.from(chunk)
      t.is(
        splitter.push(reused, (type, bytes, start, end) => found.push(`${type} ${toHex(bytes.subarray(start, end))}`)),
        undefined,
      )
      reused.fill(0xa5)
    }
    t.is(splitter.waiting, 0)
    return found
  }
  const whole = collect([stream])
  t.is(whole.length, 2 * cases.length + 1)
  for (const size of [1, 2, 7, 18, 19, 20, 100])
    t.deepEqual(
      collect({
        *[Symbol.iterator]() {
          for (let at = 0; at < stream.length; at += size) yield stream.subarray(at, at + size)
        },
      }),
      whole,
    )
})

const refused: readonly [title: string, hex: string, extended: boolean, code: string, data: string][] = [
  ['a marker with a zero', `${'ff'.repeat(15)}00001304`, false, '1/1', ''],
  ['length 18', `${'ff'.repeat(16)}001204`, false, '1/2', '0012'],
  ['length 4097', `${'ff'.repeat(16)}100102`, false, '1/2', '1001'],
  ['a KEEPALIVE of length 20', `${'ff'.repeat(16)}00140400`, false, '1/2', '0014'],
  ['an OPEN of length 28', `${'ff'.repeat(16)}001c01`, false, '1/2', '001c'],
  ['an OPEN of length 4097 after RFC 8654 was agreed on', `${'ff'.repeat(16)}100101`, true, '1/2', '1001'],
  ['an UPDATE of length 22', `${'ff'.repeat(16)}001602`, false, '1/2', '0016'],
  ['a NOTIFICATION of length 20', `${'ff'.repeat(16)}001403`, false, '1/2', '0014'],
  ['type 6', `${'ff'.repeat(16)}001306`, false, '1/3', '06'],
  ['type 0', `${'ff'.repeat(16)}001300`, false, '1/3', '00'],
]
for (const [title, hex, extended, code, data] of refused)
  test(`a header with ${title} is the error ${code}, at once or bytewise, and nothing follows it`, t => {
    const keepalive = emitted(emitKeepalive)
    const stream = Buffer.concat([keepalive, Buffer.from(hex, 'hex'), keepalive])
    for (const size of [1, stream.length]) {
      let messages = 0
      let error: ProtocolError | undefined
      const splitter = new MessageSplitter()
      splitter.extended = extended
      for (let at = 0; at < stream.length; at += size)
        error = splitter.push(stream.subarray(at, at + size), () => messages++) ?? error
      t.is(messages, 1)
      t.deepEqual(plain(error), { error: code, data })
    }
  })

test('an UPDATE of 65535 octets is taken once extended messages are agreed on', t => {
  const stream = Buffer.concat([
    Buffer.from(`${'ff'.repeat(16)}ffff02`, 'hex'),
    new Uint8Array(65516),
    emitted(emitKeepalive),
  ])
  const lengths: number[] = []
  const splitter = new MessageSplitter()
  splitter.extended = true
  t.is(
    splitter.push(stream, (_, __, start, end) => lengths.push(end - start)),
    undefined,
  )
  t.deepEqual(lengths, [65516, 0])
  t.deepEqual(plain(new MessageSplitter().push(stream, () => undefined)), { error: '1/2', data: 'ffff' })
})

test('a splitter that is stopped in a visit delivers nothing of the rest', t => {
  const keepalive = emitted(emitKeepalive)
  const splitter = new MessageSplitter()
  let messages = 0
  splitter.push(Buffer.concat([keepalive, keepalive, keepalive]), () => {
    messages++
    splitter.stop()
  })
  splitter.push(keepalive, () => messages++)
  t.is(messages, 1)
})

const openErrors: readonly [title: string, body: string, code: string, data: string][] = [
  ['version 3', '03 fde9 005a 0a4d0001 00', '2/1', '0004'],
  ['hold time 1', '04 fde9 0001 0a4d0001 00', '2/6', '0001'],
  ['hold time 2', '04 fde9 0002 0a4d0001 00', '2/6', '0002'],
  ['identifier 0', '04 fde9 005a 00000000 00', '2/3', '00000000'],
  ['AS 0', '04 0000 005a 0a4d0001 00', '2/2', '0000'],
  ['AS 0 in the four-octet capability', '04 fde9 005a 0a4d0001 08 02 06 41 04 00000000', '2/2', '0000'],
  ['the authentication parameter', '04 fde9 005a 0a4d0001 03 01 01 00', '2/4', '010100'],
  ['parameters longer than the message', '04 fde9 005a 0a4d0001 05 02 01 00', '2/0', ''],
  ['parameters shorter than the message', '04 fde9 005a 0a4d0001 00 02 00', '2/0', ''],
  ['a long-form length that lies', '04 fde9 005a 0a4d0001 ff ff 0004 02 0000', '2/0', ''],
  ['a capability beyond its parameter', '04 fde9 005a 0a4d0001 04 02 02 41 04', '2/0', '4104'],
  ['a role of two octets', '04 fde9 005a 0a4d0001 06 02 04 09 02 0000', '2/0', '09020000'],
]
for (const [title, hex, code, data] of openErrors)
  test(`an OPEN with ${title} is refused with ${code}`, t => {
    const parsed = parseWith(parseOpen, aMessage(1, hex))
    t.true(parsed instanceof ProtocolError)
    t.deepEqual(plain(parsed), { error: code, data })
  })

test('a ROUTE-REFRESH marker of the wrong length is an error that quotes the message', t => {
  const message = aMessage(5, '0001 01 01 00')
  t.deepEqual(plain(parseWith(parseRouteRefresh, message)), { error: '7/1', data: toHex(message) })
  t.deepEqual(parseWith(parseRouteRefresh, aMessage(5, '0001 00 01 00')), { afi: 1, safi: 1, subtype: 0 })
})

test('random OPENs, notifications, refreshes and UPDATEs are the same after being written and read', t => {
  fc.assert(
    fc.property(arbitrary.open, value => {
      const bytes = emitted(w => emitOpen(w, value))
      t.deepEqual(plain(parseWith(parseOpen, bytes)), plain(value))
    }),
  )
  fc.assert(
    fc.property(arbitrary.notification, value => {
      const bytes = emitted(w => emitNotification(w, value))
      t.deepEqual(plain(parseWith(parseNotification, bytes)), plain(value))
    }),
  )
  fc.assert(
    fc.property(
      arbitrary.routeRefresh.filter(r => r.subtype > 2),
      value => {
        const bytes = emitted(w => emitRouteRefresh(w, value))
        t.deepEqual(plain(parseWith(parseRouteRefresh, bytes)), plain(value))
      },
    ),
  )
  const sessions = arbitrary.session.chain(s => fc.tuple(fc.constant(s), arbitrary.update(s)))
  fc.assert(
    fc.property(sessions, ([session, value]) => {
      const bytes = emitted(w => emitUpdate(w, value, session))
      const parsed = parseWith((b, start, end) => parseUpdate(b, start, end, session), bytes)
      t.deepEqual(plain(parsed), plain({ ...value, faults: [] }))
    }),
    { numRuns: 300 },
  )
})
