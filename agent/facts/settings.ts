// The settings of the kernel that a packet which crosses this node depends on, as they read now, and as this node wants them where it
// has a word in them.
import type { SettingFact } from '../../api/explain.ts'
import { readOrAbsent, type SysctlFamily } from '../../kernel/port/sysctls.ts'
import { sysctlKey } from '../../kernel/reconcile/objects.ts'
import type { Crossing } from './crossing.ts'
import type { Host } from './host.ts'

/** Of the interface that the packet comes in by. */
const ON_ARRIVAL: Readonly<Record<SysctlFamily, readonly string[]>> = {
  ipv4: ['forwarding', 'rp_filter', 'accept_local', 'route_localnet'],
  ipv6: ['forwarding', 'disable_ipv6'],
}
/** Of the interface of a pod, which asks its host for every address. */
const OF_PODS: Readonly<Record<SysctlFamily, readonly string[]>> = { ipv4: ['proxy_arp'], ipv6: ['proxy_ndp'] }
const OF_HOST: Readonly<Record<SysctlFamily, readonly (readonly string[])[]>> = {
  ipv4: [['ip_forward'], ['conf', 'all', 'rp_filter']],
  ipv6: [
    ['conf', 'all', 'forwarding'],
    ['conf', 'all', 'disable_ipv6'],
  ],
}
const ON_LEAVING: Readonly<Record<SysctlFamily, readonly string[]>> = { ipv4: [], ipv6: ['disable_ipv6'] }

/** What this kernel has not is left out. */
export function settingsOf(
  { kernel, view }: Host,
  { packet, entersBy, leavesBy }: Pick<Crossing, 'packet' | 'entersBy' | 'leavesBy'>,
): SettingFact[] {
  const { family } = packet
  const of = (name: string | undefined, settings: readonly string[]) =>
    name === undefined ? [] : settings.map(setting => ['conf', name, setting])
  const pods = [entersBy?.name, leavesBy].filter(name => name !== undefined && view.ownsInterface(name))
  const paths: (readonly string[])[] = [
    ...OF_HOST[family],
    ...of(entersBy?.name, ON_ARRIVAL[family]),
    ...pods.flatMap(name => of(name, OF_PODS[family])),
    ...of(leavesBy, ON_LEAVING[family]),
  ]
  return paths.flatMap(path => {
    const is = readOrAbsent(kernel, family, path)
    if (is === undefined) return []
    const wanted = view.wanted.sysctl.get(sysctlKey({ family, path }))
    // what is as good is left as it is
    const should = wanted && (wanted.orValue === is ? is : wanted.value)
    return [{ name: ['net', family, ...path].join('.'), is, ...(should !== undefined && { wanted: should }) }]
  })
}
