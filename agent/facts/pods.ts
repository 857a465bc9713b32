// The pods of this node that have an address of a question, each with what CNI CHECK finds of both its sides.
import type { PodFacts } from '../../api/explain.ts'
import type { CniDeps } from '../../cni/deps.ts'
import type { PodEndpoint } from '../../cni/endpoints.ts'
import { hostFacts, inspect, inspectFilter, POD_LIMIT } from '../../cni/inspect.ts'
import type { Gathering } from './gathering.ts'

export type PodDeps = {
  kernel: CniDeps['kernel']
  endpoints: Pick<CniDeps['endpoints'], 'all' | 'live' | 'isExpected'>
  hostSide: Pick<CniDeps['hostSide'], 'routeProtocol' | 'podsFiltered' | 'filterDifferences'>
}

/** Pods that are looked at: of more than these with one address most are left over. */
const MOST_PODS = 4

/** Those with one of the addresses, the live ones first. */
export function podsWith({ endpoints }: Pick<PodDeps, 'endpoints'>, addresses: readonly string[]): PodEndpoint[] {
  const live = new Set(endpoints.live().map(({ id }) => id))
  return endpoints
    .all()
    .filter(each => each.addresses.some(address => addresses.includes(address)))
    .sort((a, b) => Number(live.has(b.id)) - Number(live.has(a.id)))
    .slice(0, MOST_PODS)
}

export function podFacts(deps: PodDeps, pods: readonly PodEndpoint[], gathering: Gathering): Promise<PodFacts[]> {
  const live = new Set(deps.endpoints.live().map(({ id }) => id))
  return Promise.all(pods.map(pod => factsOf(deps, pod, live.has(pod.id), gathering)))
}

async function factsOf(deps: PodDeps, pod: PodEndpoint, isLive: boolean, gathering: Gathering): Promise<PodFacts> {
  const { id, interfaceName, addresses } = pod
  const state = deps.endpoints.isExpected(interfaceName) ? 'expected' : isLive ? 'live' : 'leaving'
  return {
    ...{ endpoint: id, ...(pod.pod && { pod: { namespace: pod.pod.namespace, name: pod.pod.name } }) },
    ...{ interface: interfaceName, addresses: [...addresses], state },
    mismatches: await gathering.fact('kernel', () => mismatchesOf(deps, pod)),
    mtu: await gathering.fact('kernel', () => mtuOf(deps, pod)),
  }
}

async function mismatchesOf({ kernel, hostSide }: PodDeps, pod: PodEndpoint) {
  const { mismatches } = await inspect(kernel, pod, hostFacts(hostSide))
  return [...mismatches, ...(await inspectFilter(hostSide, pod.interfaceName))]
}

async function mtuOf({ kernel }: PodDeps, { netns, interfaceName, ifname, mtu: wanted }: PodEndpoint) {
  const host = await kernel.link(interfaceName)
  using inside = kernel.inside(netns, POD_LIMIT)
  const pod = await inside.link(ifname)
  return { ...(pod && { pod: pod.mtu }), ...(host && { host: host.mtu }), wanted }
}
