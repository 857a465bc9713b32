// How fast pods send and get, by their annotations, in the kernel; and what is told where it is not so. A pod runs whatever is
// refused of it. Memory only until a pass of felix calls `put`.
import { broken, type Condition } from '../api/status.ts'
import type { Kernel, KernelEvent } from '../kernel/port/kernel.ts'
import { noOutcome, type Outcome, type Refusal } from '../kernel/reconcile/outcome.ts'
import { Shaper, type ShaperMarks } from '../kernel/reconcile/shaper.ts'
import type { LocalEndpoint } from './policy/model.ts'

const NOTHING = noOutcome()

export class Bandwidth {
  readonly #shaper: Shaper
  readonly #pods = new Map<string, LocalEndpoint>()

  constructor(kernel: Kernel, marks: ShaperMarks, nowMs: () => number) {
    this.#shaper = new Shaper(kernel, marks, nowMs)
  }

  /** An endpoint of this node, under its key in the cluster. Of two that claim one interface the first by key has it. */
  setLocal(key: string, local: LocalEndpoint | undefined): void {
    const before = this.#pods.get(key)
    if (local?.bandwidth === undefined) this.#pods.delete(key)
    else this.#pods.set(key, local)
    for (const each of new Set([before, this.#pods.get(key)].map(pod => pod?.interfaceName)))
      if (each !== undefined) this.#shaper.want(each, this.#podOn(each)?.local.bandwidth)
  }

  /** It is not of nftables. */
  get lacking(): undefined {
    return undefined
  }

  /** The same: transactions there change nothing here. */
  observe(): boolean {
    return false
  }

  /** As `Shaper.observe`. */
  observeEvent(event: KernelEvent): boolean {
    return this.#shaper.observe(event)
  }

  /** As `Shaper.invalidate`. */
  invalidate(): void {
    this.#shaper.invalidate()
  }

  /** As `Shaper.waitMs`. */
  get waitMs(): number | undefined {
    return this.#shaper.waitMs
  }

  /** As `Shaper.apply`. */
  put(): Promise<Outcome> {
    return this.#shaper.apply()
  }

  /** Nothing is left to remove behind `put`. */
  async remove(): Promise<Outcome> {
    return NOTHING
  }

  /** One condition for each pod that is not limited as it asks. */
  conditions(refused: readonly Refusal[]): Condition[] {
    const faults = new Map<string, { texts: string[]; isRefused: boolean }>()
    const add = (interfaceName: string, text: string, isRefused: boolean) => {
      const pod = this.#podOn(interfaceName)?.key
      if (pod === undefined) return
      const before = faults.get(pod) ?? { texts: [], isRefused: false }
      faults.set(pod, {
        texts: [...before.texts, `${interfaceName}: ${text}`],
        isRefused: before.isRefused || isRefused,
      })
    }
    for (const { kind, key, message } of refused)
      if (kind === 'shaping') add(key.split(' ')[0]!, `bandwidth is not limited: ${message}`, true)
    for (const { interfaceName, direction, what } of this.#shaper.others) {
      const text = `${what} of another program is in the place of the limit for ${direction}, and is left alone`
      add(interfaceName, text, false)
    }
    return [...faults].map(([key, { texts, isRefused }]) => {
      const [namespace = '', name = ''] = key.split('/')
      return broken('QosApplied', {
        object: { kind: 'Pod', namespace, name },
        reason: isRefused ? 'Refused' : 'ForeignOwner',
        message: texts.join('; '),
        remedy: isRefused
          ? 'load the modules sch_tbf, sch_ingress, cls_u32, act_mirred and ifb, or take the annotations of bandwidth away; the pod runs'
          : 'tc qdisc show says whose it is: remove it, or take the annotations of bandwidth away; the pod runs',
      })
    })
  }

  #podOn(interfaceName: string): { key: string; local: LocalEndpoint } | undefined {
    const [first] = [...this.#pods]
      .filter(([, pod]) => pod.interfaceName === interfaceName)
      .sort(([a], [b]) => (a < b ? -1 : 1))
    return first && { key: first[0], local: first[1] }
  }
}
