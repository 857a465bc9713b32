// Puts right what a link that went down and up again in a pod has lost, and follows another MAC. A plugin that runs after
// ours (`tuning`) sets a link down to give it another MAC, and the kernel then drops the routes of the pod; the permanent
// neighbour entry on the host would lead to the old MAC for good. The host's end of the pair loses and gets its carrier
// with it, which is the only sign of it here; the kernel may tell only that it has one. A link that stays down is its pod's
// own decision.
import { HOST_MAC, podSide } from '../kernel/pod-interface.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import { DatabaseError } from '../lib/database.ts'
import type { CniDeps } from './deps.ts'
import { lockKey, type PodEndpoint } from './endpoints.ts'
import { formatMismatch, inspectPodSide, POD_LIMIT } from './inspect.ts'

type Deps = Pick<CniDeps, 'kernel' | 'endpoints' | 'hostSide' | 'limiter' | 'log'> & {
  /** What was put right in a pod. */
  healed: (endpoint: PodEndpoint, what: string) => void
}

export class PodRepair {
  readonly #deps: Deps
  /** Endpoints that wait to be looked at. */
  readonly #waiting = new Set<string>()
  #closed = false

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** To be called with every event of a link on the host. An ADD that makes the link looks itself, at its end. */
  linkChanged({ name, running }: Link): void {
    const { endpoints } = this.#deps
    if (!running || this.#closed || endpoints.isExpected(name)) return
    const endpoint = endpoints.byInterface(name)
    if (endpoint === undefined || endpoint.netns === '' || this.#waiting.has(endpoint.id)) return
    this.#waiting.add(endpoint.id)
    void this.#look(endpoint)
  }

  close(): void {
    this.#closed = true
  }

  /** Never rejects: a pod that cannot be looked at is told in the log, and by CHECK. */
  async #look(row: PodEndpoint): Promise<void> {
    const { endpoints, limiter, log } = this.#deps
    try {
      await limiter.run(lockKey(row), async () => {
        this.#waiting.delete(row.id)
        const endpoint = endpoints.get(row.network, row)
        if (endpoint !== undefined && !this.#closed) await this.#repair(endpoint)
      })
    } catch (error) {
      this.#waiting.delete(row.id)
      // whatever it is: the pod keeps what it has, and the others theirs
      log.warn({ err: error, endpoint: row.id }, 'a pod whose link came up again cannot be put right')
    }
  }

  async #repair(row: PodEndpoint): Promise<void> {
    const { kernel, healed } = this.#deps
    const host = await kernel.link(row.interfaceName)
    if (host === undefined) return
    using pod = kernel.inside(row.netns, POD_LIMIT)
    const link = await pod.link(row.ifname)
    // the path may lead to another pod by now
    if (link === undefined || link.index !== host.peer || link.peer !== host.index || !link.up) return
    const mac = link.mac?.toLowerCase()
    const endpoint = mac === undefined || mac === row.mac ? row : await followMac(row, mac, this.#deps)
    if (endpoint !== row) healed(row, `the pod has another MAC, ${mac}: the neighbour entry follows`)
    const hostMac = host.mac ?? HOST_MAC
    const lost = await inspectPodSide(pod, endpoint, hostMac, {})
    if (lost.length === 0) return
    await writeAgain(pod, link.index, endpoint, hostMac)
    // those that a plugin behind ours moved into another table stay there
    if (lost.some(({ kind }) => kind === 'route')) await writeRoutes(pod, link.index, endpoint, hostMac)
    healed(endpoint, `put back after the link was down: ${lost.map(formatMismatch).join('; ')}`)
  }
}

/** Writes a pod's other MAC into its row; felix writes the neighbour entry, which is there when this resolves. */
export async function followMac(
  endpoint: PodEndpoint,
  mac: string,
  { endpoints, hostSide }: Pick<CniDeps, 'endpoints' | 'hostSide'>,
): Promise<PodEndpoint> {
  const moved = { ...endpoint, mac }
  try {
    endpoints.persist(moved)
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error // with a full disk until the next start, which finds it again
  }
  endpoints.publish(moved)
  await hostSide.applied(moved.id)
  return moved
}

async function writeAgain(pod: Kernel, ifindex: number, endpoint: PodEndpoint, hostMac: string): Promise<void> {
  const { addresses, neighbours } = podSide(endpoint, hostMac)
  for (const address of addresses)
    await pod.addAddress({ ifindex, ...address }).catch((error: unknown) => {
      if (!(error instanceof KernelError) || error.errno !== ERRNO.EEXIST) throw error
    })
  for (const neighbour of neighbours) await pod.setNeighbour({ ifindex, ...neighbour, permanent: true })
}

async function writeRoutes(pod: Kernel, ifindex: number, endpoint: PodEndpoint, hostMac: string): Promise<void> {
  const { routes } = podSide(endpoint, hostMac)
  const refusals = await pod.changeRoutes(routes.map(route => ({ verb: 'replace', route: { ...route, ifindex } })))
  const refused = refusals.find(refusal => refusal !== undefined)
  if (refused !== undefined) throw refused
}
