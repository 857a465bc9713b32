// nftables over a netlink socket of the family netfilter. A table is read with several dumps, which are of one state only
// when the generation is the same before and after them; so they are taken again until it is.

import type { Acknowledgement, Message, NlWriter } from '../netlink/message.ts'
import { batchOf, emitNfHeader, NFNL_SUBSYSTEM } from '../netlink/nfnetlink.ts'
import { messageType, requestsOf } from '../netlink/nftables/changes.ts'
import { commandText } from '../netlink/nftables/command-text.ts'
import { emitRuleFilter, parseRuleCounter } from '../netlink/nftables/counters.ts'
import { elementsOf, emitElementsHead, parseElements } from '../netlink/nftables/elements.ts'
import { Malformed, type Parsed } from '../netlink/nftables/fields.ts'
import { flowtables } from '../netlink/nftables/flowtables.ts'
import { NFPROTO, NFT_MSG } from '../netlink/nftables/numbers.ts'
import { chains, emitTableFilter, parseGeneration, rules, sets, tableOf, tables } from '../netlink/nftables/objects.ts'
import { refusedPart } from '../netlink/nftables/refused-part.ts'
import { objects } from '../netlink/nftables/stateful-objects.ts'
import type { Request, Requests } from '../netlink/requests.ts'
import { ERRNO, KernelError } from '../port/error.ts'
import type {
  ForwardChain,
  NftablesPort,
  NftChain,
  NftChange,
  NftElements,
  NftFamily,
  NftRefusal,
  NftRuleCounter,
  NftRuleset,
  NftSet,
  NftTable,
} from '../port/nftables.ts'
import { typesOf } from '../port/nftables.ts'

const ATTEMPTS = 16
/** Families of tables through which packets are forwarded. */
const FORWARDING_FAMILIES: readonly NftFamily[] = ['inet', 'ip', 'ip6']
/** Characters of a command in the text of an error. */
const COMMAND_LENGTH = 300

type Name = Pick<NftTable, 'family' | 'name'>

export class LinuxNftables implements Omit<NftablesPort, 'monitorNftables' | 'legacyForwardChains'> {
  readonly #requests: Requests

  /** `requests` are those of a socket of the family netfilter. */
  constructor(requests: Requests) {
    this.#requests = requests
  }

  async nftables(of: Name, options?: { without: 'elements' }): Promise<NftRuleset | undefined> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const generation = await this.#generation()
      const found = await this.#read(of, options?.without)
      if ((await this.#generation()) !== generation) continue
      if (found instanceof KernelError) throw found
      return found && { generation, ...found }
    }
    throw new KernelError(ERRNO.EINTR, 'read table', nameOf(of), `changed ${ATTEMPTS} times`)
  }

  async ruleCounters({ chain, ...of }: Name & { chain?: string }): Promise<NftRuleCounter[]> {
    const filter = (w: NlWriter) => emitRuleFilter(w, { table: of.name, chain })
    return await this.#dump(of, rules.operation.read, filter, parseRuleCounter)
  }

  async forwardChains(): Promise<ForwardChain[]> {
    const all: NftChain[] = []
    for (const family of FORWARDING_FAMILIES) {
      const of = { family, name: 'any' }
      // a chain with a hook that has no name here is none that forwards
      const known = (message: Message) => {
        const parsed = chains.parse(message)
        return parsed instanceof Malformed ? undefined : parsed
      }
      for (const chain of await this.#dump(of, chains.operation.read, () => {}, known)) all.push(chain)
    }
    const found: ForwardChain[] = []
    for (const chain of all) {
      if (chain.base?.hook !== 'forward' || chain.base.type !== 'filter') continue
      const { family, table } = chain
      const inTable = (w: NlWriter) => emitTableFilter(w, table)
      const parse = (message: Message) => (tableOf(message) === table ? rules.parse(message) : undefined)
      found.push({ chain, rules: await this.#dump({ family, name: table }, rules.operation.read, inTable, parse) })
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

  async #generation(): Promise<number> {
    const request: Request = { type: messageType(NFT_MSG.getGen), body: w => emitNfHeader(w, 0) }
    const { answer, reply } = await this.#requests.read(request)
    if (answer.errno !== 0 || reply === undefined)
      throw new KernelError(answer.errno, 'read generation', 'nftables', answer.detail)
    return checked(parseGeneration(reply))
  }

  /** The table as it is while nobody changes it; an error where it may have been changed in between. */
  async #read(of: Name, without?: 'elements'): Promise<Omit<NftRuleset, 'generation'> | KernelError | undefined> {
    try {
      const table = await this.#table(of)
      if (table === undefined) return undefined
      const inTable = (w: NlWriter) => emitTableFilter(w, of.name)
      const known = {
        table,
        // the kernel has no filter for chains
        chains: await this.#dump(of, chains.operation.read, () => {}, ofTable(of, chains.parse)),
        sets: await this.#dump(of, sets.operation.read, inTable, ofTable(of, sets.parse)),
        objects: await this.#dump(of, objects.operation.read, inTable, ofTable(of, objects.parse)),
        flowtables: await this.#dump(of, flowtables.operation.read, inTable, ofTable(of, flowtables.parse)),
        rules: await this.#dump(of, rules.operation.read, inTable, ofTable(of, rules.parse)),
      }
      const elements: NftElements[] = []
      for (const set of without === undefined ? known.sets : []) elements.push(await this.#elements(of, set))
      return { ...known, elements: elements.filter(each => each.elements.length > 0) }
    } catch (error) {
      if (error instanceof KernelError) return error
      throw error
    }
  }

  async #table(of: Name): Promise<NftTable | undefined> {
    const request: Request = {
      type: messageType(tables.operation.read),
      body: w => {
        emitNfHeader(w, NFPROTO[of.family])
        tables.emit(w, { kind: 'table', ...of })
      },
    }
    const { answer, reply } = await this.#requests.read(request)
    if (answer.errno === ERRNO.ENOENT) return undefined
    if (answer.errno !== 0 || reply === undefined)
      throw new KernelError(answer.errno, 'read table', nameOf(of), answer.detail)
    return checked(tables.parse(reply))
  }

  async #elements(of: Name, set: NftSet): Promise<NftElements> {
    const { family, table, name } = set
    const head = (w: NlWriter) => emitElementsHead(w, { table, set: name })
    const wires = await this.#dump(of, NFT_MSG.getSetElem, head, parseElements)
    const elements = checked(elementsOf(set, wires.flat()))
    return { kind: 'elements', family, table, set: name, ...typesOf(set), elements }
  }

  async #dump<T>(
    of: Name,
    operation: number,
    filter: (w: NlWriter) => void,
    parse: (message: Message) => Parsed<T> | undefined,
  ): Promise<T[]> {
    const request: Request = {
      type: messageType(operation),
      body: w => {
        emitNfHeader(w, NFPROTO[of.family])
        filter(w)
      },
    }
    const { answer, objects } = await this.#requests.dump(request, parse)
    if (answer.errno !== 0) throw new KernelError(answer.errno, 'read table', nameOf(of), answer.detail)
    return objects.map(checked)
  }
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
