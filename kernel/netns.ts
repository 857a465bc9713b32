// Network namespaces: entering one for the length of a synchronous call, and the named ones of `ip netns` (bind mounts
// under /run/netns), made without that program. Hazard: a thread that is left in a foreign namespace gives every later
// socket to the wrong network, so nothing asynchronous runs inside and a failed return ends the process.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { closeSync, constants, mkdirSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { systemProgram } from '../lib/system-program.ts'
import { MOUNT, mount, setNetns, unmount, unshareNetns } from './libc.ts'
import { ERRNO, KernelError } from './port/error.ts'

const FOLDER = '/run/netns'
/** The namespace of the calling thread, which need not be that of the process. */
const OWN = '/proc/thread-self/ns/net'

/** Where the namespace `name` lies, as `ip netns` has it. */
export function netnsPath(name: string): string {
  return `${FOLDER}/${name}`
}

/** Opens a namespace by path; the caller closes the descriptor. Throws `KernelError`. A pipe in its place holds nobody up. */
export function openNetns(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw fileError(error, 'open netns', path)
  }
}

/**
 * Runs `inside` with this thread in another network namespace (a path or a descriptor) and comes back whatever happens.
 * `inside` must be synchronous through and through: a promise from it is a bug and throws.
 */
export function runInNetns<T>(netns: string | number, inside: () => T): T {
  const fd = typeof netns === 'number' ? netns : openNetns(netns)
  try {
    return excursion(() => setNetns(fd), inside)
  } finally {
    if (typeof netns === 'string') closeSync(fd)
  }
}

/**
 * Makes a namespace without a name, with its loopback down, that ends with the descriptor and what is made in it: also when this process is
 * killed. The caller closes the descriptor. Throws `KernelError`.
 */
export function newNetns(): number {
  return excursion(unshareNetns, () => openNetns(OWN))
}

/**
 * Makes a named namespace with its loopback down, visible to `ip netns` and to every process of this mount namespace.
 * Throws `KernelError`, EEXIST when the name is taken.
 */
export function addNetns(name: string): void {
  const path = netnsPath(name)
  prepareFolder()
  try {
    // 'wx' is the lock on the name: two makers cannot both go on
    writeFileSync(path, '', { flag: 'wx', mode: 0 })
  } catch (error) {
    throw fileError(error, 'add netns', name)
  }
  try {
    excursion(unshareNetns, () => mount(OWN, path, MOUNT.bind))
  } catch (error) {
    rmSync(path, { force: true })
    throw error
  }
}

/** Takes a named namespace away; it ends when its last process and descriptor do. Success when there is none. */
export function removeNetns(name: string): void {
  const path = netnsPath(name)
  try {
    unmount(path, MOUNT.detach)
  } catch (error) {
    // EINVAL: the name is a plain file, left by somebody who was killed between making and mounting it
    if (!(error instanceof KernelError) || (error.errno !== ERRNO.ENOENT && error.errno !== ERRNO.EINVAL)) throw error
  }
  rmSync(path, { force: true })
}

/** The names of all named namespaces, sorted. Throws `KernelError` when they cannot be read. */
export function listNetns(): string[] {
  try {
    return readdirSync(FOLDER).sort()
  } catch (error) {
    const refusal = fileError(error, 'list netns', FOLDER)
    if (refusal instanceof KernelError && refusal.errno === ERRNO.ENOENT) return []
    throw refusal
  }
}

/** Starts a system program, or one given by path, inside a network namespace; otherwise as `spawn` of node:child_process. */
export function spawnInNetns(
  path: string,
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  return spawn(systemProgram('nsenter'), [`--net=${path}`, '--', systemProgram(command), ...args], options)
}

function excursion<T>(leave: () => void, inside: () => T): T {
  const home = openNetns(OWN)
  try {
    leave()
    try {
      const result = inside()
      if (result instanceof Promise) throw new Error('asynchronous work inside a foreign network namespace')
      return result
    } finally {
      comeHome(home)
    }
  } finally {
    closeSync(home)
  }
}

function comeHome(home: number): void {
  try {
    setNetns(home)
  } catch {
    // whatever it is: in a foreign namespace nothing may go on
    process.abort()
  }
}

/** Makes /run/netns a shared mount, as `ip netns add` does, so that unmounting there reaches every mount namespace. */
function prepareFolder(): void {
  mkdirSync(FOLDER, { recursive: true, mode: 0o755 })
  try {
    mount('', FOLDER, MOUNT.shared | MOUNT.recursive)
  } catch (error) {
    if (!(error instanceof KernelError) || error.errno !== ERRNO.EINVAL) throw error
    mount(FOLDER, FOLDER, MOUNT.bind | MOUNT.recursive)
    mount('', FOLDER, MOUNT.shared | MOUNT.recursive)
  }
}

/** The `KernelError` of a failed call of node:fs. */
export function fileError(error: unknown, operation: string, object: string): unknown {
  const errno = (error as NodeJS.ErrnoException).errno
  return typeof errno === 'number' ? new KernelError(-errno, operation, object) : error
}
