// What this node announces, as its speaker takes it. Pure.
import type { Network } from '../bgp/config.ts'
import { parseCommunity } from '../bgp/wire/communities.ts'
import { TUNNEL_TYPE } from '../felix/calc/encapsulation.ts'
import type { Capabilities } from '../kernel/port/links.ts'
import type { Announced } from './cluster/advertised.ts'

/** As a speaker announces it from a node whose kernel can do so much. */
export function networkOf(
  { prefix, communities: texts, localPref }: Announced,
  { ipip, vxlan }: Pick<Capabilities, 'ipip' | 'vxlan'>,
): Network {
  const encapsulations = [...(ipip ? [TUNNEL_TYPE.ipip] : []), ...(vxlan ? [TUNNEL_TYPE.vxlan] : [])]
  const communities = texts.map(parseCommunity).filter(community => community !== undefined)
  return { prefix, encapsulations, communities, localPref }
}
