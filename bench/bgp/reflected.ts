// Route reflectors with thousands of clients in one process: the reflectors are speakers as agents have them, over a network in memory; the
// clients speak just enough BGP to announce a block each, and note which blocks each reflector has told them.

import type { BgpConnection } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { MESSAGE } from '../../bgp/wire/iana.ts'
import { MessageSplitter } from '../../bgp/wire/message.ts'
import { ManualClock } from '../../lib/clock.ts'
import { formatIpv4, ipv4Number } from '../../lib/ip.ts'
import { CLUSTER_ASN } from '../scale/ground.ts'
import { announcement, KEEPALIVE, open, PORT } from '../scale/messages.ts'

const CLUSTER_ID = '224.0.0.1'
/** Of addresses of clients, of reflectors, and of blocks: a /26 each. */
const CLIENTS = ipv4Number('10.1.0.0')
const REFLECTORS = ipv4Number('10.0.0.1')
const BLOCKS = ipv4Number('10.128.0.0')
const BLOCK_BITS = 6
export type Reflected = {
  /** Milliseconds from the first dial until every client has the block of every other one from each reflector. */
  allMs: number
  /** Octets of the process at the most by then, as sampled. */
  residentOctets: number
  /** Octets of heap and of table arrays that stay, after a garbage collection where it can be asked for. */
  keptOctets: number
  /** Milliseconds from the end of one reflector until all its clients know. */
  leftMs: number
  /** Blocks that some client has from no reflector any more then, over all clients; and withdrawals that others of the reflectors sent. */
  lost: number
  withdrawn: number
}

export async function reflected({ clients, reflectors }: { clients: number; reflectors: number }): Promise<Reflected> {
  const network = new MemoryNetwork()
  network.gathers = true
  const clock = new ManualClock()
  const speakers = await Promise.all(
    Array.from({ length: reflectors }, (_, r) => aReflector(r, { network, clock, clients, reflectors })),
  )
  const watch = new Peak()
  const startMs = performance.now()
  const all = Array.from({ length: clients }, (_, c) => new Client(c, { network, clients, reflectors }))
  await Promise.all(all.map(client => client.dial()))
  await until(() => all.every(client => client.hasAll))
  const allMs = performance.now() - startMs
  const residentOctets = watch.stop()
  globalThis.gc?.()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  const before = performance.now()
  await speakers[0]!.close()
  await until(() => all.every(client => client.ended >= 1))
  const leftMs = performance.now() - before
  const lost = all.reduce((sum, client) => sum + client.missing, 0)
  const withdrawn = all.reduce((sum, client) => sum + client.withdrawn, 0)
  await Promise.all(speakers.slice(1).map(speaker => speaker.close()))
  return { allMs, residentOctets, keptOctets: heapUsed + arrayBuffers, leftMs, lost, withdrawn }
}

type World = { network: MemoryNetwork; clients: number; reflectors: number }

async function aReflector(
  r: number,
  { network, clock, clients, reflectors }: World & { clock: ManualClock },
): Promise<Speaker> {
  const address = formatIpv4(REFLECTORS + r)
  const speaker = new Speaker(
    { asn: CLUSTER_ASN, routerId: address, clusterId: CLUSTER_ID },
    { transport: network.host(address), clock },
  )
  const open = { asn: CLUSTER_ASN, import: 'accept', export: 'accept' } as const
  for (let c = 0; c < clients; c++)
    speaker.setPeer({ address: formatIpv4(CLIENTS + c), ...open, passive: true, reflectorClient: true })
  for (let other = 0; other < reflectors; other++)
    if (other !== r) speaker.setPeer({ address: formatIpv4(REFLECTORS + other), ...open, passive: other > r })
  await speaker.listen({ address, port: PORT })
  return speaker
}

/** Looks each round of the event loop. */
async function until(isDone: () => boolean): Promise<void> {
  while (!isDone()) for (let i = 0; i < 50; i++) await new Promise(setImmediate)
}

class Peak {
  #most = 0
  readonly #timer = setInterval(() => this.#look(), 20)

  #look(): void {
    this.#most = Math.max(this.#most, process.memoryUsage.rss())
  }

  stop(): number {
    clearInterval(this.#timer)
    this.#look()
    return this.#most
  }
}

class Client {
  readonly #number: number
  readonly #world: World
  /** By reflector: a bit for each block. Undefined: the session ended. */
  readonly #told: (Uint32Array | undefined)[]
  readonly #count: number[]
  /** Withdrawals that came. */
  withdrawn = 0
  ended = 0

  constructor(number: number, world: World) {
    this.#number = number
    this.#world = world
    this.#told = Array.from({ length: world.reflectors }, () => new Uint32Array((world.clients + 31) >>> 5))
    this.#count = this.#told.map(() => 0)
  }

  get #address(): string {
    return formatIpv4(CLIENTS + this.#number)
  }

  get hasAll(): boolean {
    return this.#count.every(count => count === this.#world.clients - 1)
  }

  /** Blocks of others that no reflector that is left tells. */
  get missing(): number {
    let missing = 0
    for (let block = 0; block < this.#world.clients; block++) {
      if (block === this.#number) continue
      if (!this.#told.some(told => told !== undefined && (told[block >>> 5]! & (1 << (block & 31))) !== 0)) missing++
    }
    return missing
  }

  async dial(): Promise<void> {
    const host = this.#world.network.host(this.#address)
    const { signal } = new AbortController()
    for (let r = 0; r < this.#world.reflectors; r++) {
      const address = formatIpv4(REFLECTORS + r)
      this.#speak(await host.dial({ address, port: PORT, timeoutMs: 0 }, signal), r)
    }
  }

  #speak(connection: BgpConnection, reflector: number): void {
    const splitter = new MessageSplitter()
    let isUp = false
    connection.handlers = {
      data: chunk =>
        void splitter.push(chunk, (type, bytes, start) => {
          if (type === MESSAGE.open) connection.write(KEEPALIVE)
          if (type === MESSAGE.update) this.#update(reflector, bytes, start)
          if (type !== MESSAGE.keepalive || isUp) return
          isUp = true
          connection.write(announcement([blockOf(this.#number)], this.#address))
        }),
      drain: () => undefined,
      closed: () => {
        this.#told[reflector] = undefined
        this.ended++
      },
    }
    connection.write(open(this.#address))
  }

  /** `withdrawn length u16 | withdrawn | attributes length u16 | attributes | NLRI` (RFC 4271 §4.3). */
  #update(reflector: number, bytes: Uint8Array, start: number): void {
    const length = (bytes[start - 3]! << 8) | bytes[start - 2]!
    const end = start - HEADER + length
    const withdrawnEnd = start + 2 + ((bytes[start]! << 8) | bytes[start + 1]!)
    this.#note(reflector, bytes, [start + 2, withdrawnEnd], -1)
    const attributes = (bytes[withdrawnEnd]! << 8) | bytes[withdrawnEnd + 1]!
    this.#note(reflector, bytes, [withdrawnEnd + 2 + attributes, end], 1)
  }

  #note(reflector: number, bytes: Uint8Array, [from, to]: readonly [number, number], change: 1 | -1): void {
    const told = this.#told[reflector]!
    for (let at = from; at < to; at += 1 + ((bytes[at]! + 7) >>> 3)) {
      const address = (bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!
      const block = ((address >>> 0) - BLOCKS) >>> BLOCK_BITS
      const bit = 1 << (block & 31)
      const has = (told[block >>> 5]! & bit) !== 0
      if (change === -1) this.withdrawn++
      if (has === (change === 1)) continue
      told[block >>> 5]! ^= bit
      this.#count[reflector]! += change
    }
  }
}

/** Octets of marker, length and type (RFC 4271 §4.1). */
const HEADER = 19

const blockOf = (client: number) => `${formatIpv4(BLOCKS + (client << BLOCK_BITS))}/${32 - BLOCK_BITS}`
