// Negotiation of two OPENs: AS numbers, hold time, families and capabilities. Pure. Our OPEN and the check of the peer's are
// made from the same configuration, so they cannot contradict each other.
import { ipv4Number } from '../../lib/ip.ts'
import type { PeerConfig, Role, SpeakerConfig } from '../config.ts'
import { type AddressFamily, addPathSwitches, BASE_FAMILY, familyOfNumbers, numbersOfFamily } from '../family.ts'
import type { Capability } from '../wire/capabilities.ts'
import type { CodecSession, PeerType } from '../wire/codec-session.ts'
import { ProtocolError } from '../wire/errors.ts'
import { ADD_PATH, AFI, ERROR, OPEN_ERROR, ROLE } from '../wire/iana.ts'
import type { Open } from '../wire/open.ts'
import { NOTHING_WITHHELD, type Withheld, withoutWithheld } from './withheld.ts'

const DEFAULT_HOLD_SECONDS = 90

/** Our side of a session: the speaker and how it is configured towards the peer. */
export type LocalSide = {
  speaker: SpeakerConfig
  peer: PeerConfig
  /** Families in the order of the configuration. */
  families: readonly AddressFamily[]
  /** The R bit: this speaker restarted and has not finished (RFC 4724 §4.1). */
  restarting: boolean
  /** What of our OPEN the peer refused. */
  withheld?: Withheld
}

export type Negotiated = {
  localAs: number
  remoteAs: number
  peerType: PeerType
  /** The peer's identifier, unsigned. */
  routerId: number
  /** 0: neither hold timer nor keepalives. */
  holdSeconds: number
  keepaliveSeconds: number
  families: readonly AddressFamily[]
  receive: CodecSession
  send: CodecSession
  routeRefresh: boolean
  enhancedRefresh: boolean
  /** Both sides may keep routes over a NOTIFICATION (RFC 8538 §3). */
  notification: boolean
  gracefulRestart?: {
    restarting: boolean
    restartSeconds: number
    families: readonly AddressFamily[]
    forwarding: readonly AddressFamily[]
  }
  longLived?: readonly { family: AddressFamily; forwarding: boolean; staleSeconds: number }[]
}

/** Roles that may face each other (RFC 9234 §4.2). */
const COUNTERPART: Readonly<Record<Role, Role>> = {
  provider: 'customer',
  customer: 'provider',
  rs: 'rs-client',
  'rs-client': 'rs',
  peer: 'peer',
}

/** What kind of peer an AS is to us, and the AS we show it (RFC 5065 §3: the identifier outside the confederation). */
export function relation(
  speaker: SpeakerConfig,
  peer: PeerConfig,
  remoteAs: number,
): { peerType: PeerType; localAs: number } {
  const { asn, confederation } = speaker
  const localAs = peer.localAs ?? asn
  if (remoteAs === localAs) return { peerType: 'ibgp', localAs }
  if (confederation?.members.includes(remoteAs)) return { peerType: 'confed', localAs }
  return { peerType: 'ebgp', localAs: peer.localAs ?? confederation?.identifier ?? asn }
}

/** The OPEN to send. The peer's AS may be unknown then: 'external' counts as outside the confederation. */
export function ownOpen(side: LocalSide): Open {
  const { speaker, peer, families } = side
  const { localAs } = relation(speaker, peer, expectedAs(speaker, peer))
  return {
    asn: localAs,
    holdTime: peer.timers?.holdTimeSeconds ?? DEFAULT_HOLD_SECONDS,
    routerId: ipv4Number(speaker.routerId),
    capabilities: withoutWithheld(allCapabilities(side, localAs, families), side.withheld ?? NOTHING_WITHHELD),
  }
}

function allCapabilities(side: LocalSide, localAs: number, families: readonly AddressFamily[]): Capability[] {
  const { peer, restarting } = side
  const list: Capability[] = families.map(family => ({ type: 'multiprotocol', ...numbersOfFamily(family) }))
  list.push({ type: 'routeRefresh' }, { type: 'enhancedRouteRefresh' }, { type: 'extendedMessage' })
  list.push({ type: 'fourOctetAs', asn: localAs })
  if (peer.extendedNextHop && families.includes(BASE_FAMILY))
    list.push({ type: 'extendedNextHop', entries: [{ ...numbersOfFamily(BASE_FAMILY), nextHopAfi: AFI.ipv6 }] })
  if (peer.role !== undefined) list.push({ type: 'role', role: ROLE[peer.role] })
  const mode = (peer.addPath?.receive ? ADD_PATH.receive : 0) | (peer.addPath?.send ? ADD_PATH.send : 0)
  if (mode !== 0)
    list.push({ type: 'addPath', entries: families.map(family => ({ ...numbersOfFamily(family), mode })) })
  const graceful = peer.gracefulRestart
  if (graceful === false) return list
  // also without families: the capability then says that we keep the peer's routes (RFC 4724 §3)
  const forwarding =
    graceful === undefined ? [] : families.map(family => ({ ...numbersOfFamily(family), forwarding: true }))
  list.push({
    type: 'gracefulRestart',
    restarting: restarting && graceful !== undefined,
    notification: graceful?.notification ?? true,
    restartSeconds: graceful?.restartSeconds ?? 0,
    families: forwarding,
  })
  const staleSeconds = graceful?.longLivedSeconds
  if (staleSeconds !== undefined)
    list.push({ type: 'longLived', entries: forwarding.map(entry => ({ ...entry, staleSeconds })) })
  return list
}

/** The result of both OPENs, or the error to answer the peer's with (RFC 4271 §6.2, 6286, 9234). */
export function negotiate(side: LocalSide, theirs: Open): Negotiated | ProtocolError {
  const { speaker, peer } = side
  const ours = ownOpen(side)
  const refused = refusal(side, ours, theirs)
  if (refused !== undefined) return refused
  const { peerType, localAs } = relation(speaker, peer, theirs.asn)
  const holdSeconds = Math.min(ours.holdTime, theirs.holdTime)
  // ours may lack what the peer refused: a capability counts only when both have it
  const both = (type: Capability['type']) => last(ours, type) !== undefined && last(theirs, type) !== undefined
  const families = side.families.filter(family => announces(ours, family) && announces(theirs, family))
  const as4 = both('fourOctetAs')
  const extendedMessage = both('extendedMessage')
  const extendedNextHop =
    both('extendedNextHop') &&
    theirs.capabilities.some(
      c =>
        c.type === 'extendedNextHop' &&
        c.entries.some(e => familyOfNumbers(e.afi, e.safi)?.name === BASE_FAMILY && e.nextHopAfi === AFI.ipv6),
    )
  const codec = (ourMode: boolean, theirMode: number): CodecSession => ({
    as4,
    peerType,
    extendedNextHop,
    extendedMessage,
    addPath: addPathSwitches(family => ourMode && both('addPath') && (addPathMode(theirs, family) & theirMode) !== 0),
  })
  const restart = last(theirs, 'gracefulRestart')
  const ourRestart = last(ours, 'gracefulRestart')
  return {
    localAs,
    remoteAs: theirs.asn,
    peerType,
    routerId: theirs.routerId,
    holdSeconds,
    keepaliveSeconds: keepalive(holdSeconds, peer.timers?.keepaliveSeconds),
    families,
    receive: codec(peer.addPath?.receive === true, ADD_PATH.send),
    send: codec(peer.addPath?.send === true, ADD_PATH.receive),
    routeRefresh: theirs.capabilities.some(c => c.type === 'routeRefresh'),
    enhancedRefresh: both('enhancedRouteRefresh'),
    notification: restart?.notification === true && ourRestart?.notification === true,
    gracefulRestart:
      restart === undefined || ourRestart === undefined
        ? undefined
        : {
            restarting: restart.restarting,
            restartSeconds: restart.restartSeconds,
            families: carried(families, restart.families),
            forwarding: carried(
              families,
              restart.families.filter(f => f.forwarding),
            ),
          },
    longLived:
      restart === undefined || last(ours, 'longLived') === undefined
        ? undefined
        : last(theirs, 'longLived')?.entries.flatMap(({ afi, safi, forwarding, staleSeconds }) => {
            const family = familyOfNumbers(afi, safi)?.name
            return family !== undefined && families.includes(family) ? [{ family, forwarding, staleSeconds }] : []
          }),
  }
}

function refusal({ speaker, peer, families }: LocalSide, ours: Open, theirs: Open): ProtocolError | undefined {
  const bad = (subcode: number, detail: string, data?: Uint8Array) =>
    new ProtocolError(ERROR.open, subcode, data, detail)
  const own = peer.localAs ?? speaker.asn
  const wanted =
    peer.asn === 'external'
      ? theirs.asn !== own
      : peer.asn === 'internal'
        ? theirs.asn === own
        : theirs.asn === peer.asn
  if (!wanted) {
    const expected = typeof peer.asn === 'number' ? `${peer.asn}` : peer.asn === 'internal' ? `${own}` : `not ${own}`
    return bad(OPEN_ERROR.peerAs, `the peer is AS ${theirs.asn}, the configuration expects ${expected}`)
  }
  // RFC 6286 §2.2: identifiers need to be unique within an AS only
  if (theirs.routerId === ours.routerId && theirs.asn === own)
    return bad(OPEN_ERROR.identifier, `the peer has our own identifier ${speaker.routerId}`)
  if (!families.some(family => announces(ours, family) && announces(theirs, family))) {
    const names = families.join(', ')
    return bad(OPEN_ERROR.capability, `the peer announced none of our families (${names})`, familyData(families))
  }
  const { peerType } = relation(speaker, peer, theirs.asn)
  const roles = new Set(theirs.capabilities.flatMap(c => (c.type === 'role' ? [c.role] : [])))
  if (peerType !== 'ebgp' || peer.role === undefined) return undefined
  if (roles.size === 0)
    return peer.strictRole ? bad(OPEN_ERROR.roleMismatch, `the peer has no role, ours is ${peer.role}`) : undefined
  const fits = roles.size === 1 && roles.has(ROLE[COUNTERPART[peer.role]])
  return fits
    ? undefined
    : bad(OPEN_ERROR.roleMismatch, `our role is ${peer.role}, the peer's ${[...roles].map(roleName).join(' and ')}`)
}

/** The data of Unsupported Capability (RFC 5492 §5): the capabilities that we miss. */
function familyData(families: readonly AddressFamily[]): Uint8Array {
  return Uint8Array.from(
    families.flatMap(family => [1, 4, 0, numbersOfFamily(family).afi, 0, numbersOfFamily(family).safi]),
  )
}

function expectedAs(speaker: SpeakerConfig, peer: PeerConfig): number {
  if (typeof peer.asn === 'number') return peer.asn
  // 0 equals no AS: neither ours nor a member of the confederation
  return peer.asn === 'internal' ? (peer.localAs ?? speaker.asn) : 0
}

/** A peer without the multiprotocol capability speaks IPv4 unicast and nothing else (RFC 4760 §8). */
function announces(open: Open, family: AddressFamily): boolean {
  const { afi, safi } = numbersOfFamily(family)
  const all = open.capabilities.filter(c => c.type === 'multiprotocol')
  return all.length === 0 ? family === BASE_FAMILY : all.some(c => c.afi === afi && c.safi === safi)
}

function addPathMode(open: Open, family: AddressFamily): number {
  const { afi, safi } = numbersOfFamily(family)
  // the last entry of a family counts (RFC 7911 §4)
  return last(open, 'addPath')?.entries.findLast(e => e.afi === afi && e.safi === safi)?.mode ?? 0
}

function carried(families: readonly AddressFamily[], list: readonly { afi: number; safi: number }[]): AddressFamily[] {
  return families.filter(family =>
    list.some(e => e.afi === numbersOfFamily(family).afi && e.safi === numbersOfFamily(family).safi),
  )
}

function last<T extends Capability['type']>(open: Open, type: T): Extract<Capability, { type: T }> | undefined {
  return open.capabilities.findLast((c): c is Extract<Capability, { type: T }> => c.type === type)
}

function keepalive(holdSeconds: number, configured: number | undefined): number {
  if (holdSeconds === 0) return 0
  const third = Math.max(1, Math.floor(holdSeconds / 3))
  return configured === undefined || configured === 0 ? third : Math.min(configured, third)
}

function roleName(role: number): string {
  return Object.entries(ROLE).find(([, value]) => value === role)?.[0] ?? `${role}`
}
