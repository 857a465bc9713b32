// Reads a TABLE_DUMP_V2 (RFC 6396 §4.3, RFC 8050) into a speaker: one source of routes per peer of the file, fed with
// UPDATEs. The event loop runs between two slices of work, so that sessions stay up.
import { setImmediate as turn } from 'node:timers/promises'
import { Writer } from '../../lib/bytes.ts'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { formatIpv4 } from '../../lib/ip.ts'
import { type Log, silentLog } from '../../lib/log.ts'
import type { PeerConfig } from '../config.ts'
import type { RouteSource } from '../route-source.ts'
import type { Speaker } from '../speaker.ts'
import { frameMrtRib, type MrtBody, type MrtPeer, type MrtRibFrame, mrtSplitter, parseMrt } from '../wire/mrt.ts'
import { ENTRY_UPDATE_ROOM, emitEntryUpdate } from './entry-update.ts'

/** The file is not, or not wholly, a table dump. Routes that were read before `offset` (octets) stay. */
export class MrtError extends Error {
  override readonly name = 'MrtError'
  readonly offset: number
  constructor(offset: number, problem: string) {
    super(`at octet ${offset}: ${problem}`)
    this.offset = offset
  }
}

export type MrtLoadOptions = {
  /** Sources are called `NAME:ADDRESS` after the file's peers. Default `mrt`. */
  name?: string
  /** Import policy of the sources. Default: accept. */
  import?: PeerConfig['import']
  clock?: Clock
  log?: Log
  /** Ends the reading; what was read stays. */
  signal?: AbortSignal
}

/** What was read so far. */
export type MrtLoaded = {
  octets: number
  entries: number
  /** Entries that are no routes, or that would have ended a session. */
  refused: number
  /** Records of kinds that a table dump may have and that are not read. */
  skipped: number
  sources: number
  /** Routes that the sources have in the RIB now: fewer than entries where attributes were malformed (RFC 7606). */
  routes: number
}

/** Octets that are read in one slice. */
const SLICE = 64 * 1024
const PROGRESS_MS = 5000
const TABLE_DUMP_V2 = 13
/** Subtypes that a table dump may have beside those that are read: multicast, other families, places of peers. */
const OTHER_SUBTYPES: readonly number[] = [3, 5, 6, 7, 9, 11, 12]
const COMPRESSED: readonly { magic: readonly number[]; name: string }[] = [
  { magic: [0x1f, 0x8b], name: 'gzip' },
  { magic: [0x42, 0x5a, 0x68], name: 'bzip2' },
  { magic: [0xfd, 0x37, 0x7a], name: 'xz' },
]

/** Reads a whole dump. Rejects with `MrtError`, or with what `chunks` rejects with. */
export async function loadMrt(
  speaker: Speaker,
  chunks: AsyncIterable<Uint8Array>,
  options: MrtLoadOptions = {},
): Promise<MrtLoaded> {
  const { clock = systemClock, log = silentLog, signal } = options
  const loading = new MrtLoading(speaker, options)
  let toldMs = clock.monotonicMs()
  for await (const chunk of chunks)
    for (let at = 0; at < chunk.length; at += SLICE) {
      if (signal?.aborted === true) return loading.loaded
      loading.push(chunk.subarray(at, at + SLICE))
      if (clock.monotonicMs() - toldMs >= PROGRESS_MS) {
        toldMs = clock.monotonicMs()
        log.info(loading.loaded, 'reading routes from MRT')
      }
      await turn()
    }
  loading.end()
  return loading.loaded
}

class MrtLoading {
  readonly #counts = { octets: 0, entries: 0, refused: 0, skipped: 0 }
  readonly #speaker: Speaker
  readonly #options: MrtLoadOptions
  readonly #log: Log
  readonly #splitter = mrtSplitter()
  readonly #scratch = new Uint8Array(ENTRY_UPDATE_ROOM)
  readonly #names = new Set<string>()
  /** Sources by index of the peer. Entries with path ids have a source of their own: a session has path ids or not. */
  #plain: RouteSource[] = []
  #addPath: RouteSource[] = []
  #peers: readonly MrtPeer[] | undefined
  /** Where the next record begins. */
  #at = 0

  constructor(speaker: Speaker, options: MrtLoadOptions) {
    this.#speaker = speaker
    this.#options = options
    this.#log = options.log ?? silentLog
  }

  get loaded(): MrtLoaded {
    const { rib } = this.#speaker
    const routes = [...this.#names].reduce((sum, name) => sum + (rib.counts(name)?.received ?? 0), 0)
    return { ...this.#counts, sources: this.#names.size, routes }
  }

  push(chunk: Uint8Array): void {
    if (this.#counts.octets === 0) this.#refuseCompressed(chunk)
    this.#counts.octets += chunk.length
    const failure = this.#splitter.push(chunk, (bytes, start, end) => this.#record(bytes, start, end))
    if (failure !== undefined) throw this.#foreign(failure.message)
  }

  end(): void {
    if (this.#counts.octets === 0) throw new MrtError(0, 'the file is empty')
    const { waiting } = this.#splitter
    if (waiting > 0)
      throw new MrtError(this.#at, `the file ends after ${waiting} octets of this record: it is truncated`)
  }

  #record(bytes: Uint8Array, start: number, end: number): void {
    const rib = frameMrtRib(bytes, start, end)
    if (rib === undefined) this.#other(parseMrt(bytes, start, end))
    else this.#rib(rib)
    this.#at += end - start
  }

  #other(record: MrtBody): void {
    if (record.kind === 'peers') {
      // the file has several tables: this one has its own peer indexes
      this.#peers = record.peers
      this.#plain = []
      this.#addPath = []
    } else if (record.kind !== 'unread') throw this.#foreign(`a recorded ${record.kind}`)
    else if (record.type === TABLE_DUMP_V2 && OTHER_SUBTYPES.includes(record.subtype)) this.#counts.skipped++
    else throw this.#foreign(`type ${record.type}, subtype ${record.subtype}: ${record.reason}`)
  }

  #rib(rib: MrtRibFrame): void {
    const peers = this.#peers
    if (peers === undefined) throw new MrtError(this.#at, 'routes come before the table of peers (PEER_INDEX_TABLE)')
    for (const entry of rib.entries) {
      const peer = peers[entry.peer]
      if (peer === undefined) throw new MrtError(this.#at, `peer ${entry.peer} of ${peers.length} is named`)
      const sources = entry.pathId === undefined ? this.#plain : this.#addPath
      sources[entry.peer] ??= this.#open(peer, entry.pathId !== undefined)
      const w = new Writer(this.#scratch)
      const problem = emitEntryUpdate(w, rib, entry) ?? sources[entry.peer]!.receive(w.bytes, 0, w.length)?.message
      if (problem === undefined) this.#counts.entries++
      else this.#refuse(problem)
    }
  }

  #refuse(problem: string): void {
    // log one line only: a file with one such entry often has a million
    if (this.#counts.refused++ === 0)
      this.#log.warn({ offset: this.#at, problem }, 'an entry of the MRT file is no route')
  }

  #open({ address, routerId, asn }: MrtPeer, addPath: boolean): RouteSource {
    const first = `${this.#options.name ?? 'mrt'}:${address}`
    let name = first
    for (let n = 2; this.#names.has(name); n++) name = `${first}#${n}`
    this.#names.add(name)
    const config = { name, address, routerId: formatIpv4(routerId), asn, addPath, import: this.#options.import }
    return this.#speaker.openSource(config)
  }

  #refuseCompressed(chunk: Uint8Array): void {
    const found = COMPRESSED.find(({ magic }) => magic.every((octet, i) => chunk[i] === octet))
    if (found !== undefined) throw new MrtError(0, `the file is compressed with ${found.name}: unpack it first`)
  }

  #foreign(what: string): MrtError {
    const begins = this.#at === 0 ? 'this is no TABLE_DUMP_V2 (RFC 6396)' : 'no record of a TABLE_DUMP_V2 begins here'
    return new MrtError(this.#at, `${begins}: ${what}`)
  }
}
