// ADD creates an interface that works, or leaves nothing behind.
import type { Assigned } from '../../ipam/port.ts'
import { GATEWAY, HOST_MAC, podSide } from '../../kernel/pod-interface.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { addressBits, familyOf } from '../../lib/ip.ts'
import { endpointOf } from '../adopt.ts'
import { attributesOf, delegatedTo, type Place, takeFor } from '../delegate-work.ts'
import type { CniDeps, HostKernel } from '../deps.ts'
import { endpointId, type PodEndpoint } from '../endpoints.ts'
import { CNI_CODE, CniError, GIVE_SYS_ADMIN } from '../error.ts'
import { formatMismatch, hostFacts, inspect, inspectPodSide, type Mismatch, POD_LIMIT } from '../inspect.ts'
import { aliasOf, handleOf, hostInterfaceNames } from '../interface-name.ts'
import { inodeOf, isSameNetns } from '../netns.ts'
import { confOfPod } from '../pod-conf.ts'
import { createPair, randomMac, writePodSide } from '../pod-side.ts'
import type { AddRequest, NetConf } from '../request.ts'
import type { CniResult } from '../result.ts'
import { releaseAddresses, takeDown } from '../take-down.ts'
import { assignOrWait, type Caller, inTurn } from '../turn.ts'

/** How long the kernel may take to make an IPv6 address its own, and how often it is asked. */
const SETTLE_MS = 3_000
const SETTLE_INTERVAL_MS = 5
/** How long the host side may take; it waits for one pass of felix at most two times. */
const HOST_SIDE_MS = 10_000

export function addInTurn(request: AddRequest, deps: CniDeps, caller: Caller): Promise<CniResult> {
  const { name } = request.conf
  const turn = { id: endpointId(name, request), whom: deps.endpoints.whomOf(name, request) }
  return inTurn(turn, deps, caller, () => add(request, deps))
}

/**
 * Called again for the same container and interface it gives the same result while everything is there; what is incomplete
 * is created again with the same address. Rejects with `CniError`, `KernelError` or what `inTurn` waits for, and then nothing is
 * left behind.
 */
async function add(request: AddRequest, deps: CniDeps): Promise<CniResult> {
  const { kernel, endpoints } = deps
  const notReady = deps.ready()
  if (notReady !== undefined) throw new CniError(CNI_CODE.tryLater, notReady.msg, notReady.details)
  const { netns, sandbox, containerID, ifname } = request
  if (!request.hostNetns) refuseOwnNetns(request)

  const before = endpointOf(request, deps)
  if (before !== undefined && isSameNetns(before.netns, netns)) {
    const { hostMac, mismatches } = await inspect(kernel, before, hostFacts(deps.hostSide))
    if (mismatches.length === 0) {
      // an agent that was killed may have made all of it but the rules of the pod's policies, without which nothing passes
      await hostSideApplied(before, deps, 'it is as an earlier ADD left it, until DEL')
      return resultOf(before, hostMac, request)
    }
    deps.log.warn(
      { endpoint: before.id, mismatches },
      'ADD was called again and the interface is not as it should be: it is created again',
    )
  }
  const handle = handleOf(request.conf.name, request)
  const conf = await confOfPod(request, handle, deps)
  const delegated = delegatedTo(request, before, endpoints)
  using pod = enter(kernel, request)
  const keeps = before?.handle === handle && before.delegate?.type === conf.delegate
  if (before !== undefined) await takeDown(before, deps, keeps ? 'keep addresses' : undefined)
  if ((await pod.link(ifname)) !== undefined)
    throw new CniError(
      CNI_CODE.environment,
      `CNI_IFNAME ${ifname} is already there in ${sandbox}`,
      'the interface was not made by this network: choose another name, or remove it',
    )

  await using undo = new AsyncDisposableStack()
  using _ = endpoints.expect(handle)
  undo.defer(async () => {
    await releaseAddresses(handle, deps)
  })
  const routeMetric = await metricBeside(pod)
  const interfaceName = await freeInterfaceName(request, deps)
  using __ = endpoints.expect(interfaceName)
  const place = {
    id: endpointId(conf.name, request),
    network: conf.name,
    containerID,
    ifname,
    interfaceName,
    netns,
    ...(sandbox !== netns && { sandbox }),
    mac: conf.mac ?? randomMac(),
    mtu: conf.mtu ?? deps.mtu(),
    ...(conf.mtu === undefined && { followsNodeMtu: true as const }),
    ...(routeMetric !== undefined && { routeMetric }),
    handle,
    pod: request.pod,
    createdMs: deps.clock.wallMs(),
  }
  const endpoint = delegated === undefined ? assignFor(place, conf, deps) : await takeFor(place, delegated, conf, deps)
  undo.defer(async () => endpoints.delete(endpoint.id))

  await forgetOldFlows(endpoint, deps)
  const host = await createPair(kernel, endpoint)
  undo.defer(() => {
    endpoints.markLeaving(endpoint.id)
    return kernel.deleteLink(endpoint.interfaceName)
  })
  const alias = aliasOf(handle)
  // where the journal is lost, this says whose the interface is
  if (alias !== undefined) await kernel.setLink(host.index, { alias })
  const hostMac = host.mac ?? HOST_MAC
  endpoints.publish(endpoint)
  // both have ended before anything is undone
  const sides = await Promise.allSettled([
    hostSideApplied(endpoint, deps),
    writePodSide(pod, podSide(endpoint, hostMac), deps.clock),
  ])
  for (const side of sides) if (side.status === 'rejected') throw side.reason
  const mismatches = await podMismatches(pod, endpoint, hostMac, deps)
  if (mismatches.length > 0)
    throw new CniError(
      CNI_CODE.kernel,
      `the kernel does not have what was set: ${mismatches.map(formatMismatch).join('; ')}`,
      "something else on this node changes pod interfaces; the agent's log has more",
    )
  undo.move() // committed: nothing left to undo
  return resultOf(endpoint, hostMac, request)
}

/** With addresses of ours, on disk with them. Throws as `assignOrWait`. */
function assignFor(place: Place, { families, ifServed, pools, addresses }: NetConf, deps: CniDeps): PodEndpoint {
  const withAddresses = (assigned: readonly Assigned[]): PodEndpoint => ({
    ...place,
    addresses: assigned.map(({ address }) => address),
  })
  const assigned = assignOrWait(
    deps,
    {
      ...{ handle: place.handle, attributes: attributesOf(place, deps) },
      ...{ families, ifServed, pools, addresses, use: 'Workload' },
    },
    given => deps.endpoints.persist(withAddresses(given)),
  )
  return withAddresses(assigned)
}

/** Before the interface is there, so that none of the pod's own is among them. Rejects with `CniError`. */
export async function forgetOldFlows(
  { addresses }: Pick<PodEndpoint, 'addresses'>,
  { oldFlows }: CniDeps,
): Promise<void> {
  await oldFlows.prepare(addresses).catch((error: unknown) => {
    if (!(error instanceof KernelError)) throw error
    throw new CniError(
      CNI_CODE.tryLater,
      `connections of an earlier pod at ${addresses.join(', ')} cannot be deleted: ${error.message}`,
      'the next attempt gets another address or finds them gone; conntrack -L shows them',
      { cause: error },
    )
  })
}

/** Behind every default route. */
const LATER_METRIC = 1024

/**
 * The metric for the routes of an interface that is not the pod's first, which no other one has: the routes of the others stay
 * what they are, whichever of them comes and goes. Undefined for the first.
 */
async function metricBeside(pod: Kernel): Promise<number | undefined> {
  const routes = await pod.routes({ table: ROUTE_TABLE.main })
  const others = routes.filter(({ dst }) => dst === '0.0.0.0/0' || dst === '::/0')
  if (others.length === 0) return undefined
  return others.reduce((most, { metric = 0 }) => Math.max(most, metric), LATER_METRIC) + 1
}

/**
 * Waits until the host side is in the kernel. Rejects with `CniError` that has the cause, or when it takes too long; `left` says
 * what becomes of the interface then.
 */
async function hostSideApplied(
  endpoint: PodEndpoint,
  { hostSide, clock }: CniDeps,
  left = 'nothing was left behind',
): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const cancel = clock.after(HOST_SIDE_MS, () =>
    reject(
      new CniError(
        CNI_CODE.tryLater,
        `the host side of ${endpoint.interfaceName} was not written within ${HOST_SIDE_MS / 1000} s`,
        "the node is overloaded, or the kernel cannot be read: the agent's log says which",
      ),
    ),
  )
  // any error: the port says that its message names object and cause
  const applied = hostSide.applied(endpoint.id).catch((error: Error) => {
    throw new CniError(
      CNI_CODE.kernel,
      `the host side of ${endpoint.interfaceName} is refused: ${error.message}`,
      `${left}; the conditions of margayctl node status and the agent's log have more`,
      { cause: error },
    )
  })
  try {
    await Promise.race([applied, late])
  } finally {
    cancel()
  }
}

/** What is still wrong in the pod after the kernel had its time for IPv6 addresses. */
async function podMismatches(
  pod: Kernel,
  endpoint: PodEndpoint,
  hostMac: string,
  { clock }: CniDeps,
): Promise<readonly Mismatch[]> {
  const deadline = clock.monotonicMs() + SETTLE_MS
  for (;;) {
    const mismatches = await inspectPodSide(pod, endpoint, hostMac)
    if (mismatches.length === 0 || clock.monotonicMs() >= deadline) return mismatches
    await new Promise<void>(resolve => clock.after(SETTLE_INTERVAL_MS, resolve))
  }
}

/**
 * The name of the host side, free: what had it before is deleted, an older sandbox of the same pod or a leftover. Names are
 * hashes, so two pods can have one, by chance or because somebody looked for such a name: the later one gets another.
 */
async function freeInterfaceName(request: AddRequest, deps: CniDeps): Promise<string> {
  const { conf, pod } = request
  const name = hostInterfaceNames(conf.name, request, pod).find(each => {
    const holder = deps.endpoints.byInterface(each)
    return holder === undefined || isOlderSandbox(holder, request)
  })
  if (name === undefined)
    throw new CniError(
      CNI_CODE.kernel,
      'other pods have every interface name that this one could have',
      'give the container another id, or the pod another name',
    )
  const older = deps.endpoints.byInterface(name)
  if (older !== undefined) {
    deps.log.info({ endpoint: older.id, by: request.containerID }, 'an older sandbox of the pod is replaced')
    await takeDown(older, deps)
  }
  await deps.kernel.deleteLink(name)
  return name
}

/** Of an adopted interface nobody has said yet whose it is: the pod that its name stands for is the likely one. */
function isOlderSandbox({ network, containerID, pod: its }: PodEndpoint, { pod, ...request }: AddRequest): boolean {
  if (containerID === request.containerID) return false
  return network === '' || (its !== undefined && its.namespace === pod?.namespace && its.name === pod.name)
}

/** What passes by itself: no descriptor, no memory. */
const EXHAUSTED: readonly number[] = [ERRNO.EMFILE, ERRNO.ENFILE, ERRNO.ENOMEM]

function enter(kernel: HostKernel, { netns, sandbox }: AddRequest): Kernel {
  try {
    return kernel.inside(netns, POD_LIMIT)
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    if (EXHAUSTED.includes(error.errno))
      throw new CniError(
        CNI_CODE.tryLater,
        `cannot enter ${sandbox}: ${error.message}`,
        'this node has no file descriptor or memory left: raise the limit of open files (ulimit -n), or look for who has them',
        { cause: error },
      )
    throw new CniError(
      CNI_CODE.netns,
      error.errno === ERRNO.ENOENT
        ? `there is no network namespace ${sandbox}`
        : `cannot enter ${sandbox}: ${error.message}`,
      error.errno === ERRNO.EPERM
        ? GIVE_SYS_ADMIN
        : "CNI_NETNS must be the path of a network namespace that the agent can open (it needs the host's /run/netns and /proc)",
      { cause: error },
    )
  }
}

function refuseOwnNetns({ netns, sandbox }: AddRequest): void {
  const own = inodeOf('/proc/self/ns/net')
  if (own === undefined || inodeOf(netns) !== own) return
  throw new CniError(
    CNI_CODE.netns,
    `CNI_NETNS ${sandbox} is the host's own network namespace`,
    "the runtime must make one for the container; CNI_NETNS_OVERRIDE=1 allows the host's",
  )
}

/** What this interface adds to the result. */
function resultOf(endpoint: PodEndpoint, hostMac: string, { conf, sandbox }: AddRequest): CniResult {
  const { addresses, interfaceName, ifname, mac, mtu, routeMetric } = endpoint
  return {
    interfaces: [
      { name: interfaceName, mac: hostMac, mtu },
      { name: ifname, mac, mtu, sandbox },
    ],
    ips: addresses.map(address => {
      const family = familyOf(address)
      return { address: `${address}/${addressBits(family)}`, gateway: GATEWAY[family], interface: 1 }
    }),
    routes: addresses.map(familyOf).map(family => ({
      ...{ dst: family === 'ipv4' ? '0.0.0.0/0' : '::/0', gw: GATEWAY[family] },
      ...(routeMetric !== undefined && { priority: routeMetric }),
    })),
    dns: conf.dns ?? endpoint.delegate?.dns,
  }
}
