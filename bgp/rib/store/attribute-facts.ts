// The facts of attribute sets that the decision process and the export rules need, in arrays by set id, so that no set is
// parsed again for them.
import { widened } from './prefix-table.ts'

/** LOCAL_PREF of a route that came without one. */
export const DEFAULT_LOCAL_PREF = 100

/** Facts of one set. A missing MED is 0 (RFC 4271 §9.1.2.2 c). */
export type Facts = {
  localPref: number
  /** AS_PATH length with an AS_SET as one and confederation segments as none (RFC 4271 §9.1.2.2 a, RFC 5065 §5.3). */
  pathLength: number
  origin: number
  med: number
  /** First AS of the path after confederation segments; 0 when there is none or a set stands there. */
  neighbourAs: number
  /** ORIGINATOR_ID; 0 when absent. */
  originator: number
  /** Entries of CLUSTER_LIST. */
  clusterLength: number
  /** `SET_FLAG`s. */
  flags: number
}

export const SET_FLAG = {
  noExport: 1,
  noAdvertise: 2,
  noExportSubconfed: 4,
  llgrStale: 8,
  noLlgr: 16,
  /** The set holds something rare, so that its export must go through the attribute codecs. */
  unusual: 32,
  otc: 64,
  /** The next hop is in MP_REACH_NLRI. */
  multiprotocol: 128,
} as const

export class AttributeFacts {
  localPref = new Uint32Array(1024)
  med = new Uint32Array(1024)
  neighbourAs = new Uint32Array(1024)
  originator = new Uint32Array(1024)
  pathLength = new Uint16Array(1024)
  clusterLength = new Uint16Array(1024)
  origin = new Uint8Array(1024)
  flags = new Uint8Array(1024)
  /** The decision steps that depend on the set only (stale, LOCAL_PREF, path length, origin) as one number: lower is better. */
  preference = new Float64Array(1024)

  /** Makes room for ids below `capacity`. */
  fit(capacity: number): void {
    if (capacity <= this.localPref.length) return
    this.localPref = widened(this.localPref, new Uint32Array(capacity))
    this.med = widened(this.med, new Uint32Array(capacity))
    this.neighbourAs = widened(this.neighbourAs, new Uint32Array(capacity))
    this.originator = widened(this.originator, new Uint32Array(capacity))
    this.pathLength = widened(this.pathLength, new Uint16Array(capacity))
    this.clusterLength = widened(this.clusterLength, new Uint16Array(capacity))
    this.origin = widened(this.origin, new Uint8Array(capacity))
    this.flags = widened(this.flags, new Uint8Array(capacity))
    const preference = new Float64Array(capacity)
    preference.set(this.preference)
    this.preference = preference
  }

  set(id: number, facts: Facts): void {
    this.localPref[id] = facts.localPref
    this.med[id] = facts.med
    this.neighbourAs[id] = facts.neighbourAs
    this.originator[id] = facts.originator
    this.pathLength[id] = facts.pathLength
    this.clusterLength[id] = facts.clusterLength
    this.origin[id] = facts.origin
    this.flags[id] = facts.flags
    // 1 bit, 32 bits, 16 bits, 2 bits: exact in a double
    const stale = (facts.flags & SET_FLAG.llgrStale) === 0 ? 0 : 2 ** 50
    this.preference[id] = stale + (0xffffffff - facts.localPref) * 2 ** 18 + facts.pathLength * 4 + facts.origin
  }
}
