// The few C library calls that Node lacks and this room needs, by koffi. All are synchronous and act on the calling
// thread. Each throws `KernelError` with the errno of the call. Constants: linux/sched.h, sys/mount.h.
import koffi from 'koffi'
import { KernelError } from './port/error.ts'

const CLONE_NEWNET = 0x40000000
const SOL_SOCKET = 1
const SO_MEMINFO = 55
const SK_MEMINFO_DROPS = 8

/** Flags of mount(2) and umount2(2). */
export const MOUNT = { bind: 0x1000, recursive: 0x4000, shared: 0x100000, detach: 2 } as const

const libc = koffi.load('libc.so.6')
const nativeSetns = libc.func('int setns(int fd, int type)')
const nativeUnshare = libc.func('int unshare(int flags)')
const nativeMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
)
const nativeUmount = libc.func('int umount2(const char *target, int flags)')
const nativeSetsockopt = libc.func('int setsockopt(int fd, int level, int name, const uint8_t *value, uint32_t length)')
const nativeGetsockopt = libc.func(
  'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
)
const nativeGetsockname = libc.func('int getsockname(int fd, _Out_ uint8_t *address, _Inout_ uint32_t *length)')

// asked for with every datagram: one buffer is enough for all
const memory = Buffer.alloc(4 * (SK_MEMINFO_DROPS + 1))
const memoryLength = [memory.length]

/** Moves this thread into the network namespace that `fd` is open on. */
export function setNetns(fd: number): void {
  check(nativeSetns(fd, CLONE_NEWNET), 'setns', `fd ${fd}`)
}

/** Moves this thread into a network namespace that is new. */
export function unshareNetns(): void {
  check(nativeUnshare(CLONE_NEWNET), 'unshare', 'net')
}

export function mount(source: string, target: string, flags: number): void {
  check(nativeMount(source, target, 'none', flags, null), 'mount', target)
}

export function unmount(target: string, flags: number): void {
  check(nativeUmount(target, flags), 'umount', target)
}

/** Sets a socket option that is an int. */
export function setSocketInt(fd: number, level: number, name: number, value: number): void {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  check(nativeSetsockopt(fd, level, name, bytes, bytes.length), 'setsockopt', `${level}.${name} ${value}`)
}

/** The address that a socket is bound to as raw octets (family u16 first); undefined when `fd` is no socket. */
export function socketName(fd: number): Buffer | undefined {
  const address = Buffer.alloc(128)
  const length = [address.length]
  return nativeGetsockname(fd, address, length) < 0 ? undefined : address.subarray(0, length[0])
}

/** How many datagrams the kernel dropped because the socket had no room (SO_MEMINFO, linux/sock_diag.h). */
export function socketDrops(fd: number): number {
  memoryLength[0] = memory.length
  check(nativeGetsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, memoryLength), 'getsockopt', 'SO_MEMINFO')
  return memory.readUInt32LE(4 * SK_MEMINFO_DROPS)
}

function check(result: number, operation: string, object: string): void {
  if (result < 0) throw new KernelError(koffi.errno(), operation, object)
}
