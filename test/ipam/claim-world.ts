// Three nodes that claim, fill and give back two blocks over one server, with every step a choice: which call reaches the
// server, which answer or event a node hears, whose time passes, and where something goes wrong. `Claims` and `Ledger` are the
// real ones. A choice is a text, so a run is a list of texts and can be played again.
// What a node does follows from what it has heard, in that order. So runs in which each node heard the same, and in which the
// server and what is under way are the same, are at the same point, and so are those that differ only in who is who.
// Hazard: steps that do not touch each other have no order. That a node lost a block before another one got it is certain only
// where a chain of writes, answers and events leads from the one to the other; each step carries which losses lie behind it.
// Over 400 lines: a word for each thing that can happen, what it does, and what must be true after all of them.
import { createHash } from 'node:crypto'
import { wishesOf } from '../../api/address-wishes.ts'
import { blockName } from '../../api/names.ts'
import { isStoreError, Unreachable } from '../../datastore/port.ts'
import {
  affinityOf,
  askBlock,
  assign,
  epochOf,
  isEmpty,
  isPublished,
  nextFree,
  parseBlock,
  release,
} from '../../ipam/block.ts'
import { borrowersOf, returnLent } from '../../ipam/block-owners.ts'
import { lentTo } from '../../ipam/lending.ts'
import { overlaps } from '../../lib/ip.ts'
import { type Call, drained, merged, NAMES, Node, type Plan, Server } from './claim-node.ts'

/** Longer than changes of a block gather. */
const TICK_MS = 1_000

type Begun = readonly [word: string, block: number]

export class World {
  /** Two nodes that had the same block at one time, or would have by another order of the same steps; or a pod without an address. */
  clash: string | undefined
  readonly #server = new Server()
  readonly #nodes: readonly Node[]
  readonly #blocks: readonly string[]
  #faultsLeft: number
  /** Nodes with the same plan are alike. */
  readonly #orders: readonly (readonly number[])[]

  constructor(blocks: readonly string[], plans: readonly Plan[], faults: number) {
    this.#blocks = blocks
    this.#orders = ORDERS.filter(order =>
      order.every((i, at) => JSON.stringify(plans[i]) === JSON.stringify(plans[at])),
    )
    this.#faultsLeft = faults
    this.#nodes = NAMES.map((_name, i) => new Node(i, plans[i]!))
  }

  /** All nodes run, and know that they have no block. */
  async begin(): Promise<void> {
    for (const node of this.#nodes) node.begin(this.#server)
    await drained()
    for (const { events } of this.#nodes) for (const { tell } of events.splice(0)) tell()
    await drained()
  }

  /**
   * What can happen next. `must`: without it what was begun has not ended; `may`: it can also never happen. `first`: steps of a
   * node before which nothing else can happen to it; all that others do is the same before and after them. Empty: there is no such node.
   */
  choices(): { must: string[]; may: string[]; first: string[] } {
    const nodes = this.#nodes.map((node, i) => this.#choicesOf(node, i))
    const [first = []] = nodes.flatMap(({ isAlone, here, crashes }) =>
      isAlone && here.length > 0 ? [[...here, ...crashes]] : [],
    )
    const must = nodes.flatMap(({ here, lands, returns }) => [...here, ...lands, ...returns])
    const may = nodes.flatMap(({ strays, faults, crashes, ends }) => [...strays, ...faults, ...crashes, ...ends])
    return { must, may, first }
  }

  #choicesOf(node: Node, i: number) {
    const { calls, events, history } = node
    const of = (word: string, state: Call['state'], isIn: (call: Call) => boolean = () => true) =>
      calls.flatMap((call, c) => (call.state === state && isIn(call) ? [`${word} ${i} ${c}`] : []))
    const begun = this.#begun(node).map(([word, b]) => `${word} ${i} ${b}`)
    const faulty = this.#faultsLeft > 0
    const lent = this.#blocks.flatMap((cidr, b) => {
      const item = node.isGone && this.#server.items.find(({ spec }) => spec.cidr === cidr)
      return item && borrowersOf(item).includes(node.name) ? [`return ${i} ${b}`] : []
    })
    return {
      returns: lent,
      ends: node.left.ends > 0 && !node.isGone ? [`end ${i} 0`] : [],
      here: [...of('answer', 'landed'), ...(events.length > 0 ? [`hear ${i} 0`] : []), ...begun],
      lands: of('land', 'sent'),
      strays: of('land', 'stray'),
      faults: faulty ? [...of('fail', 'sent'), ...of('repeat', 'sent', ({ isWrite }) => isWrite)] : [],
      crashes: faulty && history.length > 0 && !node.isGone ? [`crash ${i} 0`, `replace ${i} 0`] : [],
      isAlone: calls.every(isOver) && !this.#nodes.some(other => other !== node && mayAsk(other)),
    }
  }

  /** What a node may begin by itself. */
  #begun(node: Node): Begun[] {
    const { left, isClaiming, ledger, clock } = node
    if (node.isGone) return []
    const ofBlocks = this.#blocks.flatMap((cidr, b): Begun[] => {
      const owned = ledger.get(cidr)
      if (owned === undefined && !isClaiming)
        return [...(left.claims > 0 ? [['claim', b] as const] : []), ...(left.asks > 0 ? [['ask', b] as const] : [])]
      if (owned === undefined) return []
      if (owned.block.slots.some(slot => slot?.handle === node.handle)) return [['stop', b]]
      if (!isEmpty(owned.block)) return []
      const words = [...(left.pods > 0 ? ['start'] : []), ...(left.gives > 0 ? ['give'] : [])]
      return owned.lostTo === undefined ? words.map(word => [word, b]) : []
    })
    const borrowing = this.#blocks.flatMap((cidr, b): Begun[] => {
      if (ledger.get(cidr) !== undefined) return []
      const row = ledger.borrowed().find(({ lender }) => lender === cidr)
      const looks: Begun[] =
        left.looks > 0 && node.disk.lenders().includes(cidr) && !node.isLooking ? [['look', b]] : []
      // those that a list would have
      const isListed = this.#server.items.some(
        ({ spec }) => spec.cidr === cidr && spec.affinity !== affinityOf(node.name),
      )
      if (row === undefined) return isListed && left.wants > 0 && !node.isLooking ? [...looks, ['want', b]] : looks
      const isUsable = left.pods > 0 && !node.hasPod && node.borrowing.fresh().includes(row)
      return [
        ...looks,
        ...(isUsable ? [['use', b] as const] : []),
        ...(isEmpty(row.block) ? [] : [['leave', b] as const]),
      ]
    })
    return [...ofBlocks, ...borrowing, ...(left.ticks > 0 && clock.pending > 0 ? [['tick', 0] as const] : [])]
  }

  /** One choice happens, and what follows from it at once. */
  async take(choice: string): Promise<void> {
    const [word, i, of] = choice.split(' ') as [string, string, string]
    const node = this.#nodes[Number(i)]!
    const call = node.calls[Number(of)]
    if (word === 'land') {
      const isAwaited = call!.state === 'sent'
      call!.state = isAwaited ? 'landed' : 'over'
      call!.landed = await this.#server.perform(call!)
      return
    }
    if (word === 'return') {
      await this.#return(node, this.#blocks[Number(of)]!)
      return
    }
    node.history.push(`${choice.replace(i, '')} ${word === 'answer' ? call!.landed!.text : node.events[0]?.text}`)
    if (['fail', 'repeat', 'crash', 'replace'].includes(word)) this.#faultsLeft--
    this.#step(word, node, Number(of))
    await drained()
    for (const cidr of node.compare()) this.#got(node, cidr)
    if (node.hasPod && node.ledger.held().size === 0) this.clash = `${node.name} forgot the address of its pod`
  }

  #step(word: string, node: Node, of: number): void {
    const cidr = this.#blocks[of]!
    const call = node.calls[of]
    const owned = node.ledger.get(cidr)
    switch (word) {
      case 'answer': {
        const { answer, past } = call!.landed!
        node.past = merged(node.past, past)
        call!.state = 'over'
        if ('error' in answer) call!.settle!.reject(answer.error)
        else call!.settle!.resolve(answer.value)
        return
      }
      case 'hear': {
        const { tell, past } = node.events.shift()!
        node.past = merged(node.past, past)
        tell()
        return
      }
      case 'fail':
        call!.state = call!.isWrite ? 'stray' : 'over'
        call!.settle!.reject(new Unreachable('no answer'))
        return
      case 'repeat':
        node.calls.push({ ...call!, state: 'stray' })
        return
      case 'end':
        node.left.ends--
        node.end()
        return
      case 'crash':
        node.begin(this.#server)
        return
      case 'replace':
        node.replace(this.#server)
        return
      case 'claim': {
        node.left.claims--
        node.isClaiming = true
        this.#whileClaiming(
          node,
          node.claims.claim(cidr, () => this.#confirms(node, cidr)),
        )
        return
      }
      case 'ask':
        node.left.asks--
        node.hasAsked = true
        node.isClaiming = true
        this.#whileClaiming(node, this.#ask(node, cidr))
        return
      case 'want':
        node.left.wants--
        node.disk.noteLender(cidr)
        node.borrowing.want(cidr, { handle: node.handle, attributes: {} })
        this.#look(node, cidr)
        return
      case 'look':
        node.left.looks--
        this.#look(node, cidr)
        return
      case 'use':
      case 'leave': {
        node.hasPod = word === 'use'
        if (word === 'use') node.left.pods--
        const row = node.ledger.borrowed().find(({ lender }) => lender === cidr)!
        const holder = { handle: node.handle, secondary: { node: node.name } }
        const block = word === 'use' ? assign(row.block, holder, 0) : release(row.block, node.handle).block
        node.ledger.put([{ ...row, block }])
        return
      }
      case 'give':
        node.left.gives--
        void node.claims.giveBack(cidr)
        return
      case 'start': {
        node.left.pods--
        node.hasPod = true
        const holder = { handle: node.handle, secondary: { node: node.name } }
        node.ledger.put([{ block: assign(owned!.block, holder, nextFree(owned!.block)!) }])
        return
      }
      case 'stop':
        node.hasPod = false
        node.ledger.put([{ ...owned, block: release(owned!.block, node.handle).block }])
        return
      case 'tick':
        node.left.ticks--
        node.clock.advance(TICK_MS)
        return
      default:
        throw new Error(`no such choice: ${word}`)
    }
  }

  /** As margay-controllers does once a node that is gone has not answered: its write names the version that it read. */
  async #return({ name, past }: Node, cidr: string): Promise<void> {
    const { store } = this.#server
    const perform = async () => {
      const item = await store.get('IPAMBlock', blockName(cidr))
      return store.update('IPAMBlock', returnLent(item, name, ''))
    }
    await this.#server.perform({ name: blockName(cidr), isWrite: true, perform, state: 'sent', past })
  }

  #look(node: Node, cidr: string): void {
    const { borrowing } = node
    node.isLooking = true
    const ended = () => {
      if (node.borrowing === borrowing) node.isLooking = false
    }
    borrowing.settle(cidr).then(ended, (error: unknown) => {
      if (!isStoreError(error)) throw error
      ended()
    })
  }

  #whileClaiming(node: Node, work: Promise<unknown>): void {
    const { claims } = node
    const ended = () => {
      if (node.claims === claims) node.isClaiming = false
    }
    work.then(ended, (error: unknown) => {
      if (!isStoreError(error)) throw error
      ended()
    })
  }

  /** As BlockRequests does, whatever the block holds: what it was when it was listed may be long ago. */
  async #ask({ store, name }: Node, cidr: string): Promise<void> {
    const item = await store.get('IPAMBlock', blockName(cidr))
    await store.update('IPAMBlock', askBlock(item, name))
  }

  /** As NewBlock does where blocks of several sizes are known: a list after the claim tells whether another one shares addresses. */
  async #confirms({ store }: Node, cidr: string): Promise<boolean> {
    if (!overlaps(this.#blocks[0]!, this.#blocks[1]!)) return true
    const page = await Array.fromAsync(store.pages('IPAMBlock'))
    return !page.flat().some(({ spec }) => spec.cidr !== cidr && overlaps(spec.cidr, cidr))
  }

  /** Nobody else may have anything of what a node got, and that others lost it must lie behind. */
  #got(node: Node, cidr: string): void {
    for (const [i, other] of this.#nodes.entries()) {
      if (other === node) continue
      if (other.own().some(theirs => overlaps(theirs, cidr)))
        this.clash = `${node.name} got ${cidr} while ${other.name} had it`
      for (const [theirs, count] of other.losses)
        if (overlaps(theirs, cidr) && node.past[i]! < count)
          this.clash = `${node.name} could have got ${cidr} before ${other.name} lost ${theirs}`
    }
  }

  /** What is wrong when the network is well for a while: all that was under way ended, and no stray lands. */
  async settledFaults(): Promise<string[]> {
    const isListing = (round: number) => round === 0 || round === 15
    for (let round = 0; round < 30; round++) {
      // as before a claim: a machine that was replaced finds what was lent to the one before, also what was published late
      if (isListing(round))
        for (const { claims, isGone } of this.#nodes)
          if (!isGone) void claims.learnTaken(Number.NEGATIVE_INFINITY).catch(ignoreStoreErrors)
      const ends = () => this.choices().must.find(text => /^(land|answer|hear|return) /.test(text))
      for (let next = ends(); next !== undefined; next = ends()) await this.take(next)
      for (const { clock } of this.#nodes) clock.advance(20_000)
      await drained()
    }
    return this.#nodes.flatMap(node => (node.isGone ? this.#lentTo(node) : this.#faultsOf(node)))
  }

  /** What a node that is gone still has of others. */
  #lentTo({ name }: Node): string[] {
    return this.#server.items.flatMap(item => {
      const lent = item.spec.affinity === affinityOf(name) ? [] : [...lentTo(parseBlock(item), name).keys()]
      const waits = wishesOf(item).has(name) ? [`${item.spec.cidr} waits for ${name}, which is gone`] : []
      return [...lent.map(cidr => `${cidr} is lent to ${name}, which is gone`), ...waits]
    })
  }

  #faultsOf({ name, ledger, disk, claims }: Node): string[] {
    // a claim of a machine may land when its successor knows its blocks by then: that block is nobody's (docs/ipam.md)
    const items = this.#server.items.filter(
      item => item.spec.affinity === affinityOf(name) && epochOf(item) === disk.epoch,
    )
    const here = ledger.blocks().map(({ block }) => block.cidr)
    const faults = ledger.blocks().flatMap(({ block, lostTo }) => {
      const item = items.find(({ spec }) => spec.cidr === block.cidr)
      if (lostTo !== undefined) return isEmpty(block) ? [`${name} keeps ${block.cidr} of ${lostTo}`] : []
      if (item === undefined || !isPublished(block, item, disk)) return [`${block.cidr} of ${name} is not published`]
      return claims.isClear(block.cidr) ? [] : [`${name} gives no address of ${block.cidr}`]
    })
    const unknown = items.filter(({ spec }) => !here.includes(spec.cidr))
    for (const item of this.#server.items) {
      const lent = item.spec.affinity === affinityOf(name) ? new Map() : lentTo(parseBlock(item), name)
      const rows = ledger.borrowed().filter(({ lender }) => lender === item.spec.cidr)
      for (const { block } of rows)
        if (lent.get(block.cidr)?.handle !== block.slots[0]?.handle)
          faults.push(`${name} has ${block.cidr}, and its owner says otherwise`)
      for (const cidr of lent.keys())
        if (!rows.some(({ block }) => block.cidr === cidr)) faults.push(`${cidr} is lent to ${name}, who does not know`)
      if (wishesOf(item).has(name)) faults.push(`${name} waits for the owner of ${item.spec.cidr}`)
    }
    return [...faults, ...unknown.map(({ spec }) => `${name} does not know that it has ${spec.cidr}`)]
  }

  /** How many blocks nodes have. */
  get owned(): number {
    return this.#nodes.reduce(
      (sum, { ledger }) => sum + ledger.blocks().filter(({ lostTo }) => lostTo === undefined).length,
      0,
    )
  }

  /** How many addresses of other nodes' blocks nodes have. */
  get borrowed(): number {
    return this.#nodes.reduce((sum, { ledger }) => sum + ledger.borrowed().length, 0)
  }

  /** The same for two worlds at the same point, but for the names of nodes. */
  key(): string {
    const nodes = this.#nodes.map(({ text }) => text)
    const common = [this.#faultsLeft, this.#server.text].join('\n')
    const named = this.#orders.map(order => {
      const asNamed = (text: string) =>
        text
          .replace(/n([012])/g, (_all, i) => `n${order.indexOf(Number(i))}`)
          .replace(/<(.*?),(.*?),(.*?)>/g, (_all, ...past) => `<${order.map(i => past[i])}>`)
      return asNamed([common, ...order.map(i => nodes[i])].join('\n=\n'))
    })
    return createHash('sha1').update(named.toSorted()[0]!).digest('base64')
  }
}

function ignoreStoreErrors(error: unknown): void {
  if (!isStoreError(error)) throw error
}

/** Whether nothing of a call gets to the server any more. */
function isOver({ state }: Call): boolean {
  return state === 'over' || state === 'landed'
}

/** Whether a node may write into a block of another one, which hears of that. */
function mayAsk({ left, hasAsked, isClaiming, isBorrower, calls }: Node): boolean {
  return isBorrower || left.asks > 0 || (hasAsked && (isClaiming || !calls.every(isOver)))
}

const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
]
