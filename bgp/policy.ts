// Policy rules as data (they can express what Calico's BGPFilter can) and their evaluation, with a reason for people.
// Rules are compiled once: a prefix test on the hot path compares octets, never text.
import { addressBits, addressBytes, cidr, type Family } from '../lib/ip.ts'
import { SpeakerError } from './speaker-error.ts'
import { prepend } from './wire/as-path.ts'
import type { Attributes } from './wire/attribute-values.ts'
import type { PeerType } from './wire/codec-session.ts'
import { type Community, type LargeCommunity, parseCommunity } from './wire/communities.ts'
import { SEGMENT } from './wire/iana.ts'

/** A rule matches when every condition it names holds; the first matching rule decides. */
export type PolicyRule = {
  action: 'accept' | 'reject'
  /** Only routes of this family. */
  family?: Family
  /**
   * Prefix conditions; `lengths` bounds the route's own prefix length (inclusive). `In` with a `min` below the length of `cidr` also
   * holds for the prefixes of that length and more that hold `cidr`, as BIRD's `cidr{min,max}`. `NotEqual` and `NotIn` hold exactly
   * when `Equal` and `In` with the same bounds do not. A rule about one family never matches a route of the other.
   */
  match?: { operator: 'Equal' | 'NotEqual' | 'In' | 'NotIn'; cidr: string; lengths?: { min?: number; max?: number } }
  /** Only routes that were learned from other speakers. */
  source?: 'RemotePeers'
  /** Only routes that were learned from a peer of this group. */
  group?: string
  /** Type of the peer whose policy this is; confederation peers count as iBGP. */
  peerType?: 'eBGP' | 'iBGP'
  /** Interface the route leads out of; `*` stands for any characters. Never a route of which it is not known. */
  interface?: string
  /** The route carries all of these: `high:low`, a well-known name, `a:b:c` (large), `rt:65001:100` (extended). */
  communities?: readonly string[]
  /** The AS path starts with exactly these. */
  asPathPrefix?: readonly number[]
  /** The route's priority (Calico: kernel metric), which is 2147483647 less its LOCAL_PREF. A route without LOCAL_PREF has none. */
  priority?: number
  /** What an accepting rule does to the route, in order. */
  operations?: readonly (
    | { do: 'add-community'; value: string }
    | { do: 'prepend-as-path'; asns: readonly number[] }
    | { do: 'set-priority'; value: number }
  )[]
  /** Why, for people; default: the rule's number. */
  note?: string
}

/** What a peer's `import` or `export` says: rules in order, a verdict for everything, or nothing at all. */
export type PolicySource = readonly PolicyRule[] | 'accept' | 'reject' | undefined

/** A route as rules see it. */
export type PolicySubject = {
  /** The prefix: 4 or 16 octets with host bits clear, and its length. */
  octets: Uint8Array
  length: number
  attributes: Attributes
  /** Learned from another speaker, not originated here. */
  learned: boolean
  /** Group of the peer that it was learned from. */
  group?: string
  peerType: PeerType
  interface?: string
}

export type Verdict = {
  action: 'accept' | 'reject'
  /** Place of the deciding rule, from 0; -1 when none decided. */
  rule: number
  /** For people: `rule 3 rejects`, `no rule matches`, `no policy (RFC 8212)`. */
  reason: string
}

/** The sum of a route's priority and its LOCAL_PREF, as Calico maps one to the other. */
export const PRIORITY_BASE = 2147483647

type Test = (subject: PolicySubject) => boolean
type Operation = (attributes: Attributes) => Attributes

/** A peer's import or export policy, ready to evaluate: nothing in it can fail once it is built. */
export class Policy {
  /** Whether two prefixes with the same attributes can get different verdicts. */
  readonly dependsOnPrefix: boolean
  /** The verdict for every route; absent when it depends on rules. */
  readonly always: Verdict | undefined
  readonly #rules: readonly { tests: readonly Test[]; operations: readonly Operation[]; verdict: Verdict }[]
  readonly #places: readonly Place[]

  /**
   * `external`: without a policy nothing passes (RFC 8212); internal peers without one exchange everything. A route that
   * no rule matches is rejected: end the list with `{ action: 'accept' }` for the opposite. Throws when a rule names a
   * community or a CIDR that is none.
   */
  constructor(source: PolicySource, { external }: { external: boolean }) {
    const rules = typeof source === 'object' ? source : []
    this.dependsOnPrefix = rules.some(rule => rule.match !== undefined || rule.family !== undefined)
    this.#rules = rules.map((rule, i) => ({
      tests: testsOf(rule),
      operations: (rule.operations ?? []).map(operationOf),
      verdict: { action: rule.action, rule: i, reason: rule.note ?? `rule ${i + 1} ${rule.action}s` },
    }))
    this.#places = rules.map(placeOf)
    if (typeof source === 'string') this.always = { action: source, rule: -1, reason: `policy is to ${source} all` }
    else if (source === undefined)
      this.always = external
        ? { action: 'reject', rule: -1, reason: 'no policy on an external peer (RFC 8212)' }
        : { action: 'accept', rule: -1, reason: 'no policy on an internal peer' }
  }

  evaluate(subject: PolicySubject): Verdict {
    if (this.always !== undefined) return this.always
    const { octets } = subject
    const first = octets.length === 0 ? 0 : (octets[0]! << 24) | (octets[1]! << 16) | (octets[2]! << 8) | octets[3]!
    for (let i = 0; i < this.#places.length; i++) {
      const place = this.#places[i]!
      if (((first ^ place.first) & place.mask) !== 0) continue
      const { tests, verdict } = this.#rules[i]!
      if (tests.every(test => test(subject))) return verdict
    }
    return NO_MATCH
  }

  /** The attributes after the operations of the rule that decided. The same object when it has none. */
  apply({ action, rule }: Verdict, attributes: Attributes): Attributes {
    if (action === 'reject' || rule < 0) return attributes
    return this.#rules[rule]!.operations.reduce((changed, operation) => operation(changed), attributes)
  }
}

const NO_MATCH: Verdict = { action: 'reject', rule: -1, reason: 'no rule matches' }

/** First bits that every prefix has which a rule is about: of hundreds of rules nearly all are passed over by one comparison. */
type Place = { first: number; mask: number }

function placeOf({ match }: PolicyRule): Place {
  if (match === undefined || match.operator.startsWith('Not')) return { first: 0, mask: 0 }
  const { address, length } = cidr(match.cidr)
  const octets = addressBytes(address)
  const bits = Math.min(32, length, match.lengths?.min ?? length)
  const first = (octets[0]! << 24) | (octets[1]! << 16) | (octets[2]! << 8) | octets[3]!
  return { first, mask: bits === 0 ? 0 : -1 << (32 - bits) }
}

function testsOf(rule: PolicyRule): readonly Test[] {
  const tests: Test[] = []
  const { family, match, source, peerType, communities, asPathPrefix, priority } = rule
  if (family !== undefined) tests.push(({ octets }) => octets.length * 8 === addressBits(family))
  if (match !== undefined) tests.push(prefixTest(match))
  if (source !== undefined) tests.push(({ learned }) => learned)
  if (rule.group !== undefined) tests.push(({ learned, group }) => learned && group === rule.group)
  if (peerType !== undefined) tests.push(subject => (subject.peerType === 'ebgp') === (peerType === 'eBGP'))
  if (rule.interface !== undefined) tests.push(interfaceTest(rule.interface))
  for (const text of communities ?? []) tests.push(communityTest(text))
  if (asPathPrefix !== undefined) tests.push(({ attributes }) => pathStarts(attributes, asPathPrefix))
  if (priority !== undefined) tests.push(({ attributes }) => attributes.localPref === PRIORITY_BASE - priority)
  return tests
}

function prefixTest({ operator, cidr: text, lengths }: NonNullable<PolicyRule['match']>): Test {
  const { family, address, length } = cidr(text)
  const octets = addressBytes(address)
  const exact = operator === 'Equal' || operator === 'NotEqual'
  const negated = operator === 'NotEqual' || operator === 'NotIn'
  const least = exact ? Math.max(length, lengths?.min ?? 0) : (lengths?.min ?? length)
  const most = Math.min(exact ? length : addressBits(family), lengths?.max ?? addressBits(family))
  return subject => {
    if (subject.octets.length !== octets.length) return false
    const inside =
      subject.length >= least &&
      subject.length <= most &&
      sameBits(subject.octets, octets, Math.min(length, subject.length))
    return inside !== negated
  }
}

function sameBits(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  const whole = bits >>> 3
  for (let i = 0; i < whole; i++) if (a[i] !== b[i]) return false
  return bits % 8 === 0 || ((a[whole]! ^ b[whole]!) & (0xff00 >> (bits % 8)) & 0xff) === 0
}

/** `*` is the only pattern: all else stands for itself, as in the names of interfaces. */
function interfaceTest(pattern: string): Test {
  const [first = '', ...others] = pattern.split('*')
  const last = others.pop()
  if (last === undefined) return subject => subject.interface === pattern
  return ({ interface: name }) => {
    if (name === undefined || !name.startsWith(first)) return false
    let at = first.length
    for (const part of others) {
      const found = name.indexOf(part, at)
      if (found < 0) return false
      at = found + part.length
    }
    return name.length - last.length >= at && name.endsWith(last)
  }
}

function communityTest(text: string): Test {
  const value = communityOf(text)
  return ({ attributes }) => carries(attributes, value)
}

/** Throws when `text` is no community. */
function communityOf(text: string): Community {
  const value = parseCommunity(text)
  if (value === undefined) throw new SpeakerError('bad-rule', `not a community: ${text}`)
  return value
}

function carries({ communities, extendedCommunities, largeCommunities }: Attributes, value: Community): boolean {
  if (typeof value === 'number') return communities?.includes(value) === true
  if (typeof value === 'bigint') return extendedCommunities?.includes(value) === true
  return largeCommunities?.some(other => sameLarge(other, value)) === true
}

function sameLarge(a: LargeCommunity, b: LargeCommunity): boolean {
  return a.global === b.global && a.local1 === b.local1 && a.local2 === b.local2
}

function pathStarts({ asPath = [] }: Attributes, wanted: readonly number[]): boolean {
  const asns: number[] = []
  for (const segment of asPath) {
    if (asns.length >= wanted.length || segment.type === SEGMENT.set) break
    if (segment.type === SEGMENT.sequence) asns.push(...segment.asns)
  }
  return wanted.every((asn, i) => asns[i] === asn)
}

/** An operation as a function of the attributes. Throws when it names no community. */
function operationOf(operation: NonNullable<PolicyRule['operations']>[number]): Operation {
  switch (operation.do) {
    case 'prepend-as-path':
      return attributes => ({ ...attributes, asPath: prepend(attributes.asPath ?? [], operation.asns) })
    case 'set-priority': {
      const localPref = Math.min(0xffffffff, Math.max(0, PRIORITY_BASE - operation.value))
      return attributes => ({ ...attributes, localPref })
    }
    case 'add-community': {
      const value = communityOf(operation.value)
      return attributes => (carries(attributes, value) ? attributes : withCommunity(attributes, value))
    }
  }
}

function withCommunity(attributes: Attributes, value: Community): Attributes {
  const { communities = [], extendedCommunities = [], largeCommunities = [] } = attributes
  if (typeof value === 'number') return { ...attributes, communities: [...communities, value] }
  if (typeof value === 'bigint') return { ...attributes, extendedCommunities: [...extendedCommunities, value] }
  return { ...attributes, largeCommunities: [...largeCommunities, value] }
}
