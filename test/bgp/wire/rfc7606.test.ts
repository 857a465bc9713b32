// What each malformed attribute costs, by the clauses of RFC 7606 §3 and §7 and of the RFCs that define the attributes:
// bytes written by hand, so that they do not follow our own table of attributes.
import test from 'ava'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { parseUpdate } from '../../../bgp/wire/update.ts'
import { anUpdate, aSession, parseWith } from './wire.ts'

type Outcome = 'none' | 'discard' | 'withdraw' | 'reset'
type Case = readonly [clause: string, what: string, hex: string, ebgp: Outcome, ibgp: Outcome]

const ORIGIN = '40 01 01 00'
const PATH = '40 02 06 02 01 0000fdea'
const HOP = '40 03 04 c0000202'
const LOCAL = '40 05 04 00000064'
const MANDATORY = `${ORIGIN} ${PATH} ${HOP} ${LOCAL}`

/** Each beside the mandatory attributes that it does not stand for itself. */
const cases: readonly Case[] = [
  ['§7.1', 'ORIGIN of two octets', `40 01 02 0000 ${PATH} ${HOP} ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§7.1', 'ORIGIN 3', `40 01 01 03 ${PATH} ${HOP} ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§7.2', 'a segment of type 0', `${ORIGIN} 40 02 06 00 01 0000fdea ${HOP} ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§7.2', 'a segment of type 5', `${ORIGIN} 40 02 06 05 01 0000fdea ${HOP} ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§7.2', 'a segment without numbers', `${ORIGIN} 40 02 02 02 00 ${HOP} ${LOCAL}`, 'withdraw', 'withdraw'],
  [
    '§7.2',
    'a segment that is longer than AS_PATH',
    `${ORIGIN} 40 02 06 02 02 0000fdea ${HOP} ${LOCAL}`,
    'withdraw',
    'withdraw',
  ],
  [
    '§7.2',
    'one octet after the last segment',
    `${ORIGIN} 40 02 07 02 01 0000fdea 02 ${HOP} ${LOCAL}`,
    'withdraw',
    'withdraw',
  ],
  ['RFC 7607', 'AS 0 in AS_PATH', `${ORIGIN} 40 02 06 02 01 00000000 ${HOP} ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§7.3', 'NEXT_HOP of three octets', `${ORIGIN} ${PATH} 40 03 03 c00002 ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§7.4', 'MULTI_EXIT_DISC of three octets', `${MANDATORY} 80 04 03 000000`, 'withdraw', 'withdraw'],
  ['§7.5', 'LOCAL_PREF of three octets', `${ORIGIN} ${PATH} ${HOP} 40 05 03 000000`, 'discard', 'withdraw'],
  ['§7.5', 'LOCAL_PREF from an external peer', `${ORIGIN} ${PATH} ${HOP} 40 05 04 00000065`, 'discard', 'none'],
  ['§7.6', 'ATOMIC_AGGREGATE of one octet', `${MANDATORY} 40 06 01 00`, 'discard', 'discard'],
  ['§7.7', 'AGGREGATOR of six octets', `${MANDATORY} c0 07 06 fdea c0000201`, 'discard', 'discard'],
  ['§7.8', 'COMMUNITY of three octets', `${MANDATORY} c0 08 03 fdea00`, 'withdraw', 'withdraw'],
  ['§7.8', 'COMMUNITY without a value', `${MANDATORY} c0 08 00`, 'withdraw', 'withdraw'],
  ['§7.9', 'ORIGINATOR_ID of five octets', `${MANDATORY} 80 09 05 0000000000`, 'discard', 'withdraw'],
  ['§7.10', 'CLUSTER_LIST of three octets', `${MANDATORY} 80 0a 03 000000`, 'discard', 'withdraw'],
  ['§7.10', 'CLUSTER_LIST without a value', `${MANDATORY} 80 0a 00`, 'discard', 'withdraw'],
  ['§7.11', 'MP_REACH_NLRI whose next hop does not fit', `${MANDATORY} 80 0e 06 0002 01 10 0000`, 'reset', 'reset'],
  [
    '§5.3',
    'MP_REACH_NLRI with a prefix of 129 bits',
    `${MANDATORY} 80 0e 26 0002 01 10 ${'20'.repeat(16)} 00 81 ${'00'.repeat(16)}`,
    'reset',
    'reset',
  ],
  ['§7.12', 'MP_UNREACH_NLRI of two octets', `${MANDATORY} 80 0f 02 0002`, 'reset', 'reset'],
  ['§7.14', 'extended communities of seven octets', `${MANDATORY} c0 10 07 ${'00'.repeat(7)}`, 'withdraw', 'withdraw'],
  [
    'RFC 8092 §6',
    'large communities of eleven octets',
    `${MANDATORY} c0 20 0b ${'00'.repeat(11)}`,
    'withdraw',
    'withdraw',
  ],
  ['RFC 9234 §5', 'ONLY_TO_CUSTOMER of three octets', `${MANDATORY} c0 23 03 000001`, 'withdraw', 'withdraw'],
  [
    'RFC 6793 §4.1',
    'AS4_PATH between speakers of four octets',
    `${MANDATORY} c0 11 06 02 01 0000fdea`,
    'discard',
    'discard',
  ],
  ['§3 c', 'ORIGIN that says it is optional', `c0 01 01 00 ${PATH} ${HOP} ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§3 c', 'COMMUNITY that says it is not transitive', `${MANDATORY} 80 08 04 fdea0001`, 'withdraw', 'withdraw'],
  ['§3 d', 'no ORIGIN', `${PATH} ${HOP} ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§3 d', 'no AS_PATH', `${ORIGIN} ${HOP} ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§3 d', 'no NEXT_HOP', `${ORIGIN} ${PATH} ${LOCAL}`, 'withdraw', 'withdraw'],
  ['§3 g', 'a second MULTI_EXIT_DISC', `${MANDATORY} 80 04 04 00000001 80 04 04 00000002`, 'discard', 'discard'],
  ['§3 g', 'a second MP_UNREACH_NLRI', `${MANDATORY} 80 0f 03 0002 01 80 0f 03 0002 01`, 'reset', 'reset'],
  ['§4', 'an attribute that is longer than all of them', `${MANDATORY} 80 04 05 00000000`, 'withdraw', 'withdraw'],
  ['§4', 'one octet after the last attribute', `${MANDATORY} 80`, 'withdraw', 'withdraw'],
  ['RFC 4271 §6.3', 'an unknown attribute that says it is well-known', `${MANDATORY} 40 63 00`, 'reset', 'reset'],
  ['RFC 4271 §5', 'an unknown optional attribute', `${MANDATORY} c0 63 01 00`, 'none', 'none'],
]

for (const [clause, what, attributes, ebgp, ibgp] of cases)
  test(`${what}: ${ebgp === ibgp ? ebgp : `${ebgp} (eBGP), ${ibgp} (iBGP)`}, ${clause}`, t => {
    for (const [peerType, outcome] of [
      ['ebgp', ebgp],
      ['ibgp', ibgp],
    ] as const) {
      // an external peer sends none
      const own = peerType === 'ebgp' ? attributes.replace(LOCAL, '') : attributes
      const parse = (b: Uint8Array, start: number, end: number) => parseUpdate(b, start, end, aSession({ peerType }))
      const parsed = parseWith(parse, anUpdate({ attributes: own, nlri: '18 cb0071' }))
      const found = parsed instanceof ProtocolError ? 'reset' : (parsed.cost ?? 'none')
      t.is(found, outcome, peerType)
    }
  })
