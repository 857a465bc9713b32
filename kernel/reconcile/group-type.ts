// Of which type groups of next hops are: the one that is asked for, or plain ones where the kernel has it not.
import { isDeepStrictEqual } from 'node:util'
import { ERRNO } from '../port/error.ts'
import type { NextHopObject, Resilient } from '../port/next-hops.ts'
import type { Refusal } from './outcome.ts'

/** What kernels before 5.13 say of a type that they do not know, and all say of a group whose member has gone. */
const OF_TYPE: readonly (number | undefined)[] = [ERRNO.EINVAL, ERRNO.EOPNOTSUPP]

export class GroupType {
  #asked: Resilient | undefined
  #lacking: string | undefined

  constructor(asked: Resilient | undefined) {
    this.#asked = asked
  }

  /** Returns whether that is another type than before. */
  ask(resilient: Resilient | undefined): boolean {
    if (isDeepStrictEqual(resilient, this.#asked)) return false
    this.#asked = resilient
    this.#lacking = undefined
    return true
  }

  /** What the kernel said of the type that is asked for, where it refused it. */
  get lacking(): string | undefined {
    return this.#lacking
  }

  /** What a group of this type has beside its members. */
  get fields(): Pick<NextHopObject, 'resilient'> {
    return this.#asked === undefined || this.#lacking !== undefined ? {} : { resilient: this.#asked }
  }

  isOf({ resilient }: Pick<NextHopObject, 'resilient'>): boolean {
    return isDeepStrictEqual(resilient, this.fields.resilient)
  }

  /** Groups become plain ones where a refusal may be one of the type: returns whether they do, until `retract`. */
  giveUp(refused: readonly Refusal[], seen: ReadonlyMap<number, NextHopObject>): boolean {
    const refusal = refused.find(({ errno }) => OF_TYPE.includes(errno))
    if (refusal === undefined || this.fields.resilient === undefined) return false
    // a kernel that has one can have others
    if (seen.values().some(({ resilient }) => resilient !== undefined)) return false
    this.#lacking = refusal.message
    return true
  }

  /** It was not the type: plain groups are refused too. */
  retract(): void {
    this.#lacking = undefined
  }
}
