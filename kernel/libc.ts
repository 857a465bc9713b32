// The C library calls that Node lacks and this room needs, bound with koffi: the only file that loads a native library.
// All but `sendInThread` are synchronous and act on the calling thread. Each throws `KernelError` with the errno of the call, unless its
// comment says otherwise. Constants: linux/sched.h, sys/mount.h, bits/socket.h.
import koffi from 'koffi'
import { KernelError } from './port/error.ts'

const CLONE_NEWNET = 0x40000000
const SOCK_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000
/** linux/sched.h. What a thread starts is no longer in real time. */
const SCHED_RR = 2
const SCHED_RESET_ON_FORK = 0x40000000
const SOL_SOCKET = 1
const SO_MEMINFO = 55
const SO_ATTACH_FILTER = 26
const SOCK_FPROG_OCTETS = 16
const SK_MEMINFO_RMEM_ALLOC = 0
const SK_MEMINFO_DROPS = 8
const MSG_TRUNC_DONTWAIT = 0x20 | 0x40
const MSG_DONTWAIT = 0x40
const EINTR = 4
const EAGAIN = 11
const ENOBUFS = 105
/** A sockaddr_in6 has 28 octets; the control messages of a datagram that are asked for here fit twice. */
const FROM_OCTETS = 32
const CONTROL_OCTETS = 256
const IFNAMSIZ = 16
/** malloc.h. */
const M_MMAP_THRESHOLD = -3
const MMAP_OCTETS = 128 * 1024
/** XATTR_SIZE_MAX (linux/limits.h). */
const LONGEST_XATTR = 65536

const O_CLOEXEC = 0o2000000
/** linux/fanotify.h; and AT_FDCWD of linux/fcntl.h. */
const FANOTIFY = { closeOnExec: 1, nonBlocking: 2, add: 1, fileSystem: 0x100, modified: 2, fromRoot: -100 } as const

/** Flags of mount(2) and umount2(2). */
export const MOUNT = { bind: 0x1000, recursive: 0x4000, shared: 0x100000, detach: 2 } as const
/** Address families of socket(2). */
export const SOCKET_FAMILY = { ipv4: 2, ipv6: 10 } as const
/** Types of socket(2). */
export const SOCKET_TYPE = { stream: 1, datagram: 2, raw: 3 } as const

const libc = koffi.load('libc.so.6')
const nativeSetns = libc.func('int setns(int fd, int type)')
const nativeSchedule = libc.func('int sched_setscheduler(int pid, int policy, const uint8_t *param)')
const nativeUnshare = libc.func('int unshare(int flags)')
const nativeMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
)
const nativeUmount = libc.func('int umount2(const char *target, int flags)')
const nativeSocket = libc.func('int socket(int domain, int type, int protocol)')
const nativeBind = libc.func('int bind(int fd, const uint8_t *address, uint32_t length)')
const nativeClose = libc.func('int close(int fd)')
const nativeSetsockopt = libc.func('int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)')
koffi.struct('sock_fprog', { length: 'uint16_t', program: 'const uint8_t *' })
const nativeAttach = libc.func('int setsockopt(int fd, int level, int name, const sock_fprog *value, uint32_t length)')
const nativeGetsockopt = libc.func(
  'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
)
const nativeAsk = libc.func(
  'int getsockopt(int fd, int level, int name, _Inout_ uint8_t *value, _Inout_ uint32_t *length)',
)
const nativeGetsockname = libc.func('int getsockname(int fd, _Out_ uint8_t *address, _Inout_ uint32_t *length)')
const nativeSendto = libc.func(
  'intptr_t sendto(int fd, const uint8_t *data, size_t size, int flags, const uint8_t *address, uint32_t length)',
)
const nativeRecvfrom = libc.func(
  'intptr_t recvfrom(int fd, _Out_ uint8_t *data, size_t size, int flags, _Out_ uint8_t *address, _Inout_ uint32_t *length)',
)
const nativeSend = libc.func('intptr_t send(int fd, const uint8_t *data, size_t size, int flags)')
const nativeRecv = libc.func('intptr_t recv(int fd, _Out_ uint8_t *data, size_t size, int flags)')
const nativeRecvmsg = libc.func('intptr_t recvmsg(int fd, _Inout_ uint8_t *message, int flags)')
const nativeReadXattr = libc.func(
  'intptr_t lgetxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)',
)
const nativeWriteXattr = libc.func(
  'int lsetxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)',
)
const nativeNotifyInit = libc.func('int fanotify_init(unsigned int flags, unsigned int event_f_flags)')
const nativeNotifyMark = libc.func(
  'int fanotify_mark(int fd, unsigned int flags, uint64_t mask, int dirfd, const char *path)',
)
const nativeMallopt = libc.func('int mallopt(int parameter, int value)')
const nativeIndex = libc.func('uint32_t if_nametoindex(const char *name)')
const nativeName = libc.func('const char *if_indextoname(uint32_t index, _Out_ uint8_t *name)')

// asked for with every datagram: one buffer is enough for all
const memory = Buffer.alloc(4 * (SK_MEMINFO_DROPS + 1))
const memoryLength = [memory.length]

/**
 * From now on pieces of memory of 128 KiB and more go back to the kernel when they are freed (mallopt(3), M_MMAP_THRESHOLD).
 * By itself glibc raises that size to that of the largest piece that was freed, up to 32 MiB, and keeps the smaller ones: a
 * table that doubles leaves its former copies resident.
 */
export function returnFreedMemory(): void {
  // another C library answers 0, and goes on as it does
  nativeMallopt(M_MMAP_THRESHOLD, MMAP_OCTETS)
}

export function setNetns(fd: number): void {
  check(nativeSetns(fd, CLONE_NEWNET), 'setns', `fd ${fd}`)
}

/** Moves this thread into a network namespace that is new. */
/** Lets the calling thread run before all that are not in real time, with the least priority there (sched(7)). Needs CAP_SYS_NICE. */
export function runInRealTime(): void {
  const priority = Buffer.alloc(4)
  priority.writeInt32LE(1)
  check(nativeSchedule(0, SCHED_RR | SCHED_RESET_ON_FORK, priority), 'sched_setscheduler', 'this thread')
}

/** A descriptor that tells of every write to a file of the file system of `path` (fanotify(7)), which may be read without waiting. */
export function openWriteWatch(path: string): number {
  const { closeOnExec, nonBlocking, add, fileSystem, modified, fromRoot } = FANOTIFY
  const fd: number = nativeNotifyInit(closeOnExec | nonBlocking, O_CLOEXEC)
  check(fd, 'fanotify_init', path)
  try {
    check(nativeNotifyMark(fd, add | fileSystem, modified, fromRoot, path), 'fanotify_mark', path)
  } catch (error) {
    nativeClose(fd)
    throw error
  }
  return fd
}

export function unshareNetns(): void {
  check(nativeUnshare(CLONE_NEWNET), 'unshare', 'net')
}

export function mount(source: string, target: string, flags: number): void {
  check(nativeMount(source, target, 'none', flags, null), 'mount', target)
}

export function unmount(target: string, flags: number): void {
  check(nativeUmount(target, flags), 'umount', target)
}

/** A new non-blocking, close-on-exec socket; `object` names it in errors. The caller closes it. */
export function openSocket(family: number, type: number, protocol: number, object: string): number {
  const fd: number = nativeSocket(family, type | SOCK_NONBLOCK_CLOEXEC, protocol)
  check(fd, 'socket', object)
  return fd
}

/** Binds to a sockaddr given as octets; `object` names it in errors. */
export function bindSocket(fd: number, address: Buffer, object: string): void {
  check(nativeBind(fd, address, address.length), 'bind', object)
}

export function closeDescriptor(fd: number): void {
  check(nativeClose(fd), 'close', `fd ${fd}`)
}

/** Sets a socket option given as octets; `object` names it in errors. */
export function setSocketOption(fd: number, level: number, name: number, value: Buffer, object: string): void {
  check(nativeSetsockopt(fd, level, name, value, value.length), 'setsockopt', object)
}

/** Reads a socket option into `value`, which holds what is asked for; `object` names it in errors. */
export function getSocketOption(fd: number, level: number, name: number, value: Buffer, object: string): void {
  check(nativeAsk(fd, level, name, value, [value.length]), 'getsockopt', object)
}

/** Sets a socket option that is an int; `object` names it in errors. */
export function setSocketInt(
  fd: number,
  level: number,
  name: number,
  value: number,
  object = `level ${level} option ${name}`,
): void {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  setSocketOption(fd, level, name, bytes, `${object} ${value}`)
}

/** Reads a socket option that is an int. */
export function getSocketInt(fd: number, level: number, name: number): number {
  const bytes = Buffer.alloc(4)
  getSocketOption(fd, level, name, bytes, `level ${level} option ${name}`)
  return bytes.readInt32LE()
}

/** One step of a classic BPF program (struct sock_filter of linux/filter.h). */
export type FilterStep = { code: number; ifTrue?: number; ifFalse?: number; k: number }

/** Lets a program say of each datagram, from its first octet on, whether a socket receives it (other than 0). */
export function attachFilter(fd: number, steps: readonly FilterStep[], object: string): void {
  const program = Buffer.alloc(8 * steps.length)
  for (const [i, { code, ifTrue = 0, ifFalse = 0, k }] of steps.entries()) {
    program.writeUInt16LE(code, 8 * i)
    program.writeUInt8(ifTrue, 8 * i + 2)
    program.writeUInt8(ifFalse, 8 * i + 3)
    program.writeUInt32LE(k, 8 * i + 4)
  }
  const value = { length: steps.length, program }
  check(nativeAttach(fd, SOL_SOCKET, SO_ATTACH_FILTER, value, SOCK_FPROG_OCTETS), 'attach filter', object)
}

/** Sends one datagram to a sockaddr given as octets; `object` names it in errors. */
export function sendTo(fd: number, data: Buffer, address: Buffer, object: string): void {
  check(nativeSendto(fd, data, data.length, 0, address, address.length), 'sendto', object)
}

/**
 * Receives one datagram into `data` and its sender's sockaddr into `address`; returns its octets. `object` names the
 * socket in errors; EAGAIN says that none waits.
 */
export function receiveFrom(fd: number, data: Buffer, address: Buffer, object: string): number {
  const size: number = nativeRecvfrom(fd, data, data.length, 0, address, [address.length])
  check(size, 'recvfrom', object)
  return size
}

/** Sends one datagram to the peer of a socket; false when there is no room for it now. `object` names the socket in errors. */
export function sendNow(fd: number, data: Buffer, object: string): boolean {
  const size: number = nativeSend(fd, data, data.length, 0)
  if (size < 0 && (koffi.errno() === EAGAIN || koffi.errno() === ENOBUFS)) return false
  check(size, 'send', object)
  return true
}

/**
 * Sends one datagram to the peer of a socket from a thread of Node's pool, and resolves when the kernel has worked it off; to false
 * when it took none, which `sendNow` has the reason of. `data` and the socket must stay until then.
 */
export function sendInThread(fd: number, data: Buffer): Promise<boolean> {
  return new Promise((resolve, reject) => {
    nativeSend.async(fd, data, data.length, 0, (error: Error | null, size: number) => {
      if (error === null) resolve(size >= 0)
      else reject(error)
    })
  })
}

/**
 * Receives the next datagram into `data`, cut off at its end; returns the octets that the datagram has, or -1 when none
 * waits. `object` names the socket in errors.
 */
export function receiveNow(fd: number, data: Buffer, object: string): number {
  const size: number = nativeRecv(fd, data, data.length, MSG_TRUNC_DONTWAIT)
  if (size < 0 && koffi.errno() === EAGAIN) return -1
  check(size, 'recv', object)
  return size
}

/**
 * Room for one datagram and what the kernel says beside it: the sender's sockaddr and control messages (struct msghdr and
 * iovec of linux/socket.h, struct cmsghdr). One piece of memory that points into itself, so it lies outside of V8's heap.
 */
export class MessageRoom {
  readonly data: Buffer
  readonly from: Buffer
  readonly #control: Buffer
  readonly #header: Buffer
  readonly #bytes: Buffer

  constructor(dataOctets: number) {
    // msghdr: name ptr | namelen u32, pad | iov ptr | iovlen u64 | control ptr | controllen u64 | flags i32, pad
    // iovec: base ptr | len u64
    const offsets = { iov: 56, from: 72, control: 72 + FROM_OCTETS, data: 72 + FROM_OCTETS + CONTROL_OCTETS }
    this.#bytes = Buffer.alloc(offsets.data + dataOctets)
    this.#header = this.#bytes.subarray(0, 56)
    this.from = this.#bytes.subarray(offsets.from, offsets.control)
    this.#control = this.#bytes.subarray(offsets.control, offsets.data)
    this.data = this.#bytes.subarray(offsets.data)
    const address = koffi.address(this.#bytes)
    this.#bytes.writeBigUInt64LE(address + BigInt(offsets.data), offsets.iov)
    this.#bytes.writeBigUInt64LE(BigInt(dataOctets), offsets.iov + 8)
    this.#header.writeBigUInt64LE(address + BigInt(offsets.from), 0)
    this.#header.writeBigUInt64LE(address + BigInt(offsets.iov), 16)
    this.#header.writeBigUInt64LE(1n, 24)
    this.#header.writeBigUInt64LE(address + BigInt(offsets.control), 32)
  }

  /** Receives the next datagram, cut off at the end of `data`; returns its octets there, or -1 when none waits. */
  receive(fd: number, object: string): number {
    // the kernel writes what it used of both
    this.#header.writeUInt32LE(FROM_OCTETS, 8)
    this.#header.writeBigUInt64LE(BigInt(CONTROL_OCTETS), 40)
    const size: number = nativeRecvmsg(fd, this.#bytes, MSG_DONTWAIT)
    if (size < 0 && (koffi.errno() === EAGAIN || koffi.errno() === EINTR)) return -1
    check(size, 'recvmsg', object)
    return size
  }

  /** The content of a control message of the datagram in the room; undefined when it has none such. */
  control(level: number, type: number): Buffer | undefined {
    const all = Number(this.#header.readBigUInt64LE(40))
    // cmsghdr: len u64, itself counted | level i32 | type i32 | content, then up to a multiple of 8
    for (let at = 0; at + 16 <= all; ) {
      const length = Number(this.#control.readBigUInt64LE(at))
      if (this.#control.readInt32LE(at + 8) === level && this.#control.readInt32LE(at + 12) === type)
        return this.#control.subarray(at + 16, at + length)
      at += Math.max(16, (length + 7) & ~7)
    }
    return undefined
  }
}

/**
 * Calls `ready` in turns of this thread's event loop for as long as something waits to be read. The returned function ends
 * it, and has to be called before the descriptor is closed.
 */
export function watchReadable(fd: number, ready: () => void): () => void {
  const handle = koffi.node.poll(fd, { readable: true }, ready)
  return () => handle.close()
}

/** The name of an interface of this thread's network namespace; undefined when there is none with this index. */
export function interfaceName(index: number): string | undefined {
  return nativeName(index, Buffer.alloc(IFNAMSIZ)) ?? undefined
}

/** The index of an interface of this thread's network namespace. */
export function interfaceIndex(name: string): number {
  const index: number = nativeIndex(name)
  if (index === 0) throw new KernelError(koffi.errno(), 'if_nametoindex', name)
  return index
}

/** The address that a socket is bound to as raw octets (family u16 first); undefined when `fd` is no socket. */
export function socketName(fd: number): Buffer | undefined {
  const address = Buffer.alloc(128)
  const length = [address.length]
  return nativeGetsockname(fd, address, length) < 0 ? undefined : address.subarray(0, length[0])
}

/** The octets that wait to be received, and how many datagrams were dropped for lack of room (linux/sock_diag.h). */
export function receiveQueue(fd: number): { waiting: number; drops: number } {
  memoryLength[0] = memory.length
  check(nativeGetsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, memoryLength), 'getsockopt', 'SO_MEMINFO')
  return { waiting: memory.readUInt32LE(4 * SK_MEMINFO_RMEM_ALLOC), drops: memory.readUInt32LE(4 * SK_MEMINFO_DROPS) }
}

/** An extended attribute of a file (xattr(7)) of at most 64 KiB. A symbolic link is not followed. */
export function readXattr(path: string, name: string): Buffer {
  const value = Buffer.alloc(LONGEST_XATTR)
  const size: number = nativeReadXattr(path, name, value, value.length)
  check(size, `getxattr ${name}`, path)
  return value.subarray(0, size)
}

/** Sets an extended attribute of a file. A symbolic link is not followed. */
export function writeXattr(path: string, name: string, value: Uint8Array): void {
  check(nativeWriteXattr(path, name, value, value.length, 0), `setxattr ${name}`, path)
}

function check(result: number, operation: string, object: string): void {
  if (result < 0) throw new KernelError(koffi.errno(), operation, object)
}
