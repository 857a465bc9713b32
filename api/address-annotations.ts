// What a Pod asks of its interface before it is made, by Calico's annotations: a row each. ADD reads them
// (`cni/pod-annotations.ts`), caches keep them, and docs/cni.md is written from the rows.

/** `namespace`: one at the Namespace counts for Pods without it. */
type Row = { annotation: `cni.projectcalico.org/${string}`; is: string; means: string; namespace?: true }

const POOLS = { is: '`["NAME or CIDR of an IPPool", …]`', namespace: true } as const

const ROWS = {
  ipv4Pools: {
    ...{ annotation: 'cni.projectcalico.org/ipv4pools', ...POOLS },
    means: 'the pools of the IPv4 address, in this order, before `ipam.ipv4_pools`; `[]`: any',
  },
  ipv6Pools: { annotation: 'cni.projectcalico.org/ipv6pools', ...POOLS, means: 'the same for IPv6' },
  ipFamilies: {
    ...{ annotation: 'cni.projectcalico.org/ipFamilies', is: '`["IPv4"]`, `["IPv6"]` or both', namespace: true },
    means: 'an address of each, or ADD is refused; before `ipam.assign_ipv4` and `assign_ipv6`',
  },
  ipAddrs: {
    ...{ annotation: 'cni.projectcalico.org/ipAddrs', is: '`["ADDRESS"]`, or one of each family' },
    means:
      'these addresses of enabled pools and no others, all of them or ADD is refused, before families and pools of any annotation and before `ips` and CNI_ARGS',
  },
  ipAddrsNoIpam: {
    ...{ annotation: 'cni.projectcalico.org/ipAddrsNoIpam', is: 'absent' },
    means: 'refused: addresses come from IPPools; ipAddrs names one',
  },
  hwAddr: {
    ...{ annotation: 'cni.projectcalico.org/hwAddr', is: 'unicast MAC' },
    means: 'of the interface in the container, before the capability `mac` and CNI_ARGS',
  },
} as const satisfies Readonly<Record<string, Row>>

export type AddressAnnotation = keyof typeof ROWS

export const ADDRESS_ANNOTATIONS: Readonly<Record<AddressAnnotation, Row>> = ROWS
