// A BGP peer that does as little as a session needs: it dials, opens, keeps alive, writes what it is given and counts
// what it gets. All test peers share one buffer to read into, since a read is worked through before the next begins.
import { connect, type Socket } from 'node:net'
import { AFI, MESSAGE, SAFI } from '../../bgp/wire/iana.ts'
import { emitKeepalive, emitMessage, HEADER, MAX_MESSAGE } from '../../bgp/wire/message.ts'
import { emitOpen } from '../../bgp/wire/open.ts'
import { Writer } from '../../lib/bytes.ts'
import { ipv4Number } from '../../lib/ip.ts'
import { Held } from './held.ts'
import type { TestPlace } from './places.ts'

/** The buffer is read into behind a gap that the cut-off start of the first message is put into. */
const GAP = MAX_MESSAGE
const shared = Buffer.alloc(GAP + 256 * 1024)
const readInto = shared.subarray(GAP)
const REDIAL_MS = 100
const KEEPALIVE = encode(emitKeepalive)

export type TestPeerOptions = {
  place: TestPlace
  daemon: { address: string; asn: number; port: number }
  holdSeconds: number
  /** Size of the span that this peer may hear of. */
  prefixes: number
}

export class TestPeer {
  readonly held: Held
  /** `performance.now()` of the last UPDATE. */
  lastUpdateMs = 0
  /** Of our first KEEPALIVE: the daemon cannot be Established before it; 0 until then. */
  establishedMs = 0
  firstUpdateMs: number | undefined
  /** The longest time between two KEEPALIVEs of the daemon, in ms. */
  longestSilenceMs = 0
  keepalives = 0
  /** Called after every read that brought UPDATEs. */
  onUpdates: () => void = () => undefined
  readonly #options: TestPeerOptions
  readonly #up = Promise.withResolvers<void>()
  #socket: Socket | undefined
  #carry = Buffer.alloc(0)
  #lastKeepaliveMs = 0
  #keepalive: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: TestPeerOptions) {
    this.#options = options
    this.held = new Held(options.prefixes)
  }

  /** Dials until the session is up. */
  establish(): Promise<void> {
    this.#dial()
    return this.#up.promise
  }

  /** Writes chunk after chunk as the daemon takes them; resolves when the kernel has the last one. */
  async feed(chunks: readonly Uint8Array[]): Promise<void> {
    for (const chunk of chunks) {
      const socket = this.#socket
      if (socket === undefined) throw new Error(`the session of ${this.#options.place.address} is gone`)
      if (socket.write(chunk)) continue
      const { promise, resolve } = Promise.withResolvers<void>()
      socket.once('drain', resolve)
      await promise
    }
  }

  requestRefresh(): void {
    this.#socket?.write(encode(w => emitMessage(w, MESSAGE.routeRefresh, () => w.u16(AFI.ipv4).u16(SAFI.unicast))))
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#keepalive)
    this.#socket?.destroy()
  }

  #dial(): void {
    const { daemon, place } = this.#options
    this.#carry = Buffer.alloc(0)
    const socket = connect({
      host: daemon.address,
      port: daemon.port,
      localAddress: place.address,
      noDelay: true,
      onread: { buffer: readInto, callback: octets => this.#read(octets) },
    })
    this.#socket = socket
    socket.on('error', () => undefined)
    socket.on('close', () => {
      clearInterval(this.#keepalive)
      this.#socket = undefined
      if (this.#closed) return
      if (this.keepalives === 0) setTimeout(() => this.#dial(), REDIAL_MS)
      else throw new Error(`the daemon ended the session of ${place.address}`)
    })
    socket.on('connect', () => socket.write(this.#open()))
  }

  #open(): Uint8Array {
    const { place, holdSeconds } = this.#options
    const { address, asn, family } = place
    const afi = family === 'ipv4' ? AFI.ipv4 : AFI.ipv6
    return encode(w =>
      emitOpen(w, {
        asn,
        holdTime: holdSeconds,
        routerId: ipv4Number(address),
        capabilities: [
          { type: 'multiprotocol', afi, safi: SAFI.unicast },
          { type: 'routeRefresh' },
          { type: 'fourOctetAs', asn },
        ],
      }),
    )
  }

  #read(octets: number): boolean {
    const end = GAP + octets
    let at = GAP - this.#carry.length
    this.#carry.copy(shared, at)
    let updates = false
    while (end - at >= HEADER) {
      const length = (shared[at + 16]! << 8) | shared[at + 17]!
      if (end - at < length) break
      const type = shared[at + 18]!
      if (type === MESSAGE.update) {
        updates = true
        this.held.update(shared, at + HEADER, at + length)
      } else this.#other(type, at, length)
      at += length
    }
    this.#carry = end > at ? Buffer.from(shared.subarray(at, end)) : Buffer.alloc(0)
    if (!updates) return true
    this.lastUpdateMs = performance.now()
    this.firstUpdateMs ??= this.lastUpdateMs
    this.onUpdates()
    return true
  }

  #other(type: number, at: number, length: number): void {
    if (type === MESSAGE.keepalive) this.#kept()
    else if (type === MESSAGE.open) {
      this.establishedMs = performance.now()
      this.#socket?.write(KEEPALIVE)
    } else if (type === MESSAGE.notification && this.keepalives > 0) {
      const why = shared.subarray(at + HEADER, at + length).toString('hex')
      throw new Error(`NOTIFICATION ${why} to ${this.#options.place.address}`)
    }
  }

  #kept(): void {
    const nowMs = performance.now()
    if (this.keepalives === 0) {
      const everyMs = (this.#options.holdSeconds * 1000) / 3
      this.#keepalive = setInterval(() => this.#socket?.write(KEEPALIVE), everyMs)
      this.#up.resolve()
    } else this.longestSilenceMs = Math.max(this.longestSilenceMs, nowMs - this.#lastKeepaliveMs)
    this.#lastKeepaliveMs = nowMs
    this.keepalives++
  }
}

function encode(emit: (w: Writer) => void): Uint8Array {
  const w = new Writer(MAX_MESSAGE)
  emit(w)
  return w.done()
}
