// Deleting links, those of the same moment together. A deletion waits until no reader can see the link any more (an RCU
// grace period or two, 10 to 20 ms), inside sendmsg: so a thread does it, over a socket of its own. A group of links that is
// deleted by its number waits once (rtnl_group_dellink): whoever comes while a group is being deleted is in the next one. The
// group's number is random, so that it is nobody else's.
import { randomInt } from 'node:crypto'
import type { Acknowledgement } from '../netlink/message.ts'
import { type Request, Requests } from '../netlink/requests.ts'
import { emitLinkHeader } from '../netlink/route/link.ts'
import { IFLA, RTM } from '../netlink/route/numbers.ts'

type Waiting = { index: number; take(answer: Acknowledgement): void; fail(error: unknown): void }

export class LinkRemoval {
  readonly #within: <T>(act: () => T) => T
  #requests: Requests | undefined
  #waiting: Waiting[] = []
  #isSending = false

  /** Its socket is opened `within` the namespace that is meant, with the first deletion. */
  constructor(within: <T>(act: () => T) => T) {
    this.#within = within
  }

  /** The kernel's answer to the deletion of one link, sent at the end of this turn of the event loop at the earliest. */
  remove(index: number): Promise<Acknowledgement> {
    if (!this.#isSending) setImmediate(() => void this.#sendAll())
    this.#isSending = true
    return new Promise((take, fail) => this.#waiting.push({ index, take, fail }))
  }

  close(): void {
    this.#requests?.close()
  }

  async #sendAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      await this.#send(batch)
    }
    this.#isSending = false
  }

  async #send(batch: readonly Waiting[]): Promise<void> {
    try {
      this.#requests ??= this.#within(() => new Requests({ isSlow: true }))
      // what the group did not take, or what was gone before, answers for itself
      if (batch.length > 1) await this.#removeGroup(this.#requests, batch)
      const answers = await this.#requests.change(
        batch.map(({ index }): Request => ({ type: RTM.delLink, body: w => emitLinkHeader(w, index) })),
      )
      for (const [i, { take }] of batch.entries()) take(answers[i]!)
    } catch (error) {
      for (const { fail } of batch) fail(error)
    }
  }

  async #removeGroup(requests: Requests, batch: readonly Waiting[]): Promise<void> {
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
    await requests.change([...join, removal])
  }
}
