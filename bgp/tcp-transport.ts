// TCP for BGP on node:net, the only file that imports it. A socket that needs options (MD5, TCP-AO, TTL, GTSM, a device) is
// made by the `Sockets` port, configured while it is unconnected, and then handed to node:net by its descriptor.
// Hazards: a listener must send with TTL 255 or a GTSM peer never sees its SYN-ACK; closing a socket with unread input
// sends RST, which may overtake a NOTIFICATION, so `close` reads on until the peer is done.
import { createServer, Socket, type SocketConstructorOpts } from 'node:net'
import { familyOf, isLinkLocal, parseAddress } from '../lib/ip.ts'
import { sameKey, type TcpAoKey } from '../lib/tcp-ao.ts'
import { HostAddresses } from './host-addresses.ts'
import type {
  BgpConnection,
  ConnectionHandlers,
  DialOptions,
  Listener,
  ListenOptions,
  LocalAddress,
  SocketOptions,
  Sockets,
  Transport,
} from './port.ts'
import { RequiredOptions } from './required-options.ts'

const WRITE_BUFFER = 256 * 1024
const LINGER_MS = 2000
/** More closed connections than this are destroyed: each costs a descriptor, and a peer may open many. */
const MOST_LINGERING = 64
const BACKLOG = 1024
const ERRNO_CODES: Readonly<Record<number, string>> = {
  1: 'EPERM',
  13: 'EACCES',
  19: 'ENODEV',
  22: 'EINVAL',
  23: 'ENFILE',
  24: 'EMFILE',
  92: 'ENOPROTOOPT',
  98: 'EADDRINUSE',
  99: 'EADDRNOTAVAIL',
}

/**
 * BGP's TCP. Without `sockets` a password, TCP-AO, GTSM or a device is refused with ENOPROTOOPT, and `ttl` is the system's.
 */
export class TcpTransport implements Transport {
  readonly #sockets: Sockets | undefined
  /** Closed by us and not yet by their peers, oldest first. */
  readonly #lingering = new Set<Socket>()
  readonly #host = new HostAddresses()

  constructor(sockets?: Sockets) {
    this.#sockets = sockets
  }

  async dial(options: DialOptions, signal: AbortSignal): Promise<BgpConnection> {
    signal.throwIfAborted()
    const socket = this.#unconnected(options)
    const { promise, resolve, reject } = Promise.withResolvers<BgpConnection>()
    const fail = (error: Error) => {
      socket.destroy()
      reject(error)
    }
    const timer = setTimeout(() => fail(coded('ETIMEDOUT', 'no answer')), options.timeoutMs)
    const abort = () => fail(coded('ABORT_ERR', 'given up'))
    signal.addEventListener('abort', abort)
    socket.once('error', fail)
    const zone = options.interface !== undefined && isLinkLocal(options.address) ? `%${options.interface}` : ''
    const local = this.#sockets === undefined && options.source !== undefined ? { localAddress: options.source } : {}
    socket.connect({ host: `${options.address}${zone}`, port: options.port, ...local })
    socket.once('connect', () => {
      socket.off('error', fail)
      const connection = new TcpConnection(socket, this.#sockets, this.#lingering, options.tcpAo)
      if (connection.remoteAddress !== '') resolve(connection)
      else fail(coded('ECONNRESET', 'reset as soon as it was there'))
    })
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
    }
  }

  async listen(
    options: ListenOptions & { ttlSecurity?: number },
    accept: (connection: BgpConnection) => void,
  ): Promise<Listener> {
    try {
      return await this.#listen(options, accept)
    } catch (error) {
      const inUse = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
      const holder = inUse ? await this.#sockets?.portHolder?.(options.port) : undefined
      if (holder !== undefined) (error as Error).message += `: ${holder} listens there`
      throw error
    }
  }

  async #listen(
    options: ListenOptions & { ttlSecurity?: number },
    accept: (connection: BgpConnection) => void,
  ): Promise<Listener> {
    const family = familyOf(options.address)
    const server = createServer({ highWaterMark: WRITE_BUFFER, noDelay: true, pauseOnConnect: true })
    const fd = this.#listening(options)
    const required =
      fd === undefined || this.#sockets === undefined ? undefined : new RequiredOptions(this.#sockets, fd)
    server.on('connection', socket => {
      const address = parseAddress((socket.remoteAddress ?? '').split('%')[0]!)
      // without an address the peer reset it before we accepted it
      const wanted = address === undefined ? 'refused' : (required?.of(address) ?? {})
      if (wanted === 'refused') {
        // a socket that is closed already has this for an error
        socket.on('error', () => undefined)
        socket.resetAndDestroy()
        return
      }
      const connection = new TcpConnection(socket, this.#sockets, this.#lingering, wanted.tcpAo)
      try {
        // the password too, which the new socket has already, but for one that came before the listening socket had it
        connection.configure(wanted)
      } catch {
        connection.destroy()
        return
      }
      accept(connection)
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject)
    server.once('listening', () => resolve())
    if (fd === undefined)
      server.listen({ host: options.address, port: options.port, backlog: BACKLOG, ipv6Only: family === 'ipv6' })
    else server.listen({ fd, backlog: BACKLOG })
    await promise
    server.off('error', reject)
    // also emitted when accept fails because no descriptor is free; it recovers by itself
    server.on('error', () => undefined)
    const bound = server.address()
    let open = true
    return {
      port: typeof bound === 'object' && bound !== null ? bound.port : options.port,
      setPeerOptions: (peer, wanted) => {
        if (!open || familyOf(peer) !== family) return
        if (required === undefined) refuse(wanted ?? {})
        else coding(() => required.set(peer, wanted))
      },
      close: async () => {
        open = false
        // not until the connections end that came this way: they may live on
        server.close()
      },
    }
  }

  async finish(limitMs: number): Promise<void> {
    const lingering = this.#lingering
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, limitMs)
    const ask = () => {
      if (lingering.size === 0) resolve()
    }
    for (const socket of lingering) socket.once('close', ask)
    ask()
    await promise
    clearTimeout(timer)
    for (const socket of lingering) socket.destroy()
    lingering.clear()
  }

  addresses(): readonly LocalAddress[] {
    return this.#host.now()
  }

  #unconnected(options: DialOptions): Socket {
    if (this.#sockets === undefined) {
      refuse(options)
      return new Socket({ highWaterMark: WRITE_BUFFER } as SocketConstructorOpts)
    }
    const sockets = this.#sockets
    const family = familyOf(options.address)
    return coding(() => {
      const fd = sockets.openTcp(family)
      try {
        configure(sockets, fd, options.address, options)
        for (const [i, key] of (options.tcpAo ?? []).entries()) sockets.addTcpAoKey(fd, options.address, key, i === 0)
        if (options.interface !== undefined) sockets.bindToDevice(fd, options.interface)
        if (options.source !== undefined) sockets.bindTcp(fd, options.source, 0, options.interface)
        // manualStart: reading before the connection is established would fail
        return new Socket({ fd, highWaterMark: WRITE_BUFFER, manualStart: true } as SocketConstructorOpts)
      } catch (error) {
        sockets.closeSocket(fd)
        throw error
      }
    })
  }

  #listening(options: ListenOptions & { ttlSecurity?: number }): number | undefined {
    const sockets = this.#sockets
    if (sockets === undefined) {
      refuse(options)
      return undefined
    }
    const family = familyOf(options.address)
    return coding(() => {
      const fd = sockets.openTcp(family)
      try {
        if (options.interface !== undefined) sockets.bindToDevice(fd, options.interface)
        sockets.setTtl(fd, family, 255)
        if (options.ttlSecurity !== undefined) sockets.setMinTtl(fd, family, 256 - options.ttlSecurity)
        if (options.notOurs) sockets.setFreeBind(fd, family)
        sockets.bindTcp(fd, options.address, options.port, options.interface)
        return fd
      } catch (error) {
        sockets.closeSocket(fd)
        throw error
      }
    })
  }
}

const IGNORE: ConnectionHandlers = { data: () => undefined, drain: () => undefined, closed: () => undefined }

class TcpConnection implements BgpConnection {
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  readonly interface?: string
  readonly #socket: Socket
  readonly #sockets: Sockets | undefined
  readonly #lingering: Set<Socket>
  /** Every key of TCP-AO that it ever had: none is taken from a connection. */
  readonly #keys: TcpAoKey[]
  #handlers: ConnectionHandlers = IGNORE
  #error: (Error & { code?: string }) | undefined

  constructor(socket: Socket, sockets: Sockets | undefined, lingering: Set<Socket>, keys: readonly TcpAoKey[] = []) {
    this.#socket = socket
    this.#keys = [...keys]
    this.#sockets = sockets
    this.#lingering = lingering
    const [remote = '', zone] = (socket.remoteAddress ?? '').split('%')
    this.remoteAddress = parseAddress(remote) ?? remote
    this.remotePort = socket.remotePort ?? 0
    const [local = ''] = (socket.localAddress ?? '').split('%')
    this.localAddress = parseAddress(local) ?? local
    this.localPort = socket.localPort ?? 0
    this.interface = zone
    socket.setNoDelay(true)
    socket.on('data', chunk => this.#handlers.data(chunk))
    socket.on('drain', () => this.#handlers.drain())
    socket.on('error', error => {
      this.#error = error
    })
    socket.on('close', () => {
      const handlers = this.#handlers
      this.#handlers = IGNORE
      handlers.closed(this.#error)
    })
    socket.pause()
  }

  get handlers(): ConnectionHandlers {
    return this.#handlers
  }

  set handlers(handlers: ConnectionHandlers) {
    this.#handlers = handlers
    this.#socket.resume()
  }

  get buffered(): number {
    return this.#socket.writableLength
  }

  write(bytes: Uint8Array): boolean {
    return this.#socket.write(bytes)
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  configure(options: SocketOptions): void {
    const fd = descriptor(this.#socket)
    if (this.#sockets === undefined || fd === undefined) {
      refuse(options)
      return
    }
    const sockets = this.#sockets
    coding(() => {
      configure(sockets, fd, this.remoteAddress, options)
      for (const key of options.tcpAo ?? []) {
        if (this.#keys.some(other => sameKey(key, other))) continue
        sockets.addTcpAoKey(fd, this.remoteAddress, key, false)
        this.#keys.push(key)
      }
      // throws for a connection without TCP-AO
      if (options.tcpAo !== undefined) sockets.askForTcpAoKey(fd, options.tcpAo[0]!)
    })
  }

  close(): void {
    this.#handlers = IGNORE
    this.#socket.end()
    this.#socket.resume()
    const timer = setTimeout(() => this.#socket.destroy(), LINGER_MS)
    const lingering = this.#lingering
    lingering.add(this.#socket)
    this.#socket.once('close', () => {
      clearTimeout(timer)
      lingering.delete(this.#socket)
    })
    if (lingering.size <= MOST_LINGERING) return
    const [oldest] = lingering as Iterable<Socket> as [Socket]
    // now: the 'close' event comes later, and this code may run again before it
    lingering.delete(oldest)
    oldest.destroy()
  }

  destroy(): void {
    this.#handlers = IGNORE
    this.#socket.resetAndDestroy()
  }
}

function configure(sockets: Sockets, fd: number, peer: string, options: SocketOptions): void {
  const family = familyOf(peer)
  if (options.password !== undefined) sockets.setMd5(fd, family, peer, options.password)
  if (options.ttlSecurity !== undefined) {
    sockets.setTtl(fd, family, 255)
    sockets.setMinTtl(fd, family, 256 - options.ttlSecurity)
  } else if (options.ttl !== undefined) {
    sockets.setMinTtl(fd, family, 0)
    sockets.setTtl(fd, family, options.ttl)
  }
}

/** The descriptor of a socket. node:net does not publish it; its handle has had `fd` since Node 0.10. */
function descriptor(socket: Socket): number | undefined {
  const handle = (socket as unknown as { _handle?: { fd?: number } | null })._handle
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined
}

function refuse(options: SocketOptions & { interface?: string }): void {
  for (const name of ['password', 'tcpAo', 'ttlSecurity'] as const)
    if (options[name] !== undefined) throw coded('ENOPROTOOPT', `${name} needs a transport with socket options`)
}

/** Runs `body` and turns an errno of the kernel into Node's error code, which callers of a transport expect. */
function coding<T>(body: () => T): T {
  try {
    return body()
  } catch (error) {
    if (!(error instanceof Error) || !('errno' in error) || typeof error.errno !== 'number') throw error
    const code = ERRNO_CODES[error.errno] ?? `ERRNO_${error.errno}`
    throw Object.assign(new Error(error.message, { cause: error }), { code })
  }
}

function coded(code: string, text: string): Error & { code: string } {
  return Object.assign(new Error(`${code}: ${text}`), { code })
}
