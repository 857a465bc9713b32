// The `ipam` commands, in calicoctl's words: how full pools are, whose an address is, what is wrong, and what to free.
import { BORROWER_ANSWER_MS } from '../api/borrower-questions.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { claimedBlock, forecast } from '../ipam/forecast.ts'
import { inputsOf } from '../ipam/inputs.ts'
import { formatCidr, parseAddress, parseCidr } from '../lib/ip.ts'
import { packageVersion } from '../lib/package-files.ts'
import { agentOptions } from './agents.ts'
import { type Command, type Context, type Options, outputOption } from './command.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import type { Released, ReleaseOptions } from './ipam-asking.ts'
import { ipamCheck } from './ipam-check.ts'
import { checkThere, IPAM_CHECK_THERE } from './ipam-nodes.ts'
import { releaseAddress, releaseLeaks, releaseNode } from './ipam-release.ts'
import { leaksOf } from './ipam-report.ts'
import { splitPool } from './ipam-split.ts'
import { addressUse, borrowedAddresses, shownForecast, usage } from './ipam-usage.ts'
import { renderAddress, renderBorrowed, renderForecast, renderReleased, renderUsage } from './ipam-view.ts'
import { wholeNumberOf } from './numbers.ts'
import { FORMATS, type Format, show } from './render.ts'
import { socketOption } from './socket.ts'

export const ipamCommands: readonly Command[] = [
  {
    name: 'ipam show',
    summary: 'Show how full the pools are, or whose an address is',
    arguments: [],
    options: [
      { flags: '--show-blocks', summary: "each pool's blocks too" },
      { flags: '--show-borrowed', summary: 'the addresses that other nodes than the owners of their blocks have' },
      { flags: '--ip <address>', summary: 'whose this address is; exit code 1 when it is free' },
      outputOption,
    ],
    run: ipamShow,
  },
  {
    name: 'ipam check',
    summary:
      'Look for what is wrong with pools and blocks; with names, --all or --here, prove also that on these nodes addresses that are given, pods, interfaces and routes are the same. Exit code 1 when something is wrong, or a node was not asked',
    arguments: [{ name: '[nodes...]', summary: 'nodes of the cluster, asked by the API server' }],
    options: [
      { flags: '-a, --all', summary: 'all nodes of the cluster, asked by the API server' },
      { flags: '--here', summary: 'this node alone, by its agent: no API server is asked' },
      { flags: '--show-all-ips', summary: 'every address that is given too, and what uses it' },
      ...agentOptions,
      socketOption,
      {
        flags: '-o, --output <format>',
        summary: `how to show it (${FORMATS.join(', ')}), or a file for the report, with a dot or a slash in its name`,
        default: 'table',
      },
    ],
    run: ipamCheck,
  },
  {
    name: IPAM_CHECK_THERE,
    summary: 'Print what this node found as lines of JSON',
    arguments: [],
    hidden: true,
    options: [socketOption],
    run: checkThere,
  },
  {
    name: 'ipam split',
    summary:
      'Put parts of equal size in the place of an IPPool while the datastore is locked; pods keep their network, blocks stay. May be repeated when it was cut off',
    arguments: [{ name: '<number>', summary: 'how many parts: a power of 2' }],
    options: [
      { flags: '--cidr <cidr>', summary: 'the IPPool with this range' },
      { flags: '--name <name>', summary: 'the IPPool of this name' },
    ],
    run: ipamSplit,
  },
  {
    name: 'ipam release',
    summary: 'Free what a node that is gone left behind; refuses what is in use',
    arguments: [],
    options: [
      { flags: '--ip <address>', summary: 'this address alone' },
      { flags: '--node <name>', summary: 'all blocks of this node, and what others lent to it' },
      {
        flags: '--from-report <file>',
        summary:
          "what nothing uses by a report of 'ipam check -o report.json'; given several times: by all of these. One must be newer than the last change of the ClusterInformation",
        repeated: true,
      },
      {
        flags: '--wait <seconds>',
        summary:
          'how long the owner has to answer that it lives; a node to which addresses are lent has 60 at the least',
        default: '10',
      },
      {
        flags: '--force',
        summary: 'also what is in use: a node that lives takes it back, and may lose it to another one',
      },
      outputOption,
    ],
    run: ipamRelease,
  },
]

async function ipamShow(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { ip, showBlocks, showBorrowed } = options
  const format = options['output'] as Format
  if ([ip !== undefined, showBlocks === true, showBorrowed === true].filter(Boolean).length > 1)
    throw new UsageError('give one of --ip, --show-blocks and --show-borrowed')
  const address = ip === undefined ? undefined : parseAddress(String(ip))
  if (ip !== undefined && address === undefined) throw new UsageError(`--ip ${ip} is no IP address`)
  if (showBorrowed === true) {
    const found = borrowedAddresses(await all(context, 'IPAMBlock'))
    context.out(show(found, format, () => renderBorrowed(found)))
    return EXIT.fine
  }
  const [pools, blocks] = await Promise.all([all(context, 'IPPool'), all(context, 'IPAMBlock')])
  if (address !== undefined) {
    const use = addressUse(address, pools, blocks)
    context.out(show(use, format, () => renderAddress(use)))
    return use.inUse ? EXIT.fine : EXIT.no
  }
  const [reservations, settings, nodes] = await Promise.all([
    all(context, 'IPReservation'),
    all(context, 'IPAMConfiguration'),
    all(context, 'Node'),
  ])
  const inputs = inputsOf(pools, reservations, settings)
  const found = usage(pools, blocks, inputs.reserved)
  const claimants = nodes.map(({ metadata: { name, labels = {} } }) => ({ name, labels }))
  const next = forecast(inputs, blocks.map(claimedBlock), claimants)
  const whole = { ...found, forecast: shownForecast(next) }
  const { pools: ofPools } = whole.forecast
  const shown =
    showBlocks === true
      ? whole
      : { pools: found.pools.map(({ blocks: _, ...pool }) => pool), forecast: { pools: ofPools } }
  const view = (kind: Format) => ({ blocks: showBlocks === true, wide: kind === 'wide' })
  context.out(show(shown, format, kind => `${renderUsage(found, view(kind))}\n${renderForecast(next, view(kind))}`))
  return EXIT.fine
}

async function ipamSplit([number]: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { name, cidr } = options
  if ((name === undefined) === (cidr === undefined)) throw new UsageError('give one of --cidr and --name')
  const range = cidr === undefined ? undefined : parseCidr(String(cidr))
  if (cidr !== undefined && range === undefined) throw new UsageError(`--cidr ${cidr} is no CIDR`)
  const which = { name: name === undefined ? undefined : String(name), cidr: range && formatCidr(range) }
  const { pool, parts } = await splitPool(await context.store(), which, Number(number))
  const lines = parts.map(part => `IPPool ${part.name} has ${part.cidr}\n`)
  context.out(
    `IPPool ${pool} is split into ${parts.length}:\n${lines.join('')}Correct what names it, change the parts as they should be, then 'margayctl datastore unlock'.\n`,
  )
  return EXIT.fine
}

async function ipamRelease(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { ip, node, fromReport, force } = options
  if ([ip, node, fromReport].filter(each => each !== undefined).length !== 1)
    throw new UsageError('give one of --ip, --node and --from-report')
  const waitMs = wholeNumberOf(options, 'wait', 0, 9999) * 1000
  const how = { force: force === true, waitMs, borrowerWaitMs: Math.max(waitMs, BORROWER_ANSWER_MS) }
  const released = await releasedBy({ ip, node, fromReport }, how, context)
  context.out(show(released, options['output'] as Format, () => renderReleased(released)))
  return released.every(({ refused }) => refused === undefined) ? EXIT.fine : EXIT.no
}

async function releasedBy(
  { ip, node, fromReport }: Options,
  how: ReleaseOptions,
  context: Context,
): Promise<Released[]> {
  if (ip !== undefined) {
    const address = parseAddress(String(ip))
    if (address === undefined) throw new UsageError(`--ip ${ip} is no IP address`)
    return releaseAddress(await context.store(), address, how)
  }
  if (node !== undefined) return releaseNode(await context.store(), String(node), how)
  const reports = await context.read(fromReport as readonly string[])
  const info = (await all(context, 'ClusterInformation')).find(({ metadata }) => metadata.name === 'default')
  return releaseLeaks(
    await context.store(),
    leaksOf(reports, { version: packageVersion(), info, force: how.force }),
    how,
  )
}

async function all<K extends Kind>(context: Context, kind: K): Promise<Resource<K>[]> {
  return (await context.store()).list(kind)
}
