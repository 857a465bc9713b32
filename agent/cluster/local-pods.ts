// Pods of this node that are BGP peers of it (`localWorkloadSelector`), and the address under which they find it. Pure.

import type { IpPool } from '../../api/pools.ts'
import type { CauseOf } from '../../api/status.ts'
import type { Peering } from '../../felix/input.ts'
import { GATEWAY } from '../../kernel/pod-interface.ts'
import {
  contains,
  type Family,
  familyOf,
  hostPrefix,
  isHostAddress,
  isLinkLocal,
  isLoopback,
  parseCidr,
} from '../../lib/ip.ts'
import { allRanges, serviceRanges } from './services.ts'
import type { PeerChange } from './session-requests.ts'
import { type Asked, type FarEnd, type PodEnd, podSession, type Session, type SessionEnd } from './sessions.ts'
import type { BgpSettings } from './settings.ts'

/** One interface of a pod that runs here; `labels` as selectors see them. */
export type LocalPod = PodEnd & { addresses: readonly string[]; labels: Readonly<Record<string, string>> }

/** The address that pods peer with, by family, or why there is none. */
export type PeeringAddresses = { readonly [F in Family]: { address: string } | { missing: CauseOf<'PeersConfigured'> } }

const FIELDS = { ipv4: 'localWorkloadPeeringIPV4', ipv6: 'localWorkloadPeeringIPV6' } as const
const REMEDY = {
  ipv4: 'set localWorkloadPeeringIPV4 in the BGPConfiguration default to an address that nobody has, such as 169.254.0.179',
  ipv6: 'set localWorkloadPeeringIPV6 in the BGPConfiguration default to an address that nobody has, such as fd12:3456:789a::1',
} as const

/** Who has addresses already: pools, the subnets of this node's interfaces as CIDRs, and nodes. */
type Held = {
  pools: readonly IpPool[]
  subnets: readonly string[]
  nodeWith: (address: string) => string | undefined
}

/** An address that somebody has is none to peer with: the local table would lead all packets to it here. */
export function peeringAddresses(settings: BgpSettings, { pools, subnets, nodeWith }: Held): PeeringAddresses {
  const ranges = [...pools.map(({ spec }) => spec.cidr), ...allRanges(serviceRanges(settings, pools))]
  const of = (family: Family) => {
    const address = settings[FIELDS[family]] ?? ''
    const fault = address === '' ? 'is not set' : faultOf(address, family, { ranges, subnets, nodeWith })
    if (fault === undefined) return { address }
    const cause = { reason: 'NoPeeringAddress' as const, message: `${FIELDS[family]} ${fault}`, remedy: REMEDY[family] }
    return { missing: cause }
  }
  return { ipv4: of('ipv4'), ipv6: of('ipv6') }
}

type Others = Pick<Held, 'subnets' | 'nodeWith'> & { ranges: readonly string[] }

function faultOf(address: string, family: Family, { ranges, subnets, nodeWith }: Others): string | undefined {
  if (familyOf(address) !== family) return `${address} is an address of the other family`
  if (isLoopback(address)) return `${address} is each machine's own`
  if (family === 'ipv6' && isLinkLocal(address)) return `${address} counts on one link alone, and needs an interface`
  if (!isHostAddress(address)) return `${address} is no address of a host`
  if (address === GATEWAY.ipv4) return `${address} is the gateway of all pods`
  const node = nodeWith(address)
  if (node !== undefined) return `${address} is an address of node ${node}`
  const subnet = subnets.find(cidr => contains(cidr, address))
  if (subnet === hostPrefix(address)) return `${address} is an address of this node`
  if (subnet !== undefined)
    return `${address} lies in ${networkOf(subnet)}, the subnet of an interface of this node, which could not reach the host that has it`
  const range = ranges.find(cidr => contains(cidr, address))
  return range === undefined ? undefined : `${address} lies in ${range}, whose addresses pods or Services have`
}

/** Without host bits. */
function networkOf(cidr: string): string {
  const { address, length } = parseCidr(cidr)!
  return `${address}/${length}`
}

/** What felix is told; undefined where pods have no address to peer with. */
export function peeringOf({ ipv4, ipv6 }: PeeringAddresses, port: number): Peering | undefined {
  const addresses = {
    ...('address' in ipv4 && { ipv4: ipv4.address }),
    ...('address' in ipv6 && { ipv6: ipv6.address }),
  }
  return Object.keys(addresses).length === 0 ? undefined : { ...addresses, port }
}

/** The session with a pod that a BGPPeer selects, or why it must have none; neither where pods have no address to peer with. */
export function askedPod(
  { own, pod, far }: { own: SessionEnd; pod: PodEnd; far: Pick<FarEnd, 'address' | 'asn'> },
  asked: Asked,
  peering: PeeringAddresses[Family] | undefined,
): { peer?: Session; fault?: CauseOf<'PeersConfigured'> } {
  const fault = unfit(asked) ?? (peering && 'missing' in peering ? peering.missing : undefined)
  if (fault !== undefined) return { fault }
  return peering === undefined ? {} : { peer: podSession(own, pod, far, asked) }
}

/** Why a BGPPeer for pods must have no session. */
function unfit({ spec, bfd }: Asked): CauseOf<'PeersConfigured'> | undefined {
  const [word, remedy] =
    bfd !== undefined
      ? ['BFD watches no session with a pod of the node', 'take margay.io/BFD away: a pod that goes is known at once']
      : spec.reachableBy
        ? ['reachableBy has no meaning for a pod of the node', 'remove reachableBy']
        : []
  return word === undefined ? undefined : { reason: 'NotForPods', message: word, remedy: remedy! }
}

/** Which endpoints have a session, told as they come and go. */
export class PeeringEndpoints {
  /** By the key of the session. */
  readonly #sessions = new Map<string, string>()

  take(changes: readonly PeerChange[]): [endpoint: string, isPeer: boolean][] {
    const touched = new Set<string>()
    const before = new Set(this.#sessions.values())
    for (const { key, peer } of changes) {
      const was = this.#sessions.get(key)
      if (was !== undefined) touched.add(was)
      if (peer?.pod === undefined) this.#sessions.delete(key)
      else {
        this.#sessions.set(key, peer.pod.endpoint)
        touched.add(peer.pod.endpoint)
      }
    }
    const now = new Set(this.#sessions.values())
    return [...touched].filter(each => before.has(each) !== now.has(each)).map(each => [each, now.has(each)])
  }

  get size(): number {
    return this.#sessions.size
  }
}
