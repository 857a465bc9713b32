// Tracked connections over netlink. The kernel makes the next part of a dump when the last one was taken, so a walk of 100,000
// entries takes what it can work off in a millisecond and lets others go on; a socket that the event loop reads would take all.
// A few addresses are asked for one by one, which the kernel answers without telling of all others: a walk of a table of 100,000
// takes the kernel 25 ms for each, and 130 ms with 280 ms of ours where all is told.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Family, familyOf } from '../../lib/ip.ts'
import { closeDescriptor, openSocket, receiveNow, SOCKET_TYPE, sendNow } from '../libc.ts'
import { deleteFlow, dumpFlows, dumpFlowsFrom, type FlowDirection, flowReader } from '../netlink/conntrack/flows.ts'
import { NlWriter, parseAcknowledgement, parseDone, parseMessages } from '../netlink/message.ts'
import { AF, NETLINK, NLM_F, NLMSG } from '../netlink/numbers.ts'
import type { Request, Requests } from '../netlink/requests.ts'
import type { Flow } from '../port/conntrack.ts'
import { ERRNO, KernelError } from '../port/error.ts'

/** Up to so many addresses are asked for one by one. */
const FEW = 2
/** As large as the kernel makes the messages of a dump: some 150 entries. */
const MESSAGE = 1 << 15
const LISTS = 'tracked connections'
const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']
const DIRECTIONS: readonly FlowDirection[] = ['original', 'reply']

/** As `ConntrackPort.flowsOf`; sockets are opened `within` the namespace that is meant. */
export async function walkFlows(
  addresses: ReadonlySet<string> | 'all',
  each: (flow: Flow) => void,
  within: <T>(act: () => T) => T,
): Promise<void> {
  const read = flowReader(addresses)
  for (const request of requestsFor(addresses)) {
    const socket = within(() => openSocket(AF.netlink, SOCKET_TYPE.raw, NETLINK.netfilter, LISTS))
    try {
      await walk(socket, request, message => {
        const flow = read(message)
        if (flow !== undefined) each(flow)
      })
    } finally {
      closeDescriptor(socket)
    }
  }
}

/** As `ConntrackPort.deleteFlows`. */
export async function deleteFlows(requests: Requests, flows: readonly Flow[]): Promise<(KernelError | undefined)[]> {
  const answers = await requests.change(flows.map(deleteFlow))
  return answers.map(({ errno, detail }, i) =>
    errno === 0 || errno === ERRNO.ENOENT
      ? undefined
      : new KernelError(errno, 'delete connection', flowText(flows[i]!), detail),
  )
}

type Take = (message: ReturnType<typeof parseMessages>[number]) => void

async function walk(socket: number, { type, body }: Request, take: Take): Promise<void> {
  if (!sendNow(socket, new NlWriter().message(type, NLM_F.request | NLM_F.dump, 1, body).done(), LISTS))
    throw new KernelError(ERRNO.ENOBUFS, 'list', LISTS)
  const memory = Buffer.allocUnsafe(MESSAGE)
  for (;;) {
    await nextTurn()
    const length = receiveNow(socket, memory, LISTS)
    if (length < 0 || length > memory.length) throw new KernelError(ERRNO.ENOBUFS, 'list', LISTS, 'a part is missing')
    for (const message of parseMessages(memory.subarray(0, length))) {
      const isLast = message.type === NLMSG.done || message.type === NLMSG.error
      const { errno, detail } = !isLast
        ? { errno: 0 }
        : message.type === NLMSG.done
          ? parseDone(message)
          : parseAcknowledgement(message)
      if (errno !== 0) throw new KernelError(errno, 'list', LISTS, detail)
      if (isLast) return
      take(message)
    }
  }
}

function requestsFor(addresses: ReadonlySet<string> | 'all'): Request[] {
  if (addresses === 'all') return FAMILIES.map(dumpFlows)
  if (addresses.size <= FEW)
    return [...addresses].flatMap(address =>
      DIRECTIONS.map(direction => dumpFlowsFrom(familyOf(address), direction, address)),
    )
  const families = new Set<Family>([...addresses].map(familyOf))
  return [...families].map(dumpFlows)
}

function flowText({ original: { source, destination, protocol, ports } }: Flow): string {
  const [from, to] = ports === undefined ? ['', ''] : [` port ${ports.source}`, ` port ${ports.destination}`]
  return `protocol ${protocol} from ${source}${from} to ${destination}${to}`
}
