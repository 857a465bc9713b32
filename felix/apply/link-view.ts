// The links of this namespace by name and by index, kept current by what the kernel tells. A view may be stale: who
// misses a name asks the kernel, and a refused write makes the loop read all links again.
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Link } from '../../kernel/port/links.ts'

export class LinkView {
  readonly #kernel: Kernel
  readonly #byName = new Map<string, Link>()
  readonly #byIndex = new Map<number, Link>()
  #trusted = false
  #version = 0

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  /** Changes whenever some name means another index. */
  get version(): number {
    return this.#version
  }

  distrust(): void {
    this.#trusted = false
  }

  async refresh(): Promise<void> {
    if (this.#trusted) return
    this.#trusted = true
    const links = await this.#kernel.links()
    this.#byName.clear()
    this.#byIndex.clear()
    for (const link of links) this.saw(link)
    this.#version++
  }

  /** Asks the kernel for names that the view does not have; a pod's interface may be newer than its event. */
  async learn(names: Iterable<string>): Promise<void> {
    for (const name of new Set(names)) {
      if (this.#byName.has(name)) continue
      const link = await this.#kernel.link(name)
      if (link !== undefined) this.saw(link)
    }
  }

  byName(name: string): Link | undefined {
    return this.#byName.get(name)
  }

  nameOf(index: number): string | undefined {
    return this.#byIndex.get(index)?.name
  }

  /** Returns what the view had under this index before. */
  saw(link: Link): Link | undefined {
    const before = this.#byIndex.get(link.index)
    if (before?.name !== link.name) this.#version++
    if (before !== undefined && before.name !== link.name) this.#byName.delete(before.name)
    this.#byIndex.set(link.index, link)
    this.#byName.set(link.name, link)
    return before
  }

  gone(link: Link): void {
    this.#version++
    this.#byIndex.delete(link.index)
    if (this.#byName.get(link.name)?.index === link.index) this.#byName.delete(link.name)
  }
}

/** An object waits for its interface: it stays dirty, and the link's event brings the next try. */
export class NoInterface extends Error {
  override readonly name = 'NoInterface'
  constructor(interfaceName: string) {
    super(`interface ${interfaceName} is not there`)
  }
}
