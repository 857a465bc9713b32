// What the kernel multicasts about nftables, reduced to the names of the tables that others changed. After a commit it
// sends one message per object, with the port of the socket that asked for it, and one about the new generation. Every
// message about an object names its table first.
import type { NftTable } from '../../port/nftables.ts'
import type { Message } from '../message.ts'
import { NFGENMSG, NFNL_GROUP } from '../nfnetlink.ts'
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

type TableName = Pick<NftTable, 'family' | 'name'>

/**
 * Listens from now on, in the network namespace of the calling thread, and tells each changed table once per batch of
 * messages. `ownPort`: the port whose changes are left out. Throws `KernelError`.
 */
export function openNftablesMonitor(
  listen: (table?: TableName) => void,
  ownPort: () => number | undefined,
): { close(): void } {
  let closed = false
  const tell = (table?: TableName) => {
    if (!closed) listen(table)
  }
  const socket = new NetlinkSocket({
    family: NETLINK.netfilter,
    receiveBuffer: RECEIVE_BUFFER,
    messageSize: MESSAGE_SIZE,
    groups: [NFNL_GROUP.nftables],
    received: messages => {
      for (const table of changedTables(messages, ownPort())) tell(table)
    },
    lost: () => tell(),
  })
  return {
    close() {
      closed = true
      socket.close()
    },
  }
}

function changedTables(messages: readonly Message[], ownPort: number | undefined): Iterable<TableName> {
  const found = new Map<string, TableName>()
  let last: Buffer | undefined
  for (const message of messages) {
    if (message.type === NEW_GENERATION || message.port === ownPort) continue
    // a transaction of others can be a hundred thousand messages about one table
    const head = headOf(message)
    if (last?.equals(head)) continue
    last = head
    const table = changedTable(message)
    if (table !== undefined) found.set(`${table.family} ${table.name}`, table)
  }
  return found.values()
}

/** The family and the first attribute. */
function headOf({ body }: Message): Buffer {
  const length = body.length < NFGENMSG + 2 ? 0 : body.readUInt16LE(NFGENMSG)
  return body.subarray(0, NFGENMSG + length)
}
