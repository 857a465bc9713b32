// Which paths need a next hop that can be reached (`SpeakerConfig.tracked`).
import { cidr } from '../../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { TrackedPaths } from '../config.ts'
import type { RibPeer } from './types.ts'

export class TrackedRule {
  #group: string | undefined
  #spared = new PrefixIndex<true>()

  /** Throws for what is no CIDR, changing nothing. */
  set({ group, spared = [] }: TrackedPaths = {}): void {
    const index = new PrefixIndex<true>()
    for (const each of spared) {
      const { address, length } = cidr(each)
      index.set(parsePrefix(`${address}/${length}`)!, true)
    }
    this.#spared = index
    this.#group = group
  }

  /** Whether next hops of a peer count: not those of a file or a program, which are only passed on. */
  tracks({ source, config }: Pick<RibPeer, 'source' | 'config'>): boolean {
    return source !== true && (this.#group === undefined || config.group === this.#group)
  }

  /** Whether paths to a prefix, a canonical CIDR, are used without a next hop that can be reached. */
  spares(prefix: string): boolean {
    return this.#spared.match(parsePrefix(prefix)!) === true
  }
}
