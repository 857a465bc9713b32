// Next hops that external peers on a link of ours can reach without us: they are passed on unchanged (RFC 4271 §5.1.3,
// item 2, "third party"). Hazard: a route must never go to a peer with the peer's own address as its next hop. The source of a
// route is not sent it; for an address of another member we are the next hop, for all members, since they share messages.
import { formatAddress } from '../../../lib/ip.ts'
import { holdsAddress, type LinkNetwork, linkNetworks } from '../next-hop.ts'

export class SharedLink {
  readonly #networks: readonly LinkNetwork[]
  readonly #members = new Set<string>()
  /** Next hops on the link that `keeps` was asked about and that are not the source's own: the answer depends on the members. */
  readonly #asked = new Set<string>()

  /** `connected`: CIDRs of the link. */
  constructor(connected: readonly string[]) {
    this.#networks = linkNetworks(connected)
  }

  /**
   * Whether the next hop in `bytes[at..at+length)`, 4 or 16 octets, of a route from the peer at `source` goes out as it is.
   * Nearly always it is the source itself, which is found without making a text.
   */
  keeps(bytes: Uint8Array, at: number, length: number, source: Uint8Array | undefined): boolean {
    let near = false
    for (const network of this.#networks) near ||= holdsAddress(network, bytes, at, length)
    if (!near) return false
    if (source !== undefined && source.length === length && startsAlike(source, bytes, at, length)) return true
    const text = formatAddress(bytes.slice(at, at + length))
    this.#asked.add(text)
    return !this.#members.has(text)
  }

  /** A member with this address came. True: what `keeps` said before may be wrong now. */
  join(address: string): boolean {
    this.#members.add(address)
    return this.#asked.has(address)
  }

  /** A member with this address left. True: what `keeps` said before may be wrong now. */
  leave(address: string): boolean {
    this.#members.delete(address)
    return this.#asked.has(address)
  }

  /** Everything will be asked again. */
  reset(): void {
    this.#asked.clear()
  }
}

function startsAlike(octets: Uint8Array, bytes: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (octets[i] !== bytes[at + i]) return false
  return true
}
