// What a runtime may fill in for one container in `runtimeConfig`: the well-known capabilities (CONVENTIONS of CNI 1.1.0).

/** `declared`: a configuration of ours has it, so that it is refused. */
type Capability = { does: string } | { instead: string; declared?: true }

/** One row per well-known capability: what it does here, or what must be in its place. */
export const CAPABILITIES = {
  ips: { does: 'the addresses of the interface, at most one of each family; a prefix length is not used' },
  mac: { does: 'the MAC of the interface in the container' },
  dns: { does: 'goes into the result, before `dns` of the configuration' },
  // undeclared it would be lost without a word
  ipRanges: {
    declared: true,
    instead: 'absent: addresses come from IPPools; make one, and name it in ipam.ipv4_pools or ipv6_pools',
  },
  portMappings: {
    instead: 'absent here: the plugin portmap does that, behind ours, and must have the capability in its place',
  },
  bandwidth: {
    instead: 'absent here: the plugin bandwidth does that, behind ours, and must have the capability in its place',
  },
  infinibandGUID: { instead: 'absent: the interface is one end of a veth pair' },
  deviceID: { instead: 'absent: the interface is one end of a veth pair, and of no device' },
  aliases: { instead: 'absent: names of pods are those of the cluster’s DNS' },
} as const satisfies Readonly<Record<string, Capability>>

export type CapabilityName = keyof typeof CAPABILITIES

/** Those of our configuration: a runtime hands over what is declared. */
export function ownCapabilities(): Record<string, true> {
  const own = Object.entries(CAPABILITIES).filter(([, row]) => 'does' in row || 'declared' in row)
  return Object.fromEntries(own.map(([name]) => [name, true]))
}
