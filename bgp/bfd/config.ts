// What is configured for a BFD session, what of it is refused, and what a session shows of itself.
import { familyOf, isHostAddress, isLinkLocal, parseAddress } from '../../lib/ip.ts'
import { type Authentication, type AuthenticationFault, secretOctets } from './authentication.ts'
import { type BfdState, type Diagnostic, HASH_LENGTH, type PacketFault } from './packet.ts'
import type { Hops } from './port.ts'
import type { BfdRules } from './state.ts'

export type BfdSessionConfig = {
  /** The neighbour's address, and ours that it knows us by; canonical. */
  peer: string
  local: string
  /** The link, for a session over one; with link-local addresses it has to be named. */
  interface?: string
  /**
   * Absent: the neighbour is on a link (RFC 5881), and packets that passed a router are dropped. Otherwise it is any number of
   * routers away (RFC 5883), and packets are dropped that arrive with a TTL below `minTtl`, 1-255: 255 less the routers
   * between, for a neighbour that sends with 255. BIRD sends with 64.
   */
  multihop?: { minTtl: number }
  /** Waits for the neighbour's first packet (RFC 5880 §6.1). Default false. */
  passive?: boolean
  /** How often we would like to send while Up, 50-60000 ms. Default 300. */
  desiredMinTxMs?: number
  /** How often we take packets at most, 50-60000 ms. Default 300. */
  requiredMinRxMs?: number
  /** How many of our packets the neighbour has to miss in a row, 1-255. Default 3. */
  multiplier?: number
  /** RFC 5880 §6.7. Absent: packets with authentication are dropped. */
  authentication?: Authentication
}

/** Why a packet was dropped. */
export type DropReason =
  | PacketFault
  | AuthenticationFault
  /** The discriminator is none of ours. */
  | 'unknown-discriminator'
  /** A first packet from an address, or to one, or over a link, that no session is configured with. */
  | 'no-session'
  /** It came to the port of the other kind of session. */
  | 'wrong-port'
  /** It came from further away than the session allows (RFC 5082). */
  | 'low-ttl'

/** What the neighbour said last. */
export type RemoteStatus = {
  state: BfdState
  diagnostic: Diagnostic
  /** 0: not heard of for a detection time. */
  discriminator: number
  /** Its BFD goes on while its control plane restarts (RFC 5882 §4.3). */
  controlPlaneIndependent: boolean
  demand: boolean
}

export type BfdSessionStatus = {
  name: string
  state: BfdState
  /** Why it went down last. */
  diagnostic: Diagnostic
  discriminator: number
  remote: RemoteStatus
  /** What is agreed now, before jitter; milliseconds. */
  transmitIntervalMs: number
  detectionTimeMs: number
  /** Packets that went out, that were taken, and that were dropped for what is wrong with them. */
  sent: number
  received: number
  dropped: Partial<Record<DropReason, number>>
  /** How often it came Up, and how often it was lost while Up. */
  ups: number
  losses: number
  /** Why packets cannot be sent or received at this moment. */
  fault?: string
}

/** How soon a thread gets a processor: before others of the machine, before others of its group, or in turn with them. */
export type Scheduling = 'real-time' | 'raised' | 'usual'

export type BfdStatus = {
  /** Of the thread that all sessions are in. */
  scheduling: Scheduling
  sessions: BfdSessionStatus[]
  /** Packets that belong to no session. */
  dropped: Partial<Record<DropReason, number>>
}

/** A session came into another state. */
export type BfdChange = {
  name: string
  from: BfdState
  to: BfdState
  /** Why it went down last. */
  diagnostic: Diagnostic
  remote: RemoteStatus
  /** It was Up, and the neighbour has begun another session since: it, or its BFD, has started anew. */
  neighborRestarted: boolean
  /** How long nothing may come from the neighbour before it is given up, as agreed until now. */
  detectionTimeMs: number
  /** When it was so in the thread, in ms since 1970: a client that is busy hears of it later. */
  atMs: number
}

const LEAST_MS = 50
const MOST_MS = 60_000

/** What is wrong with a configuration, for people; undefined: nothing. */
export function configFault(config: BfdSessionConfig): string | undefined {
  const { peer, local, multihop, multiplier = 1, authentication } = config
  for (const [what, address] of Object.entries({ peer, local }))
    if (parseAddress(address) !== address || !isHostAddress(address))
      return `${what} ${address} is no address of a host`
  if (familyOf(peer) !== familyOf(local)) return `peer ${peer} and local ${local} are of two address families`
  if (config.interface === undefined && (isLinkLocal(peer) || isLinkLocal(local)))
    return `peer ${peer} is link-local: name the interface`
  if (multihop !== undefined) {
    if (config.interface !== undefined) return 'a multihop session is bound to no interface'
    if (!isWhole(multihop.minTtl, 1, 255)) return `minTtl ${multihop.minTtl} is not 1-255`
  }
  for (const name of ['desiredMinTxMs', 'requiredMinRxMs'] as const)
    if (!isWhole(config[name] ?? LEAST_MS, LEAST_MS, MOST_MS))
      return `${name} ${config[name]} is not ${LEAST_MS}-${MOST_MS}`
  if (!isWhole(multiplier, 1, 255)) return `multiplier ${multiplier} is not 1-255`
  return authentication === undefined ? undefined : authenticationConfigFault(authentication)
}

/** A key itself is never in the text. */
function authenticationConfigFault({ type, keys }: Authentication): string | undefined {
  if (type !== 'sha1' && type !== 'meticulous-sha1') return 'authentication is sha1 or meticulous-sha1'
  if (keys.length === 0) return 'authentication has no key'
  if (new Set(keys.map(({ id }) => id)).size < keys.length) return 'two keys of authentication have one id'
  for (const { id, secret } of keys) {
    if (!isWhole(id, 0, 255)) return `the key id ${id} is not 0-255`
    const { length } = secretOctets(secret)
    if (length < 1 || length > HASH_LENGTH) return `the secret of key ${id} has ${length} octets, not 1-${HASH_LENGTH}`
  }
  return undefined
}

function isWhole(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most
}

/** What the state machine needs of a configuration. */
export function rulesOf({
  desiredMinTxMs = 300,
  requiredMinRxMs = 300,
  multiplier = 3,
  passive = false,
}: BfdSessionConfig): BfdRules {
  return { desiredMinTxUs: desiredMinTxMs * 1000, requiredMinRxUs: requiredMinRxMs * 1000, multiplier, passive }
}

export function hopsOf({ multihop }: BfdSessionConfig): Hops {
  return multihop === undefined ? 'single' : 'multi'
}

/** What a neighbour's first packet is told by, and no two sessions have (RFC 5881 §3, RFC 5883 §3). */
export function pathOf(config: BfdSessionConfig): string {
  const link = config.interface === undefined ? '' : ` ${config.interface}`
  return `${hopsOf(config)} ${config.local} ${config.peer}${link}`
}
