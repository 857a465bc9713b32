// The commands of margay-node beside the agent itself, for the containers of a DaemonSet and for operators. Their work is in
// files of their own, which are loaded when they are asked for: the agent's start has no use for them.
import { type Command, InvalidArgumentError } from 'commander'
import { CHAINED_PLUGINS, type ChainedPlugin, CONFLIST_NAME } from '../cni/conflist.ts'
import type { InstallFlags } from './install.ts'
import type { Probed } from './probe.ts'

/** Adds the commands to the program. */
export function addCommands(program: Command): void {
  program
    .command('install')
    .description(
      'Writes the CNI plugin, a static program, and with --conf-dir its network configuration; once per node.',
    )
    .option('--bin-dir <dir>', 'where the runtime looks for plugins', '/opt/cni/bin')
    .option('--conf-dir <dir>', 'where the runtime looks for networks: /etc/cni/net.d; without it none is written')
    .option('--conf-name <file>', 'name of the network configuration', confName, CONFLIST_NAME)
    .option('--socket <path>', 'unix socket of the agent, as the host sees it', '/run/margay/agent.sock')
    .option('--network <name>', 'name of the network', 'margay')
    .option(
      '--chain <plugins>',
      `plugins behind ours, ${CHAINED_PLUGINS.join(',')} or none; those that --bin-dir does not have are left out`,
      chain,
      CHAINED_PLUGINS,
    )
    .option('--plugin-dir <dir>', 'a folder with amd64/margay and arm64/margay (default: the program of the package)')
    .option('--force [yes|no]', 'go on where configurations of other networks are, and leave them there', yes)
    .action(async (flags: InstallFlags) => (await import('./install.ts')).install(flags))
  program
    .command('probe')
    .description('Whether the agent of this node answers (live), or its pods have a network (ready): exit code 0 or 1.')
    .argument('<what>', 'live or ready', probed)
    .action(async (what: Probed, _flags: object, command: Command) => {
      const { runDir } = command.optsWithGlobals<{ runDir: string }>()
      process.exitCode = await (await import('./probe.ts')).probe(runDir, what)
    })
  program
    .command('remove')
    .description(
      'Takes this network off a node where no agent runs any more: files, links, routes, nftables, its blocks.',
    )
    .option('--bin-dir <dir>', 'where the runtime looks for plugins', '/opt/cni/bin')
    .option('--conf-dir <dir>', 'where the runtime looks for networks; without it none is removed')
    .option('--conf-name <file>', 'name of the network configuration', confName, CONFLIST_NAME)
    .option('--local', 'ask nothing of the API server, and leave what is there of this node')
    .option('--whole-cluster', 'every node goes: IPPools do not wait for their blocks any more')
    .action(async (_flags: object, command: Command) => (await import('./remove.ts')).remove(command.optsWithGlobals()))
}

function probed(text: string): Probed {
  if (text === 'live' || text === 'ready') return text
  throw new InvalidArgumentError(`${text} is neither live nor ready`)
}

function confName(text: string): string {
  if (/^[\w.-]+\.conflist$/.test(text)) return text
  throw new InvalidArgumentError(`${text} is not a file name that ends with .conflist`)
}

function yes(text: string): boolean {
  if (text === 'yes' || text === 'no') return text === 'yes'
  throw new InvalidArgumentError(`${text} is neither yes nor no`)
}

function chain(text: string): readonly ChainedPlugin[] {
  if (text === 'none') return []
  const names = text.split(',')
  const unknown = names.find(name => !(CHAINED_PLUGINS as readonly string[]).includes(name))
  if (unknown === undefined) return CHAINED_PLUGINS.filter(name => names.includes(name))
  throw new InvalidArgumentError(`${unknown} is none of ${CHAINED_PLUGINS.join(', ')}, none`)
}
