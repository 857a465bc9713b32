// 17,384 messages from a route collector, compared line by line with what bgpdump -vm prints for them.
import { isDeepStrictEqual } from 'node:util'
import test from 'ava'
import { formatAsPath } from '../../../bgp/wire/as-path.ts'
import type { Attributes } from '../../../bgp/wire/attribute-values.ts'
import { formatCommunity, formatLargeCommunity } from '../../../bgp/wire/communities.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { MESSAGE } from '../../../bgp/wire/iana.ts'
import { emitUpdate, parseUpdate, type Update } from '../../../bgp/wire/update.ts'
import { fromHex } from '../../../lib/bytes.ts'
import { formatAddress, formatIpv4 } from '../../../lib/ip.ts'
import { lines, rows } from './corpora.ts'
import { aSession, body, emitted, parseWith } from './wire.ts'

type Row = { ts: number; as4: boolean; peer_as: number; peer: string; hex: string }

/** The lines that bgpdump prints for one message, in its order: withdrawals, then announcements. */
function dumpLines({ ts, peer, peer_as }: Row, u: Update): string[] {
  const head = (kind: string) => `BGP4MP|${ts}|${kind}|${peer}|${peer_as}`
  const gone = [...u.withdrawn, ...(u.mpUnreach?.nlri ?? [])].map(({ prefix }) => `${head('W')}|${prefix}`)
  const here = (prefix: string, nextHop: string) => `${head('A')}|${prefix}|${details(u.attributes, nextHop)}`
  return [
    ...gone,
    ...u.nlri.map(({ prefix }) => here(prefix, formatIpv4(u.attributes.nextHop ?? 0))),
    ...(u.mpReach?.nlri ?? []).map(({ prefix }) => here(prefix, formatAddress(u.mpReach!.nextHop.subarray(0, 16)))),
  ]
}

function details(a: Attributes, nextHop: string): string {
  const origin = ['IGP', 'EGP', 'INCOMPLETE'][a.origin ?? 2]
  const communities = [
    ...(a.communities ?? []).map(formatCommunity),
    ...(a.largeCommunities ?? []).map(formatLargeCommunity),
  ]
  const by = a.aggregator === undefined ? '' : `${a.aggregator.asn} ${formatIpv4(a.aggregator.address)}`
  const path = formatAsPath(a.asPath ?? [])
  const aggregate = a.atomicAggregate === true ? 'AG' : 'NAG'
  return `${path}|${origin}|${nextHop}|${a.localPref ?? 0}|${a.med ?? 0}|${communities.join(' ')}|${aggregate}|${by}|`
}

test('the messages of a route collector print as bgpdump prints them, and are the same after being written again', t => {
  const messages = rows<Row>('mrt-updates-20160811.ndjson.gz', t)
  const wanted = lines('mrt-updates-20160811.expect.gz', t)?.filter(line => !line.includes('|STATE|'))
  if (messages === undefined || wanted === undefined) return
  const printed: string[] = []
  let again = 0
  for (const row of messages) {
    const bytes = fromHex(row.hex)
    const message = body(bytes)
    if (message.type !== MESSAGE.update) continue
    const session = aSession({ as4: row.as4 })
    const parsed = parseUpdate(message.bytes, message.start, message.end, session)
    if (parsed instanceof ProtocolError) {
      t.fail(`${parsed.message} ${row.hex}`)
      continue
    }
    t.is(parsed.cost, undefined, `${JSON.stringify(parsed.faults)} ${row.hex}`)
    printed.push(...dumpLines(row, parsed))
    const copy = parseWith(
      (b, start, end) => parseUpdate(b, start, end, session),
      emitted(w => emitUpdate(w, parsed, session)),
    )
    if (isDeepStrictEqual(copy, parsed)) again++
    else t.fail(row.hex)
  }
  t.is(again, 17_216)
  t.is(printed.length, wanted.length)
  const different = printed.flatMap((line, i) => (line === wanted[i] ? [] : [`${line}\n${wanted[i]}`]))
  t.deepEqual(different.slice(0, 5), [])
})
