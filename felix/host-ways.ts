// By which interfaces packets of a connection come and leave, which the kernel does not keep with it: those that lead to its ends
// now. Where that is not known it may be any, and whoever asks must take the worst. Each address is asked for once, so the ways of
// a hundred thousand connections take some walks over them, and not a question for each. A host with several uplinks may have rules
// by which its address chooses one (`ip rule from`): so for each of its addresses it is asked for on its own.
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { isLinkLocal, isLoopback } from '../lib/ip.ts'
import type { Way } from './policy/host-verdict.ts'

/** `source`: the address of this host that the connection has at its other end. */
type Question = { address: string; source: string | undefined }
/** Of this host, with the interfaces that have each, by the kernel's index. */
export type OwnAddresses = ReadonlyMap<string, readonly number[]>
type Ends = { source: string; destination: string }
/** Undefined: the host itself. */
type Interfaces = readonly (string | undefined)[]
/** `any`: not known. `toHere`: to the host itself, or to all of a network that it is in. */
type Found = { of: 'any' } | { of: 'one'; toHere: boolean; interfaceName: string | undefined }

/** Questions to the kernel at a time. */
const AT_ONCE = 64
/** Addresses that are asked for between two walks, some megabytes; and that are known. */
const MOST_ASKED = 32_768
const MOST_KNOWN = 131_072

export class HostWays {
  readonly #kernel: Pick<Kernel, 'links' | 'lookupRoute'>
  readonly #own: OwnAddresses
  readonly #any: readonly string[]
  readonly #known = new Map<string, Found>()
  readonly #asked = new Map<string, Question>()

  /** `any`: the interfaces that something is asked of. */
  constructor(kernel: Pick<Kernel, 'links' | 'lookupRoute'>, own: OwnAddresses, any: readonly string[]) {
    this.#kernel = kernel
    this.#own = own
    this.#any = any
  }

  /** All ways that a connection may have, whatever the routes are. */
  possible({ source, destination }: Ends): Way[] {
    if (this.#isOwn(source)) return this.#isOwn(destination) ? [] : ways(HERE, this.#any)
    // to a group or to all of a network it is for the host, too
    return ways(this.#any, this.#isOwn(destination) ? HERE : [...this.#any, undefined])
  }

  /** The ways that a connection may have by the routes of now; undefined: `look` has to ask first. */
  of({ source, destination }: Ends): Way[] | undefined {
    const [from, to] = [this.#at(source, destination), this.#at(destination, source)]
    if (from === undefined || to === undefined) return undefined
    if (from.of === 'one' && from.toHere) return ways(HERE, to.of === 'any' ? this.#any : [to.interfaceName])
    const target = to.of === 'any' ? [...this.#any, undefined] : to.toHere ? HERE : [to.interfaceName]
    return ways(from.of === 'any' ? this.#any : [from.interfaceName], target)
  }

  /** Asks the kernel for what `of` did not know. Rejects with `KernelError` when links cannot be read. */
  async look(): Promise<void> {
    if (this.#asked.size === 0) return
    const names = new Map((await this.#kernel.links()).map(({ index, name }) => [index, name]))
    const asked = [...this.#asked]
    this.#asked.clear()
    for (let from = 0; from < asked.length; from += AT_ONCE) {
      const some = asked.slice(from, from + AT_ONCE)
      const found = await Promise.all(some.map(([, question]) => this.#ask(question, names)))
      for (const [i, [key]] of some.entries()) this.#known.set(key, found[i]!)
    }
  }

  #isOwn(address: string): boolean {
    return this.#own.has(address) || isLoopback(address)
  }

  #at(address: string, other: string): Found | undefined {
    if (this.#isOwn(address)) return SELF
    const source = this.#own.has(other) && !isLoopback(other) ? other : undefined
    const key = source === undefined ? address : `${address} ${source}`
    const known = this.#known.get(key)
    if (known !== undefined || this.#asked.has(key)) return known
    if (this.#known.size + this.#asked.size >= MOST_KNOWN) return ANY
    if (this.#asked.size < MOST_ASKED) this.#asked.set(key, { address, source })
    return undefined
  }

  async #ask({ address, source }: Question, names: ReadonlyMap<number, string>): Promise<Found> {
    if (isLinkLocal(address)) return this.#onLink(source, names)
    try {
      const { type, ifindex } = await this.#kernel.lookupRoute(address, { source })
      const interfaceName = ifindex === undefined ? undefined : names.get(ifindex)
      return interfaceName === undefined ? ANY : { of: 'one', toHere: type !== 'unicast', interfaceName }
    } catch (error) {
      if (error instanceof KernelError && error.errno !== ERRNO.ENOBUFS) return ANY
      throw error
    }
  }

  /** A link-local address is reached by the interface that has the link-local one of this host, where one alone has it. */
  #onLink(source: string | undefined, names: ReadonlyMap<number, string>): Found {
    const [index, ...others] = source !== undefined && isLinkLocal(source) ? (this.#own.get(source) ?? []) : []
    const interfaceName = index === undefined || others.length > 0 ? undefined : names.get(index)
    return interfaceName === undefined ? ANY : { of: 'one', toHere: false, interfaceName }
  }
}

const HERE: Interfaces = [undefined]
const SELF: Found = { of: 'one', toHere: true, interfaceName: undefined }
const ANY: Found = { of: 'any' }

function ways(from: Interfaces, to: Interfaces): Way[] {
  return from.flatMap(each => to.map(other => ({ from: each, to: other })))
}
