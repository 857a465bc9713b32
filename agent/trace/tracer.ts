// Follows the packets of one probe through this node: brings a table of its own, hears what its packets meet, sends them where they begin
// here, and takes everything away again. One at a time: what the kernel is asked to look at costs every packet of the node a little.
// Hazards: the table must never outlive its use. It goes by order, after a time, and, where the kernel can, with this process; what an
// earlier one left on an older kernel is deleted at start. And what connection tracking noted of the probe is taken away: a NAT rule
// that changes would not count for the next probe of the same ports.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type ProbePacket, TRACE_MS, type TraceAnswer, type TraceFacts, type TraceOrder } from '../../api/trace.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { LegacyDrop, TraceStep } from '../../kernel/port/trace.ts'
import { PROBE_PROTOCOL, type Probe, probeId, probePort } from '../../kernel/probe-packets.ts'
import type { ProbeOutcome, sendProbe } from '../../kernel/probe-sender.ts'
import { lacksNftables } from '../../kernel/reconcile/nft-lacks.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { familyOf } from '../../lib/ip.ts'
import type { Log } from '../../lib/log.ts'
import { type Seen, traceFacts } from './trace-facts.ts'
import { chainsMet, type Ownership, packetsIn, type Texts } from './trace-reading.ts'
import { MATCHES, type Match, PLACES, ruleName, tableChanges } from './trace-table.ts'

export type TracerDeps = {
  kernel: Pick<
    Kernel,
    | 'links'
    | 'changeNftables'
    | 'ruleCounters'
    | 'traceNftables'
    | 'chainTexts'
    | 'legacyDrops'
    | 'reversePathDrops'
    | 'flowsOf'
    | 'deleteFlows'
  >
  nodeName: string
  /** The name of the table in the family inet. */
  table: string
  /** What the names of pods' interfaces begin with. */
  interfacePrefix: string
  /** Whether a table is Margay's. */
  isOurs(table: string): boolean
  /** Where the pod with an address lives, and its interface on the node; undefined where no pod of this node has it. */
  podAt(address: string): { netns: string; interfaceName: string } | undefined
  send: typeof sendProbe
  clock: Clock
  log: Log
}

/** Why an order was not carried out; `status` is that of HTTP. */
export type TraceRefusal = { status: 410 | 503; error: string }

/** Each is sent when nothing was heard of the last one for so long. */
const SENDING = { most: 3, waitMs: 400 }
/** Steps that are kept of one trace: some 20 for each packet. */
const MOST_STEPS = 2000
/** Interfaces at which packets are counted as they come. */
const MOST_DEVICES = 32
/** So often the event loop looks at the sockets before what the kernel told by then is surely read. */
const TURNS = 3
const MOST_FLOWS = 16

type Armed = {
  marker: string
  probe: Probe
  steps: TraceStep[]
  incomplete: boolean
  hasWire: boolean
  reversePath: number
  legacy: readonly LegacyDrop[]
  sent?: ProbeOutcome
  isSending: boolean
  listener?: { close(): void }
  cancel: Cancel
}

export class Tracer {
  readonly #deps: TracerDeps
  #armed: Armed | undefined
  /** Between orders that take time: nothing else begins. */
  #isBusy = false
  #disarming: Promise<unknown> = Promise.resolve()

  constructor(deps: TracerDeps) {
    this.#deps = deps
  }

  /** Takes away what an agent left that was killed on a kernel where tables stay. */
  start(): void {
    this.#disarming = this.#deleteTable()
  }

  async close(): Promise<void> {
    await this.#disarm()
    await this.#disarming
  }

  /** Rejects with `KernelError` where the kernel refuses what it mostly does. */
  async answer(order: TraceOrder): Promise<TraceAnswer | TraceRefusal> {
    if (order.do !== 'arm') {
      const armed = this.#armed
      if (armed === undefined || armed.marker !== order.marker)
        return { status: 410, error: `no such probe is followed here, or no more: it ends after ${TRACE_MS / 1000} s` }
      return order.do === 'send' ? this.#send(armed) : this.#collect(armed)
    }
    if (this.#isBusy || this.#armed !== undefined)
      return { status: 503, error: 'another probe is followed on this node: try again in some seconds' }
    this.#isBusy = true
    try {
      return await this.#arm(order.packet, order.marker)
    } finally {
      this.#isBusy = false
    }
  }

  async #arm(packet: ProbePacket, marker: string): Promise<TraceAnswer | TraceRefusal> {
    const { kernel, clock } = this.#deps
    const probe: Probe = { ...packet, family: familyOf(packet.source), marker }
    await this.#disarming
    const armed: Armed = {
      ...{ marker, probe, steps: [], incomplete: false, hasWire: true, isSending: false },
      legacy: await this.#legacyDrops(),
      reversePath: kernel.reversePathDrops(),
      cancel: () => undefined,
    }
    try {
      armed.listener = kernel.traceNftables({
        received: steps => keep(armed, steps),
        lost: () => {
          armed.incomplete = true
        },
      })
    } catch (error) {
      // counters alone tell less, and nothing wrong
      if (!(error instanceof KernelError)) throw error
      armed.incomplete = true
    }
    this.#armed = armed
    armed.cancel = clock.after(TRACE_MS, () => void this.#disarm())
    try {
      armed.hasWire = await this.#bringTable(probe)
    } catch (error) {
      await this.#disarm()
      if (!(error instanceof KernelError)) throw error
      return { status: 503, error: `the kernel does not let its packets be followed: ${error.message}` }
    }
    if (this.#armed === armed) return { armed: true }
    // its time was over, or this agent ends: a part of the table came after what takes it away
    this.#disarming = this.#deleteTable()
    await this.#disarming
    return { status: 503, error: 'the kernel took too long to let its packets be followed' }
  }

  /** Whether packets are counted at interfaces too. Rejects with what the kernel says against the least of it. */
  async #bringTable(probe: Probe): Promise<boolean> {
    const { kernel, table: name } = this.#deps
    const devices = await this.#devices(probe)
    let refused: KernelError | undefined
    for (const isOwned of [true, false])
      for (const at of devices.length === 0 ? [devices] : [devices, []]) {
        const [refusal] = await kernel.changeNftables(tableChanges({ name, probe, devices: at, isOwned }))
        if (refusal === undefined) return at.length > 0
        refused = refusal.error
      }
    throw refused!
  }

  /** Of pods only those of the question: a node has hundreds. */
  async #devices({ source, destination }: Probe): Promise<string[]> {
    const { kernel, podAt, interfacePrefix } = this.#deps
    const pods = new Set([source, destination].flatMap(address => podAt(address)?.interfaceName ?? []))
    const links = (await kernel.links()).filter(
      ({ up, name }) => up && name !== 'lo' && (pods.has(name) || !name.startsWith(interfacePrefix)),
    )
    // of some of them it would not be known what the others received
    return links.length > MOST_DEVICES ? [] : links.map(({ name }) => name)
  }

  async #send(armed: Armed): Promise<TraceAnswer | TraceRefusal> {
    if (armed.isSending || armed.sent !== undefined) return { status: 503, error: 'its packets are sent already' }
    armed.isSending = true
    const netns = this.#deps.podAt(armed.probe.source)?.netns
    armed.sent = await this.#deps.send(netns, armed.probe, SENDING)
    armed.isSending = false
    return armed.sent
  }

  async #collect(armed: Armed): Promise<TraceAnswer | TraceRefusal> {
    const { kernel, table, nodeName, isOurs } = this.#deps
    for (let turn = 0; turn < TURNS; turn++) await nextTurn()
    const counters = await kernel.ruleCounters({ family: 'inet', name: table })
    const reversePath = kernel.reversePathDrops()
    const legacy = await this.#legacyDrops()
    await this.#disarm(armed)
    const matchOf = new Map<number, Match>()
    const counts = new Map<string, number>()
    const named = new Map(MATCHES.flatMap(match => PLACES.map(place => [ruleName(match, place), match] as const)))
    for (const { comment = '', handle, packets } of counters) {
      counts.set(comment, (counts.get(comment) ?? 0) + Number(packets))
      const match = named.get(comment)
      if (match !== undefined) matchOf.set(handle, match)
    }
    const own: Ownership = { table, matchOf, isOurs }
    const packets = packetsIn(armed.steps, own)
    const seen: Seen = {
      ...{ node: nodeName, counts, hasWire: armed.hasWire, packets, own },
      texts: await this.#texts(packets, own),
      incomplete: armed.incomplete,
      reversePathDrops: Math.max(0, reversePath - armed.reversePath),
      legacy: { before: armed.legacy, after: legacy },
      sent: armed.sent,
    }
    const facts: TraceFacts[] = traceFacts(seen)
    await this.#forgetFlows(armed.probe)
    return { facts }
  }

  /** Chains that are gone, or that make no sense, are named without their text. */
  async #texts(packets: ReturnType<typeof packetsIn>, own: Ownership): Promise<Texts> {
    const texts = new Map()
    for (const [key, { family, table, chains }] of chainsMet(packets)) {
      if (table === own.table) continue
      try {
        texts.set(key, await this.#deps.kernel.chainTexts({ family, name: table }, [...chains]))
      } catch (error) {
        if (!(error instanceof KernelError)) throw error
      }
    }
    return texts
  }

  async #legacyDrops(): Promise<LegacyDrop[]> {
    try {
      return await this.#deps.kernel.legacyDrops()
    } catch (error) {
      if (error instanceof KernelError) return []
      throw error
    }
  }

  /** The entries that the probe made, whatever its addresses became. */
  async #forgetFlows(probe: Probe): Promise<void> {
    const { kernel, log } = this.#deps
    const { source, destination, protocol } = probe
    const found: Parameters<Kernel['deleteFlows']>[0][number][] = []
    try {
      await kernel.flowsOf(new Set([source, destination]), flow => {
        const { original } = flow
        const isIts =
          original.protocol === PROBE_PROTOCOL[protocol] &&
          (original.ports?.source === probePort(probe) || original.icmp?.id === probeId(probe)) &&
          (original.source === source || original.destination === destination)
        if (isIts && found.length < MOST_FLOWS) found.push(flow)
      })
      await kernel.deleteFlows(found)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      log.warn({ err: error }, 'connections of a probe stay until they time out')
    }
  }

  async #disarm(only?: Armed): Promise<void> {
    const armed = this.#armed
    if (armed === undefined || (only !== undefined && armed !== only)) return
    this.#armed = undefined
    armed.cancel()
    armed.listener?.close()
    this.#disarming = this.#deleteTable()
    await this.#disarming
  }

  async #deleteTable(): Promise<void> {
    const { kernel, table: name, log } = this.#deps
    try {
      const [refusal] = await kernel.changeNftables([
        { verb: 'delete', object: { kind: 'table', family: 'inet', name } },
      ])
      if (refusal !== undefined && refusal.error.errno !== ERRNO.ENOENT) throw refusal.error
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      // there is nothing to delete then
      if (lacksNftables(error)) return
      log.warn({ err: error }, `table inet ${name} stays: delete it with nft delete table inet ${name}`)
    }
  }
}

function keep(armed: Armed, steps: readonly TraceStep[]): void {
  for (const step of steps)
    if (armed.steps.length < MOST_STEPS) armed.steps.push(step)
    else armed.incomplete = true
}
