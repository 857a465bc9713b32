// What `margay-bgp` does between its start and its end: one speaker kept equal to a configuration file, and a control
// socket to ask it. Reloading resets only the sessions that the change forces to reset, and says so first.
import { createReadStream, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { BfdStatus } from '../bgp/bfd/config.ts'
import { nameOf } from '../bgp/config.ts'
import { parseConfigFile } from '../bgp/file/config-file.ts'
import type { ConfigFile } from '../bgp/file/types.ts'
import { loadMrt, MrtError } from '../bgp/mrt/load.ts'
import type { Discover, Listener, Transport } from '../bgp/port.ts'
import { Speaker } from '../bgp/speaker.ts'
import type { Kernel, MonitoredRoutes } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL } from '../kernel/port/routes.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { formatSocketAddress, type SocketAddress } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { BfdOnDemand } from './bfd-on-demand.ts'
import { BadRequest, controlRoutes } from './bgp-control.ts'
import { BgpMonitors } from './bgp-monitors.ts'
import { type Reloaded, reloadPlan } from './bgp-reload.ts'
import { whenConverged } from './convergence.ts'
import { KernelSink } from './kernel-sink.ts'
import { announcedNextHops, heardBy } from './next-hop-feed.ts'
import { type NextHopStatus, NextHopTracker } from './next-hop-tracker.ts'
import { type AgentSocket, serveSocket } from './socket/server.ts'
import { SessionLog } from './status/session-log.ts'

/** `openKernel` is called where the file has routes written, or next hops looked up. */
export type DaemonDeps = {
  transport: Transport
  openKernel(options?: MonitoredRoutes): Kernel
  /** Finds unnumbered neighbours. */
  discover: Discover
  bfd: BfdOnDemand
  log: Log
  clock?: Clock
}

/** For collectors and clients to take what is on its way. */
const FINISH_MS = 100

export class BgpDaemon {
  readonly #path: string
  readonly #deps: DaemonDeps
  #file: ConfigFile
  readonly #speaker: Speaker
  readonly #sessions: SessionLog
  readonly #listeners = new Map<string, Listener>()
  readonly #sink: KernelSink | undefined
  readonly #tracker: NextHopTracker | undefined
  readonly #monitors: BgpMonitors
  readonly #stopping = new AbortController()
  #socket: AgentSocket | undefined

  /** Reads the file at `path`. Throws `ConfigError` when it cannot be used. */
  constructor(path: string, deps: DaemonDeps) {
    this.#path = path
    this.#deps = deps
    this.#file = parseConfigFile(readFileSync(path, 'utf8'))
    const { transport, openKernel, discover, bfd, log, clock = systemClock } = deps
    const { speaker, kernel, nextHops } = this.#file
    const nextHopsTracked = nextHops !== 'none'
    // one kernel for both: what it tells is read once
    const routing = kernel === 'none' ? undefined : openKernel({ ownRoutes: 'untold' })
    const written = (prefixes: readonly string[] | 'unknown') => this.#tracker?.written(prefixes)
    const sink =
      routing === undefined || kernel === 'none'
        ? undefined
        : new KernelSink(routing, kernel, log, { clock, nextHopsTracked, written })
    const protocol = kernel === 'none' ? undefined : kernel.protocol
    this.#sink = sink
    this.#tracker = nextHopsTracked
      ? new NextHopTracker({
          ...{
            kernel: routing ?? openKernel(),
            protocol: protocol ?? ROUTE_PROTOCOL.margayBgp,
            ...nextHops,
            log,
            clock,
          },
          selectedPaths: prefix => sink?.selectedPaths(prefix),
          announced: prefix => announcedNextHops(this.#speaker.explain(prefix)),
          moved: (nextHop, link) => sink?.nextHopMoved(nextHop, link),
        })
      : undefined
    const tracker = this.#tracker
    const restarting = this.#wasRunning()
    this.#speaker = new Speaker(speaker, {
      ...{ transport, discover, bfd, log, restarting },
      sink: sink && tracker ? heardBy(tracker, sink) : sink,
      nextHops: tracker,
    })
    this.#speaker.setDraining(this.#file.drain)
    this.#monitors = new BgpMonitors({ speaker: this.#speaker, transport, log })
    this.#sessions = new SessionLog({ clock, log })
    this.#speaker.onChange(status => this.#sessions.note(status))
    this.#speaker.onForgotten(name => this.#sessions.forget(name))
    if (sink !== undefined) whenConverged(this.#speaker, { clock, restarting }, () => sink.allowDeletes())
  }

  /** Aborted when the program is asked to end. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  get monitors(): BgpMonitors {
    return this.#monitors
  }

  /** The next hops that paths have. */
  nextHops(): NextHopStatus[] {
    return this.#tracker?.status() ?? []
  }

  /** All BFD sessions with their counters. */
  bfdStatus(): Promise<BfdStatus> {
    return this.#deps.bfd.status()
  }

  get speaker(): Speaker {
    return this.#speaker
  }

  /** Serves the control socket, listens, and starts every peer. */
  async start(): Promise<void> {
    const { control, listen, peers, networks, bmp } = this.#file
    if (control !== undefined) this.#socket = await serveSocket(control, controlRoutes(this), this.#deps.log)
    this.#mark()
    for (const network of networks) this.#speaker.announce(network)
    for (const peer of peers) this.#speaker.setPeer(peer)
    for (const endpoint of listen) await this.#listen(endpoint)
    this.#monitors.want(bmp)
    void this.#loadTable()
  }

  /** Reads the file again and applies it, or with `dryRun` only tells what that would do. Throws `ConfigError`. */
  async reload({ dryRun = false }: { dryRun?: boolean } = {}): Promise<Reloaded> {
    const next = parseConfigFile(readFileSync(this.#path, 'utf8'))
    const old = this.#file
    // of the speaker's own this one can change while it runs
    const { multipath } = next.speaker
    const fixed = ({ speaker, control, kernel, nextHops, mrt }: ConfigFile) => {
      const { multipath: _, ...others } = speaker
      return { speaker: others, control, kernel, nextHops, mrt }
    }
    for (const field of ['speaker', 'control', 'kernel', 'nextHops', 'mrt'] as const)
      if (!isDeepStrictEqual(fixed(old)[field], fixed(next)[field]))
        throw new BadRequest(
          `${field === 'speaker' ? 'asn, routerId and their like' : field} cannot change while the program runs: restart it`,
        )
    const plan = reloadPlan(old, next, this.#speaker)
    if (dryRun) return plan
    for (const { peer, because } of plan.resets) this.#deps.log.warn({ peer, because }, 'reload resets this session')
    this.#file = next
    this.#speaker.setMultipath(multipath)
    for (const name of plan.removed) {
      this.#speaker.removePeer(name)
      this.#sessions.forget(name)
    }
    for (const peer of next.peers)
      if (plan.added.includes(nameOf(peer)) || plan.changed.includes(nameOf(peer))) this.#speaker.setPeer(peer)
    this.#speaker.setDraining(next.drain)
    for (const prefix of plan.networks.withdrawn) this.#speaker.withdraw(prefix)
    for (const network of next.networks)
      if (plan.networks.announced.includes(network.prefix)) this.#speaker.announce(network)
    const wanted = new Set(next.listen.map(formatSocketAddress))
    for (const [key, listener] of this.#listeners)
      if (!wanted.has(key)) {
        this.#listeners.delete(key)
        await listener.close()
      }
    for (const endpoint of next.listen)
      if (!this.#listeners.has(formatSocketAddress(endpoint))) await this.#listen(endpoint)
    this.#monitors.want(next.bmp)
    return plan
  }

  /**
   * Ends everything, in under 300 ms whatever peers, collectors and clients do, and never in the middle of a write to the
   * kernel. Peers with graceful restart see only their connection end and keep our routes; the others hear
   * Cease/Administrative Shutdown.
   */
  async stop(): Promise<void> {
    this.#stopping.abort()
    const graceful = this.#file.peers.some(peer => peer.gracefulRestart)
    const speaker = this.#speaker.close({ graceful: true })
    this.#monitors.close()
    this.#tracker?.close()
    if (!graceful) this.#unmark()
    await Promise.all([
      // what it asked of BFD is asked by now
      speaker,
      this.#deps.bfd.close(),
      this.#deps.transport.finish?.(FINISH_MS),
      this.#sink?.close(),
      this.#socket?.close(FINISH_MS),
    ])
  }

  /** Reads the table dump that the file names, beside everything else; a fault in it ends only the reading. */
  async #loadTable(): Promise<void> {
    const { mrt } = this.#file
    if (mrt === undefined) return
    const { load: file, ...options } = mrt
    const log = this.#deps.log.child({ file })
    log.info('reading routes from MRT')
    try {
      const chunks: AsyncIterable<Buffer> = createReadStream(file)
      const loaded = await loadMrt(this.#speaker, chunks, { ...options, log, signal: this.#stopping.signal })
      log.info(loaded, 'all routes are read from MRT')
    } catch (error) {
      // the file is no dump, or the file system refused it (its errors have a code)
      if (!(error instanceof MrtError) && !(error instanceof Error && 'code' in error)) throw error
      log.error({ detail: error.message }, 'the MRT file cannot be read, or not to its end; what was read stays')
    }
  }

  async #listen(endpoint: SocketAddress): Promise<void> {
    this.#listeners.set(formatSocketAddress(endpoint), await this.#speaker.listen(endpoint))
  }

  /** The mark file is left by a process that did not end its sessions with a Cease: peers may still hold our routes. */
  #marker(): string | undefined {
    const { control } = this.#file
    return control === undefined ? undefined : `${control}.running`
  }

  #wasRunning(): boolean {
    const marker = this.#marker()
    return marker !== undefined && existsSync(marker) && this.#file.peers.some(peer => peer.gracefulRestart)
  }

  #mark(): void {
    const marker = this.#marker()
    if (marker === undefined) return
    mkdirSync(dirname(marker), { recursive: true })
    rmSync(marker, { force: true }) // a symbolic link too: what it leads to is not written
    writeFileSync(marker, `${process.pid}\n`, { flag: 'wx', mode: 0o600 })
  }

  #unmark(): void {
    const marker = this.#marker()
    if (marker !== undefined) rmSync(marker, { force: true })
  }
}
