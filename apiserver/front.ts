// The listening socket. One port takes TLS and, on loopback, plain HTTP: the first octet tells which. Whoever connects and
// says nothing, or half a handshake, is closed in seconds, and those who have not shown a token yet are few at a time:
// the oldest of them goes when another comes, so that they cannot keep those out who have one.
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls'
import type { Clock } from '../lib/clock.ts'

export type FrontLimits = {
  /** How long a connection may take to its first octet. */
  helloMs: number
  /** How long a TLS handshake may last. */
  handshakeMs: number
  /** Connections that have shown no token in a second; the oldest of more are closed when another one comes. */
  strangers: number
  /** Connections that have shown no token, however new. */
  newcomers: number
  /** Connections of one user. */
  perUser: number
}

export type FrontOptions = {
  /** Serves the requests; it must not listen yet. */
  http: Server
  tls: { cert: string | Buffer; key: string | Buffer }
  /** Whether plain HTTP is served beside TLS. */
  plain: boolean
  clock: Clock
  limits: FrontLimits
  /** Called with each new connection. */
  arrived: () => void
}

type Connection = { socket: Socket; sinceMs: number; user?: string }

/** A burst of good clients has shown its tokens after so long. */
const SHOWN_AFTER_MS = 1000

/** How many connections the kernel holds until they are accepted: agents of a whole cluster come back at once. */
const BACKLOG = 4096
/** The first octet of a TLS handshake record (RFC 8446 §5.1). */
const TLS_HANDSHAKE = 0x16

export class Front {
  readonly #options: FrontOptions
  readonly #tls: TlsServer
  /** By the client's address and port, in the order of their coming. */
  readonly #connections = new Map<string, Connection>()
  readonly #strangers = new Set<string>()
  readonly #perUser = new Map<string, number>()
  readonly #serve: (socket: Socket) => void

  constructor(options: FrontOptions) {
    this.#options = options
    const { http, tls, limits } = options
    const settings = {
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
      handshakeTimeout: limits.handshakeMs,
    } as const
    this.#tls = createTlsServer({ ...tls, ...settings })
    // what http.Server would do with a new connection, it does once the first octet is known
    const serve = http.listeners('connection')
    http.removeAllListeners('connection')
    this.#serve = socket => {
      for (const listener of serve) Reflect.apply(listener, http, [socket])
    }
    http.on('connection', (socket: Socket) => this.#accept(socket))
    this.#tls.on('secureConnection', this.#serve)
    this.#tls.on('tlsClientError', (_error, socket) => socket.destroy())
  }

  /** The port that it listens on. Rejects with the socket's error. */
  listen(port: number, host: string): Promise<number> {
    const { http } = this.#options
    return new Promise((resolve, reject) => {
      http.once('error', reject)
      http.listen({ port, host, backlog: BACKLOG }, () => {
        http.off('error', reject)
        resolve((http.address() as AddressInfo).port)
      })
    })
  }

  /** Notes that a connection showed the token of `user`. False when this user has too many already. */
  known(socket: Socket, user: string): boolean {
    const key = keyOf(socket)
    const connection = this.#connections.get(key)
    if (connection === undefined || connection.user === user) return true
    const count = (this.#perUser.get(user) ?? 0) + 1
    if (count > this.#options.limits.perUser) return false
    this.#forgetUser(connection)
    connection.user = user
    this.#perUser.set(user, count)
    this.#strangers.delete(key)
    return true
  }

  /** Closes the connections that have shown no token: nobody waits for an answer there. */
  closeStrangers(): void {
    for (const key of this.#strangers) this.#connections.get(key)?.socket.destroy()
  }

  #accept(socket: Socket): void {
    const { clock, limits, arrived } = this.#options
    arrived()
    const key = keyOf(socket)
    this.#connections.set(key, { socket, sinceMs: clock.monotonicMs() })
    this.#strangers.add(key)
    const cancel = clock.after(limits.helloMs, () => socket.destroy())
    socket.on('error', () => socket.destroy())
    socket.once('close', () => {
      cancel()
      const connection = this.#connections.get(key)
      if (connection?.socket !== socket) return
      this.#forgetUser(connection)
      this.#connections.delete(key)
      this.#strangers.delete(key)
    })
    this.#closeOldStrangers()
    this.#awaitHello(socket, cancel)
  }

  #awaitHello(socket: Socket, cancel: () => void): void {
    const head: Buffer | null = socket.read()
    if (head === null) {
      if (!socket.readableEnded && !socket.destroyed) socket.once('readable', () => this.#awaitHello(socket, cancel))
      return
    }
    cancel()
    socket.unshift(head)
    if (head[0] === TLS_HANDSHAKE) this.#tls.emit('connection', socket)
    else if (this.#options.plain) this.#serve(socket)
    else socket.destroy()
  }

  #closeOldStrangers(): void {
    const { clock, limits } = this.#options
    for (const key of this.#strangers) {
      const connection = this.#connections.get(key)!
      const isOld = clock.monotonicMs() - connection.sinceMs > SHOWN_AFTER_MS
      if (this.#strangers.size <= (isOld ? limits.strangers : limits.newcomers)) return
      this.#strangers.delete(key)
      connection.socket.destroy()
    }
  }

  #forgetUser({ user }: Connection): void {
    if (user === undefined) return
    const count = (this.#perUser.get(user) ?? 1) - 1
    if (count === 0) this.#perUser.delete(user)
    else this.#perUser.set(user, count)
  }
}

function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
