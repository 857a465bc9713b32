// What connections from each peer must carry that come to a listening socket: a password or keys, which the kernel asks for, and TTLs.
// Hazard: the kernel takes a connection before the socket that listens got the key of its peer; nothing on it was signed.
import { isDeepStrictEqual } from 'node:util'
import { contains, familyOf } from '../lib/ip.ts'
import { sameKey } from '../lib/tcp-ao.ts'
import type { SocketOptions, Sockets } from './port.ts'

/** `refused`: the listening socket could not be told, and nothing from there is taken. */
type Required = SocketOptions & { refused?: true }

export class RequiredOptions {
  readonly #sockets: Sockets
  readonly #fd: number
  readonly #peers = new Map<string, Required>()
  readonly #early = new EarlyConnections()

  constructor(sockets: Sockets, fd: number) {
    this.#sockets = sockets
    this.#fd = fd
  }

  /** For an address or a CIDR; undefined: nothing. Where the kernel refuses it, throws, and takes nothing from there until it does not. */
  set(peer: string, wanted: SocketOptions | undefined): void {
    const had = this.#peers.get(peer)
    if (had?.refused || had?.password !== wanted?.password || !isDeepStrictEqual(had?.tcpAo, wanted?.tcpAo)) {
      const perhaps = [...(had?.tcpAo ?? []), ...(wanted?.tcpAo ?? [])].filter(
        (key, i, all) => all.findIndex(other => sameKey(key, other)) === i,
      )
      this.#peers.set(peer, { ...had, tcpAo: perhaps, refused: true })
      this.#sign(peer, had, wanted)
      if (wanted?.password !== undefined || wanted?.tcpAo !== undefined) this.#early.mark(peer)
    }
    if (wanted === undefined) this.#peers.delete(peer)
    else this.#peers.set(peer, wanted)
  }

  /** What a connection that comes from `address` now must carry; 'refused': it must not be taken. */
  of(address: string): SocketOptions | 'refused' {
    if (this.#early.mayBe(address)) return 'refused'
    const wanted = mostSpecific(this.#peers, address)
    return wanted?.refused ? 'refused' : (wanted ?? {})
  }

  /** The kernel takes no key of one kind for a peer while there is one of the other. */
  #sign(peer: string, had: Required | undefined, wanted: SocketOptions | undefined): void {
    const next = wanted?.tcpAo ?? []
    // after a failure nobody knows which of them the socket has
    const [known, perhaps] = had?.refused ? [[], [...(had.tcpAo ?? []), ...next]] : [had?.tcpAo ?? [], []]
    const stays = (key: (typeof next)[number]) => known.some(other => sameKey(key, other))
    for (const key of [...perhaps, ...known.filter(key => !next.some(other => sameKey(key, other)))])
      this.#sockets.removeTcpAoKey(this.#fd, peer, key)
    if (had?.refused || had?.password !== wanted?.password)
      this.#sockets.setMd5(this.#fd, familyOf(peer), peer, wanted?.password)
    for (const key of next) if (!stays(key)) this.#sockets.addTcpAoKey(this.#fd, peer, key, false)
  }
}

/**
 * Connections that waited to be accepted when their peer got a key: the kernel took what is in them without one. They are accepted in
 * the next turn of the event loop, at the end of which there is none left.
 */
class EarlyConnections {
  readonly #peers = new Set<{ peer: string }>()

  mark(peer: string): void {
    const mark = { peer }
    this.#peers.add(mark)
    // the first ends the turn that goes on now, in which the listening socket may have been looked at already
    setImmediate(() => setImmediate(() => this.#peers.delete(mark)))
  }

  mayBe(address: string): boolean {
    return this.#peers.values().some(({ peer }) => (peer.includes('/') ? contains(peer, address) : peer === address))
  }
}

/** The options of the longest prefix, or of the address itself, that covers `address`. */
export function mostSpecific<T>(peers: ReadonlyMap<string, T>, address: string): T | undefined {
  const exact = peers.get(address)
  if (exact !== undefined) return exact
  let best: { bits: number; options: T } | undefined
  for (const [prefix, options] of peers) {
    if (!prefix.includes('/')) continue // another peer's own address
    const bits = Number(prefix.split('/')[1])
    if ((best === undefined || bits > best.bits) && contains(prefix, address)) best = { bits, options }
  }
  return best?.options
}
