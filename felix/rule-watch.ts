// Tells which rules of other programs (`ip rule`) take packets from the routes to pods: at the start, after rules, what is in the tables
// that they name, or our own routes changed, and with every refresh. No rule is removed: whoever wrote it means some traffic by it, and
// only they know whether that of pods too, and would write it again. The kernel is asked with packets that the rule is about, so one
// that leads them as we do (WireGuard's, Cilium's for its own marks, a VRF's) is silent.
import { broken, type Condition } from '../api/status.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelEvent } from '../kernel/port/kernel.ts'
import { ROUTE_TABLE } from '../kernel/port/routes.ts'
import type { RoutingRule } from '../kernel/port/rules.ts'
import type { NamedRoute } from '../kernel/reconcile/objects.ts'
import { namedRoute, routeText } from '../kernel/reconcile/route-writes.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { contains, type Family, familyOf, overlaps } from '../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../lib/prefix-index.ts'
import {
  isAskedFor,
  leadsSame,
  type Probe,
  probesOf,
  probesOfAll,
  rulesBefore,
  ruleText,
  type Traffic,
} from './foreign-rules.ts'
import { ToldConditions } from './told-conditions.ts'

export type RuleWatchDeps = {
  kernel: Pick<Kernel, 'rules' | 'routes' | 'lookupRoute' | 'addresses' | 'links' | 'authorText'>
  clock: Clock
  ownsInterface(name: string): boolean
  /** What is wanted, and the CIDRs of the pools that pods have their addresses of. */
  wanted: () => { routes: Iterable<NamedRoute>; pools: readonly string[] }
  onConditions: (changes: ReadonlyMap<string, Condition | undefined>) => void
}

/** From a change to the next look: changes come in bursts. */
const SOON_MS = 100
/** Between two looks; and so many times as long as one takes, since a table of others may be long. */
const PAUSE_MS = 1000
const PAUSES_PER_LOOK = 20
const MOST_PAUSE_MS = 30_000
/** Whoever has more rules than this writes one for each of many things; of the first ones is told what they take. */
const MOST_RULES = 200
/** How a look-up ends that no route is found for, or one that drops packets. */
const DROPPED: readonly number[] = [ERRNO.EINVAL, ERRNO.EXDEV, ERRNO.EHOSTUNREACH, ERRNO.EACCES, ERRNO.ENETUNREACH]

type Taken = { probe: Probe; way: NamedRoute | KernelError }

export class RuleWatch {
  readonly #deps: RuleWatchDeps
  readonly #told = new ToldConditions()
  /** Who was told to have made a rule, by its name, as it was known then: it may have ended since. */
  readonly #authors = new Map<string, string | undefined>()
  /** Tables that are looked into before ours, as of the last look. */
  #tables: ReadonlySet<number> = new Set()
  /** Whether there are rules of others, or ours is missing. */
  #hasForeign = false
  #nextMs = Number.NEGATIVE_INFINITY
  #cancel: Cancel | undefined
  #looking = false
  #closed = false

  constructor(deps: RuleWatchDeps) {
    this.#deps = deps
  }

  /** Something changed that a look may answer otherwise. */
  changed(): void {
    if (this.#cancel !== undefined || this.#closed) return
    const { clock } = this.#deps
    const waitMs = Math.max(SOON_MS, this.#nextMs - clock.monotonicMs())
    this.#cancel = clock.after(waitMs, () => void this.#look())
  }

  /** Other routes of ours are wanted: that matters where there are rules of others. */
  routesChanged(): void {
    if (this.#hasForeign) this.changed()
  }

  observe(event: KernelEvent): void {
    if (event.type === 'rule' || event.type === 'rule-gone') {
      const name = nameOf(event.rule)
      if (event.type === 'rule-gone') this.#authors.delete(name)
      else if (event.by !== undefined && this.#authors.size < MOST_RULES)
        this.#authors.set(name, this.#deps.kernel.authorText(event.by))
      this.changed()
    } else if (event.type === 'overrun') this.changed()
    else if ((event.type === 'route' || event.type === 'route-gone') && this.#tables.has(event.route.table)) {
      // a table of all the internet changes all the time, and elsewhere
      const { dst } = event.route
      if (this.#deps.wanted().pools.some(pool => familyOf(pool) === familyOf(dst) && overlaps(pool, dst)))
        this.changed()
    }
  }

  /** Who made a rule, where the kernel told. */
  authorOf(rule: RoutingRule): string | undefined {
    return this.#authors.get(nameOf(rule))
  }

  close(): void {
    this.#closed = true
    this.#cancel?.()
  }

  async #look(): Promise<void> {
    const { clock } = this.#deps
    this.#cancel = undefined
    const startMs = clock.monotonicMs()
    this.#nextMs = startMs + PAUSE_MS
    if (this.#looking) {
      this.changed()
      return
    }
    this.#looking = true
    try {
      const found = await this.#found()
      if (this.#closed) return
      const changes = this.#told.take(found)
      if (changes.size > 0) this.#deps.onConditions(changes)
    } catch (error) {
      // what the kernel does not tell is as it was
      if (!(error instanceof KernelError)) throw error
    } finally {
      this.#looking = false
      const nowMs = clock.monotonicMs()
      this.#nextMs = nowMs + Math.min(MOST_PAUSE_MS, Math.max(PAUSE_MS, PAUSES_PER_LOOK * (nowMs - startMs)))
    }
  }

  async #found(): Promise<Condition[]> {
    const rules = await this.#deps.kernel.rules()
    const families = (['ipv4', 'ipv6'] as const).map(family => {
      const { before, looksThere } = rulesBefore(
        rules.filter(rule => rule.family === family),
        ROUTE_TABLE.main,
      )
      return { family, before: before.slice(0, MOST_RULES), looksThere }
    })
    const asked = families.filter(({ before, looksThere }) => before.length > 0 || !looksThere)
    this.#tables = new Set(asked.flatMap(({ before }) => before.flatMap(({ table = [] }) => table)))
    this.#hasForeign = asked.length > 0
    const conditions: Condition[] = []
    if (asked.length === 0) return conditions
    const names = new Map((await this.#deps.kernel.links()).map(({ index, name }) => [index, name]))
    for (const { family, before, looksThere } of asked) {
      const traffic = await this.#traffic(family)
      if (traffic.routes.length === 0) continue
      const tables = new Map<number, NamedRoute[]>()
      const takers: RoutingRule[] = []
      for (const rule of before) {
        // what a rule that is asked earlier takes does not come here
        const probes = probesOf(rule, await this.#table(rule, tables, names), traffic).filter(
          probe => !takers.some(taker => isAskedFor(taker, probe)),
        )
        const taken = await this.#taken(probes, names)
        if (taken.length === 0) continue
        takers.push(rule)
        conditions.push(this.#condition(rule, taken))
      }
      if (looksThere) continue
      const taken = await this.#taken(probesOfAll(traffic), names)
      if (taken.length > 0 && conditions.length === 0) conditions.push(noRule(family, taken[0]!))
    }
    return conditions
  }

  async #traffic(family: Family): Promise<Traffic> {
    const { ownsInterface, wanted, kernel } = this.#deps
    const { routes, pools } = wanted()
    const index = new PrefixIndex<true>()
    for (const prefix of pools.map(parsePrefix)) if (prefix !== undefined) index.set(prefix, true)
    const isToPods = ({ dst, type }: NamedRoute) => {
      const prefix = type === 'unicast' ? parsePrefix(dst) : undefined
      return prefix?.family === family && index.match(prefix) === true
    }
    const own = (await kernel.addresses()).filter(({ address, scope }) => familyOf(address) === family && scope === 0)
    return { routes: [...routes].filter(isToPods), own: own.map(({ address }) => address), ownsInterface }
  }

  /** What is in the table of a rule, of its family. */
  async #table(
    { table, family }: RoutingRule,
    read: Map<number, NamedRoute[]>,
    names: ReadonlyMap<number, string>,
  ): Promise<readonly NamedRoute[]> {
    if (table === undefined) return []
    const known = read.get(table)
    if (known !== undefined) return known
    const routes = (await this.#deps.kernel.routes({ table, family })).map(route =>
      namedRoute(route, index => names.get(index)),
    )
    read.set(table, routes)
    return routes
  }

  /** One packet for each destination that the kernel leads elsewhere for it, by another table than ours, or drops. */
  async #taken(probes: readonly Probe[], names: ReadonlyMap<number, string>): Promise<Taken[]> {
    const indexes = new Map([...names].map(([index, name]) => [name, index]))
    const taken = new Map<string, Taken>()
    for (const probe of probes) {
      const ifindex = probe.interfaceName === undefined ? undefined : indexes.get(probe.interfaceName)
      if (taken.has(probe.dst) || (probe.interfaceName !== undefined && ifindex === undefined)) continue
      const way = await this.#way(probe, ifindex, names)
      if (way !== undefined) taken.set(probe.dst, { probe, way })
    }
    return [...taken.values()]
  }

  async #way(
    { dst, packet, hides }: Probe,
    ifindex: number | undefined,
    names: ReadonlyMap<number, string>,
  ): Promise<NamedRoute | KernelError | undefined> {
    try {
      const found = await this.#deps.kernel.lookupRoute(dst, { ...packet, ifindex })
      const way = namedRoute(found, index => names.get(index))
      return way.table === ROUTE_TABLE.main || leadsSame(way, hides) ? undefined : way
    } catch (error) {
      if (!(error instanceof KernelError) || error.errno === ERRNO.ENOBUFS) throw error
      // anything else is about the packet, which may be one that this host takes from nobody
      return DROPPED.includes(error.errno) ? error : undefined
    }
  }

  #condition(rule: RoutingRule, taken: readonly Taken[]): Condition {
    const { priority, family } = rule
    const { probe, way } = taken[0]!
    const who = this.#authors.get(nameOf(rule))
    const made = who === undefined ? '' : `, which ${who} made,`
    const more = taken.length > 1 ? ` and others (${taken.length - 1} more are known)` : ''
    const command = family === 'ipv6' ? 'ip -6 rule' : 'ip rule'
    const pools = this.#deps.wanted().pools.filter(pool => taken.some(({ probe: { dst } }) => isIn(pool, dst)))
    const before = pools.map(pool => `(${command} add priority ${priority - 1} to ${pool} lookup main)`)
    const spare = priority === 0 ? '' : `; else have packets to pods spared ${before.join(' ')}`
    return broken('ForeignRoutesPass', {
      object: { kind: 'Rule', name: nameOf(rule) },
      reason: 'ForeignRule',
      message: `the rule ${priority}: ${ruleText(rule)} of another program${made} takes packets to pods: ${fateText(probe, way)}${more}`,
      remedy: `if it is not meant so, remove it (${command} del priority ${priority} ${ruleText(rule)}), and what makes it${spare}`,
    })
  }
}

function isIn(pool: string, address: string): boolean {
  return familyOf(pool) === familyOf(address) && contains(pool, address)
}

function noRule(family: Family, { probe, way }: Taken): Condition {
  const command = family === 'ipv6' ? 'ip -6 rule' : 'ip rule'
  return broken('ForeignRoutesPass', {
    object: { kind: 'Rule', name: `${family} from all lookup main` },
    reason: 'NoRule',
    message: `no rule has all packets looked up in the table main, where routes to pods are: ${fateText(probe, way)}`,
    remedy: `put back the rule that every host has (${command} add priority 32766 lookup main), and look at what removed it`,
  })
}

/** What becomes of a packet. */
function fateText({ dst, hides, packet, interfaceName }: Probe, way: NamedRoute | KernelError): string {
  const from = packet.source ?? 'this host'
  const by = interfaceName === undefined ? '' : ` that come in by ${interfaceName}`
  const now =
    way instanceof KernelError ? `are dropped (${way.code})` : `take ${routeText(way)} of the table ${way.table}`
  return `those from ${from}${by} to ${dst} ${now} instead of ${routeText(hides)}`
}

function nameOf(rule: RoutingRule): string {
  return `${rule.family} ${rule.priority}: ${ruleText(rule)}`
}
