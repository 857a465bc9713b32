// Hosts on a network in memory, with time moved by hand: what BFD's sockets do, and what may happen to packets on their way.
import type { BfdChange } from '../../../bgp/bfd/config.ts'
import type { BfdReceiver, BfdSender, BfdSockets, Datagram } from '../../../bgp/bfd/port.ts'
import { Sessions } from '../../../bgp/bfd/sessions.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { addressBytes, type Family, familyOf } from '../../../lib/ip.ts'

/** One packet on its way. */
export type Packet = { from: string; to: string; port: number; ttl: number; bytes: Uint8Array; interfaceIndex: number }

/** When copies of a packet arrive, in milliseconds from now: `[]` loses it, two entries double it. */
export type Way = (packet: Packet) => readonly number[]

export const promptly: Way = () => [1]
export const nowhere: Way = () => []

/** A number of 0-4294967295 from the last one (mulberry32): the same numbers in each run. */
export function numbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
}

export class Network {
  readonly clock = new ManualClock()
  readonly #hosts = new Map<string, Host>()
  way: Way = promptly
  /** Every packet that was sent. */
  readonly sent: Packet[] = []

  /** A host with these addresses. What it draws follows from `seed`, or is what the function gives. */
  host(seed: number | (() => number), ...addresses: string[]): Host {
    const host = new Host(this, typeof seed === 'number' ? numbers(seed) : seed)
    for (const address of addresses) this.#hosts.set(address, host)
    return host
  }

  send(packet: Packet): void {
    this.sent.push(packet)
    for (const delayMs of this.way(packet)) this.clock.after(delayMs, () => this.#hosts.get(packet.to)?.arrive(packet))
  }
}

export class Host {
  readonly changes: BfdChange[] = []
  readonly sessions: Sessions
  /** What opening a socket fails with. */
  refusal: (Error & { code: string }) | undefined
  /** Sockets that are open. */
  open = 0
  readonly #network: Network
  readonly #receivers = new Map<string, (datagram: Datagram) => void>()
  #standing = false
  readonly #waiting: Packet[] = []
  readonly #late: (() => void)[] = []

  constructor(network: Network, random32: () => number) {
    this.#network = network
    const { clock } = network
    this.sessions = new Sessions({
      clock: {
        monotonicMs: () => clock.monotonicMs(),
        wallMs: () => clock.monotonicMs(),
        after: (delayMs, fire) => clock.after(delayMs, () => (this.#standing ? this.#late.push(fire) : fire())),
      },
      random32,
      sockets: this.#sockets(),
      changed: change => this.changes.push(change),
    })
  }

  /** From here on packets wait in sockets, and timers do not fire. */
  stop(): void {
    this.#standing = true
  }

  /** The timers that are late fire before what waits is delivered, as in Node. */
  wake(): void {
    this.#standing = false
    for (const fire of this.#late.splice(0)) fire()
    this.#drain()
  }

  arrive(packet: Packet): void {
    this.#waiting.push(packet)
    if (!this.#standing) this.#drain()
  }

  #drain(): void {
    for (const packet of this.#waiting.splice(0)) this.#deliver(packet)
  }

  #deliver({ from, to, port, ttl, bytes, interfaceIndex }: Packet): void {
    this.#receivers.get(`${familyOf(to)} ${port}`)?.({
      bytes,
      source: addressBytes(from),
      destination: addressBytes(to),
      interfaceIndex,
      ttl,
    })
  }

  #sockets(): BfdSockets {
    return {
      receiver: (family: Family, port, deliver): BfdReceiver => {
        if (this.refusal !== undefined) throw this.refusal
        const key = `${family} ${port}`
        this.#receivers.set(key, deliver)
        this.open++
        return {
          drain: () => this.#drain(),
          close: () => {
            this.open--
            this.#receivers.delete(key)
          },
        }
      },
      sender: ({ local, peer, port }): BfdSender => {
        if (this.refusal !== undefined) throw this.refusal
        this.open++
        return {
          send: bytes =>
            this.#network.send({ from: local, to: peer, port, ttl: 255, bytes: bytes.slice(), interfaceIndex: 2 }),
          close: () => {
            this.open--
          },
        }
      },
      interfaceName: index => (index === 2 ? 'eth0' : undefined),
    }
  }
}

/** The only session of a host. */
export function only(host: Host) {
  const { sessions } = host.sessions.status()
  if (sessions.length !== 1) throw new Error(`${sessions.length} sessions`)
  return sessions[0]!
}
