// A RIB that is slow and obviously right: what every peer sent is kept as it is, and everything else is worked out from it
// whenever somebody asks. The oracle for the real one.

import type { Multipath, Network, PeerConfig, SpeakerConfig, TrackedPaths } from '../../../bgp/config.ts'
import type { AddressFamily } from '../../../bgp/family.ts'
import { Policy } from '../../../bgp/policy.ts'
import { admit } from '../../../bgp/rib/in/admission.ts'
import { advertise, targetOf, withheldFrom } from '../../../bgp/rib/out/advertisement.ts'
import type { SpeakerNumbers } from '../../../bgp/rib/speaker-numbers.ts'
import { speakerNumbers } from '../../../bgp/rib/speaker-numbers.ts'
import { DEFAULT_LOCAL_PREF, SET_FLAG } from '../../../bgp/rib/store/attribute-facts.ts'
import { factsOf, type RouteAttributes } from '../../../bgp/rib/store/attribute-set.ts'
import type { ExportSource, RibPeer } from '../../../bgp/rib/types.ts'
import { firstAs, pathLength } from '../../../bgp/wire/as-path.ts'
import type { Attributes } from '../../../bgp/wire/attribute-values.ts'
import { ORIGIN } from '../../../bgp/wire/iana.ts'
import { addressBytes, cidr, contains, formatAddress, formatIpv4, isLinkLocal } from '../../../lib/ip.ts'

type Path = { from?: RibPeer; pathId: number; set: RouteAttributes; cost?: number }

export class NaiveRib {
  readonly #speaker: SpeakerNumbers
  readonly #received = new Map<string, Map<string, { prefix: string; path: Path }>>()
  readonly #peers = new Map<string, RibPeer>()
  readonly #own = new Map<string, RouteAttributes>()
  multipath: Multipath | undefined
  /** Interior cost of each next hop that can be reached; undefined: all can, at none. */
  costs: ReadonlyMap<string, number> | undefined
  tracked: TrackedPaths = {}

  constructor(config: SpeakerConfig) {
    this.#speaker = speakerNumbers(config)
    this.multipath = config.multipath
  }

  set draining(on: boolean) {
    this.#speaker.draining = on
  }

  up(peer: RibPeer): void {
    this.#peers.set(peer.key, peer)
    this.#received.set(peer.key, new Map())
  }

  down(key: string): void {
    this.#peers.delete(key)
    this.#received.delete(key)
  }

  configure(key: string, config: RibPeer['config']): void {
    this.#peers.set(key, { ...this.#peers.get(key)!, config })
  }

  announce(key: string, prefix: string, pathId: number, set: RouteAttributes): void {
    const path = { from: this.#peers.get(key)!, pathId, set }
    this.#received.get(key)!.set(`${prefix} ${pathId}`, { prefix, path })
  }

  withdraw(key: string, prefix: string, pathId: number): void {
    this.#received.get(key)!.delete(`${prefix} ${pathId}`)
  }

  originate({ prefix, communities, med }: Network): void {
    const standard = communities?.filter(value => typeof value === 'number')
    this.#own.set(prefix, { attributes: { origin: ORIGIN.igp, asPath: [], communities: standard, med } })
  }

  unoriginate(prefix: string): void {
    this.#own.delete(prefix)
  }

  prefixes(): string[] {
    const all = [...this.#own.keys()]
    for (const routes of this.#received.values()) for (const { prefix } of routes.values()) all.push(prefix)
    return [...new Set(all)]
  }

  /** Paths that may be used, after import. */
  accepted(prefix: string): Path[] {
    const own = this.#own.get(prefix)
    const paths: Path[] = own === undefined ? [] : [{ pathId: 0, set: own }]
    const { address, length } = cidr(prefix)
    for (const [key, routes] of this.#received) {
      const peer = this.#peers.get(key)!
      for (const { prefix: other, path } of routes.values()) {
        if (other !== prefix) continue
        const admission = admit(path.set, peer, this.#speaker)
        if ('rejected' in admission) continue
        const policy = new Policy(peer.config.import, { external: peer.peerType === 'ebgp' })
        const { attributes } = admission.set
        const octets = addressBytes(address)
        const subject = {
          octets,
          length,
          attributes,
          learned: true,
          peerType: peer.peerType,
          interface: peer.leadsOut,
        }
        const verdict = policy.evaluate(subject)
        if (verdict.action === 'reject') continue
        const set = { ...admission.set, attributes: policy.apply(verdict, attributes) }
        const cost = this.#costOf(peer, prefix, nextHopOf(set))
        if (cost !== undefined) paths.push({ ...path, from: peer, set, cost })
      }
    }
    return paths
  }

  /** Undefined: the path is not used. */
  #costOf(peer: RibPeer, prefix: string, nextHop: string): number | undefined {
    const { group, spared = [] } = this.tracked
    if (this.costs === undefined || (group !== undefined && peer.config.group !== group)) return 0
    const isSpared = spared.some(each => contains(each, prefix))
    return this.costs.get(nextHop) ?? (isSpared ? Number.POSITIVE_INFINITY : undefined)
  }

  best(prefix: string): Path | undefined {
    return chooseBest(this.accepted(prefix))
  }

  /** The paths that packets go over, the best first. */
  used(prefix: string): Path[] {
    return chooseUsed(this.accepted(prefix), this.multipath)
  }

  /** What a peer must hold: by prefix, every set it is sent (one, unless it has ADD-PATH); `rules` instead of its own for export. */
  heldBy(key: string, rules?: PeerConfig['export']): Map<string, RouteAttributes[]> {
    const peer = this.#peers.get(key)!
    const held = new Map<string, RouteAttributes[]>()
    for (const prefix of this.prefixes()) {
      const { family, address, length } = cidr(prefix)
      const name: AddressFamily = family === 'ipv4' ? 'ipv4-unicast' : 'ipv6-unicast'
      const target = targetOf(peer, name)
      const policy = new Policy(rules ?? peer.config.export, { external: peer.peerType === 'ebgp' })
      const best = this.best(prefix)
      const paths = target.addPath ? this.accepted(prefix) : best === undefined ? [] : [best]
      const sets: RouteAttributes[] = []
      for (const { from, set } of paths) {
        if (from?.key === key) continue
        const source = sourceOf(from)
        if (withheldFrom(factsOf(set).flags, source, target) !== undefined) continue
        const at = { octets: addressBytes(address), length }
        const made = advertise(set, source, target, policy, this.#speaker, at)
        if ('set' in made) sets.push(made.set)
      }
      if (sets.length > 0) held.set(prefix, sets)
    }
    return held
  }
}

function sourceOf(from: RibPeer | undefined): ExportSource {
  if (from === undefined) return { local: true, peerType: 'ibgp', client: false, routerId: 0 }
  const { peerType, routerId, config } = from
  return { local: false, peerType, client: config.reflectorClient ?? false, routerId, interface: from.leadsOut }
}

/** RFC 4271 §9.1.2.2 read aloud, with a filter per step. */
export function chooseBest(paths: readonly Path[]): Path | undefined {
  let left = undecided(paths)
  const keepLeast = (key: (path: Path) => number) => {
    const least = Math.min(...left.map(key))
    left = left.filter(path => key(path) === least)
  }
  const of = (path: Path): Attributes => path.set.attributes
  if (left.length === 0) return undefined
  keepLeast(({ from }) => (from?.peerType === 'ebgp' ? 0 : 1))
  keepLeast(({ cost = 0 }) => cost)
  keepLeast(path => of(path).originatorId ?? path.from?.routerId ?? 0)
  keepLeast(path => of(path).clusterList?.length ?? 0)
  keepLeast(({ from }) =>
    from === undefined ? 0 : Number(`0x${Buffer.from(addressBytes(from.remoteAddress)).toString('hex')}`),
  )
  keepLeast(({ pathId }) => pathId)
  if (left.length !== 1) throw new Error('the decision is not one')
  return left[0]
}

/** What the steps before the tie breaks leave, but for the one that prefers external paths. */
function undecided(paths: readonly Path[]): Path[] {
  let left = [...paths]
  const keepLeast = (key: (path: Path) => number) => {
    const least = Math.min(...left.map(key))
    left = left.filter(path => key(path) === least)
  }
  const of = (path: Path): Attributes => path.set.attributes
  keepLeast(({ from }) => (from === undefined ? 0 : 1))
  keepLeast(({ set }) => factsOf(set).flags & SET_FLAG.llgrStale)
  keepLeast(path => -(of(path).localPref ?? DEFAULT_LOCAL_PREF))
  keepLeast(path => pathLength(of(path).asPath!))
  keepLeast(path => of(path).origin!)
  const med = (path: Path) => of(path).med ?? 0
  const neighbour = (path: Path) => firstAs(of(path).asPath!)
  return left.filter(path => !left.some(other => neighbour(other) === neighbour(path) && med(other) < med(path)))
}

/** The best path, then again and again the best of the others, as long as it is one that may be used beside the first. */
export function chooseUsed(paths: readonly Path[], rule: Multipath | undefined): Path[] {
  const best = chooseBest(paths)
  if (best === undefined) return []
  const used = [best]
  if (rule === undefined || best.from === undefined) return used
  const kind = ({ from }: Path) => (from?.peerType === 'ebgp' ? 'ebgp' : 'ibgp')
  const hop = ({ set, from }: Path) => {
    const text = nextHopOf(set)
    return isLinkLocal(text) ? `${text}%${from?.interface}` : text
  }
  let others = undecided(paths).filter(path => path !== best && path.cost === best.cost)
  if (rule.of !== 'merge') others = others.filter(path => kind(path) === kind(best))
  if (rule.of === 'ebgp' || rule.of === 'ibgp') others = others.filter(path => kind(path) === rule.of)
  if (rule.asPath === 'same') {
    const text = JSON.stringify(best.set.attributes.asPath)
    others = others.filter(({ set }) => JSON.stringify(set.attributes.asPath) === text)
  }
  while (others.length > 0 && used.length < rule.paths) {
    const next = chooseBest(others)!
    if (!used.some(path => hop(path) === hop(next))) used.push(next)
    others = others.filter(path => path !== next)
  }
  return used
}

/** A set as text, whatever the order of its keys. */
export function describe({ attributes, mpNextHop }: RouteAttributes): string {
  const entries = Object.entries(attributes).filter(([, value]) => value !== undefined)
  entries.sort(([a], [b]) => (a < b ? -1 : 1))
  const plain = JSON.stringify(entries, (_, value) => (typeof value === 'bigint' ? `${value}` : value))
  return mpNextHop === undefined ? plain : `${plain} via ${formatAddress(mpNextHop)}`
}

/** Canonical text of a route's next hop. */
export function nextHopOf({ attributes, mpNextHop }: RouteAttributes): string {
  return mpNextHop === undefined ? formatIpv4(attributes.nextHop ?? 0) : formatAddress(mpNextHop)
}
