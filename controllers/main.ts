#!/usr/bin/env node
// margay-controllers: chores for the whole cluster, done by one of the programs that run. Flags and exit codes: 0 stopped when
// asked, 2 wrong usage, 3 it cannot go on. The work is in `run.ts`.
import { Command, InvalidArgumentError, Option } from 'commander'
import { API_GROUP_OPTION } from '../api/api-group.ts'
import { parseSocketAddress } from '../lib/ip.ts'
import { parseRanges } from './first-objects.ts'
import { LEASE_SECONDS } from './lease.ts'
import { type Flags, run } from './run.ts'

const program = new Command('margay-controllers')
  .description(
    'Chores for the whole cluster: frees the blocks of deleted nodes, lets deleted pools go, makes HostEndpoints for Nodes. One of several leads.',
  )
  .option('--kubeconfig <file>', 'how to reach the API server (default: $KUBECONFIG, or the pod’s service account)')
  .addOption(
    new Option(API_GROUP_OPTION.flags, API_GROUP_OPTION.description)
      .choices(API_GROUP_OPTION.choices)
      .env(API_GROUP_OPTION.env)
      .default(API_GROUP_OPTION.default),
  )
  .option('--lease-namespace <name>', 'where the Lease is (default: the pod’s own namespace, or kube-system)')
  .option(
    '--lease-duration <seconds>',
    'how long after its last word a leader is followed by another one, 3 at least',
    leaseSeconds,
    LEASE_SECONDS,
  )
  .option('--listen <address:port>', 'where /livez, /readyz and /metrics are answered', address, '127.0.0.1:9098')
  .option(
    '--node-grace <seconds>',
    'how long a Node must be gone before the owner of its blocks is asked; leakGracePeriod of KubeControllersConfiguration goes before it',
    seconds,
    60,
  )
  .option(
    '--owner-answer <seconds>',
    'how long the agent of such a node has to say that it lives, before its blocks are freed',
    seconds,
    60,
  )
  .option(
    '--first-pools <cidrs>',
    'ranges of the first pools in a cluster that has none, one of each family at the most; or none; kubeadm: its podSubnet',
    ranges,
    'kubeadm',
  )
  .option(
    '--kubeadm-config <file>',
    "kubeadm's ClusterConfiguration, from the ConfigMap kubeadm-config",
    '/etc/kubeadm/ClusterConfiguration',
  )
  .addOption(new Option('--log-level <level>').choices(['trace', 'debug', 'info', 'warn', 'error']).default('info'))
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))

program.parse()
await run(program.opts<Flags>())

function seconds(text: string): number {
  if (/^\d{1,7}$/.test(text)) return Number(text)
  throw new InvalidArgumentError(`${text} is not a number of seconds`)
}

function leaseSeconds(text: string): number {
  const value = seconds(text)
  if (value >= 3) return value
  throw new InvalidArgumentError(`${text}: a lease counts 3 seconds at least`)
}

function ranges(text: string): string {
  try {
    if (text !== 'kubeadm') parseRanges(text)
    return text
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message)
  }
}

function address(text: string): string {
  if (parseSocketAddress(text, 0) !== undefined) return text
  throw new InvalidArgumentError(`${text} is neither address:port nor [address]:port`)
}
