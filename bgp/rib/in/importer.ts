// From a set as received to the set as accepted. Each distinct set is checked once, and all routes with that set share the
// result. Plain sets from peers without import rules are used as they are; the others are parsed (RFC 7606), checked for
// loops, changed by the import policy, and stored as sets of their own.
import { Writer } from '../../../lib/bytes.ts'
import type { PeerConfig } from '../../config.ts'
import type { AddressFamily } from '../../family.ts'
import type { Policy, Verdict } from '../../policy.ts'
import { parseAttributes } from '../../wire/attributes.ts'
import type { CodecSession } from '../../wire/codec-session.ts'
import type { UpdateFault } from '../../wire/errors.ts'
import { ATTRIBUTE, COMMUNITY } from '../../wire/iana.ts'
import { isUsableNextHop } from '../../wire/multiprotocol.ts'
import { judge } from '../../wire/update.ts'
import { isOneOf, isOnLink } from '../next-hop.ts'
import type { RibPeerState } from '../peer-state.ts'
import type { SpeakerNumbers } from '../speaker-numbers.ts'
import { type AttributeFacts, SET_FLAG } from '../store/attribute-facts.ts'
import { emitSet, factsOf, parseSet, type RouteAttributes, SET_ROOM } from '../store/attribute-set.ts'
import type { AttributeStore } from '../store/attribute-store.ts'
import { type PrefixTable, widened } from '../store/prefix-table.ts'
import { ownerHasAs4 } from '../store/set-owner.ts'
import { admit, type RejectReason } from './admission.ts'
import { newFacts, type PlainRules, readFacts } from './read-facts.ts'

/** What is known of a received set. */
const STATE = { unknown: 0, accepted: 1, rejected: 2, asksPolicy: 3, outdated: 4 } as const

/** Rules that every well-formed plain set follows: for sets that were accepted before. */
const ANY: PlainRules = {
  external: false,
  ownAses: [],
  firstAs: 0,
  routerId: -1,
  clusterId: -1,
  ownNextHop: -1,
  linkNetwork: 0,
  linkMask: 0,
  multiprotocol: false,
}

/** Why a path is not used, for people. */
export type ImportVerdict = { accepted: boolean; reason: RejectReason | 'accepted'; detail: string }

export class Importer {
  readonly #store: AttributeStore
  readonly #facts: AttributeFacts
  readonly #speaker: SpeakerNumbers
  readonly #scratch = newFacts()
  readonly #bytes = new Uint8Array(SET_ROOM)
  #state = new Uint8Array(1024)
  #accepted = new Uint32Array(1024)
  /** The last set that was parsed for a policy that depends on the prefix. */
  #parsed: { set: number; value: RouteAttributes } | undefined
  /** What rules of a policy made of the last set that they changed: routes with one set often come together. */
  #changed: { base: number; policy: Policy; byRule: Map<number, number> } | undefined
  /** What `passes` said of sets of one peer. */
  #passed: { rules: Policy; config: PeerConfig; bySet: Map<number, boolean> } | undefined

  constructor(store: AttributeStore, facts: AttributeFacts, speaker: SpeakerNumbers) {
    this.#store = store
    this.#facts = facts
    this.#speaker = speaker
  }

  /**
   * Checks a received set, once, and again where it is outdated. Returns its faults the first time, those worse than `discard`
   * always: with one the set must not be used.
   */
  examine(set: number, from: RibPeerState, family: AddressFamily): readonly UpdateFault[] {
    this.#fit()
    const before = this.#state[set]!
    if (before !== STATE.unknown && before !== STATE.outdated) return NO_FAULTS
    this.#state[set] = STATE.unknown
    const mp = this.#isMp(set)
    const rules = mp ? from.mpPlainRules : from.plainRules
    if (rules !== undefined && from.importPolicy.always?.action === 'accept' && this.#isPlain(set, rules, from)) {
      this.#facts.set(set, this.#scratch)
      this.#state[set] = STATE.accepted
      this.#accepted[set] = set
      return NO_FAULTS
    }
    const faults = this.#parse(set, from, family, mp)
    return before === STATE.outdated && faults.every(({ cost }) => cost === 'discard') ? NO_FAULTS : faults
  }

  /** What a set comes to is to be found out anew: rules have changed. */
  outdate(set: number): void {
    if (set >= this.#state.length || this.#state[set] === STATE.outdated) return
    this.forget(set)
    this.#state[set] = STATE.outdated
  }

  /** The set that a route with this received set is used with, with one more reference; 0: the route is not used. */
  accept(set: number, from: RibPeerState, prefix: number, prefixes: PrefixTable, family: AddressFamily): number {
    let accepted = this.#accepted[set]!
    if (this.#state[set] === STATE.asksPolicy) return this.#ask(accepted, from, prefix, prefixes, family)
    if (this.#state[set] !== STATE.accepted) accepted = 0
    if (accepted !== 0) this.#store.hold(accepted)
    return accepted
  }

  /** Whether rules about routes of peers accept a set that `accept` gave. */
  passes(accepted: number, from: RibPeerState, rules: Policy): boolean {
    const { config } = from.peer
    if (this.#passed?.rules !== rules || this.#passed.config !== config)
      this.#passed = { rules, config, bySet: new Map() }
    const known = this.#passed.bySet.get(accepted)
    if (known !== undefined) return known
    const verdict = rules.evaluate(subject(parseSet(this.#store.view(accepted)), from, NO_PREFIX, 0))
    const passes = verdict.action === 'accept'
    this.#passed.bySet.set(accepted, passes)
    return passes
  }

  /** Called when a set is about to be freed. */
  forget(set: number): void {
    if (set >= this.#state.length) return
    const accepted = this.#accepted[set]!
    this.#state[set] = STATE.unknown
    this.#accepted[set] = 0
    if (this.#parsed?.set === set) this.#parsed = undefined
    this.#passed?.bySet.delete(set)
    if (this.#changed?.base === set) this.#changed = undefined
    if (this.#changed !== undefined)
      for (const [rule, made] of this.#changed.byRule) if (made === set) this.#changed.byRule.delete(rule)
    if (accepted !== 0 && accepted !== set) this.#store.release(accepted)
  }

  /** Stores a set of this owner with its facts. The caller gets one reference. */
  store(value: RouteAttributes, owner: number, family: AddressFamily): number {
    const w = new Writer(this.#bytes)
    emitSet(w, value, family)
    const set = this.#store.intern(w.bytes, 0, w.length, owner)
    this.#fit()
    const rules = value.mpNextHop === undefined ? ANY : { ...ANY, multiprotocol: true }
    const plain = readFacts(w.bytes, 0, w.length, rules, this.#scratch)
    this.#facts.set(set, plain ? this.#scratch : factsOf(value))
    return set
  }

  /**
   * The long-lived stale form of an accepted set (RFC 9494 §4.2), with one more reference; 0 when the set has NO_LLGR.
   */
  longLived(set: number, family: AddressFamily): number {
    const flags = this.#facts.flags[set]!
    if ((flags & SET_FLAG.noLlgr) !== 0) return 0
    const value = parseSet(this.#store.view(set))
    const communities = [...(value.attributes.communities ?? [])]
    if ((flags & SET_FLAG.llgrStale) === 0) communities.push(COMMUNITY.llgrStale)
    const stale = { ...value, attributes: { ...value.attributes, communities } }
    return this.store(stale, this.#store.owner(set), family)
  }

  /** A set as its peer sent it. */
  read(set: number, from: RibPeerState): RouteAttributes {
    return parseSet(this.#store.view(set), this.#session(set, from))
  }

  /** Checks a received set again, with a reason for people. */
  explain(set: number, from: RibPeerState, prefix: number, prefixes: PrefixTable): ImportVerdict {
    const admission = admit(this.read(set, from), from.peer, this.#speaker)
    if ('rejected' in admission) return { accepted: false, reason: admission.rejected, detail: admission.detail }
    const verdict = this.#evaluate(admission.set, from, prefix, prefixes)
    const accepted = verdict.action === 'accept'
    return { accepted, reason: accepted ? 'accepted' : 'policy', detail: verdict.reason }
  }

  /** A set from before the present session may have AS numbers of another width. */
  #session(set: number, { peer }: RibPeerState): CodecSession {
    return { ...peer.receive, as4: ownerHasAs4(this.#store.owner(set)) }
  }

  #isMp(set: number): boolean {
    return this.#store.length(set) > 2 && this.#store.arena[this.#store.offset(set) + 1] === ATTRIBUTE.mpReach
  }

  #isPlain(set: number, rules: PlainRules, from: RibPeerState): boolean {
    const { arena } = this.#store
    const start = this.#store.offset(set)
    if (!readFacts(arena, start, start + this.#store.length(set), rules, this.#scratch)) return false
    if (!rules.multiprotocol) return true
    const nextHop = arena.subarray(start + 7, start + 7 + arena[start + 6]!)
    return isUsableNextHop(nextHop) && !isOneOf(nextHop, from.own) && isOnLink(nextHop, from.link)
  }

  #parse(set: number, from: RibPeerState, family: AddressFamily, mp: boolean): readonly UpdateFault[] {
    const view = this.#store.view(set)
    const parsed = parseAttributes(view, 0, view.length, this.#session(set, from))
    const verdict = judge(parsed, mp ? 'mp' : 'nlri')
    const faults = verdict === undefined ? parsed.faults : [...parsed.faults, verdict]
    if (faults.some(({ cost }) => cost !== 'discard')) return faults
    const mpNextHop = parsed.mpReach?.nextHop.slice()
    const admission = admit({ attributes: parsed.attributes, mpNextHop }, from.peer, this.#speaker)
    const policy = from.importPolicy
    this.#state[set] = STATE.rejected
    if ('rejected' in admission) {
      // RFC 4271 §6.3: told, and the route is ignored
      if (admission.rejected !== 'bad-next-hop') return faults
      return [...faults, { cost: 'discard', attribute: ATTRIBUTE.nextHop, reason: admission.detail }]
    }
    const base = admission.set
    if (policy.dependsOnPrefix) {
      this.#state[set] = STATE.asksPolicy
      this.#link(set, this.store(base, from.canonical, family))
      return faults
    }
    const decided = policy.evaluate(subject(base, from, NO_PREFIX, 0))
    if (decided.action === 'reject') return faults
    this.#state[set] = STATE.accepted
    const attributes = policy.apply(decided, base.attributes)
    this.#link(set, this.store({ ...base, attributes }, from.canonical, family))
    return faults
  }

  /** Stores the result for a set. A set that is its own result must not hold a reference to itself. */
  #link(set: number, accepted: number): void {
    this.#accepted[set] = accepted
    if (accepted === set) this.#store.release(accepted)
  }

  #ask(base: number, from: RibPeerState, prefix: number, prefixes: PrefixTable, family: AddressFamily): number {
    if (this.#parsed?.set !== base) this.#parsed = { set: base, value: parseSet(this.#store.view(base)) }
    const { value } = this.#parsed
    const verdict = this.#evaluate(value, from, prefix, prefixes)
    if (verdict.action === 'reject') return 0
    const policy = from.importPolicy
    if (this.#changed?.base !== base || this.#changed.policy !== policy)
      this.#changed = { base, policy, byRule: new Map() }
    const { byRule } = this.#changed
    const known = byRule.get(verdict.rule)
    if (known !== undefined) {
      this.#store.hold(known)
      return known
    }
    const attributes = policy.apply(verdict, value.attributes)
    if (attributes === value.attributes) this.#store.hold(base)
    const made = attributes === value.attributes ? base : this.store({ ...value, attributes }, from.canonical, family)
    byRule.set(verdict.rule, made)
    return made
  }

  #evaluate(value: RouteAttributes, from: RibPeerState, prefix: number, prefixes: PrefixTable): Verdict {
    const octets = new Uint8Array(prefixes.octets)
    prefixes.read(prefix, octets)
    return from.importPolicy.evaluate(subject(value, from, octets, prefixes.length(prefix)))
  }

  #fit(): void {
    const { capacity } = this.#store
    if (capacity <= this.#state.length) return
    this.#state = widened(this.#state, new Uint8Array(capacity))
    this.#accepted = widened(this.#accepted, new Uint32Array(capacity))
    this.#facts.fit(capacity)
  }
}

const NO_FAULTS: readonly UpdateFault[] = []
const NO_PREFIX = new Uint8Array(0)

function subject({ attributes }: RouteAttributes, { peer }: RibPeerState, octets: Uint8Array, length: number) {
  const { peerType, leadsOut, config } = peer
  return { octets, length, attributes, learned: true, group: config.group, peerType, interface: leadsOut }
}
