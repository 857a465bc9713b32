#!/usr/bin/env node
// margay-node: the agent's program. Flags and exit codes; the work is in `run.ts`. What is imported here is compiled again at
// each start, before the compile cache is set: only what the flags themselves need.
import { hostname } from 'node:os'
import { Command, InvalidArgumentError, Option } from 'commander'
import { API_GROUP_OPTION } from '../api/api-group.ts'
import { nodeName } from '../api/names.ts'
import { CONFLIST_NAME } from '../cni/conflist.ts'
import { addCommands } from './commands.ts'
import { useCompileCache } from './compile-cache.ts'
import { limitYoungGeneration } from './heap.ts'
import type { Flags } from './run.ts'

const program = new Command('margay-node')
  .description('The agent of one node: pod interfaces, addresses, routes, tunnels and BGP. Runs as root.')
  .option(
    '--node-name <name>',
    'name of this node’s Node object',
    nodeName,
    nodeName(process.env['NODENAME'] ?? hostname()),
  )
  .option('--kubeconfig <file>', 'how to reach the API server (default: $KUBECONFIG, or the pod’s service account)')
  .addOption(
    new Option(API_GROUP_OPTION.flags, API_GROUP_OPTION.description)
      .choices(API_GROUP_OPTION.choices)
      .env(API_GROUP_OPTION.env)
      .default(API_GROUP_OPTION.default),
  )
  .option('--data-dir <dir>', 'journal and snapshot; must survive reboots', '/var/lib/margay')
  .option('--run-dir <dir>', 'where agent.sock is made', '/run/margay')
  .option(
    '--node-ip <choice>',
    'IPv4 address of this node, or how it is chosen: auto, kubernetes-internal-ip, first-found, interface=REGEX, skip-interface=REGEX, can-reach=ADDRESS, cidr=CIDR, or none for a node of IPv6 alone; auto: none too where the machine has none',
    'auto',
  )
  .option('--node-ip6 <choice>', 'the same for IPv6; auto: none while no IPPool is IPv6', 'auto')
  .option(
    '--route-protocol <number>',
    'protocol number of this agent’s routes (`ip route`: proto); no other program of this host may use it (default: 80)',
    routeProtocol,
  )
  .option(
    '--accept-cluster-after <seconds>',
    'believe an API server that lost this node, all pools or most peers after so long (default: only `margayctl node accept-cluster` does)',
    seconds,
  )
  .option(
    '--cni-conf-dir <dir>',
    'where the runtime looks for networks: the configuration that `install` wrote is put back when it is deleted',
  )
  .option('--cni-conf-name <file>', 'its name', CONFLIST_NAME)
  .option('--sysctl-dir <dir>', 'another place of /proc/sys/net, which a container may not write', '/proc/sys/net')
  .addOption(new Option('--log-level <level>').choices(['trace', 'debug', 'info', 'warn', 'error']).default('info'))
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))

  .action(async (flags: Flags) => {
    useCompileCache(flags.dataDir)
    limitYoungGeneration()
    await checkChoices(flags)
    const { run } = await import('./run.ts')
    await run(flags)
  })
addCommands(program)
await program.parseAsync()

function routeProtocol(text: string): number {
  const number = Number(text)
  // 0 to 4 are the kernel's own and what people type
  if (/^\d+$/.test(text) && number >= 5 && number <= 255) return number
  throw new InvalidArgumentError(`${text} is not a number from 5 to 255`)
}

function seconds(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new InvalidArgumentError(`${text} is not a number of seconds`)
}

/** Ends the process where `--node-ip` or `--node-ip6` is no choice, or both leave the node without an address. */
async function checkChoices({ nodeIp, nodeIp6 }: Flags): Promise<void> {
  const { parseChoice } = await import('./address-choice.ts')
  for (const [option, text, family] of [
    ['--node-ip', nodeIp, 'ipv4'],
    ['--node-ip6', nodeIp6, 'ipv6'],
  ] as const)
    try {
      parseChoice(text, family)
    } catch (error) {
      program.error(`error: option '${option} <choice>' argument '${text}' is invalid. ${(error as Error).message}`)
    }
  if (nodeIp === 'none' && nodeIp6 === 'none')
    program.error('error: --node-ip and --node-ip6 are both none: a node needs an address')
}
