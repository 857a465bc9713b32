// Whether the kernel lets pods send under sources that are not their addresses, where the pod filter does: its own filter of the
// reverse path (RFC 3704) counts for every interface once it is on for all of them. Loose is no better than strict here, since
// interfaces of pods have no IPv4 address (Linux, fib_validate_source). What is for all interfaces of a host is not ours to change.
import { broken, type Condition } from '../api/status.ts'
import { readOrAbsent, type SysctlPort } from '../kernel/port/sysctls.ts'

/** Most interfaces that the condition names. */
const SHOWN = 5

/** `interfaces`: those of pods that may send under other IPv4 sources. */
export function reversePathConditions(
  kernel: Pick<SysctlPort, 'readSysctl'>,
  interfaces: ReadonlySet<string>,
): Condition[] {
  if (interfaces.size === 0) return []
  const all = readOrAbsent(kernel, 'ipv4', ['conf', 'all', 'rp_filter']) ?? '0'
  if (all === '0') return []
  const names = [...interfaces].sort()
  const shown = names.slice(0, SHOWN).join(', ') + (names.length > SHOWN ? ', …' : '')
  return [
    broken('SourcesAllowed', {
      object: { kind: 'Sysctl', name: 'net.ipv4 conf/all/rp_filter' },
      reason: 'ReversePathFiltered',
      message: `net.ipv4.conf.all.rp_filter is ${all} and counts for every interface: the kernel drops IPv4 packets from ${shown} under all sources but the addresses of the pod`,
      remedy:
        'sysctl -w net.ipv4.conf.all.rp_filter=0, in /etc/sysctl.d too; interfaces that need the filter have it by net.ipv4.conf.NAME.rp_filter',
    }),
  ]
}
