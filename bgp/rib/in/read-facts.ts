// The fast check of an attribute set: one pass over its octets that reads its facts and tells whether the set is plain, that
// is, whether it can be used and sent on as it is. Everything rare is not plain and goes through the attribute codecs,
// which know what each fault costs. A property test compares the two. Hazard: never call a set plain in doubt.
import { attributeRows } from '../../wire/attribute-rows.ts'
import { NON_TRANSITIVE } from '../../wire/communities.ts'
import { ATTRIBUTE, COMMUNITY, FLAG, SEGMENT } from '../../wire/iana.ts'
import { DEFAULT_LOCAL_PREF, type Facts, SET_FLAG } from '../store/attribute-facts.ts'

/** What a plain set must follow besides its form; it depends on the peer. */
export type PlainRules = {
  /** LOCAL_PREF and reflection attributes are not taken from this peer. */
  external: boolean
  /** Our own AS numbers: a path with one of them needs the loop rules. */
  ownAses: readonly number[]
  /** The AS the path must begin with; 0: any. */
  firstAs: number
  /** Our BGP identifier and cluster id: a reflected route with one of them is a loop. */
  routerId: number
  clusterId: number
  /** Our own IPv4 address on the session, which must not be the next hop; 0: none. */
  ownNextHop: number
  /** The IPv4 subnet shared with the peer: a next hop outside it needs a closer look. Mask 0: any will do. */
  linkNetwork: number
  linkMask: number
  /** Whether the set belongs to routes in MP_REACH_NLRI. */
  multiprotocol: boolean
}

const NEEDED = bit(ATTRIBUTE.origin) | bit(ATTRIBUTE.asPath)
/** Attributes that a plain set may have. */
const PLAIN = [
  'origin',
  'asPath',
  'nextHop',
  'med',
  'localPref',
  'atomicAggregate',
  'aggregator',
  'communities',
  'originatorId',
  'clusterList',
  'extendedCommunities',
  'largeCommunities',
] as const
/** By type code: the flags that an attribute of a plain set has, without Extended Length. No flags octet equals `NOT_PLAIN`. */
const NOT_PLAIN = 0xff
const PLAIN_FLAGS = new Uint8Array(256).fill(NOT_PLAIN)
for (const name of PLAIN) PLAIN_FLAGS[attributeRows[name].code] = attributeRows[name].flags

/** An object for `readFacts` to fill; each caller has its own. */
export function newFacts(): Facts {
  return {
    localPref: 0,
    pathLength: 0,
    origin: 0,
    med: 0,
    neighbourAs: 0,
    originator: 0,
    clusterLength: 0,
    flags: 0,
  }
}

/**
 * Reads the set in `bytes[start..end)` (four-octet AS numbers; the multiprotocol next hop first, as stored). True when it
 * is plain; only then `facts` is valid. The caller checks the multiprotocol next hop itself.
 */
export function readFacts(bytes: Uint8Array, start: number, end: number, rules: PlainRules, facts: Facts): boolean {
  facts.localPref = DEFAULT_LOCAL_PREF
  facts.pathLength = facts.med = facts.neighbourAs = facts.originator = facts.clusterLength = 0
  facts.flags = 0
  let at = start
  if (rules.multiprotocol) {
    facts.flags = SET_FLAG.multiprotocol
    at += 3 + bytes[at + 2]!
  }
  let seen = 0
  let previous = 0
  while (at < end) {
    if (end - at < 3) return false
    const flags = bytes[at]!
    const code = bytes[at + 1]!
    let value = at + 3
    let length = bytes[at + 2]!
    if ((flags & FLAG.extended) !== 0) {
      if (end - at < 4) return false
      length = (length << 8) | bytes[at + 3]!
      value++
    }
    const next = value + length
    if (next > end || code <= previous || (flags & ~FLAG.extended) !== PLAIN_FLAGS[code]!) return false
    previous = code
    if (code < 32) seen |= 1 << code
    switch (code) {
      case ATTRIBUTE.origin:
        if (length !== 1 || bytes[value]! > 2) return false
        facts.origin = bytes[value]!
        break
      case ATTRIBUTE.asPath:
        if (!readPath(bytes, value, next, rules, facts)) return false
        break
      case ATTRIBUTE.nextHop: {
        if (length !== 4 || rules.multiprotocol) return false
        const first = bytes[value]!
        const hop = u32(bytes, value)
        if (first === 0 || first === 127 || first >= 224 || hop === rules.ownNextHop) return false
        if ((hop & rules.linkMask) >>> 0 !== rules.linkNetwork) return false
        break
      }
      case ATTRIBUTE.med:
        if (length !== 4) return false
        facts.med = u32(bytes, value)
        break
      case ATTRIBUTE.localPref:
        if (length !== 4 || rules.external) return false
        facts.localPref = u32(bytes, value)
        break
      case ATTRIBUTE.atomicAggregate:
        if (length !== 0) return false
        break
      case ATTRIBUTE.aggregator:
        if (length !== 8 || u32(bytes, value) === 0) return false
        break
      case ATTRIBUTE.communities:
        if (length === 0 || length % 4 !== 0) return false
        for (let i = value; i < next; i += 4) {
          if (bytes[i] !== 255 || bytes[i + 1] !== 255) continue
          const community = u32(bytes, i)
          // it changes what the set is worth
          if (community === COMMUNITY.gracefulShutdown && rules.external) return false
          facts.flags |= flagOf(community)
        }
        break
      case ATTRIBUTE.originatorId:
        if (length !== 4 || rules.external) return false
        facts.originator = u32(bytes, value)
        if (facts.originator === rules.routerId) return false
        break
      case ATTRIBUTE.clusterList:
        if (length === 0 || length % 4 !== 0 || rules.external) return false
        for (let i = value; i < next; i += 4) if (u32(bytes, i) === rules.clusterId) return false
        facts.clusterLength = length / 4
        break
      case ATTRIBUTE.extendedCommunities:
        if (length === 0 || length % 8 !== 0) return false
        for (let i = value; i < next; i += 8) if ((bytes[i]! & NON_TRANSITIVE) !== 0) facts.flags |= SET_FLAG.unusual
        break
      case ATTRIBUTE.largeCommunities:
        if (length === 0 || length % 12 !== 0) return false
        break
    }
    at = next
  }
  return (seen & NEEDED) === NEEDED && (rules.multiprotocol || (seen & bit(ATTRIBUTE.nextHop)) !== 0)
}

/** True for a path of sets and sequences without AS 0, without our own AS, and with the right first AS. */
function readPath(bytes: Uint8Array, start: number, end: number, rules: PlainRules, facts: Facts): boolean {
  const { ownAses } = rules
  const own = ownAses[0] ?? 0
  let at = start
  while (at < end) {
    if (end - at < 2) return false
    const type = bytes[at]!
    const count = bytes[at + 1]!
    if (count === 0 || (type !== SEGMENT.sequence && type !== SEGMENT.set)) return false
    const last = at + 2 + count * 4
    if (last > end) return false
    for (let i = at + 2; i < last; i += 4) {
      const asn = u32(bytes, i)
      if (asn === 0 || asn === own) return false
      if (ownAses.length > 1 && ownAses.includes(asn)) return false
    }
    if (at === start) {
      if (type !== SEGMENT.sequence) return false
      facts.neighbourAs = u32(bytes, at + 2)
    }
    facts.pathLength += type === SEGMENT.sequence ? count : 1
    at = last
  }
  return rules.firstAs === 0 || facts.neighbourAs === rules.firstAs
}

function flagOf(community: number): number {
  if (community === COMMUNITY.noExport) return SET_FLAG.noExport
  if (community === COMMUNITY.noAdvertise) return SET_FLAG.noAdvertise
  if (community === COMMUNITY.noExportSubconfed) return SET_FLAG.noExportSubconfed
  if (community === COMMUNITY.llgrStale) return SET_FLAG.llgrStale
  return community === COMMUNITY.noLlgr ? SET_FLAG.noLlgr : 0
}

function bit(code: number): number {
  return 1 << code
}

function u32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}
