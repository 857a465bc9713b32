// A thread of BFD in a namespace: a thread begins in that of the one that starts it.
import { execFileSync } from 'node:child_process'
import { networkInterfaces } from 'node:os'
import { pathToFileURL } from 'node:url'
import type { ExecutionContext } from 'ava'
import { BfdThread } from '../../../bgp/bfd/thread.ts'
import {
  bindSocket,
  closeDescriptor,
  openSocket,
  receiveNow,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  sendTo,
} from '../../../kernel/libc.ts'
import { runInNetns } from '../../../kernel/netns.ts'
import { socketAddress } from '../../../kernel/sockopt.ts'
import { systemProgram } from '../../../lib/system-program.ts'
import type { ScratchNetns } from '../../kernel/scratch-netns.ts'
import { type Link, THEIRS, until } from '../interop.ts'

/** discard */
const PROBE_PORT = 9
const PROGRAM = pathToFileURL(new URL('../../../agent/bfd-worker.ts', import.meta.url).pathname)

/** Closed when the test is over. */
export function started(t: ExecutionContext, netns: ScratchNetns): BfdThread {
  const thread = runInNetns(netns.path, () => new BfdThread(PROGRAM))
  t.teardown(() => thread.close())
  return thread
}

/** A link when packets pass: the kernel lets none out before it has noticed the carrier, which may take a second. */
export async function passable<T extends Link>(link: T): Promise<T> {
  for (const family of ['ipv4', 'ipv6'] as const) {
    const open = () => openSocket(SOCKET_FAMILY[family], SOCKET_TYPE.datagram, 0, 'probe')
    const [from, to] = [runInNetns(link.ours.path, open), runInNetns(link.theirs.path, open)]
    bindSocket(to, socketAddress(THEIRS[family], PROBE_PORT), 'probe')
    await until(`packets of ${family} pass`, () => {
      sendTo(from, Buffer.of(1), socketAddress(THEIRS[family], PROBE_PORT), 'probe')
      return receiveNow(to, Buffer.alloc(1), 'probe') > 0
    })
    for (const fd of [from, to]) closeDescriptor(fd)
  }
  return link
}

/** Takes the link down at one end: what is sent at either is lost. */
export function cut({ name }: ScratchNetns): void {
  execFileSync(systemProgram('ip'), ['-n', name, 'link', 'set', 'e0', 'down'])
}

/** Brings it up again, with the IPv6 address that went with it. */
export function mend({ name }: ScratchNetns, address: string): void {
  const ip = (...args: readonly string[]) => execFileSync(systemProgram('ip'), ['-n', name, ...args])
  ip('link', 'set', 'e0', 'up')
  ip('addr', 'replace', `${address}/64`, 'dev', 'e0', 'nodad')
}

/** The link-local address of an interface of this thread's namespace. */
export function linkLocalOf(name: string): string {
  const found = networkInterfaces()[name]?.find(({ address }) => address.startsWith('fe80:'))
  if (found === undefined) throw new Error(`${name} has no link-local address`)
  return found.address
}
