// margay-node: the agent's program. Flags, signals and exit codes; the work is in `node-agent.ts`.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Command, InvalidArgumentError, Option } from 'commander'
import { TcpTransport } from '../bgp/tcp-transport.ts'
import { answerCni } from '../cni/http.ts'
import { openStore } from '../datastore/kube.ts'
import type { Store } from '../datastore/port.ts'
import { openKernel } from '../kernel/linux/kernel.ts'
import { ROUTE_PROTOCOL } from '../kernel/port/routes.ts'
import * as sockets from '../kernel/sockopt.ts'
import { systemClock } from '../lib/clock.ts'
import { parseAddress } from '../lib/ip.ts'
import { createLog, type Log, type LogLevel } from '../lib/log.ts'
import { FileInUse } from './file-lock.ts'
import { NodeAgent } from './node-agent.ts'
import { agentRoutes } from './socket/routes.ts'
import { refuseSecond, serveSocket } from './socket/server.ts'

type Flags = {
  nodeName: string
  kubeconfig?: string
  dataDir: string
  runDir: string
  nodeIp: string
  routeProtocol: number
  logLevel: LogLevel
}

/** How long a stopping agent waits to publish blocks; what is left is in the journal for the next start. */
const FLUSH_MS = 2000

const program = new Command('margay-node')
  .description('The agent of one node: pod interfaces, addresses, routes, tunnels and BGP. Runs as root.')
  .option('--node-name <name>', 'name of this node’s Node object', process.env['NODENAME'] ?? hostname())
  .option('--kubeconfig <file>', 'how to reach the API server (default: $KUBECONFIG, or the pod’s service account)')
  .option('--data-dir <dir>', 'journal and snapshot; must survive reboots', '/var/lib/margay')
  .option('--run-dir <dir>', 'where agent.sock is made', '/run/margay')
  .option('--node-ip <address>', 'IPv4 address of this node, or auto', nodeIp, 'auto')
  .option(
    '--route-protocol <number>',
    'protocol number of this agent’s routes (`ip route`: proto); no other program of this host may use it',
    routeProtocol,
    ROUTE_PROTOCOL.blocks,
  )
  .addOption(new Option('--log-level <level>').choices(['trace', 'debug', 'info', 'warn', 'error']).default('info'))
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))

program.parse()
await run(program.opts<Flags>())

async function run(flags: Flags): Promise<void> {
  const log = createLog('margay-node', flags.logLevel)
  const die = (error: unknown) => {
    if (error instanceof FileInUse) log.fatal(error.message)
    else log.fatal({ err: error }, 'the agent cannot go on; pods keep their network')
    process.exit(3)
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
  const path = join(flags.runDir, 'agent.sock')
  await refuseSecond(path)
  const store = reach(flags.kubeconfig, log)
  const kernel = openKernel()
  const transport = new TcpTransport(sockets)
  const agent = new NodeAgent(
    { nodeName: flags.nodeName, dataDir: flags.dataDir, nodeIp: flags.nodeIp, routeProtocol: flags.routeProtocol },
    { kernel, store, transport, clock: systemClock, log },
  )
  await agent.start()
  const cni = agent.cni()
  const routes = {
    ...agentRoutes(agent),
    'POST /cni': (request: IncomingMessage, response: ServerResponse) => answerCni(request, response, cni),
  }
  const socket = await serveSocket(path, routes, log)
  log.info({ socket: path }, 'agent answers')

  let stopping = false
  const stop = async (signal: NodeJS.Signals) => {
    if (stopping) return
    stopping = true
    log.info({ signal }, 'agent stops; routes and pods stay')
    await socket.close()
    await Promise.race([
      agent.allocator.flush().catch(error => log.warn({ err: error }, 'blocks wait for the next start')),
      setTimeout(FLUSH_MS),
    ])
    await agent.close()
    await store.close()
    kernel.close()
    process.exit(0)
  }
  process.on('SIGTERM', signal => void stop(signal))
  process.on('SIGINT', signal => void stop(signal))
}

function reach(kubeconfig: string | undefined, log: Log): Store {
  try {
    return openStore({ kubeconfig, clock: systemClock, log: log.child({ room: 'datastore' }) })
  } catch (error) {
    const { message } = error as Error
    throw new Error(`the kubeconfig cannot be used: ${message}; correct --kubeconfig or $KUBECONFIG`, { cause: error })
  }
}

function routeProtocol(text: string): number {
  const number = Number(text)
  // 0 to 4 are the kernel's own and what people type
  if (/^\d+$/.test(text) && number >= 5 && number <= 255) return number
  throw new InvalidArgumentError(`${text} is not a number from 5 to 255`)
}

function nodeIp(text: string): string {
  const address = parseAddress(text.split('/')[0]!)
  if (text === 'auto' || address !== undefined) return text
  throw new InvalidArgumentError(`${text} is neither an address nor auto`)
}
