// The BFD sessions of one speaker's peers. Peers whose sessions take one path share its BFD session (RFC 5882 §4.4): it goes by
// the times of the one that wants to know first, and with a key where one of them has a key. What a peer watches changes without an end of its BGP session.
import type { Clock } from '../lib/clock.ts'
import { contains, isLinkLocal } from '../lib/ip.ts'
import { type BfdChange, type BfdSessionConfig, hopsOf, pathOf } from './bfd/config.ts'
import { BfdError } from './bfd/error.ts'
import type { PeerBfdStatus, PeerConfig } from './config.ts'
import type { BfdPort, LocalAddress } from './port.ts'

/** Default times: noticed in 900 ms. */
const INTERVAL_MS = 300
const MULTIPLIER = 3

type Watcher = { config: BfdSessionConfig; changed: (change: BfdChange) => void }

type Path = {
  readonly watchers: Map<string, Watcher>
  status: PeerBfdStatus
}

export class BfdPaths {
  readonly #port: BfdPort | undefined
  readonly #clock: Clock
  readonly #paths = new Map<string, Path>()
  /** The path that each peer watches. */
  readonly #watched = new Map<string, string>()
  readonly #stopHearing: () => void

  constructor(port: BfdPort | undefined, clock: Clock) {
    this.#port = port
    this.#clock = clock
    this.#stopHearing = port?.onChange(change => this.#hear(change)) ?? (() => undefined)
  }

  /** What a peer watches from now on; undefined: nothing. `changed` is called with every change of the session's state. */
  watch(peer: string, config: BfdSessionConfig | undefined, changed: Watcher['changed']): void {
    const before = this.#watched.get(peer)
    const key = config && pathOf(config)
    if (before !== undefined && before !== key) this.#leave(peer, before)
    if (config === undefined || key === undefined) return
    let path = this.#paths.get(key)
    if (path === undefined) {
      path = { watchers: new Map(), status: newStatus(config, this.#clock.wallMs()) }
      this.#paths.set(key, path)
    }
    path.watchers.set(peer, { config, changed })
    this.#watched.set(peer, key)
    this.#set(key, path)
  }

  /** The session that a peer watches. */
  status(peer: string): PeerBfdStatus | undefined {
    const key = this.#watched.get(peer)
    return key === undefined ? undefined : this.#paths.get(key)?.status
  }

  /** Hears nothing more. The sessions of peers that still watch stay. */
  close(): void {
    this.#stopHearing()
  }

  #leave(peer: string, key: string): void {
    const path = this.#paths.get(key)!
    this.#watched.delete(peer)
    path.watchers.delete(peer)
    if (path.watchers.size > 0) {
      this.#set(key, path)
      return
    }
    this.#paths.delete(key)
    this.#port?.removeSession(key)
  }

  #set(key: string, path: Path): void {
    const byName = [...path.watchers].sort(([a], [b]) => (a < b ? -1 : 1))
    const configs = byName.map(([, { config }]) => config).sort((a, b) => detectionMs(a) - detectionMs(b))
    const { authentication } = configs.find(config => config.authentication !== undefined) ?? {}
    try {
      this.#port?.setSession(key, { ...configs[0]!, authentication })
      path.status = { ...path.status, fault: undefined }
    } catch (error) {
      if (!(error instanceof BfdError)) throw error
      path.status = { ...path.status, fault: error.message }
    }
  }

  #hear(change: BfdChange): void {
    const { name, from, to, diagnostic } = change
    const path = this.#paths.get(name)
    if (path === undefined) return
    const lost = from === 'Up' && to === 'Down' ? 1 : 0
    const losses = path.status.losses + lost
    path.status = { ...path.status, state: to, diagnostic, losses, sinceMs: this.#clock.wallMs() }
    for (const { changed } of [...path.watchers.values()]) changed(change)
  }
}

function newStatus(config: BfdSessionConfig, sinceMs: number): PeerBfdStatus {
  const { local } = config
  return { hops: hopsOf(config), local, state: 'Down', diagnostic: 'none', losses: 0, sinceMs }
}

function detectionMs({ requiredMinRxMs = INTERVAL_MS, multiplier = MULTIPLIER }: BfdSessionConfig): number {
  return requiredMinRxMs * multiplier
}

/** The ends of a BGP session as far as they are known: `local` and `interface` once there is a connection. */
export type PathEnds = { peer: string; local?: string; interface?: string }

/**
 * The BFD session for a peer; undefined: it asks for none, or our address is not known before there is a connection. `addresses` are
 * those of this host: a peer in the network of one is a neighbour on that link (RFC 5881), any other one is behind routers (RFC
 * 5883), and so is one whose configuration says so.
 */
export function bfdSessionOf(
  { bfd, source, ttlSecurity = 255 }: PeerConfig,
  { peer, local, interface: link }: PathEnds,
  addresses: readonly LocalAddress[],
): BfdSessionConfig | undefined {
  if (bfd === undefined) return undefined
  const near = isLinkLocal(peer)
    ? addresses.find(each => each.interface === link && isLinkLocal(each.address))
    : addresses.find(({ cidr }) => contains(cidr, peer))
  const own = source ?? local ?? near?.address
  if (own === undefined) return undefined
  const { intervalMs = INTERVAL_MS, multiplier = MULTIPLIER, multihop = false, authentication } = bfd
  const times = { desiredMinTxMs: intervalMs, requiredMinRxMs: intervalMs, multiplier }
  const ends = { peer, local: own, ...times, authentication }
  if (isLinkLocal(peer)) return { ...ends, interface: link }
  return near !== undefined && !multihop ? ends : { ...ends, multihop: { minTtl: 256 - ttlSecurity } }
}
