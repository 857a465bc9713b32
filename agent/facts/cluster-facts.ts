// What this node knows of the cluster about the ends of a question: the sessions that routes between them come by, and whose the
// addresses are. Memory only.
import type { RouteAnswer } from '../../api/answers.ts'
import type { BlockFacts, Question, SessionFacts } from '../../api/explain.ts'
import type { Resource } from '../../api/kinds.ts'
import { poolOf } from '../../api/pools.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import type { LearnedRoute } from '../../felix/input.ts'
import { contains, familyOf } from '../../lib/ip.ts'

export type ClusterDeps = {
  node: string
  network: {
    peers(): readonly PeerStatus[]
    /** A node that has an address, also for a tunnel. */
    nodeWith(address: string): string | undefined
    /** The learned route with the longest prefix that holds an address. */
    learnedFor(address: string): LearnedRoute | undefined
  }
  explain(prefix: string): RouteAnswer
  view: { all(kind: 'IPPool'): readonly Resource<'IPPool'>[] }
  allocator: {
    blocks(): readonly { cidr: string }[]
    borrowed(): readonly string[]
    /** The node that has an address of an own block, by its CIDR. */
    lentTo(): ReadonlyMap<string, string>
  }
}

/** Sessions that are told where none is with the other node: routes may come by any of them. */
const MOST_SESSIONS = 32

/**
 * The session with the node of the other end, those by which its routes are learned, and those with routers outside, which may know
 * pods; where there is none with or for the other end, all.
 */
export function sessionFacts(deps: ClusterDeps, question: Question): SessionFacts[] {
  const { from, to, packet } = question
  const others = [from, to].flatMap(({ node }) => (node === undefined || node === deps.node ? [] : [node]))
  const carriers = new Set(
    [packet.source, packet.destination].flatMap(address => {
      const route = deps.network.learnedFor(address)
      return route === undefined ? [] : deps.explain(route.prefix).candidates.map(({ peer }) => peer)
    }),
  )
  const all = deps.network.peers().map(peer => ({ peer, node: deps.network.nodeWith(peer.address) }))
  const concerned = all.filter(({ peer, node }) => carriers.has(peer.name) || (node && others.includes(node)))
  const outside = all.filter(each => each.node === undefined && !concerned.includes(each))
  return (concerned.length > 0 ? [...concerned, ...outside] : all).slice(0, MOST_SESSIONS).map(({ peer, node }) => {
    const { name, address, state, sinceMs, reason, lastReceivedMs, lastSentMs } = peer
    return {
      ...{ peer: name, address, state, sinceMs, ...(node !== undefined && { node }) },
      ...(lastReceivedMs !== undefined && { lastReceivedMs }),
      ...(lastSentMs !== undefined && { lastSentMs }),
      ...{ reason: reason?.code ?? '', message: reason?.detail ?? '', remedy: reason?.remedy ?? '' },
    }
  })
}

/** Of both addresses: the pool and block that each lies in, and whose it is. */
export function blockFacts(deps: ClusterDeps, { packet }: Question): BlockFacts[] {
  return [packet.source, packet.destination].map(address => {
    const pool = poolOf(deps.view.all('IPPool'), address)?.metadata.name
    const { allocator, node } = deps
    const isIn = (cidr: string) => familyOf(cidr) === familyOf(address) && contains(cidr, address)
    const lent = [...allocator.lentTo()].find(([cidr]) => isIn(cidr))
    const own = allocator.borrowed().find(isIn) ?? allocator.blocks().find(({ cidr }) => isIn(cidr))?.cidr
    const learned = own === undefined ? deps.network.learnedFor(address) : undefined
    const block = lent?.[0] ?? own ?? learned?.prefix
    const owner = lent?.[1] ?? (own === undefined ? learned && deps.network.nodeWith(learned.nextHop) : node)
    const withheld = own === undefined ? undefined : withheldText(deps.explain(own))
    return {
      address,
      ...(pool !== undefined && { pool }),
      ...(block !== undefined && { block }),
      ...(owner !== undefined && { owner }),
      ...(withheld !== undefined && { withheld }),
    }
  })
}

function withheldText({ withheld }: RouteAnswer): string | undefined {
  if (withheld.length === 0) return undefined
  return withheld
    .map(({ peers, reason }) => `from ${peers.slice(0, 3).join(', ')}${peers.length > 3 ? ', …' : ''}: ${reason}`)
    .join('; ')
}
