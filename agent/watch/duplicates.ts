// Asks the links of this node, when a pod gets its address, whether a machine there has that too (as RFC 5227 §2.1.1 and RFC 4862 §5.4
// have it, but that nobody waits: ADD takes 10 ms, and an answer up to a second). Hazard: routers of clouds and some others answer for
// every address. Who answers for the addresses beside it as well is one of these, and no conflict.
import { broken, type Condition } from '../../api/status.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { addressBytes, type Family, familyOf, formatAddress } from '../../lib/ip.ts'
import type { LinkAsker } from './link-asker.ts'

export type DuplicatesDeps = {
  asker: Pick<LinkAsker, 'who'>
  clock: Clock
  /** The interface of this node's address of a family. */
  uplink: (family: Family) => Promise<{ ifindex: number; name: string } | undefined>
  report: (conditions: readonly Condition[]) => void
}

/** A pod's interface; `owner` is for people. */
export type NewAddresses = { id: string; owner: string; addresses: readonly string[] }

/** Questions, each with a socket. */
const AT_ONCE = 8
/** A node that starts all its pods; of more at once those that come later are not asked about. */
const MOST_WAITING = 500
/** A machine that was told may be cured. */
const AGAIN_MS = 30_000
const MOST_TOLD = 20

type Found = { owner: string; interfaceName: string; macs: readonly string[] }

export class Duplicates {
  readonly #deps: DuplicatesDeps
  readonly #owners = new Map<string, NewAddresses>()
  readonly #waiting: { address: string; id: string }[] = []
  readonly #found = new Map<string, Found>()
  #running = 0
  #closed = false
  #cancel: Cancel = () => undefined

  constructor(deps: DuplicatesDeps) {
    this.#deps = deps
  }

  /** An interface that was there before is not asked about. */
  adopt(pod: NewAddresses): void {
    this.#owners.set(pod.id, pod)
  }

  added(pod: NewAddresses): void {
    const isKnown = this.#owners.has(pod.id)
    this.#owners.set(pod.id, pod)
    if (!isKnown) for (const address of pod.addresses) this.#ask(address, pod.id)
  }

  removed(id: string): void {
    const { addresses = [] } = this.#owners.get(id) ?? {}
    this.#owners.delete(id)
    const told = addresses.filter(address => this.#found.delete(address))
    if (told.length > 0) this.#report()
  }

  start(): void {
    this.#cancel = this.#deps.clock.after(AGAIN_MS, () => {
      for (const [id, { addresses }] of this.#owners)
        for (const address of addresses) if (this.#found.has(address)) this.#ask(address, id)
      this.start()
    })
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  #ask(address: string, id: string): void {
    if (this.#waiting.length < MOST_WAITING) this.#waiting.push({ address, id })
    while (this.#running < AT_ONCE && this.#waiting.length > 0) {
      this.#running++
      void this.#run()
    }
  }

  async #run(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined && !this.#closed; next = this.#waiting.shift())
      await this.#look(next.address, next.id)
    this.#running--
  }

  /** Never rejects: a link that cannot be asked says nothing. */
  async #look(address: string, id: string): Promise<void> {
    try {
      const found = await this.#others(address)
      const owner = this.#owners.get(id)?.owner
      if (this.#closed || owner === undefined) return
      const was = this.#found.delete(address)
      if (found !== undefined) this.#found.set(address, { owner, ...found })
      if (was || found !== undefined) this.#report()
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
    }
  }

  async #others(address: string): Promise<Omit<Found, 'owner'> | undefined> {
    const { asker, uplink } = this.#deps
    const link = await uplink(familyOf(address))
    if (link === undefined) return undefined
    const macs = (await asker.who(link.ifindex, address)) ?? []
    if (macs.length === 0) return undefined
    const beside = await Promise.all(besideIt(address).map(each => asker.who(link.ifindex, each)))
    const proxies = new Set(beside.flatMap(each => each ?? []))
    const own = macs.filter(mac => !proxies.has(mac))
    return own.length === 0 ? undefined : { interfaceName: link.name, macs: own }
  }

  #report(): void {
    const told = [...this.#found].slice(0, MOST_TOLD)
    this.#deps.report(told.map(([address, found]) => lanAnswers(address, found)))
  }
}

/** Two addresses of the same range. */
function besideIt(address: string): string[] {
  return [1, 2].map(bit => {
    const octets = Uint8Array.from(addressBytes(address))
    octets[octets.length - 1]! ^= bit
    return formatAddress(octets)
  })
}

function lanAnswers(address: string, { owner, interfaceName, macs }: Found): Condition {
  const who = macs.length === 1 ? `a machine with the MAC ${macs[0]}` : `machines with the MACs ${macs.join(', ')}`
  return broken('AddressesUnique', {
    object: { kind: 'Address', name: address },
    reason: 'LanAnswers',
    message: `${who} on ${interfaceName} has ${address} too, which is the address of ${owner}`,
    remedy: `find that machine and give it another address; or reserve ${address} in an IPReservation, and restart the pod`,
  })
}
