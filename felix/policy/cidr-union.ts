// The union of CIDRs that may hold one another, as disjoint CIDRs: a set of intervals in the kernel takes no overlaps. A trie
// per family, in which a path without branches is one step. What is told is the least that changed: a CIDR inside another
// one is not told, and when the outer one goes, those that it held come back.
import { formatAddress, formatIpv4 } from '../../lib/ip.ts'
import type { Prefix } from '../../lib/prefix-index.ts'

/** Called with each CIDR of the union that comes or goes; a whole address has no `/LENGTH`. */
type Changed = (cidr: string, is: 'in' | 'out') => void

/** The bits of an address as signed numbers of 32, of which IPv4 has the first. */
type Bits = readonly [number, number, number, number]

type Node = {
  readonly bits: Bits
  readonly length: number
  /** How often this CIDR was added. 0: only a fork. */
  uses: number
  zero: Node | undefined
  one: Node | undefined
}

export class CidrUnion {
  readonly #changed: Changed
  #ipv4: Node | undefined
  #ipv6: Node | undefined

  constructor(changed: Changed) {
    this.#changed = changed
  }

  /** Takes a CIDR in, once for each call. */
  add(prefix: Prefix): void {
    const bits = bitsOf(prefix)
    if (prefix.family === 'ipv4') this.#ipv4 = this.#add(this.#ipv4, bits, prefix.length, 'ipv4', false)
    else this.#ipv6 = this.#add(this.#ipv6, bits, prefix.length, 'ipv6', false)
  }

  /** Takes back one `add`. Throws when there was none. */
  remove(prefix: Prefix): void {
    const bits = bitsOf(prefix)
    if (prefix.family === 'ipv4') this.#ipv4 = this.#remove(this.#ipv4, bits, prefix.length, 'ipv4', false)
    else this.#ipv6 = this.#remove(this.#ipv6, bits, prefix.length, 'ipv6', false)
  }

  /** The CIDRs of the union of one family, in order. */
  *of(family: Prefix['family']): Generator<string> {
    for (const node of outermost(family === 'ipv4' ? this.#ipv4 : this.#ipv6)) yield textOf(node, family)
  }

  /** Whether a CIDR of the union holds all of this one. */
  covers(prefix: Prefix): boolean {
    const bits = bitsOf(prefix)
    let node = prefix.family === 'ipv4' ? this.#ipv4 : this.#ipv6
    while (node !== undefined && node.length <= prefix.length && commonLength(node.bits, bits) >= node.length) {
      if (node.uses > 0) return true
      node = node.length === prefix.length ? undefined : bitAt(bits, node.length) === 0 ? node.zero : node.one
    }
    return false
  }

  /** Whether there is one of this family. */
  has(family: Prefix['family']): boolean {
    return (family === 'ipv4' ? this.#ipv4 : this.#ipv6) !== undefined
  }

  /** `covered`: a CIDR above is in. Returns what stands at this place from now on. */
  #add(node: Node | undefined, bits: Bits, length: number, family: Prefix['family'], covered: boolean): Node {
    if (node === undefined) {
      const made: Node = { bits, length, uses: 1, zero: undefined, one: undefined }
      if (!covered) this.#changed(textOf(made, family), 'in')
      return made
    }
    const common = Math.min(commonLength(node.bits, bits), node.length, length)
    if (common < node.length) {
      // this place gets a fork, or the CIDR itself above what was here
      const above: Node = { bits: masked(bits, common), length: common, uses: 0, zero: undefined, one: undefined }
      if (bitAt(node.bits, common) === 0) above.zero = node
      else above.one = node
      return this.#add(above, bits, length, family, covered)
    }
    if (length === node.length) {
      if (node.uses++ === 0 && !covered) {
        for (const inner of outermost(node.zero, node.one)) this.#changed(textOf(inner, family), 'out')
        this.#changed(textOf(node, family), 'in')
      }
      return node
    }
    const below = covered || node.uses > 0
    if (bitAt(bits, node.length) === 0) node.zero = this.#add(node.zero, bits, length, family, below)
    else node.one = this.#add(node.one, bits, length, family, below)
    return node
  }

  #remove(
    node: Node | undefined,
    bits: Bits,
    length: number,
    family: Prefix['family'],
    covered: boolean,
  ): Node | undefined {
    if (node === undefined || node.length > length) throw new Error('a CIDR that was not added')
    if (node.length < length) {
      const below = covered || node.uses > 0
      if (bitAt(bits, node.length) === 0) node.zero = this.#remove(node.zero, bits, length, family, below)
      else node.one = this.#remove(node.one, bits, length, family, below)
    } else {
      if (node.uses === 0 || commonLength(node.bits, bits) < length) throw new Error('a CIDR that was not added')
      if (--node.uses === 0 && !covered) {
        this.#changed(textOf(node, family), 'out')
        for (const inner of outermost(node.zero, node.one)) this.#changed(textOf(inner, family), 'in')
      }
    }
    if (node.uses > 0 || (node.zero !== undefined && node.one !== undefined)) return node
    return node.zero ?? node.one
  }
}

/** The CIDRs that no other one at or below these places holds. */
function* outermost(...nodes: (Node | undefined)[]): Generator<Node> {
  for (const node of nodes) {
    if (node === undefined) continue
    if (node.uses > 0) yield node
    else yield* outermost(node.zero, node.one)
  }
}

function bitsOf(prefix: Prefix): Bits {
  if (prefix.family === 'ipv4') return [prefix.bits | 0, 0, 0, 0]
  const part = (shift: bigint) => Number(BigInt.asIntN(32, prefix.bits >> shift))
  return [part(96n), part(64n), part(32n), part(0n)]
}

function bitAt(bits: Bits, index: number): number {
  return (bits[index >> 5]! >>> (31 - (index & 31))) & 1
}

/** How many bits are the same from the first one on: 128 at most, for IPv4 too. */
function commonLength(a: Bits, b: Bits): number {
  for (let i = 0; i < 4; i++) {
    const differing = a[i]! ^ b[i]!
    if (differing !== 0) return 32 * i + Math.clz32(differing)
  }
  return 128
}

function masked(bits: Bits, length: number): Bits {
  const part = (i: number) => {
    const kept = Math.min(32, Math.max(0, length - 32 * i))
    return kept === 0 ? 0 : bits[i]! & (-1 << (32 - kept))
  }
  return [part(0), part(1), part(2), part(3)]
}

function textOf({ bits, length }: Node, family: Prefix['family']): string {
  if (family === 'ipv4') return `${formatIpv4(bits[0] >>> 0)}${length === 32 ? '' : `/${length}`}`
  const octets = Uint8Array.from({ length: 16 }, (_, i) => bits[i >> 2]! >>> (24 - 8 * (i & 3)))
  return `${formatAddress(octets)}${length === 128 ? '' : `/${length}`}`
}
