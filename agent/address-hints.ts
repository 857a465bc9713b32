// What is said about the node's addresses before its machine is looked at: by the operator, by the Node object, and by the
// families of the pools. Pure.
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { type Family, familyOf, parseAddress } from '../lib/ip.ts'
import type { AddressChoice } from './address-choice.ts'

/**
 * What the choice depends on besides the machine. `families`: those that the cluster has pools of. `ipv6Tunnelled`: all those of IPv6 ask
 * for VXLAN, which carries it over IPv4 too.
 */
export type AddressHints = { node: Resource<'Node'> | undefined; families: readonly Family[]; ipv6Tunnelled?: boolean }

/** What of that counts: the rest of a Node object, such as a kubelet's heartbeat, changes no address. */
export type Hints = {
  uses: { [family in Family]: boolean }
  ipv6Tunnelled: boolean
  /** The addresses in the node's annotations, and its InternalIPs. */
  annotations: { [family in Family]: string | undefined }
  internal: { [family in Family]: string | undefined }
}

const ANNOTATION = { ipv4: NODE_ANNOTATION.ipv4Address, ipv6: NODE_ANNOTATION.ipv6Address } as const
/** The option that chooses the address of a family. */
export const OPTION = { ipv4: '--node-ip', ipv6: '--node-ip6' } as const

/**
 * What the address of a family should be, the best first: one that was given alone, else the one in use, with `auto` the
 * node's own annotation from an earlier run, and its Kubernetes InternalIP. A Node object without an InternalIP names none:
 * then `kubernetes-internal-ip` is the one in use too.
 */
export function* candidates(
  wanted: AddressChoice,
  family: Family,
  inUse: string | undefined,
  { annotations, internal, uses }: Hints,
): Generator<{ text: string; origin: string }> {
  const used = inUse === undefined ? [] : [{ text: inUse, origin: 'the address in use' }]
  const named = annotations[family]
  const ofNode = internal[family]
  const internals = ofNode === undefined ? [] : [{ text: ofNode, origin: 'the InternalIP of the Node object' }]
  switch (wanted.by) {
    case 'none':
      return
    case 'address':
      yield { text: wanted.address, origin: OPTION[family] }
      return
    case 'kubernetes-internal-ip':
      yield* ofNode === undefined ? used : internals
      return
    case 'auto':
      yield* used
      if (named !== undefined) yield { text: named, origin: `annotation ${ANNOTATION[family]}` }
      if (family === 'ipv4' || uses.ipv6) yield* internals
      return
    default:
      yield* used
  }
}

/** What counts of what is told. */
export function hintsOf({ node, families, ipv6Tunnelled = false }: AddressHints): Hints {
  const named = (family: Family) => {
    const address = parseAddress(node?.metadata.annotations?.[ANNOTATION[family]]?.split('/')[0] ?? '')
    return address !== undefined && familyOf(address) === family ? address : undefined
  }
  return {
    uses: { ipv4: families.includes('ipv4'), ipv6: families.includes('ipv6') },
    ipv6Tunnelled,
    annotations: { ipv4: named('ipv4'), ipv6: named('ipv6') },
    internal: { ipv4: internalIp(node, 'ipv4'), ipv6: internalIp(node, 'ipv6') },
  }
}

/** The first one of a family. */
function internalIp(node: Resource<'Node'> | undefined, family: Family): string | undefined {
  const of = (node?.status?.addresses ?? []).flatMap(({ type, address }) => {
    const parsed = type === 'InternalIP' ? parseAddress(address) : undefined
    return parsed !== undefined && familyOf(parsed) === family ? [parsed] : []
  })
  return of[0]
}
