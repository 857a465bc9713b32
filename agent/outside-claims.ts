// What peers outside the cluster announce that is not theirs: prefixes of this node, and of other nodes with whose they are. None
// of it is used; it is told. Asked after each change in the cluster, so that not all refused paths may be looked at each time.
import { broken, type Condition } from '../api/status.ts'
import type { ExplainedPath } from '../bgp/rib/explain.ts'
import type { Speaker } from '../bgp/speaker.ts'
import type { Clock } from '../lib/clock.ts'
import { hostPrefix } from '../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../lib/prefix-index.ts'
import type { Session } from './cluster/sessions.ts'
import { NO_TRUST, type Trust } from './cluster/trust.ts'

/** How long one look at all refused paths of a peer counts: every change in the cluster asks for their conditions. */
const CLAIMS_MS = 10_000
/** The same while the number of a peer's many refused paths changes. */
const BUSY_CLAIMS_MS = 1000
/** Most prefixes that a condition names. */
const MOST_NAMED = 3
/** Of how many refused paths of a peer the owner is looked up, at the most. */
const MOST_LOOKED_AT = 200

type Claims = { ofThisNode: string[]; ofNodes: { prefix: string; owned: string }[] }
type ClaimsAt = { own: readonly string[]; received: number; accepted: number; claims: Claims; atMs: number }
const NO_CLAIMS: Claims = { ofThisNode: [], ofNodes: [] }

export class OutsideClaims {
  readonly #clock: Clock
  /** By the key of the peer. */
  readonly #claims = new Map<string, ClaimsAt>()
  #trust = NO_TRUST
  /** What stands in `#trust`. */
  #trusted = { own: new PrefixIndex<string>(), pools: new PrefixIndex<string>() }

  constructor(clock: Clock) {
    this.#clock = clock
  }

  trust(trust: Trust): void {
    this.#trust = trust
    this.#trusted = { own: indexOf(trust.own), pools: indexOf(trust.pools) }
  }

  forget(key: string): void {
    this.#claims.delete(key)
  }

  /** What is wrong with the announcements of a peer that people know by `name`. A pod may announce its own address, which changes nothing. */
  condition(
    speaker: Speaker | undefined,
    key: string,
    { name, session }: { name: string; session: Pick<Session, 'pod'> | undefined },
  ): Condition | undefined {
    const { ofThisNode, ofNodes } = this.#claimsOf(speaker, key)
    const its = session?.pod && hostPrefix(session.pod.address)
    const who = session?.pod === undefined ? OUTSIDE : POD
    const ours = ofThisNode.filter(prefix => prefix !== its)
    if (ours.length > 0) return claimsOurs(name, who, ours)
    return ofNodes.length > 0 ? claimsTheirs(name, who, ofNodes) : undefined
  }

  /** The paths are looked at when the number of received or accepted ones changed, or after some time. */
  #claimsOf(speaker: Speaker | undefined, key: string): Claims {
    const { received = 0, accepted = 0 } = speaker?.rib.counts(key) ?? {}
    if (speaker === undefined || received === accepted) {
      this.#claims.delete(key)
      return NO_CLAIMS
    }
    const { own } = this.#trust
    const nowMs = this.#clock.monotonicMs()
    const last = this.#claims.get(key)
    const isNew = last?.own !== own || last.received !== received || last.accepted !== accepted
    const countsMs = !isNew ? CLAIMS_MS : received - accepted > MOST_LOOKED_AT ? BUSY_CLAIMS_MS : 0
    if (last !== undefined && nowMs - last.atMs < countsMs) return last.claims
    const claims: Claims = { ofThisNode: [], ofNodes: [] }
    let looked = 0
    for (const prefix of speaker.rib.unused(key)) {
      const asked = parsePrefix(prefix)!
      const isOwn = this.#trusted.own.match(asked) !== undefined
      if (!isOwn && this.#trusted.pools.match(asked) === undefined) continue
      if (looked++ >= MOST_LOOKED_AT) break
      const candidates = speaker.explain(prefix)?.candidates ?? []
      const path = candidates.find(({ peer }) => peer === key)
      // this node's own route that comes back is a loop, and no claim
      if (isOwn && path?.import.reason === 'policy') claims.ofThisNode.push(prefix)
      else if (path?.import.reason === 'owned' && !comesBack(path, candidates, speaker.config.asn))
        claims.ofNodes.push({ prefix, owned: path.import.detail })
    }
    this.#claims.set(key, { own, received, accepted, claims, atMs: nowMs })
    return claims
  }
}

/** Whether a path is what the owner of its prefix announced, over a router outside: the AS where it began is the same. */
function comesBack(path: ExplainedPath, candidates: readonly ExplainedPath[], ownAs: number): boolean {
  const origin = ({ attributes: { attributes } }: ExplainedPath) => attributes.asPath?.at(-1)?.asns.at(-1) ?? ownAs
  return candidates.some(other => other.import.accepted && origin(other) === origin(path))
}

function indexOf(cidrs: readonly string[]): PrefixIndex<string> {
  const index = new PrefixIndex<string>()
  for (const cidr of cidrs) index.set(parsePrefix(cidr)!, cidr)
  return index
}

type Who = { who: string; remedy: string }
const OUTSIDE: Who = { who: 'a peer outside the cluster', remedy: 'find out why that router announces it' }
const POD: Who = { who: 'a pod of this node', remedy: 'correct what the pod announces, or take its label away' }

function claimsOurs(name: string, { who, remedy }: Who, prefixes: readonly string[]): Condition {
  return broken('AddressesUnique', {
    object: { kind: 'BGPSession', name },
    reason: 'OwnPrefix',
    message: `${who} announces ${some(prefixes)}, which belongs to this node; it is neither used nor passed on`,
    remedy,
  })
}

function claimsTheirs(name: string, { who, remedy }: Who, claims: Claims['ofNodes']): Condition {
  const owned = some([...new Set(claims.map(claim => claim.owned))])
  return broken('AddressesUnique', {
    object: { kind: 'BGPSession', name },
    reason: 'PrefixOfNode',
    message: `${who} announces ${some(claims.map(({ prefix }) => prefix))}, but ${owned}; it is neither used nor passed on`,
    remedy,
  })
}

function some(all: readonly string[]): string {
  const more = all.length > MOST_NAMED ? ` and ${all.length - MOST_NAMED} more` : ''
  return `${all.slice(0, MOST_NAMED).join(', ')}${more}`
}
