// The verbs of an IPAM plugin (SPEC 1.1.0, section 4): another plugin makes the interface, and executes us with the same verb for its
// addresses. They live until DEL, a GC of the runtime that does not list the container, or the next boot of the machine, which no
// container outlives (`collect.ts`): what the other plugin made in the kernel says nothing that we could rely on.
import type { Assigned, Lan } from '../../ipam/port.ts'
import { gatewayHandle, PLUGIN_TYPE } from '../../ipam/port.ts'
import { ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { addressBits, cidr, contains, familyOf } from '../../lib/ip.ts'
import { collectHandles } from '../collect.ts'
import type { CniDeps } from '../deps.ts'
import { whom } from '../endpoints.ts'
import { CNI_CODE, CniError } from '../error.ts'
import { isYoung } from '../gc-list.ts'
import { confOfPod } from '../pod-conf.ts'
import type { AddRequest, CheckRequest, CniRequest, DelRequest, GcRequest } from '../request.ts'
import { type CniResult, emitResult, type ResultIp } from '../result.ts'
import { releaseAddresses } from '../take-down.ts'
import { assignOrWait, type Caller, inTurn } from '../turn.ts'
import { forgetOldFlows } from '../verbs/add.ts'
import { status } from '../verbs/status.ts'
import { version } from '../verbs/version.ts'
import { pluginHandleOf, pluginPods } from './handle.ts'

/** How long felix may take to make room for the other plugin's route to a block, and how often the kernel is asked. */
const ROUTE_MS = 10_000
const ROUTE_INTERVAL_MS = 5

export async function answerAnother(request: CniRequest, deps: CniDeps, caller: Caller): Promise<string> {
  switch (request.verb) {
    case 'ADD': {
      const turn = { id: pluginHandleOf(request.conf.name, request), whom: whom(request) }
      return emitResult(await inTurn(turn, deps, caller, () => add(request, deps)), request.conf.cniVersion)
    }
    case 'DEL':
      deps.endpoints.abandon(pluginHandleOf(request.conf.name, request))
      await deps.limiter.run(whomToRelease(request, deps), () => del(request, deps))
      return ''
    case 'CHECK':
      await deps.limiter.run(whom(request), async () => check(request, deps))
      return ''
    case 'GC':
      await gc(request, deps)
      return ''
    case 'STATUS':
      await status(deps)
      return ''
    case 'VERSION':
      return version(request)
  }
}

/** A DEL need not say of which pod the container is. */
function whomToRelease({ conf, pod, ...attachment }: DelRequest, { ipam }: CniDeps) {
  const handle = pluginHandleOf(conf.name, attachment)
  return () => {
    const { namespace, pod: name } = ipam.holder(handle) ?? {}
    const known = namespace === undefined || name === undefined ? pod : { namespace, name }
    return whom({ containerID: attachment.containerID, ...(known && { pod: known }) })()
  }
}

/**
 * Called again for the same container and interface it gives the same addresses, while no interface has them yet. Where it rejects, it
 * holds none that it gave now.
 */
async function add(request: AddRequest, deps: CniDeps): Promise<CniResult> {
  const { ipam, node, bootId: boot } = deps
  const notReady = deps.ready()
  if (notReady !== undefined) throw new CniError(CNI_CODE.tryLater, notReady.msg, notReady.details)
  const { containerID, pod } = request
  const handle = pluginHandleOf(request.conf.name, request)
  const conf = await confOfPod(request, handle, deps)
  const { families, ifServed, pools, addresses, behind } = conf
  const { blocks, lan } = behind!
  const whose = { node, containerID, pod: pod?.name, namespace: pod?.namespace, type: PLUGIN_TYPE.pod, boot }
  const attributes = { ...whose, ...(lan && { network: conf.name }) }
  const subnet = { network: conf.name, blocks, ...(lan && { lan }) }
  const { boot: ofBoot = boot } = ipam.holder(handle) ?? {}
  // no container outlives its boot: what an earlier one had is collected, whenever that comes
  if (ofBoot !== boot) await releaseAddresses(handle, deps)
  const before = ipam.held().get(handle)
  if (before !== undefined) await refuseUsed(before, request, deps)
  const assigned =
    before ?? assignOrWait(deps, { handle, attributes, families, ifServed, pools, addresses, subnet, use: 'Workload' })
  await using undo = new AsyncDisposableStack()
  if (before === undefined) undo.defer(() => releaseAddresses(handle, deps))
  await forgetOldFlows({ addresses: assigned.map(({ address }) => address) }, deps)
  for (const { block } of assigned) await routeMayLead(block, lan === undefined ? 'block' : 'lan', deps)
  const result = resultOf(assigned, request, deps)
  undo.move() // committed: nothing left to undo
  return result
}

/**
 * ptp asks for addresses before it looks whether the interface is there, and has those of a container that runs freed when it is: an
 * ADD that is refused here frees nothing. Its host routes say who runs. bridge looks first. Rejects with `CniError` and `KernelError`.
 */
async function refuseUsed(held: readonly Assigned[], request: AddRequest, { kernel }: CniDeps): Promise<void> {
  for (const { address, family } of held) {
    const dst = `${address}/${addressBits(family)}`
    const routes = await kernel.routes({ table: ROUTE_TABLE.main, type: 'unicast', dst })
    if (routes.length === 0) continue
    throw new CniError(
      CNI_CODE.environment,
      `CNI_IFNAME ${request.ifname} of container ${request.containerID} is there already, with ${address}`,
      'ADD was called twice: the container keeps its address until DEL',
    )
  }
}

/**
 * Waits until the kernel has no route to a block of this node that would stand before the one that must lead to its containers: that to
 * the subnet of its gateway, which the other plugin brings and whose metric of IPv4 is 0; or that to the LAN, which is shorter, so that
 * there must be none. Felix knows of whom a block is with its first address. Rejects with `CniError`.
 */
async function routeMayLead(block: string, to: 'block' | 'lan', { kernel, clock }: CniDeps): Promise<void> {
  if (to === 'block' && familyOf(block) === 'ipv6') return
  const deadline = clock.monotonicMs() + ROUTE_MS
  for (;;) {
    const routes = await kernel.routes({ table: ROUTE_TABLE.main, type: 'blackhole' })
    if (!routes.some(({ dst, metric = 0 }) => dst === block && (to === 'lan' || metric === 0))) return
    if (clock.monotonicMs() >= deadline)
      throw new CniError(
        CNI_CODE.tryLater,
        `the blackhole route of block ${block} has not got out of the way within ${ROUTE_MS / 1000} s`,
        'the runtime asks again; the conditions KernelInSync and KernelProgrammed of margayctl node status say what holds it',
      )
    await new Promise<void>(resolve => clock.after(ROUTE_INTERVAL_MS, resolve))
  }
}

/** Addresses with the length of their block, as the subnet of whoever has the gateway, or with that of the LAN. */
function resultOf(assigned: readonly Assigned[], { conf }: AddRequest, { ipam }: CniDeps): CniResult {
  const ips = assigned
    .toSorted((a, b) => (a.family < b.family ? -1 : 1))
    .map(({ address, family, block }) => {
      const lan = conf.behind!.lan?.[family]
      if (lan !== undefined) return onLan(address, lan)
      const [gateway] = ipam.held().get(gatewayHandle(conf.name, block)) ?? []
      if (gateway !== undefined) return { address: `${address}/${cidr(block).length}`, gateway: gateway.address }
      throw new CniError(
        CNI_CODE.noAddress,
        `the gateway of block ${block} is not reserved any more`,
        `somebody released it by hand: delete the pods of network ${conf.name} on this node`,
      )
    })
  return { interfaces: [], ips, routes: conf.behind!.routes, dns: conf.dns }
}

/** Throws `CniError`. */
function onLan(address: string, { subnet, gateway }: Lan): ResultIp {
  if (contains(subnet, address))
    return { address: `${address}/${cidr(subnet).length}`, ...(gateway !== undefined && { gateway }) }
  throw new CniError(
    CNI_CODE.noAddress,
    `the container has ${address}, which is not in ipam.subnet, ${subnet}`,
    'the configuration was changed since its first ADD: delete the pod',
  )
}

async function del({ conf, ...attachment }: DelRequest, deps: CniDeps): Promise<void> {
  await releaseOf(pluginHandleOf(conf.name, attachment), deps)
}

async function releaseOf(handle: string, deps: CniDeps): Promise<void> {
  const held = deps.ipam.held().get(handle) ?? []
  await releaseAddresses(handle, deps)
  deps.oldFlows.clear(held.map(({ address }) => address))
}

/** Whether the addresses of the result are still those of the container. Throws `CniError`. */
function check({ conf, ...attachment }: CheckRequest, { ipam }: CniDeps): void {
  const held = (ipam.held().get(pluginHandleOf(conf.name, attachment)) ?? []).map(({ address }) => address)
  const told = (conf.prevResult?.ips ?? []).map(({ address }) => address.replace(/\/.*/, ''))
  const { containerID, ifname } = attachment
  const faults =
    held.length === 0
      ? [`no address is reserved for interface ${ifname} of container ${containerID}`]
      : held.filter(address => !told.includes(address)).map(address => `prevResult does not have ${address}`)
  if (faults.length === 0) return
  throw new CniError(
    CNI_CODE.broken,
    faults.join('; '),
    'restart the pod; margayctl ipam show --ip says who has an address, and the log of margay-node may say more',
  )
}

/** What was given in the last minute stays until another GC: the list may be older. */
async function gc({ conf, valid }: GcRequest, deps: CniDeps): Promise<void> {
  const stay = new Set(valid.map(attachment => pluginHandleOf(conf.name, attachment)))
  const arrivedMs = deps.clock.wallMs()
  for (const row of pluginPods(deps.ipam)) {
    const { handle, network } = row
    if (network !== conf.name || stay.has(handle)) continue
    await deps.limiter.run(whom(row), async () => {
      const now = pluginPods(deps.ipam).find(each => each.handle === handle)
      if (now !== undefined && !isYoung(now, arrivedMs, deps)) await releaseOf(handle, deps)
    })
  }
  await collectHandles(deps)
}
