// The configuration objects named `default`, with Calico's defaults where there is none, and what `node.NAME` says for one node
// (`OF_ONE_NODE` of api/unsupported.ts). Pure.
import { FELIX_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { NODE_METRICS_PORT } from '../../api/metrics.ts'
import { hasPorts, parsePortRange, protocolNumber } from '../../api/ports.ts'
import { ineffectiveFields } from '../../api/unsupported.ts'
import { validate } from '../../api/validate.ts'
import { BGP_PORT } from '../../bgp/config.ts'
import type { Settings } from '../../felix/input.ts'
import type { HostSettings, LogLimit, OpenPort } from '../../felix/policy/model.ts'
import type { MetricsAddress } from '../../lib/metrics-server.ts'
import { askedMultipath } from './multipath.ts'
import { allRanges, serviceRanges } from './services.ts'

export type BgpSettings = Resource<'BGPConfiguration'>['spec'] & { listenPort: number }

/** The cluster's BGP settings; with `own`, an object for one node, those of that node. */
export function bgpSettings(
  object: Resource<'BGPConfiguration'> | undefined,
  own?: Resource<'BGPConfiguration'>,
): BgpSettings {
  const { spec } = object ?? DEFAULT_BGP
  const {
    listenPort = spec.listenPort ?? BGP_PORT,
    bindMode = spec.bindMode,
    communities,
    prefixAdvertisements,
  } = own?.spec ?? {}
  // names of communities are those of the object that uses them
  const advertised = prefixAdvertisements === undefined ? {} : { communities, prefixAdvertisements }
  return { ...spec, ...advertised, listenPort, ...(bindMode !== undefined && { bindMode }) }
}

/**
 * What felix takes of its configuration; `own` is the object for this node. `bgp` are all BGPConfigurations, also those of
 * other nodes: felix knows the ports on which speakers listen.
 */
export function felixSettings(
  object: Resource<'FelixConfiguration'> | undefined,
  own?: Resource<'FelixConfiguration'>,
  bgp: readonly Resource<'BGPConfiguration'>[] = [],
): Settings['config'] {
  const { spec } = object ?? DEFAULT_FELIX
  const mine = own?.spec
  const ports = parsePortRange(mine?.natPortRange ?? spec.natPortRange ?? 0)
  const address = mine?.natOutgoingAddress ?? spec.natOutgoingAddress ?? ''
  const exclusions = mine?.natOutgoingExclusions ?? spec.natOutgoingExclusions
  const { resilient } = askedMultipath(bgp.find(({ metadata }) => metadata.name === 'default')?.metadata)
  const listenPorts = bgp.flatMap(each => each.spec.listenPort ?? [])
  return {
    vxlanPort: spec.vxlanPort,
    hosts: hostSettings(mine, spec),
    vxlanVni: spec.vxlanVNI,
    ipipMtu: mine?.ipipMTU ?? spec.ipipMTU ?? 0,
    vxlanMtu: mine?.vxlanMTU ?? spec.vxlanMTU ?? 0,
    vxlanOverIpv6Mtu: mine?.vxlanMTUV6 ?? spec.vxlanMTUV6 ?? 0,
    logLimit: logLimit(spec),
    ...(keepsConnections(object, own) && { keepConnections: true as const }),
    ...serviceLoops(spec, bgp),
    ...(resilient !== undefined && { resilient }),
    ...(spec.nftablesFlowTableOffload === 'All' && {
      offload: { devicePattern: spec.nftablesFlowTableDataIfacePattern ?? '' },
    }),
    ...((mine?.workloadSourceSpoofing ?? spec.workloadSourceSpoofing)?.toLowerCase() === 'any' && {
      allowSources: true as const,
    }),
    workloadRouteProtocol: mine?.deviceRouteProtocol ?? spec.deviceRouteProtocol ?? ROUTE_PROTOCOL_BOOT,
    nat: {
      keepAddressTo: exclusions === 'IPPoolsAndHostIPs' ? 'pools and nodes' : 'pools',
      // 0 is no port: a range from there begins with the next one
      ...(ports !== undefined && ports.last > 0 && { ports: { ...ports, first: Math.max(1, ports.first) } }),
      ...(address !== '' && { address }),
      bgpPorts: [...new Set([BGP_PORT, ...listenPorts])].sort((a, b) => a - b),
    },
  }
}

/** Where Services have addresses the object of the cluster says alone. */
function serviceLoops(
  { serviceLoopPrevention = '' }: FelixSpec,
  bgp: readonly Resource<'BGPConfiguration'>[],
): Pick<Settings['config'], 'serviceLoops'> {
  const action = serviceLoopPrevention.toLowerCase()
  const cluster = bgp.find(({ metadata }) => metadata.name === 'default')
  const ranges = cluster === undefined ? [] : allRanges(serviceRanges(cluster.spec, []))
  if (ranges.length === 0 || action === 'disabled') return {}
  return { serviceLoops: { action: action === 'reject' ? 'reject' : 'drop', ranges } }
}

/** Whether established connections that policies deny now stay, as in Calico. */
function keepsConnections(...objects: readonly (Resource<'FelixConfiguration'> | undefined)[]): boolean {
  const said = objects.map(object => object?.metadata.annotations?.[FELIX_ANNOTATION.establishedConnections])
  return said.findLast(text => text !== undefined) === 'Keep'
}

/** `RATE/PER`, as Calico has it; with a rate the burst is 5 where nobody says another one, and 0 says none. */
function logLimit({
  logActionRateLimit,
  logActionRateLimitBurst = 0,
}: Resource<'FelixConfiguration'>['spec']): LogLimit | undefined {
  const [, rate, per] = /^([1-9]\d{0,3})\/(second|minute|hour|day)$/.exec(logActionRateLimit ?? '') ?? []
  if (rate === undefined) return undefined
  const burst = logActionRateLimitBurst === 0 ? USUAL_BURST : logActionRateLimitBurst
  return { rate: Number(rate), per: per as LogLimit['per'], burst }
}

/** What the kernel's limit takes where nobody says. */
const USUAL_BURST = 5

type FelixSpec = Resource<'FelixConfiguration'>['spec']

/**
 * The ports of hosts that stay open, by default Calico's, and what becomes of packets of pods to their host. Calico's program
 * drops these by default and its manifests say Accept, without which a pod reaches no API server on its own node: so it is here.
 */
function hostSettings(mine: Partial<FelixSpec> | undefined, spec: FelixSpec): HostSettings {
  const {
    failsafeInboundHostPorts: inbound = spec.failsafeInboundHostPorts,
    failsafeOutboundHostPorts: outbound = spec.failsafeOutboundHostPorts,
    defaultEndpointToHostAction: action = spec.defaultEndpointToHostAction ?? 'Accept',
  } = mine ?? {}
  return {
    inbound: inbound === undefined ? OPEN_INBOUND : openPorts(inbound),
    outbound: outbound === undefined ? OPEN_OUTBOUND : openPorts(outbound),
    podsToHost: action.toLowerCase() === 'drop' ? 'drop' : 'accept',
  }
}

/** Port 0 and a protocol without ports stand for no port. */
function openPorts(ports: NonNullable<FelixSpec['failsafeInboundHostPorts']>): OpenPort[] {
  return ports.flatMap(({ protocol: word = 'TCP', port, net = '' }) => {
    const protocol = protocolNumber(word)
    if (protocol === undefined || !hasPorts(protocol) || port === 0) return []
    return [{ protocol, port, ...(net !== '' && { net }) }]
  })
}

const TCP = 6
const UDP = 17
const tcp = (...ports: number[]): OpenPort[] => ports.map(port => ({ protocol: TCP, port }))
const udp = (...ports: number[]): OpenPort[] => ports.map(port => ({ protocol: UDP, port }))
/** BGP, etcd, Typha and API servers. */
const OF_CLUSTER = [179, 2379, 2380, 5473, 6443, 6666, 6667]
/** With SSH, and DHCP to its client; with DNS, and DHCP to its server. */
const OPEN_INBOUND = [...tcp(22, ...OF_CLUSTER), ...udp(68)]
const OPEN_OUTBOUND = [...tcp(...OF_CLUSTER), ...udp(53, 67)]

/** Where the metrics are served, if anywhere, and whether with those of the process. `own` is the object for this node. */
export function metricsSettings(
  object: Resource<'FelixConfiguration'> | undefined,
  own?: Resource<'FelixConfiguration'>,
): { at?: MetricsAddress; ofProcess: boolean } {
  const { spec } = object ?? DEFAULT_FELIX
  const mine = own?.spec
  const isEnabled = mine?.prometheusMetricsEnabled ?? spec.prometheusMetricsEnabled ?? false
  const host = mine?.prometheusMetricsHost ?? spec.prometheusMetricsHost ?? ''
  const port = mine?.prometheusMetricsPort ?? spec.prometheusMetricsPort ?? NODE_METRICS_PORT
  const ofProcess = spec.prometheusProcessMetricsEnabled ?? true
  const isOpen = isEnabled && port !== 0 && !isClosed(object) && !isClosed(own)
  return isOpen ? { at: { ...(host !== '' && { host }), port }, ofProcess } : { ofProcess }
}

/** Whoever says how the metrics are to be encrypted must not get them as plain text. */
function isClosed(object: Resource<'FelixConfiguration'> | undefined): boolean {
  const fields = object === undefined ? [] : ineffectiveFields('FelixConfiguration', object)
  return fields.some(({ field, effect }) => effect === 'closed' && field.startsWith('prometheus'))
}

/** RTPROT_BOOT: what `ip route` writes by itself. */
const ROUTE_PROTOCOL_BOOT = 3

const DEFAULT_BGP = defaults('BGPConfiguration')
const DEFAULT_FELIX = defaults('FelixConfiguration')

function defaults<K extends 'BGPConfiguration' | 'FelixConfiguration'>(kind: K): Resource<K> {
  const result = validate(kind, { metadata: { name: 'default' }, spec: {} })
  if (Array.isArray(result)) throw new Error(`${kind} has no valid default: ${JSON.stringify(result)}`)
  return result as Resource<K>
}
