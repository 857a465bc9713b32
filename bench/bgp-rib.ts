// The RIB alone, bytes in to bytes out, in one process and without sockets: what the routes themselves cost.

import { Rib } from '../bgp/rib/rib.ts'
import type { RibPeer } from '../bgp/rib/types.ts'
import { emitAttributes } from '../bgp/wire/attributes.ts'
import { MESSAGE, SEGMENT } from '../bgp/wire/iana.ts'
import { emitMessage, MessageSplitter } from '../bgp/wire/message.ts'
import { Writer } from '../lib/bytes.ts'
import { systemClock } from '../lib/clock.ts'
import { ipv4Number } from '../lib/ip.ts'
import { silentLog } from '../lib/log.ts'
import { emitIpv4Prefix } from './ipv4-prefix.ts'
import type { Row } from './row.ts'

const OUR_AS = 65000
/** Chunk size of a socket read. */
const CHUNK = 65536

function peer(n: number): RibPeer {
  const session = {
    as4: true,
    peerType: 'ebgp' as const,
    addPath: { ipv4: false, ipv6: false },
    extendedNextHop: false,
    extendedMessage: false,
  }
  return {
    key: `peer${n}`,
    config: { asn: OUR_AS + n, import: 'accept', export: 'accept' },
    peerType: 'ebgp',
    localAs: OUR_AS,
    remoteAs: OUR_AS + n,
    routerId: 0x0a000000 + n,
    localAddress: '10.255.0.1',
    remoteAddress: `10.0.${n >> 8}.${n & 255}`,
    families: ['ipv4-unicast'],
    // as for every directly connected external peer
    connected: ['10.0.0.0/8'],
    receive: session,
    send: session,
    enhancedRefresh: false,
  }
}

/** UPDATEs in chunks: `count` /24s from number `first` on, `perSet` of them with each attribute set. */
function updates(n: number, first: number, count: number, perSet: number): Uint8Array[] {
  const chunks: Uint8Array[] = []
  let w = new Writer(CHUNK + 4096)
  const nextHop = ipv4Number(`10.0.${n >> 8}.${n & 255}`)
  const { receive } = peer(n)
  for (let at = first; at < first + count; at += perSet) {
    const set = at / perSet
    const asns = [OUR_AS + n, 1000 + (set % 60000), 100000 + set, 3000 + ((set * 7) % 50000)]
    const communities = [(OUR_AS << 16) | (set & 0xffff), (3356 << 16) | (set >>> 4)].map(c => c >>> 0)
    const attributes = { origin: 0, asPath: [{ type: SEGMENT.sequence, asns }], nextHop, med: set % 100, communities }
    emitMessage(w, MESSAGE.update, () => {
      w.u16(0).prefixed(2, () => emitAttributes(w, attributes, receive))
      for (let i = at; i < Math.min(at + perSet, first + count); i++)
        emitIpv4Prefix(w, (0x01000000 + i * 256) >>> 0, 24)
    })
    if (w.length > CHUNK) {
      chunks.push(w.done().slice())
      w = new Writer(CHUNK + 4096)
    }
  }
  chunks.push(w.done().slice())
  return chunks
}

/** Withdrawals of the same prefixes, 1000 to a message. */
function withdrawals(first: number, count: number): Uint8Array[] {
  const chunks: Uint8Array[] = []
  for (let at = first; at < first + count; at += 1000) {
    const w = new Writer(5000)
    emitMessage(w, MESSAGE.update, () => {
      w.prefixed(2, () => {
        for (let i = at; i < Math.min(at + 1000, first + count); i++)
          emitIpv4Prefix(w, (0x01000000 + i * 256) >>> 0, 24)
      })
      w.u16(0)
    })
    chunks.push(w.done().slice())
  }
  return chunks
}

/** Feeds chunks as a speaker does: after each chunk the decision runs and the peers read their UPDATEs. */
class Run {
  readonly rib = new Rib({ asn: OUR_AS, routerId: '10.255.0.1' }, { clock: systemClock, log: silentLog })
  readonly #pending = new Set<string>()
  octetsOut = 0

  constructor() {
    this.rib.onPending(key => this.#pending.add(key))
  }

  up(n: number): void {
    this.rib.peerUp(peer(n))
    this.#pending.add(`peer${n}`)
  }

  down(n: number): void {
    this.rib.peerDown(`peer${n}`, { retain: false })
  }

  feed(n: number, chunks: readonly Uint8Array[]): void {
    const splitter = new MessageSplitter()
    for (const chunk of chunks) {
      const error = splitter.push(chunk, (_type, bytes, start, end) => {
        const fault = this.rib.receive(`peer${n}`, bytes, start, end)
        if (fault !== undefined) throw fault
      })
      if (error !== undefined) throw error
      this.drain()
    }
  }

  drain(): void {
    while (this.rib.work());
    for (const key of this.#pending) {
      this.#pending.delete(key)
      for (let blocks = this.rib.pull(key, CHUNK); blocks !== undefined; blocks = this.rib.pull(key, CHUNK))
        for (const block of blocks) this.octetsOut += block.length
    }
  }
}

/** Seconds of processor time: what other programs do on the machine meanwhile does not count. */
function seconds(work: () => void): number {
  const from = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(from)
  return (user + system) / 1e6
}

/** Memory of the process above `before`, in MiB. */
function growth(before: number): number {
  return (process.memoryUsage().rss - before) / 2 ** 20
}

/** A million routes announced, sent again after a route refresh, and withdrawn; then 100 peers with mostly the same routes. */
export async function benchBgpRib(): Promise<Row[]> {
  const rows: Row[] = []
  const row = (name: string, value: number, unit: string) => rows.push({ name, value, unit })
  const input = updates(1, 0, 1_000_000, 4)
  const empty = process.memoryUsage().rss
  const one = new Run()
  one.up(1)
  one.up(2)
  row(
    'rib: 1,000,000 routes in 250,000 sets, in and out',
    seconds(() => one.feed(1, input)),
    'CPU s',
  )
  row('rib: announced to the second peer', one.rib.counts('peer2')!.announced, 'prefixes')
  row('rib: resident memory grown by', growth(empty), 'MiB')
  row('rib: octets out', one.octetsOut, 'octets')
  row(
    'rib: route refresh of 1,000,000',
    seconds(() => {
      one.rib.refresh('peer2', 'ipv4-unicast', 'request')
      one.drain()
    }),
    'CPU s',
  )
  const gone = withdrawals(0, 1_000_000)
  row(
    'rib: withdraw of 1,000,000',
    seconds(() => one.feed(1, gone)),
    'CPU s',
  )
  one.feed(1, input)
  row(
    'rib: session with 1,000,000 routes lost, until the call returns',
    seconds(() => one.down(1)),
    'CPU s',
  )
  row(
    'rib: and until the second peer was told',
    seconds(() => one.drain()),
    'CPU s',
  )
  row('rib: attribute sets left', one.rib.sizes().sets, 'sets')
  const many = new Run()
  for (let n = 1; n <= 100; n++) many.up(n)
  const tables = Array.from({ length: 100 }, (_, i) => [
    ...updates(i + 1, 0, 9000, 4),
    ...updates(i + 1, 1_000_000 + i * 1000, 1000, 4),
  ])
  const from = seconds(() => {
    for (let chunk = 0; chunk < Math.max(...tables.map(table => table.length)); chunk++)
      for (const [i, table] of tables.entries()) if (table[chunk] !== undefined) many.feed(i + 1, [table[chunk]!])
  })
  row('rib: 100 peers with 10,000 routes each, 9,000 shared', from, 'CPU s')
  return rows
}

if (import.meta.main)
  for (const { name, value, unit } of await benchBgpRib()) console.log(`${name}: ${value.toFixed(3)} ${unit}`)
