// Sets and maps of nftables as a rule looks into them: by the octets of a key. Words become octets by the codec that writes
// them to the kernel. Of several ranges that hold a key the first counts: the kernel takes none that overlap.
import { type KeyType, parseKey, parseKeyRange, setTypes } from '../../../kernel/netlink/nftables/keys.ts'
import type { NftElement, NftElements, NftSet, NftVerdict } from '../../../kernel/port/nftables.ts'

/** What a lookup found: the octets or the verdict of a map, nothing of a set. */
export type Hit = { data?: Uint8Array | NftVerdict }

export class LookupSet {
  readonly length: number
  readonly isMap: boolean
  readonly #single = new Map<string, Hit>()
  readonly #ranges: { from: Uint8Array; to: Uint8Array; hit: Hit }[] = []
  readonly #parts: readonly number[]
  #default: Hit | undefined

  constructor(set: NftSet, elements: readonly NftElements[]) {
    const { key, data } = setTypes(set)
    this.length = key.length
    this.isMap = set.data !== undefined
    this.#parts = key.parts.length === 1 ? [key.length] : key.parts.map(part => ((part.length ?? 0) + 3) & ~3)
    for (const element of elements.flatMap(each => each.elements)) this.#add(key, data, element)
  }

  #add(key: KeyType, data: KeyType | undefined, element: NftElement): void {
    const hit: Hit = {}
    if (element.data !== undefined) hit.data = 'verdict' in element.data ? element.data : parseKey(data!, element.data)
    if (element.key.length === 1 && element.key[0] === '*') this.#default = hit
    else if (key.interval) this.#ranges.push({ ...parseKeyRange(key, element.key), hit })
    else this.#single.set(Buffer.from(parseKey(key, element.key)).toString('hex'), hit)
  }

  find(key: Uint8Array): Hit | undefined {
    return (
      this.#single.get(Buffer.from(key).toString('hex')) ??
      this.#ranges.find(({ from, to }) => this.#isBetween(key, from, to))?.hit ??
      this.#default
    )
  }

  /** Joined keys are compared part by part: a range of such is a box. */
  #isBetween(key: Uint8Array, from: Uint8Array, to: Uint8Array): boolean {
    let at = 0
    for (const length of this.#parts) {
      const part = (octets: Uint8Array) => octets.subarray(at, at + length)
      if (Buffer.compare(part(key), part(from)) < 0 || Buffer.compare(part(key), part(to)) > 0) return false
      at += length
    }
    return true
  }
}
