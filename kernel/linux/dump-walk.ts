// Large dumps over netlink, a part at a time. The kernel makes the next part when the last one was taken, so a walk of 100,000 objects
// takes what it can work off in a millisecond and lets others go on; a socket that the event loop reads would take all. Who takes
// longer over each object, as one that asks a thousand rules about it, lets others go on within a part.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { closeDescriptor, openSocket, receiveNow, SOCKET_TYPE, sendNow } from '../libc.ts'
import { type Message, NlWriter, parseAcknowledgement, parseDone, parseMessages } from '../netlink/message.ts'
import { AF, NETLINK, NLM_F, NLMSG } from '../netlink/numbers.ts'
import type { Request } from '../netlink/requests.ts'
import { ERRNO, KernelError } from '../port/error.ts'

/** As large as the kernel makes the messages of a dump: some 150 entries. */
const MESSAGE = 1 << 15
/** After so long others go on. */
const SLICE_MS = 5

export type DumpWalk = {
  /** In words, for errors. */
  lists: string
  /** Takes one message, whose octets are others' when it returns. */
  take: (message: Message) => void
  /** Opens the socket in the namespace that is meant. */
  within: <T>(act: () => T) => T
}

/**
 * Asks the subsystem netfilter. Resolves to whether what is told changed meanwhile. Rejects with `KernelError`, and with what
 * `take` throws.
 */
export async function walkDump(
  { type, body }: Request,
  { lists, take, within }: DumpWalk,
): Promise<'whole' | 'interrupted'> {
  const socket = within(() => openSocket(AF.netlink, SOCKET_TYPE.raw, NETLINK.netfilter, lists))
  let told: 'whole' | 'interrupted' = 'whole'
  try {
    if (!sendNow(socket, new NlWriter().message(type, NLM_F.request | NLM_F.dump, 1, body).done(), lists))
      throw new KernelError(ERRNO.ENOBUFS, 'list', lists)
    const memory = Buffer.allocUnsafe(MESSAGE)
    for (;;) {
      await nextTurn()
      const length = receiveNow(socket, memory, lists)
      if (length < 0 || length > memory.length) throw new KernelError(ERRNO.ENOBUFS, 'list', lists, 'a part is missing')
      let untilMs = performance.now() + SLICE_MS
      for (const message of parseMessages(memory.subarray(0, length))) {
        if (message.flags & NLM_F.dumpInterrupted) told = 'interrupted'
        const isLast = message.type === NLMSG.done || message.type === NLMSG.error
        const { errno, detail } = !isLast
          ? { errno: 0 }
          : message.type === NLMSG.done
            ? parseDone(message)
            : parseAcknowledgement(message)
        if (errno !== 0) throw new KernelError(errno, 'list', lists, detail)
        if (isLast) return told
        take(message)
        if (performance.now() < untilMs) continue
        await nextTurn()
        untilMs = performance.now() + SLICE_MS
      }
    }
  } finally {
    closeDescriptor(socket)
  }
}
