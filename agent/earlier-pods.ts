// The pods of an earlier run of this node: those that the journal knows, and those that only the kernel knows, because the
// journal was lost. Nothing of a pod that runs is removed; what ended with its namespace is collected.
import { broken, type Condition } from '../api/status.ts'
import { adopt, dropReplaced, holdAdopted, nameAdopted } from '../cni/adopt.ts'
import { collect, collectHandles } from '../cni/collect.ts'
import type { CniDeps } from '../cni/deps.ts'
import type { PodEndpoint } from '../cni/endpoints.ts'
import { KernelError } from '../kernel/port/error.ts'
import { DatabaseError } from '../lib/database.ts'

type Deps = {
  cni: CniDeps
  dataDir: string
  /** Pods that the journal had not known, whenever they change. */
  report: (conditions: readonly Condition[]) => void
}

/** Adopts and collects. To be called once, before felix hears of any endpoint. */
export async function takeOverPods({ cni, dataDir, report }: Deps): Promise<void> {
  const { endpoints, ipam, log } = cni
  await dropReplaced(cni)
  holdAdopted(cni)
  // of a run that ended before it had their names
  nameAdopted(cni)
  const adopted = await adopt(cni)
  const pods = adopted.map(({ interfaceName, addresses }) => `${interfaceName} ${addresses.join(' ')}`)
  if (pods.length > 0) log.warn({ pods }, 'these pods run and the journal does not know them: adopted from the kernel')
  ipam.onBlocks(() => {
    // blocks that come from the API server say whose the addresses are
    nameAdopted(cni)
    if (!ipam.blocksKnown) return
    // and have addresses of pods that ended meanwhile, as a block that could not be given back before a restart
    void collectGone(cni)
  })
  const tell = () => report(journalConditions(endpoints.live(), dataDir))
  endpoints.onChange(tell)
  tell()
  try {
    await collect(cni)
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    // with a full disk that is left to GC or the next start
    log.error({ err: error }, `the journal cannot be written: check the disk of ${dataDir}`)
  }
}

/** One condition for all adopted pods that still run; empty when there are none. */
function journalConditions(endpoints: readonly PodEndpoint[], dataDir: string): Condition[] {
  const adopted = endpoints.filter(endpoint => endpoint.adopted)
  if (adopted.length === 0) return []
  const names = adopted.slice(0, 5).map(({ interfaceName }) => interfaceName)
  const more = adopted.length > names.length ? ` and ${adopted.length - names.length} more` : ''
  return [
    broken('JournalComplete', {
      reason: 'PodsAdopted',
      message: `the journal in ${dataDir} did not know ${adopted.length} pods that run, which were adopted from the kernel: ${names.join(', ')}${more}`,
      remedy: `these pods keep their network; find out why ${dataDir} was lost (it must survive restarts of the agent and of the machine)`,
    }),
  ]
}

/** Frees what no pod of this node has. What cannot be told now, since kernel or journal cannot be read or written, stays. */
export async function collectGone(cni: CniDeps): Promise<void> {
  try {
    await collectHandles(cni)
  } catch (error) {
    if (!(error instanceof KernelError || error instanceof DatabaseError)) throw error
    cni.log.error({ err: error }, 'addresses of pods that are gone are left to GC or the next start')
  }
}
