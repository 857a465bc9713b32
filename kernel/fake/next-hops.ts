// Next hop objects of one namespace of the fake, with what the kernel removes by itself and tells nobody of (remove_nexthop of
// net/ipv4/nexthop.c).
import { ERRNO, KernelError } from '../port/error.ts'
import type { KernelEvent } from '../port/kernel.ts'
import type { Link } from '../port/links.ts'
import { type NextHopChange, type NextHopObject, waysOf } from '../port/next-hops.ts'
import type { NextHop } from '../port/routes.ts'

type Host = {
  links: ReadonlyMap<number, Link>
  /** Throws where no packet gets to the gateway. */
  reach(hop: NextHop): void
  /** What an object leads to is another way now; undefined: it is gone, and its routes with it. */
  leads(id: number, ways: readonly NextHop[] | undefined): void
  tell(event: KernelEvent): void
}

export class FakeNextHops {
  readonly #objects = new Map<number, NextHopObject>()
  readonly #host: Host

  constructor(host: Host) {
    this.#host = host
  }

  list(): NextHopObject[] {
    return structuredClone([...this.#objects.values()])
  }

  /** The ways of an object; undefined: there is none. */
  waysOf(id: number): NextHop[] | undefined {
    return this.#objects.has(id) ? waysOf(id, this.#objects) : undefined
  }

  change({ verb, object }: NextHopChange): void {
    const { id, hop, group } = object
    const refuse = (errno: number) => new KernelError(errno, `${verb} next hop object`, `${id}`)
    const before = this.#objects.get(id)
    if (verb === 'delete') {
      if (before !== undefined) this.#remove(id, { told: true })
      return
    }
    if ((before === undefined) !== (verb === 'add')) throw refuse(before === undefined ? ERRNO.ENOENT : ERRNO.EEXIST)
    if (hop !== undefined) {
      const link = this.#host.links.get(hop.ifindex)
      if (link === undefined) throw refuse(ERRNO.ENODEV)
      if (!link.up || !link.running) throw refuse(ERRNO.ENETDOWN)
      this.#host.reach(hop)
    }
    const isMember = ({ id: member }: { id: number }) => this.#objects.get(member)?.hop !== undefined
    if (group !== undefined && (group.length === 0 || !group.every(isMember))) throw refuse(ERRNO.EINVAL)
    if (before?.resilient?.buckets !== object.resilient?.buckets && before !== undefined) throw refuse(ERRNO.EINVAL)
    this.#objects.set(id, structuredClone(object))
    this.#host.tell({ type: 'next-hop', object: structuredClone(object) })
    this.#host.leads(id, this.waysOf(id))
  }

  /** The link is down, has no carrier or is gone. */
  flush(ifindex: number): void {
    for (const { id, hop } of [...this.#objects.values()])
      if (hop?.ifindex === ifindex) this.#remove(id, { told: false })
  }

  #remove(id: number, { told }: { told: boolean }): void {
    const object = this.#objects.get(id)
    if (object === undefined) return
    this.#objects.delete(id)
    if (told) this.#host.tell({ type: 'next-hop-gone', object: structuredClone(object) })
    this.#host.leads(id, undefined)
    for (const group of [...this.#objects.values()]) {
      const left = group.group?.filter(member => member.id !== id)
      if (left === undefined || left.length === group.group?.length) continue
      if (left.length === 0) this.#remove(group.id, { told })
      else {
        group.group = left
        if (told) this.#host.tell({ type: 'next-hop', object: structuredClone(group) })
        this.#host.leads(group.id, this.waysOf(group.id))
      }
    }
  }
}
