// Flows that policies deny or log, as the kernel hands out copies of their packets: read, named, kept for a while and told to who
// follows. Nothing here is in the way of a packet.
// Hazards: anybody who may send packets makes flows. The kernel limits copies by rule, the ring and each follower are bounded,
// and what is left out is counted and told. So counts are of copies: packets there were at least as many.
import type { Flow, FlowEnd, FlowLine } from '../../api/answers.ts'
import { broken, type Condition } from '../../api/status.ts'
import { FLOW_GROUP } from '../../felix/policy/logged.ts'
import { type NamedRule, parseRuleText } from '../../felix/policy/rule-text.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { NflogPacket, NflogPort } from '../../kernel/port/nflog.ts'
import type { Clock } from '../../lib/clock.ts'
import type { FlowEnds } from './ends.ts'
import { FlowRing, type Seen } from './flow-ring.ts'
import { COPIED_OCTETS, type PacketFlow, packetFlow } from './packet.ts'

export type FlowsDeps = {
  kernel: NflogPort
  clock: Clock
  nodeName: string
  ends: Pick<FlowEnds, 'at'>
  /** The host endpoint of an interface of this node, by the kernel's index: its object need not name the addresses. */
  hostEndpointAt: (interfaceIndex: number) => string | undefined
  /** The policy of this name, which may be cut, and its tier. */
  policyNamed: (name: string) => { policy: string; tier: string } | undefined
  report: (conditions: readonly Condition[]) => void
}

/** Hears of flows; `lost` of how many packets nothing is known. What it throws ends the program. */
type Follower = (line: FlowLine) => void

/** Who may follow at a time. */
const MOST_FOLLOWERS = 16
/** Copies that wait for the agent. */
const QUEUE_OCTETS = 1 << 20
/** IANA's words; all others are numbers. */
const PROTOCOLS: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 132: 'sctp' }

export class Flows {
  readonly #deps: FlowsDeps
  readonly #ring = new FlowRing()
  readonly #followers = new Set<Follower>()
  #reader: { close(): void } | undefined
  #lost = 0
  #closed = false

  constructor(deps: FlowsDeps) {
    this.#deps = deps
  }

  /** Reads copies from now on. Where that is refused a condition says why, and each later call tries again. */
  start(): void {
    if (this.#reader !== undefined || this.#closed) return
    try {
      this.#reader = this.#deps.kernel.nflog({
        ...{ group: FLOW_GROUP, copyOctets: COPIED_OCTETS, batch: 64, batchMs: 100, queueOctets: QUEUE_OCTETS },
        received: packets => this.#take(packets),
        lost: count => this.#lose(count),
      })
      this.#deps.report([])
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      this.#deps.report([unread(error)])
    }
  }

  /** At most `count` flows, the one that was seen last behind all. */
  last(count: number): Flow[] {
    this.start()
    return this.#ring.last(count)
  }

  /** Tells `follower` of what comes from now on; undefined where there are too many. */
  follow(follower: Follower): { close(): void } | undefined {
    this.start()
    if (this.#followers.size >= MOST_FOLLOWERS) return undefined
    this.#followers.add(follower)
    return { close: () => void this.#followers.delete(follower) }
  }

  /** How many follow. */
  get followed(): number {
    return this.#followers.size
  }

  /** Copies that were dropped, since the start. */
  get lost(): number {
    return this.#lost
  }

  close(): void {
    this.#closed = true
    this.#reader?.close()
    this.#followers.clear()
  }

  #take(packets: readonly NflogPacket[]): void {
    for (const copy of packets) {
      const { family, prefix, payload } = copy
      const packet = packetFlow(family, payload)
      if (packet === undefined) {
        this.#lose(1)
        continue
      }
      const { source, destination, protocol, destinationPort = '', icmp } = packet
      const key = [prefix, source, destination, protocol, destinationPort, icmp?.type, icmp?.code].join(' ')
      const flow = this.#ring.see(key, () => this.#named(prefix, packet, copy), this.#deps.clock.wallMs())
      if (flow !== undefined) this.#tell({ flow })
    }
  }

  #lose(count: number): void {
    this.#lost += count
    this.#tell({ lost: count })
  }

  #tell(line: FlowLine): void {
    for (const follower of this.#followers) follower(line)
  }

  #named(text: string, { source, destination, protocol, ...rest }: PacketFlow, copy: NflogPacket): Seen {
    const { policyNamed } = this.#deps
    const { family } = copy
    const rule = parseRuleText(text)
    const known = rule?.of === 'policy' ? policyNamed(rule.policy) : undefined
    return {
      verdict: verdictOf(rule),
      ...(rule !== undefined && { direction: rule.direction }),
      ...{ family, protocol: PROTOCOLS[protocol] ?? `${protocol}` },
      ...{
        source: this.#end(source, copy, 'source'),
        destination: this.#end(destination, copy, 'destination'),
        ...rest,
      },
      ...(rule?.of === 'policy' && { policy: known?.policy ?? rule.policy }),
      ...(rule?.of === 'profile' && { profile: rule.profile }),
      ...(known !== undefined && { tier: known.tier }),
      ...(rule?.of === 'tier' && { tier: rule.tier }),
      ...(rule !== undefined && 'index' in rule && rule.index !== undefined && { rule: rule.index }),
      because: text,
    }
  }

  /** Who has an address; an end that is this host itself is told as the host endpoint of the interface. */
  #end(address: string, { hook, inputIndex, outputIndex }: NflogPacket, side: 'source' | 'destination'): FlowEnd {
    const { ends, hostEndpointAt, nodeName } = this.#deps
    const end = ends.at(address)
    const isOwn = end.kind === 'Node' && end.name === nodeName
    if (end.kind !== undefined && !isOwn) return end
    const isHere = isOwn || hook === (side === 'source' ? 'output' : 'input')
    const index = side === 'source' ? outputIndex : inputIndex
    const name = isHere && index !== undefined ? hostEndpointAt(index) : undefined
    return name === undefined ? end : { address, kind: 'HostEndpoint', name }
  }
}

/** What a text of a later version says nobody knows: it was copied, so it was logged at least. */
function verdictOf(rule: NamedRule | undefined): Flow['verdict'] {
  if (rule?.of === 'policy' && rule.staged === true) return rule.outcome === 'deny' ? 'staged-deny' : 'staged-unmatched'
  return rule?.outcome === 'deny' ? 'deny' : 'log'
}

function unread({ errno, message }: KernelError): Condition {
  const isTaken = errno === ERRNO.EPERM
  return broken('FlowsTold', {
    reason: isTaken ? 'GroupTaken' : 'NoCopies',
    message: `packets that policies deny or log are not told: ${message}`,
    remedy: isTaken
      ? `end the program that reads NFLOG group ${FLOW_GROUP} here (/proc/net/netfilter/nfnetlink_log); margayctl flows tries again`
      : 'load the module nfnetlink_log on this node; margayctl flows tries again',
  })
}
