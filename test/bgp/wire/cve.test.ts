// The classes of `cve-bytes.ts`, as far as the codecs go; ../hostile throws the same bytes at a running speaker.
import test from 'ava'
import { emitAttributes, parseAttributes, passOn } from '../../../bgp/wire/attributes.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { MessageSplitter } from '../../../bgp/wire/message.ts'
import { parseMrt } from '../../../bgp/wire/mrt.ts'
import { cease, notificationText, parseNotification } from '../../../bgp/wire/notification.ts'
import { parseOpen } from '../../../bgp/wire/open.ts'
import { emitUpdate, parseUpdate } from '../../../bgp/wire/update.ts'
import { fromHex, toHex } from '../../../lib/bytes.ts'
import { opens, updates } from './cve-bytes.ts'
import { aMessage, anUpdate, aSession, emitted, parseWith } from './wire.ts'

for (const [title, hex, outcome] of opens)
  test(`OPEN, ${title}: ${outcome}`, t => {
    const parsed = parseWith(parseOpen, aMessage(1, hex))
    if (parsed instanceof ProtocolError) t.is(`${parsed.code}/${parsed.subcode}`, outcome)
    else t.deepEqual([outcome, parsed.capabilities[0]?.type], ['kept', 'unknown'])
  })

for (const [title, parts, outcome, changes] of updates)
  test(`UPDATE, ${title}: ${outcome}`, t => {
    const session = aSession(changes)
    const parsed = parseWith((b, start, end) => parseUpdate(b, start, end, session), anUpdate(parts))
    if (parsed instanceof ProtocolError) t.is(`${parsed.code}/${parsed.subcode}`, outcome)
    else t.is(parsed.cost ?? 'accepted', outcome, JSON.stringify(parsed.faults))
  })

test('lengths of an UPDATE that do not fit the message end the session with 3/1', t => {
  for (const hex of ['ffff 0000', '0000 ffff', '0001 0000', '0000 0005 40010100']) {
    const parsed = parseWith((b, start, end) => parseUpdate(b, start, end, aSession()), aMessage(2, hex))
    t.true(parsed instanceof ProtocolError, hex)
    if (parsed instanceof ProtocolError) t.deepEqual([parsed.code, parsed.subcode], [3, 1])
  }
})

test('CVE-2024-31949: the message type of dynamic capabilities is an unknown type', t => {
  const error = new MessageSplitter().push(aMessage(6, '00010400010002'), () => t.fail())
  t.deepEqual([error?.code, error?.subcode, toHex(error!.data)], [1, 3, '06'])
})

test('CVE-2025-43970: an MRT header that promises more than there is gives an unread record', t => {
  const bytes = fromHex('57acb180 000d 0002 00000004 0000')
  t.is(parseMrt(bytes, 0, bytes.length).kind, 'unread')
})

test('CVE-2019-16159: a shutdown text with a wrong length is no text, and control characters in a text are replaced', t => {
  const lying = parseNotification(fromHex('0602 ff 61'), 0, 4)
  t.is(notificationText(lying), 'Cease/Administrative Shutdown')
  const cleaned = notificationText(cease(2, 'a\u001b[2Jb\nc\u202ed'))
  t.is(cleaned, 'Cease/Administrative Shutdown: "a\ufffd[2Jb\ufffdc\ufffdd"')
  t.is(cease(2, 'ü'.repeat(200)).data.length, 1 + 254)
})

test('CVE-2026-49943: a path of 10,000 ASes in an extended message is read and written whole', t => {
  const asns = Array.from({ length: 10_000 }, (_, i) => i + 1)
  const value = {
    ...{ withdrawn: [], nlri: [{ prefix: '203.0.113.0/24' }] },
    attributes: { origin: 0, asPath: [{ type: 2, asns }], nextHop: 0x0a000002 },
  }
  const session = aSession({ extendedMessage: true })
  const parsed = parseWith(
    (b, start, end) => parseUpdate(b, start, end, session),
    emitted(w => emitUpdate(w, value, session), 65_535),
  )
  t.false(parsed instanceof ProtocolError)
  if (parsed instanceof ProtocolError) return
  t.is(parsed.cost, undefined)
  t.deepEqual(
    parsed.attributes.asPath?.flatMap(segment => segment.asns),
    asns,
  )
})

test('an unknown transitive attribute goes on as it came, marked Partial; a non-transitive one does not', t => {
  const bytes = fromHex('d0 63 0002 beef 80 64 01 00')
  const { attributes, cost } = parseAttributes(bytes, 0, bytes.length, aSession())
  t.is(cost, undefined)
  t.deepEqual(attributes.unknown, [{ code: 0x63, flags: 0xc0, value: fromHex('beef') }])
  const unknown = passOn(attributes.unknown!)
  t.is(toHex(emitted(w => emitAttributes(w, { unknown }, aSession()))), 'e06302beef')
})
