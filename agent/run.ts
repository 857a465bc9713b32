// margay-node's life: start, signals and exit codes; the work is in `node-agent.ts`.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'
import type { ApiGroup } from '../api/api-group.ts'
import { BfdThread } from '../bgp/bfd/thread.ts'
import { TcpTransport } from '../bgp/tcp-transport.ts'
import { answerCni } from '../cni/http.ts'
import { namespaceOf } from '../datastore/credentials.ts'
import { openStore } from '../datastore/kube.ts'
import type { Store } from '../datastore/port.ts'
import { openEchoSocket } from '../kernel/echo-socket.ts'
import { returnFreedMemory } from '../kernel/libc.ts'
import { askLink } from '../kernel/link-question.ts'
import { openKernel } from '../kernel/linux/kernel.ts'
import { ROUTE_PROTOCOL } from '../kernel/port/routes.ts'
import { portHolder } from '../kernel/port-holder.ts'
import { discoverNeighbour } from '../kernel/router-advertisement.ts'
import * as sockets from '../kernel/sockopt.ts'
import { systemClock } from '../lib/clock.ts'
import { createLog, type Log, type LogLevel } from '../lib/log.ts'
import { packageVersion, programFile } from '../lib/package-files.ts'
import { BfdOnDemand } from './bfd-on-demand.ts'
import { FileInUse } from './file-lock.ts'
import { afterStart, preferSmallHeap } from './heap.ts'
import { AccessMissing, checkSysctlFolder } from './host-access.ts'
import { ForeignJournal, MACHINE_ID, readMachineId } from './journal-owner.ts'
import { NodeAgent } from './node-agent.ts'
import { openProbeWire } from './probes/wire.ts'
import { agentLevels } from './reporting.ts'
import { bootClock, ServedFile, servedPath } from './served-file.ts'
import { agentRoutes } from './socket/routes.ts'
import { reserveSocket, serveSocket } from './socket/server.ts'
import { stopAgent } from './stop.ts'

export type Flags = {
  nodeName: string
  kubeconfig?: string
  apiGroup: ApiGroup | 'auto'
  dataDir: string
  runDir: string
  nodeIp: string
  nodeIp6: string
  /** Absent: `ROUTE_PROTOCOL.blocks`. */
  routeProtocol?: number
  /** Seconds. */
  acceptClusterAfter?: number
  cniConfDir?: string
  cniConfName: string
  sysctlDir: string
  logLevel: LogLevel
}

/** Errors whose message says what to do; of others the stack is of use. */
const SAYS_ALL = [FileInUse, ForeignJournal, AccessMissing]

/** Runs the agent until a signal; ends the process with 3 when it cannot go on. */
export async function run(flags: Flags): Promise<void> {
  returnFreedMemory()
  const log = createLog('margay-node', flags.logLevel)
  const levels = agentLevels(log)
  const die = (error: unknown) => {
    if (SAYS_ALL.some(kind => error instanceof kind)) log.fatal((error as Error).message)
    else log.fatal({ err: error }, 'the agent cannot go on; pods keep their network')
    process.exit(3)
  }
  const lost = (message: string): never => {
    log.fatal(`${message}; this one ends without another write`)
    process.exit(3)
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
  checkSysctlFolder(flags.sysctlDir)
  const machineId = readMachineId()
  if (machineId === undefined)
    log.warn(
      `no machine-id(5) in ${MACHINE_ID}: a journal that was copied from another machine would be taken for ours`,
    )
  const path = join(flags.runDir, 'agent.sock')
  const lock = await reserveSocket(path)
  const store = reach(flags, levels.room('datastore'))
  const kernel = openKernel({ sysctlFolder: flags.sysctlDir })
  const transport = new TcpTransport({ ...sockets, portHolder })
  const boot = bootClock()
  const agent = new NodeAgent(
    {
      ...{
        nodeName: flags.nodeName,
        dataDir: flags.dataDir,
        nodeIp: flags.nodeIp,
        nodeIp6: flags.nodeIp6,
        routeProtocol: flags.routeProtocol ?? ROUTE_PROTOCOL.blocks,
      },
      secretsNamespace: namespaceOf({ kubeconfig: flags.kubeconfig }),
      acceptAfterMs: flags.acceptClusterAfter === undefined ? undefined : flags.acceptClusterAfter * 1000,
      machineId,
      fallbackDir: join(flags.runDir, 'journal'),
      conflist: flags.cniConfDir === undefined ? undefined : { confDir: flags.cniConfDir, confName: flags.cniConfName },
    },
    {
      kernel,
      store,
      transport,
      discover: discoverNeighbour,
      ask: { link: askLink, echo: openEchoSocket },
      bfd: new BfdOnDemand(() => new BfdThread(programFile('agent/bfd-worker'))),
      probes: openProbeWire,
      clock: systemClock,
      log,
      levels,
      lost,
      served: new ServedFile(servedPath(path), boot),
      bootId: boot.bootId,
    },
  )
  await agent.start()
  const cni = agent.cni()
  const routes = {
    ...agentRoutes(agent),
    'POST /cni': (request: IncomingMessage, response: ServerResponse) => answerCni(request, response, cni),
    'POST /ipam': (request: IncomingMessage, response: ServerResponse) => answerCni(request, response, cni, 'another'),
  }
  const socket = await serveSocket(path, routes, log, { lock })
  log.info({ socket: path }, 'agent answers')
  afterStart(
    () => agent.ready(),
    systemClock,
    () => {
      // the first run of a version writes its compiled code, in about 0.1 s: a crash or a power cut must not lose it
      flushCompileCache()
      preferSmallHeap()
    },
  )

  let stopping = false
  const stop = async (signal: NodeJS.Signals) => {
    if (stopping) return
    stopping = true
    log.info({ signal }, 'agent stops; routes and pods stay')
    await stopAgent({ socket, agent, store, kernel }, { clock: systemClock, log })
    process.exit(0)
  }
  process.on('SIGTERM', signal => void stop(signal))
  process.on('SIGINT', signal => void stop(signal))
}

function reach({ kubeconfig, apiGroup }: Flags, log: Log): Store {
  try {
    const program = `margay-node/${packageVersion()}`
    return openStore({ program, kubeconfig, apiGroup, clock: systemClock, log })
  } catch (error) {
    const { message } = error as Error
    throw new Error(`the kubeconfig cannot be used: ${message}; correct --kubeconfig or $KUBECONFIG`, { cause: error })
  }
}
