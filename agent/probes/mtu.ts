// Whether the largest packets of pods pass the way to each node whole. A size is asked for by packets that nobody may cut (DF), each beside a
// small one: only where small ones are answered are large ones lost for their size. What was found is asked for once more
// before it is told. Answers may be cut: each end measures what it sends. Pure: packets and times come in.
import type { PathState } from '../../api/paths.ts'
import { broken, type Condition } from '../../api/status.ts'
import type { Family } from '../../lib/ip.ts'
import type { Packet } from './paths.ts'

/** `octets`: of the whole IP packet, which nobody may cut. */
export type SizedPacket = Packet & { kind: 'size'; octets: number }

/** What every way carries: of IPv4 less than the least that hosts take (RFC 791), of IPv6 the least MTU (RFC 8200 §5). */
const SMALL: Readonly<Record<Family, number>> = { ipv4: 508, ipv6: 1280 }
const TRIES = 3
const TRY_MS = 300
/** As exact as it is worth the packets. */
const STEP = 8
/** After the first answers of a path, up to so long. */
const FIRST_MS = 10_000
/** Then so often, less up to a fifth: with many nodes the same packets take longer to come round. */
const PER_PATH_MS = 600
const PAUSE = { leastMs: 10_000, mostMs: 600_000 } as const
const JITTER = 0.2
/** So often the states of all paths are looked at, of which there may be thousands. */
const FOLLOW_MS = 1000
/** Paths that are measured at the same time. */
const AT_ONCE = 4

type Question = { octets: number; tries: number; small: number; isAnswered: boolean; dueMs: number }
type Check = {
  question: Question
  /** The largest size known to pass, and the smallest known to be lost; `mtu`: what is wanted. */
  passes: number
  lost: number
  mtu: number
  isConfirming: boolean
}
type Path = { state: PathState; mtu: number; nextMs: number; check?: Check; found?: { passes: number; mtu: number } }

export type PathMtusDeps = {
  /** From 0 to 1. */
  random: () => number
  /** The largest packet that passes to a node, in octets; undefined where that is not known any more. */
  found: (path: Pick<PathState, 'node' | 'family'>, octets: number | undefined) => void
}

export class PathMtus {
  readonly #deps: PathMtusDeps
  readonly #paths = new Map<string, Path>()
  /** Those with a check. */
  readonly #running = new Set<Path>()
  /** What each packet on its way asks. */
  readonly #asked = new Map<number, { question: Question; isSmall: boolean }>()
  #lastId = 0
  #followedMs = Number.NEGATIVE_INFINITY

  constructor(deps: PathMtusDeps) {
    this.#deps = deps
  }

  /** What is to be sent now, by the states of all paths and the MTU of pods; answers that wait are to be told before. */
  step(nowMs: number, states: Iterable<PathState>, mtu: number): { packets: SizedPacket[]; waitMs: number } {
    let waitMs = FIRST_MS
    if (nowMs - this.#followedMs >= FOLLOW_MS) {
      this.#followedMs = nowMs
      this.#follow(nowMs, states, mtu)
      if (!this.#begin(nowMs)) waitMs = FOLLOW_MS
    }
    const packets: SizedPacket[] = []
    for (const path of [...this.#running]) {
      this.#goOn(path, path.check!, nowMs, packets)
      if (path.check !== undefined) waitMs = Math.min(waitMs, Math.max(1, path.check.question.dueMs - nowMs))
    }
    return { packets, waitMs }
  }

  /** Whether all have begun that are due. */
  #begin(nowMs: number): boolean {
    for (const path of this.#paths.values()) {
      if (path.check !== undefined || nowMs < path.nextMs) continue
      if (this.#running.size >= AT_ONCE) return false
      path.check = checkOf(path, nowMs)
      if (path.check !== undefined) this.#running.add(path)
    }
    return true
  }

  answered(look: number): void {
    const { question, isSmall } = this.#asked.get(look) ?? {}
    this.#asked.delete(look)
    if (question === undefined) return
    if (isSmall === true) question.small++
    else question.isAnswered = true
  }

  /** Nothing that is on its way counts: it was sent by a fault of this machine, or could not be. */
  discard(nowMs: number): void {
    for (const path of [...this.#running]) {
      this.#stop(path)
      path.nextMs = nowMs + FIRST_MS
    }
  }

  /** `PathMtuFits` of each node to which they do not pass. */
  conditions(): Condition[] {
    const small = [...this.#paths.values()].filter(({ found }) => found !== undefined && found.passes < found.mtu)
    return [...Map.groupBy(small, ({ state }) => state.node).values()].map(([path]) => tooLarge(path!))
  }

  #follow(nowMs: number, states: Iterable<PathState>, mtu: number): void {
    const there = new Set<string>()
    for (const state of states) {
      const key = `${state.node} ${state.family}`
      there.add(key)
      const known = this.#paths.get(key)
      const { address, encapsulation } = known?.state ?? {}
      const isSame = known?.mtu === mtu && address === state.address && encapsulation === state.encapsulation
      const path = isSame ? known : { state, mtu, nextMs: nowMs + FIRST_MS * this.#deps.random() }
      if (!isSame) this.#forget(known)
      this.#paths.set(key, path)
      path.state = state
      if (state.state === 'passes') continue
      this.#stop(path)
      // what is lost as a whole is no matter of sizes
      if (state.state !== 'suspect') this.#forget(path)
    }
    for (const [key, path] of this.#paths) {
      if (there.has(key)) continue
      this.#stop(path)
      this.#paths.delete(key)
    }
  }

  #forget(path: Path | undefined): void {
    if (path === undefined) return
    this.#stop(path)
    if (path.found === undefined) return
    delete path.found
    this.#deps.found(path.state, undefined)
  }

  #stop(path: Path): void {
    const question = path.check?.question
    if (question === undefined) return
    delete path.check
    this.#running.delete(path)
    this.#forgetAsked(question)
  }

  #forgetAsked(question: Question): void {
    for (const [id, asked] of this.#asked) if (asked.question === question) this.#asked.delete(id)
  }

  #goOn(path: Path, check: Check, nowMs: number, packets: SizedPacket[]): void {
    const { question } = check
    if (question.isAnswered) this.#passed(path, check, nowMs)
    else if (nowMs < question.dueMs) return
    else if (question.tries >= TRIES) {
      // where small packets are lost too, size is not what it is about
      if (question.small < TRIES - 1) this.#end(path, nowMs)
      else this.#isLost(path, check, nowMs)
    }
    const next = path.check?.question
    if (next === undefined || nowMs < next.dueMs) return
    next.tries++
    next.dueMs = nowMs + TRY_MS
    for (const octets of [SMALL[path.state.family], next.octets]) {
      this.#lastId = (this.#lastId + 1) >>> 0
      const look = this.#lastId
      this.#asked.set(look, { question: next, isSmall: octets !== next.octets })
      packets.push({ kind: 'size', address: path.state.address, look, octets })
    }
  }

  #passed(path: Path, check: Check, nowMs: number): void {
    if (check.question.octets >= evenly(check.mtu)) {
      this.#finds(path, check.mtu, nowMs)
      return
    }
    check.passes = check.question.octets
    this.#narrow(check, nowMs)
  }

  #isLost(path: Path, check: Check, nowMs: number): void {
    if (check.isConfirming) {
      this.#finds(path, check.passes, nowMs)
      return
    }
    check.lost = check.question.octets
    // what was told, and is as it was, is not measured again
    if (path.found !== undefined && path.found.passes < check.mtu) this.#end(path, nowMs)
    else this.#narrow(check, nowMs)
  }

  #narrow(check: Check, nowMs: number): void {
    const isExact = check.lost - check.passes <= STEP
    check.isConfirming = isExact
    const middle = evenly(Math.floor((check.passes + check.lost) / 2))
    this.#forgetAsked(check.question)
    check.question = questionOf(isExact ? evenly(check.mtu) : middle, nowMs)
  }

  #finds(path: Path, passes: number, nowMs: number): void {
    if (path.found?.passes !== passes) this.#deps.found(path.state, passes)
    path.found = { passes, mtu: path.mtu }
    this.#end(path, nowMs)
  }

  #end(path: Path, nowMs: number): void {
    this.#stop(path)
    const pauseMs = Math.min(PAUSE.mostMs, Math.max(PAUSE.leastMs, this.#paths.size * PER_PATH_MS))
    path.nextMs = nowMs + pauseMs * (1 - JITTER * this.#deps.random())
  }
}

function checkOf({ state, mtu }: Path, nowMs: number): Check | undefined {
  const passes = SMALL[state.family]
  if (state.state !== 'passes' || evenly(mtu) <= passes + STEP) return undefined
  return { question: questionOf(evenly(mtu), nowMs), passes, lost: mtu, mtu, isConfirming: false }
}

function questionOf(octets: number, nowMs: number): Question {
  return { octets, tries: 0, small: 0, isAnswered: false, dueMs: nowMs }
}

/** Packets have an even length. */
function evenly(octets: number): number {
  return octets & ~1
}

const SETTING = { direct: undefined, ipip: 'ipipMTU', vxlan: 'vxlanMTU (vxlanMTUV6 of VXLAN over IPv6)' } as const

function tooLarge({ state: { node, encapsulation = 'direct' }, found }: Path): Condition {
  const { passes, mtu } = found!
  const name = SETTING[encapsulation]
  const lower =
    name === undefined
      ? `give the uplinks of the nodes an MTU of ${passes}, which pods follow; where tracepath shows no smaller one, see whether a firewall between drops large ICMP echoes alone`
      : `set ${name} of the FelixConfiguration to ${passes} at the most`
  return broken('PathMtuFits', {
    object: { kind: 'Node', name: node },
    reason: 'PacketsTooLarge',
    message: `pods here send packets of up to ${mtu} octets, and to ${node} ${passes} octets pass whole (${encapsulation}): larger ones that may not be cut are lost, small ones pass`,
    remedy: `raise the MTU of the network between the nodes (tracepath -n shows where it is smaller), or ${lower}`,
  })
}
