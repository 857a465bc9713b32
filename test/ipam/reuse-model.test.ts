// Random histories of pods, of an API server that tells of them, and of nodes that hear of it late or not at all: whoever gets an
// address is taken by no node for a pod before, unless the deadline has passed and that was told.
import test from 'ava'
import { Journal } from '../../ipam/journal.ts'
import { type PodName, REST_MS, Resting, type Sets } from '../../ipam/resting.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'

const ADDRESSES = ['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1', 'fd00::2']
const BLOCK = { ipv4: '10.0.0.0/29', ipv6: 'fd00::/125' }
const NODES = 3

/** From 0 up to `below`, of one seed (Lehmer). */
function numbersOf(seed: number) {
  let state = (seed % 2147483646) + 1
  return (below: number) => {
    state = (state * 48271) % 2147483647
    return state % below
  }
}

/** What happened, by version: a pod has an address, or none any more. */
type Told = { pod: string; address: string | undefined }
/** A node, as far as it has worked (`at`) and has said so. */
type Far = { at: number; said: number; stands: boolean }

class World implements Sets {
  readonly clock = new ManualClock()
  readonly #db = openDatabase(':memory:')
  readonly #random: (below: number) => number
  readonly #told: Told[] = [{ pod: 'none', address: undefined }]
  readonly #nodes: Far[] = Array.from({ length: NODES }, () => ({ at: 0, said: 0, stands: false }))
  readonly #running = new Map<string, string>()
  /** Pods that ended here, of which the API server has not told yet. */
  readonly #ending = new Set<string>()
  readonly #releasedMs = new Map<string, number>()
  #resting: Resting
  #heard = 0
  #settled = 0
  #isAway = false
  #last = 0
  #lateOnes = 0
  given = { free: 0, late: 0, refused: 0 }

  constructor(seed: number) {
    this.#random = numbersOf(seed)
    this.#resting = this.#started()
  }

  #started(): Resting {
    return new Resting(
      this.clock,
      new Journal(this.#db),
      address => [...this.#running.values()].includes(address),
      this,
    )
  }

  mayHold(): boolean {
    return true
  }

  heard({ name }: PodName, address: string): 'has' | 'gone' | 'unclear' {
    if (this.#isAway) return 'unclear'
    const last = this.#told.slice(0, this.#heard + 1).findLast(({ pod }) => pod === name)
    if (last === undefined) return this.#told.some(({ pod }) => pod === name) ? 'unclear' : 'gone'
    return last.address === address ? 'has' : 'gone'
  }

  holder(address: string): PodName | undefined {
    const [name] = this.#isAway ? [] : this.#holders(address, this.#heard)
    return name === undefined ? undefined : { namespace: 'ns', name }
  }

  version(): string | undefined {
    return this.#isAway ? undefined : `${this.#heard}`
  }

  areThrough(version: string): boolean {
    return this.#settled >= Number(version)
  }

  late(): void {
    this.#lateOnes++
  }

  step(): void {
    const random = this.#random
    const one = this.#nodes[random(NODES)]!
    switch (random(12)) {
      case 0:
      case 1:
        this.#start()
        return
      case 2:
      case 3:
        this.#end()
        return
      case 4:
        for (const pod of [...this.#ending].slice(0, 1 + random(2))) {
          this.#ending.delete(pod)
          if (this.#told.some(told => told.pod === pod)) this.#told.push({ pod, address: undefined })
        }
        return
      case 5:
        this.#heard = Math.min(this.#told.length - 1, this.#heard + random(6))
        return
      case 6:
      case 7:
        if (!one.stands) one.at = Math.min(this.#told.length - 1, one.at + random(8))
        return
      case 8:
        if (!one.stands) one.said = one.at
        return
      case 9:
        this.#settled = Math.min(...this.#nodes.map(({ said }) => said))
        return
      case 10:
        this.clock.advance(random(20_000))
        return
      case 11:
        if (random(10) === 0) this.#resting = this.#started()
        if (random(10) === 0) this.#isAway = !this.#isAway
        if (random(6) === 0) one.stands = !one.stands
    }
  }

  #start(): void {
    const random = this.#random
    const name = `p${++this.#last}`
    const pod = { namespace: 'ns', name }
    const free = ADDRESSES.filter(address => ![...this.#running.values()].includes(address))
    const of = (state: string) => free.find(each => this.#resting.state(each, { pod, cooldownSeconds: 0 }) === state)
    const unused = of('free')
    const address = unused ?? of('late')
    if (address === undefined) {
      this.given.refused++
      return
    }
    const before = this.#lateOnes
    this.#resting.persistEnd([address])
    this.#resting.end(address, pod)
    if (unused !== undefined) {
      this.given.free++
      for (const { at } of this.#nodes) {
        const holders = this.#holders(address, at)
        if (holders.length > 0) throw new Error(`${address} goes to ${name}, and a node takes it for ${holders.join()}`)
      }
      if (this.#lateOnes !== before) throw new Error('told without need')
    } else {
      this.given.late++
      if (this.clock.monotonicMs() - this.#releasedMs.get(address)! < REST_MS)
        throw new Error(`${address} before its deadline`)
      if (this.#lateOnes !== before + 1) throw new Error(`nobody was told of ${address}`)
      if (!this.#isAway && this.#holders(address, this.#heard).length > 0)
        throw new Error(`${address} is a pod's by what this node has heard`)
    }
    this.#running.set(name, address)
    // some pods end before the API server tells of their address
    if (random(4) > 0) this.#told.push({ pod: name, address })
  }

  #end(): void {
    const [found] = [...this.#running].slice(this.#random(this.#running.size + 1))
    if (found === undefined) return
    const [name, address] = found
    const released = [
      address.includes(':')
        ? { address, family: 'ipv6' as const, block: BLOCK.ipv6 }
        : { address, family: 'ipv4' as const, block: BLOCK.ipv4 },
    ]
    const pod = { namespace: 'ns', name }
    this.#resting.persist(released, pod)
    this.#resting.begin(released, pod)
    this.#running.delete(name)
    this.#ending.add(name)
    this.#releasedMs.set(address, this.clock.monotonicMs())
  }

  /** Pods that have an address by what was told up to a version. */
  #holders(address: string, version: number): string[] {
    const last = new Map(this.#told.slice(0, version + 1).map(({ pod, address: at }) => [pod, at]))
    return [...last].filter(([, at]) => at === address).map(([pod]) => pod)
  }
}

test('in 300 random histories no address goes to a pod while a node may take it for another one, before the deadline and a notice', t => {
  const given = { free: 0, late: 0, refused: 0 }
  for (let seed = 1; seed <= 300; seed++) {
    const world = new World(seed)
    for (let i = 0; i < 400; i++) world.step()
    for (const key of ['free', 'late', 'refused'] as const) given[key] += world.given[key]
  }
  t.log(given)
  for (const key of ['free', 'late', 'refused'] as const) t.true(given[key] > 500, `${key}: ${given[key]}`)
})
