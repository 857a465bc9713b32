// Who may be a neighbour of a range: no node, no pod, and nobody whom an object names. Pure. These have, or must not have, sessions of their
// own, and never get in by looser rules.
import type { Resource } from '../../api/kinds.ts'
import { broken, type Condition } from '../../api/status.ts'
import { contains, hostPrefix, isLinkLocal, isLoopback } from '../../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'

export type Taken = {
  /** The node that has an address. */
  nodeWith: (address: string) => string | undefined
  /** Whether an object asks for a session with an address. */
  asksFor: (address: string) => boolean
  /** The CIDRs of pods: enabled IPPools, and what this node has of others. */
  pods: readonly string[]
}

/** The CIDRs in which pods may get addresses. A disabled pool names what is outside the cluster. */
export function podRanges(pools: readonly Resource<'IPPool'>[]): string[] {
  return pools.flatMap(({ spec }) => (spec.disabled === true ? [] : [spec.cidr]))
}

/** Ranges, by their BGPPeers, whose every address is of pods. */
export function rangesOfPods(ranges: ReadonlyMap<string, string>, pools: readonly Resource<'IPPool'>[]): Condition[] {
  return [...ranges].flatMap(([name, range]) => {
    const pool = podRanges(pools).find(cidr => contains(cidr, range))
    if (pool === undefined) return []
    const condition = broken('PeersConfigured', {
      reason: 'RangeOfPods',
      message: `the range ${range} lies in the IPPool ${pool}, and pods are no neighbours of a range: nobody can connect`,
      remedy: 'write the prefix of the routers; pods have a BGPPeer with localWorkloadSelector',
      object: { kind: 'BGPPeer', name },
    })
    return [condition]
  })
}

/** Whether an address may be a neighbour's. */
export function newcomers({ nodeWith, asksFor, pods }: Taken): (address: string) => boolean {
  let index: PrefixIndex<true> | undefined
  const isOfPods = (address: string) => {
    if (index === undefined) {
      index = new PrefixIndex()
      for (const cidr of pods) index.set(parsePrefix(cidr)!, true)
    }
    return index.match(parsePrefix(hostPrefix(address))!) === true
  }
  // a prefix over everything holds addresses that no router outside has
  const isFaraway = (address: string) => !isLinkLocal(address) && !isLoopback(address)
  return address => isFaraway(address) && nodeWith(address) === undefined && !asksFor(address) && !isOfPods(address)
}
