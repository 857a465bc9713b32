// What a reader of a rule remembers from one expression to the next: what lies in each register, which protocols the
// packet is known to have, and the statements so far. The words of a rule come out as nft prints them.
import type { NftElements, NftFamily } from '../../port/nftables.ts'
import type { DataType } from './datatypes.ts'
import type { HeaderPart } from './headers.ts'

type Header = 'link' | 'network' | 'transport'

/** What a register holds, as nft names it. */
export type Operand = {
  text: string
  type: DataType
  /** Octets; fewer than those of the type for the first octets of an address. */
  length: number
  /** The operand was masked: `(it & mask) ^ xor`. */
  mask?: { mask: Uint8Array; xor: Uint8Array }
  /** A comparison of it tells this header's protocol. */
  tells?: Header
  /** Octets that were put there by the rule itself. */
  literal?: Uint8Array
  /** Where it lies in the packet. */
  header?: HeaderPart
  /** The fields side by side that it is. */
  joined?: readonly Operand[]
  /** It is a field of a few bits, and the octets that were loaded end so many bits after it. */
  shift?: number
  /** The octets of the number are in the other order than those of its type. */
  turned?: boolean
}

/** The elements of an anonymous set, which are printed where it is used; undefined for sets with names. */
export type SetLookup = (use: { set: string; setId?: number }) => NftElements | undefined

/** Pieces of 4 octets that a register is. */
const pieceOf = (register: number) => (register >= 8 ? register - 8 : 4 * (register - 1))

export class TextState {
  readonly elementsOf: SetLookup
  /** The rule is of a table for IPv4 or for IPv6 alone. */
  readonly isOfOneFamily: boolean
  readonly known: Partial<Record<Header, string>> = {}
  readonly #statements: (string | undefined)[] = []
  /** Statements that only say what a later one implies. */
  readonly #implied: Partial<Record<Header, number>> = {}
  readonly #registers = new Map<number, Operand>()
  #fresh: number[] = []
  #lower?: { operand: Operand; word: string }

  constructor(family: NftFamily, elementsOf: SetLookup) {
    this.elementsOf = elementsOf
    this.isOfOneFamily = family === 'ip' || family === 'ip6'
    if (family === 'ip' || family === 'ip6') this.known.network = family
  }

  load(register: number, operand: Operand): void {
    const piece = pieceOf(register)
    this.#registers.set(piece, operand)
    this.#fresh = [...this.#fresh.filter(each => each !== piece), piece]
  }

  /** What the register holds; undefined before anything was loaded. */
  operand(register: number): Operand | undefined {
    return this.#registers.get(pieceOf(register))
  }

  /** The operands of a joined key that begins in a register: what was loaded since the last statement. */
  operands(register: number): Operand[] {
    const from = pieceOf(register)
    const pieces = this.#fresh.filter(piece => piece >= from).sort((a, b) => a - b)
    const found = pieces.map(piece => this.#registers.get(piece)!)
    const first = this.operand(register)
    return found.length > 0 || first === undefined ? found : [first]
  }

  /** Adds a statement. With `tells`, one about the protocol of a header, that goes again when a later one implies it. */
  say(statement: string, tells?: Header): void {
    this.#fresh = []
    this.#lower = undefined
    this.#statements.push(statement)
    if (tells !== undefined) this.#implied[tells] = this.#statements.length - 1
  }

  /** Adds a statement that the operand is `word` or more. */
  sayLower(statement: string, operand: Operand, word: string): void {
    this.say(statement)
    this.#lower = { operand, word }
  }

  /** Makes one statement of this upper end of a range and of the lower end, if that was said last; false if it was not. */
  sayUpper(operand: Operand, word: string): boolean {
    const lower = this.#lower
    if (lower?.operand.text !== operand.text) return false
    this.#statements.pop()
    this.say(`${operand.text} ${lower.word}-${word}`)
    return true
  }

  /** A field of a header is named with its protocol: the statement about that need not be printed. */
  imply(header: Header): void {
    const index = this.#implied[header]
    if (index !== undefined) this.#statements[index] = undefined
    delete this.#implied[header]
  }

  text(): string {
    return this.#statements.filter(statement => statement !== undefined).join(' ')
  }
}
