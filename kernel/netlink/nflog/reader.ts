// The reader of one group: a socket of its own, which the kernel sends the copies of the group to. The kernel numbers them, so
// that what it dropped where the socket's buffer was full is known exactly, with the next one that comes.
import { ERRNO, KernelError } from '../../port/error.ts'
import type { NflogOptions } from '../../port/nflog.ts'
import { type Acknowledgement, NlWriter, parseAcknowledgement } from '../message.ts'
import { NFNL_SUBSYSTEM } from '../nfnetlink.ts'
import { NETLINK, NLM_F, NLMSG } from '../numbers.ts'
import { NetlinkSocket } from '../socket.ts'
import { emitConfig, MESSAGE_SIZE } from './config.ts'
import { Numbered } from './numbered.ts'
import { NFULNL_MSG } from './numbers.ts'

const CONFIG = (NFNL_SUBSYSTEM.ulog << 8) | NFULNL_MSG.config
const PACKET = (NFNL_SUBSYSTEM.ulog << 8) | NFULNL_MSG.packet

/** Opens the reader in the network namespace of the calling thread, as `NflogPort.nflog`. */
export function openNflog(options: NflogOptions): { close(): void } {
  const w = new NlWriter()
  w.message(CONFIG, NLM_F.request | NLM_F.ack, 1, body => emitConfig(body, options))
  const { group, received, lost } = options
  const numbered = new Numbered()
  let answer: Acknowledgement | undefined
  let closed = false
  const socket = new NetlinkSocket({
    family: NETLINK.netfilter,
    receiveBuffer: options.queueOctets,
    messageSize: MESSAGE_SIZE,
    received(messages) {
      if (closed) return
      for (const message of messages) if (message.type === NLMSG.error) answer = parseAcknowledgement(message)
      const { packets, missing } = numbered.take(messages.filter(({ type }) => type === PACKET))
      if (missing > 0) lost(missing)
      if (packets.length > 0 && !closed) received(packets)
    },
    // the numbers tell how many
    lost: () => {},
  })
  const close = () => {
    closed = true
    socket.close()
  }
  try {
    const refused = (errno: number, detail?: string) => new KernelError(errno, 'read', `NFLOG group ${group}`, detail)
    // the kernel works the message off before this returns, so its answer is there; copies may be before it
    if (!socket.sendNow(w.done())) throw refused(ERRNO.EAGAIN)
    while (answer === undefined && socket.receiveNow());
    const { errno, detail } = answer ?? { errno: ERRNO.ENODATA }
    if (errno !== 0) throw refused(errno, detail)
  } catch (error) {
    close()
    throw error
  }
  return { close }
}
