// Small constructors for RIB tests: peers, UPDATE bodies, and a downstream that applies what it is sent.

import type { PeerConfig, SpeakerConfig } from '../../../bgp/config.ts'
import type { AddressFamily } from '../../../bgp/family.ts'
import type { NextHopState, NextHops, RouteSink, SelectedRoute } from '../../../bgp/port.ts'
import { Rib } from '../../../bgp/rib/rib.ts'
import type { RouteAttributes } from '../../../bgp/rib/store/attribute-set.ts'
import type { RibEvent, RibPeer } from '../../../bgp/rib/types.ts'
import type { Attributes } from '../../../bgp/wire/attribute-values.ts'
import type { CodecSession } from '../../../bgp/wire/codec-session.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { AFI, MESSAGE, SEGMENT } from '../../../bgp/wire/iana.ts'
import { HEADER } from '../../../bgp/wire/message.ts'
import { emitUpdate, parseUpdate } from '../../../bgp/wire/update.ts'
import { Writer } from '../../../lib/bytes.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { addressBytes, ipv4Number } from '../../../lib/ip.ts'
import { silentLog } from '../../../lib/log.ts'

export const OUR_AS = 65000

type PeerOptions = Partial<Omit<RibPeer, 'config' | 'receive' | 'send'>> & {
  config?: Partial<PeerConfig>
  session?: Partial<CodecSession>
  addPath?: { send?: boolean; receive?: boolean }
}

/** A peer `n` (1-200) with address 10.0.0.n in AS 65000 + n, both families, accepting and given everything. */
export function aPeer(n: number, options: PeerOptions = {}): RibPeer {
  const { config, session, addPath, ...rest } = options
  const peerType = rest.peerType ?? 'ebgp'
  const asn = peerType === 'ibgp' ? OUR_AS : OUR_AS + n
  const both = (on = false) => ({ ipv4: on, ipv6: on })
  const codec = { as4: true, peerType, extendedNextHop: false, extendedMessage: false, ...session }
  const families: readonly AddressFamily[] = ['ipv4-unicast', 'ipv6-unicast']
  return {
    key: `p${n}`,
    config: { asn, import: 'accept', export: 'accept', ...config },
    peerType,
    localAs: OUR_AS,
    remoteAs: asn,
    routerId: ipv4Number(`10.0.0.${n}`),
    localAddress: '10.0.0.254',
    remoteAddress: `10.0.0.${n}`,
    nextHops: { ipv4: '10.0.0.254', ipv6: '2001:db8::fe' },
    families,
    enhancedRefresh: false,
    receive: { ...codec, addPath: both(addPath?.receive) },
    send: { ...codec, addPath: both(addPath?.send) },
    ...rest,
  }
}

/** Attributes of a plain route from AS 65001 on. */
export function someAttributes(path: readonly number[] = [OUR_AS + 1], more: Attributes = {}): Attributes {
  const asPath = path.length === 0 ? [] : [{ type: SEGMENT.sequence, asns: path }]
  return { origin: 0, asPath, nextHop: ipv4Number('10.0.0.1'), ...more }
}

type RouteChange = {
  announce?: readonly string[]
  withdraw?: readonly string[]
  attributes?: Attributes
  /** Of IPv6 prefixes; default 2001:db8::1. */
  mpNextHop?: Uint8Array
  pathId?: number
}

/** A whole UPDATE message; IPv6 prefixes go into the multiprotocol attributes. */
export function anUpdate(
  peer: RibPeer,
  { announce = [], withdraw = [], attributes, mpNextHop, pathId }: RouteChange,
): Uint8Array {
  const w = new Writer(70000)
  const nlri = (texts: readonly string[], v6: boolean) =>
    texts
      .filter(text => text.includes(':') === v6)
      .map(prefix => (pathId === undefined ? { prefix } : { prefix, pathId }))
  const reach = {
    afi: AFI.ipv6,
    safi: 1,
    nlri: nlri(announce, true),
    nextHop: mpNextHop ?? addressBytes('2001:db8::1'),
  }
  const unreach = { afi: AFI.ipv6, safi: 1, nlri: nlri(withdraw, true) }
  const update = {
    withdrawn: nlri(withdraw, false),
    nlri: nlri(announce, false),
    attributes: announce.length > 0 ? (attributes ?? someAttributes()) : {},
    mpReach: reach.nlri.length > 0 ? reach : undefined,
    mpUnreach: unreach.nlri.length > 0 ? unreach : undefined,
  }
  emitUpdate(w, update, peer.receive)
  return w.done().slice()
}

/** What a peer holds after what it was sent: text of prefix (and path id) to attributes. */
export class Downstream {
  readonly held = new Map<string, RouteAttributes>()
  readonly markers: string[] = []
  messages = 0
  readonly #session: CodecSession

  readonly #forgiven: RegExp | undefined

  /** `forgiven`: faults that are none here, by their text. */
  constructor(peer: RibPeer, forgiven?: RegExp) {
    this.#forgiven = forgiven
    // what we send is read by the same rules on the other side
    this.#session = { ...peer.send, peerType: peer.peerType }
  }

  apply(blocks: readonly Uint8Array[]): void {
    for (const bytes of blocks)
      for (let at = 0; at < bytes.length; ) {
        const end = at + ((bytes[at + 16]! << 8) | bytes[at + 17]!)
        if (bytes[at + 18] === MESSAGE.routeRefresh) this.markers.push(`refresh ${bytes[at + HEADER + 2]}`)
        else this.#update(bytes, at + HEADER, end)
        this.messages++
        at = end
      }
  }

  #update(bytes: Uint8Array, start: number, end: number): void {
    const update = parseUpdate(bytes, start, end, this.#session)
    if (update instanceof ProtocolError) throw update
    const faults = update.faults.map(({ reason }) => reason).filter(reason => !this.#forgiven?.test(reason))
    if (faults.length > 0) throw new Error(faults.join())
    const { withdrawn, nlri, mpReach, mpUnreach, attributes } = update
    const none = withdrawn.length + nlri.length + (mpReach?.nlri.length ?? 0) + (mpUnreach?.nlri.length ?? 0) === 0
    if (none) this.markers.push(mpUnreach === undefined ? 'end ipv4' : 'end ipv6')
    const key = ({ prefix, pathId }: { prefix: string; pathId?: number }) =>
      pathId === undefined ? prefix : `${prefix} ${pathId}`
    for (const gone of [...withdrawn, ...(mpUnreach?.nlri ?? [])]) this.held.delete(key(gone))
    for (const route of nlri) this.held.set(key(route), { attributes })
    const mpNextHop = mpReach?.nextHop
    for (const route of mpReach?.nlri ?? []) this.held.set(key(route), { attributes, mpNextHop })
  }
}

/** What a sink was told, as it stands now. */
export class HeldRoutes implements RouteSink {
  readonly routes = new Map<string, SelectedRoute>()
  selected(route: SelectedRoute): void {
    this.routes.set(route.prefix, route)
  }
  withdrawn(prefix: string): void {
    if (!this.routes.delete(prefix)) throw new Error(`${prefix} was not selected`)
  }
}

/** Next hops of which the test says what is known; it refuses what the port says that nobody does. */
export class ToldHops implements NextHops {
  readonly wanted = new Set<string>()
  /** Answered at once when it is wanted. */
  readonly known = new Map<string, NextHopState>()
  #listen: Parameters<NextHops['onChange']>[0] = () => undefined

  want(nextHop: string, link: string | undefined): NextHopState | undefined {
    const key = `${nextHop}${link === undefined ? '' : `%${link}`}`
    if (this.wanted.has(key)) throw new Error(`${key} is wanted twice`)
    this.wanted.add(key)
    return this.known.get(key)
  }

  release(nextHop: string, link: string | undefined): void {
    const key = `${nextHop}${link === undefined ? '' : `%${link}`}`
    if (!this.wanted.delete(key)) throw new Error(`${key} was not wanted`)
  }

  onChange(listen: Parameters<NextHops['onChange']>[0]): void {
    this.#listen = listen
  }

  /** What is known of a next hop from now on; `cost` undefined: it cannot be reached. */
  tell(key: string, cost: number | undefined): void {
    const state: NextHopState =
      cost === undefined ? { reachable: false, why: 'no route' } : { reachable: true, cost, over: '10.0.0.0/8' }
    this.known.set(key, state)
    const [nextHop, link] = key.split('%')
    if (this.wanted.has(key)) this.#listen(nextHop!, link, state)
  }
}

/** A RIB with its surroundings; `down` holds what each peer holds. */
export class World {
  readonly clock = new ManualClock()
  readonly sink = new HeldRoutes()
  readonly events: RibEvent[] = []
  readonly peers = new Map<string, RibPeer>()
  readonly down = new Map<string, Downstream>()
  /** Told of everything that a peer reads. */
  watch: (key: string, blocks: readonly Uint8Array[]) => void = () => undefined
  readonly rib: Rib

  constructor(
    config: Partial<SpeakerConfig> = {},
    { backlogOctets, nextHops }: { backlogOctets?: number; nextHops?: NextHops } = {},
  ) {
    const speaker = { asn: OUR_AS, routerId: '10.0.0.254', ...config }
    this.rib = new Rib(speaker, { sink: this.sink, nextHops, clock: this.clock, log: silentLog, backlogOctets })
    this.rib.onEvent(event => this.events.push(event))
  }

  up(...peers: RibPeer[]): void {
    for (const peer of peers) {
      this.peers.set(peer.key, peer)
      this.down.set(peer.key, new Downstream(peer))
      this.rib.peerUp(peer)
    }
  }

  lost(peer: RibPeer, how: Parameters<Rib['peerDown']>[1] = { retain: false }): void {
    this.peers.delete(peer.key)
    this.down.delete(peer.key)
    this.rib.peerDown(peer.key, how)
  }

  /** Hands in one message as it came; the error that would end the session. */
  feed(peer: RibPeer, message: Uint8Array): ProtocolError | undefined {
    return this.rib.receive(peer.key, message, HEADER, message.length)
  }

  send(peer: RibPeer, change: RouteChange): ProtocolError | undefined {
    return this.feed(peer, anUpdate(peer, change))
  }

  /** Decides everything and lets `keys` (default: every peer) read everything. */
  settle(...keys: string[]): void {
    while (this.rib.work());
    for (const key of keys.length > 0 ? keys : this.peers.keys())
      for (let blocks = this.rib.pull(key, 4096); blocks !== undefined; blocks = this.rib.pull(key, 4096))
        this.took(key, blocks)
  }

  /** A peer has read. */
  took(key: string, blocks: readonly Uint8Array[]): void {
    this.down.get(key)!.apply(blocks)
    this.watch(key, blocks)
  }

  held(peer: RibPeer): Map<string, RouteAttributes> {
    return this.down.get(peer.key)!.held
  }
}
