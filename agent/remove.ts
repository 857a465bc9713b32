// `margay-node remove`: takes this network off a node, or off the whole cluster, when no agent runs there any more. First the
// runtime's configuration, so that no pod is added; then the kernel; then what the node wrote at the API server; last its
// files, of which the lock is one. Each step may be done again: whoever is killed in the middle starts anew.
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { ApiGroup } from '../api/api-group.ts'
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { uninstallPlugin } from '../cni/install.ts'
import { INTERFACE_PREFIX } from '../cni/interface-name.ts'
import { openStore } from '../datastore/kube.ts'
import { Conflict, NotFound, type Store } from '../datastore/port.ts'
import { Snapshot } from '../datastore/snapshot.ts'
import { nodeMarks } from '../felix/marks.ts'
import { removeFromKernel } from '../felix/removal.ts'
import { affinityOf } from '../ipam/block.ts'
import { releasePool } from '../ipam/pool-release.ts'
import { openKernel } from '../kernel/linux/kernel.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL } from '../kernel/port/routes.ts'
import { DatabaseError, openDatabase } from '../lib/database.ts'
import { FileInUse, lockFile } from './file-lock.ts'
import { explainForbidden } from './host-access.ts'
import { NETWORK_CONDITION, networkCondition } from './node-publisher.ts'
import { reserveSocket } from './socket/server.ts'

export type RemoveFlags = {
  nodeName: string
  kubeconfig?: string
  apiGroup: ApiGroup | 'auto'
  dataDir: string
  runDir: string
  /** Absent: `ROUTE_PROTOCOL.blocks`. */
  routeProtocol?: number
  binDir: string
  confDir?: string
  confName: string
  /** Nothing is asked of the API server. */
  local?: boolean
  /** The network leaves the whole cluster: pools do not wait for their blocks any more. */
  wholeCluster?: boolean
}

/** What lies in an agent's data directory, and in no other one. */
const OURS_IN_DATA = ['node.db', 'lock']

/**
 * Removes everything of this node and prints what. Ends the process with 1 while an agent runs here, with 3 when something
 * could not be removed: then what comes after it is still there, and the next run goes on.
 */
export async function remove(flags: RemoveFlags): Promise<void> {
  try {
    const kernel = openKernel()
    const { local, kubeconfig, apiGroup } = flags
    const store = local === true ? undefined : openStore({ program: 'margay-node', kubeconfig, apiGroup })
    for (const what of await removeNode(flags, { kernel, store }).catch(explainForbidden))
      console.log(`removed ${what}`)
    kernel.close()
    await store?.close()
  } catch (error) {
    const { message } = error as Error
    if (error instanceof FileInUse) {
      console.error(`nothing was removed: ${message}`)
      process.exit(1)
    }
    console.error(`this node is not clean yet: ${message}; correct that and run it again`)
    process.exit(3)
  }
}

/** Removes everything of this node; what was removed. Throws `FileInUse` while an agent runs here, and what a step throws. */
export async function removeNode(
  flags: Omit<RemoveFlags, 'kubeconfig' | 'apiGroup' | 'local'>,
  { kernel, store }: { kernel: Kernel; store: Store | undefined },
): Promise<string[]> {
  const { dataDir, runDir, routeProtocol = ROUTE_PROTOCOL.blocks, nodeName, wholeCluster = false } = flags
  const hadRun = existsSync(runDir)
  const socket = await reserveSocket(join(runDir, 'agent.sock'))
  const data = isDataDirectory(dataDir)
    ? lockFile(join(dataDir, 'lock'), `${dataDir}: an agent uses this directory; stop it first`)
    : undefined
  try {
    const removed = uninstallPlugin(flags)
    const pools = [...poolsOnDisk(dataDir), ...(store === undefined ? [] : await poolsOf(store))]
    const marks = nodeMarks({ routeProtocol, interfacePrefix: INTERFACE_PREFIX })
    for (const object of await removeFromKernel(kernel, { marks, pools })) removed.push(object)
    if (store !== undefined)
      for (const object of await removeFromCluster(store, { nodeName, wholeCluster })) removed.push(object)
    for (const [folder, isThere] of [
      [dataDir, data !== undefined],
      [runDir, true],
    ] as const)
      if (isThere && removeFolder(folder) && (folder === dataDir || hadRun)) removed.push(folder)
    return removed
  } finally {
    data?.release()
    socket.release()
  }
}

/** What this node wrote at the API server. Where the kinds are not there any more, nothing is. Rejects as the store. */
async function removeFromCluster(
  store: Store,
  { nodeName, wholeCluster }: { nodeName: string; wholeCluster: boolean },
): Promise<string[]> {
  const removed: string[] = []
  const fieldSelector = `spec.affinity=${affinityOf(nodeName)}`
  for (const { metadata } of await orNone(store.list('IPAMBlock', { fieldSelector })))
    if (await deleteBlock(store, metadata)) removed.push(`IPAMBlock ${metadata.name}`)
  if (wholeCluster)
    for (const { metadata } of await orNone(store.list('IPPool'))) {
      if (await releasePool(store, metadata.name)) removed.push(`finalizer of IPPool ${metadata.name}`)
    }
  const annotations = Object.fromEntries(WRITTEN.map(name => [name, null]))
  const node = await orNothing(store.get('Node', nodeName))
  // an agent that found no address writes the condition alone
  if (WRITTEN.some(name => node?.metadata.annotations?.[name] !== undefined) || networkCondition(node) !== undefined) {
    const conditions = [{ $patch: 'delete', type: NETWORK_CONDITION }]
    const patch = { metadata: { annotations }, status: { conditions } }
    await orNothing(store.patch('Node', nodeName, patch, { subresource: 'status', strategic: true }))
    removed.push(`annotations and condition ${NETWORK_CONDITION} of Node ${nodeName}`)
  }
  return removed
}

/** Annotations that agents write; the AS number and the like are people's. */
const WRITTEN = [
  NODE_ANNOTATION.ipv4Address,
  NODE_ANNOTATION.ipv6Address,
  NODE_ANNOTATION.ipipTunnelAddress,
  NODE_ANNOTATION.vxlanTunnelAddress,
  NODE_ANNOTATION.vxlanTunnelAddressV6,
  NODE_ANNOTATION.vxlanTunnelMac,
  NODE_ANNOTATION.probeAddress,
  NODE_ANNOTATION.probeAddressV6,
  NODE_ANNOTATION.addressConfirmed,
]

/** Whether the block was there. One of the same name that was made since the list is another node's. */
async function deleteBlock(store: Store, { name, uid }: Resource<'IPAMBlock'>['metadata']): Promise<boolean> {
  try {
    await store.delete('IPAMBlock', name, { uid })
    return true
  } catch (error) {
    if (error instanceof NotFound || error instanceof Conflict) return false
    throw error
  }
}

async function poolsOf(store: Store): Promise<string[]> {
  return (await orNone(store.list('IPPool'))).map(({ spec }) => spec.cidr)
}

/** The CIDRs of the pools that the last agent knew: the cluster may have none any more. */
function poolsOnDisk(dataDir: string): string[] {
  const path = join(dataDir, 'node.db')
  if (!existsSync(path)) return []
  try {
    const database = openDatabase(path)
    const { objects = [] } = new Snapshot(database).read('IPPool') ?? {}
    database.close()
    return objects.flatMap(object => {
      const cidr: unknown = Reflect.get((object as { spec?: object }).spec ?? {}, 'cidr')
      return typeof cidr === 'string' ? [cidr] : []
    })
  } catch (error) {
    if (error instanceof DatabaseError) return [] // damaged: what the API server says has to do
    throw error
  }
}

function isDataDirectory(folder: string): boolean {
  return OURS_IN_DATA.some(name => existsSync(join(folder, name)))
}

/** Removes a folder with all that is in it; one that is a mount point is emptied. Whether something was there. */
function removeFolder(folder: string): boolean {
  if (!existsSync(folder)) return false
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true })
  try {
    rmdirSync(folder)
  } catch (error) {
    if (!['EBUSY', 'EROFS'].includes(String(Reflect.get(error as Error, 'code')))) throw error
  }
  return true
}

/** A kind that the server does not have has no objects. */
async function orNone<T>(list: Promise<T[]>): Promise<T[]> {
  return (await orNothing(list)) ?? []
}

async function orNothing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
