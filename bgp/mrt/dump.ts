// Writes the RIB as a TABLE_DUMP_V2 (RFC 6396 §4.3, RFC 8050): every path as it was received, before import policy, and
// the networks of our own as peer 0. The RIB keeps no time per path, so all entries carry the time of the dump. A network
// without a next hop of its own gets the unspecified address.
import { BytesError, Writer } from '../../lib/bytes.ts'
import { ipv4Number } from '../../lib/ip.ts'
import type { SpeakerConfig } from '../config.ts'
import { type AddressFamily, addPathSwitches, FAMILIES, FAMILY } from '../family.ts'
import type { DumpedPath } from '../rib/dump.ts'
import { withUnspecifiedNextHop } from '../rib/own-networks.ts'
import type { RibReader } from '../rib/reader.ts'
import type { CodecSession } from '../wire/codec-session.ts'
import { emitMrt, MAX_MRT_RECORD, type MrtPeer, type MrtRecord, type MrtRibEntry } from '../wire/mrt.ts'

/** A block ends when it has so many octets. */
const BLOCK = 32 * 1024
const OWN = ''

/**
 * The dump in blocks of some 32 KiB, each the work of a few milliseconds: let the event loop run between two. Paths are
 * written as they are at that time; peers that come up meanwhile are left out. `seconds`: now, since the Unix epoch.
 */
export function* dumpMrt(
  rib: RibReader,
  { asn, routerId }: SpeakerConfig,
  { seconds, view = '' }: { seconds: number; view?: string },
): Generator<Uint8Array> {
  const collectorId = ipv4Number(routerId)
  const peers: MrtPeer[] = [{ routerId: collectorId, address: '0.0.0.0', asn }]
  const known = new Map<string, Known>([[OWN, { index: 0, addPath: NEVER }]])
  for (const { key, routerId: id, remoteAddress, remoteAs, receive } of rib.peers()) {
    known.set(key, { index: peers.length, addPath: receive.addPath })
    peers.push({ routerId: id, address: remoteAddress, asn: remoteAs })
  }
  const block = new DumpBlock()
  block.put({ kind: 'peers', seconds, collectorId, view, peers })
  let sequence = 0
  for (const family of FAMILIES)
    for (const paths of rib.dumpPrefixes(family)) {
      for (const addPath of [false, true]) {
        const entries = paths.flatMap(path => entryOf(path, known.get(path.peer), family, addPath, seconds))
        for (const part of parts(entries))
          block.put({ kind: 'rib', seconds, sequence: sequence++, prefix: paths[0]!.prefix, entries: part })
      }
      if (block.length >= BLOCK) yield block.take()
    }
  if (block.length > 0) yield block.take()
}

type Known = { index: number; addPath: CodecSession['addPath'] }

const NEVER: Known['addPath'] = addPathSwitches(() => false)
/** Most entries of a record: so many fit even with the longest attributes. */
const MOST_ENTRIES = Math.floor(MAX_MRT_RECORD / (1 << 16)) - 1

/** The path as an entry, when it belongs into records with, or without, path ids. */
function entryOf(
  { pathId, received }: DumpedPath,
  peer: Known | undefined,
  family: AddressFamily,
  addPath: boolean,
  seconds: number,
): MrtRibEntry[] {
  if (peer === undefined || peer.addPath[FAMILY[family].ip] !== addPath) return []
  const id = addPath ? pathId : undefined
  return [{ peer: peer.index, originatedSeconds: seconds, pathId: id, ...withUnspecifiedNextHop(received, family) }]
}

function parts(entries: readonly MrtRibEntry[]): readonly (readonly MrtRibEntry[])[] {
  const found: (readonly MrtRibEntry[])[] = []
  for (let at = 0; at < entries.length; at += MOST_ENTRIES) found.push(entries.slice(at, at + MOST_ENTRIES))
  return found
}

/** Records end to end in a buffer that grows when one does not fit. */
class DumpBlock {
  #w = new Writer(2 * BLOCK)

  get length(): number {
    return this.#w.length
  }

  put(record: MrtRecord): void {
    const at = this.#w.length
    for (;;)
      try {
        emitMrt(this.#w, record)
        return
      } catch (error) {
        if (!(error instanceof BytesError)) throw error
        const wider = new Writer(2 * this.#w.bytes.length)
        wider.put(this.#w.bytes.subarray(0, at))
        this.#w = wider
      }
  }

  take(): Uint8Array {
    const bytes = this.#w.done().slice()
    this.#w = new Writer(this.#w.bytes)
    return bytes
  }
}
