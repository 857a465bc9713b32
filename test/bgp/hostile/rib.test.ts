// Broken UPDATEs of every kind into one RIB from peers of every kind. What must hold: no exception; what comes out for
// the others has no fault by the rules of their own sessions and fits their messages; when the senders are gone,
// nothing of it is left.
import test from 'ava'
import { Rib } from '../../../bgp/rib/rib.ts'
import type { RibPeer } from '../../../bgp/rib/types.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { MessageSplitter } from '../../../bgp/wire/message.ts'
import { parseUpdate } from '../../../bgp/wire/update.ts'
import { fromHex, toHex } from '../../../lib/bytes.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'
import { aPeer, OUR_AS } from '../rib/sessions.ts'
import { updates as cves } from '../wire/cve-bytes.ts'
import { updates as goldens } from '../wire/goldens.ts'
import { anUpdate } from '../wire/wire.ts'

const HEADER = 19
const ROUNDS = Number(process.env['MARGAY_FUZZ_ROUNDS'] ?? 10_000)

/** Numbers below a bound that follow from a seed (xorshift). */
function randomFrom(seed: number): (below: number) => number {
  let x = seed | 1
  return below => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) % below
  }
}

const plain = (asn: number, nlri: string) =>
  `0000 0014 40010100 4002060201${asn.toString(16).padStart(8, '0')} 400304 0a000001 ${nlri}`
const seeds: readonly Uint8Array[] = [
  ...goldens.map(({ bytes }) => bytes.slice(HEADER)),
  ...cves.map(([, parts]) => anUpdate(parts).slice(HEADER)),
  ...[1, 2, 3].map(n => fromHex(plain(OUR_AS + n, `18 cb0071 18 cb007${n}`))),
]

/** A seed with octets changed, lengths bent, parts doubled, cut or exchanged. */
function mutated(random: (below: number) => number): Uint8Array {
  let bytes = seeds[random(seeds.length)]!.slice()
  for (let changes = random(4); changes > 0; changes--) {
    const at = random(bytes.length || 1)
    const kind = random(6)
    if (kind === 0 && bytes.length > 0) bytes[at] = random(256)
    else if (kind === 1 && bytes.length > 0) bytes[at]! += random(3) - 1
    else if (kind === 2) bytes = bytes.slice(0, at)
    else if (kind === 3) bytes = Uint8Array.of(...bytes.slice(0, at), ...bytes.slice(random(at + 1)))
    else if (kind === 4) bytes = Uint8Array.of(...bytes, ...seeds[random(seeds.length)]!.slice(-12))
    else if (bytes.length > 4) {
      // the attributes end where they claim to, or nearly
      const length = bytes.length - 4 - random(9)
      bytes[2] = Math.max(0, length) >> 8
      bytes[3] = Math.max(0, length) & 255
      bytes[0] = bytes[1] = 0
    }
  }
  return bytes.length < 4 ? new Uint8Array(4) : bytes
}

/** Every attribute of the seeds, whole. */
const pool: readonly Uint8Array[] = seeds.flatMap(bytes => {
  const start = 4 + ((bytes[0]! << 8) | bytes[1]!)
  const end = Math.min(bytes.length, start + ((bytes[start - 2]! << 8) | bytes[start - 1]!))
  const found: Uint8Array[] = []
  for (let at = start; at + 4 <= end; ) {
    const wide = (bytes[at]! & 0x10) !== 0
    const next = at + (wide ? 4 + ((bytes[at + 2]! << 8) | bytes[at + 3]!) : 3 + bytes[at + 2]!)
    if (next <= end) found.push(bytes.slice(at, next))
    at = next
  }
  return found
})

/** A well-framed UPDATE of the three mandatory attributes and a few others, some of which have changed values. */
function assembled(random: (below: number) => number, { remoteAs: asn, receive }: RibPeer): Uint8Array {
  const { as4, addPath } = receive
  const path = as4 ? `40 02 06 02 01 ${asn.toString(16).padStart(8, '0')}` : `40 02 04 02 01 ${asn.toString(16)}`
  const attributes = random(8) === 0 ? [] : [fromHex(`40 01 01 00 ${path} 40 03 04 0a000001`)]
  for (let more = random(5); more > 0; more--) {
    const attribute = pool[random(pool.length)]!.slice()
    const value = (attribute[0]! & 0x10) !== 0 ? 4 : 3
    if (random(3) === 0 && attribute.length > value) attribute[value + random(attribute.length - value)] = random(256)
    attributes.push(attribute)
  }
  const prefix = () => {
    const pathId = addPath.ipv4 ? [0, 0, 0, random(3)] : []
    return toHex(Uint8Array.of(...pathId, 24, 203, 0, 112 + random(8)))
  }
  const nlri = Array.from({ length: random(4) }, prefix).join('')
  const withdrawn = random(6) === 0 ? prefix() : ''
  const parts = { withdrawn, attributes: attributes.map(toHex).join(''), nlri }
  return anUpdate(parts).slice(HEADER)
}

const peers = [
  aPeer(1),
  aPeer(2, { session: { as4: false } }),
  aPeer(3, { peerType: 'ibgp' }),
  aPeer(4, { peerType: 'ibgp', config: { reflectorClient: true }, addPath: { send: true, receive: true } }),
  aPeer(5, { session: { extendedMessage: true, extendedNextHop: true } }),
  aPeer(6, { addPath: { send: true, receive: true }, config: { nextHop: 'keep' } }),
  aPeer(7, { peerType: 'confed' }),
  aPeer(8, { peerType: 'ibgp', session: { as4: false } }),
]

test('whatever a peer sends, the others get UPDATEs without a fault, and nothing of it is left after the session', t => {
  const seed = Number(process.env['MARGAY_FUZZ_SEED'] ?? 1)
  const random = randomFrom(seed * 2654435761)
  const rib = new Rib(
    { asn: OUR_AS, routerId: '10.0.0.254', confederation: { identifier: 64999, members: [OUR_AS, OUR_AS + 7] } },
    { clock: new ManualClock(), log: silentLog },
  )
  for (const peer of peers) rib.peerUp(peer)
  const streams = new Map(peers.map(({ key }) => [key, new MessageSplitter()]))
  for (const { key, send } of peers) streams.get(key)!.extended = send.extendedMessage
  let bytes: Uint8Array = new Uint8Array(0)
  let resets = 0
  const read = () => {
    while (rib.work());
    for (const { key, send, peerType } of peers) {
      for (let blocks = rib.pull(key, 1 << 20); blocks !== undefined; blocks = rib.pull(key, 1 << 20))
        for (const block of blocks) {
          const error = streams.get(key)!.push(block, (type, chunk, start, end) => {
            if (type !== 2) return
            const parsed = parseUpdate(chunk, start, end, { ...send, peerType })
            const wrong = parsed instanceof ProtocolError ? parsed.message : JSON.stringify(parsed.faults)
            if (wrong !== '[]') throw new Error(`to ${key}: ${wrong} in ${toHex(chunk.subarray(start, end))}`)
          })
          if (error !== undefined) throw error
        }
    }
  }
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const from = peers[random(peers.length)]!
      bytes = random(3) === 0 ? mutated(random) : assembled(random, from)
      if (rib.receive(from.key, bytes, 0, bytes.length) !== undefined) {
        resets++
        rib.peerDown(from.key, { retain: false })
        streams.get(from.key)!.stop()
        const fresh = new MessageSplitter()
        fresh.extended = from.send.extendedMessage
        streams.set(from.key, fresh)
        rib.peerUp(from)
      }
      if (random(3) === 0) read()
    }
    read()
  } catch (error) {
    t.fail(`seed ${seed}, after ${toHex(bytes)}: ${error instanceof Error ? error.stack : error}`)
  }
  t.log(`${resets} of ${ROUNDS} messages cost a session`)
  for (const { key } of peers) rib.peerDown(key, { retain: false })
  while (rib.work());
  const { sets, prefixes, paths } = rib.sizes()
  t.deepEqual({ sets, prefixes, paths }, { sets: 0, prefixes: 0, paths: 0 })
  rib.close()
})
