// What this node can say of automatic reflectors: from which of them it has every route that it has of the mesh, and whether it has all
// of them from the nodes themselves. Who moves the cluster from the mesh to reflectors and back waits for that of every node, so
// no route is lost on the way. Hazards: what a session brought is all there only after its End-of-RIB; a table is walked in
// pieces, and may change meanwhile: a route that came just now may be missed, and is on its way from the reflectors too.
import { isDeepStrictEqual } from 'node:util'
import type { ReflectionReceipt } from '../api/receipt-schemas.ts'
import type { PeerStatus } from '../bgp/config.ts'
import { FAMILIES } from '../bgp/family.ts'
import type { DumpedPath } from '../bgp/rib/dump.ts'
import type { Speaker } from '../bgp/speaker.ts'
import type { Clock } from '../lib/clock.ts'
import { formatIpv4 } from '../lib/ip.ts'
import { SoonestTimer } from '../lib/soonest-timer.ts'
import { BlockSpread } from './block-spread.ts'
import type { ReflectionAsked } from './cluster/reflection.ts'
import type { PeerOrigin, Session } from './cluster/sessions.ts'

type Deps = {
  clock: Clock
  sessionOf: (key: string) => { session: Session; origin: PeerOrigin | undefined } | undefined
  changed: () => void
}

const SOON_MS = 200
/** Between two looks while not all is there: twice as long each time. */
const FIRST_MS = 1_000
const MOST_MS = 30_000
/** Paths of one piece, which takes a few milliseconds: every node may announce the same prefix. */
const PIECE = 1024

export class ReflectionWitness {
  readonly #deps: Deps
  readonly #timer: SoonestTimer
  /** Families whose table is in, by the key of the session. */
  readonly #ended = new Map<string, Set<string>>()
  #speaker: Speaker | undefined
  #clients: BlockSpread | undefined
  #asked: ReflectionAsked | undefined
  #said: ReflectionReceipt | undefined
  #pauseMs = FIRST_MS
  /** Another number for each look that counts. */
  #look = 0

  constructor(deps: Deps) {
    this.#deps = deps
    this.#timer = new SoonestTimer(deps.clock, () => void this.#lookNow())
  }

  /** Undefined: nothing is asked, or it was not looked yet. */
  get said(): ReflectionReceipt | undefined {
    return this.#said
  }

  /** Resolves once those behind this node have what it announces; who asks a reflector has to know of them. At once where it is none. */
  async behind(): Promise<void> {
    if (this.#asked?.reflects !== true) return
    await Promise.all(FAMILIES.map(family => this.#clients?.reached(family)))
  }

  /** Another speaker, before it has a session. */
  follow(speaker: Speaker): void {
    this.#speaker = speaker
    this.#ended.clear()
    const isClient = (key: string) => this.#deps.sessionOf(key)?.session.reflectorClient === true
    const clients = new BlockSpread(speaker, this.#deps.clock, isClient)
    this.#clients = clients
    speaker.onRibEvent(event => {
      if (event.type !== 'end-of-rib') return
      this.#endedOf(event.key).add(event.family)
      this.#soon()
    })
    speaker.onChange(({ name, state }) => {
      clients.note({ name, state })
      if (state === 'Established') return
      if (this.#ended.delete(name)) this.#soon()
    })
    this.#soon()
  }

  /** Called once sessions are as the objects say. */
  ask(asked: ReflectionAsked | undefined): void {
    const same = (each: ReflectionAsked | undefined) => ({ ...each, members: undefined })
    const isNew = !isDeepStrictEqual(same(asked), same(this.#asked))
    this.#asked = asked
    if (!isNew) return
    if (asked === undefined) this.#say(undefined)
    else this.#soon()
  }

  close(): void {
    this.#look++
    this.#timer.cancel()
  }

  #endedOf(key: string): Set<string> {
    const families = this.#ended.get(key) ?? new Set<string>()
    this.#ended.set(key, families)
    return families
  }

  #soon(): void {
    if (this.#asked === undefined) return
    this.#pauseMs = FIRST_MS
    this.#timer.within(SOON_MS)
  }

  async #lookNow(): Promise<void> {
    const [asked, speaker] = [this.#asked, this.#speaker]
    if (asked === undefined || speaker === undefined) return
    const look = ++this.#look
    const told = await this.#found(asked, speaker, () => look === this.#look && asked === this.#asked)
    if (told === undefined) return this.#timer.within(SOON_MS)
    this.#say(told)
    const isWhole = told.via.length === asked.reflectors.size && (asked.mesh === 'thin' || told.direct)
    if (isWhole) return
    this.#timer.within(this.#pauseMs)
    this.#pauseMs = Math.min(2 * this.#pauseMs, MOST_MS)
  }

  /** Undefined where something else is asked meanwhile. */
  async #found(
    asked: ReflectionAsked,
    speaker: Speaker,
    isCurrent: () => boolean,
  ): Promise<ReflectionReceipt | undefined> {
    const reflectors = this.#reflectorsUp(asked, speaker)
    const keys = new Set([...reflectors.values()].flatMap(each => [...each]))
    const lacking = new Set<string>()
    const members = asked.members()
    let isDirect = true
    let walked = 0
    for (const family of FAMILIES)
      for (const paths of speaker.rib.dumpPrefixes(family)) {
        walked += paths.length
        if (walked >= PIECE) {
          walked = 0
          await new Promise(setImmediate)
        }
        if (!isCurrent()) return undefined
        const used = paths.filter(({ accepted }) => accepted !== undefined)
        // what this node has itself comes back from nobody
        if (used.some(({ peer }) => peer === '')) continue
        const ofMesh = used.filter(({ peer }) => this.#deps.sessionOf(peer)?.origin === 'mesh' || keys.has(peer))
        for (const [name, own] of reflectors) {
          // a reflector is not told by another one what a third one has: those have sessions with each other
          const needs = ofMesh.some(({ peer }) => !own.has(peer) && !(asked.reflects && keys.has(peer)))
          if (needs && !used.some(({ peer }) => own.has(peer))) lacking.add(name)
        }
        if (ofMesh.some(path => isOf(members, path)) && !used.some(path => originator(path) === undefined))
          isDirect = false
      }
    const via = [...reflectors.keys()].filter(name => !lacking.has(name))
    if (asked.reflects) via.push(asked.nodeName)
    return { step: asked.step, via: via.sort(), direct: isDirect, ...(asked.held && { held: true }) }
  }

  /** The sessions of each other reflector whose tables are in, by its name. */
  #reflectorsUp(asked: ReflectionAsked, speaker: Speaker): Map<string, ReadonlySet<string>> {
    const isComplete = ({ name, families }: PeerStatus) => families.every(each => this.#ended.get(name)?.has(each))
    const peers = speaker.peers().filter(peer => peer.state === 'Established' && isComplete(peer))
    return new Map(
      [...asked.reflectors].flatMap(([name, addresses]) => {
        const own = peers.filter(({ address }) => addresses.includes(address)).map(peer => peer.name)
        return own.length === 0 || name === asked.nodeName ? [] : [[name, new Set(own)] as const]
      }),
    )
  }

  #say(said: ReflectionReceipt | undefined): void {
    if (isDeepStrictEqual(said, this.#said)) return
    this.#said = said
    this.#deps.changed()
  }
}

function originator({ received }: DumpedPath): number | undefined {
  return received.attributes.originatorId
}

/** Whether a path was reflected, and comes of a node of the mesh. */
function isOf(members: ReadonlySet<string>, path: DumpedPath): boolean {
  const id = originator(path)
  return id !== undefined && members.has(formatIpv4(id))
}
