// Names of network namespaces that the plugin mounts below /run/netns for an agent that does not see the processes of the host,
// and when they may go. The name is the number of the namespace, which no other one has while the mount holds it: a path of a
// process whose number was given again leads to another name. The plugin mounts and unmounts; the agent says what, since it
// knows who uses a namespace. Hazard: a mount holds a namespace whose container ended without DEL, with its interface and address.
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Clock } from '../lib/clock.ts'
import type { EndpointStore } from './endpoints.ts'
import { PIN, pinPath } from './netns.ts'

/** What the plugin unmounts: the namespace of that number, where it is not at the path `unless` any more. */
export type Unpin = { netns: number; unless?: string }

/** Longer than a plugin takes from its mount to its last request: the one that gives addresses may run for 120 s in between. */
const UNHEARD_MS = 130_000

export class Pins {
  readonly #kernel: Pick<Kernel, 'namespaces'>
  readonly #endpoints: EndpointStore
  readonly #clock: Clock
  /** Paths that requests under way use, and how many. */
  readonly #held = new Map<string, number>()
  /** Since when no row uses a path, monotonic: an ADD may be on its way to us, unless we heard that its time is over. */
  readonly #unusedSince = new Map<string, number>()
  /** When a look found none, and no plugin has told of one since, monotonic. */
  #noneSinceMs: number | undefined

  constructor(options: { kernel: Pick<Kernel, 'namespaces'>; endpoints: EndpointStore; clock: Clock }) {
    this.#kernel = options.kernel
    this.#endpoints = options.endpoints
    this.#clock = options.clock
    this.#endpoints.onChange(({ type, endpoint }) => {
      if (type === 'gone' && endpoint.netns.startsWith(PIN)) this.#unusedSince.set(endpoint.netns, -Infinity)
    })
  }

  /** A request uses the namespace until disposed. */
  hold(netns: number): Disposable {
    const path = pinPath(netns)
    this.#noneSinceMs = undefined
    this.#held.set(path, (this.#held.get(path) ?? 0) + 1)
    return {
      [Symbol.dispose]: () => {
        const others = this.#held.get(path)! - 1
        if (others > 0) this.#held.set(path, others)
        else this.#held.delete(path)
        this.#unusedSince.set(path, -Infinity)
      },
    }
  }

  /** Another request about the namespace is on its way, though this one is over. */
  expect(netns: number): void {
    this.#unusedSince.set(pinPath(netns), this.#clock.monotonicMs())
  }

  /**
   * What the plugin shall look at when it has this answer: every mount of it but those of requests under way. Runtimes whose paths
   * the agent sees need none: where there was none, one of which no plugin has told is looked for every 130 s.
   */
  toRelease(): Unpin[] {
    const now = this.#clock.monotonicMs()
    if (this.#noneSinceMs !== undefined && now - this.#noneSinceMs < UNHEARD_MS) return []
    const there = this.#there()
    if (there === undefined) return []
    this.#noneSinceMs = there.size === 0 ? now : undefined
    for (const path of this.#unusedSince.keys()) if (!there.has(path)) this.#unusedSince.delete(path)
    if (there.size === 0) return []
    const users = new Map(this.#endpoints.all().map(({ netns, sandbox }) => [netns, sandbox]))
    return [...there].flatMap(([path, netns]): Unpin[] => {
      if (users.has(path)) {
        this.#unusedSince.delete(path)
        const sandbox = users.get(path)
        return sandbox === undefined || this.#held.has(path) ? [] : [{ netns, unless: sandbox }]
      }
      const since = this.#unusedSince.get(path) ?? now
      const isDue = !this.#held.has(path) && now - since >= UNHEARD_MS
      // one plugin is told: when a second one comes to it, another namespace may have the number
      this.#unusedSince.set(path, isDue ? now : since)
      return isDue ? [{ netns }] : []
    })
  }

  /** The namespaces that the plugin mounted: number by path; undefined where that cannot be read now. */
  #there(): ReadonlyMap<string, number> | undefined {
    try {
      const numbers = this.#kernel.namespaces().map(path => [path, Number(path.slice(PIN.length))] as const)
      return new Map(numbers.filter(([path, netns]) => path === pinPath(netns)))
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      return undefined // seen again with the next answer
    }
  }
}
