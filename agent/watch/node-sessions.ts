// Sessions with other nodes that stay down, or by which nothing comes any more, and why: what the speaker knows is how its own dials end, and that alone blames the wrong one.
// A few packets for each, and only while it is down: more seldom the longer that is, since all nodes of a LAN ask after one that is off.
import type { Condition } from '../../api/status.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { NOWHERE, type Route } from '../../kernel/port/routes.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import type { LinkAsker } from './link-asker.ts'
import { type SessionFacts, sessionIll } from './session-causes.ts'

/** Resolves to whether an address answers ICMP echo soon; undefined where nothing could be sent. */
export type Ping = (address: string) => Promise<boolean | undefined>

type Session = Pick<PeerStatus, 'name' | 'address' | 'state' | 'reason' | 'lastReceivedMs' | 'holdTimeSeconds'> & {
  node: string
}

export type NodeSessionsDeps = {
  kernel: Pick<Kernel, 'lookupRoute' | 'link' | 'neighbour'>
  clock: Clock
  /** Absent: the link is not asked. */
  asker: Pick<LinkAsker, 'who'> | undefined
  ping: Ping
  /** Of sessions with other nodes alone, with the node's name. */
  sessions: () => readonly Session[]
  /** Whether a neighbour entry of another program is known to be wrong. */
  isWrong: (ifindex: number, address: string) => boolean
  /** The source of this node's packets to an address. */
  sourceTo: (address: string) => string | undefined
  report: (conditions: readonly Condition[]) => void
}

const LOOK_MS = 5000
/** An agent that restarts is back before. */
const GRACE_MS = 10_000
/** Of more that are down at once, those that have been so for longest are looked into: they have few causes. */
const MOST = 20
/** One is looked into again when it has been down for half as long again, or when the speaker says another reason; at the latest after this. */
const MOST_AGAIN_MS = 60_000
/** Keepalives come three times in a hold time (RFC 4271 §4.4): two were lost. */
const SILENT = 0.7
const LATE_MS = 2000
const BGP = { protocol: 6, destinationPort: 179 } as const

type Found = { facts: SessionFacts; againMs: number }

export class NodeSessions {
  readonly #deps: NodeSessionsDeps
  /** Since when each session is seen to be down, on the monotonic clock. */
  #downMs = new Map<string, number>()
  /** What was found of each that is looked into. */
  #found = new Map<string, Found>()
  #told = false
  #dueMs = Number.POSITIVE_INFINITY
  #closed = false
  #cancel: Cancel = () => undefined

  constructor(deps: NodeSessionsDeps) {
    this.#deps = deps
  }

  start(): void {
    void this.#look()
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  async #look(): Promise<void> {
    const { clock, sessions, report } = this.#deps
    const nowMs = clock.monotonicMs()
    // who stood still has not read yet what came meanwhile
    const isLate = nowMs - this.#dueMs > LATE_MS
    const all = sessions()
    const down = all.filter(({ state }) => state !== 'Established')
    this.#downMs = new Map(down.map(({ name }) => [name, this.#downMs.get(name) ?? nowMs]))
    const sinceMs = ({ name }: Session) => this.#downMs.get(name)!
    const long = down.filter(each => nowMs - sinceMs(each) >= GRACE_MS).sort((a, b) => sinceMs(a) - sinceMs(b))
    const silent = isLate ? [] : all.filter(each => this.#silence(each) !== undefined)
    const found = await Promise.all([...long, ...silent].slice(0, MOST).map(each => this.#lookInto(each, nowMs)))
    if (this.#closed) return
    this.#found = new Map(found.map(each => [each.facts.session, each]))
    // meanwhile some may have come up, or been heard again
    const ill = new Set(sessions().flatMap(each => (this.#isIll(each) ? [each.name] : [])))
    const conditions = found.flatMap(({ facts }) => (ill.has(facts.session) ? [sessionIll(facts)] : []))
    if (conditions.length > 0 || this.#told) report(conditions)
    this.#told = conditions.length > 0
    this.#dueMs = clock.monotonicMs() + LOOK_MS
    this.#cancel = clock.after(LOOK_MS, () => void this.#look())
  }

  #isIll(session: Session): boolean {
    return session.state !== 'Established' || this.#silence(session) !== undefined
  }

  /** Of a session that is up: for how long nothing has come, where that is longer than the other end ever says nothing. */
  #silence({ state, lastReceivedMs, holdTimeSeconds = 0 }: Session): SessionFacts['silence'] {
    if (state !== 'Established' || lastReceivedMs === undefined || holdTimeSeconds === 0) return undefined
    const heardMs = this.#deps.clock.wallMs() - lastReceivedMs
    return heardMs >= holdTimeSeconds * 1000 * SILENT ? { heardMs, holdSeconds: holdTimeSeconds } : undefined
  }

  async #lookInto(session: Session, nowMs: number): Promise<Found> {
    const { name, reason } = session
    const silence = this.#silence(session)
    const known = this.#found.get(name)
    const isSame =
      known?.facts.reason?.code === reason?.code && (known?.facts.silence === undefined) === (silence === undefined)
    if (known !== undefined && isSame && nowMs < known.againMs)
      return { ...known, facts: { ...known.facts, reason, silence } }
    const illMs = silence?.heardMs ?? nowMs - this.#downMs.get(name)!
    return { facts: await this.#facts(session), againMs: nowMs + Math.min(MOST_AGAIN_MS, illMs / 2) }
  }

  async #facts(session: Session): Promise<SessionFacts> {
    const { name, node, address, reason } = session
    const [way, answers] = await Promise.all([this.#way(address), this.#deps.ping(address)])
    return { session: name, node, address, reason, silence: this.#silence(session), way, answers }
  }

  async #way(address: string): Promise<SessionFacts['way']> {
    const { kernel, sourceTo, isWrong } = this.#deps
    try {
      const { ifindex, gateway } = await this.#route(address, sourceTo(address))
      const link = ifindex === undefined ? undefined : await kernel.link(ifindex)
      if (ifindex === undefined || link === undefined) return { is: 'unknown' }
      const next = gateway ?? address
      const neighbour = isWrong(ifindex, next) ? 'wrong' : await this.#neighbour(ifindex, next)
      return { is: 'found', next, interfaceName: link.name, neighbour }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      return NOWHERE.includes(error.errno) ? { is: 'none', says: error.code } : { is: 'unknown' }
    }
  }

  async #route(address: string, source: string | undefined): Promise<Route> {
    const { kernel } = this.#deps
    try {
      return await kernel.lookupRoute(address, { ...BGP, source })
    } catch (error) {
      // a route that drops packets, or a source that this machine does not have (any more)
      if (!(error instanceof KernelError) || error.errno !== ERRNO.EINVAL) throw error
      return await kernel.lookupRoute(address, BGP)
    }
  }

  /** Silent: by the kernel too, since what answers no probe may answer the kernel. */
  async #neighbour(ifindex: number, address: string): Promise<'answers' | 'silent' | 'unknown'> {
    const { kernel, asker } = this.#deps
    const machines = await asker?.who(ifindex, address)
    if (machines === undefined) return 'unknown'
    if (machines.length > 0) return 'answers'
    return (await kernel.neighbour(ifindex, address))?.mac === undefined ? 'silent' : 'unknown'
  }
}
