// margay-controllers' life: start, signals and exit codes; the work is in `controllers.ts`.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import type { ApiGroup } from '../api/api-group.ts'
import { openStore } from '../datastore/kube.ts'
import type { Store } from '../datastore/port.ts'
import { keepProcess, systemClock } from '../lib/clock.ts'
import { createLog, type Log, type LogLevel } from '../lib/log.ts'
import { Controllers } from './controllers.ts'
import { parseRanges } from './first-objects.ts'
import { serveHealth } from './http-server.ts'

export type Flags = {
  kubeconfig?: string
  apiGroup: ApiGroup | 'auto'
  leaseNamespace?: string
  /** Seconds. */
  leaseDuration: number
  listen: string
  /** Seconds. */
  nodeGrace: number
  /** Seconds. */
  ownerAnswer: number
  /** What `parseRanges` reads, or `kubeadm`. */
  firstPools: string
  kubeadmConfig: string
  logLevel: LogLevel
}

const EXIT_UNAVAILABLE = 3
/** The namespace of the pod that this runs in. */
const OWN_NAMESPACE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace'
/** How long a stop waits for the API server: the kubelet kills after 30 s. */
const STOP_MS = 3_000

/** Runs until a signal; ends the process with 3 when it cannot go on. */
export async function run(flags: Flags): Promise<void> {
  const log = createLog('margay-controllers', flags.logLevel)
  const die = (error: unknown) => {
    log.fatal({ err: error }, 'margay-controllers cannot go on; another one takes over, and nodes go on without')
    process.exit(EXIT_UNAVAILABLE)
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
  const store = reach(flags, log)
  const controllers = new Controllers(
    {
      identity: `${hostname()}_${randomUUID()}`,
      namespace: flags.leaseNamespace ?? ownNamespace(),
      leaseSeconds: flags.leaseDuration,
      graceMs: flags.nodeGrace * 1000,
      answerMs: flags.ownerAnswer * 1000,
      ...(flags.firstPools !== 'kubeadm' && { firstPools: parseRanges(flags.firstPools) }),
      kubeadm: () => textOf(flags.kubeadmConfig),
    },
    { store, clock: systemClock, log },
  )
  const server = await serveHealth(flags.listen, controllers, log)
  log.info({ listen: server.address() }, 'margay-controllers answers')
  keepProcess()
  controllers.start()

  let stopping = false
  const stop = async (signal: NodeJS.Signals) => {
    if (stopping) return
    stopping = true
    log.info({ signal }, 'margay-controllers stops')
    const late = Promise.withResolvers<void>()
    systemClock.after(STOP_MS, late.resolve)
    await Promise.race([controllers.close(), late.promise])
    await store.close()
    process.exit(0)
  }
  process.on('SIGTERM', signal => void stop(signal))
  process.on('SIGINT', signal => void stop(signal))
}

/** Undefined where there is no such file, or it may not be read. */
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined // no cluster of kubeadm
  }
}

function reach({ kubeconfig, apiGroup }: Flags, log: Log): Store {
  try {
    return openStore({ program: 'margay-controllers', kubeconfig, apiGroup, clock: systemClock, log })
  } catch (error) {
    const { message } = error as Error
    throw new Error(`the kubeconfig cannot be used: ${message}; correct --kubeconfig or $KUBECONFIG`, { cause: error })
  }
}

function ownNamespace(): string {
  try {
    return readFileSync(OWN_NAMESPACE, 'utf8').trim()
  } catch {
    return 'kube-system' // not in a pod
  }
}
