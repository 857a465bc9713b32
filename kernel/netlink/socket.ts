// One netlink socket of any family over RawNetlinkSocket of the `netlink` package: its port, its options, what it receives and when
// it lost something. Hazards of the package: POLLERR, which is what an overrun (ENOBUFS) looks like to libuv, aborts the
// process, and so does a callback that throws. So the kernel is told to keep overruns to itself and its count of drops
// is read instead, and errors of listeners are thrown later.
import { closeSync, openSync, readdirSync } from 'node:fs'
import { RawNetlinkSocket } from 'netlink/dist/raw.js'
import {
  attachFilter,
  type FilterStep,
  getSocketInt,
  receiveNow,
  receiveQueue,
  sendInThread,
  sendNow,
  setSocketInt,
  socketName,
} from '../libc.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import { type Message, parseMessages } from './message.ts'
import { AF, NETLINK_OPTION, SOL_NETLINK } from './numbers.ts'

const SOL_SOCKET = 1
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const SO_SNDBUFFORCE = 32
const SO_RCVBUFFORCE = 33
const SEND_BUFFER_OPTIONS = { force: SO_SNDBUFFORCE, polite: SO_SNDBUF }
const RECEIVE_BUFFER_OPTIONS = { force: SO_RCVBUFFORCE, polite: SO_RCVBUF }
/** The smallest send buffer that is asked for, in octets. */
const SEND_BUFFER = 1 << 18
/**
 * How often the count of drops is read, which costs as much as a datagram. A datagram is dropped where the queue is full,
 * and what is in the queue then is received after it: so a full queue's worth never passes without a look. The kernel
 * counts a datagram with its memory: at most 33 KiB where it is small, else twice its octets.
 */
const MOST_DATAGRAMS = 16
const DATAGRAM_MEMORY = 1 << 16
const OCTET_MEMORY = 8
/** BPF_LD|BPF_W|BPF_ABS and so on (linux/bpf_common.h). */
const BPF = { loadWord: 0x20, loadHalf: 0x28, jumpIfEqual: 0x15, end: 0x06 } as const
/** Where the header of a message has them (struct nlmsghdr). */
const [HEADER_TYPE, HEADER_PORT] = [4, 12]
/** So many datagrams that wait are taken with the one that woke the process. */
const TAKEN_AT_ONCE = 64
/** The kernel makes no message of a dump larger than half of this; the next datagram that is taken at once. */
const memory = Buffer.allocUnsafeSlow(1 << 16)

export type NetlinkSocketOptions = {
  /** One of `NETLINK`. */
  family: number
  /** Octets of received messages that the kernel keeps for us before it drops. */
  receiveBuffer: number
  groups?: readonly number[]
  /** Of what this port caused, messages of these types are not received, or none but of these; a datagram goes by its first. */
  unlessCausedBy?: { port: number } & ({ types: readonly number[] } | { butTypes: readonly number[] })
  /**
   * Octets of the largest message, when that is known. The kernel fills dumps up to it; without it each message is
   * looked at twice, and dumps come in pieces of a page.
   */
  messageSize?: number
  received(messages: Message[]): void
  /** The kernel had messages for us and no room; called with one of the first that are received after them. */
  lost(): void
}

/** Ports in use by this process in any namespace: a port is how a socket's descriptor is found. */
const ports = new Set<number>()
let lastPort = 0

/** Whether a message was caused by a socket of this process. */
export function isOwnPort(port: number): boolean {
  return ports.has(port)
}

export class NetlinkSocket {
  readonly #socket: RawNetlinkSocket
  readonly #port: number
  readonly #options: NetlinkSocketOptions
  #fd = -1
  #drops = 0
  /** Octets of memory that the kernel keeps for what waits. */
  #room = 0
  /** Received since the count of drops was read. */
  #datagrams = 0
  #octets = 0
  #sendBuffer = 0
  #open = true
  /** Messages that threads are handing over just now. */
  #apart = 0

  /** Opens the socket in the network namespace of the calling thread. Throws `KernelError`. */
  constructor(options: NetlinkSocketOptions) {
    const next = nextDescriptor()
    const { socket, port } = bind(options)
    this.#socket = socket
    this.#port = port
    this.#options = options
    socket.on('error', () => guarded(options.lost))
    socket.on('truncatedMessage', () => guarded(options.lost))
    socket.on('message', bytes => guarded(() => this.#receiveAll(bytes)))
    try {
      this.#fd = descriptorOf(port, next)
      for (const option of Object.values(NETLINK_OPTION)) setSocketInt(this.#fd, SOL_NETLINK, option, 1)
      widen(this.#fd, RECEIVE_BUFFER_OPTIONS, options.receiveBuffer)
      this.#room = getSocketInt(this.#fd, SOL_SOCKET, SO_RCVBUF)
      if (options.unlessCausedBy !== undefined)
        attachFilter(this.#fd, filterOf(options.unlessCausedBy), `netlink of port ${port}`)
      for (const group of options.groups ?? []) join(socket, group)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /**
   * Hands messages to the kernel in one datagram of any size, which it works off before this returns; `refused` is
   * called when it took none.
   */
  send(bytes: Buffer, refused: (error: KernelError) => void): void {
    if (bytes.length > this.#sendBuffer) this.#widenSendBuffer(bytes.length)
    this.#socket.send(bytes, {}, error => {
      if (error === undefined) return
      guarded(() => refused(new KernelError(Math.abs(error.errno), 'send', 'netlink')))
    })
  }

  /**
   * As `send`, but returns when the kernel has worked the messages off. False: it has no room for them now, and nothing
   * was sent. Throws `KernelError` when it took none.
   */
  sendNow(bytes: Buffer): boolean {
    if (bytes.length > this.#sendBuffer) this.#widenSendBuffer(bytes.length)
    return sendNow(this.#fd, bytes, 'netlink')
  }

  /** As `send`, from a thread of its own: nobody else stands still while the kernel works them off. */
  sendApart(bytes: Buffer, refused: (error: KernelError) => void): void {
    if (bytes.length > this.#sendBuffer) this.#widenSendBuffer(bytes.length)
    this.#apart++
    void sendInThread(this.#fd, bytes).then(taken => {
      this.#apart--
      if (!this.#open) this.#closeIdle()
      else if (!taken) this.send(bytes, refused)
    })
  }

  /** Hands the next datagram that waits to `received` without a turn of the event loop; false when none waits. */
  receiveNow(): boolean {
    const length = this.#open ? receiveNow(this.#fd, memory, 'netlink') : -1
    if (length < 0) return false
    if (length > memory.length) this.#options.lost()
    else this.#receive(Buffer.from(memory.subarray(0, length)))
    return true
  }

  /** What messages that this socket caused carry as their port. */
  get port(): number {
    return this.#port
  }

  /** Octets that the kernel holds for us, messages that are handed over just now not among them. */
  get waiting(): number {
    return this.#open ? receiveQueue(this.#fd).waiting : 0
  }

  /** Whether the socket keeps the process alive. It does when it is new. */
  hold(alive: boolean): void {
    if (!this.#open) return
    if (alive) this.#socket.ref()
    else this.#socket.unref()
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    ports.delete(this.#port)
    this.#closeIdle()
  }

  /** Not while a thread uses the descriptor: its number would be another file's. */
  #closeIdle(): void {
    if (this.#apart === 0) this.#socket.close()
  }

  /** A datagram that is larger than the send buffer is refused (EMSGSIZE), whatever else is in there. */
  #widenSendBuffer(length: number): void {
    this.#sendBuffer = Math.max(length, SEND_BUFFER)
    widen(this.#fd, SEND_BUFFER_OPTIONS, this.#sendBuffer)
  }

  /** The package looks at each datagram twice and makes a turn of its own of it: what waits behind one is taken with it. */
  #receiveAll(bytes: Buffer): void {
    this.#receive(bytes)
    for (let left = TAKEN_AT_ONCE; left > 0 && this.receiveNow(); left--);
  }

  #receive(bytes: Buffer): void {
    if (!this.#open) return
    const options = this.#options
    this.#datagrams++
    this.#octets += bytes.length
    const isDue =
      this.#datagrams >= Math.min(MOST_DATAGRAMS, this.#room / DATAGRAM_MEMORY) ||
      this.#octets >= this.#room / OCTET_MEMORY
    const lost = isDue && this.#hasDropped()
    options.received(parseMessages(bytes))
    if (lost && this.#open) options.lost()
  }

  /** Whether the kernel dropped something since the last look. */
  #hasDropped(): boolean {
    this.#datagrams = 0
    this.#octets = 0
    const { drops } = receiveQueue(this.#fd)
    const more = drops !== this.#drops
    this.#drops = drops
    return more
  }
}

function guarded(act: () => void): void {
  try {
    act()
  } catch (error) {
    setImmediate(() => {
      throw error
    })
  }
}

function bind({ family, messageSize }: NetlinkSocketOptions): { socket: RawNetlinkSocket; port: number } {
  for (let attempt = 0; attempt < 1024; attempt++) {
    // ten counting bits over 22 of the pid, as libnl does: processes rarely meet
    lastPort = (lastPort + 1) & 0x3ff
    const port = ((lastPort << 22) | (process.pid & 0x3fffff)) >>> 0
    if (ports.has(port)) continue
    try {
      const socket = new RawNetlinkSocket(family, {
        localPort: port,
        recvBufferSize: 0,
        sendBufferSize: 0,
        messagePeeking: messageSize === undefined,
        msgBufferSize: messageSize,
      })
      ports.add(port)
      return { socket, port }
    } catch (error) {
      const errno = Math.abs((error as NodeJS.ErrnoException).errno ?? 0)
      if (errno !== ERRNO.EADDRINUSE) throw new KernelError(errno, 'open', 'netlink', (error as Error).message)
    }
  }
  throw new KernelError(ERRNO.EADDRINUSE, 'open', 'netlink', 'no free port')
}

/** BPF loads numbers of the network; those of the header are the machine's. Looks at the first message of a datagram. */
function filterOf({ port, ...of }: NonNullable<NetlinkSocketOptions['unlessCausedBy']>): FilterStep[] {
  const swapped = Buffer.alloc(4)
  swapped.writeUInt32LE(port)
  const [types, named, others] = 'types' in of ? [of.types, 0, 0xffffffff] : [of.butTypes, 0xffffffff, 0]
  return [
    { code: BPF.loadWord, k: HEADER_PORT },
    { code: BPF.jumpIfEqual, k: swapped.readUInt32BE(), ifTrue: 1 },
    { code: BPF.end, k: 0xffffffff },
    { code: BPF.loadHalf, k: HEADER_TYPE },
    ...types.flatMap((type): FilterStep[] => [
      { code: BPF.jumpIfEqual, k: ((type & 0xff) << 8) | (type >>> 8), ifFalse: 1 },
      { code: BPF.end, k: named },
    ]),
    { code: BPF.end, k: others },
  ]
}

function join(socket: RawNetlinkSocket, group: number): void {
  try {
    socket.addMembership(group)
  } catch (error) {
    const errno = Math.abs((error as NodeJS.ErrnoException).errno ?? 0)
    throw new KernelError(errno, 'listen to', `netlink group ${group}`, (error as Error).message)
  }
}

/** The number that the kernel gives to the next descriptor, unless another thread opens one before; -1: not known. */
function nextDescriptor(): number {
  try {
    const fd = openSync('/dev/null', 'r')
    closeSync(fd)
    return fd
  } catch {
    return -1 // no descriptor left, most likely: the socket is refused then, with the reason
  }
}

/**
 * The descriptor of the socket bound to `port`; the package keeps it to itself. It is `likely` nearly always: a process
 * with thousands of sessions does not look at all of its descriptors for each namespace that it enters.
 */
function descriptorOf(port: number, likely: number): number {
  if (isBound(likely, port)) return likely
  const found = readdirSync('/proc/self/fd')
    .map(Number)
    .find(fd => isBound(fd, port))
  if (found === undefined) throw new Error(`no descriptor is bound to netlink port ${port}`)
  return found
}

function isBound(fd: number, port: number): boolean {
  const address = socketName(fd)
  // sockaddr_nl: family u16 | pad u16 | port u32 | groups u32
  if (address === undefined || address.length < 12 || address.readUInt16LE(0) !== AF.netlink) return false
  return address.readUInt32LE(4) === port
}

/** Room for `size` octets that wait to be received. */
export function widenReceiveBuffer(fd: number, size: number): void {
  widen(fd, RECEIVE_BUFFER_OPTIONS, size)
}

function widen(fd: number, { force, polite }: { force: number; polite: number }, size: number): void {
  try {
    setSocketInt(fd, SOL_SOCKET, force, size)
  } catch {
    // without the right to go above net.core.rmem_max and wmem_max we take what they allow
    setSocketInt(fd, SOL_SOCKET, polite, size)
  }
}
