#!/usr/bin/env node
// The installer's program: what an operator or a DaemonSet's init container runs once per node.
import { Command } from 'commander'
import { installPlugin } from './install.ts'

type Flags = { binDir: string; confDir?: string; socket: string; network: string }

const program = new Command('margay-install-cni')
  .description('Writes the CNI plugin, a static program, and with --conf-dir its network configuration.')
  .option('--bin-dir <dir>', 'where the runtime looks for plugins', '/opt/cni/bin')
  .option(
    '--conf-dir <dir>',
    'where the runtime looks for networks, such as /etc/cni/net.d; without it none is written',
  )
  .option('--socket <path>', 'unix socket of the agent', '/run/margay/agent.sock')
  .option('--network <name>', 'name of the network', 'margay')
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))
  .parse()

try {
  const { plugin, conf } = installPlugin(program.opts<Flags>())
  console.log(plugin)
  if (conf !== undefined) console.log(conf)
} catch (error) {
  console.error(`the plugin was not installed: ${(error as Error).message}; is the directory writable? are you root?`)
  process.exit(3)
}
