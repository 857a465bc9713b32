// Policy rules as data: equal in power to Calico's BGPFilter.

/** A rule matches when every condition it names holds; the first matching rule decides. */
export type PolicyRule = {
  action: 'accept' | 'reject'
  /** Prefix conditions; `lengths` bounds the route's own prefix length (inclusive). */
  match?: { operator: 'Equal' | 'NotEqual' | 'In' | 'NotIn'; cidr: string; lengths?: { min?: number; max?: number } }
  /** Only routes that were learned from other speakers. */
  source?: 'RemotePeers'
  peerType?: 'eBGP' | 'iBGP'
  /** Interface the route leads out of. */
  interface?: string
  /** The route carries all of these (`high:low`, or `a:b:c` for large ones). */
  communities?: readonly string[]
  /** The AS path starts with exactly these. */
  asPathPrefix?: readonly number[]
  /** The route's priority (Calico: kernel metric). */
  priority?: number
  /** What an accepting rule does to the route, in order. */
  operations?: readonly (
    | { do: 'add-community'; value: string }
    | { do: 'prepend-as-path'; asns: readonly number[] }
    | { do: 'set-priority'; value: number }
  )[]
}
