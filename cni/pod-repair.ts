// Puts right what a link that went down and up again in a pod has lost, and follows another MAC. A plugin that runs after
// ours (`tuning`) sets a link down to give it another MAC, and the kernel then drops the routes of the pod; the permanent
// neighbour entry on the host would lead to the old MAC for good. The host's end of the pair loses and gets its carrier
// with it; the kernel may tell only that it has one. A MAC that changes while the link stays up is told by nothing on the host: a
// new pod is looked into a few times. What else goes missing in a pod `pod-watch.ts` hears of, and has it put back here.
import { HOST_MAC, type InterfaceSide, podSide } from '../kernel/pod-interface.ts'
import type { Address } from '../kernel/port/addresses.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import { defaultMetric, ROUTE_TABLE, type RouteChange } from '../kernel/port/routes.ts'
import type { Cancel } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'
import { addressBits, type Family, familyOf } from '../lib/ip.ts'
import type { CniDeps } from './deps.ts'
import { type PodEndpoint, whom } from './endpoints.ts'
import { formatMismatch, inspectPodSide, type Mismatch, POD_LIMIT } from './inspect.ts'

/**
 * From one look to the next for another MAC after an interface was made: a plugin behind ours may give it one while the link
 * stays up, of which nothing tells on the host, where the permanent entry leads to the old one. A look costs 0.2 ms.
 */
const LOOKS_MS: readonly number[] = [100, 400, 1500, 8000]

/** From one repair after a link was down to the next: a pod may set it down and up without end. */
const PAUSE_MS = 1000

type Deps = Pick<CniDeps, 'kernel' | 'endpoints' | 'hostSide' | 'limiter' | 'log' | 'clock'> & {
  /** What was put right in a pod, and why it had to be. */
  healed: (endpoint: PodEndpoint, what: string, reason: 'LinkWasDown' | 'OtherMac' | 'ChangedInPod') => void
}

/** What a pod was found to have, so that somebody decides what of it is put back. */
export type PodFindings = {
  mismatches: readonly Mismatch[]
  /** All addresses of its namespace. */
  addresses: readonly Address[]
  hostMtu: number
  leadsElsewhere: ReadonlySet<Family>
}

/** What of it is put back, and what that is called. */
export type PodOrder = { heal: readonly Mismatch[]; textOf(mismatch: Mismatch): string }

export class PodRepair {
  readonly #deps: Deps
  /** Endpoints that wait to be looked at. */
  readonly #waiting = new Set<string>()
  /** When the last of those that were down was looked at, by its id, or will be. */
  readonly #repairedMs = new Map<string, number>()
  /** The next look at an endpoint that was made a while ago, by its id. */
  readonly #looks = new Map<string, Cancel>()
  readonly #cancel: Cancel
  #closed = false

  constructor(deps: Deps) {
    this.#deps = deps
    this.#cancel = deps.endpoints.onChange(({ type, endpoint }) => {
      if (type === 'set') this.#lookForMac(endpoint, LOOKS_MS)
      else {
        this.#stopLooking(endpoint)
        this.#repairedMs.delete(endpoint.id)
      }
    })
  }

  /** To be called with every event of a link on the host. An ADD that makes the link looks itself, at its end. */
  linkChanged({ name, running }: Link): void {
    const { endpoints } = this.#deps
    if (!running || this.#closed || endpoints.isExpected(name)) return
    const endpoint = endpoints.byInterface(name)
    if (endpoint === undefined || endpoint.netns === '' || this.#waiting.has(endpoint.id)) return
    this.#waiting.add(endpoint.id)
    const { clock } = this.#deps
    const nowMs = clock.monotonicMs()
    const atMs = Math.max(nowMs, (this.#repairedMs.get(endpoint.id) ?? -PAUSE_MS) + PAUSE_MS)
    this.#repairedMs.set(endpoint.id, atMs)
    const repair = () => void this.#underLock(endpoint, each => this.#repair(each))
    if (atMs === nowMs) repair()
    else clock.after(atMs - nowMs, repair)
  }

  close(): void {
    this.#closed = true
    this.#cancel()
    for (const cancel of this.#looks.values()) cancel()
    this.#looks.clear()
  }

  /** Four looks at the most, also at a pod that goes on changing it. */
  #lookForMac(row: PodEndpoint, [delayMs, ...later]: readonly number[]): void {
    this.#stopLooking(row)
    if (delayMs === undefined || this.#closed || row.netns === '') return
    const now = (): PodEndpoint | undefined => this.#deps.endpoints.get(row.network, row)
    const cancel = this.#deps.clock.after(delayMs, async () => {
      const isOther = await this.#hasOtherMac(row)
      // it may be gone, or made again, by now
      if (now() !== row || this.#looks.get(row.id) !== cancel) return
      if (isOther) await this.#underLock(row, endpoint => this.#repair(endpoint))
      const next = now()
      if (next?.createdMs === row.createdMs && this.#looks.has(row.id)) this.#lookForMac(next, later)
    })
    this.#looks.set(row.id, cancel)
  }

  #stopLooking({ id }: PodEndpoint): void {
    this.#looks.get(id)?.()
    this.#looks.delete(id)
  }

  async #hasOtherMac({ netns, ifname, mac }: PodEndpoint): Promise<boolean> {
    try {
      using pod = this.#deps.kernel.inside(netns, POD_LIMIT)
      const is = (await pod.link(ifname))?.mac?.toLowerCase()
      return is !== undefined && is !== mac
    } catch (error) {
      if (error instanceof KernelError) return false // the namespace is gone, or cannot be entered now
      throw error
    }
  }

  /** Never rejects: a pod that cannot be looked at is told in the log, and by CHECK. */
  async #underLock(row: PodEndpoint, act: (endpoint: PodEndpoint) => Promise<unknown>): Promise<void> {
    const { endpoints, limiter, log } = this.#deps
    try {
      await limiter.run(whom(row), async () => {
        this.#waiting.delete(row.id)
        const endpoint = endpoints.get(row.network, row)
        if (endpoint !== undefined && !this.#closed) await act(endpoint)
      })
    } catch (error) {
      this.#waiting.delete(row.id)
      // whatever it is: the pod keeps what it has, and the others theirs
      log.warn({ err: error, endpoint: row.id }, 'a pod whose link changed cannot be put right')
    }
  }

  /** The endpoint with the MAC that it has now; the neighbours that the pod lost with the one before are written again. */
  async #followed(pod: Kernel, row: PodEndpoint, { index, mac }: Link, hostMac: string): Promise<PodEndpoint> {
    const is = mac?.toLowerCase()
    if (is === undefined || is === row.mac) return row
    const endpoint = await followMac(row, is, this.#deps)
    await writeNeighbours(pod, index, endpoint, hostMac)
    this.#deps.healed(row, `the pod has another MAC, ${is}: the neighbour entry follows`, 'OtherMac')
    return endpoint
  }

  async #repair(row: PodEndpoint): Promise<void> {
    const { kernel, healed } = this.#deps
    const host = await kernel.link(row.interfaceName)
    if (host === undefined) return
    using pod = kernel.inside(row.netns, POD_LIMIT)
    const link = await linkOf(pod, row, host)
    if (link === undefined) return
    const hostMac = host.mac ?? HOST_MAC
    const endpoint = await this.#followed(pod, row, link, hostMac)
    const lost = await inspectPodSide(pod, endpoint, hostMac, {})
    if (lost.length === 0) return
    const side = podSide(endpoint, hostMac)
    await writeAgain(pod, link.index, side)
    // those that a plugin behind ours moved into another table stay there
    if (lost.some(({ kind }) => kind === 'route')) await writeRoutes(pod, link, endpoint, side.routes)
    healed(endpoint, `put back after the link was down: ${lost.map(formatMismatch).join('; ')}`, 'LinkWasDown')
  }

  /**
   * Looks into a pod while no request is about it, and puts back what `decide` says; it is not asked of a pod that went, nor of one
   * whose namespace another one has by now. Rejects with `KernelError` when the pod cannot be looked into, or does not take it.
   */
  async mend(row: PodEndpoint, decide: (found: PodFindings) => PodOrder): Promise<void> {
    const { kernel, endpoints, limiter, healed } = this.#deps
    await limiter.run(whom(row), async () => {
      const now = endpoints.get(row.network, row)
      const host = now && (await kernel.link(now.interfaceName))
      if (now === undefined || host === undefined || this.#closed) return
      using pod = kernel.inside(now.netns, POD_LIMIT)
      const link = await farEnd(pod, now, host)
      if (link === undefined) return
      const hostMac = host.mac ?? HOST_MAC
      const endpoint = await this.#followed(pod, now, link, hostMac)
      const mismatches = await inspectPodSide(pod, endpoint, hostMac, {})
      const leadsElsewhere = await familiesElsewhere(pod, link, endpoint)
      const found = { mismatches, addresses: await pod.addresses(), hostMtu: host.mtu, leadsElsewhere }
      const { heal, textOf } = decide(found)
      if (heal.length === 0) return
      await putBack(pod, link, endpoint, { hostMac, heal })
      healed(endpoint, `${heal.map(textOf).join('; ')}; put back`, 'ChangedInPod')
    })
  }
}

/** The pod's end of a pair, while it is up; undefined also where the path leads to another pod by now. */
async function linkOf(pod: Kernel, endpoint: PodEndpoint, host: Link): Promise<Link | undefined> {
  const link = await farEnd(pod, endpoint, host)
  return link?.up === true ? link : undefined
}

/** The pod's end of a pair; undefined where the path leads to another pod by now. */
async function farEnd(pod: Kernel, { ifname }: PodEndpoint, host: Link): Promise<Link | undefined> {
  const link = await pod.link(ifname)
  return link?.index === host.peer && link?.peer === host.index ? link : undefined
}

/**
 * Families whose default route of the main table is that of another interface, in the place of ours. Beside ours there may be others: that
 * of a further interface has a larger metric, and where ours has one another had the default route before.
 */
async function familiesElsewhere(
  pod: Kernel,
  { index }: Link,
  { routeMetric }: PodEndpoint,
): Promise<ReadonlySet<Family>> {
  const elsewhere = new Set<Family>()
  if (routeMetric !== undefined) return elsewhere
  for (const { dst, ifindex, metric } of await pod.routes({ table: ROUTE_TABLE.main })) {
    const ours = defaultMetric(dst)
    if (dst.endsWith('/0') && ifindex !== index && (metric ?? ours) <= ours) elsewhere.add(familyOf(dst.slice(0, -2)))
  }
  return elsewhere
}

/** Puts back what is named in `heal`, as the description has it, in the order in which ADD writes it. */
async function putBack(
  pod: Kernel,
  link: Link,
  endpoint: PodEndpoint,
  { hostMac, heal }: { hostMac: string; heal: readonly Mismatch[] },
): Promise<void> {
  const side = podSide(endpoint, hostMac)
  const isLost = (object: string) => heal.some(each => each.object === object)
  const on = `dev ${side.name}`
  for (const { family, path, value } of side.sysctls)
    if (isLost(['net', family, ...path].join('.'))) pod.writeSysctl(family, path, value)
  const isDown = isLost(`${side.name} state`)
  const isLarge = isLost(`${side.name} mtu`)
  if (isDown || isLarge)
    await pod.setLink(link.index, { ...(isLarge && { mtu: side.mtu }), ...(isDown && { up: true }) })
  const lost = {
    addresses: side.addresses.filter(({ address, length }) => isLost(`${address}/${length} ${on}`)),
    neighbours: side.neighbours.filter(({ address }) => isLost(`${address} ${on}`)),
    routes: side.routes.filter(({ dst }) => isLost(`${dst} ${on}`)),
  }
  await writeAgain(pod, link.index, lost)
  await writeRoutes(pod, link, endpoint, lost.routes)
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

/** Writes the permanent neighbours of a pod, which the kernel drops when the link gets another MAC. Rejects with `KernelError`. */
export async function writeNeighbours(
  pod: Kernel,
  ifindex: number,
  endpoint: PodEndpoint,
  hostMac: string,
): Promise<void> {
  await writeAgain(pod, ifindex, { addresses: [], neighbours: podSide(endpoint, hostMac).neighbours })
}

async function writeAgain(
  pod: Kernel,
  ifindex: number,
  { addresses, neighbours }: Pick<InterfaceSide, 'addresses' | 'neighbours'>,
): Promise<void> {
  for (const address of addresses)
    await pod.addAddress({ ifindex, ...address }).catch((error: unknown) => {
      if (!(error instanceof KernelError) || error.errno !== ERRNO.EEXIST) throw error
    })
  for (const neighbour of neighbours) await pod.setNeighbour({ ifindex, ...neighbour, permanent: true })
}

/** Writes routes into the tables that they were lost from. Rejects with `KernelError`. */
async function writeRoutes(
  pod: Kernel,
  link: Link,
  endpoint: PodEndpoint,
  routes: InterfaceSide['routes'],
): Promise<void> {
  const changes: RouteChange[] = []
  const tables = new Map<Family, readonly number[]>()
  for (const route of routes) {
    const family = familyOf(route.dst)
    const stood = tables.get(family) ?? (await tablesOf(pod, link, endpoint, family))
    tables.set(family, stood)
    for (const table of stood) changes.push({ verb: 'replace', route: { ...route, table, ifindex: link.index } })
  }
  const refusals = await pod.changeRoutes(changes)
  const refused = refusals.find(refusal => refusal !== undefined)
  if (refused !== undefined) throw refused
}

/**
 * In which tables routes of a family stood. The kernel does not tell of those that it took with the link, but what leads to a
 * table outlives them:
 * - The VRF of the link. The plugin `vrf` writes them there itself since its version 1.4 alone; in the main table they would lead
 *   a VRF by the interface that has the first default route there.
 * - Rules for packets from the pod's address. `sbr` moved the routes to their table, a program of the pod may have copied them: so
 *   the main table gets them too, unless another interface leads out there. A table where another one does is not theirs.
 */
async function tablesOf(
  pod: Kernel,
  { index, master }: Link,
  { addresses }: PodEndpoint,
  family: Family,
): Promise<readonly number[]> {
  const vrf = master === undefined ? undefined : (await pod.link(master))?.vrf
  if (vrf !== undefined) return [vrf.table]
  const { main } = ROUTE_TABLE
  const isOthers = async (table: number): Promise<boolean> =>
    (await pod.routes({ family, table })).some(({ dst, ifindex }) => dst.endsWith('/0') && ifindex !== index)
  const sources = new Set(addresses.map(address => `${address}/${addressBits(familyOf(address))}`))
  const moved: number[] = []
  for (const { family: of, source, action, table = main } of await pod.rules()) {
    if (of !== family || action !== 'lookup' || table === main || source === undefined || !sources.has(source)) continue
    if (!(await isOthers(table))) moved.push(table)
  }
  return moved.length > 0 && (await isOthers(main)) ? moved : [...moved, main]
}
