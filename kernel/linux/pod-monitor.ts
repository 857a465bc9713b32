// One rtnetlink socket that hears the namespaces of all pods (NETLINK_LISTEN_ALL_NSID): the kernel says beside each message from which
// one it is, and nothing beside those of its own namespace. Hazards: those come too, by the hundred thousand where routes do, so the
// kernel's filter lets only through what may be about a pod's interface; and the `netlink` package does not hand out what is said
// beside a message.
import {
  attachFilter,
  bindSocket,
  closeDescriptor,
  type FilterStep,
  MessageRoom,
  openSocket,
  receiveQueue,
  SOCKET_TYPE,
  setSocketInt,
  watchReadable,
} from '../libc.ts'
import { parseMessages } from '../netlink/message.ts'
import { AF, NETLINK, NETLINK_OPTION, SOL_NETLINK } from '../netlink/numbers.ts'
import { authoredEvent } from '../netlink/route/monitor.ts'
import { GROUP, NUD, RTM } from '../netlink/route/numbers.ts'
import { widenReceiveBuffer } from '../netlink/socket.ts'
import type { KernelMonitor, PodNews } from '../port/kernel.ts'
import { asPodEvent } from '../port/pods.ts'

const LISTEN_ALL_NSID = 8
/** Some thousand events, while the process is busy. */
const RECEIVE_BUFFER = 2 << 20
/** As large as a notification can be. */
const LONGEST = 1 << 15
/** In one turn of the event loop. */
const PER_TURN = 64
const GROUPS = [GROUP.link, GROUP.neigh, GROUP.ipv4Addr, GROUP.ipv4Route, GROUP.ipv6Addr, GROUP.ipv6Route]
const OBJECT = 'netlink of all namespaces'

/** As `Kernel.monitorPods`, in the network namespace of the calling thread. */
export function openPodMonitor(listen: (news: PodNews | undefined) => void): KernelMonitor {
  const fd = openSocket(AF.netlink, SOCKET_TYPE.raw, NETLINK.route, OBJECT)
  try {
    setSocketInt(fd, SOL_NETLINK, LISTEN_ALL_NSID, 1, OBJECT)
    setSocketInt(fd, SOL_NETLINK, NETLINK_OPTION.noEnobufs, 1)
    widenReceiveBuffer(fd, RECEIVE_BUFFER)
    attachFilter(fd, FILTER, OBJECT)
    // sockaddr_nl: family u16 | pad u16 | port u32 | groups u32
    const address = Buffer.alloc(12)
    address.writeUInt16LE(AF.netlink, 0)
    address.writeUInt32LE(
      GROUPS.reduce((bits, group) => bits | (1 << (group - 1)), 0),
      8,
    )
    bindSocket(fd, address, OBJECT)
  } catch (error) {
    closeDescriptor(fd)
    throw error
  }
  const room = new MessageRoom(LONGEST)
  let open = true
  let drops = 0
  const unwatch = watchReadable(fd, () => {
    for (let left = PER_TURN; open && left > 0; left--) {
      const size = room.receive(fd, OBJECT)
      if (size < 0) break
      const namespace = room.control(SOL_NETLINK, LISTEN_ALL_NSID)?.readInt32LE(0)
      if (namespace === undefined) continue
      for (const message of parseMessages(Buffer.from(room.data.subarray(0, size)))) {
        const told = authoredEvent(message)
        const event = told && asPodEvent(told)
        if (open && event !== undefined) listen({ namespace, event })
      }
    }
    if (!open) return
    const { drops: now } = receiveQueue(fd)
    if (now !== drops) listen(undefined)
    drops = now
  })
  return {
    close() {
      if (!open) return
      open = false
      unwatch()
      closeDescriptor(fd)
    },
  }
}

/** BPF_LD|BPF_W|BPF_ABS and so on (linux/bpf_common.h). Octets of a datagram: nlmsghdr to 16, then rtmsg or ndmsg. */
const BPF = { loadHalf: 0x28, loadByte: 0x30, jumpIfEqual: 0x15, end: 0x06 } as const
const [TYPE, DST_LENGTH, NEIGHBOUR_STATE] = [4, 17, 24]
const ACCEPT: FilterStep = { code: BPF.end, k: 0xffffffff }
const REFUSE: FilterStep = { code: BPF.end, k: 0 }

/** BPF loads numbers of the network; those of netlink are the machine's. */
const swapped = (value: number) => ((value & 0xff) << 8) | (value >>> 8)

/** Of what is loaded: what is among `values` is accepted. */
const acceptOf = (values: readonly number[]): FilterStep[] =>
  values.flatMap(k => [{ code: BPF.jumpIfEqual, k, ifFalse: 1 }, ACCEPT])

const ROUTES = acceptOf([0, 32, 128])
const NEIGHBOURS = acceptOf([NUD.permanent, NUD.failed].map(swapped))
const FILTER: readonly FilterStep[] = [
  { code: BPF.loadHalf, k: TYPE },
  ...acceptOf([RTM.newLink, RTM.delLink, RTM.newAddr, RTM.delAddr, RTM.delNeigh].map(swapped)),
  { code: BPF.jumpIfEqual, k: swapped(RTM.delRoute), ifFalse: ROUTES.length + 2 },
  { code: BPF.loadByte, k: DST_LENGTH },
  ...ROUTES,
  REFUSE,
  { code: BPF.jumpIfEqual, k: swapped(RTM.newNeigh), ifFalse: NEIGHBOURS.length + 1 },
  { code: BPF.loadHalf, k: NEIGHBOUR_STATE },
  ...NEIGHBOURS,
  REFUSE,
]
