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
import { ROUTE_SCOPE, type Route } from '../kernel/port/routes.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { type Family, familyOf, isLinkLocal, parseAddress } from '../lib/ip.ts'
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
  /** The IPv6 address with the length of its subnet, where the node has one. */
  ipv6?: { address: string; length: number }
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
  /** The texts of the node's annotations, and its InternalIPs. */
  annotations: { [family in Family]: string | undefined }
  internal: { [family in Family]: string | undefined }
}

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
  #waitingSinceMs: number | undefined
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
        return this.#found?.uplink === event.link.name
      case 'route':
      case 'route-gone':
        return this.#found === undefined && event.route.dst === '0.0.0.0/0'
      default:
        return false
    }
  }

  /** Throws AddressProblem. With `waitMs` it has to be looked at again after so long. */
  async #choose(hints: Hints): Promise<{ address: NodeAddress | undefined; waitMs?: number }> {
    const { kernel } = this.#deps
    const wanted = this.#wanted
    const [links, addresses, routes] = await Promise.all([
      kernel.links(),
      kernel.addresses(),
      kernel.routes({ family: 'ipv4', table: 254 }),
    ])
    const local = addresses.filter(a => familyOf(a.address) === 'ipv4')
    const nameOf = ({ ifindex }: Address) => links.find(({ index }) => index === ifindex)?.name ?? ''
    const described = async (address: Address) => {
      this.#waitingSinceMs = undefined
      return { address: await this.#withIpv6(describe(address, links), { addresses, links }, hints) }
    }
    if (isMachineChoice(wanted)) {
      const same = local.find(a => a.address === this.#found?.address)
      const chosen = same ?? (await this.#onMachine(wanted, { addresses: local, links }))
      if (typeof chosen !== 'string') return described(chosen)
      return this.#afterWait(chosen, async () => {
        throw new AddressProblem(`${chosen}; correct --node-ip`)
      })
    }
    // an address that nobody chose is never taken from a device of another program, whatever an annotation says
    const mayBe = (address: Address) => wanted.by !== 'auto' || !isOthers(nameOf(address))
    const found = [...candidates(wanted, this.#found, hints)]
      .map(each => ({ ...each, has: local.find(a => a.address === each.text) }))
      .filter(({ has }) => has === undefined || mayBe(has))
    for (const { has } of found) if (has !== undefined) return described(has)
    const [first] = found
    const otherwise = () => described(byUplink({ local: local.filter(mayBe), links, routes, last: this.#uplink }))
    if (first === undefined) {
      if (wanted.by !== 'kubernetes-internal-ip') return otherwise()
      throw new AddressProblem(
        'the Node object has no IPv4 InternalIP yet; give the kubelet --node-ip, or correct --node-ip here',
      )
    }
    const has = local.map(a => a.address).join(', ')
    const missing = `${first.origin} is ${first.text}, which no interface of this machine has (it has ${has}); correct it, or give --node-ip`
    return this.#afterWait(missing, async () => {
      if (wanted.by !== 'auto') throw new AddressProblem(missing)
      return otherwise()
    })
  }

  /** What is missing is waited for a moment before another answer is given. */
  async #afterWait<T extends { address: NodeAddress | undefined; waitMs?: number }>(
    missing: string,
    otherwise: () => Promise<T>,
  ): Promise<{ address: NodeAddress | undefined; waitMs?: number }> {
    const nowMs = this.#deps.clock.monotonicMs()
    this.#waitingSinceMs ??= nowMs
    const leftMs = this.#waitingSinceMs + WAIT_MS - nowMs
    if (leftMs > 0) {
      this.#problem = missing
      return { address: this.#found, waitMs: leftMs }
    }
    return otherwise()
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
   * With the node's IPv6 address, where it has one. `auto`: the one in use, that of its annotation, its InternalIP, else, if
   * the cluster uses IPv6, the only one of the uplink. A node that nobody asked for it has none: it makes the host an IPv6 router.
   */
  async #withIpv6(chosen: NodeAddress, machine: Machine, hints: Hints): Promise<NodeAddress> {
    const wanted = this.#wantedIpv6
    const { links } = machine
    const local = machine.addresses.filter(
      ({ address }) => familyOf(address) === 'ipv6' && !isLinkLocal(address) && address !== '::1',
    )
    const at = (text: string | undefined) => local.find(({ address }) => address === text)
    const notOthers = (found: Address | undefined) => {
      const name = links.find(({ index }) => index === found?.ifindex)?.name
      return name === undefined || isOthers(name) ? undefined : found
    }
    const inUse = at(this.#found?.ipv6?.address)
    const named = notOthers(at(parseAddress(hints.annotations.ipv6?.split('/')[0] ?? '')))
    const internal = notOthers(at(hints.internal.ipv6))
    let found: Address | undefined
    if (wanted.by === 'none') found = undefined
    else if (wanted.by === 'address') found = at(wanted.address)
    else if (wanted.by === 'kubernetes-internal-ip') found = internal
    else if (isMachineChoice(wanted)) {
      const answer = inUse ?? (await this.#onMachine(wanted, { ...machine, addresses: local }))
      found = typeof answer === 'string' ? undefined : answer
    } else {
      const ofUplink = local.filter(({ ifindex }) => ifindex === chosen.ifindex)
      const only = ofUplink.length === 1 ? ofUplink[0] : undefined
      found = named ?? (hints.usesIpv6 ? (inUse ?? internal ?? only) : undefined)
    }
    return found === undefined ? chosen : { ...chosen, ipv6: { address: found.address, length: found.length } }
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
 * What the IPv4 address should be, the best first: one that was given alone, else the one in use, with `auto` the node's own
 * annotation from an earlier run, and its Kubernetes InternalIP. Without any `auto` is the only address of the interface of the default route.
 */
function* candidates(
  wanted: AddressChoice,
  inUse: NodeAddress | undefined,
  { annotations, internal }: Hints,
): Generator<{ text: string; origin: string }> {
  if (wanted.by === 'address') {
    yield { text: wanted.address, origin: '--node-ip' }
    return
  }
  if (wanted.by === 'auto') {
    if (inUse !== undefined) yield { text: inUse.address, origin: 'the address in use' }
    if (annotations.ipv4 !== undefined && annotations.ipv4 !== '')
      yield { text: annotations.ipv4.split('/')[0]!, origin: `annotation ${NODE_ANNOTATION.ipv4Address}` }
  }
  if (internal.ipv4 !== undefined) yield { text: internal.ipv4, origin: 'the InternalIP of the Node object' }
}

function hintsOf({ node, ipv6 }: AddressHints): Hints {
  const annotations = node?.metadata.annotations
  return {
    usesIpv6: ipv6,
    annotations: { ipv4: annotations?.[NODE_ANNOTATION.ipv4Address], ipv6: annotations?.[NODE_ANNOTATION.ipv6Address] },
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

type Uplinks = { local: readonly Address[]; links: readonly Link[]; routes: readonly Route[]; last: string | undefined }

/** The only address of the interface of the default route. With an address goes its default route: then that of the last uplink. */
function byUplink({ local, links, routes, last }: Uplinks): Address {
  const defaults = routes.filter(r => r.dst === '0.0.0.0/0' && r.ifindex !== undefined)
  const best = Math.min(...defaults.map(r => r.metric ?? 0))
  const uplinks = new Set(defaults.filter(r => (r.metric ?? 0) === best).map(r => r.ifindex))
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
