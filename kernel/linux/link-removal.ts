// Deleting links, those of the same moment together. A deletion waits until no reader can see the link any more (an RCU
// grace period or two, 10 to 20 ms), inside sendmsg, with the whole process standing still; a group of links that is
// deleted by its number waits once (rtnl_group_dellink). The group's number is random, so that it is nobody else's.
import { randomInt } from 'node:crypto'
import type { Acknowledgement } from '../netlink/message.ts'
import type { Request, Requests } from '../netlink/requests.ts'
import { emitLinkHeader } from '../netlink/route/link.ts'
import { IFLA, RTM } from '../netlink/route/numbers.ts'

type Waiting = { index: number; take(answer: Acknowledgement): void; fail(error: unknown): void }

export class LinkRemoval {
  readonly #requests: Requests
  #waiting: Waiting[] = []

  constructor(requests: Requests) {
    this.#requests = requests
  }

  /** The kernel's answer to the deletion of one link, sent at the end of this turn of the event loop. */
  remove(index: number): Promise<Acknowledgement> {
    if (this.#waiting.length === 0) setImmediate(() => void this.#send())
    return new Promise((take, fail) => this.#waiting.push({ index, take, fail }))
  }

  async #send(): Promise<void> {
    const batch = this.#waiting
    this.#waiting = []
    try {
      // what the group did not take, or what was gone before, answers for itself
      if (batch.length > 1) await this.#removeGroup(batch)
      const answers = await this.#requests.change(
        batch.map(({ index }): Request => ({ type: RTM.delLink, body: w => emitLinkHeader(w, index) })),
      )
      for (const [i, { take }] of batch.entries()) take(answers[i]!)
    } catch (error) {
      for (const { fail } of batch) fail(error)
    }
  }

  async #removeGroup(batch: readonly Waiting[]): Promise<void> {
    const group = randomInt(2 ** 30, 2 ** 31)
    const join = batch.map(
      ({ index }): Request => ({
        type: RTM.setLink,
        body: w => {
          emitLinkHeader(w, index)
          w.attrU32(IFLA.group, group)
        },
      }),
    )
    const removal: Request = {
      type: RTM.delLink,
      body: w => {
        emitLinkHeader(w)
        w.attrU32(IFLA.group, group)
      },
    }
    await this.#requests.change([...join, removal])
  }
}
