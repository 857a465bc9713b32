// Blocks that other nodes may have no route to yet: those that were claimed since this node has been asked to wait for it, and those that
// had no pod when it began, which an earlier run may have claimed in its last moment. No pod gets an address of them before.
export class NewBlocks {
  readonly #waiting = new Map<string, Promise<void>>()
  readonly #reached: (cidr: string) => Promise<void>
  readonly #known: Set<string>

  /** `reached` resolves once other nodes have a route to a block, or are not waited for any more. `known`: blocks with pods. */
  constructor(known: Iterable<string>, reached: (cidr: string) => Promise<void>) {
    this.#known = new Set(known)
    this.#reached = reached
  }

  /** What a block waits for; undefined: nothing. Each block is asked for once. */
  waitsFor(cidr: string): Promise<void> | undefined {
    if (this.#known.has(cidr)) return undefined
    let waiting = this.#waiting.get(cidr)
    if (waiting === undefined) {
      const asked = this.#reached(cidr).then(() => {
        // one that left and came back waits anew
        if (this.#waiting.get(cidr) !== asked) return
        this.#waiting.delete(cidr)
        this.#known.add(cidr)
      })
      this.#waiting.set(cidr, asked)
      waiting = asked
    }
    return waiting
  }

  /** A block is not this node's any more. */
  forget(cidr: string): void {
    this.#known.delete(cidr)
    this.#waiting.delete(cidr)
  }
}
