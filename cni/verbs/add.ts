// ADD leaves a working interface, or nothing.
import { statSync } from 'node:fs'
import type { Assigned, AssignRefusal } from '../../ipam/port.ts'
import { GATEWAY, HOST_MAC } from '../../kernel/pod-interface.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { addressBits, familyOf } from '../../lib/ip.ts'
import type { CniDeps } from '../deps.ts'
import { type Endpoint, endpointId } from '../endpoints.ts'
import { CNI_CODE, CniError } from '../error.ts'
import { handleOf, hostInterfaceName } from '../interface-name.ts'
import { type AddRequest, addressFits } from '../request.ts'
import type { CniResult } from '../result.ts'
import { connect, createPair, inspect, randomMac, wireHost, wirePod } from '../wiring.ts'
import { takeDown } from './del.ts'

/** How long the kernel may take for what it does in its own time, and how often it is asked. */
const SETTLE_MS = 3_000
const SETTLE_INTERVAL_MS = 5

/**
 * The same container and interface again gives the same result while all of it is there; what is half there is made
 * anew with the same address. Rejects with `CniError` or `KernelError`, and then nothing is left behind.
 */
export async function add(request: AddRequest, deps: CniDeps): Promise<CniResult> {
  const { kernel, endpoints, ipam } = deps
  const notReady = deps.ready()
  if (notReady !== undefined) throw new CniError(CNI_CODE.tryLater, notReady.msg, notReady.details)
  const { conf, netns, containerID, ifname } = request
  if (!addressFits(conf))
    throw new CniError(
      CNI_CODE.field,
      `invalid value of ips: "${conf.address}"`,
      'its family is not assigned: set ipam.assign_ipv4 or assign_ipv6',
    )
  if (!request.hostNetns) refuseOwnNetns(netns)

  const before = endpoints.get(containerID, ifname)
  if (before !== undefined && before.netns === netns) {
    const { host, faults } = await inspect(kernel, before)
    if (host !== undefined && faults.length === 0) return resultOf(before, host.mac ?? HOST_MAC, request)
    deps.log.warn({ endpoint: before.id, faults }, 'ADD again found it broken and makes it anew')
  }
  using pod = enter(kernel, netns)
  if (before !== undefined) await takeDown(before, deps, 'keep addresses')
  if ((await pod.link(ifname)) !== undefined)
    throw new CniError(
      CNI_CODE.environment,
      `CNI_IFNAME ${ifname} is already there in ${netns}`,
      'the interface was not made by this network: choose another name, or remove it',
    )

  await using undo = new AsyncDisposableStack()
  const handle = handleOf(conf.name, request)
  using _ = endpoints.expect(handle)
  undo.defer(async () => {
    await ipam.release(handle)
  })
  const place = {
    id: endpointId(containerID, ifname),
    network: conf.name,
    containerID,
    ifname,
    interfaceName: await freeInterfaceName(request, deps),
    netns,
    mac: conf.mac ?? randomMac(),
    mtu: conf.mtu ?? deps.mtu(),
    handle,
    pod: request.pod,
    createdMs: deps.clock.wallMs(),
  }
  const withAddresses = (assigned: readonly Assigned[]): Endpoint => ({
    ...place,
    addresses: assigned.map(({ address }) => address),
  })
  const assigned = await ipam.assign(
    {
      handle,
      attributes: { node: deps.node, containerID, pod: request.pod?.name, namespace: request.pod?.namespace },
      families: conf.families,
      pools: conf.pools,
      address: conf.address,
      use: 'Workload',
    },
    given => endpoints.persist(withAddresses(given)),
  )
  if ('refused' in assigned) throw refusalError(assigned)
  const endpoint = withAddresses(assigned)
  undo.defer(async () => endpoints.delete(endpoint.id))
  endpoints.publish(endpoint)

  const host = await createPair(kernel, endpoint)
  undo.defer(() => {
    endpoints.markLeaving(endpoint.id)
    return kernel.deleteLink(endpoint.interfaceName)
  })
  const hostMac = host.mac ?? HOST_MAC
  await wireHost(kernel, endpoint, host)
  await wirePod(pod, endpoint, hostMac)
  await connect(kernel, endpoint, host)
  const faults = await settledFaults(endpoint, deps)
  if (faults.length > 0)
    throw new CniError(
      CNI_CODE.kernel,
      `the kernel does not have what was set: ${faults.join('; ')}`,
      "something else on this node changes pod interfaces; the agent's log has more",
    )
  undo.move() // committed: nothing left to undo
  return resultOf(endpoint, hostMac, request)
}

/**
 * What is still missing when the kernel had its time: it makes an IPv6 address its own in a work queue of its own, and
 * until then drops what comes for it.
 */
async function settledFaults(endpoint: Endpoint, { kernel, clock }: CniDeps): Promise<readonly string[]> {
  const deadline = clock.monotonicMs() + SETTLE_MS
  for (;;) {
    const { faults } = await inspect(kernel, endpoint)
    if (faults.length === 0 || clock.monotonicMs() >= deadline) return faults
    await new Promise<void>(resolve => clock.after(SETTLE_INTERVAL_MS, resolve))
  }
}

/** The host side's name, with whatever had it before taken down: an older sandbox of the same pod, or a leftover. */
async function freeInterfaceName(request: AddRequest, deps: CniDeps): Promise<string> {
  const ofPod = hostInterfaceName(request, request.pod)
  const holder = deps.endpoints.byInterface(ofPod)
  // a second interface of the same container: the pod's name is taken by the first
  const name = holder?.containerID === request.containerID ? hostInterfaceName(request) : ofPod
  const older = deps.endpoints.byInterface(name)
  if (older !== undefined) {
    deps.log.info({ endpoint: older.id, by: request.containerID }, 'an older sandbox of the pod is replaced')
    await takeDown(older, deps)
  }
  await deps.kernel.deleteLink(name)
  return name
}

function enter(kernel: Kernel, netns: string): Kernel {
  try {
    return kernel.inside(netns)
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    throw new CniError(
      CNI_CODE.netns,
      error.errno === ERRNO.ENOENT
        ? `there is no network namespace ${netns}`
        : `cannot enter ${netns}: ${error.message}`,
      "CNI_NETNS must be the path of a network namespace that the agent can open (it needs the host's /run/netns and /proc)",
      { cause: error },
    )
  }
}

function refuseOwnNetns(netns: string): void {
  const inode = (path: string): bigint | undefined => statSync(path, { bigint: true, throwIfNoEntry: false })?.ino
  const own = inode('/proc/self/ns/net')
  if (own === undefined || inode(netns) !== own) return
  throw new CniError(
    CNI_CODE.netns,
    `CNI_NETNS ${netns} is the host's own network namespace`,
    "the runtime must make one for the container; CNI_NETNS_OVERRIDE=1 allows the host's",
  )
}

function refusalError({ refused, message, remedy }: AssignRefusal): CniError {
  return new CniError(refused === 'unreachable' ? CNI_CODE.tryLater : CNI_CODE.noAddress, message, remedy)
}

/** What the runtime hears; appended to the result of the plugins that ran before. */
function resultOf(endpoint: Endpoint, hostMac: string, { conf, netns }: AddRequest): CniResult {
  const { addresses, interfaceName, ifname, mac, mtu } = endpoint
  const before = conf.prevResult
  const at = before?.interfaces.length ?? 0
  return {
    interfaces: [
      ...(before?.interfaces ?? []),
      { name: interfaceName, mac: hostMac, mtu },
      { name: ifname, mac, mtu, sandbox: netns },
    ],
    ips: [
      ...(before?.ips ?? []),
      ...addresses.map(address => {
        const family = familyOf(address)
        return { address: `${address}/${addressBits(family)}`, gateway: GATEWAY[family], interface: at + 1 }
      }),
    ],
    routes: [
      ...(before?.routes ?? []),
      ...addresses.map(address =>
        familyOf(address) === 'ipv4' ? { dst: '0.0.0.0/0', gw: GATEWAY.ipv4 } : { dst: '::/0', gw: GATEWAY.ipv6 },
      ),
    ],
    dns: conf.dns ?? before?.dns,
  }
}
