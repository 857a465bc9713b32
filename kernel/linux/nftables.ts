// nftables over a netlink socket of the family netfilter. A table is read with several dumps, which are of one state only
// when the generation is the same before and after them; so they are taken again until it is.

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Acknowledgement, Message, NlWriter } from '../netlink/message.ts'
import { batchOf, emitNfHeader, NFNL_SUBSYSTEM } from '../netlink/nfnetlink.ts'
import { emitName, messageType, requestsOf } from '../netlink/nftables/changes.ts'
import { commandText } from '../netlink/nftables/command-text.ts'
import { emitRuleFilter, parseRuleCounter } from '../netlink/nftables/counters.ts'
import {
  elementsOf,
  emitElementQuestion,
  emitElementsHead,
  keyWords,
  parseElements,
} from '../netlink/nftables/elements.ts'
import { Malformed, type Parsed } from '../netlink/nftables/fields.ts'
import { flowtables } from '../netlink/nftables/flowtables.ts'
import { NFPROTO, NFT_MSG } from '../netlink/nftables/numbers.ts'
import {
  chains,
  emitTableFilter,
  type ObjectRow,
  parseGeneration,
  rules,
  sets,
  tableOf,
  tables,
} from '../netlink/nftables/objects.ts'
import { refusedPart } from '../netlink/nftables/refused-part.ts'
import { objects } from '../netlink/nftables/stateful-objects.ts'
import type { DumpChanges, Request, Requests } from '../netlink/requests.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type {
  ForwardChain,
  NftablesInOneSocket,
  NftChain,
  NftChange,
  NftElement,
  NftElements,
  NftFamily,
  NftName,
  NftPartNames,
  NftReading,
  NftRefusal,
  NftRule,
  NftRuleCounter,
  NftRuleset,
  NftSet,
  NftTable,
} from '../port/nftables.ts'
import { typesOf } from '../port/nftables.ts'
import type { DumpWalk, DumpWalks } from './dump-walk.ts'

const ATTEMPTS = 16
/** Of the event loop: one may begin behind its look at the sockets. */
const TURNS = 3
/** Families of tables through which packets are forwarded. */
const IP_FAMILIES: readonly NftFamily[] = ['inet', 'ip', 'ip6']
/** Characters of a command in the text of an error. */
const COMMAND_LENGTH = 300

type Name = Pick<NftTable, 'family' | 'name'>

export class LinuxNftables implements NftablesInOneSocket {
  readonly #requests: Requests
  readonly #walks: DumpWalks

  /** `requests` are those of a socket of the family netfilter. */
  constructor(requests: Requests, walks: DumpWalks) {
    this.#requests = requests
    this.#walks = walks
  }

  async nftables(
    of: Name,
    options?: NftReading,
    isQuiet?: (since: number, until: number) => boolean,
  ): Promise<NftRuleset | undefined> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const since = await this.nftGeneration()
      const found = await this.#read(of, options)
      const generation = await this.nftGeneration()
      const isOther = generation !== since
      if (isOther && (isQuiet === undefined || !(await becomes(() => isQuiet(since, generation))))) continue
      if (found instanceof KernelError) throw found
      return found && { generation, ...found }
    }
    throw new KernelError(ERRNO.EINTR, 'read table', nameOf(of), `changed ${ATTEMPTS} times`)
  }

  async ruleCounters({ chain, ...of }: Name & { chain?: string }): Promise<NftRuleCounter[]> {
    const filter = (w: NlWriter) => emitRuleFilter(w, { table: of.name, chain })
    return chain === undefined
      ? await this.#walkCounters(of, filter)
      : await this.#dump(of, rules.operation.read, filter, parseRuleCounter)
  }

  /** A table may have ten thousands of rules: nobody waits for all of them. */
  async #walkCounters(of: Name, filter: (w: NlWriter) => void): Promise<NftRuleCounter[]> {
    const body = (w: NlWriter) => {
      emitNfHeader(w, NFPROTO[of.family])
      filter(w)
    }
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const found: NftRuleCounter[] = []
      const take: DumpWalk['take'] = message => {
        const counter = parseRuleCounter(message)
        if (counter !== undefined) found.push(checked(counter))
      }
      const walk = { lists: `counters of ${nameOf(of)}`, take }
      if ((await this.#walks.walk({ type: messageType(rules.operation.read), body }, walk)) === 'whole') return found
    }
    throw new KernelError(ERRNO.EINTR, 'read counters', nameOf(of), `changed ${ATTEMPTS} times`)
  }

  async baseChains(): Promise<NftChain[]> {
    const found: NftChain[] = []
    // a hook that has no name here is none that packets of pods meet
    const parse = (message: Message) => {
      const chain = chains.parse(message)
      return chain instanceof Malformed || chain?.base === undefined ? undefined : chain
    }
    for (const family of IP_FAMILIES)
      for (const chain of await this.#dump({ family, name: 'any' }, chains.operation.read, () => {}, parse))
        found.push(chain)
    return found
  }

  async forwardChains(): Promise<ForwardChain[]> {
    const isAsked = ({ base }: NftChain) => base?.hook === 'forward' && base.type === 'filter'
    const found: ForwardChain[] = []
    for (const chain of (await this.baseChains()).filter(isAsked))
      found.push({ chain, rules: await this.#rulesFrom(chain) })
    return found
  }

  /** Beside a program that writes often a dump of its whole table is never of one state. */
  async #rulesFrom({ family, table, name }: NftChain): Promise<NftRule[]> {
    const found: NftRule[] = []
    const chains = new Set([name])
    for (const chain of chains) {
      const inChain = (w: NlWriter) => emitRuleFilter(w, { table, chain })
      const parse = (message: Message) => (tableOf(message) === table ? rules.parse(message) : undefined)
      const of = { family, name: table }
      for (const rule of await this.#dump(of, rules.operation.read, inChain, parse)) {
        found.push(rule)
        for (const target of jumpsOf(rule)) chains.add(target)
      }
    }
    return found
  }

  async changeNftables(
    changes: readonly NftChange[],
    { generation }: { generation?: number } = {},
  ): Promise<NftRefusal[]> {
    const sent = changes.map(requestsOf)
    const requests = sent.flat()
    const origin = sent.flatMap((some, change) => some.map((_, place) => ({ change, place })))
    if (requests.length === 0) return []
    const refusals = new Map<number | undefined, NftRefusal>()
    const batch = batchOf(NFNL_SUBSYSTEM.nftables, requests, generation)
    for (const { index, acknowledgement } of await this.#requests.transaction(batch)) {
      // what opens the transaction comes before the first change
      const from = origin[index - 1]
      if (refusals.has(from?.change)) continue
      refusals.set(from?.change, refusal(acknowledgement, changes, from && { ...from, requests: sent[from.change]! }))
    }
    return [...refusals.values()]
  }

  async nftGeneration(): Promise<number> {
    const request: Request = { type: messageType(NFT_MSG.getGen), body: w => emitNfHeader(w, 0) }
    const { answer, reply } = await this.#requests.read(request)
    if (answer.errno !== 0 || reply === undefined)
      throw new KernelError(answer.errno, 'read generation', 'nftables', answer.detail)
    return checked(parseGeneration(reply)).id
  }

  /** The table as it is while nobody changes it; an error where it may have been changed in between. */
  async #read(of: Name, options?: NftReading): Promise<Omit<NftRuleset, 'generation'> | KernelError | undefined> {
    try {
      const table = await this.#one(tables, { kind: 'table', ...of })
      if (table === undefined) return undefined
      if (options !== undefined && 'only' in options) return await this.#parts(table, options.only)
      const inTable = (w: NlWriter) => emitTableFilter(w, of.name)
      const known = {
        table,
        // the kernel has no filter for chains: where others come or go meanwhile it may leave out some of ours
        chains: await this.#dump(of, chains.operation.read, () => {}, ofTable(of, chains.parse)),
        sets: await this.#dumpOnce(of, sets.operation.read, inTable, ofTable(of, sets.parse)),
        objects: await this.#dumpOnce(of, objects.operation.read, inTable, ofTable(of, objects.parse)),
        flowtables: await this.#dumpOnce(of, flowtables.operation.read, inTable, ofTable(of, flowtables.parse)),
        rules: await this.#dumpOnce(of, rules.operation.read, inTable, ofTable(of, rules.parse)),
      }
      const elements: NftElements[] = []
      for (const set of options === undefined ? known.sets : []) elements.push(await this.#elements(of, set))
      return { ...known, elements: elements.filter(each => each.elements.length > 0) }
    } catch (error) {
      if (error instanceof KernelError) return error
      throw error
    }
  }

  /** Some chains and sets, each asked for by its name. What a rule looks up may be a set that is its own. */
  async #parts(table: NftTable, only: NftPartNames): Promise<Omit<NftRuleset, 'generation'>> {
    const { family, name } = table
    const of = { family, name }
    const found = { table, chains: [] as NftChain[], rules: [] as NftRule[], objects: [], flowtables: [] }
    const named = new Map<string, NftSet | undefined>()
    const setOf = async (set: string) => {
      if (!named.has(set)) named.set(set, await this.#one(sets, { kind: 'set', family, table: name, name: set }))
      return named.get(set)
    }
    for (const set of only.sets) await setOf(set)
    for (const each of only.chains) {
      const chain = await this.#one(chains, { kind: 'chain', family, table: name, name: each })
      if (chain === undefined) continue
      found.chains.push(chain)
      const inChain = (w: NlWriter) => emitRuleFilter(w, { table: name, chain: each })
      const own = (message: Message) => (tableOf(message) === name ? rules.parse(message) : undefined)
      for (const rule of await this.#dumpOnce(of, rules.operation.read, inChain, own)) found.rules.push(rule)
    }
    const asked = new Set(only.sets)
    for (const { expressions } of found.rules)
      for (const step of expressions)
        if (step.type === 'lookup' && (await setOf(step.set))?.flags?.includes('anonymous')) asked.add(step.set)
    const single: NftElements[] = []
    const missing: NftElements[] = []
    for (const [inSet, keys] of Map.groupBy(only.elements, ({ set }) => set)) {
      const set = asked.has(inSet) ? undefined : await setOf(inSet)
      if (set?.flags?.includes('interval')) asked.add(inSet)
      // the elements of a rule's own set never change
      if (set === undefined || set.flags?.includes('interval') || set.flags?.includes('anonymous')) continue
      for (const { key } of keys) {
        const element = await this.#element(of, set, key)
        const answer = { ...headOf(set), elements: [element ?? { key: checked(keyWords(set, key)) }] }
        if (element === undefined) missing.push(answer)
        else single.push(answer)
      }
    }
    const there = [...named.values()].filter(set => set !== undefined && asked.has(set.name)) as NftSet[]
    const elements: NftElements[] = []
    for (const set of there) elements.push(await this.#elements(of, set))
    const all = [...single, ...elements.filter(each => each.elements.length > 0)]
    return { ...found, sets: there, elements: all, missing }
  }

  /** One element, by the octets of its key; undefined when there is none. */
  async #element(of: Name, set: NftSet, key: string): Promise<NftElement | undefined> {
    const request: Request = {
      type: messageType(NFT_MSG.getSetElem),
      body: w => {
        emitNfHeader(w, NFPROTO[of.family])
        emitElementQuestion(w, { table: set.table, set: set.name, key })
      },
    }
    const { answer, reply } = await this.#requests.read(request)
    if (answer.errno === ERRNO.ENOENT) return undefined
    if (answer.errno !== 0 || reply === undefined)
      throw new KernelError(answer.errno, 'read table', nameOf(of), answer.detail)
    return checked(elementsOf(set, checked(parseElements(reply))))[0]
  }

  /** One object; undefined when there is none. */
  async #one<T>(
    row: ObjectRow<T>,
    object: Extract<NftName, { kind: 'table' | 'chain' | 'set' }>,
  ): Promise<T | undefined> {
    const { family, name } = object
    const request: Request = {
      type: messageType(row.operation.read),
      body: w => {
        emitNfHeader(w, NFPROTO[family])
        emitName(w, object)
      },
    }
    const { answer, reply } = await this.#requests.read(request)
    if (answer.errno === ERRNO.ENOENT) return undefined
    const of = nameOf({ family, name: object.kind === 'table' ? name : object.table })
    if (answer.errno !== 0 || reply === undefined) throw new KernelError(answer.errno, 'read table', of, answer.detail)
    return checked(row.parse(reply))
  }

  async #elements(of: Name, set: NftSet): Promise<NftElements> {
    const { table, name } = set
    const head = (w: NlWriter) => emitElementsHead(w, { table, set: name })
    const wires = await this.#dumpOnce(of, NFT_MSG.getSetElem, head, parseElements)
    const elements = checked(elementsOf(set, wires.flat()))
    return { ...headOf(set), elements }
  }

  /** A dump of which something may be left out where anybody changed it meanwhile: `nftables` compares the generations. */
  #dumpOnce<T>(
    of: Name,
    operation: number,
    filter: (w: NlWriter) => void,
    parse: (message: Message) => Parsed<T> | undefined,
  ): Promise<T[]> {
    return this.#dump(of, operation, filter, parse, 'left to the caller')
  }

  async #dump<T>(
    of: Name,
    operation: number,
    filter: (w: NlWriter) => void,
    parse: (message: Message) => Parsed<T> | undefined,
    changes?: DumpChanges,
  ): Promise<T[]> {
    const request: Request = {
      type: messageType(operation),
      body: w => {
        emitNfHeader(w, NFPROTO[of.family])
        filter(w)
      },
    }
    const { answer, objects } = await this.#requests.dump(request, parse, changes)
    if (answer.errno !== 0) throw new KernelError(answer.errno, 'read table', nameOf(of), answer.detail)
    return objects.map(checked)
  }
}

function jumpsOf({ expressions }: NftRule): string[] {
  return expressions.flatMap(step => (step.type === 'immediate' && 'chain' in step.data ? [step.data.chain] : []))
}

/** Whether something is so, now or once what the kernel told by now was received: it waits at another socket. */
async function becomes(isSo: () => boolean): Promise<boolean> {
  for (let turn = 0; turn < TURNS; turn++) {
    if (isSo()) return true
    await nextTurn()
  }
  return isSo()
}

function headOf(set: NftSet): Omit<NftElements, 'elements'> {
  const { family, table, name } = set
  return { kind: 'elements', family, table, set: name, ...typesOf(set) }
}

/** Reads only what belongs to the table. */
function ofTable<T>(of: Name, parse: (message: Message) => Parsed<T>): (message: Message) => Parsed<T> | undefined {
  return message => (tableOf(message) === of.name ? parse(message) : undefined)
}

function checked<T>(parsed: Parsed<T>): T {
  if (parsed instanceof Malformed) throw new KernelError(ERRNO.EBADMSG, 'read', 'nftables', parsed.message)
  return parsed
}

function nameOf({ family, name }: Name): string {
  return `${family} ${name}`
}

type Origin = { change: number; place: number; requests: readonly Request[] }

/** What the kernel said of one request of a transaction, in the words of the change that it came from. */
function refusal(
  { errno, detail, offset }: Acknowledgement,
  changes: readonly NftChange[],
  origin: Origin | undefined,
): NftRefusal {
  if (origin === undefined) return { error: new KernelError(errno, 'nft', 'transaction', detail) }
  const change = changes[origin.change]!
  const { requests, place } = origin
  const { element, step, named } = offset === undefined ? {} : refusedPart(change, { requests, index: place, offset })
  const words = [detail, named, step === undefined ? undefined : `expression ${step + 1}${typeOf(change, step)}`]
  const about = words.filter(word => word !== undefined && word !== '').join(', ')
  const object = shown(only(change, element), changes)
  return {
    index: origin.change,
    error: new KernelError(errno, 'nft', object, about === '' ? undefined : about),
    ...(element !== undefined && { element }),
    ...(step !== undefined && { step }),
  }
}

function typeOf({ object }: NftChange, step: number): string {
  const expression = object.kind === 'rule' && 'expressions' in object ? object.expressions[step] : undefined
  return expression === undefined ? '' : ` (${expression.type === 'opaque' ? expression.name : expression.type})`
}

/** The change with that element alone. */
function only(change: NftChange, element: number | undefined): NftChange {
  const { object } = change
  if (element === undefined || object.kind !== 'elements' || change.verb === 'flush') return change
  return { ...change, object: { ...object, elements: [object.elements[element]!] } } as NftChange
}

function shown(change: NftChange, transaction: readonly NftChange[]): string {
  const anonymous = ({ setId }: { setId?: number }) =>
    transaction
      .map(({ object }) => object)
      .find(
        (object): object is NftElements => object.kind === 'elements' && setId !== undefined && object.setId === setId,
      )
  const command = commandText(change, anonymous)
  return command.length <= COMMAND_LENGTH ? command : `${command.slice(0, COMMAND_LENGTH)}...`
}
