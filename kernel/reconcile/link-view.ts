// Cache of the links of this namespace, by name and by index, kept up to date by events. It may be stale: an unknown
// name is looked up in the kernel, and after a refused write all links are read again.
import type { KernelEvent } from '../port/kernel.ts'
import type { Link, LinkPort } from '../port/links.ts'

export class LinkView {
  readonly #kernel: LinkPort
  readonly #byName = new Map<string, Link>()
  readonly #byIndex = new Map<number, Link>()
  #stale = true

  constructor(kernel: LinkPort) {
    this.#kernel = kernel
  }

  invalidate(): void {
    this.#stale = true
  }

  /**
   * Reads all links again after `invalidate`, and before the first use. Returns the names that have another link than the view
   * had, or that went up or down: what was on them may be gone, and their events may come later.
   */
  async refresh(): Promise<string[]> {
    if (!this.#stale) return []
    this.#stale = false
    try {
      const links = await this.#kernel.links()
      const before = new Map(this.#byName)
      this.#byName.clear()
      this.#byIndex.clear()
      for (const link of links) this.saw(link)
      return [...before.values()].flatMap(({ name, index, up }) => {
        const now = this.#byName.get(name)
        return now?.index === index && now.up === up ? [] : [name]
      })
    } catch (error) {
      this.#stale = true
      throw error
    }
  }

  byName(name: string): Link | undefined {
    return this.#byName.get(name)
  }

  nameOf(index: number): string | undefined {
    return this.#byIndex.get(index)?.name
  }

  /** The link of a name, asking the kernel when the view has none: an interface may be newer than its event. */
  async find(name: string): Promise<Link | undefined> {
    const known = this.#byName.get(name)
    if (known !== undefined) return known
    const link = await this.#kernel.link(name)
    if (link !== undefined) this.saw(link)
    return link
  }

  /** The name of an index, asking the kernel when the view has none. */
  async findName(index: number): Promise<string | undefined> {
    const known = this.nameOf(index)
    if (known !== undefined) return known
    const link = await this.#kernel.link(index)
    if (link !== undefined) this.saw(link)
    return link?.name
  }

  /**
   * Asks the kernel for the link of a name, whatever the view has. Returns whether that is another link than the view
   * had: everything that was on the old one is gone.
   */
  async lookAgain(name: string): Promise<boolean> {
    const before = this.#byName.get(name)
    const link = await this.#kernel.link(name)
    if (before !== undefined && before.index !== link?.index) this.gone(before)
    if (link !== undefined) this.saw(link)
    return before !== undefined && before.index !== link?.index
  }

  /** Returns what the view had under this index before. */
  saw(link: Link): Link | undefined {
    const before = this.#byIndex.get(link.index)
    if (before !== undefined && before.name !== link.name && this.#byName.get(before.name)?.index === link.index)
      this.#byName.delete(before.name)
    this.#byIndex.set(link.index, link)
    this.#byName.set(link.name, link)
    return before
  }

  gone(link: Link): void {
    this.#byIndex.delete(link.index)
    if (this.#byName.get(link.name)?.index === link.index) this.#byName.delete(link.name)
  }

  /** Whether an event of a link tells what was before that which the view has. */
  isLate({ link, isNew }: Extract<KernelEvent, { type: 'link' }>): boolean {
    // indices only grow: it is of a link that is gone, and a newer link has its name
    return (isNew === true && this.#byIndex.has(link.index)) || (this.#byName.get(link.name)?.index ?? 0) > link.index
  }

  /**
   * Takes what the kernel tells of links; returns the names of the interfaces whose routes, neighbours, addresses and
   * settings it may have taken along without telling: those that went away, went up or down, or were renamed.
   */
  observe(event: KernelEvent): string[] {
    if (event.type === 'link-gone') {
      this.gone(event.link)
      return [event.link.name]
    }
    if (event.type !== 'link' || this.isLate(event)) return []
    const before = this.saw(event.link)
    if (before === undefined) return [event.link.name]
    if (before.name !== event.link.name) return [before.name, event.link.name]
    return before.up === event.link.up ? [] : [event.link.name]
  }
}
