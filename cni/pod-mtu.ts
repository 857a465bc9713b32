// Brings another MTU of the node to the pods that are running. Both ends of a pair have the same MTU: the kernel drops
// what is larger than the MTU of the receiving end, without a word to the sender. So the end that could receive too much
// is never the smaller one for longer than it takes to write both: the pod's end shrinks first, the host's end grows first.
import { broken, type Condition } from '../api/status.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import type { Cancel } from '../lib/clock.ts'
import type { CniDeps, HostKernel } from './deps.ts'
import { type PodEndpoint, whom } from './endpoints.ts'
import { POD_LIMIT } from './inspect.ts'

/** A pod that refused is asked again this often: it may have been busy with its interface. */
const RETRY_MS = 90_000
/** Below this the kernel takes all IPv6 addresses off an interface (RFC 8200 §5). */
const IPV6_LEAST_MTU = 1280

type Deps = Pick<CniDeps, 'kernel' | 'endpoints' | 'hostSide' | 'limiter' | 'clock' | 'log'> & {
  /** All pods that keep another MTU than their node's, whenever they change. */
  report(conditions: readonly Condition[]): void
}

/** `routes`: the MTU changed only because a node came or went, which may be over in a moment. */
export type MtuCause = 'configuration' | 'routes'

export class PodMtu {
  readonly #deps: Deps
  readonly #refused = new Map<string, Condition>()
  #mtu: number | undefined
  #running: Promise<void> | undefined
  #again = false
  #retry: Cancel | undefined
  #closed = false

  constructor(deps: Deps) {
    this.#deps = deps
    deps.endpoints.onChange(({ type, endpoint }) => {
      if (type === 'gone') this.#forget(endpoint.id)
      // an ADD that began before the MTU changed
      else if (!this.#refused.has(endpoint.id) && this.#differs(endpoint)) this.#start()
    })
  }

  /** What pods have now, in bytes; undefined before `follow`. */
  get mtu(): number | undefined {
    return this.#mtu
  }

  /**
   * Gives this MTU to every pod that follows its node. What grows only because of `routes` is left alone: a smaller MTU
   * does no harm, and changing it with every session that goes down and up does.
   */
  follow(mtu: number, cause: MtuCause): void {
    if (cause === 'routes' && this.#mtu !== undefined && mtu > this.#mtu) return
    this.#mtu = mtu
    this.#refused.clear()
    this.#start()
  }

  /** Ends after the pod under way. */
  async close(): Promise<void> {
    this.#closed = true
    this.#retry?.()
    await this.#running
  }

  #start(): void {
    if (this.#closed) return
    this.#again = true
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    await Promise.resolve() // what changes in one turn is taken together
    while (this.#again && !this.#closed) {
      this.#again = false
      for (const endpoint of this.#deps.endpoints.live()) if (this.#differs(endpoint)) await this.#apply(endpoint)
    }
    this.#running = undefined
    this.#deps.report([...this.#refused.values()])
    this.#retry?.()
    this.#retry = undefined
    if (this.#refused.size > 0 && !this.#closed) this.#retry = this.#deps.clock.after(RETRY_MS, () => this.#start())
  }

  async #apply(row: PodEndpoint): Promise<void> {
    const { id, network } = row
    const { endpoints, limiter, log } = this.#deps
    try {
      await limiter.run(whom(row), async () => {
        const endpoint = endpoints.get(network, row)
        if (this.#closed || endpoint === undefined || this.#mtu === undefined || !this.#differs(endpoint)) return
        await this.#resize(endpoint, this.#mtu)
        log.info({ endpoint: id, before: endpoint.mtu, mtu: this.#mtu }, 'the MTU of a pod follows that of its node')
      })
      this.#refused.delete(id)
    } catch (error) {
      // anything: the pod keeps what it has, the others get theirs, and a person is told
      log.warn({ err: error, endpoint: id }, 'the MTU of a pod cannot be changed')
      this.#refused.set(id, refusedCondition(id, this.#mtu, error as Error))
    }
  }

  async #resize(endpoint: PodEndpoint, mtu: number): Promise<void> {
    if (mtu < IPV6_LEAST_MTU && endpoint.addresses.some(address => address.includes(':')))
      throw new Error(`the pod has an IPv6 address, and IPv6 needs ${IPV6_LEAST_MTU} bytes`)
    using pod = enter(this.#deps.kernel, endpoint.netns)
    if (pod === undefined) return // the pod is gone, and its interface with it: DEL will come
    const link = await podLink(pod, endpoint)
    const resized = { ...endpoint, mtu }
    // a plugin behind ours (`tuning`) may have made the pod's end smaller, which is its decision
    const podMtu = link.mtu < endpoint.mtu ? Math.min(link.mtu, mtu) : mtu
    const setPodSide = () => pod.setLink(link.index, { mtu: podMtu })
    const setHostSide = () => this.#setHostSide(resized)
    try {
      for (const set of mtu < endpoint.mtu ? [setPodSide, setHostSide] : [setHostSide, setPodSide]) await set()
    } catch (error) {
      // back to what the row says, so that the next attempt does both again; felix tells when that is refused too
      await this.#setHostSide(endpoint).catch(() => undefined)
      throw error
    }
    // last: after a crash in between the row still differs, and all is done again
    this.#deps.endpoints.persist(resized)
  }

  /** Felix writes it. */
  async #setHostSide(endpoint: PodEndpoint): Promise<void> {
    this.#deps.endpoints.publish(endpoint)
    await this.#deps.hostSide.applied(endpoint.id)
  }

  #differs({ mtu, followsNodeMtu }: PodEndpoint): boolean {
    return followsNodeMtu === true && this.#mtu !== undefined && mtu !== this.#mtu
  }

  #forget(id: string): void {
    if (this.#refused.delete(id)) this.#deps.report([...this.#refused.values()])
  }
}

/** A kernel of the pod's namespace; undefined when there is none any more. */
function enter(kernel: HostKernel, netns: string): Kernel | undefined {
  try {
    return kernel.inside(netns, POD_LIMIT)
  } catch (error) {
    if (error instanceof KernelError && error.errno === ERRNO.ENOENT) return undefined
    throw error
  }
}

/** The pod's end. Rejects when another interface is in its place: the path may be that of another pod. */
async function podLink(pod: Kernel, { netns, ifname, mac }: PodEndpoint): Promise<Link> {
  const link = await pod.link(ifname)
  if (link === undefined) throw new KernelError(ERRNO.ENODEV, 'find', `${ifname} in ${netns}`)
  if (link.mac === mac) return link
  throw new Error(`${ifname} in ${netns} has MAC ${link.mac}, not ${mac}: it is another interface`)
}

function refusedCondition(id: string, mtu: number | undefined, { message }: Error): Condition {
  return broken('PodMtuApplied', {
    object: { kind: 'Endpoint', name: id },
    reason: 'Refused',
    message: `the pod does not get the MTU ${mtu} of its node: ${message}`,
    remedy: 'restart the pod',
  })
}
