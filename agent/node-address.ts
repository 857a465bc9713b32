// Which addresses of this machine are the node's. One in use is kept as long as the machine has it, whatever else could be
// chosen: another one resets every session and tunnel. One that is gone is waited for a moment, as uplinks go and come,
// and then another one is chosen. Ambiguity is refused, not guessed.
import { isDeepStrictEqual } from 'node:util'
import { broken, type Condition, unknown } from '../api/status.ts'
import type { Address } from '../kernel/port/addresses.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent, KernelMonitor } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import { ROUTE_SCOPE, ROUTE_TABLE } from '../kernel/port/routes.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { contains, type Family, familyOf } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import {
  type AddressChoice,
  choose,
  chooseByUplink,
  FAMILY_NAME,
  isLocal,
  isMachineChoice,
  isOthers,
  type Machine,
  type MachineChoice,
  ownOf,
  parseChoice,
  subnetsOf,
} from './address-choice.ts'
import { type AddressHints, candidates, type Hints, hintsOf, OPTION } from './address-hints.ts'

/** One address of the node. */
type OnInterface = {
  address: string
  /** Length of the node's own subnet, by which CrossSubnet is decided. */
  length: number
  /** Interface that carries it. */
  uplink: string
}

/** The addresses of the node: of IPv4, of IPv6, or of both. */
export type NodeAddress = {
  /** Of the interface of the IPv4 address, without one of that of the IPv6 address. */
  ifindex: number
  /** Of that interface when the address was chosen, in bytes. */
  mtu: number
} & ({ ipv4: OnInterface; ipv6?: OnInterface } | { ipv4?: undefined; ipv6: OnInterface })

/** The interface of the IPv4 address, without one that of the IPv6 address. */
export function uplinkOf({ ipv4, ipv6 }: NodeAddress): string {
  return (ipv4 ?? ipv6).uplink
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

/** With `waitMs` it has to be looked at again after so long. */
type Choice = { address: NodeAddress | undefined; waitMs?: number }

/** What one family has: an address, or none; or one that is waited for. */
type Found = { address: Address | undefined } | { waitMs: number; missing: string }

/** The addresses and the wishes of one family. */
type Search = {
  family: Family
  wanted: AddressChoice
  inUse: string | undefined
  local: readonly Address[]
  links: readonly Link[]
  hints: Hints
}

const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']
const DEFAULT_ROUTE = { ipv4: '0.0.0.0/0', ipv6: '::/0' } as const

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
  /** The interfaces that last had an address. */
  readonly #uplinks: { [family in Family]?: string } = {}
  #subnets: readonly string[] = []
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

  /** `subnetsOf` this machine, as last seen. */
  get subnets(): readonly string[] {
    return this.#subnets
  }

  /** Empty when there is one of each family that is in use. */
  refused(): Condition[] {
    if (this.#found !== undefined)
      return FAMILIES.filter(family => this.#found?.[family] === undefined && this.#lacks(family)).map(noAddressOf)
    const remedy = 'give --node-ip, or correct what the message names'
    return [unknown('NodeAddressKnown', { reason: 'NoAddress', message: this.#problem, remedy })]
  }

  /** Whether pods need an address of a family that this node does not have. */
  #lacks(family: Family): boolean {
    const { uses, ipv6Tunnelled } = this.#hints ?? {}
    return uses?.[family] === true && !(family === 'ipv6' && ipv6Tunnelled)
  }

  /**
   * The node's addresses as of now; the kernel is asked only after it told of a change. Undefined while there is none, or
   * not the one that somebody named; `changed` is called when it is time to look again. Calls must not overlap.
   */
  async look(given: AddressHints): Promise<NodeAddress | undefined> {
    const hints = hintsOf(given)
    // it is the only family that this node is to have
    if (this.#wanted.by === 'none') hints.uses.ipv6 = true
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
      for (const family of FAMILIES) this.#uplinks[family] = address?.[family]?.uplink ?? this.#uplinks[family]
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
        return [this.#found?.ipv4?.uplink, this.#found?.ipv6?.uplink].includes(event.link.name)
      case 'route':
      case 'route-gone':
        return this.#mayLead(event.route.dst)
      default:
        return false
    }
  }

  /** Whether a route to `dst` may lead to an address that is not found yet. */
  #mayLead(dst: string): boolean {
    if (FAMILIES.some(family => this.#found?.[family] === undefined && dst === DEFAULT_ROUTE[family])) return true
    const missing = [
      ...(this.#found?.ipv4 === undefined ? [this.#wanted] : []),
      ...(this.#found?.ipv6 === undefined ? [this.#wantedIpv6] : []),
    ]
    return missing.some(choice => choice.by === 'can-reach' && contains(dst, choice.address))
  }

  /** Throws AddressProblem. */
  async #choose(hints: Hints): Promise<Choice> {
    const { kernel } = this.#deps
    const [links, addresses] = await Promise.all([kernel.links(), kernel.addresses()])
    const machine = { addresses, links }
    this.#subnets = subnetsOf(machine)
    const ipv4 = await this.#ipv4(machine, hints)
    if ('waitMs' in ipv4) return this.#waitFor(ipv4)
    const ipv6 = await this.#ipv6(machine, ipv4.address, hints)
    if (ipv4.address === undefined) {
      if ('waitMs' in ipv6) return this.#waitFor(ipv6)
      if (ipv6.address === undefined) throw new AddressProblem(NO_ADDRESS)
      return { address: { ...interfaceOf(ipv6.address, links), ipv6: describe(ipv6.address, links) } }
    }
    const chosen = { ...interfaceOf(ipv4.address, links), ipv4: describe(ipv4.address, links) }
    const inUse = this.#found?.ipv6
    if ('waitMs' in ipv6)
      return { address: { ...chosen, ...(inUse !== undefined && { ipv6: inUse }) }, waitMs: ipv6.waitMs }
    if (ipv6.address === undefined) return { address: chosen }
    return { address: { ...chosen, ipv6: describe(ipv6.address, links) } }
  }

  /** Keeps what there is until the address that is missing had its time to come. */
  #waitFor({ waitMs, missing }: Extract<Found, { waitMs: number }>): Choice {
    this.#problem = missing
    return { address: this.#found, waitMs }
  }

  /** Throws AddressProblem. */
  #ipv4({ addresses, links }: Machine, hints: Hints): Promise<Found> {
    const local = addresses.filter(a => familyOf(a.address) === 'ipv4')
    const inUse = this.#found?.ipv4?.address
    return this.#find({ family: 'ipv4', wanted: this.#wanted, inUse, local, links, hints }, missing =>
      this.#otherIpv4(missing, { local, links, hints }),
    )
  }

  /**
   * The node's IPv6 address. With `auto` and without one that is named it is the only one of the uplink, if the cluster uses
   * IPv6. A node that nobody asked for it has none: it makes the host an IPv6 router. Throws AddressProblem where the node
   * has no other address and there is no one choice.
   */
  #ipv6({ addresses, links }: Machine, ipv4: Address | undefined, hints: Hints): Promise<Found> {
    const wanted = this.#wantedIpv6
    const local = addresses.filter(({ address }) => familyOf(address) === 'ipv6' && !isLocal(address))
    const search = { family: 'ipv6', wanted, inUse: this.#found?.ipv6?.address, local, links, hints } as const
    return this.#find(search, async missing => {
      if (isMachineChoice(wanted)) {
        const answer = await this.#onMachine(wanted, { addresses: local, links })
        if (typeof answer !== 'string') return answer
        if (ipv4 === undefined) throw new AddressProblem(`${answer}; correct --node-ip6`)
      }
      if (ipv4 === undefined && missing !== undefined && wanted.by !== 'auto') throw new AddressProblem(missing)
      if (wanted.by !== 'auto' || !hints.uses.ipv6) return undefined
      if (ipv4 === undefined) return this.#byUplink('ipv6', { local, links })
      const ofUplink = local.filter(({ ifindex }) => ifindex === ipv4.ifindex)
      return ofUplink.length === 1 ? ofUplink[0] : undefined
    })
  }

  /**
   * The best address that the machine has. The one in use, or where it has none the best one, is waited for a moment;
   * then it is the next one, else `otherwise`, which is told what is missing.
   */
  async #find(
    { family, wanted, inUse, local, links, hints }: Search,
    otherwise: (missing: string | undefined) => Promise<Address | undefined>,
  ): Promise<Found> {
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

  /**
   * The IPv4 address when the machine has none of those that were named; undefined where the node is one of IPv6 alone. Throws
   * AddressProblem.
   */
  async #otherIpv4(
    missing: string | undefined,
    { local, links, hints }: Pick<Search, 'local' | 'links' | 'hints'>,
  ): Promise<Address | undefined> {
    const wanted = this.#wanted
    if (wanted.by === 'none') return undefined
    if (isMachineChoice(wanted)) {
      const chosen = await this.#onMachine(wanted, { addresses: local, links })
      if (typeof chosen === 'string') throw new AddressProblem(`${chosen}; correct --node-ip`)
      return chosen
    }
    if (wanted.by === 'auto') {
      const usable = local.filter(({ address }) => !isLocal(address))
      try {
        return await this.#byUplink('ipv4', { local: usable, links })
      } catch (error) {
        if (error instanceof AddressProblem && missing === undefined && this.#mayLackIpv4(usable, links, hints))
          return undefined
        throw error
      }
    }
    // the kubelet of a node of IPv6 alone names an address of that family
    if (missing === undefined && wanted.by === 'kubernetes-internal-ip' && hints.internal.ipv6 !== undefined)
      return undefined
    throw new AddressProblem(
      missing ?? 'the Node object has no InternalIP yet; give the kubelet --node-ip, or correct --node-ip here',
    )
  }

  /**
   * Whether a machine of which nobody names an IPv4 address is meant to have none: it never had one in this run, and has none
   * on an uplink that another program does not own, or was a node of IPv6 alone before.
   */
  #mayLackIpv4(local: readonly Address[], links: readonly Link[], { annotations, uses }: Hints): boolean {
    if (this.#uplinks.ipv4 !== undefined || !(uses.ipv6 || this.#wantedIpv6.by !== 'auto')) return false
    const wasWithout = this.#found !== undefined || annotations.ipv6 !== undefined
    return wasWithout || ownOf(local, links).length === 0
  }

  /** The only address of the interface of the default route. Throws AddressProblem. */
  async #byUplink(family: Family, { local, links }: Pick<Search, 'local' | 'links'>): Promise<Address> {
    const defaults = await this.#deps.kernel.routes({ table: ROUTE_TABLE.main, dst: DEFAULT_ROUTE[family] })
    const of = { local: ownOf(local, links), links, defaults, last: this.#uplinks[family] }
    const chosen = chooseByUplink(family, of)
    if (typeof chosen === 'string') throw new AddressProblem(`${chosen}; give ${OPTION[family]}`)
    return chosen
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
}

const NO_ADDRESS =
  'this machine has neither an IPv4 default route nor an IPv6 address that could be the node’s; give --node-ip or --node-ip6'

/** That this node has no address of a family of which there are pools. */
function noAddressOf(family: Family): Condition {
  const name = FAMILY_NAME[family]
  return broken('FamiliesReachable', {
    reason: family === 'ipv4' ? 'NoIpv4Address' : 'NoIpv6Address',
    message: `there are ${name} pools and this node has no ${name} address, so its pods reach none of other nodes by ${name}`,
    remedy: `give the uplink one ${name} address, or name one of the machine: ${OPTION[family]}${family === 'ipv6' ? '; or set vxlanMode of all IPv6 pools, which carries them over IPv4' : ''}`,
  })
}

function linkOf({ address, ifindex }: Address, links: readonly Link[]): Link {
  const link = links.find(l => l.index === ifindex)
  if (link === undefined) throw new AddressProblem(`the interface of ${address} vanished while it was read; try again`)
  return link
}

function interfaceOf(on: Address, links: readonly Link[]): { ifindex: number; mtu: number } {
  return { ifindex: on.ifindex, mtu: linkOf(on, links).mtu }
}

function describe(on: Address, links: readonly Link[]): OnInterface {
  return { address: on.address, length: on.length, uplink: linkOf(on, links).name }
}
