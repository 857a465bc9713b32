// All BFD sessions of a host: which one a datagram is for (RFC 5880 §6.3, RFC 5881 §3 and §5, RFC 5883 §3-5), their
// discriminators, their sockets, and how one ends so that its neighbour does not take it for a failure.
import type { Cancel, Clock } from '../../lib/clock.ts'
import { type Family, familyOf, formatAddress } from '../../lib/ip.ts'
import { type BfdChange, type BfdSessionConfig, type BfdStatus, type DropReason, hopsOf, pathOf } from './config.ts'
import { type ControlPacket, parsePacket } from './packet.ts'
import { BFD_PORTS, type BfdReceiver, type BfdSockets, type Datagram, type Hops } from './port.ts'
import { Session } from './session.ts'

/** A port that somebody else has is tried again so often. */
const RETRY_MS = 1000
/** What a packet over a link arrives with: no router has passed it on (RFC 5881 §5). */
const LINK_TTL = 255

export type SessionsDeps = {
  clock: Clock
  random32: () => number
  sockets: BfdSockets
  changed: (change: BfdChange) => void
}

/** A port of one family, from its first session to its last. */
type Listening = { sessions: number; receiver?: BfdReceiver; fault?: string; retry?: Cancel }

export class Sessions {
  readonly #deps: SessionsDeps
  readonly #byName = new Map<string, Session>()
  /** Those that were removed, and still tell their neighbour so. */
  readonly #leaving = new Map<Session, Cancel>()
  readonly #byDiscriminator = new Map<number, Session>()
  readonly #byPath = new Map<string, Session>()
  readonly #listening = new Map<string, Listening>()
  readonly #dropped: Partial<Record<DropReason, number>> = {}

  constructor(deps: SessionsDeps) {
    this.#deps = deps
  }

  /**
   * Begins a session, or changes one, which goes on where only intervals, keys or TTL change. Of another session of the
   * same path nothing is left.
   */
  set(name: string, config: BfdSessionConfig): void {
    const path = pathOf(config)
    const present = this.#byName.get(name)
    if (present !== undefined && pathOf(present.config) === path) {
      present.configure(config)
      return
    }
    this.remove(name)
    const predecessor = this.#byPath.get(path)
    if (predecessor !== undefined) this.#end(predecessor)
    this.#begin(name, config, path)
  }

  /** Ends a session. Its neighbour is told for a detection time (RFC 5880 §6.8.16). Nothing when there is none. */
  remove(name: string): void {
    const session = this.#byName.get(name)
    if (session === undefined) return
    this.#byName.delete(name)
    session.disable()
    const { lingerMs } = session
    if (lingerMs === 0) this.#end(session)
    else
      this.#leaving.set(
        session,
        this.#deps.clock.after(lingerMs, () => this.#end(session)),
      )
  }

  /** Takes a session down for administrative reasons, or lets it come up again. Nothing when there is none. */
  disable(name: string): void {
    this.#byName.get(name)?.disable()
  }

  enable(name: string): void {
    this.#byName.get(name)?.enable()
  }

  status(): Omit<BfdStatus, 'scheduling'> {
    const sessions = [...this.#byName.values()].map(session => {
      const status = session.status()
      const { fault } = this.#listening.get(keyOf(session.config)) ?? {}
      return fault === undefined ? status : { ...status, fault }
    })
    return { sessions, dropped: { ...this.#dropped } }
  }

  /** Tells every neighbour once that its session ends, and ends all. */
  close(): void {
    for (const session of this.#byName.values()) session.disable()
    for (const session of [...this.#byName.values(), ...this.#leaving.keys()]) this.#end(session)
  }

  #begin(name: string, config: BfdSessionConfig, path: string): void {
    const { clock, random32, sockets, changed } = this.#deps
    const { local, peer } = config
    const to = { local, peer, port: BFD_PORTS[hopsOf(config)], interface: config.interface }
    const session: Session = new Session(name, config, this.#newDiscriminator(), {
      clock,
      random32,
      sender: () => sockets.sender(to),
      drain: () => this.#drain(),
      // of one that was removed nobody wants to hear
      changed: change => {
        if (this.#byName.get(name) === session) changed(change)
      },
    })
    this.#byName.set(name, session)
    this.#byDiscriminator.set(session.discriminator, session)
    this.#byPath.set(path, session)
    this.#listen(config)
    session.start()
  }

  #end(session: Session): void {
    session.close()
    this.#leaving.get(session)?.()
    this.#leaving.delete(session)
    this.#byDiscriminator.delete(session.discriminator)
    if (this.#byName.get(session.name) === session) this.#byName.delete(session.name)
    const path = pathOf(session.config)
    if (this.#byPath.get(path) === session) this.#byPath.delete(path)
    const key = keyOf(session.config)
    const listening = this.#listening.get(key)!
    if (--listening.sessions > 0) return
    listening.receiver?.close()
    listening.retry?.()
    this.#listening.delete(key)
  }

  /** Random, so that nobody can guess it; unique; never 0 (RFC 5880 §6.8.1). */
  #newDiscriminator(): number {
    for (;;) {
      const discriminator = this.#deps.random32()
      if (discriminator !== 0 && !this.#byDiscriminator.has(discriminator)) return discriminator
    }
  }

  #listen(config: BfdSessionConfig): void {
    const key = keyOf(config)
    const present = this.#listening.get(key)
    if (present !== undefined) {
      present.sessions++
      return
    }
    const listening: Listening = { sessions: 1 }
    this.#listening.set(key, listening)
    this.#open(listening, familyOf(config.local), hopsOf(config))
  }

  #open(listening: Listening, family: Family, hops: Hops): void {
    try {
      listening.receiver = this.#deps.sockets.receiver(family, BFD_PORTS[hops], datagram => this.#take(hops, datagram))
      listening.fault = undefined
    } catch (error) {
      if (!(error instanceof Error && 'code' in error)) throw error
      listening.fault = error.message
      listening.retry = this.#deps.clock.after(RETRY_MS, () => this.#open(listening, family, hops))
    }
  }

  #drain(): void {
    for (const { receiver } of this.#listening.values()) receiver?.drain()
  }

  #take(hops: Hops, datagram: Datagram): void {
    // what passed a router is not worth a look at its content
    const packet = hops === 'single' && datagram.ttl !== LINK_TTL ? 'low-ttl' : parsePacket(datagram.bytes)
    if (typeof packet === 'string') {
      this.#drop(packet)
      return
    }
    const session = this.#sessionOf(hops, packet, datagram)
    if (session === undefined) {
      this.#drop(packet.yourDiscriminator === 0 ? 'no-session' : 'unknown-discriminator')
      return
    }
    const { multihop } = session.config
    if (hopsOf(session.config) !== hops) session.drop('wrong-port')
    else if (multihop !== undefined && datagram.ttl < multihop.minTtl) session.drop('low-ttl')
    else session.receive(packet, datagram.bytes)
  }

  /** Once the neighbour knows our discriminator that alone counts: it may answer from another address, over another link. */
  #sessionOf(hops: Hops, { yourDiscriminator }: ControlPacket, datagram: Datagram): Session | undefined {
    if (yourDiscriminator !== 0) return this.#byDiscriminator.get(yourDiscriminator)
    const ends = `${formatAddress(datagram.destination)} ${formatAddress(datagram.source)}`
    const anywhere = this.#byPath.get(`${hops} ${ends}`)
    if (anywhere !== undefined || hops === 'multi') return anywhere
    const name = this.#deps.sockets.interfaceName(datagram.interfaceIndex)
    return this.#byPath.get(`${hops} ${ends} ${name}`)
  }

  #drop(reason: DropReason): void {
    this.#dropped[reason] = (this.#dropped[reason] ?? 0) + 1
  }
}

/** Sessions of one key share a socket to receive with. */
function keyOf(config: BfdSessionConfig): string {
  return `${hopsOf(config)} ${familyOf(config.local)}`
}
