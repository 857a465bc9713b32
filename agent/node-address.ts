// Which address of this machine is the node's. Chosen once at start and never re-picked while running: a changed
// pick breaks every session and tunnel of a working node. Ambiguity is refused, not guessed.
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { type Condition, unknown } from '../api/status.ts'
import type { Address } from '../kernel/port/addresses.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import type { Route } from '../kernel/port/routes.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { familyOf, parseAddress } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'

export type NodeAddress = {
  address: string
  /** Length of the node's own subnet, by which CrossSubnet is decided. */
  length: number
  /** Interface that carries it. */
  uplink: string
  /** Of the uplink when the address was chosen, in bytes. */
  mtu: number
}

/** The address could not be chosen; the message names the candidates. */
class AddressProblem extends Error {
  override readonly name = 'AddressProblem'
}

export type OwnAddressDeps = { kernel: Kernel; clock: Clock; log: Log /** `auto`, or an address. */; wanted: string }

/** This node's address: looked for until there is one, and kept from then on. */
export class OwnAddress {
  readonly #deps: OwnAddressDeps
  readonly #backoff = new Backoff({ firstMs: 250, maxMs: 10_000 })
  #found: NodeAddress | undefined
  #problem = 'not looked for yet'
  #cancel: Cancel = () => undefined

  constructor(deps: OwnAddressDeps) {
    this.#deps = deps
  }

  get found(): NodeAddress | undefined {
    return this.#found
  }

  /** Empty when there is one. */
  refused(): Condition[] {
    if (this.#found !== undefined) return []
    const remedy = 'give --node-ip, or correct what the message names'
    return [unknown('NodeAddressKnown', { reason: 'NoAddress', message: this.#problem, remedy })]
  }

  /** Looks once; without success `again` is called after a while. */
  async look(node: Resource<'Node'> | undefined, again: () => void): Promise<NodeAddress | undefined> {
    const { kernel, clock, log, wanted } = this.#deps
    try {
      this.#found = await chooseNodeAddress(kernel, wanted, node)
      log.info(this.#found, 'node address chosen')
      return this.#found
    } catch (error) {
      if (!(error instanceof AddressProblem || error instanceof KernelError)) throw error
      this.#problem = error.message
      const delayMs = this.#backoff.next()
      log.error({ err: error, delayMs }, 'no node address yet; this node can serve no pods')
      this.#cancel()
      this.#cancel = clock.after(delayMs, again)
      return undefined
    }
  }

  close(): void {
    this.#cancel()
  }
}

/**
 * The node's IPv4 address: `wanted` where given (an address, or `auto`), else the node's own annotation from an
 * earlier run, else its Kubernetes InternalIP, else the only address of the interface of the default route. Whatever
 * is chosen must exist on this machine.
 */
async function chooseNodeAddress(
  kernel: Kernel,
  wanted: string,
  node: Resource<'Node'> | undefined,
): Promise<NodeAddress> {
  const [links, addresses, routes] = await Promise.all([
    kernel.links(),
    kernel.addresses(),
    kernel.routes({ family: 'ipv4', table: 254 }),
  ])
  const local = addresses.filter(a => familyOf(a.address) === 'ipv4')
  for (const [text, origin] of candidates(wanted, node)) {
    const found = local.find(a => a.address === text)
    if (found !== undefined) return describe(found, links)
    throw new AddressProblem(
      `${origin} is ${text}, which no interface of this machine has (it has ${local.map(a => a.address).join(', ')}); ` +
        'correct it, or give --node-ip',
    )
  }
  return describe(byDefaultRoute(local, links, routes), links)
}

function* candidates(wanted: string, node: Resource<'Node'> | undefined): Generator<[string, string]> {
  if (wanted !== 'auto') yield [wanted.split('/')[0]!, '--node-ip']
  const annotation = node?.metadata.annotations?.[NODE_ANNOTATION.ipv4Address]
  if (annotation !== undefined) yield [annotation.split('/')[0]!, `annotation ${NODE_ANNOTATION.ipv4Address}`]
  const internal = (node?.status?.addresses ?? []).find(
    a => a.type === 'InternalIP' && parseAddress(a.address) !== undefined && familyOf(a.address) === 'ipv4',
  )
  if (internal !== undefined) yield [internal.address, 'the InternalIP of the Node object']
}

function byDefaultRoute(local: readonly Address[], links: readonly Link[], routes: readonly Route[]): Address {
  const defaults = routes.filter(r => r.dst === '0.0.0.0/0' && r.ifindex !== undefined)
  const best = Math.min(...defaults.map(r => r.metric ?? 0))
  const uplinks = new Set(defaults.filter(r => (r.metric ?? 0) === best).map(r => r.ifindex))
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
  return { address, length, uplink: link.name, mtu: link.mtu }
}
