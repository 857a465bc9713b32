// Token buckets and the filters of what comes in, of one namespace of the fake. Packets there are none.
import { ERRNO, KernelError } from '../port/error.ts'
import type { Bucket, IngressFilter, Qdisc, ShapingPort } from '../port/shaping.ts'

export class FakeShaping implements ShapingPort {
  readonly #roots = new Map<number, Qdisc>()
  readonly #ingress = new Map<number, IngressFilter[]>()
  readonly #indices: () => Iterable<number>
  readonly #tell: (ifindex: number) => void

  /** `indices`: of the links that are there. `tell`: something of a link changed. */
  constructor(indices: () => Iterable<number>, tell: (ifindex: number) => void) {
    this.#indices = indices
    this.#tell = tell
  }

  async qdiscs(): Promise<Qdisc[]> {
    const all = [...this.#indices()].flatMap((ifindex): Qdisc[] => [
      this.#roots.get(ifindex) ?? { ifindex, at: 'root', kind: 'noqueue', handle: 0 },
      ...(this.#ingress.has(ifindex) ? [{ ifindex, at: 'ingress', kind: 'ingress', handle: 0xffff } as const] : []),
    ])
    return structuredClone(all)
  }

  async setBucket(ifindex: number, handle: number, bucket: Bucket): Promise<void> {
    this.#need(ifindex, 'set qdisc')
    const there = this.#roots.get(ifindex)
    if (there !== undefined && there.handle !== handle) throw new KernelError(ERRNO.EEXIST, 'set qdisc', `${ifindex}`)
    this.#roots.set(ifindex, { ifindex, at: 'root', kind: 'tbf', handle, bucket: structuredClone(bucket) })
    this.#tell(ifindex)
  }

  async deleteBucket(ifindex: number, handle: number): Promise<void> {
    if (this.#roots.get(ifindex)?.handle !== handle) return
    this.#roots.delete(ifindex)
    this.#tell(ifindex)
  }

  async addIngress(ifindex: number): Promise<void> {
    this.#need(ifindex, 'add qdisc')
    if (this.#ingress.has(ifindex)) throw new KernelError(ERRNO.EEXIST, 'add qdisc', `ingress on ${ifindex}`)
    this.#ingress.set(ifindex, [])
    this.#tell(ifindex)
  }

  async deleteIngress(ifindex: number): Promise<void> {
    if (this.#ingress.delete(ifindex)) this.#tell(ifindex)
  }

  async ingressFilters(ifindex: number): Promise<IngressFilter[]> {
    return structuredClone(this.#ingress.get(ifindex) ?? [])
  }

  async addRedirect(ifindex: number, filter: Required<IngressFilter>): Promise<void> {
    const filters = this.#ingress.get(ifindex)
    if (filters === undefined) throw new KernelError(ERRNO.EINVAL, 'add filter', `${filter.preference} on ${ifindex}`)
    this.#need(filter.to, 'add filter')
    const others = filters.filter(({ preference }) => preference !== filter.preference)
    this.#ingress.set(
      ifindex,
      [...others, { ...filter }].sort((a, b) => a.preference - b.preference),
    )
    this.#tell(ifindex)
  }

  async deleteIngressFilter(ifindex: number, preference: number): Promise<void> {
    const filters = this.#ingress.get(ifindex)
    if (filters?.some(each => each.preference === preference) !== true) return
    this.#ingress.set(
      ifindex,
      filters.filter(each => each.preference !== preference),
    )
    this.#tell(ifindex)
  }

  /** What a link had goes with it, and a filter that led there drops. */
  forget(ifindex: number): void {
    this.#roots.delete(ifindex)
    this.#ingress.delete(ifindex)
    for (const filters of this.#ingress.values()) for (const each of filters) if (each.to === ifindex) each.to = 0
  }

  #need(ifindex: number, operation: string): void {
    if (![...this.#indices()].includes(ifindex)) throw new KernelError(ERRNO.ENODEV, operation, `${ifindex}`)
  }
}
