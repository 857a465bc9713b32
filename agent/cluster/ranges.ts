// The ranges of this node, and which must not be: where sessions are signed the kernel asks for the key of a prefix from all addresses in it that have none of their own of the
// same kind: a node, or a peer of its own, that signs nothing or in another way could not connect any more. Such a range is refused. Pure.
import { broken, type Condition } from '../../api/status.ts'
import { contains, familyOf } from '../../lib/ip.ts'
import type { NodeFacts } from './nodes.ts'
import { bgpPeerOf } from './range-keys.ts'
import type { PeerChange, SessionRequests, Wanted } from './session-requests.ts'
import type { Session } from './sessions.ts'

type Range = Session & { range: string }

export class Ranges {
  readonly #requests: Pick<SessionRequests, 'wanted'>
  readonly #ranges = new Map<string, Wanted & { peer: Range }>()
  /** The session that each refused range stands against. */
  #refused: ReadonlyMap<string, Session> = new Map()

  constructor(requests: Pick<SessionRequests, 'wanted'>) {
    this.#requests = requests
  }

  /** What `changes` come to: refused ranges are shut down, and those that were told before and are judged otherwise now are among them. */
  judge(changes: readonly PeerChange[]): PeerChange[] {
    if (changes.length === 0) return []
    for (const { key, peer, ...wanted } of changes) {
      this.#ranges.delete(key)
      if (isRange(peer)) this.#ranges.set(key, { ...wanted, origin: wanted.origin!, peer })
    }
    const before = this.#refused
    this.#refused = this.#against()
    const told = new Set(changes.map(({ key }) => key))
    const others = [...this.#ranges].filter(([key]) => !told.has(key) && before.has(key) !== this.#refused.has(key))
    return [...changes, ...others.map(([key, wanted]) => ({ key, ...wanted }))].map(change => {
      const { key, peer } = change
      return peer !== undefined && this.#refused.has(key) ? { ...change, peer: { ...peer, disabled: true } } : change
    })
  }

  /** The prefix of each, by its BGPPeer; those that are shut down too. */
  prefixes(): Map<string, string> {
    return new Map([...this.#ranges].map(([key, { peer }]) => [bgpPeerOf(key)!, peer.range]))
  }

  /** `own`: the addresses at which this node listens. */
  refused(own: Pick<NodeFacts, 'address' | 'ipv6Address'>): Condition[] {
    const unheard = [...this.prefixes()].flatMap(([name, range]) => {
      const isIpv4 = familyOf(range) === 'ipv4'
      if ((isIpv4 ? own.address : own.ipv6Address) !== undefined) return []
      const family = isIpv4 ? 'IPv4' : 'IPv6'
      const condition = broken('PeersConfigured', {
        reason: 'NoAddressOfFamily',
        message: `the range ${range} is of ${family}, of which this node has no address: nobody can connect`,
        remedy: `give the node an ${family} address, or leave it out with nodeSelector`,
        object: { kind: 'BGPPeer', name },
      })
      return [condition]
    })
    return [...unheard, ...this.#unsigned()]
  }

  #unsigned(): Condition[] {
    return [...this.#refused].map(([key, { name, address, range, ...other }]) => {
      const { peer } = this.#ranges.get(key)!
      return broken('PeersConfigured', {
        reason: 'UnsignedInRange',
        message: `sessions of the range ${peer.range} have ${kindOf(peer)}, and ${name} with ${address ?? range} in it has ${kindOf(other) ?? 'none'}: the kernel would ask that one for the same; the range has no session`,
        remedy: `give ${name} ${kindOf(peer)} too, or write a prefix without ${address ?? range}`,
        object: { kind: 'BGPPeer', name: bgpPeerOf(key)! },
      })
    })
  }

  /** Of several sessions in a range the first by key. */
  #against(): Map<string, Session> {
    const signed = [...this.#ranges].filter(([, { peer }]) => !peer.disabled && kindOf(peer) !== undefined)
    if (signed.length === 0) return new Map()
    const first = new Map<string, { by: string; session: Session }>()
    for (const [by, { peer: session }] of this.#requests.wanted()) {
      const at = session.address ?? session.range
      if (at === undefined || session.disabled || session.dialOnly) continue
      for (const [key, { peer }] of signed) {
        if (by === key || kindOf(session) === kindOf(peer) || !contains(peer.range, at)) continue
        const known = first.get(key)
        if (known === undefined || by < known.by) first.set(key, { by, session })
      }
    }
    return new Map([...first].map(([key, { session }]) => [key, session]))
  }
}

function isRange(peer: Session | undefined): peer is Range {
  return peer?.range !== undefined
}

function kindOf({ tcpAo, password }: Pick<Session, 'tcpAo' | 'password'>): string | undefined {
  if (tcpAo !== undefined) return 'keys of TCP-AO'
  return password === undefined ? undefined : 'a password'
}
