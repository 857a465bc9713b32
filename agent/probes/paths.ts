// The book of all paths, and what is sent next. A look is one packet, and where that gets no answer some more, with some to the node
// itself and to its tunnel, for a few seconds: then it is judged by what came, never by a clock alone, so that an agent that stood
// still does not take its own silence for that of others. Pure: packets, times and what is known of sessions come in.
import { isDeepStrictEqual } from 'node:util'
import type { PathBook, PathEncapsulation, PathLoss, PathState } from '../../api/paths.ts'
import type { Family } from '../../lib/ip.ts'
import { Plan } from './plan.ts'
import { type LostPath, type SessionView, verdict } from './verdict.ts'

/** A node's end of the probes of one family, and what else of it is asked when that is silent. */
export type Target = {
  node: string
  family: Family
  address: string
  /** Of the node itself. */
  host?: string
  tunnels: { readonly [E in 'ipip' | 'vxlan']?: string }
  /** The subnet that the node has its address in. */
  lan: string
}

/** Where a packet goes: from the interface of probes to another one (`size`: of a certain size), or from the node itself to a node or to its tunnel. */
export type PacketKind = 'pod' | 'host' | 'tunnel' | 'size'

/** `look`: answers say it again. */
export type Packet = { kind: PacketKind; address: string; look: number }

export type Way = PathEncapsulation | 'no route'

export type PathsDeps = {
  nodeName: string
  /** From 0 to 1. */
  random: () => number
  /** Of the way to a node's routes. */
  sessionOf: (node: string) => SessionView
  /** Objects of other nodes are as they are now. */
  isViewFresh: () => boolean
}

/** What is to be sent now; of `unclear` the way is to be told. `waitMs`: until the next step. */
export type Step = { packets: readonly Packet[]; unclear: readonly Target[]; waitMs: number }

const ROUND_MS = 5000
/** So much of a round is by chance. */
const JITTER = 0.2
const ANSWER_MS = 500
const AGAIN_MS = 300
/** Of a path that passed: so long, and so many packets, must be lost. */
const LOOK = { ms: 4000, packets: 8 } as const
/** Of one that is known to be silent. */
const LATER_LOOK = { ms: 1200, packets: 4 } as const
/** After so many the path is suspect. */
const SUSPECT = 4
/** What is known of the way of a path that passes is as old as this at most, where that is looked at in each round. */
const WAY_MS = 600_000
/** An answer under another source counts no more after this. */
const TRANSLATED_MS = 60_000
/** So long apart a source must be seen twice: rules and sets that are about to be right are no news. */
const TRANSLATED_TWICE_MS = 3000
/** Part of the latest look in the share of losses. */
const LOSS_WEIGHT = 1 / 16

type Look = {
  id: number
  firstMs: number
  lastMs: number
  sent: number
  answered: Set<PacketKind>
  tried: Set<PacketKind>
}

type Path = {
  target: Target
  state: PathState
  look?: Look
  way?: Way
  wayMs?: number
  loss?: PathLoss
  silentSinceMs?: number
  hostSilentMs?: number
  heardMs?: number
  translated?: { source: string; firstMs: number; lastMs: number }
}

export class Paths implements PathBook {
  readonly #deps: PathsDeps
  readonly #plan: Plan
  readonly #paths = new Map<string, Path>()
  readonly #looks = new Map<number, Path>()
  /** Those whose probes arrive under another source, or did. */
  readonly #translated = new Set<Path>()
  readonly #listeners = new Set<Parameters<PathBook['onChange']>[0]>()
  #roundMs: number | undefined
  #lastId = 0
  #isPlanned = false

  constructor(deps: PathsDeps) {
    this.#deps = deps
    this.#plan = new Plan(deps.nodeName)
  }

  of(node: string, family: Family): PathState | undefined {
    return this.#paths.get(keyOf({ node, family }))?.state
  }

  *all(): Iterable<PathState> {
    for (const { state } of this.#paths.values()) yield state
  }

  onChange(listen: Parameters<PathBook['onChange']>[0]): () => void {
    this.#listeners.add(listen)
    return () => this.#listeners.delete(listen)
  }

  /** Takes the paths of a node in the place of those before. One with another address begins anew. */
  set(node: string, targets: readonly Target[], nowMs: number): void {
    for (const family of ['ipv4', 'ipv6'] as const) {
      const key = keyOf({ node, family })
      const target = targets.find(each => each.family === family)
      const path = this.#paths.get(key)
      if (target === undefined) this.#forget(key)
      else if (path?.target.address === target.address) path.target = target
      else {
        this.#forget(key)
        const state = { node, family, address: target.address, state: 'unknown', sinceMs: nowMs } as const
        const added: Path = { target, state: { ...state, lossPermille: 0, sampled: false } }
        this.#paths.set(key, added)
        for (const listen of this.#listeners) listen(undefined, added.state)
      }
      this.#isPlanned = false
    }
  }

  /** What is to be sent now, and when to ask again. Answers that wait are to be told before. */
  step(nowMs: number): Step {
    const packets: Packet[] = []
    const unclear: Target[] = []
    // of thousands a few are under way
    for (const path of [...this.#looks.values()]) this.#goOn(path, path.look!, { nowMs, packets, unclear })
    for (const path of this.#translated) this.#ageTranslation(path, nowMs)
    this.#roundMs ??= nowMs + ROUND_MS * this.#deps.random()
    if (nowMs >= this.#roundMs) {
      this.#begin(nowMs, packets, unclear)
      this.#roundMs = nowMs + ROUND_MS * (1 - JITTER * this.#deps.random())
    }
    let nextMs = this.#roundMs
    for (const { look } of this.#looks.values()) nextMs = Math.min(nextMs, look!.lastMs + pauseAfter(look!))
    return { packets, unclear, waitMs: Math.max(1, nextMs - nowMs) }
  }

  /** An answer came to a packet of a look. */
  answered(id: number, kind: PacketKind, nowMs: number): void {
    const path = this.#looks.get(id)
    if (path?.look === undefined) return
    path.look.answered.add(kind)
    if (kind === 'pod') path.state = { ...path.state, lastAnswerMs: nowMs }
  }

  /** A packet could not be sent, by no fault of the network: it does not count. */
  unsent({ look: id, kind }: Packet): void {
    const look = this.#looks.get(id)?.look
    if (look === undefined) return
    if (kind === 'pod') look.sent--
    else look.tried.delete(kind)
  }

  /** How the kernel sends to a target; undefined: it could not be asked. */
  sends({ node, family, address }: Target, way: Way | undefined, nowMs: number): void {
    const path = this.#paths.get(keyOf({ node, family }))
    if (path?.target.address !== address) return
    path.wayMs = nowMs
    if (way === undefined) delete path.way
    else path.way = way
  }

  /** The largest packet that passes to a node, in octets. */
  measured({ node, family }: Pick<PathState, 'node' | 'family'>, mtu: number | undefined, nowMs: number): void {
    const path = this.#paths.get(keyOf({ node, family }))
    if (path !== undefined) this.#change(path, { mtu }, nowMs)
  }

  /** A probe of a node came in, under this source where that is not its own. */
  heard(node: string, family: Family, source: string | undefined, nowMs: number): void {
    const path = this.#paths.get(keyOf({ node, family }))
    if (path === undefined) return
    path.heardMs = nowMs
    if (source === undefined) delete path.translated
    else if (path.translated?.source === source) path.translated.lastMs = nowMs
    else {
      path.translated = { source, firstMs: nowMs, lastMs: nowMs }
      this.#translated.add(path)
    }
    this.#ageTranslation(path, nowMs)
  }

  /** What is sent from here gets nowhere, by a fault of this node's own interface of probes: nothing of it counts. */
  discard(nowMs: number): void {
    this.#looks.clear()
    for (const path of this.#paths.values()) {
      delete path.look
      delete path.silentSinceMs
      if (path.state.state === 'lost' || path.state.state === 'suspect') this.#change(path, { state: 'unknown' }, nowMs)
    }
  }

  /** The paths that are lost. */
  *lost(): Iterable<LostPath> {
    for (const { target, state, loss, way } of this.#paths.values()) {
      if (state.state !== 'lost' || loss === undefined) continue
      const { node, family, address } = target
      const { hostAnswers, tunnelAnswers } = state
      yield { node, family, address, loss, way, hostAnswers, tunnelAnswers }
    }
  }

  #begin(nowMs: number, packets: Packet[], unclear: Target[]): void {
    if (!this.#isPlanned) {
      this.#plan.set(this.#paths.entries().map(([key, { target }]) => ({ key, node: target.node, lan: target.lan })))
      this.#isPlanned = true
      for (const [key, path] of this.#paths) this.#change(path, { sampled: !this.#plan.isSteady(key) }, nowMs)
    }
    for (const key of this.#plan.round()) {
      const path = this.#paths.get(key)!
      if (path.look !== undefined) continue
      this.#lastId = (this.#lastId + 1) >>> 0
      const look = { id: this.#lastId, firstMs: nowMs, lastMs: nowMs, sent: 1 }
      path.look = { ...look, answered: new Set(), tried: new Set() }
      this.#looks.set(look.id, path)
      packets.push({ kind: 'pod', address: path.target.address, look: look.id })
      if (path.wayMs === undefined || (!path.state.sampled && nowMs - path.wayMs > WAY_MS)) unclear.push(path.target)
    }
  }

  #goOn(path: Path, look: Look, out: { nowMs: number; packets: Packet[]; unclear: Target[] }): void {
    const { nowMs } = out
    const { target, state } = path
    if (look.answered.has('pod')) {
      this.#passed(path, look, nowMs)
      return
    }
    if (nowMs < look.lastMs + pauseAfter(look)) return
    const isFirst = look.tried.size === 0 && look.sent <= 1
    if (isFirst) {
      path.silentSinceMs ??= look.firstMs
      out.unclear.push(target)
      this.#count(path, 'lost')
    }
    const enough =
      state.state === 'passes' || state.state === 'suspect' || state.state === 'unknown' ? LOOK : LATER_LOOK
    if (look.sent >= enough.packets && nowMs - look.firstMs >= enough.ms) {
      this.#judge(path, look, nowMs)
      return
    }
    if (look.sent >= SUSPECT && state.state === 'passes') this.#change(path, { state: 'suspect' }, nowMs)
    look.sent++
    look.lastMs = nowMs
    out.packets.push({ kind: 'pod', address: target.address, look: look.id })
    const beside = (kind: 'host' | 'tunnel', address: string | undefined) => {
      if (address === undefined) return
      look.tried.add(kind)
      out.packets.push({ kind, address, look: look.id })
    }
    beside('host', target.host)
    if (path.way === 'ipip' || path.way === 'vxlan') beside('tunnel', target.tunnels[path.way])
  }

  #passed(path: Path, look: Look, nowMs: number): void {
    this.#end(path, look)
    if (look.sent <= 1) this.#count(path, 'answered')
    delete path.silentSinceMs
    delete path.hostSilentMs
    delete path.loss
    this.#change(path, { state: 'passes', hostAnswers: undefined, tunnelAnswers: undefined }, nowMs)
  }

  #judge(path: Path, look: Look, nowMs: number): void {
    this.#end(path, look)
    const { node } = path.target
    const session = this.#deps.sessionOf(node)
    const said = (kind: PacketKind) => (look.tried.has(kind) ? look.answered.has(kind) : undefined)
    const [hostAnswers, tunnelAnswers] = [said('host'), said('tunnel')]
    const upSinceMs = session.is === 'up' ? nowMs - session.forMs : Number.NEGATIVE_INFINITY
    if (hostAnswers === false) path.hostSilentMs = nowMs
    const lastSignMs = Math.max(path.state.lastAnswerMs ?? -Infinity, path.heardMs ?? -Infinity)
    const is = verdict({
      ...{ way: path.way, session, hostAnswers, tunnelAnswers, isViewFresh: this.#deps.isViewFresh() },
      ...{ silentMs: nowMs - path.silentSinceMs!, lookMs: nowMs - look.firstMs },
      wasAlive: lastSignMs > upSinceMs,
      hostWasSilent: path.hostSilentMs !== undefined && path.hostSilentMs >= upSinceMs,
    })
    // what was proved stays so while the same session lasts
    if (is === 'unknown' && path.state.state === 'lost' && path.state.sinceMs >= upSinceMs) return
    const isLost = is !== 'absent' && is !== 'unknown'
    if (isLost) path.loss = is
    else delete path.loss
    this.#change(path, { state: isLost ? 'lost' : is, hostAnswers, tunnelAnswers }, nowMs)
  }

  #end(path: Path, { id }: Look): void {
    delete path.look
    this.#looks.delete(id)
  }

  #forget(key: string): void {
    const path = this.#paths.get(key)
    if (path === undefined) return
    if (path.look !== undefined) this.#looks.delete(path.look.id)
    this.#paths.delete(key)
    this.#translated.delete(path)
    for (const listen of this.#listeners) listen(path.state, undefined)
  }

  #ageTranslation(path: Path, nowMs: number): void {
    const { translated } = path
    if (translated !== undefined && nowMs - translated.lastMs > TRANSLATED_MS) delete path.translated
    const isSure = translated !== undefined && translated.lastMs - translated.firstMs >= TRANSLATED_TWICE_MS
    const sourceSeen = isSure && path.translated !== undefined ? translated.source : undefined
    if (path.translated === undefined) this.#translated.delete(path)
    if (sourceSeen !== path.state.sourceSeen) this.#change(path, { sourceSeen }, nowMs)
  }

  #count(path: Path, first: 'answered' | 'lost'): void {
    const { lossPermille } = path.state
    const is = first === 'lost' ? 1000 : 0
    path.state = { ...path.state, lossPermille: lossPermille + (is - lossPermille) * LOSS_WEIGHT }
  }

  /** Tells who listens what is another state now. */
  #change(path: Path, part: Partial<PathState>, nowMs: number): void {
    const before = path.state
    const { way, loss } = path
    const told = { encapsulation: way === 'no route' ? undefined : way, loss }
    const sinceMs = part.state === undefined || part.state === before.state ? before.sinceMs : nowMs
    path.state = { ...before, ...told, ...part, sinceMs }
    if (isDeepStrictEqual(path.state, before)) return
    for (const listen of this.#listeners) listen(before, path.state)
  }
}

function keyOf({ node, family }: { node: string; family: Family }): string {
  return `${node} ${family}`
}

/** From its last packet to the next one, or to the verdict. */
function pauseAfter({ sent, tried }: Look): number {
  return sent <= 1 && tried.size === 0 ? ANSWER_MS : AGAIN_MS
}
