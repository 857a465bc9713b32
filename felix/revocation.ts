// Ends established connections that policies deny by now: rules let packets of known connections pass, so a policy that changed
// decides about new ones alone until the old entries are deleted. Which ones is asked of the policies as told, with the packet
// that opened a connection as the rules saw it (after the destination was translated), on the side of each pod that may be
// denied more than before: of its addresses, and of its other sources where these are reached over its interface now. Of host
// endpoints all connections are asked about: the host's own, and those that it forwards.
// Hazards: the kernel takes a TCP packet in the middle of nowhere for a new connection, and the other end may open one: so an
// interface of which connections were cut is shut to such packets first, for a time. Entries of a helper's connections (FTP)
// and, to pods, those that this host opened itself were allowed by no rule, and stay.
import { broken, type Condition } from '../api/status.ts'
import type { Flow } from '../kernel/port/conntrack.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { isLoopback } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { PolicyEnforcer } from './enforcer.ts'
import { HostWays, type OwnAddresses } from './host-ways.ts'
import type { Direction } from './policy/active.ts'
import type { CutPlace } from './policy/cut-connections.ts'
import type { Way } from './policy/host-verdict.ts'
import { isInSome, type JudgedPacket } from './policy/verdict.ts'

export type RevocationDeps = {
  kernel: Pick<Kernel, 'flowsOf' | 'deleteFlows' | 'addresses' | 'links' | 'lookupRoute'>
  policy: Pick<PolicyEnforcer, 'judgedEndpoint' | 'judgedEndpoints' | 'judgedInterfaces' | 'setCut'> & {
    verdicts: Pick<PolicyEnforcer['verdicts'], 'verdict' | 'hostDenial'>
  }
  /** What the pod of an interface may send under beside its addresses: CIDRs. */
  sourcesOf: (interfaceName: string) => readonly string[]
  /** Resolves when the kernel was told of what `setCut` said. */
  told: () => Promise<void>
  clock: Clock
  log: Log
  /** What is wrong now; called when that changed. */
  report: (condition: Condition | undefined) => void
  /** `pods` is another one. */
  cut: () => void
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

/** A connection, and where it is denied. */
type Denied = { flow: Flow; at: CutPlace }
type Pod = { key: string; interfaceName: string }
/** One that may send under other sources. */
type Gateway = Pod & { sources: readonly string[] }
/** Who has connections that their addresses do not tell, only the ways of these. */
type ByWays = { ways: HostWays; denies: (flow: Flow, ways: readonly Way[]) => CutPlace | undefined }
/** Whose connections are asked about: of the pods that have these addresses, and of all others by their ways. */
type Asked = { byAddress: ReadonlyMap<string, Pod>; byWays: readonly ByWays[] }

export class Revocation {
  readonly #deps: RevocationDeps
  /** What opens each shut place again. */
  readonly #shut = new Map<string, Cancel>()
  #waiting = new Set<string>()
  /** The version of Pods as of the last `want`, and the one up to which all connections are cut. */
  #podsWanted: string | undefined
  #podsCut: string | undefined
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
    else this.want(this.#deps.policy.judgedEndpoints(), this.#podsWanted)
  }

  /**
   * The version of Pods up to which no connection is tracked that sets of policies allowed with the address of a pod that is gone. Where
   * connections are kept it says nothing of them.
   */
  get pods(): string | undefined {
    return this.#podsCut
  }

  /**
   * The policies of these endpoints of this node, which the kernel has by now, may deny more than they did; `pods`: the version of
   * Pods that they are as of.
   */
  want(endpoints: Iterable<string>, pods: string | undefined): void {
    this.#podsWanted = pods
    if (this.#mode === 'cut') for (const key of endpoints) this.#waiting.add(key)
    if (this.#waiting.size > 0) {
      if (!this.#walking && this.#timer === undefined) this.#begin()
    } else if (!this.#walking) this.#podsCut = pods
  }

  /** These are shut, by an earlier run: since when is not known, so it is for the whole time. */
  adopt(places: readonly CutPlace[]): void {
    for (const place of places) this.#openLater(place)
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
    const pods = this.#podsWanted
    const startedMs = this.#deps.clock.monotonicMs()
    void this.#cut(endpoints).then(({ refused, isWhole }) => {
      this.#walking = false
      if (this.#closed) return
      this.#tell(refused)
      if (!isWhole && this.#mode === 'cut') for (const key of endpoints) this.#waiting.add(key)
      this.#noteCut(this.#waiting.size === 0 ? this.#podsWanted : isWhole ? pods : this.#podsCut)
      const tookMs = this.#deps.clock.monotonicMs() - startedMs
      const pauseMs =
        refused === undefined ? Math.min(MOST_PAUSE_MS, Math.max(LEAST_PAUSE_MS, PAUSES * tookMs)) : RETRY_MS
      this.#timer = this.#deps.clock.after(pauseMs, () => this.#begin())
    })
  }

  #noteCut(pods: string | undefined): void {
    if (pods === this.#podsCut) return
    this.#podsCut = pods
    this.#deps.cut()
  }

  /** Resolves to whether all are cut, and to why one could not be. */
  async #cut(endpoints: ReadonlySet<string>): Promise<{ refused?: KernelError | undefined; isWhole: boolean }> {
    const { kernel, log } = this.#deps
    try {
      const addresses = Map.groupBy(await kernel.addresses(), ({ address }) => address)
      const own = new Map([...addresses].map(([address, of]) => [address, of.map(({ ifindex }) => ifindex)]))
      const asked = this.#asked(endpoints, own)
      if (asked.byAddress.size + asked.byWays.length === 0) return { isWhole: true }
      for (let round = 0; round < MOST_ROUNDS; round++) {
        const { denied, isLast } = await this.#look(asked, own)
        if (denied.size > 0) {
          await this.#shutAll([...denied.values()].flatMap(({ flow, at }) => (isTcp(flow) ? [at] : [])))
          if (this.#closed) return { isWhole: true }
          const answers = await kernel.deleteFlows([...denied.values()].map(({ flow }) => flow))
          const refused = answers.filter(error => error !== undefined)
          log.info(
            { connections: answers.length - refused.length, refused: refused.length },
            'policies deny them now: cut',
          )
          if (refused.length > 0) return { refused: refused[0], isWhole: false }
        }
        if (isLast) return { isWhole: true }
      }
      return { isWhole: false }
    } catch (error) {
      if (error instanceof KernelError) return { refused: error, isWhole: false }
      throw error
    }
  }

  #asked(endpoints: ReadonlySet<string>, own: OwnAddresses): Asked {
    const { kernel, policy } = this.#deps
    const byAddress = new Map<string, Pod>()
    const byWays: ByWays[] = []
    const gateways: Gateway[] = []
    let asksHosts = false
    for (const key of endpoints) {
      const endpoint = policy.judgedEndpoint(key)
      if (endpoint?.kind === 'host') asksHosts = true
      if (endpoint?.kind !== 'pod') continue
      const { interfaceName, addresses } = endpoint
      for (const address of addresses) byAddress.set(address, { key, interfaceName })
      const sources = this.#deps.sourcesOf(interfaceName)
      if (sources.length > 0) gateways.push({ key, interfaceName, sources })
    }
    const names = gateways.map(({ interfaceName }) => interfaceName)
    if (gateways.length > 0)
      byWays.push({
        ways: new HostWays(kernel, own, names),
        denies: (...of) => this.#deniedToGateways(gateways, own, ...of),
      })
    if (asksHosts)
      byWays.push({
        ways: new HostWays(kernel, own, policy.judgedInterfaces()),
        denies: (...of) => this.#deniedByHosts(...of),
      })
    return { byAddress, byWays }
  }

  /** The connections that policies deny, by the kernel's number: as many as are held at once. */
  async #look(
    { byAddress, byWays }: Asked,
    own: OwnAddresses,
  ): Promise<{ denied: ReadonlyMap<number, Denied>; isLast: boolean }> {
    const { kernel, policy } = this.#deps
    const denied = new Map<number, Denied>()
    let isUnknown = false
    await kernel.flowsOf(byWays.length === 0 ? new Set(byAddress.keys()) : 'all', flow => {
      if (flow.isExpected || denied.size >= AT_ONCE) return
      const packet = packetOf(flow)
      const sender = byAddress.get(packet.source)
      const receiver =
        own.has(packet.source) || isLoopback(packet.source) ? undefined : byAddress.get(packet.destination)
      const denying = [
        sender !== undefined && policy.verdicts.verdict(sender.key, 'egress', packet) === 'deny' ? sender : undefined,
        receiver !== undefined && policy.verdicts.verdict(receiver.key, 'ingress', packet) === 'deny'
          ? receiver
          : undefined,
      ].find(each => each !== undefined)
      if (denying !== undefined) {
        denied.set(flow.id, { flow, at: { of: 'own', interfaceName: denying.interfaceName } })
        return
      }
      for (const { ways, denies } of byWays) {
        if (denies(flow, ways.possible(packet)) === undefined) continue
        const known = ways.of(packet)
        const at = known && denies(flow, known)
        if (at !== undefined) denied.set(flow.id, { flow, at })
        isUnknown ||= known === undefined
      }
    })
    for (const { ways } of byWays) await ways.look()
    return { denied, isLast: denied.size < AT_ONCE && !isUnknown }
  }

  /** Where policies of pods deny a connection under one of their other sources, on one of the ways that it may have. */
  #deniedToGateways(
    gateways: readonly Gateway[],
    own: OwnAddresses,
    flow: Flow,
    ways: readonly Way[],
  ): CutPlace | undefined {
    const packet = packetOf(flow)
    const isFromHere = own.has(packet.source) || isLoopback(packet.source)
    const denying = gateways.find(({ key, interfaceName, sources }) => {
      const denies = (way: keyof Way, side: 'source' | 'destination', direction: Direction) =>
        ways.some(each => each[way] === interfaceName) &&
        isInSome(sources, packet[side]) &&
        this.#deps.policy.verdicts.verdict(key, direction, packet) === 'deny'
      return denies('from', 'source', 'egress') || (!isFromHere && denies('to', 'destination', 'ingress'))
    })
    return denying && { of: 'own', interfaceName: denying.interfaceName }
  }

  /** Where a connection is denied on one of the ways that it may have. */
  #deniedByHosts(flow: Flow, ways: readonly Way[]): CutPlace | undefined {
    if (ways.length === 0) return undefined
    const seen = { sent: sentPacket(flow), translated: packetOf(flow) }
    return ways.map(way => this.#deps.policy.verdicts.hostDenial(way, seen)).find(at => at !== undefined)
  }

  async #shutAll(places: readonly CutPlace[]): Promise<void> {
    const { policy, told } = this.#deps
    const all = new Map(places.map(place => [placeKey(place), place]))
    const isNews = all.keys().some(key => !this.#shut.has(key))
    for (const place of all.values()) {
      policy.setCut(place, true)
      this.#openLater(place)
    }
    if (isNews) await told()
  }

  #openLater(place: CutPlace): void {
    const { clock, policy, told } = this.#deps
    const key = placeKey(place)
    this.#shut.get(key)?.()
    const open = () => {
      this.#shut.delete(key)
      policy.setCut(place, false)
      void told()
    }
    this.#shut.set(key, clock.after(SHUT_MS, open))
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

function placeKey({ of, interfaceName }: CutPlace): string {
  return `${of} ${interfaceName}`
}

/** The packet that opened a connection, as rules at the hook forward saw it: they come before the source is translated. */
function packetOf(flow: Flow): JudgedPacket {
  const { reply } = flow
  const sent = sentPacket(flow)
  return {
    ...sent,
    destination: reply.source,
    ...(sent.ports !== undefined &&
      reply.ports !== undefined && { ports: { source: sent.ports.source, destination: reply.ports.source } }),
  }
}

/** As its sender sent it. */
function sentPacket({ original }: Flow): JudgedPacket {
  const { source, destination, protocol, ports, icmp } = original
  return {
    ...{ source, destination, protocol },
    ...(ports !== undefined && { ports }),
    ...(icmp !== undefined && { icmp: { type: icmp.type, code: icmp.code } }),
  }
}

function isTcp({ original }: Flow): boolean {
  return original.protocol === 6
}
