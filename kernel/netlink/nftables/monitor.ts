// What the kernel multicasts about nftables, reduced to the names of the tables that others changed. After a commit it
// sends one message per object, with the port of the socket that asked for it, and one about the new generation. Every
// message about an object names its table first.
import type { KernelEvent, KernelMonitor } from '../../port/kernel.ts'
import type { Message } from '../message.ts'
import { NFNL_GROUP } from '../nfnetlink.ts'
import { NETLINK } from '../numbers.ts'
import { NetlinkSocket } from '../socket.ts'
import { messageType } from './changes.ts'
import { NFT_MSG } from './numbers.ts'
import { changedTable } from './objects.ts'

const NEW_GENERATION = messageType(NFT_MSG.newGen)
/** Room for some 10,000 notifications: a program may write as many elements in one transaction. */
const RECEIVE_BUFFER = 8 << 20
/** As large as the kernel makes them (NLMSG_GOODSIZE), and more. */
const MESSAGE_SIZE = 1 << 15

type Nftables = Extract<KernelEvent, { type: 'nftables' }>

/**
 * Listens from now on, in the network namespace of the calling thread, and tells each changed table once per batch of
 * messages. `ownPort`: the port whose changes are left out. Throws `KernelError`.
 */
export function openNftablesMonitor(
  listen: (event: Nftables) => void,
  ownPort: () => number | undefined,
): KernelMonitor {
  let closed = false
  const tell = (event: Nftables) => {
    if (!closed) listen(event)
  }
  const socket = new NetlinkSocket({
    family: NETLINK.netfilter,
    receiveBuffer: RECEIVE_BUFFER,
    messageSize: MESSAGE_SIZE,
    groups: [NFNL_GROUP.nftables],
    received: messages => {
      for (const table of changedTables(messages, ownPort())) tell({ type: 'nftables', table })
    },
    lost: () => tell({ type: 'nftables' }),
  })
  return {
    close() {
      closed = true
      socket.close()
    },
  }
}

function changedTables(messages: readonly Message[], ownPort: number | undefined): Iterable<Nftables['table'] & {}> {
  const found = new Map<string, Nftables['table'] & {}>()
  for (const message of messages) {
    if (message.type === NEW_GENERATION || message.port === ownPort) continue
    const table = changedTable(message)
    if (table !== undefined) found.set(`${table.family} ${table.name}`, table)
  }
  return found.values()
}
