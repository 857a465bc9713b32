// How fast bytes are parsed into messages, prefixes and attributes: the speaker cannot be faster than this.
// 250,000 UPDATEs of four /24s each, every one with attributes of its own, arrive in chunks of 64 KiB.

import { parseAttributes } from '../bgp/wire/attributes.ts'
import type { CodecSession } from '../bgp/wire/codec-session.ts'
import { SEGMENT } from '../bgp/wire/iana.ts'
import { MessageSplitter, type MessageVisitor } from '../bgp/wire/message.ts'
import { eachIpv4Prefix } from '../bgp/wire/nlri.ts'
import { emitUpdate, MpOffsets, parseUpdate, scanAttributes, splitUpdate, UpdateOffsets } from '../bgp/wire/update.ts'
import { Writer } from '../lib/bytes.ts'
import { formatIpv4 } from '../lib/ip.ts'
import type { Row } from './row.ts'

const UPDATES = 250_000
const PER_UPDATE = 4
const CHUNK = 65_536
const RUNS = 5

const session: CodecSession = {
  as4: true,
  peerType: 'ebgp',
  addPath: { ipv4: false, ipv6: false },
  extendedNextHop: false,
  extendedMessage: false,
}

/** Four consecutive /24s; origin, a path of four, next hop, MED and two communities that differ from set to set. */
function stream(): Uint8Array {
  const w = new Writer(UPDATES * 100)
  for (let i = 0; i < UPDATES; i++) {
    const nlri = Array.from({ length: PER_UPDATE }, (_, k) => ({
      prefix: `${formatIpv4((0x01000000 + ((i * PER_UPDATE + k) << 8)) >>> 0)}/24`,
    }))
    const attributes = {
      origin: 0,
      asPath: [{ type: SEGMENT.sequence, asns: [65001, 64496 + (i % 500), 4200000000 + i, 3356] }],
      nextHop: 0x0a000001,
      med: i,
      communities: [0xfde90001, i],
    }
    emitUpdate(w, { withdrawn: [], attributes, nlri }, session)
  }
  return w.done()
}

/** Everything that is measured here, as rows; takes some seconds. */
export async function benchBgpWire(): Promise<Row[]> {
  const bytes = stream()
  const at = new UpdateOffsets()
  const mp = new MpOffsets()
  let sum = 0
  const prefix = (_: number, address: number, length: number) => {
    sum = (sum + address + length) | 0
  }
  const walk: MessageVisitor = (_, chunk, start, end) => {
    splitUpdate(chunk, start, end, at)
    eachIpv4Prefix(chunk, at.withdrawnStart, at.withdrawnEnd, false, prefix)
    eachIpv4Prefix(chunk, at.nlriStart, at.nlriEnd, false, prefix)
  }
  const scan: MessageVisitor = (type, chunk, start, end) => {
    walk(type, chunk, start, end)
    scanAttributes(chunk, at.attributesStart, at.attributesEnd, mp)
  }
  const attributes: MessageVisitor = (type, chunk, start, end) => {
    walk(type, chunk, start, end)
    sum += parseAttributes(chunk, at.attributesStart, at.attributesEnd, session).faults.length
  }
  const whole: MessageVisitor = (_, chunk, start, end) => {
    const update = parseUpdate(chunk, start, end, session)
    if ('nlri' in update) sum += update.nlri.length
  }
  const rows = [
    rate('split and walk', bytes, walk),
    rate('split, walk and locate multiprotocol attributes', bytes, scan),
    rate('split, walk and parse every attribute set', bytes, attributes),
    rate('parse into values', bytes, whole),
  ]
  if (sum === 0) throw new Error('nothing was walked')
  return rows
}

function rate(name: string, bytes: Uint8Array, visit: MessageVisitor): Row {
  let best = Number.POSITIVE_INFINITY
  for (let run = 0; run < RUNS; run++) {
    const splitter = new MessageSplitter()
    const begin = performance.now()
    for (let from = 0; from < bytes.length; from += CHUNK) {
      const error = splitter.push(bytes.subarray(from, from + CHUNK), visit)
      if (error !== undefined) throw error
    }
    best = Math.min(best, performance.now() - begin)
  }
  return { name, value: Math.round(UPDATES / (best / 1000)), unit: 'UPDATEs/s' }
}

if (import.meta.main) for (const { name, value, unit } of await benchBgpWire()) console.log(`${name}: ${value} ${unit}`)
