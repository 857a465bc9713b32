// The `ipam` commands, in calicoctl's words: how full pools are, whose an address is, what is wrong.
import type { Kind, Resource } from '../api/kinds.ts'
import { parseAddress } from '../lib/ip.ts'
import { type Command, type Context, type Options, outputOption } from './command.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { type Fault, ipamFaults } from './ipam-faults.ts'
import { type AddressUse, addressUse, type BlockUsage, type Counts, type Usage, usage } from './ipam-usage.ts'
import { type Format, renderFields, renderTable, show } from './render.ts'

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
  const found = usage(pools, blocks)
  const shown = showBlocks === true ? found : { pools: found.pools.map(({ blocks: _, ...pool }) => pool) }
  context.out(show(shown, format, kind => renderUsage(found, { blocks: showBlocks === true, wide: kind === 'wide' })))
  return EXIT.fine
}

async function ipamCheck(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const [pools, blocks, nodes] = await Promise.all([
    all(context, 'IPPool'),
    all(context, 'IPAMBlock'),
    all(context, 'Node'),
  ])
  const faults = ipamFaults({ pools, blocks, nodes: nodes.map(({ metadata }) => metadata.name) })
  const report = { pools: pools.length, blocks: blocks.length, nodes: nodes.length, faults }
  context.out(show(report, options['output'] as Format, () => renderFaults(report)))
  return faults.length === 0 ? EXIT.fine : EXIT.no
}

async function all<K extends Kind>(context: Context, kind: K): Promise<Resource<K>[]> {
  return (await context.store()).list(kind)
}

/** calicoctl's table; `wide` adds the pool's name or the block's node. Pure. */
export function renderUsage({ pools, outside }: Usage, view: { blocks: boolean; wide: boolean }): string {
  const row = (grouping: string, cidr: string, owner: string, counts: Counts): string[] => [
    grouping,
    cidr,
    ...(view.wide ? [owner] : []),
    String(counts.total),
    share(counts.used, counts.total),
    share(counts.free, counts.total),
  ]
  const ofBlock = (grouping: string) => (block: BlockUsage) => row(grouping, block.cidr, block.node ?? '', block)
  return renderTable(
    ['GROUPING', 'CIDR', ...(view.wide ? ['POOL OR NODE'] : []), 'IPS TOTAL', 'IPS IN USE', 'IPS FREE'],
    [
      ...pools.flatMap(pool => [
        row('IP Pool', pool.cidr, pool.name, pool),
        ...(view.blocks ? pool.blocks.map(ofBlock('Block')) : []),
      ]),
      ...(view.blocks ? outside.map(ofBlock('Block, no pool')) : []),
    ],
  )
}

function share(part: number | bigint, total: number | bigint): string {
  return `${part} (${Math.round((Number(part) / Number(total)) * 100)}%)`
}

/** Whose an address is, a line for each thing that is known. Pure. */
export function renderAddress({ address, inUse, pool, block, node, handle, attributes }: AddressUse): string {
  const where = pool === undefined && block === undefined ? ' and lies in no IPPool' : ''
  const known = [
    ['Pool', pool],
    ['Block', block],
    ['Node', node],
    ['Handle', handle],
  ] as const
  const others = Object.entries(attributes).filter(([name]) => name !== 'node')
  return `IP ${address} is ${inUse ? 'in use' : `not in use${where}`}\n${renderFields([...known, ...others])}`
}

/** One line per fault, or one that all is sound. Pure. */
export function renderFaults({ pools, blocks, faults }: { pools: number; blocks: number; faults: Fault[] }): string {
  if (faults.length === 0) return `nothing is wrong with ${count(pools, 'pool')} and ${count(blocks, 'block')}\n`
  return renderTable(
    ['OBJECT', 'FAULT', 'REMEDY'],
    faults.map(({ object, fault, remedy }) => [object, fault, remedy]),
  )
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
