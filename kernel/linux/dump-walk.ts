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
}

/**
 * Walks of the subsystem netfilter in one network namespace. The kernel lets whoever closes a socket of it wait until what
 * transactions deleted is out of use (nf_tables_rcv_nl_event, 10 to 20 ms), so one stays open for the next walk.
 */
export class DumpWalks {
  readonly #within: <T>(act: () => T) => T
  #idle: number | undefined
  #closed = false

  /** Sockets are opened `within` the namespace that is meant. */
  constructor(within: <T>(act: () => T) => T) {
    this.#within = within
  }

  /** Resolves to whether what is told changed meanwhile. Rejects with `KernelError`, and with what `take` throws. */
  async walk(request: Request, { lists, take }: DumpWalk): Promise<'whole' | 'interrupted'> {
    const socket = this.#idle ?? this.#within(() => openSocket(AF.netlink, SOCKET_TYPE.raw, NETLINK.netfilter, lists))
    this.#idle = undefined
    let isThrough = false
    try {
      const told = await walkDump(socket, request, { lists, take })
      isThrough = true
      return told
    } finally {
      if (isThrough && this.#idle === undefined && !this.#closed) this.#idle = socket
      else closeDescriptor(socket)
    }
  }

  close(): void {
    this.#closed = true
    if (this.#idle !== undefined) closeDescriptor(this.#idle)
    this.#idle = undefined
  }
}

async function walkDump(
  socket: number,
  { type, body }: Request,
  { lists, take }: DumpWalk,
): Promise<'whole' | 'interrupted'> {
  if (!sendNow(socket, new NlWriter().message(type, NLM_F.request | NLM_F.dump, 1, body).done(), lists))
    throw new KernelError(ERRNO.ENOBUFS, 'list', lists)
  const memory = Buffer.allocUnsafe(MESSAGE)
  let told: 'whole' | 'interrupted' = 'whole'
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
}
