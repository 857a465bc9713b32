// A BGP peer of bare bytes: a TCP socket born in a network namespace, whose every octet the test writes itself. It cuts
// what comes back into messages with code of its own, so that a fault of the speaker's codecs cannot hide here.
import { createServer, type Server, Socket, type SocketConstructorOpts } from 'node:net'
import { runInNetns } from '../../../kernel/netns.ts'
import { bindTcp, closeSocket, openTcp, setMd5 } from '../../../kernel/sockopt.ts'
import { fromHex } from '../../../lib/bytes.ts'
import { aMessage } from '../wire/wire.ts'

/** Where a peer sits: its namespace and its address there. */
export type Place = {
  netns: string
  address: string
  password?: string
  /** Keeps its side open when the other has closed. */
  stubborn?: boolean
}
export type Target = { address: string; port?: number }
export type Heard = { type: number; body: Buffer }

export const TYPE = { open: 1, update: 2, notification: 3, keepalive: 4, refresh: 5 } as const
export const KEEPALIVE = aMessage(TYPE.keepalive, '')
const PATIENCE_MS = 15_000
const DIAL_MS = 3000

/** Written between two looks at what came back. */
const TURN_OCTETS = 64 * 1024

export class RawPeer {
  /** Every message that came, in order. */
  readonly heard: Heard[] = []
  /** How the connection ended, once it did. */
  ended: 'closed' | 'reset' | undefined
  octets = 0
  /** The longest time between two KEEPALIVEs, in ms. */
  longestSilenceMs = 0
  readonly #socket: Socket
  #pending: Buffer = Buffer.alloc(0)
  #next = 0
  #lastKeepaliveMs: number | undefined
  #woken = Promise.withResolvers<void>()
  #beat: NodeJS.Timeout | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', chunk => this.#read(chunk))
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNRESET' || code === 'EPIPE') this.ended = 'reset'
    })
    socket.on('end', () => {
      this.ended ??= 'closed'
      this.#wake()
    })
    socket.on('close', () => {
      this.ended ??= 'closed'
      clearInterval(this.#beat)
      this.#wake()
    })
    socket.resume()
  }

  /** Dials. Rejects with Node's code, ETIMEDOUT after three seconds of silence. */
  static dial(place: Place, { address, port = 179 }: Target): Promise<RawPeer> {
    const fd = boundSocket(place, 0, address)
    const allowHalfOpen = place.stubborn ?? false
    const socket = new Socket({ fd, allowHalfOpen, manualStart: true } as SocketConstructorOpts)
    const { promise, resolve, reject } = Promise.withResolvers<RawPeer>()
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error(`${address} is silent`), { code: 'ETIMEDOUT' })),
      DIAL_MS,
    )
    socket.once('close', () => clearTimeout(timer))
    socket.once('error', reject)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.off('error', reject)
      resolve(new RawPeer(socket))
    })
    socket.connect({ host: address, port })
    return promise
  }

  send(...messages: readonly Uint8Array[]): void {
    for (const bytes of messages) this.#socket.write(bytes)
  }

  /** Writes as fast as the other side reads, until all is written or the connection ended; the octets written. */
  async pour(messages: Iterable<Uint8Array>): Promise<number> {
    let octets = 0
    let turnOctets = 0
    for (const bytes of messages) {
      if (this.ended !== undefined) break
      octets += bytes.length
      turnOctets += bytes.length
      const room = this.#socket.write(bytes)
      if (room && turnOctets < TURN_OCTETS) continue
      turnOctets = 0
      if (room) {
        // a peer that takes everything at once would keep us from ever hearing what it says
        await new Promise(resolve => setImmediate(resolve))
        continue
      }
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#socket.once('drain', resolve)
      this.#socket.once('close', () => resolve())
      await promise
      this.#socket.off('drain', resolve)
    }
    return octets
  }

  /** Sends OPEN and KEEPALIVE and waits until both came back; then keeps the session alive. */
  async establish(open: OpenParts = {}): Promise<this> {
    this.send(anOpen(open), KEEPALIVE)
    await this.next(TYPE.keepalive)
    this.#beat = setInterval(() => this.send(KEEPALIVE), 1000)
    return this
  }

  /** Sends no more KEEPALIVEs of its own accord. */
  silence(): void {
    clearInterval(this.#beat)
  }

  /** Sends one octet of a message a second. */
  drip(bytes: Uint8Array): void {
    let at = 0
    clearInterval(this.#beat)
    this.#beat = setInterval(() => {
      if (at < bytes.length) this.send(bytes.subarray(at, ++at))
    }, 1000)
  }

  /** The next message of a type; what comes before it is skipped. Rejects when the connection ends first. */
  async next(type: number): Promise<Heard> {
    const deadlineMs = performance.now() + PATIENCE_MS
    for (;;) {
      while (this.#next < this.heard.length) {
        const message = this.heard[this.#next++]!
        if (message.type === type) return message
      }
      if (this.ended !== undefined) throw new Error(`no message of type ${type}: the connection is ${this.ended}`)
      await this.#wait(deadlineMs, `a message of type ${type}`)
    }
  }

  /** The NOTIFICATION with which the speaker ends the session, as `code/subcode data`, and then the end itself. */
  async dismissed(): Promise<string> {
    const { body } = await this.next(TYPE.notification)
    await this.gone()
    return `${body[0]}/${body[1]} ${body.subarray(2).toString('hex')}`.trim()
  }

  /** Waits until the connection has ended. */
  async gone(): Promise<void> {
    const deadlineMs = performance.now() + PATIENCE_MS
    while (this.ended === undefined) await this.#wait(deadlineMs, 'the end of the connection')
  }

  /** Calls `listen` when the connection has ended. */
  onGone(listen: () => void): void {
    this.#socket.once('close', listen)
  }

  /** Reads nothing until `resume`. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** FIN. */
  close(): void {
    clearInterval(this.#beat)
    this.#socket.end()
  }

  /** RST. */
  reset(): void {
    clearInterval(this.#beat)
    this.#socket.resetAndDestroy()
  }

  destroy(): void {
    clearInterval(this.#beat)
    this.#socket.destroy()
  }

  #read(chunk: Buffer): void {
    this.octets += chunk.length
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    let at = 0
    while (this.#pending.length - at >= 19) {
      const length = this.#pending.readUInt16BE(at + 16)
      if (this.#pending.length - at < length) break
      const type = this.#pending[at + 18]!
      this.heard.push({ type, body: Buffer.from(this.#pending.subarray(at + 19, at + length)) })
      if (type === TYPE.keepalive) this.#kept()
      at += length
    }
    this.#pending = this.#pending.subarray(at)
    this.#wake()
  }

  #kept(): void {
    const nowMs = performance.now()
    if (this.#lastKeepaliveMs !== undefined)
      this.longestSilenceMs = Math.max(this.longestSilenceMs, nowMs - this.#lastKeepaliveMs)
    this.#lastKeepaliveMs = nowMs
  }

  #wake(): void {
    this.#woken.resolve()
    this.#woken = Promise.withResolvers()
  }

  async #wait(deadlineMs: number, what: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<'late'>()
    const timer = setTimeout(() => resolve('late'), Math.max(0, deadlineMs - performance.now()))
    const first = await Promise.race([this.#woken.promise, promise])
    clearTimeout(timer)
    if (first !== 'late') return
    const types = this.heard.map(({ type }) => type).join(' ')
    throw new Error(`${what} did not come in ${PATIENCE_MS} ms; heard: ${types}`)
  }
}

/** A listener at a place: what dials it becomes a raw peer. */
export class RawListener {
  readonly #server: Server
  readonly #peers: RawPeer[] = []
  #woken = Promise.withResolvers<void>()

  constructor(place: Place, speaker: string, port = 179) {
    this.#server = createServer({ pauseOnConnect: true }, socket => {
      this.#peers.push(new RawPeer(socket))
      this.#woken.resolve()
    })
    this.#server.listen({ fd: boundSocket(place, port, speaker) })
  }

  /** The next connection that nobody has taken yet. */
  async next(): Promise<RawPeer> {
    for (;;) {
      const peer = this.#peers.shift()
      if (peer !== undefined) return peer
      this.#woken = Promise.withResolvers()
      await this.#woken.promise
    }
  }

  close(): void {
    for (const peer of this.#peers) peer.destroy()
    this.#server.close()
  }
}

export type OpenParts = { asn?: number; holdTime?: number; routerId?: string; capabilities?: string; version?: number }

/** The capabilities of an IPv4 speaker with four-octet AS numbers, in hex. */
export function capabilities(asn: number): string {
  return `01 04 0001 00 01 41 04 ${hex(asn, 4)}`
}

/** An OPEN; by default AS 65002 with what `capabilities` says. */
export function anOpen(parts: OpenParts = {}): Uint8Array {
  const { asn = 65002, holdTime = 90, routerId = 'c6120002', version = 4 } = parts
  const list = parts.capabilities ?? capabilities(asn)
  const size = fromHex(list).length
  const optional = size === 0 ? '00' : `${hex(size + 2, 1)} 02 ${hex(size, 1)} ${list}`
  const my = asn > 0xffff ? 23456 : asn
  return aMessage(TYPE.open, `${hex(version, 1)} ${hex(my, 2)} ${hex(holdTime, 2)} ${routerId} ${optional}`)
}

/** ORIGIN, an AS_PATH of one four-octet number and a NEXT_HOP, in hex. */
export function attributes(asn: number): string {
  return `40 01 01 00 40 02 06 02 01 ${hex(asn, 4)} 40 03 04 c6120002`
}

/** A number as `octets` octets of hex. */
export function hex(value: number, octets: number): string {
  return value.toString(16).padStart(octets * 2, '0')
}

/** UPDATEs that announce `count` /24s from 11.0.0.0 on, four per attribute set as in a real table; each round others. */
export function* table(count: number, asn: number, round = 0): Generator<Uint8Array> {
  const path = `40 02 0a 02 02 ${hex(asn, 4)} 00000000`
  const body = `0000 0018 40 01 01 00 ${path} 40 03 04 c6120002 ${'18 000000'.repeat(4)}`
  const message = Buffer.from(aMessage(TYPE.update, body))
  for (let first = 0; first < count; first += 4) {
    const one = Buffer.from(message)
    one.writeUInt32BE(100_000 * (round + 1) + first / 4, 19 + 4 + 4 + 5 + 4)
    for (let i = 0; i < 4; i++) one.writeUIntBE(0x0b0000 + first + i, one.length - 15 + 4 * i, 3)
    yield one
  }
}

/** A socket in the place's namespace, bound to its address. */
function boundSocket({ netns, address, password }: Place, port: number, speaker: string): number {
  return runInNetns(netns, () => {
    const fd = openTcp('ipv4')
    try {
      if (password !== undefined) setMd5(fd, 'ipv4', speaker, password)
      bindTcp(fd, address, port)
      return fd
    } catch (error) {
      closeSocket(fd)
      throw error
    }
  })
}
