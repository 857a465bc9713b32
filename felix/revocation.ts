// Ends established connections that policies deny by now: rules let packets of known connections pass, so a policy that changed
// decides about new ones alone until the old entries are deleted. Which ones is asked of the policies as told, with the packet
// that opened a connection as the rules saw it (after the destination was translated), on the side of each pod that may be
// denied more than before.
// Hazards: the kernel takes a TCP packet in the middle of nowhere for a new connection, and the other end may open one: so an
// interface of which connections were cut is shut to such packets first, for a time. Entries of a helper's connections (FTP)
// and those that this host opened itself were allowed by no rule, and stay.
import { broken, type Condition } from '../api/status.ts'
import type { Flow } from '../kernel/port/conntrack.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { isLoopback } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { PolicyEnforcer } from './enforcer.ts'
import type { JudgedPacket } from './policy/verdict.ts'

export type RevocationDeps = {
  kernel: Pick<Kernel, 'flowsOf' | 'deleteFlows' | 'addresses'>
  policy: Pick<PolicyEnforcer, 'judgedEndpoint' | 'judgedEndpoints' | 'verdict'>
  /** Shuts interfaces to TCP packets of unknown connections, or opens them again; resolves when the kernel was told. */
  shut: (interfaceNames: readonly string[], isShut: 'shut' | 'open') => Promise<void>
  clock: Clock
  log: Log
  /** What is wrong now; called when that changed. */
  report: (condition: Condition | undefined) => void
}

/** So many connections are held in memory, and deleted before the walk begins again. */
const AT_ONCE = 4096
/** As much as a table usually holds (262,144): where more come, somebody makes them as fast as they are cut; after a pause it goes on. */
const MOST_ROUNDS = 64
/** However often policies change, each walk is followed by a pause so many times as long, within these limits. */
const PAUSES = 4
const LEAST_PAUSE_MS = 50
const MOST_PAUSE_MS = 2000
/** After a refusal. */
const RETRY_MS = 5000
/** The other end of a TCP connection goes on trying for a quarter of an hour (tcp(7), tcp_retries2), and may have sent nothing. */
const SHUT_MS = 2 * 3600_000

export class Revocation {
  readonly #deps: RevocationDeps
  readonly #shut = new Map<string, Cancel>()
  #waiting = new Set<string>()
  #mode: 'cut' | 'keep' = 'cut'
  #timer: Cancel | undefined
  #walking = false
  #isBroken = false
  #closed = false

  constructor(deps: RevocationDeps) {
    this.#deps = deps
  }

  /** Whether connections are cut. Who was kept is looked at when that changes. */
  configure(mode: 'cut' | 'keep'): void {
    if (mode === this.#mode) return
    this.#mode = mode
    if (mode === 'keep') this.#waiting.clear()
    else this.want(this.#deps.policy.judgedEndpoints())
  }

  /** The policies of these endpoints of this node, which the kernel has by now, may deny more than they did. */
  want(endpoints: Iterable<string>): void {
    if (this.#mode === 'keep') return
    for (const key of endpoints) this.#waiting.add(key)
    if (this.#waiting.size > 0 && !this.#walking && this.#timer === undefined) this.#begin()
  }

  close(): void {
    this.#closed = true
    this.#timer?.()
    for (const cancel of this.#shut.values()) cancel()
  }

  #begin(): void {
    this.#timer = undefined
    if (this.#closed || this.#waiting.size === 0) return
    this.#walking = true
    const endpoints = this.#waiting
    this.#waiting = new Set()
    const startedMs = this.#deps.clock.monotonicMs()
    void this.#cut(endpoints).then(({ refused, isWhole }) => {
      this.#walking = false
      if (this.#closed) return
      this.#tell(refused)
      if (!isWhole) for (const key of endpoints) this.#waiting.add(key)
      const tookMs = this.#deps.clock.monotonicMs() - startedMs
      const pauseMs =
        refused === undefined ? Math.min(MOST_PAUSE_MS, Math.max(LEAST_PAUSE_MS, PAUSES * tookMs)) : RETRY_MS
      this.#timer = this.#deps.clock.after(pauseMs, () => this.#begin())
    })
  }

  /** Resolves to whether all are cut, and to why one could not be. */
  async #cut(endpoints: ReadonlySet<string>): Promise<{ refused?: KernelError | undefined; isWhole: boolean }> {
    const { kernel, log } = this.#deps
    try {
      for (let round = 0; round < MOST_ROUNDS; round++) {
        const denied = await this.#denied(endpoints)
        if (denied.size === 0) return { isWhole: true }
        const shut = new Set(
          [...denied.values()].flatMap(({ flow, interfaceName }) => (isTcp(flow) ? [interfaceName] : [])),
        )
        await this.#shutAll([...shut])
        if (this.#closed) return { isWhole: true }
        const answers = await kernel.deleteFlows([...denied.values()].map(({ flow }) => flow))
        const refused = answers.filter(error => error !== undefined)
        log.info(
          { connections: answers.length - refused.length, refused: refused.length },
          'policies deny them now: cut',
        )
        if (refused.length > 0) return { refused: refused[0], isWhole: false }
        if (denied.size < AT_ONCE) return { isWhole: true }
      }
      return { isWhole: false }
    } catch (error) {
      if (error instanceof KernelError) return { refused: error, isWhole: false }
      throw error
    }
  }

  /** The connections of these endpoints that their policies deny, by the kernel's number: as many as are held at once. */
  async #denied(endpoints: ReadonlySet<string>): Promise<Map<number, { flow: Flow; interfaceName: string }>> {
    const { kernel, policy } = this.#deps
    const byAddress = new Map<string, { key: string; interfaceName: string }>()
    for (const key of endpoints) {
      const { addresses = [], interfaceName = '' } = policy.judgedEndpoint(key) ?? {}
      for (const address of addresses) byAddress.set(address, { key, interfaceName })
    }
    const denied = new Map<number, { flow: Flow; interfaceName: string }>()
    if (byAddress.size === 0) return denied
    const own = new Set((await kernel.addresses()).map(({ address }) => address))
    await kernel.flowsOf(new Set(byAddress.keys()), flow => {
      if (flow.isExpected || denied.size >= AT_ONCE) return
      const packet = packetOf(flow)
      const sender = byAddress.get(packet.source)
      const receiver =
        own.has(packet.source) || isLoopback(packet.source) ? undefined : byAddress.get(packet.destination)
      const denying = [
        sender !== undefined && policy.verdict(sender.key, 'egress', packet) === 'deny' ? sender : undefined,
        receiver !== undefined && policy.verdict(receiver.key, 'ingress', packet) === 'deny' ? receiver : undefined,
      ].find(each => each !== undefined)
      if (denying !== undefined) denied.set(flow.id, { flow, interfaceName: denying.interfaceName })
    })
    return denied
  }

  async #shutAll(interfaceNames: readonly string[]): Promise<void> {
    const { clock, shut } = this.#deps
    const more = interfaceNames.filter(name => !this.#shut.has(name))
    for (const name of interfaceNames) {
      this.#shut.get(name)?.()
      this.#shut.set(
        name,
        clock.after(SHUT_MS, () => {
          this.#shut.delete(name)
          void shut([name], 'open')
        }),
      )
    }
    if (more.length > 0) await shut(more, 'shut')
  }

  #tell(refused: KernelError | undefined): void {
    if (refused === undefined && !this.#isBroken) return
    this.#isBroken = refused !== undefined
    this.#deps.report(
      refused &&
        broken('ConnectionsCut', {
          reason: 'Refused',
          message: `connections that policies deny now go on: ${refused.message}`,
          remedy:
            'load nf_conntrack_netlink where connections cannot be listed (EINVAL); entries of a flowtable cannot be deleted before Linux 6.4 (EBUSY)',
        }),
    )
  }
}

/** The packet that opened a connection, as rules at the hook forward saw it: they come before the source is translated. */
function packetOf({ original, reply }: Flow): JudgedPacket {
  const { source, protocol, ports, icmp } = original
  return {
    ...{ source, destination: reply.source, protocol },
    ...(ports !== undefined &&
      reply.ports !== undefined && { ports: { source: ports.source, destination: reply.ports.source } }),
    ...(icmp !== undefined && { icmp: { type: icmp.type, code: icmp.code } }),
  }
}

function isTcp({ original }: Flow): boolean {
  return original.protocol === 6
}
