// What this node's agent calls its own in the kernel.
import type { NftFamily } from '../kernel/port/nftables.ts'
import { ROUTE_TABLE } from '../kernel/port/routes.ts'
import type { Marks } from '../kernel/reconcile/ownership.ts'
import type { ShaperMarks } from '../kernel/reconcile/shaper.ts'
import type { PodFilterMarks } from './calc/pod-filter.ts'
import { IPIP_DEVICE, VXLAN_DEVICE, VXLAN_DEVICE_V6 } from './calc/tunnels.ts'
import type { PolicyMarks } from './enforcer.ts'
import type { OffloadMarks } from './flow-offload.ts'

/** The name of our tables of nftables, which no other program of this namespace may use. */
const NFT_TABLE = 'margay'
const POLICY_END = '-policy'
const QOS_END = '-qos'
const OFFLOAD_END = '-offload'
const FLOATING_END = '-floating'
const SERVICES_END = '-services'
const TRACE_END = '-trace'
/** What the names of links begin with over which the packets of pods are led: as long as the prefix of pods' interfaces. */
const SHAPED_PREFIX = 'mgbw'

/**
 * `routeProtocol`: the rtm_protocol of the routes to blocks, own and learned, which no other program of this namespace may
 * write. `interfacePrefix`: what the names of the pods' interfaces begin with.
 */
export function nodeMarks({
  routeProtocol,
  interfacePrefix,
}: {
  routeProtocol: number
  interfacePrefix: string
}): Marks {
  return {
    table: ROUTE_TABLE.main,
    protocol: routeProtocol,
    interfacePrefix,
    vxlanDevices: [VXLAN_DEVICE, VXLAN_DEVICE_V6],
    ipipDevice: IPIP_DEVICE,
    nftTable: NFT_TABLE,
  }
}

/** Whether a table of nftables is one of ours. */
export function isOwnTable({ nftTable }: Pick<Marks, 'nftTable'>, name: string): boolean {
  return nftTable !== undefined && (name === nftTable || name.startsWith(`${nftTable}-`))
}

/** Which of our tables this is, by its name. */
export function tableRole(name: string): 'policy' | 'qos' | 'floating' | 'services' | undefined {
  if (name.endsWith(QOS_END)) return 'qos'
  if (name.endsWith(FLOATING_END)) return 'floating'
  if (name.endsWith(SERVICES_END)) return 'services'
  return name.endsWith(POLICY_END) ? 'policy' : undefined
}

/** The name of the table for what pods ask of their packets; undefined where the marks say of none. */
export function qosTableName({ nftTable }: Marks): string | undefined {
  return nftTable === undefined ? undefined : `${nftTable}${QOS_END}`
}

/** The name of the tables for floating addresses; undefined where the marks say of none. */
export function floatingTableName({ nftTable }: Marks): string | undefined {
  return nftTable === undefined ? undefined : `${nftTable}${FLOATING_END}`
}

/** The name of the table for addresses of Services that nobody has; undefined where the marks say of none. */
export function servicesTableName({ nftTable }: Marks): string | undefined {
  return nftTable === undefined ? undefined : `${nftTable}${SERVICES_END}`
}

/** The name of the table that follows a probe, while there is one; undefined where the marks say of none. */
export function traceTableName({ nftTable }: Marks): string | undefined {
  return nftTable === undefined ? undefined : `${nftTable}${TRACE_END}`
}

/** What limits of bandwidth are known by; undefined where the marks say of no pods. */
export function bandwidthMarks({ interfacePrefix }: Marks): ShaperMarks | undefined {
  return interfacePrefix === undefined ? undefined : { podPrefix: interfacePrefix, linkPrefix: SHAPED_PREFIX }
}

/** What names the table of the flowtable; undefined where the marks say of none. */
export function offloadMarks({
  nftTable,
  interfacePrefix,
  ipipDevice,
  vxlanDevices = [],
}: Marks): OffloadMarks | undefined {
  if (nftTable === undefined || interfacePrefix === undefined) return undefined
  const tunnels = [...(ipipDevice === undefined ? [] : [ipipDevice]), ...vxlanDevices]
  return { table: `${nftTable}${OFFLOAD_END}`, podPrefix: interfacePrefix, tunnels }
}

/** What names the table of policy; undefined where the marks say of none. */
export function policyMarks({ nftTable, interfacePrefix }: Marks): PolicyMarks | undefined {
  if (nftTable === undefined || interfacePrefix === undefined) return undefined
  return { table: `${nftTable}${POLICY_END}`, interfacePrefix }
}

/** What names our part of nftables; undefined where the marks say of none. */
export function podFilterMarks({ nftTable, interfacePrefix }: Marks): PodFilterMarks | undefined {
  return nftTable === undefined || interfacePrefix === undefined ? undefined : { table: nftTable, interfacePrefix }
}

/** Families in which an agent may have a table. */
const FAMILIES = ['inet', 'arp', 'ip', 'ip6'] as const satisfies readonly NftFamily[]

/** Our tables of nftables, there or not; what pods' packets are filtered by last. */
export function ownTables(marks: Marks): { family: NftFamily; name: string }[] {
  const beside = [
    policyMarks(marks)?.table,
    qosTableName(marks),
    offloadMarks(marks)?.table,
    servicesTableName(marks),
    traceTableName(marks),
  ].map(name => ({ family: 'inet', name }) as const)
  const floating = (['ip', 'ip6'] as const).map(family => ({ family, name: floatingTableName(marks) }))
  const filters = FAMILIES.map(family => ({ family, name: marks.nftTable }))
  return [...beside, ...floating, ...filters].flatMap(({ family, name }) =>
    name === undefined ? [] : [{ family, name }],
  )
}
