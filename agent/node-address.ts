// Which addresses of this machine are the node's. One in use is kept as long as the machine has it, whatever else could be
// chosen: another one resets every session and tunnel. One that is gone is waited for a moment, as uplinks go and come,
// and then another one is chosen. Ambiguity is refused, not guessed.
import { isDeepStrictEqual } from 'node:util'
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { broken, type Condition, unknown } from '../api/status.ts'
import type { Address } from '../kernel/port/addresses.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent, KernelMonitor } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import { ROUTE_SCOPE, ROUTE_TABLE, type Route } from '../kernel/port/routes.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { contains, type Family, familyOf, isLinkLocal, parseAddress } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import {
  type AddressChoice,
  choose,
  isOthers,
  type Machine,
  type MachineChoice,
  parseChoice,
} from './address-choice.ts'

export type NodeAddress = {
  address: string
  /** Length of the node's own subnet, by which CrossSubnet is decided. */
  length: number
  /** Interface that carries it. */
  uplink: string
  ifindex: number
  /** Of the uplink when the address was chosen, in bytes. */
  mtu: number
  /** The IPv6 address with the length of its subnet and its interface, where the node has one. */
  ipv6?: { address: string; length: number; uplink: string }
}

/** The address could not be chosen; the message names the candidates. */
class AddressProblem extends Error {
  override readonly name = 'AddressProblem'
}

export type OwnAddressDeps = {
  kernel: Kernel
  clock: Clock
  log: Log
  /** How the addresses are chosen, in the words of `parseChoice`. */
  wanted: string
  /** The same for IPv6; absent: auto. */
  wantedIpv6?: string
  /** The machine's addresses changed: `look` has something to do. */
  changed: () => void
}

/** What the choice depends on besides the machine. `ipv6`: the cluster has a use for an IPv6 address. */
export type AddressHints = { node: Resource<'Node'> | undefined; ipv6: boolean }

/** What of that counts: the rest of a Node object, such as a kubelet's heartbeat, changes no address. */
type Hints = {
  usesIpv6: boolean
  /** The addresses in the node's annotations, and its InternalIPs. */
  annotations: { [family in Family]: string | undefined }
  internal: { [family in Family]: string | undefined }
}

/** With `waitMs` it has to be looked at again after so long. */
type Choice = { address: NodeAddress | undefined; waitMs?: number }

/** The addresses and the wishes of one family. */
type Search = {
  family: Family
  wanted: AddressChoice
  inUse: string | undefined
  local: readonly Address[]
  links: readonly Link[]
  hints: Hints
}

const ANNOTATION = { ipv4: NODE_ANNOTATION.ipv4Address, ipv6: NODE_ANNOTATION.ipv6Address } as const
const OPTION = { ipv4: '--node-ip', ipv6: '--node-ip6' } as const

/** How long an address that the machine does not have any more, or not yet, is waited for before another one is chosen. */
const WAIT_MS = 3000

/** This node's addresses, followed as the machine's change. */
export class OwnAddress {
  readonly #deps: OwnAddressDeps
  readonly #wanted: AddressChoice
  readonly #wantedIpv6: AddressChoice
  readonly #backoff = new Backoff({ firstMs: 250, maxMs: 5_000 })
  #found: NodeAddress | undefined
  #problem = 'not looked for yet'
  /** The machine may have changed since the last look. */
  #dirty = true
  #hints: Hints | undefined
  readonly #waitingSinceMs: { [family in Family]?: number } = {}
  /** The interface that last had the address. */
  #uplink: string | undefined
  #monitor: KernelMonitor | undefined
  #cancel: Cancel = () => undefined

  /** Throws Error where a choice is none. */
  constructor(deps: OwnAddressDeps) {
    this.#deps = deps
    this.#wanted = parseChoice(deps.wanted, 'ipv4')
    this.#wantedIpv6 = parseChoice(deps.wantedIpv6 ?? 'auto', 'ipv6')
  }

  get found(): NodeAddress | undefined {
    return this.#found
  }

  /** Empty when there is one, and one of IPv6 where that is in use. */
  refused(): Condition[] {
    if (this.#found !== undefined) return this.#found.ipv6 === undefined && this.#hints?.usesIpv6 ? [NO_IPV6] : []
    const remedy = 'give --node-ip, or correct what the message names'
    return [unknown('NodeAddressKnown', { reason: 'NoAddress', message: this.#problem, remedy })]
  }

  /**
   * The node's addresses as of now; the kernel is asked only after it told of a change. Undefined while there is no IPv4
   * address; `changed` is called when it is time to look again. Calls must not overlap.
   */
  async look(given: AddressHints): Promise<NodeAddress | undefined> {
    const hints = hintsOf(given)
    this.#monitor ??= this.#deps.kernel.monitor(event => this.#observe(event))
    if (!this.#dirty && this.#found !== undefined && isDeepStrictEqual(hints, this.#hints)) return this.#found
    this.#dirty = false
    this.#hints = hints
    const { log } = this.#deps
    try {
      const before = this.#found
      const { address, waitMs } = await this.#choose(hints)
      if (waitMs !== undefined) this.#again(waitMs)
      else this.#backoff.reset()
      this.#found = address
      this.#uplink = address?.uplink ?? this.#uplink
      if (address !== undefined && !isDeepStrictEqual(address, before))
        log.info({ ...address, before }, 'node address chosen')
    } catch (error) {
      if (!(error instanceof AddressProblem || error instanceof KernelError)) throw error
      this.#problem = error.message
      // a kernel that cannot be read is no reason to give the address up
      if (error instanceof AddressProblem) this.#found = undefined
      const delayMs = this.#backoff.next()
      log.error({ err: error, delayMs }, 'no node address yet; this node can serve no pods')
      this.#again(delayMs)
    }
    return this.#found
  }

  close(): void {
    this.#cancel()
    this.#monitor?.close()
  }

  #again(delayMs: number): void {
    this.#cancel()
    this.#cancel = this.#deps.clock.after(delayMs, () => {
      this.#dirty = true
      this.#deps.changed()
    })
  }

  #observe(event: KernelEvent): void {
    if (!this.#concerns(event)) return
    this.#dirty = true
    this.#deps.changed()
  }

  #concerns(event: KernelEvent): boolean {
    switch (event.type) {
      case 'overrun':
        return true
      case 'address':
      case 'address-gone':
        return event.address.scope === ROUTE_SCOPE.universe
      case 'link':
      case 'link-gone':
        return [this.#found?.uplink, this.#found?.ipv6?.uplink].includes(event.link.name)
      case 'route':
      case 'route-gone':
        return this.#mayLead(event.route.dst)
      default:
        return false
    }
  }

  /** Whether a route to `dst` may lead to an address that is not found yet. */
  #mayLead(dst: string): boolean {
    if (this.#found === undefined && dst === '0.0.0.0/0') return true
    const missing = [
      ...(this.#found === undefined ? [this.#wanted] : []),
      ...(this.#found?.ipv6 === undefined ? [this.#wantedIpv6] : []),
    ]
    return missing.some(choice => choice.by === 'can-reach' && contains(dst, choice.address))
  }

  /** Throws AddressProblem. */
  async #choose(hints: Hints): Promise<Choice> {
    const { kernel } = this.#deps
    const [links, addresses] = await Promise.all([kernel.links(), kernel.addresses()])
    const local = addresses.filter(a => familyOf(a.address) === 'ipv4')
    const inUse = this.#found?.address
    const found = await this.#find({ family: 'ipv4', wanted: this.#wanted, inUse, local, links, hints }, missing =>
      this.#otherIpv4(missing, { local, links }),
    )
    if ('waitMs' in found) {
      this.#problem = found.missing
      return { address: this.#found, waitMs: found.waitMs }
    }
    return this.#withIpv6(describe(found.address, links), { addresses, links }, hints)
  }

  /**
   * The best address that the machine has. The one in use, or where it has none the best one, is waited for a moment;
   * then it is the next one, else `otherwise`, which is told what is missing.
   */
  async #find<T extends Address | undefined>(
    { family, wanted, inUse, local, links, hints }: Search,
    otherwise: (missing: string | undefined) => Promise<T>,
  ): Promise<{ address: Address | T } | { waitMs: number; missing: string }> {
    const nameOf = ({ ifindex }: Address) => links.find(({ index }) => index === ifindex)?.name ?? ''
    const found = [...candidates(wanted, family, inUse, hints)]
      .map(each => ({ ...each, has: local.find(a => a.address === each.text) }))
      // an address that nobody chose is never taken from a device of another program, whatever an annotation says
      .filter(({ has }) => has === undefined || wanted.by !== 'auto' || !isOthers(nameOf(has)))
    const [best] = found
    const there = found.find(({ has }) => has !== undefined)?.has
    const isMissing = best !== undefined && best.has === undefined && (best.text === inUse || there === undefined)
    if (!isMissing) {
      this.#waitingSinceMs[family] = undefined
      return { address: there ?? (await otherwise(undefined)) }
    }
    const has = local.map(a => a.address).join(', ')
    const missing = `${best.origin} is ${best.text}, which no interface of this machine has (it has ${has}); correct it, or give ${OPTION[family]}`
    const nowMs = this.#deps.clock.monotonicMs()
    const sinceMs = this.#waitingSinceMs[family] ?? nowMs
    this.#waitingSinceMs[family] = sinceMs
    const waitMs = sinceMs + WAIT_MS - nowMs
    if (waitMs > 0) return { waitMs, missing }
    return { address: there ?? (await otherwise(missing)) }
  }

  /** The IPv4 address when the machine has none of those that were named. Throws AddressProblem. */
  async #otherIpv4(missing: string | undefined, { local, links }: Pick<Uplinks, 'local' | 'links'>): Promise<Address> {
    const wanted = this.#wanted
    if (isMachineChoice(wanted)) {
      const chosen = await this.#onMachine(wanted, { addresses: local, links })
      if (typeof chosen === 'string') throw new AddressProblem(`${chosen}; correct --node-ip`)
      return chosen
    }
    if (wanted.by === 'auto') {
      const own = links.filter(({ name }) => !isOthers(name)).map(({ index }) => index)
      const mayBe = local.filter(({ ifindex }) => own.includes(ifindex))
      const defaults = await this.#deps.kernel.routes({ table: ROUTE_TABLE.main, dst: '0.0.0.0/0' })
      return byUplink({ local: mayBe, links, defaults, last: this.#uplink })
    }
    throw new AddressProblem(
      missing ?? 'the Node object has no IPv4 InternalIP yet; give the kubelet --node-ip, or correct --node-ip here',
    )
  }

  async #onMachine(choice: MachineChoice, machine: Machine): Promise<Address | string> {
    if (choice.by !== 'can-reach') return choose(choice, machine)
    try {
      return choose(choice, { ...machine, route: await this.#deps.kernel.lookupRoute(choice.address) })
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      return `there is no way to ${choice.address}: ${error.message}`
    }
  }

  /**
   * With the node's IPv6 address, where it has one; while that is waited for, with the one in use. With `auto` and without
   * one that is named, the only one of the uplink, if the cluster uses IPv6. A node that nobody asked for it has none: it
   * makes the host an IPv6 router.
   */
  async #withIpv6(chosen: NodeAddress, { addresses, links }: Machine, hints: Hints): Promise<Choice> {
    const wanted = this.#wantedIpv6
    const local = addresses.filter(
      ({ address }) => familyOf(address) === 'ipv6' && !isLinkLocal(address) && address !== '::1',
    )
    const inUse = this.#found?.ipv6
    const search = { family: 'ipv6', wanted, inUse: inUse?.address, local, links, hints } as const
    const found = await this.#find(search, async () => {
      if (isMachineChoice(wanted)) {
        const answer = await this.#onMachine(wanted, { addresses: local, links })
        return typeof answer === 'string' ? undefined : answer
      }
      const ofUplink = local.filter(({ ifindex }) => ifindex === chosen.ifindex)
      return wanted.by === 'auto' && hints.usesIpv6 && ofUplink.length === 1 ? ofUplink[0] : undefined
    })
    if ('waitMs' in found)
      return { address: { ...chosen, ...(inUse !== undefined && { ipv6: inUse }) }, waitMs: found.waitMs }
    if (found.address === undefined) return { address: chosen }
    const { address, length, uplink } = describe(found.address, links)
    return { address: { ...chosen, ipv6: { address, length, uplink } } }
  }
}

const NO_IPV6: Condition = broken('FamiliesReachable', {
  reason: 'NoIpv6Address',
  message: 'there are IPv6 pools and this node has no IPv6 address, so its pods reach none of other nodes by IPv6',
  remedy: 'give the uplink one IPv6 address, or name one of the machine: --node-ip6',
})

function isMachineChoice(choice: AddressChoice): choice is MachineChoice {
  return !['auto', 'address', 'kubernetes-internal-ip', 'none'].includes(choice.by)
}

/**
 * What the address of a family should be, the best first: one that was given alone, else the one in use, with `auto` the
 * node's own annotation from an earlier run, and its Kubernetes InternalIP. A Node object without an InternalIP names none:
 * then `kubernetes-internal-ip` is the one in use too.
 */
function* candidates(
  wanted: AddressChoice,
  family: Family,
  inUse: string | undefined,
  { annotations, internal, usesIpv6 }: Hints,
): Generator<{ text: string; origin: string }> {
  const used = inUse === undefined ? [] : [{ text: inUse, origin: 'the address in use' }]
  const named = annotations[family]
  const ofNode = internal[family]
  const internals = ofNode === undefined ? [] : [{ text: ofNode, origin: 'the InternalIP of the Node object' }]
  switch (wanted.by) {
    case 'none':
      return
    case 'address':
      yield { text: wanted.address, origin: OPTION[family] }
      return
    case 'kubernetes-internal-ip':
      yield* ofNode === undefined ? used : internals
      return
    case 'auto':
      yield* used
      if (named !== undefined) yield { text: named, origin: `annotation ${ANNOTATION[family]}` }
      if (family === 'ipv4' || usesIpv6) yield* internals
      return
    default:
      yield* used
  }
}

function hintsOf({ node, ipv6 }: AddressHints): Hints {
  const named = (family: Family) => {
    const address = parseAddress(node?.metadata.annotations?.[ANNOTATION[family]]?.split('/')[0] ?? '')
    return address !== undefined && familyOf(address) === family ? address : undefined
  }
  return {
    usesIpv6: ipv6,
    annotations: { ipv4: named('ipv4'), ipv6: named('ipv6') },
    internal: { ipv4: internalIp(node, 'ipv4'), ipv6: internalIp(node, 'ipv6') },
  }
}

/** The first one of a family. */
function internalIp(node: Resource<'Node'> | undefined, family: Family): string | undefined {
  const of = (node?.status?.addresses ?? []).flatMap(({ type, address }) => {
    const parsed = type === 'InternalIP' ? parseAddress(address) : undefined
    return parsed !== undefined && familyOf(parsed) === family ? [parsed] : []
  })
  return of[0]
}

type Uplinks = {
  local: readonly Address[]
  links: readonly Link[]
  defaults: readonly Route[]
  last: string | undefined
}

/** The only address of the interface of the default route. With an address goes its default route: then that of the last uplink. */
function byUplink({ local, links, defaults, last }: Uplinks): Address {
  const usable = defaults.filter(r => r.ifindex !== undefined)
  const best = Math.min(...usable.map(r => r.metric ?? 0))
  const uplinks = new Set(usable.filter(r => (r.metric ?? 0) === best).map(r => r.ifindex))
  if (uplinks.size === 0) for (const link of links) if (link.name === last) uplinks.add(link.index)
  const found = local.filter(a => uplinks.has(a.ifindex))
  if (found.length === 1) return found[0]!
  const names = found.map(a => `${a.address} on ${links.find(l => l.index === a.ifindex)?.name}`)
  throw new AddressProblem(
    found.length === 0
      ? 'this machine has no IPv4 default route to tell the node address by; give --node-ip'
      : `the default route leaves the choice between ${names.join(', ')}; give --node-ip`,
  )
}

function describe({ address, length, ifindex }: Address, links: readonly Link[]): NodeAddress {
  const link = links.find(l => l.index === ifindex)
  if (link === undefined) throw new AddressProblem(`the interface of ${address} vanished while it was read; try again`)
  return { address, length, uplink: link.name, ifindex, mtu: link.mtu }
}
