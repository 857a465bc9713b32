// Permanent neighbour entries of others for nodes and next hops, which the kernel believes whatever the link says. One is wrong by
// proof alone: the machine of its MAC does not say that it has the address, and another one does. So what is meant so (gateways that
// are written down, entries of EVPN, proxies of clouds, several cards in one network) is silent, and where nobody answers nothing is
// known. None is removed: whoever wrote it would write it again.
import { broken, type Condition } from '../../api/status.ts'
import { INTERFACE_PREFIX } from '../../cni/interface-name.ts'
import { TUNNEL_DEVICES } from '../../felix/calc/tunnels.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Kernel, KernelMonitor } from '../../kernel/port/kernel.ts'
import type { Neighbour } from '../../kernel/port/neighbours.ts'
import type { Clock } from '../../lib/clock.ts'
import { familyOf } from '../../lib/ip.ts'
import { SoonestTimer } from '../../lib/soonest-timer.ts'
import type { LinkAsker } from './link-asker.ts'

export type ForeignNeighboursDeps = {
  kernel: Pick<Kernel, 'neighbours' | 'link' | 'monitor' | 'authorText'>
  asker: Pick<LinkAsker, 'who'>
  clock: Clock
  /** What this node reaches by addresses now, for people: a node, a peer, a next hop; undefined: nothing of ours. */
  uses: () => UsedAs
  report: (conditions: readonly Condition[]) => void
}

export type UsedAs = (address: string) => string | undefined

/** Whoever writes one often writes several. */
const SOON_MS = 100
/** Machines get other cards, and nodes other addresses. */
const LOOK_MS = 60_000
/** While one is told. */
const TOLD_LOOK_MS = 5000
/** Questions, each with a socket. */
const AT_ONCE = 16
/** A table of all machines of a large network; of more, those that came first are asked about. */
const MOST = 1000

type Entry = { neighbour: Neighbour & { mac: string }; by: string | undefined }
type Wrong = Entry & { interfaceName: string; use: string; truth: readonly string[] }

export class ForeignNeighbours {
  readonly #deps: ForeignNeighboursDeps
  /** Permanent ones of others, by interface and address. */
  readonly #entries = new Map<string, Entry>()
  readonly #timer: SoonestTimer
  #monitor: KernelMonitor | undefined
  #isRead = false
  #wrong: ReadonlySet<string> = new Set()
  #looking = false
  #closed = false

  constructor(deps: ForeignNeighboursDeps) {
    this.#deps = deps
    this.#timer = new SoonestTimer(deps.clock, () => void this.#look())
  }

  start(): void {
    const { kernel } = this.#deps
    this.#monitor = kernel.monitor(event => {
      if (event.type === 'overrun') {
        this.#isRead = false
        this.#timer.within(SOON_MS)
      } else if (event.type === 'neighbour') {
        if (this.#saw(event.neighbour, event.by && kernel.authorText(event.by))) this.#timer.within(SOON_MS)
      } else if (
        event.type === 'neighbour-gone' &&
        this.#entries.delete(keyOf(event.neighbour)) &&
        this.#wrong.size > 0
      )
        this.#timer.within(SOON_MS)
    })
    this.#timer.within(SOON_MS)
  }

  /** Whether an entry was found wrong at the last look. */
  isWrong(ifindex: number, address: string): boolean {
    return this.#wrong.has(keyOf({ ifindex, address }))
  }

  close(): void {
    this.#closed = true
    this.#timer.cancel()
    this.#monitor?.close()
  }

  /** Whether this is another entry than was known. */
  #saw(neighbour: Neighbour, by: string | undefined): boolean {
    if (neighbour.proxy === true) return false
    const key = keyOf(neighbour)
    const { mac, permanent } = neighbour
    if (!permanent || mac === undefined) return this.#entries.delete(key)
    const known = this.#entries.get(key)
    if (known?.neighbour.mac === mac) {
      // a reading may be before the event of what it reads
      known.by ??= by
      return false
    }
    if (this.#entries.size >= MOST && known === undefined) return false
    this.#entries.set(key, { neighbour: { ...neighbour, mac }, by })
    return true
  }

  /** Never rejects: what the kernel does not tell now is asked later. */
  async #look(): Promise<void> {
    if (this.#looking) {
      this.#timer.within(SOON_MS)
      return
    }
    this.#looking = true
    try {
      if (!this.#isRead) await this.#read()
      const found: Wrong[] = []
      const usedAs = this.#deps.uses()
      const entries = [...this.#entries.values()].flatMap(entry => {
        const use = usedAs(entry.neighbour.address)
        return use === undefined ? [] : [{ entry, use }]
      })
      while (entries.length > 0 && !this.#closed) {
        for (const each of await Promise.all(entries.splice(0, AT_ONCE).map(of => this.#judge(of.entry, of.use))))
          if (each !== undefined) found.push(each)
      }
      if (this.#closed) return
      if (found.length > 0 || this.#wrong.size > 0) this.#deps.report(found.map(foreignNeighbour))
      this.#wrong = new Set(found.map(({ neighbour }) => keyOf(neighbour)))
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
    } finally {
      this.#looking = false
      if (!this.#closed) this.#timer.within(this.#wrong.size > 0 ? TOLD_LOOK_MS : LOOK_MS)
    }
  }

  /** Of those that are known already it stays known who made them. */
  async #read(): Promise<void> {
    this.#isRead = true
    try {
      const now = await this.#deps.kernel.neighbours()
      const keys = new Set(now.filter(({ permanent }) => permanent).map(keyOf))
      for (const key of this.#entries.keys()) if (!keys.has(key)) this.#entries.delete(key)
      for (const each of now) this.#saw(each, undefined)
    } catch (error) {
      this.#isRead = false
      throw error
    }
  }

  async #judge(entry: Entry, use: string): Promise<Wrong | undefined> {
    const { ifindex, address, mac } = entry.neighbour
    const { kernel, asker } = this.#deps
    const interfaceName = (await kernel.link(ifindex))?.name
    if (interfaceName === undefined || isOurs(interfaceName)) return undefined
    const itself = await asker.who(ifindex, address, mac)
    if (itself === undefined || itself.length > 0) return undefined
    const truth = (await asker.who(ifindex, address)) ?? []
    const isStill = this.#entries.get(keyOf(entry.neighbour)) === entry
    return isStill && truth.length > 0 && !truth.includes(mac) ? { ...entry, interfaceName, use, truth } : undefined
  }
}

function isOurs(interfaceName: string): boolean {
  return TUNNEL_DEVICES.has(interfaceName) || interfaceName.startsWith(INTERFACE_PREFIX)
}

function keyOf({ ifindex, address }: Pick<Neighbour, 'ifindex' | 'address'>): string {
  return `${ifindex} ${address}`
}

function foreignNeighbour({ neighbour: { address, mac }, by, interfaceName, use, truth }: Wrong): Condition {
  const made = by === undefined ? '' : `, which ${by} made,`
  const command = familyOf(address) === 'ipv6' ? 'ip -6 neigh' : 'ip neigh'
  return broken('NeighboursRight', {
    object: { kind: 'Neighbour', name: `${address} ${interfaceName}` },
    reason: 'ForeignNeighbour',
    message: `the permanent neighbour entry of another program${made} gives ${address}, ${use}, the MAC ${mac} on ${interfaceName}: whoever has that MAC does not answer for it, and ${truth.join(' and ')} does`,
    remedy: `if ${truth.join(' or ')} is the right machine, remove the entry (${command} del ${address} dev ${interfaceName}), and what makes it; else find who answers in its place`,
  })
}
