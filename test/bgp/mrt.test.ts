// Table dumps in and out of speakers, in memory; and what bgpdump of Debian says of ours.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { dumpMrt } from '../../bgp/mrt/dump.ts'
import { loadMrt, MrtError, type MrtLoaded, type MrtLoadOptions } from '../../bgp/mrt/load.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { SEGMENT } from '../../bgp/wire/iana.ts'
import { emitMrt, type MrtPeer, type MrtRecord, type MrtRibEntry, mrtSplitter, parseMrt } from '../../bgp/wire/mrt.ts'
import { addressBytes, contains, ipv4Number } from '../../lib/ip.ts'
import { findSystemProgram, systemProgram } from '../../lib/system-program.ts'
import { NO_DESTINATION } from './no-destination.ts'
import { settle } from './settle.ts'
import { attributes, u32 } from './wire/arbitraries.ts'
import { mrtBodies } from './wire/record-arbitraries.ts'
import { aSession, emitted } from './wire/wire.ts'

const SECONDS = 1_700_000_000
const PEERS: readonly MrtPeer[] = [
  { routerId: ipv4Number('192.0.2.7'), address: '192.0.2.7', asn: 65007 },
  { routerId: ipv4Number('192.0.2.8'), address: '2001:db8::8', asn: 4_200_000_008 },
  { routerId: ipv4Number('192.0.2.9'), address: '192.0.2.7', asn: 65009 },
]

function aSpeaker(network = new MemoryNetwork(), address = '10.0.0.1', asn = 65001): Speaker {
  return new Speaker({ asn, routerId: address }, { transport: network.host(address) })
}

function aFile(...records: readonly MrtRecord[]): Uint8Array {
  const peers = { kind: 'peers' as const, seconds: SECONDS, collectorId: 1, view: '', peers: PEERS }
  return Buffer.concat([peers, ...records].map(record => emitted(w => emitMrt(w, record), 1 << 17)))
}

function aRoute(prefix: string, peer = 0, entry: Partial<MrtRibEntry> = {}): MrtRecord {
  const ipv6 = prefix.includes(':')
  const mpNextHop = ipv6 ? addressBytes('2001:db8::8') : undefined
  const hop = ipv6 ? {} : { nextHop: ipv4Number('192.0.2.7') }
  const asPath = [{ type: SEGMENT.sequence, asns: [65007, 65100] }]
  const attributes = { origin: 0, asPath, med: 5, localPref: 200, communities: [0xfde80001], ...hop }
  const entries = [{ peer, originatedSeconds: SECONDS, attributes, mpNextHop, ...entry }]
  return { kind: 'rib', seconds: SECONDS, sequence: 0, prefix, entries }
}

async function* chunks(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

const load = (speaker: Speaker, bytes: Uint8Array, options: MrtLoadOptions = {}): Promise<MrtLoaded> =>
  loadMrt(speaker, chunks(bytes), options)

function dumped(speaker: Speaker): Uint8Array {
  return Buffer.concat([...dumpMrt(speaker.rib, speaker.config, { seconds: SECONDS })])
}

/** Every entry of a dump: prefix, who sent it, path id, attributes; in no order. */
function entriesOf(bytes: Uint8Array): (readonly [string, unknown])[] {
  let peers: readonly MrtPeer[] = []
  const found: (readonly [string, unknown])[] = []
  const failure = mrtSplitter().push(bytes, (b, start, end) => {
    const record = parseMrt(b, start, end)
    if (record.kind === 'peers') peers = record.peers
    if (record.kind !== 'rib') return
    for (const { peer, pathId, attributes, mpNextHop, faults } of record.entries) {
      const key = `${record.prefix} ${peers[peer]?.address} ${peers[peer]?.asn} ${pathId}`
      found.push([key, { attributes, mpNextHop, faults }])
    }
  })
  if (failure !== undefined) throw failure
  return found.sort(([a], [b]) => (a < b ? -1 : 1))
}

test('a RIB that was filled by sessions is dumped, and a second speaker that loads the dump has the same routes', async t => {
  const network = new MemoryNetwork()
  const a = aSpeaker(network)
  const b = aSpeaker(network, '10.0.0.2', 65002)
  await a.listen({ address: '10.0.0.1', port: 179 })
  const open = { import: 'accept', export: 'accept', families: ['ipv4-unicast', 'ipv6-unicast'] } as const
  a.setPeer({ address: '10.0.0.2', asn: 65002, passive: true, ...open })
  b.setPeer({ address: '10.0.0.1', asn: 65001, ...open })
  for (let i = 0; i < 300; i++)
    b.announce({ prefix: `198.51.${i >> 8}.${i & 255}/32`, med: i % 7, communities: [i % 3] })
  b.announce({ prefix: '2001:db8:7::/48', nextHop: '2001:db8::2' })
  a.announce({ prefix: '203.0.113.0/24' })
  await settle()
  const first = dumped(a)
  const c = aSpeaker(network, '10.0.0.3')
  const { entries, refused, routes, sources } = await load(c, first)
  // our own network has no next hop in the dump, so the second speaker does not keep it
  t.deepEqual({ entries, refused, routes, sources }, { entries: 302, refused: 0, routes: 301, sources: 2 })
  const learned = entriesOf(first).filter(([key]) => !key.startsWith('203.0.113.0/24'))
  t.is(learned.length, 301)
  t.deepEqual(entriesOf(dumped(c)), learned)
  await Promise.all([a.close(), b.close(), c.close()])
})

test('any table survives being loaded and dumped again', async t => {
  const entry = fc.record({
    peer: fc.integer({ min: 0, max: PEERS.length - 1 }),
    originatedSeconds: u32,
    attributes: attributes(aSession({ peerType: 'ibgp' })),
  })
  const table = fc.uniqueArray(
    fc.tuple(mrtBodies.rib, fc.uniqueArray(entry, { selector: e => e.peer, minLength: 1, maxLength: 3 }), fc.boolean()),
    { selector: ([{ prefix }]) => prefix, maxLength: 6 },
  )
  await fc.assert(
    fc.asyncProperty(table, async all => {
      const rows = all.filter(([{ prefix }]) => !NO_DESTINATION.some(outer => contains(outer, prefix)))
      const records = rows.map(([{ prefix, sequence, entries: ids }, entries, mp]): MrtRecord => {
        const nextHop = mp || prefix.includes(':') ? addressBytes('2001:db8::8') : undefined
        const of = ({ attributes: { nextHop: hop, ...rest }, ...more }: (typeof entries)[number]): MrtRibEntry => ({
          ...more,
          pathId: ids[0]!.pathId,
          attributes: nextHop === undefined ? { ...rest, nextHop: hop } : rest,
          mpNextHop: nextHop,
        })
        return { kind: 'rib', seconds: SECONDS, sequence, prefix, entries: entries.map(of) }
      })
      const speaker = aSpeaker()
      const file = aFile(...records)
      await load(speaker, file)
      t.deepEqual(entriesOf(dumped(speaker)), entriesOf(file))
      await speaker.close()
    }),
    { numRuns: 60 },
  )
})

test('loaded routes are decided, filtered and passed on to peers as those of an internal peer', async t => {
  const network = new MemoryNetwork()
  const a = aSpeaker(network)
  const b = aSpeaker(network, '10.0.0.2', 65002)
  await a.listen({ address: '10.0.0.1', port: 179 })
  a.setPeer({ address: '10.0.0.2', asn: 65002, passive: true, export: 'accept' })
  b.setPeer({ address: '10.0.0.1', asn: 65001, import: 'accept' })
  const refuse = { action: 'reject', match: { operator: 'In', cidr: '198.51.0.0/16' } } as const
  const file = aFile(
    aRoute('203.0.113.0/24'),
    aRoute('203.0.113.0/24', 1, { attributes: { origin: 0, asPath: [], nextHop: 1 << 24, localPref: 300 } }),
    aRoute('198.51.100.0/24'),
    aRoute('192.0.2.0/24'),
  )
  await load(a, file, { name: 'table', import: [refuse, { action: 'accept' }] })
  await settle()
  const known = a.explain('203.0.113.0/24')
  t.deepEqual(known?.candidates.map(({ peer, best }) => [peer, best]).sort(), [
    ['table:192.0.2.7', false],
    ['table:2001:db8::8', true],
  ])
  t.false(a.explain('198.51.100.0/24')?.candidates[0]?.import.accepted)
  t.is(b.explain('198.51.100.0/24'), undefined)
  const [best] = b.explain('192.0.2.0/24')?.candidates ?? []
  t.deepEqual(best?.attributes.attributes.asPath, [{ type: SEGMENT.sequence, asns: [65001, 65007, 65100] }])
  t.deepEqual(best?.attributes.attributes.communities, [0xfde80001])
  await Promise.all([a.close(), b.close()])
})

test('a file that ends too early is refused with the offset of the record that is cut off, wherever it ends', async t => {
  const records = [aRoute('203.0.113.0/24'), aRoute('2001:db8:7::/48', 1)]
  const file = aFile(...records)
  const ends = [0, ...[0, 1, 2].map(n => aFile(...records.slice(0, n)).length)]
  for (let size = 1; size < file.length; size++) {
    const speaker = aSpeaker()
    const begin = ends.filter(end => end <= size).at(-1)!
    if (begin === size) await t.notThrowsAsync(load(speaker, file.subarray(0, size)))
    else {
      const error = await t.throwsAsync(load(speaker, file.subarray(0, size)), { instanceOf: MrtError })
      t.is(
        error?.message,
        `at octet ${begin}: the file ends after ${size - begin} octets of this record: it is truncated`,
      )
    }
    await speaker.close()
  }
})

test('a file of another kind is refused with the offset and what is there', async t => {
  const state = {
    kind: 'state',
    seconds: 0,
    peerAs: 1,
    localAs: 2,
    interfaceIndex: 0,
    as4: true,
    from: 1,
    to: 6,
  } as const
  const recorded = emitted(w => emitMrt(w, { ...state, peerAddress: '192.0.2.1', localAddress: '192.0.2.2' }))
  const old = Uint8Array.of(0, 0, 0, 0, 0, 12, 0, 1, 0, 0, 0, 0)
  const [peers, route] = [aFile(), aRoute('203.0.113.0/24')]
  const alone = emitted(w => emitMrt(w, route))
  const stranger = aFile(aRoute('203.0.113.0/24', 3))
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [new Uint8Array(0), /^at octet 0: the file is empty/],
    [Uint8Array.of(0x1f, 0x8b, 8, 0), /^at octet 0: the file is compressed with gzip: unpack it first/],
    [Buffer.from('BZh91AY&SY'), /compressed with bzip2/],
    [
      Buffer.from('<!DOCTYPE html><html></html>'),
      /^at octet 0: this is no TABLE_DUMP_V2 \(RFC 6396\): an MRT record of/,
    ],
    [recorded, /^at octet 0: this is no TABLE_DUMP_V2 \(RFC 6396\): a recorded state/],
    [old, /^at octet 0: this is no TABLE_DUMP_V2 \(RFC 6396\): type 12, subtype 1/],
    [alone, /^at octet 0: routes come before the table of peers/],
    [stranger, new RegExp(`^at octet ${peers.length}: peer 3 of 3 is named`)],
    [
      Buffer.concat([peers, recorded]),
      new RegExp(`^at octet ${peers.length}: no record of a TABLE_DUMP_V2 begins here`),
    ],
  ]
  for (const [bytes, message] of cases) {
    const speaker = aSpeaker()
    await t.throwsAsync(load(speaker, bytes), { instanceOf: MrtError, message })
    await speaker.close()
  }
})

test('whatever octets of a dump are changed, loading ends with routes or an MrtError', async t => {
  const file = aFile(
    aRoute('203.0.113.0/24'),
    aRoute('2001:db8:7::/48', 1),
    aRoute('198.51.100.0/24', 2, { pathId: 7 }),
  )
  const edits = fc.array(fc.tuple(fc.nat({ max: file.length - 1 }), fc.nat({ max: 255 })), {
    minLength: 1,
    maxLength: 6,
  })
  await fc.assert(
    fc.asyncProperty(edits, async list => {
      const bytes = Uint8Array.from(file)
      for (const [at, octet] of list) bytes[at] = octet
      const speaker = aSpeaker()
      try {
        await load(speaker, bytes)
      } catch (error) {
        if (!(error instanceof MrtError)) throw error
      }
      await speaker.close()
    }),
    { numRuns: 300 },
  )
  t.pass()
})

test('the event loop turns after every 64 KiB of a file, however large the chunks are', async t => {
  const records = Array.from({ length: 8000 }, (_, i) => aRoute(`10.${i >> 8}.${i & 255}.0/24`))
  const file = aFile(...records)
  const speaker = aSpeaker()
  let turns = 0
  let going = true
  const count = () => {
    turns++
    if (going) setImmediate(count)
  }
  setImmediate(count)
  await loadMrt(speaker, chunks(file, file.length))
  going = false
  t.true(turns >= Math.floor(file.length / 65536), `${turns} turns for ${file.length} octets`)
  t.is(speaker.rib.counts('mrt:192.0.2.7')?.received, 8000)
  await speaker.close()
})

test('a source has a name that no peer has, and closing it takes its routes away', async t => {
  const speaker = aSpeaker()
  const config = { name: 'feed', address: '192.0.2.7', routerId: '192.0.2.7', asn: 65007, addPath: false }
  const source = speaker.openSource(config)
  t.throws(() => speaker.openSource(config), { message: /feed is taken/ })
  t.throws(() => speaker.setPeer({ name: 'feed', address: '10.0.0.9', asn: 65009 }), { message: /source/ })
  const update = [0, 0, 0, 14, 0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 7, 24, 203, 0, 113]
  t.is(source.receive(Uint8Array.from(update), 0, update.length), undefined)
  t.is(speaker.explain('203.0.113.0/24')?.candidates.length, 1)
  source.close()
  await settle()
  t.is(speaker.explain('203.0.113.0/24'), undefined)
  speaker.openSource(config).close()
  await speaker.close()
})

test('bgpdump prints our dump as it should', async t => {
  if (findSystemProgram('bgpdump') === undefined) {
    t.log('skipped: there is no bgpdump on this machine')
    t.pass()
    return
  }
  const speaker = aSpeaker()
  await load(speaker, aFile(aRoute('203.0.113.0/24'), aRoute('2001:db8:7::/48', 1), aRoute('203.0.113.0/24', 2)))
  const folder = mkdtempSync(join(tmpdir(), 'margay-mrt-'))
  const path = join(folder, 'dump.mrt')
  writeFileSync(path, dumped(speaker))
  const { stdout } = spawnSync(systemProgram('bgpdump'), ['-m', path], { encoding: 'utf8' })
  rmSync(folder, { recursive: true })
  const details = (hop: string) => `65007 65100|IGP|${hop}|200|5|65000:1|NAG||`
  t.deepEqual(stdout.trimEnd().split('\n').sort(), [
    `TABLE_DUMP2|${SECONDS}|B|192.0.2.7|65007|203.0.113.0/24|${details('192.0.2.7')}`,
    `TABLE_DUMP2|${SECONDS}|B|192.0.2.7|65009|203.0.113.0/24|${details('192.0.2.7')}`,
    `TABLE_DUMP2|${SECONDS}|B|2001:db8::8|4200000008|2001:db8:7::/48|${details('2001:db8::8')}`,
  ])
  await speaker.close()
})
