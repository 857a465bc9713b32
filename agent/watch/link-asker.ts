// Asks a link of this machine who has an address, with what the question needs of the link.
import type { AskLink } from '../../kernel/link-question.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import type { Clock } from '../../lib/clock.ts'
import { familyOf } from '../../lib/ip.ts'

export type LinkAskerDeps = { kernel: Pick<Kernel, 'link' | 'addresses'>; ask: AskLink; clock: Clock }

/** Machines of a LAN answer within a millisecond; a busy one, or a switch that learns, later. */
const LIMIT_MS = 750

export class LinkAsker {
  readonly #deps: LinkAskerDeps

  constructor(deps: LinkAskerDeps) {
    this.#deps = deps
  }

  /**
   * The MACs that say that they have an address; with `to` asks that one alone. Undefined where the link cannot be asked: it is down,
   * has no MAC, or for IPv6 no link-local address. Rejects with `KernelError`.
   */
  async who(ifindex: number, address: string, to?: string): Promise<readonly string[] | undefined> {
    const { kernel, ask, clock } = this.#deps
    const link = await kernel.link(ifindex)
    if (link?.mac === undefined || !link.up || !link.running) return undefined
    const question = { ifindex, mac: link.mac, address, ...(to !== undefined && { to }) }
    const wait = { clock, limitMs: LIMIT_MS }
    if (familyOf(address) === 'ipv4') return ask(question, wait)
    const own = await kernel.addresses(ifindex)
    const source = own.find(each => familyOf(each.address) === 'ipv6' && each.scope === ROUTE_SCOPE.link)?.address
    return source === undefined ? undefined : ask({ ...question, source }, wait)
  }
}
