// What the sockets answer about one prefix: the speaker's explanation with every attribute as text that operators know,
// since octets and 64-bit communities have no form in JSON of their own.
import type { RouteAnswer, RouteText } from '../../api/answers.ts'
import type { ExplainedPath, Explanation } from '../../bgp/rib/explain.ts'
import { formatNextHop, octetsOf } from '../../bgp/rib/next-hop.ts'
import { formatAsPath } from '../../bgp/wire/as-path.ts'
import { formatCommunity, formatExtendedCommunity, formatLargeCommunity } from '../../bgp/wire/communities.ts'
import { ORIGIN } from '../../bgp/wire/iana.ts'
import { formatIpv4 } from '../../lib/ip.ts'

/**
 * `explanation` is undefined for a prefix that nobody announces: then there are no candidates. `nameOf`: what people call a peer.
 */
export function routeAnswer(
  prefix: string,
  explanation: Explanation | undefined,
  nameOf: (peer: string) => string = peer => peer,
): RouteAnswer {
  if (explanation === undefined) return { prefix, candidates: [], withheld: [] }
  const { candidates, withheld } = explanation
  return {
    prefix: explanation.prefix,
    candidates: candidates.map(c => ({ ...c, peer: nameOf(c.peer), attributes: textOf(c) })),
    withheld: withheld.map(({ peers, reason }) => ({ peers: peers.map(nameOf), reason })),
  }
}

function textOf({ attributes: { attributes: a, mpNextHop } }: ExplainedPath): RouteText {
  const nextHop = mpNextHop ?? (a.nextHop === undefined ? undefined : octetsOf(a.nextHop))
  return {
    nextHop: nextHop && formatNextHop(nextHop),
    asPath: a.asPath && formatAsPath(a.asPath),
    origin: Object.entries(ORIGIN).find(([, code]) => code === a.origin)?.[0],
    med: a.med,
    localPref: a.localPref,
    communities: a.communities?.map(formatCommunity),
    extendedCommunities: a.extendedCommunities?.map(formatExtendedCommunity),
    largeCommunities: a.largeCommunities?.map(formatLargeCommunity),
    atomicAggregate: a.atomicAggregate,
    aggregator: a.aggregator && `${a.aggregator.asn} ${formatIpv4(a.aggregator.address)}`,
    originatorId: a.originatorId === undefined ? undefined : formatIpv4(a.originatorId),
    clusterList: a.clusterList?.map(formatIpv4),
    otc: a.otc,
    unknown: a.unknown?.map(({ code }) => code),
  }
}
