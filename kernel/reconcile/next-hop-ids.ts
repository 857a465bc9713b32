// The ids of the next hop objects of one program and table: 1 | protocol (8 bits) | table (8 bits) | number (14 bits). Of two programs
// none takes the other's for its own, and the kernel's own choice begins at 1.
import type { NextHopObject } from '../port/next-hops.ts'
import type { Marks } from './ownership.ts'

const NUMBER_BITS = 14
const COUNT = 1 << NUMBER_BITS
const MOST_TABLE = 255

export class NextHopIds {
  readonly #protocol: number
  readonly #first: number
  /** Whether there are any: of tables above 255 there are none. */
  readonly exist: boolean
  #next = { group: 0, hop: 0 }

  constructor({ table, protocol }: Pick<Marks, 'table' | 'protocol'>) {
    this.#protocol = protocol
    this.#first = (1 << 30) | (protocol << 22) | ((table & MOST_TABLE) << NUMBER_BITS)
    this.exist = table <= MOST_TABLE
  }

  has(id: number): boolean {
    return this.exist && id >= this.#first && id < this.#first + COUNT
  }

  owns({ id, protocol }: NextHopObject): boolean {
    return protocol === this.#protocol && this.has(id)
  }

  /** One that is not in use; undefined: all are. Half of them is for groups, so that these leave some for what they are made of. */
  free(sort: 'group' | 'hop', isUsed: (id: number) => boolean): number | undefined {
    const half = COUNT / 2
    const first = this.#first + (sort === 'group' ? 0 : half)
    for (let tries = 0; tries < half; tries++) {
      const id = first + (this.#next[sort]++ % half)
      if (!isUsed(id)) return id
    }
    return undefined
  }
}
