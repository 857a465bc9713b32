// What the kernel multicasts about nftables, reduced to the names of what others changed. After a commit it sends one message
// per object, with the port of the socket that asked for it, and then one about the new generation; commits do not mix. Every
// message about an object names its table first, and behind it the chain or the set that it is about.
import type { NftChangedTable, NftElementName, NftNews } from '../../port/nftables.ts'
import { attributeText, type Message } from '../message.ts'
import { NFGENMSG, NFNL_GROUP } from '../nfnetlink.ts'
import { NETLINK } from '../numbers.ts'
import { isOwnPort, NetlinkSocket } from '../socket.ts'
import { messageType } from './changes.ts'
import { keysIn } from './elements.ts'
import { attributesOf, Malformed } from './fields.ts'
import { NFT_MSG } from './numbers.ts'
import { changedTable, parseGeneration } from './objects.ts'

const NEW_GENERATION = messageType(NFT_MSG.newGen)
const NEW_TABLE = messageType(NFT_MSG.newTable)
const DELETED_TABLE = messageType(NFT_MSG.delTable)
/** Room for some 10,000 notifications: a program may write as many elements in one transaction. We write more ourselves. */
const RECEIVE_BUFFER = 8 << 20
/** As large as the kernel makes them (NLMSG_GOODSIZE), and more. */
const MESSAGE_SIZE = 1 << 15
/** Chains and sets of one table; where a transaction changes more of them, the whole table may be another one. */
const MOST_NAMES = 500
/** Elements of one table; of more, their set is named. */
const MOST_ELEMENTS = 500
const ELEMENTS: readonly number[] = [NFT_MSG.newSetElem, NFT_MSG.delSetElem].map(messageType)

type PartName = { of: 'chains' | 'sets'; attribute: number }

/**
 * Which attribute names what a message is about: NFTA_CHAIN_NAME, NFTA_RULE_CHAIN, NFTA_SET_NAME, NFTA_SET_ELEM_LIST_SET. A new
 * chain is in none: it may be another one by a new name, and the old name is not told.
 */
const PARTS: ReadonlyMap<number, PartName> = new Map(
  (
    [
      [[NFT_MSG.delChain], { of: 'chains', attribute: 3 }],
      [[NFT_MSG.newRule, NFT_MSG.delRule], { of: 'chains', attribute: 2 }],
      [[NFT_MSG.newSet, NFT_MSG.delSet, NFT_MSG.newSetElem, NFT_MSG.delSetElem], { of: 'sets', attribute: 2 }],
    ] as const
  ).flatMap(([operations, part]) => operations.map((each): [number, PartName] => [messageType(each), part])),
)

type Touched = Pick<NftChangedTable, 'family' | 'name'> & {
  chains: Set<string>
  sets: Set<string>
  /** By set and key. */
  elements: Map<string, NftElementName>
  isWhole: boolean
  isGone: boolean
  isMost: boolean
}

/**
 * Listens from now on, in the network namespace of the calling thread, and tells each transaction, or that some may have been
 * missed. `ownPort`: the port whose changes are left out. Throws `KernelError`.
 */
export function openNftablesMonitor(listen: (news?: NftNews) => void, ownPort: number): { close(): void } {
  let closed = false
  const transactions = new Transactions(ownPort)
  const tell = (news?: NftNews) => {
    if (!closed) listen(news)
  }
  const socket = new NetlinkSocket({
    family: NETLINK.netfilter,
    receiveBuffer: RECEIVE_BUFFER,
    messageSize: MESSAGE_SIZE,
    groups: [NFNL_GROUP.nftables],
    unlessCausedBy: { port: ownPort, butTypes: [NEW_GENERATION] },
    received: messages => {
      for (const news of transactions.take(messages)) tell(news === 'untold' ? undefined : news)
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

/** Makes transactions of messages, which may be cut anywhere. Of those of `ownPort` only the generation is received. */
class Transactions {
  readonly #ownPort: number
  /** What the messages since the last generation say, by table. */
  #touched = new Map<string, Touched>()
  #last: { type: number; head: Buffer } | undefined

  constructor(ownPort: number) {
    this.#ownPort = ownPort
  }

  /** The transactions that end in these messages; `untold` is one of others that may have changed anything. */
  take(messages: readonly Message[]): (NftNews | 'untold')[] {
    const ended: (NftNews | 'untold')[] = []
    for (const message of messages)
      if (message.type === NEW_GENERATION) ended.push(this.#end(message, message.port === this.#ownPort))
      else this.#touch(message)
    return ended
  }

  #end(message: Message, isOwn: boolean): NftNews | 'untold' {
    const generation = parseGeneration(message)
    const touched = [...this.#touched.values()]
    this.#touched.clear()
    this.#last = undefined
    if (generation instanceof Malformed || (!isOwn && touched.length === 0)) return 'untold'
    const tables = touched.map(({ family, name, isGone, isMost, ...of }): NftChangedTable => {
      const { chains, sets, elements, isWhole } = of
      if (isWhole) return { family, name, ...(isGone && { isGone }), ...(isMost && { isMost }) }
      const single = [...elements.values()].filter(({ set }) => !sets.has(set))
      return { family, name, parts: { chains: [...chains], sets: [...sets], elements: single } }
    })
    const { id, pid, name } = generation
    const by = isOwnPort(message.port) || pid === undefined || name === undefined ? {} : { by: { pid, name } }
    return { generation: id, tables, ...by }
  }

  #touch(message: Message): void {
    // a transaction of others can be a hundred thousand messages about one set
    const head = headOf(message)
    if (this.#last?.type === message.type && head !== undefined && this.#last.head.equals(head)) return
    const table = changedTable(message)
    if (table === undefined) return
    const key = `${table.family} ${table.name}`
    const nothing = { chains: new Set<string>(), sets: new Set<string>(), elements: new Map() }
    const touched = this.#touched.get(key) ?? { ...table, ...nothing, isWhole: false, isGone: false, isMost: false }
    this.#touched.set(key, touched)
    if (message.type === NEW_TABLE || message.type === DELETED_TABLE) touched.isGone = message.type === DELETED_TABLE
    if (touched.isWhole) return
    const part = PARTS.get(message.type)
    const name = part && nameIn(message, part.attribute)
    if (name !== undefined && ELEMENTS.includes(message.type) && touchElements(touched, name, message)) return
    // whatever else is told of the same one is no news
    this.#last = head && { type: message.type, head }
    if (part !== undefined && name !== undefined) touched[part.of].add(name)
    touched.isMost = touched.chains.size + touched.sets.size > MOST_NAMES
    if (name === undefined || touched.isMost) touched.isWhole = true
  }
}

/** Notes the elements that a message is about; false where the set has to be, or is. */
function touchElements({ sets, elements }: Touched, set: string, message: Message): boolean {
  const keys = sets.has(set) || elements.size >= MOST_ELEMENTS ? undefined : keysIn(message)
  for (const key of keys ?? []) elements.set(`${set} ${key}`, { set, key })
  return keys !== undefined && keys.length > 0
}

/** The family and the first two attributes, where the second one names the chain or the set; else undefined. */
function headOf({ type, body }: Message): Buffer | undefined {
  const wanted = PARTS.get(type)?.attribute
  if (wanted === undefined) return undefined
  let at = NFGENMSG
  for (const attribute of [1, wanted]) {
    if (at + 4 > body.length || body.readUInt16LE(at + 2) !== attribute) return undefined
    at += (body.readUInt16LE(at) + 3) & ~3
  }
  return body.subarray(0, at)
}

function nameIn({ body }: Message, attribute: number): string | undefined {
  const found = attributesOf(body.subarray(NFGENMSG)).find(({ type }) => type === attribute)
  return found && attributeText(found.value)
}
