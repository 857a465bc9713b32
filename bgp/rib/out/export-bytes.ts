// `advertise` on octets. Most routes need only an AS number in front of the path, another next hop, and a few attributes
// removed or added. Both sides have four-octet AS numbers and the set is plain (in/read-facts.ts), so its attributes are in
// ascending order. For everything else the result is -1, and advertisement.ts does the work.

import { Writer } from '../../../lib/bytes.ts'
import { isLinkLocalOctets } from '../../../lib/ip.ts'
import type { Policy } from '../../policy.ts'
import { attributeRows } from '../../wire/attribute-rows.ts'
import { ATTRIBUTE, FLAG, SEGMENT } from '../../wire/iana.ts'
import type { SpeakerNumbers } from '../speaker-numbers.ts'
import { DEFAULT_LOCAL_PREF, SET_FLAG } from '../store/attribute-facts.ts'
import { emitReach } from '../store/attribute-set.ts'
import type { ExportSource } from '../types.ts'
import { type ExportTarget, selfFor } from './advertisement.ts'
import type { SharedLink } from './shared-link.ts'

/** Octets of the longest set that is rewritten. The buffer given to `rewrite` has room for that and for what is added. */
const MOST_OCTETS = 3072

// constants, because reading them from the rows for every set costs time
const AS_PATH_FLAGS = attributeRows.asPath.flags
const LOCAL_PREF_FLAGS = attributeRows.localPref.flags
const ORIGINATOR_FLAGS = attributeRows.originatorId.flags
const CLUSTER_FLAGS = attributeRows.clusterList.flags

/** How one export group rewrites plain sets. */
export class ByteExport {
  readonly #external: boolean
  readonly #keep: boolean
  readonly #localAs: number
  readonly #speaker: SpeakerNumbers
  readonly #link: SharedLink | undefined
  /** NEXT_HOP or MP_REACH_NLRI with our own address, whole. */
  readonly #self: Uint8Array
  readonly #selfIsMp: boolean

  private constructor(
    target: ExportTarget,
    speaker: SpeakerNumbers,
    link: SharedLink | undefined,
    self: Uint8Array,
    selfIsMp: boolean,
  ) {
    this.#external = target.peerType === 'ebgp'
    this.#keep = target.nextHop === 'keep' || (target.nextHop === 'auto' && !this.#external)
    this.#localAs = target.localAs
    this.#speaker = speaker
    this.#link = link
    this.#self = self
    this.#selfIsMp = selfIsMp
  }

  /** Undefined when every set for this group must go through advertisement.ts. */
  static for(target: ExportTarget, policy: Policy, speaker: SpeakerNumbers, link?: SharedLink): ByteExport | undefined {
    const { peerType, role, removePrivateAs, communities, session } = target
    if (peerType === 'confed' || speaker.confederation !== undefined || role !== undefined) return
    if (removePrivateAs || communities.length < 3 || !session.as4 || policy.always?.action !== 'accept') return
    const self = selfFor(target)
    if (self === undefined) return
    const w = new Writer(64)
    if (self.mpNextHop !== undefined) emitReach(w, target.family, self.mpNextHop)
    else w.u8(attributeRows.nextHop.flags).u8(ATTRIBUTE.nextHop).u8(4).u32(self.nextHop!)
    return new ByteExport(target, speaker, link, w.done(), self.mpNextHop !== undefined)
  }

  /** Writes what peers of the group get for the set in `bytes[start..end)` to `out`; its length, or -1. */
  rewrite(bytes: Uint8Array, start: number, end: number, flags: number, source: ExportSource, out: Uint8Array): number {
    if ((flags & SET_FLAG.unusual) !== 0 || source.local || source.peerType === 'confed') return -1
    if (source.behindUs === true) return -1
    if (end - start > MOST_OCTETS) return -1
    const external = this.#external
    const mp = (flags & SET_FLAG.multiprotocol) !== 0
    // an address of the other kind would have to move between NEXT_HOP and MP_REACH_NLRI
    if (mp !== this.#selfIsMp) return -1
    const reflect = !external && source.peerType === 'ibgp'
    let from = start
    let to = 0
    if (mp) {
      const next = from + 3 + bytes[from + 2]!
      if (!this.#keeps(bytes, from + 7, bytes[from + 6]!, source)) to = put(this.#self, 0, this.#self.length, out, to)
      // one global address is all that can be kept as it is
      else if (next - from !== 24 || isLinkLocalOctets(bytes, from + 7)) return -1
      else to = put(bytes, from, next, out, to)
      from = next
    }
    let preferred = external
    let originated = !reflect
    let clustered = !reflect
    while (from < end) {
      const code = bytes[from + 1]!
      const wide = (bytes[from]! & FLAG.extended) !== 0
      const value = from + (wide ? 4 : 3)
      const next = value + (wide ? (bytes[from + 2]! << 8) | bytes[from + 3]! : bytes[from + 2]!)
      if (!preferred && code > ATTRIBUTE.localPref) {
        to = putU32(LOCAL_PREF_FLAGS, ATTRIBUTE.localPref, DEFAULT_LOCAL_PREF, out, to)
        preferred = true
      }
      if (!originated && code > ATTRIBUTE.originatorId) {
        to = putU32(ORIGINATOR_FLAGS, ATTRIBUTE.originatorId, source.routerId, out, to)
        originated = true
      }
      if (!clustered && code > ATTRIBUTE.clusterList) {
        to = putU32(CLUSTER_FLAGS, ATTRIBUTE.clusterList, this.#speaker.clusterId, out, to)
        clustered = true
      }
      switch (code) {
        case ATTRIBUTE.asPath:
          if (external) to = this.#prepend(bytes, value, next, out, to)
          else to = put(bytes, from, next, out, to)
          if (to < 0) return -1
          break
        case ATTRIBUTE.nextHop:
          if (this.#keeps(bytes, value, 4, source)) to = put(bytes, from, next, out, to)
          else to = put(this.#self, 0, this.#self.length, out, to)
          break
        case ATTRIBUTE.med:
          if (!external) to = put(bytes, from, next, out, to)
          break
        case ATTRIBUTE.localPref:
          if (!external) to = put(bytes, from, next, out, to)
          preferred = true
          break
        case ATTRIBUTE.originatorId:
          if (!external) to = put(bytes, from, next, out, to)
          originated = true
          break
        case ATTRIBUTE.clusterList:
          if (external) break
          if (!reflect) {
            to = put(bytes, from, next, out, to)
            break
          }
          if (wide || next - value > 248) return -1
          out[to++] = CLUSTER_FLAGS
          out[to++] = ATTRIBUTE.clusterList
          out[to++] = next - value + 4
          to = word(this.#speaker.clusterId, out, to)
          to = put(bytes, value, next, out, to)
          clustered = true
          break
        default:
          to = put(bytes, from, next, out, to)
      }
      from = next
    }
    if (!preferred) to = putU32(LOCAL_PREF_FLAGS, ATTRIBUTE.localPref, DEFAULT_LOCAL_PREF, out, to)
    if (!originated) to = putU32(ORIGINATOR_FLAGS, ATTRIBUTE.originatorId, source.routerId, out, to)
    if (!clustered) to = putU32(CLUSTER_FLAGS, ATTRIBUTE.clusterList, this.#speaker.clusterId, out, to)
    return to
  }

  #keeps(bytes: Uint8Array, at: number, length: number, source: ExportSource): boolean {
    if (this.#keep || this.#link === undefined) return this.#keep
    return this.#link.keeps(bytes, at, Math.min(length, 16), source.address)
  }

  /** AS_PATH with our AS in front (RFC 4271 §5.1.2 b); -1 when a segment or the length octet would overflow. */
  #prepend(bytes: Uint8Array, value: number, next: number, out: Uint8Array, to: number): number {
    const length = next - value
    const joins = length > 0 && bytes[value] === SEGMENT.sequence
    if (length > 249 || (joins && bytes[value + 1] === 255)) return -1
    out[to++] = AS_PATH_FLAGS
    out[to++] = ATTRIBUTE.asPath
    out[to++] = length + (joins ? 4 : 6)
    out[to++] = SEGMENT.sequence
    out[to++] = joins ? bytes[value + 1]! + 1 : 1
    to = word(this.#localAs, out, to)
    return put(bytes, joins ? value + 2 : value, next, out, to)
  }
}

function put(bytes: Uint8Array, start: number, end: number, out: Uint8Array, to: number): number {
  for (let at = start; at < end; at++) out[to++] = bytes[at]!
  return to
}

function putU32(flags: number, code: number, value: number, out: Uint8Array, to: number): number {
  out[to++] = flags
  out[to++] = code
  out[to++] = 4
  return word(value, out, to)
}

function word(value: number, out: Uint8Array, to: number): number {
  out[to++] = value >>> 24
  out[to++] = value >>> 16
  out[to++] = value >>> 8
  out[to++] = value
  return to
}
