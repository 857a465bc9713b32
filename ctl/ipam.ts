// The `ipam` commands, in calicoctl's words: how full pools are, whose an address is, what is wrong, and what to free.
import type { Kind, Resource } from '../api/kinds.ts'
import { claimedBlock, forecast } from '../ipam/forecast.ts'
import { inputsOf } from '../ipam/inputs.ts'
import { parseAddress } from '../lib/ip.ts'
import { type Command, type Context, type Options, outputOption } from './command.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { ipamFaults, orphansOf } from './ipam-faults.ts'
import { type Released, type ReleaseOptions, releaseAddress, releaseBlocks, releaseNode } from './ipam-release.ts'
import { addressUse, shownForecast, usage } from './ipam-usage.ts'
import { renderAddress, renderFaults, renderForecast, renderReleased, renderUsage } from './ipam-view.ts'
import { wholeNumberOf } from './numbers.ts'
import { type Format, show } from './render.ts'

export const ipamCommands: readonly Command[] = [
  {
    name: 'ipam show',
    summary: 'Show how full the pools are, or whose an address is',
    arguments: [],
    options: [
      { flags: '--show-blocks', summary: "each pool's blocks too" },
      { flags: '--ip <address>', summary: 'whose this address is; exit code 1 when it is free' },
      outputOption,
    ],
    run: ipamShow,
  },
  {
    name: 'ipam check',
    summary: 'Look for what is wrong with pools and blocks; exit code 1 when something is',
    arguments: [],
    options: [outputOption],
    run: ipamCheck,
  },
  {
    name: 'ipam release',
    summary: 'Free what a node that is gone left behind; refuses what is in use',
    arguments: [],
    options: [
      { flags: '--ip <address>', summary: 'this address alone' },
      { flags: '--node <name>', summary: 'all blocks of this node' },
      { flags: '--from-report <file>', summary: "the blocks without a node of a report of 'ipam check -o json'" },
      { flags: '--wait <seconds>', summary: 'how long the owner has to answer that it lives', default: '10' },
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
  const { ip, showBlocks } = options
  const format = options['output'] as Format
  if (ip !== undefined && showBlocks === true) throw new UsageError('give --ip or --show-blocks, not both')
  const address = ip === undefined ? undefined : parseAddress(String(ip))
  if (ip !== undefined && address === undefined) throw new UsageError(`--ip ${ip} is no IP address`)
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

async function ipamCheck(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const [pools, blocks, nodes] = await Promise.all([
    all(context, 'IPPool'),
    all(context, 'IPAMBlock'),
    all(context, 'Node'),
  ])
  const names = nodes.map(({ metadata }) => metadata.name)
  const faults = ipamFaults({ pools, blocks, nodes: names, nowMs: Date.now() })
  const report = { pools: pools.length, blocks: blocks.length, nodes: nodes.length, faults }
  context.out(show(report, options['output'] as Format, () => renderFaults(report)))
  return faults.length === 0 ? EXIT.fine : EXIT.no
}

async function ipamRelease(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { ip, node, fromReport, force } = options
  if ([ip, node, fromReport].filter(each => each !== undefined).length !== 1)
    throw new UsageError('give one of --ip, --node and --from-report')
  const how = { force: force === true, waitMs: wholeNumberOf(options, 'wait', 0, 9999) * 1000 }
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
  const [report] = await context.read([String(fromReport)])
  return releaseBlocks(await context.store(), orphansOf(report!.text, report!.name), how)
}

async function all<K extends Kind>(context: Context, kind: K): Promise<Resource<K>[]> {
  return (await context.store()).list(kind)
}
