// TCP without a socket, for tests and for networks on paper: connections are pairs of queues, delivered in a later turn of the event loop. Dialling
// needs a listener on the address; the network can be told to lose everything.
import type {
  BgpConnection,
  ConnectionHandlers,
  DialOptions,
  Listener,
  LocalAddress,
  SocketOptions,
  Transport,
} from '../port.ts'

/** Why a connection cannot be made; `code` is Node's (EHOSTUNREACH, ETIMEDOUT, …). */
export type PathFault = { code: string; message: string }

/** Says what is between two addresses. `accepted`: what the listener asks of connections from there. */
type Path = (attempt: {
  from: string
  dialled: DialOptions
  accepted: SocketOptions | undefined
}) => PathFault | undefined

const IDLE: ConnectionHandlers = { data: () => undefined, drain: () => undefined, closed: () => undefined }
const HIGH_WATER = 64 * 1024

/** One host of a network: dials from `address`. */
class MemoryHost implements Transport {
  readonly #network: MemoryNetwork
  readonly #address: string
  readonly #addresses: readonly LocalAddress[]

  constructor(network: MemoryNetwork, address: string, addresses: readonly LocalAddress[]) {
    this.#network = network
    this.#address = address
    this.#addresses = addresses
  }

  addresses(): readonly LocalAddress[] {
    return this.#addresses
  }

  async dial(options: DialOptions, signal: AbortSignal): Promise<BgpConnection> {
    this.#network.dials.push(`${this.#address} ${options.address}`)
    await this.#network.turn()
    signal.throwIfAborted()
    const fault = this.#network.faultOf(this.#address, options)
    if (fault !== undefined) throw Object.assign(new Error(fault.message), { code: fault.code })
    const accept = this.#network.listeners.get(`${options.address} ${options.port}`)
    if (accept === undefined) throw Object.assign(new Error('nobody listens'), { code: 'ECONNREFUSED' })
    const [mine, theirs] = pair(this.#network, options.source ?? this.#address, options.address, options.port)
    accept(theirs)
    return mine
  }

  async listen(
    { address, port }: { address: string; port: number },
    accept: (connection: BgpConnection) => void,
  ): Promise<Listener> {
    const key = `${address} ${port}`
    this.#network.listeners.set(key, accept)
    return {
      port,
      setPeerOptions: (peer, wanted) => this.#network.setPeerOptions(address, peer, wanted),
      close: async () => {
        this.#network.listeners.delete(key)
      },
    }
  }
}

export class MemoryNetwork {
  readonly listeners = new Map<string, (connection: BgpConnection) => void>()
  readonly connections = new Set<MemoryConnection>()
  /** `from to` of every attempt. */
  readonly dials: string[] = []
  /** While true nothing that is written arrives, and nobody is told. */
  silent = false
  /** One delivery for all that is written to a connection in a turn, and not one for each write: for thousands of connections. */
  gathers = false
  /** Why a connection cannot be made; absent: each can whose address has a listener. */
  path: Path = () => undefined
  /** What each listening address asks of connections from an address or a CIDR: by both. */
  readonly #peerOptions = new Map<string, SocketOptions>()
  #waiting = 0

  /** Whether nothing is under way: no dial, no octet that was written, no end of a connection. */
  get idle(): boolean {
    return this.#waiting === 0
  }

  /** Calls `then` in the next turn of the event loop. */
  later(then: () => void): void {
    this.#waiting++
    setImmediate(() => {
      this.#waiting--
      then()
    })
  }

  turn(): Promise<void> {
    return new Promise(resolve => this.later(resolve))
  }

  setPeerOptions(listening: string, peer: string, wanted: SocketOptions | undefined): void {
    const key = `${listening} ${peer}`
    if (wanted === undefined) this.#peerOptions.delete(key)
    else this.#peerOptions.set(key, wanted)
  }

  faultOf(from: string, options: DialOptions): PathFault | undefined {
    const source = options.source ?? from
    return this.path({
      from: source,
      dialled: options,
      accepted: this.#peerOptions.get(`${options.address} ${source}`),
    })
  }

  /** A host whose addresses are `addresses`; by default it does not tell which it has. */
  host(address: string, addresses: readonly LocalAddress[] = []): MemoryHost {
    return new MemoryHost(this, address, addresses)
  }
}

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

/** Most turns of the event loop that a network gets to come to rest. */
const MOST_TURNS = 1_000_000

/** Resolves when nothing is under way in the network, and nobody of it has work that waits. Rejects where that never comes. */
export async function atRest(network: MemoryNetwork, isIdle: () => boolean): Promise<void> {
  // what a turn ends may begin something in promises, which run before the next one
  let quiet = 0
  for (let turns = 0; quiet < 3; turns++) {
    if (turns === MOST_TURNS) throw new Error('the network on paper does not come to rest')
    await turn()
    quiet = network.idle && isIdle() ? quiet + 1 : 0
  }
}

class MemoryConnection implements BgpConnection {
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  other: MemoryConnection | undefined
  readonly #network: MemoryNetwork
  #handlers = IDLE
  readonly #queue: Uint8Array[] = []
  /** The first of `#queue` that was not delivered: shifting a long array is slow. */
  #next = 0
  #paused = true
  /** What was written is about to be delivered. */
  #isDue = false
  #full = false
  #open = true
  buffered = 0

  constructor(network: MemoryNetwork, local: [string, number], remote: [string, number]) {
    this.#network = network
    ;[this.localAddress, this.localPort] = local
    ;[this.remoteAddress, this.remotePort] = remote
    network.connections.add(this)
  }

  get handlers(): ConnectionHandlers {
    return this.#handlers
  }

  set handlers(handlers: ConnectionHandlers) {
    this.#handlers = handlers
    this.resume()
  }

  write(bytes: Uint8Array): boolean {
    if (!this.#open || this.#network.silent || this.other === undefined) return true
    this.other.#queue.push(bytes.slice())
    this.buffered += bytes.length
    this.other.#deliverLater()
    this.#full = this.buffered > HIGH_WATER
    return !this.#full
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#network.later(() => this.#deliver())
  }

  configure(): void {}

  close(): void {
    this.#leave()
    const { other } = this
    this.#network.later(() => other?.closedByPeer())
  }

  destroy(): void {
    this.#leave()
    const { other } = this
    this.#network.later(() => other?.closedByPeer(Object.assign(new Error('reset'), { code: 'ECONNRESET' })))
  }

  closedByPeer(error?: Error & { code?: string }): void {
    this.#deliver()
    const handlers = this.#handlers
    this.#leave()
    handlers.closed(error)
  }

  #leave(): void {
    this.#open = false
    this.#handlers = IDLE
    this.#network.connections.delete(this)
  }

  #deliverLater(): void {
    if (this.#isDue && this.#network.gathers) return
    this.#isDue = true
    this.#network.later(() => {
      this.#isDue = false
      this.#deliver()
    })
  }

  #deliver(): void {
    while (!this.#paused && this.#open && this.#next < this.#queue.length) {
      const bytes = this.#queue[this.#next++]!
      const sender = this.other
      if (sender !== undefined) sender.#sent(bytes.length)
      this.#handlers.data(bytes)
    }
    if (this.#next < this.#queue.length) return
    this.#queue.length = 0
    this.#next = 0
  }

  #sent(octets: number): void {
    this.buffered -= octets
    if (!this.#full || this.buffered > 0) return
    this.#full = false
    this.#handlers.drain()
  }
}

let ports = 40_000

function pair(network: MemoryNetwork, from: string, to: string, port: number): [MemoryConnection, MemoryConnection] {
  const local: [string, number] = [from, ports++]
  const a = new MemoryConnection(network, local, [to, port])
  const b = new MemoryConnection(network, [to, port], local)
  a.other = b
  b.other = a
  return [a, b]
}
