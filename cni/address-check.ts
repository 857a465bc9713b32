// Proves of this node that addresses that are given = endpoints = links = routes, both ways, for `margayctl ipam check`. What is under
// way is not a fault: a pod is looked at under its lock, where no ADD or DEL of it runs, and what belongs to no pod is named
// only where it is so before and after all pods were looked at.
import type { ObjectRef } from '../api/status.ts'
import { gatewayHandle } from '../ipam/port.ts'
import { PROBE_INTERFACE } from '../kernel/pod-interface.ts'
import { ROUTE_TABLE } from '../kernel/port/routes.ts'
import { addressBits, familyOf } from '../lib/ip.ts'
import { isUnused } from './collect.ts'
import type { CniDeps } from './deps.ts'
import { type PodEndpoint, whom } from './endpoints.ts'
import { CniError } from './error.ts'
import { formatMismatch, hostFacts, inspect, type Mismatch } from './inspect.ts'
import { INTERFACE_PREFIX } from './interface-name.ts'
import { pluginPods } from './ipam/handle.ts'

export type AddressFinding = {
  object: ObjectRef
  fault: string
  remedy: string
  /** Those that it is about. */
  addresses: readonly string[]
}

export type AddressCheck = {
  findings: readonly AddressFinding[]
  /** How many pods were looked at, and which were not: an ADD or DEL of them takes long, or too many requests wait. */
  looked: number
  unlooked: readonly string[]
}

/** Pods that are looked at at the same time: more would stand in the way of DEL and CHECK. */
const AT_ONCE = 4
/** Until then a look must have begun: who asks waits for ten seconds. */
const BEGIN_MS = 6_000

/** Rejects with `KernelError` where the links or routes of the host cannot be read. */
export async function checkAddresses(deps: CniDeps): Promise<AddressCheck> {
  const before = await ofNoPod(deps)
  const rows = deps.endpoints.all()
  const found: AddressFinding[][] = []
  const unlooked: string[] = []
  let looked = 0
  let isLate = false
  const late = Promise.withResolvers<void>()
  const cancel = deps.clock.after(BEGIN_MS, () => {
    isLate = true
    late.resolve()
  })
  const look = async (row: PodEndpoint): Promise<void> => {
    let begun = false
    const looking = deps.limiter.run(whom(row), async () => {
      const endpoint = deps.endpoints.get(row.network, row)
      if (endpoint === undefined || isLate) return
      begun = true
      looked++
      found.push(await ofPod(endpoint, deps))
    })
    try {
      await Promise.race([looking, late.promise])
      if (begun) await looking
      else if (isLate) unlooked.push(row.id)
    } catch (error) {
      if (!(error instanceof CniError)) throw error
      unlooked.push(row.id)
    }
  }
  const queue = rows.values()
  const work = async (): Promise<void> => {
    for (const row of queue) await look(row)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work)).finally(cancel)
  const known = new Set(before.map(keyOf))
  const stays = (await ofNoPod(deps)).filter(finding => known.has(keyOf(finding)))
  return { findings: [...found.flat(), ...stays], looked, unlooked }
}

function keyOf({ object, fault }: AddressFinding): string {
  return `${object.kind} ${object.name} ${fault}`
}

const RESTART = 'restart the pod; margayctl events and the log of the agent may say what changed it'

/** Under the lock of the pod. */
async function ofPod(endpoint: PodEndpoint, deps: CniDeps): Promise<AddressFinding[]> {
  const { id, addresses, handle, interfaceName, netns, delegate } = endpoint
  const object: ObjectRef = { kind: 'Endpoint', name: id }
  const finding = (fault: string, remedy: string, about: readonly string[] = addresses): AddressFinding => ({
    ...{ object, fault: `${nameOf(endpoint)}: ${fault}`, remedy, addresses: about },
  })
  const held = new Set((deps.ipam.held().get(handle) ?? []).map(({ address }) => address))
  // another plugin holds what it gave
  const unheld = delegate === undefined ? addresses.filter(address => !held.has(address)) : []
  const unused = [...held].filter(address => !addresses.includes(address))
  const { mismatches } = await inspect(deps.kernel, endpoint, { ...hostFacts(deps.hostSide), chain: {} })
  const told = mismatches.filter(each => isAboutAddresses(each) && (netns !== '' || each.side === 'host'))
  return [
    ...unheld.map(address =>
      finding(`has ${address}, which is not given to it: another pod may get it`, 'restart the pod', [address]),
    ),
    ...unused.map(address =>
      finding(`${address} is given to it, and it does not have it`, 'restart the pod', [address]),
    ),
    ...told.map(each => finding(`${formatMismatch(each)} (${interfaceName})`, RESTART)),
  ]
}

/** Not the MTU, the MAC and settings, which CHECK compares and plugins of a chain may change. */
function isAboutAddresses({ kind, object }: Mismatch): boolean {
  if (kind === 'link') return !/ (mtu|mac)$/.test(object)
  return kind === 'netns' || kind === 'address' || kind === 'route'
}

function nameOf({ pod, containerID }: Pick<PodEndpoint, 'pod' | 'containerID'>): string {
  return pod === undefined ? `container ${containerID}` : `pod ${pod.namespace}/${pod.name}`
}

/** What is given, linked or routed and belongs to no pod, and what belongs to two. */
async function ofNoPod(deps: CniDeps): Promise<AddressFinding[]> {
  const { kernel, endpoints, ipam, hostSide } = deps
  const links = (await kernel.links()).filter(({ name }) => name.startsWith(INTERFACE_PREFIX))
  const routes = await kernel.routes({ table: ROUTE_TABLE.main, protocol: hostSide.routeProtocol() })
  const rows = endpoints.all()
  const owners = Map.groupBy(
    rows.flatMap(row => row.addresses.map(address => ({ address, row }))),
    ({ address }) => address,
  )
  const theirs = pluginPods(ipam).flatMap(pod =>
    (ipam.held().get(pod.handle) ?? []).map(({ address, block }) => ({ address, block, pod })),
  )
  const leaked = [...ipam.held()].flatMap(([handle, held]): AddressFinding[] => {
    if (!isUnused(handle, deps)) return []
    const { namespace, pod } = ipam.holder(handle) ?? {}
    const whose = pod === undefined ? '' : ` (pod ${namespace}/${pod})`
    return held.map(({ address }) => ({
      ...{ object: { kind: 'Address', name: address }, addresses: [address] },
      fault: `is given to ${handle}${whose}, and no pod of this node has it`,
      remedy:
        'margayctl ipam release --from-report; it is released too with the next start of the agent or GC of the runtime',
    }))
  })
  const twice = [...owners].flatMap(([address, those]): AddressFinding[] => {
    const pods = [
      ...those.map(({ row }) => row),
      ...theirs.filter(their => their.address === address).map(({ pod }) => pod),
    ]
    if (pods.length < 2) return []
    return [
      {
        ...{ object: { kind: 'Address', name: address }, addresses: [address] },
        fault: `is that of several pods: ${pods.map(nameOf).join(', ')}`,
        remedy: 'restart these pods',
      },
    ]
  })
  // of another plugin's interface nothing here is known but the address, and that its block must have a gateway, but on a LAN
  const stranded = theirs.flatMap(({ address, block, pod }): AddressFinding[] =>
    pod.isOnLan || ipam.held().has(gatewayHandle(pod.network, block))
      ? []
      : [
          {
            ...{ object: { kind: 'Address', name: address }, addresses: [address] },
            fault: `is that of ${nameOf(pod)}, and nobody has the gateway of its block ${block} reserved`,
            remedy: `somebody released it by hand: restart the pods of network ${pod.network} on this node`,
          },
        ],
  )
  const strange = links.flatMap(({ name, kind }): AddressFinding[] =>
    kind !== 'veth' || endpoints.knowsInterface(name)
      ? []
      : [
          {
            ...{ object: { kind: 'Link', name }, addresses: [] },
            fault: 'belongs to no pod that this node knows',
            remedy: `restart the agent, which takes over what runs; if nothing uses it: ip link delete ${name}`,
          },
        ],
  )
  const byIndex = new Map(links.map(link => [link.index, link.name]))
  const astray = routes.flatMap(({ dst, type, ifindex }): AddressFinding[] => {
    const [address = '', length] = dst.split('/')
    const name = byIndex.get(ifindex ?? 0)
    if (
      type !== 'unicast' ||
      name === undefined ||
      name === PROBE_INTERFACE ||
      Number(length) !== addressBits(familyOf(address))
    )
      return []
    if (owners.get(address)?.some(({ row }) => row.interfaceName === name) || hostSide.isFloating(address)) return []
    return [
      {
        ...{ object: { kind: 'Route', name: dst }, addresses: [address] },
        fault: `leads to ${name}, whose pod does not have the address`,
        remedy: 'look at the conditions KernelInSync and KernelProgrammed: the agent takes such a route away',
      },
    ]
  })
  return [...leaked, ...twice, ...stranded, ...strange, ...astray]
}
