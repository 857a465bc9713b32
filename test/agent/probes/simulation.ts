// A node that probes others over a network that loses what the test says, in its own time: packets and answers are events in order of
// their time, and nothing here reads a clock.
import { type Packet, Paths, type Target, type Way } from '../../../agent/probes/paths.ts'
import type { SessionView } from '../../../agent/probes/verdict.ts'

/** From 0 to 1, the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export type Far = {
  target: Target
  way: Way
  /** When the session came up; undefined: it is down. */
  sessionSinceMs?: number | 'none'
  /** Whether an answer comes to a packet, and after how long. */
  answers: (packet: Packet, nowMs: number) => number | undefined
}

export function target(i: number): Target {
  const [address, host] = [`10.0.${i >> 8}.${i & 255}`, `192.168.${i >> 8}.${i & 255}`]
  return { node: `n${i}`, family: 'ipv4', address, host, tunnels: { vxlan: `10.1.${i >> 8}.${i & 255}` }, lan: 'one' }
}

export class Simulation {
  nowMs = 0
  paths!: Paths
  readonly random: () => number
  readonly far: Map<string, Far>
  isViewFresh = true
  /** How much later than asked the next step is. */
  lateMs: () => number = () => 0
  /** Every packet that was sent, by its time. */
  sent = 0
  #nextMs = 0
  #answers: { atMs: number; look: number; kind: Packet['kind'] }[] = []

  constructor(far: readonly Far[], random: () => number) {
    this.far = new Map(far.map(each => [each.target.node, each]))
    this.random = random
    this.restart()
  }

  /** This node's agent begins anew: it knows nothing. */
  restart(): void {
    const { random } = this
    this.paths = new Paths({
      ...{ nodeName: 'n0', random },
      sessionOf: node => this.#session(node),
      isViewFresh: () => this.isViewFresh,
    })
    this.#answers = []
    for (const { target } of this.far.values()) this.paths.set(target.node, [target], this.nowMs)
    this.#nextMs = this.nowMs
  }

  /** Goes on for so long, calling `each` after each step. */
  run(ms: number, each: () => void = () => undefined): void {
    const endMs = this.nowMs + ms
    while (this.#nextMs <= endMs) {
      this.nowMs = this.#nextMs
      this.#step()
      each()
    }
    this.nowMs = endMs
  }

  /** The states of all nodes that are not `passes`, as `node state`. */
  get bad(): string[] {
    return [...this.paths.all()].flatMap(({ node, state, loss = '' }) =>
      state === 'passes' ? [] : [`${node} ${state} ${loss}`.trim()],
    )
  }

  #session(node: string): SessionView {
    const since = this.far.get(node)!.sessionSinceMs
    if (since === 'none') return { is: 'none' }
    return since === undefined ? { is: 'down' } : { is: 'up', forMs: this.nowMs - since }
  }

  #step(): void {
    const { nowMs } = this
    const due = this.#answers.filter(({ atMs }) => atMs <= nowMs)
    this.#answers = this.#answers.filter(({ atMs }) => atMs > nowMs)
    for (const { look, kind } of due) this.paths.answered(look, kind, nowMs)
    const { packets, unclear, waitMs } = this.paths.step(nowMs)
    for (const each of unclear) this.paths.sends(each, this.far.get(each.node)!.way, nowMs)
    this.sent += packets.length
    for (const packet of packets) {
      const far = [...this.far.values()].find(({ target: { address, host, tunnels } }) =>
        [address, host, tunnels.vxlan, tunnels.ipip].includes(packet.address),
      )!
      const tookMs = far.answers(packet, nowMs)
      if (tookMs !== undefined) this.#answers.push({ atMs: nowMs + tookMs, look: packet.look, kind: packet.kind })
    }
    this.#nextMs = nowMs + waitMs + this.lateMs()
  }
}
