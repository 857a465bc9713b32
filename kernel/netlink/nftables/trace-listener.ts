// The socket that receives the steps of traced packets of one network namespace.
import type { TraceOptions, TraceStep } from '../../port/trace.ts'
import { NFNL_GROUP } from '../nfnetlink.ts'
import { NETLINK } from '../numbers.ts'
import { NetlinkSocket } from '../socket.ts'
import { messageType } from './changes.ts'
import { Malformed } from './fields.ts'
import { NFT_MSG } from './numbers.ts'
import { parseTrace } from './trace.ts'

const TRACE = messageType(NFT_MSG.trace)
/** Steps of some thousand packets, each counted with its memory. */
const RECEIVE_BUFFER = 1 << 21
/** A step holds 20 octets of the link, 40 of IP and 20 behind it, and names of at most 256 octets. */
const MESSAGE_SIZE = 1 << 13

/** Opens the listener in the network namespace of the calling thread, as `TracePort.traceNftables`. */
export function openTrace({ received, lost }: TraceOptions): { close(): void } {
  let closed = false
  const socket = new NetlinkSocket({
    family: NETLINK.netfilter,
    receiveBuffer: RECEIVE_BUFFER,
    messageSize: MESSAGE_SIZE,
    groups: [NFNL_GROUP.nftrace],
    received(messages) {
      const parsed = messages.filter(({ type }) => type === TRACE).map(parseTrace)
      const steps = parsed.filter(each => !(each instanceof Malformed)) as TraceStep[]
      if (!closed && steps.length > 0) received(steps)
      if (!closed && steps.length < parsed.length) lost()
    },
    lost: () => {
      if (!closed) lost()
    },
  })
  return {
    close() {
      closed = true
      socket.close()
    },
  }
}
