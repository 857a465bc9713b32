// Settings of this machine that stop traffic of pods and are not ours to change, as they count for all interfaces or for those of the
// machine. Those of our own devices and of pods are put back (felix/calc/host-sysctls.ts). Pure.
import { broken, type Condition } from '../../api/status.ts'

/** The values of a setting for all interfaces and for one; undefined: this kernel does not have it. */
export type ReadSetting = (interfaceName: string, name: string) => number | undefined

export type SettingsFacts = {
  read: ReadSetting
  /** Interfaces of this node's IPv4 addresses. */
  uplinks: readonly string[]
  /** Tunnel devices for IPv4 that are there and up. */
  tunnels: readonly string[]
}

/** ip-sysctl.rst: 1 is strict (RFC 3704 §2.2). Of all interfaces and one the larger value counts. */
const STRICT = 1
/** Answers no ARP for any address of the machine. */
const IGNORES_ALL = 8

export function settingsConditions({ read, uplinks, tunnels }: SettingsFacts): Condition[] {
  const inEffect = (interfaceName: string, name: string) => {
    const values = [read('all', name), read(interfaceName, name)].filter(value => value !== undefined)
    return values.reduce((most, value) => Math.max(most, value), 0)
  }
  const strict =
    read('all', 'rp_filter') !== STRICT ? [] : tunnels.filter(name => inEffect(name, 'rp_filter') === STRICT)
  const deaf = uplinks.filter(name => inEffect(name, 'arp_ignore') === IGNORES_ALL)
  return [...(strict.length > 0 ? [strictFilter(strict)] : []), ...deaf.map(name => ignoresArp(name, read))]
}

function strictFilter(tunnels: readonly string[]): Condition {
  return broken('SettingsRight', {
    object: { kind: 'Sysctl', name: 'net.ipv4 conf/all/rp_filter' },
    reason: 'ReversePathStrict',
    message: `net.ipv4.conf.all.rp_filter is 1 and counts for ${tunnels.join(' and ')}, where none is set: the kernel drops packets from addresses of other nodes to pods here that come through tunnels, as their answers go by the uplink`,
    remedy: 'sysctl -w net.ipv4.conf.all.rp_filter=2 (or 0), in /etc/sysctl.d too',
  })
}

function ignoresArp(uplink: string, read: ReadSetting): Condition {
  const where = read('all', 'arp_ignore') === IGNORES_ALL ? 'all' : uplink
  return broken('SettingsRight', {
    object: { kind: 'Sysctl', name: `net.ipv4 conf/${where}/arp_ignore` },
    reason: 'ArpIgnored',
    message: `net.ipv4.conf.${where}.arp_ignore is 8: this node answers no ARP on ${uplink}, so that machines there do not find it, nor its pods behind it`,
    // with slashes: names of interfaces may hold dots
    remedy: `sysctl -w net/ipv4/conf/${where}/arp_ignore=0, in /etc/sysctl.d too (of load balancers by LVS 1 and 2 are enough)`,
  })
}
