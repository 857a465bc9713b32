// Bytes of the classes that crashed or reset other speakers, and what each costs here (RFC 7606). The same classes are
// thrown at a running speaker elsewhere; this is the codecs' share.
import test from 'ava'
import type { CodecSession } from '../../../bgp/wire/attributes.ts'
import { emitAttributes, parseAttributes, passOn } from '../../../bgp/wire/attributes.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { MessageSplitter } from '../../../bgp/wire/message.ts'
import { parseMrt } from '../../../bgp/wire/mrt.ts'
import { cease, notificationText, parseNotification, shutdownText } from '../../../bgp/wire/notification.ts'
import { parseOpen } from '../../../bgp/wire/open.ts'
import { emitUpdate, parseUpdate } from '../../../bgp/wire/update.ts'
import { fromHex, toHex } from '../../../lib/bytes.ts'
import { aMessage, anUpdate, aSession, emitted, parseWith } from './wire.ts'

const HEAD = '04 fde9 005a 0a4d0001'

const opens: readonly [title: string, body: string, outcome: string][] = [
  ['CVE-2022-40302: the long form announced, nothing after it', `${HEAD} ff ff`, '2/0'],
  ['CVE-2022-40302: the long form with half a length', `${HEAD} ff ff 00`, '2/0'],
  ['CVE-2022-40318: a long-form parameter beyond the message', `${HEAD} ff ff 0005 02 ffff 0104`, '2/0'],
  ['CVE-2022-43681: parameters announced, none there', `${HEAD} ff`, '2/0'],
  ['CVE-2022-43681: half a parameter', `${HEAD} 01 02`, '2/0'],
  ['CVE-2022-36440: a four-octet AS capability of 255 octets', `${HEAD} 08 02 06 41 ff 0000fde9`, '2/0'],
  ['CVE-2022-37032: graceful restart with half a family', `${HEAD} 08 02 06 40 04 0078 0001`, '2/0'],
  ['CVE-2026-49837: a capability one octet beyond its parameter', `${HEAD} 06 02 04 01 04 0001 00`, '2/0'],
  ['CVE-2023-41361: a software version longer than its capability', `${HEAD} 06 02 04 4b 02 ff 41`, 'kept'],
  ['CVE-2025-43971: a software version of no octets', `${HEAD} 05 02 03 4b 01 00`, 'kept'],
  ['CVE-2025-43971: a software version without its length', `${HEAD} 04 02 02 4b 00`, 'kept'],
]
for (const [title, hex, outcome] of opens)
  test(`OPEN, ${title}: ${outcome}`, t => {
    const parsed = parseWith(parseOpen, aMessage(1, hex))
    if (parsed instanceof ProtocolError) t.is(`${parsed.code}/${parsed.subcode}`, outcome)
    else t.deepEqual([outcome, parsed.capabilities[0]?.type], ['kept', 'unknown'])
  })

const ORIGIN = '40 01 01 00'
const PATH = '40 02 06 02 01 0000fde9'
const HOP = '40 03 04 0a000002'
const BASE = `${ORIGIN} ${PATH} ${HOP}`
const NLRI = '18 cb0071'
const V6 = '20010db8000000000000000000000002'

type Case = [title: string, parts: Parameters<typeof anUpdate>[0], outcome: string, session?: Partial<CodecSession>]

const updates: readonly Case[] = [
  ['CVE-2023-46753: only an unknown attribute', { attributes: 'c0 ee 00', nlri: NLRI }, 'withdraw'],
  ['CVE-2023-41358: prefixes and no attribute at all', { nlri: NLRI }, 'withdraw'],
  ['CVE-2023-46753: without ORIGIN', { attributes: `${PATH} ${HOP}`, nlri: NLRI }, 'withdraw'],
  ['CVE-2026-42285: without AS_PATH', { attributes: `${ORIGIN} ${HOP}`, nlri: NLRI }, 'withdraw'],
  ['CVE-2026-42285: without NEXT_HOP', { attributes: `${ORIGIN} ${PATH}`, nlri: NLRI }, 'withdraw'],
  ['CVE-2023-47234: MP_UNREACH and prefixes', { attributes: '80 0f 03 0002 01', nlri: NLRI }, 'withdraw'],
  ['CVE-2023-47235: an End-of-RIB with a bad ORIGIN', { attributes: '80 0f 03 0002 01 40 01 01 ff' }, '3/1'],
  ['RFC 7606 §5.2: a bad attribute and only withdrawals', { withdrawn: NLRI, attributes: '40 01 00' }, '3/1'],
  ['MP_UNREACH alone, marked transitive', { attributes: 'c0 0f 08 0002 01 20 20010db8' }, 'withdraw'],
  ['CVE-2023-46752: a next hop beyond MP_REACH', { attributes: '80 0e 05 0002 01 10 00' }, '3/9'],
  ['CVE-2023-46752: MP_REACH of one octet', { attributes: '80 0e 01 00' }, '3/9'],
  ['MP_REACH beyond the attributes', { attributes: `${BASE} 80 0e ff 0002`, nlri: NLRI }, '3/1'],
  ['MP_REACH twice', { attributes: `${`80 0e 15 0002 01 10 ${V6} 00`.repeat(2)} ${BASE}`, nlri: NLRI }, '3/1'],
  ['an IPv6 prefix of 129 bits', { attributes: `80 0e 16 0002 01 10 ${V6} 00 81 ${ORIGIN} ${PATH}` }, '3/9'],
  ['an IPv4 prefix of 33 bits', { attributes: BASE, nlri: '21 cb00710000' }, '3/10'],
  ['a prefix that is cut off', { attributes: BASE, nlri: '18 cb00' }, '3/10'],
  ['a withdrawn prefix that is cut off', { withdrawn: '18 cb' }, '3/10'],
  [
    'CVE-2024-44070: a tunnel longer than the attribute',
    { attributes: `${BASE} c0 17 04 0008 ffff`, nlri: NLRI },
    'withdraw',
  ],
  [
    'CVE-2024-44070: a sub-TLV of half a length',
    { attributes: `${BASE} c0 17 06 0008 0002 80 ff`, nlri: NLRI },
    'withdraw',
  ],
  ['CVE-2023-38802: attribute 23 of one octet', { attributes: `${BASE} c0 17 01 00`, nlri: NLRI }, 'withdraw'],
  ['CVE-2023-38802: attribute 23 of no octets', { attributes: `${BASE} c0 17 00`, nlri: NLRI }, 'accepted'],
  ['CVE-2019-5892: attribute 255 of no octets', { attributes: `${BASE} c0 ff 00`, nlri: NLRI }, 'accepted'],
  ['CVE-2023-41359: AIGP of half a TLV', { attributes: `${BASE} 80 1a 02 01 00`, nlri: NLRI }, 'accepted'],
  ['CVE-2024-31948: a prefix SID of one octet', { attributes: `${BASE} c0 28 01 05`, nlri: NLRI }, 'accepted'],
  ['VU#347067: OTC of 1024 octets', { attributes: `${BASE} d0 23 0400 ${'00'.repeat(1024)}`, nlri: NLRI }, 'withdraw'],
  [
    'CVE-2026-30405: NEXT_HOP of three octets',
    { attributes: `${ORIGIN} ${PATH} 40 03 03 0a0000`, nlri: NLRI },
    'withdraw',
  ],
  ['CVE-2026-37461: an attribute header of one octet', { attributes: `${BASE} 80`, nlri: NLRI }, 'withdraw'],
  ['CVE-2026-37462: an extended length of one octet', { attributes: `${BASE} 90 04 00`, nlri: NLRI }, 'withdraw'],
  ['CVE-2026-41642: communities of one octet', { attributes: `${BASE} c0 08 01 00`, nlri: NLRI }, 'withdraw'],
  [
    'CVE-2026-41643: AS4_PATH before AS_PATH',
    { attributes: `c0 11 06 02 01 fa56ea00 ${ORIGIN} 40 02 04 02 01 5ba0 ${HOP}`, nlri: NLRI },
    'accepted',
    { as4: false },
  ],
  [
    'CVE-2026-41643: AS4_PATH without AS_PATH',
    { attributes: `c0 11 06 02 01 fa56ea00 ${ORIGIN} ${HOP}`, nlri: NLRI },
    'withdraw',
    { as4: false },
  ],
  [
    'CVE-2026-49838: an empty AS_PATH from a confederation member',
    { attributes: `${ORIGIN} 40 02 00 ${HOP} 40 05 04 00000064`, nlri: NLRI },
    'accepted',
    { peerType: 'confed' },
  ],
  [
    'confederation segments from outside',
    { attributes: `${ORIGIN} 40 02 06 03 01 0000fde9 ${HOP}`, nlri: NLRI },
    'withdraw',
  ],
  [
    'an AS_PATH segment of 255 numbers in six octets',
    { attributes: `${ORIGIN} 40 02 06 02 ff 0000fde9 ${HOP}`, nlri: NLRI },
    'withdraw',
  ],
  ['AS 0 in the path (RFC 7607)', { attributes: `${ORIGIN} 40 02 06 02 01 00000000 ${HOP}`, nlri: NLRI }, 'withdraw'],
  ['a second ORIGIN', { attributes: `${BASE} 40 01 01 02`, nlri: NLRI }, 'discard'],
  ['AGGREGATOR of five octets', { attributes: `${BASE} c0 07 05 0000fde900`, nlri: NLRI }, 'discard'],
  ['ATOMIC_AGGREGATE of one octet', { attributes: `${BASE} 40 06 01 00`, nlri: NLRI }, 'discard'],
  ['LOCAL_PREF of three octets from eBGP', { attributes: `${BASE} 40 05 03 000000`, nlri: NLRI }, 'discard'],
  [
    'LOCAL_PREF of three octets from iBGP',
    { attributes: `${BASE} 40 05 03 000000`, nlri: NLRI },
    'withdraw',
    { peerType: 'ibgp' },
  ],
  [
    'CLUSTER_LIST of no octets from iBGP',
    { attributes: `${BASE} 80 0a 00`, nlri: NLRI },
    'withdraw',
    { peerType: 'ibgp' },
  ],
  ['an unknown attribute that claims to be well-known', { attributes: `${BASE} 40 63 00`, nlri: NLRI }, '3/2'],
  [
    'CVE-2025-43972: FlowSpec of a length that lies',
    { attributes: `80 0e 07 0001 85 00 00 f0 ff ${ORIGIN} ${PATH}` },
    'accepted',
  ],
]
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

test('CVE-2019-16159: a shutdown text whose length lies is no text, and a real one is cleaned', t => {
  const lying = parseNotification(fromHex('0602 ff 61'), 0, 4)
  t.is(shutdownText(lying), undefined)
  t.is(notificationText(lying), 'Cease/Administrative Shutdown')
  t.is(shutdownText(cease(2, 'a\u001b[2Jb\nc\u202ed')), 'a\ufffd[2Jb\ufffdc\ufffdd')
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
