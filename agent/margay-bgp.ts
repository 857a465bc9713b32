#!/usr/bin/env node
// `margay-bgp --config FILE.yaml`: the BGP speaker alone, for route reflectors and labs (DESIGN section 8). SIGHUP
// reads the file again; SIGTERM and SIGINT end it. Exit codes: 0 ended on request, 2 wrong usage or configuration,
// 3 something it needs could not be had.
import { Command, Option } from 'commander'
import { BfdThread } from '../bgp/bfd/thread.ts'
import { ConfigError } from '../bgp/file/faults.ts'
import { TcpTransport } from '../bgp/tcp-transport.ts'
import { returnFreedMemory } from '../kernel/libc.ts'
import { openKernel } from '../kernel/linux/kernel.ts'
import { portHolder } from '../kernel/port-holder.ts'
import { discoverNeighbour } from '../kernel/router-advertisement.ts'
import * as sockets from '../kernel/sockopt.ts'
import { keepProcess } from '../lib/clock.ts'
import { createLog, type LogLevel } from '../lib/log.ts'
import { programFile } from '../lib/package-files.ts'
import { BfdOnDemand } from './bfd-on-demand.ts'
import { BgpDaemon } from './bgp-daemon.ts'
import { limitYoungGeneration } from './heap.ts'

async function main(): Promise<void> {
  const { config, level } = usage()
  returnFreedMemory()
  limitYoungGeneration()
  const log = createLog('margay-bgp', level)
  const daemon = new BgpDaemon(config, {
    transport: new TcpTransport({ ...sockets, portHolder }),
    openKernel,
    discover: discoverNeighbour,
    bfd: new BfdOnDemand(() => new BfdThread(programFile('agent/bfd-worker'))),
    log,
  })
  const reload = () =>
    daemon.reload().then(
      plan => log.info(plan, 'reloaded'),
      (error: Error) => log.error({ detail: error.message }, 'the configuration stays as it was'),
    )
  process.on('SIGHUP', () => void reload())
  // without listeners and connections nothing else would
  const release = keepProcess()
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => {
      log.info({ signal }, 'stopping')
      // what is left in the sockets goes out by itself; nothing else keeps the process
      release()
      void daemon.stop()
    })
  await daemon.start()
  log.info({ config }, 'running')
}

function usage(): { config: string; level: LogLevel } {
  const levels = ['trace', 'debug', 'info', 'warn', 'error']
  const { config, logLevel } = new Command('margay-bgp')
    .description(
      'The BGP speaker alone, from a YAML file: for route reflectors and labs. DESIGN.md section 8 has every field.',
    )
    .requiredOption('-c, --config <file>', 'YAML file: who we are, our neighbors, our networks')
    .addOption(new Option('--log-level <level>', 'least level that is logged').choices(levels).default('info'))
    .addHelpText('after', '\nSIGHUP reads the file again, SIGTERM ends it. Its control socket answers margayctl bgp.')
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))
    .parse()
    .opts<{ config: string; logLevel: LogLevel }>()
  return { config, level: logLevel }
}

main().catch((error: unknown) => {
  const unusable = error instanceof ConfigError
  console.error(error instanceof Error ? error.message : error)
  process.exit(unusable ? 2 : 3)
})
