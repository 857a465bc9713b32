// How full pools are, whose an address is and what is wrong, as text. Pure.
import { formatRef } from '../api/status.ts'
import type { forecast, NodeForecast, PoolForecast } from '../ipam/forecast.ts'
import type { Released } from './ipam-asking.ts'
import type { Report } from './ipam-report.ts'
import type { AddressUse, BlockUsage, borrowedAddresses, Counts, Usage } from './ipam-usage.ts'
import { renderFields, renderTable } from './render.ts'

/** calicoctl's table; `wide` adds the pool's name or the block's node. Pure. */
export function renderUsage({ pools, outside }: Usage, view: { blocks: boolean; wide: boolean }): string {
  const row = (grouping: string, cidr: string, owner: string, counts: Counts): string[] => [
    grouping,
    cidr,
    ...(view.wide ? [owner] : []),
    String(counts.total),
    share(counts.used, counts.total),
    share(counts.reserved, counts.total),
    share(counts.free, counts.total),
  ]
  const ofBlock = (grouping: string) => (block: BlockUsage) => row(grouping, block.cidr, block.node ?? '', block)
  return renderTable(
    ['GROUPING', 'CIDR', ...(view.wide ? ['POOL OR NODE'] : []), 'IPS TOTAL', 'IPS IN USE', 'IPS RESERVED', 'IPS FREE'],
    [
      ...pools.flatMap(pool => [
        row('IP Pool', pool.cidr, pool.name, pool),
        ...(view.blocks ? pool.blocks.map(ofBlock('Block')) : []),
      ]),
      ...(view.blocks ? outside.map(ofBlock('Block, no pool')) : []),
    ],
  )
}

/** What is left of each pool, and with `blocks` of each node: pods, not addresses, and blocks that nodes may claim. Pure. */
export function renderForecast({ pools, nodes }: ReturnType<typeof forecast>, view: { blocks: boolean }): string {
  const ofPool = ({ pool, gives, left, blocks, next }: PoolForecast): string[] => [
    `IP Pool ${pool}`,
    gives ? (next === undefined ? 'never' : `${count(next.pods, 'pod')} on ${next.node}`) : '-',
    gives ? count(left, 'pod') : 'gives no address',
    gives ? String(blocks) : '-',
  ]
  const ofNode = ({ node, family, untilBlock, left }: NodeForecast): string[] => [
    `Node ${node} (${family})`,
    untilBlock === undefined ? 'never' : count(untilBlock, 'pod'),
    count(left, 'pod'),
    '',
  ]
  const rows = [...pools.map(ofPool), ...(view.blocks ? nodes.map(ofNode) : [])]
  return renderTable(['FORECAST', 'NEW BLOCK AFTER', 'FULL AFTER', 'BLOCKS LEFT'], rows)
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

/** calicoctl's table of what is borrowed, and a line on what names no node. Pure. */
export function renderBorrowed({ borrowed, unclassified }: ReturnType<typeof borrowedAddresses>): string {
  const table = renderTable(
    ['IP', 'BORROWING-NODE', 'BLOCK', 'BLOCK OWNER', 'TYPE', 'ALLOCATED-TO'],
    borrowed.map(({ ip, node, block, owner, type, to }) => [ip, node, block, owner ?? '', type, to]),
  )
  if (unclassified === 0) return table
  return `${table}\nof ${count(unclassified, 'address', 'addresses')} nobody can tell whether they are borrowed: their blocks name no node for them\n`
}

type Checked = Pick<Report, 'pools' | 'blocks' | 'nodes' | 'asked' | 'looked' | 'faults' | 'allocations'>

/** One line per fault, or one that all is sound, and what was looked at; with `addresses` those that are given before. Pure. */
export function renderChecked(checked: Checked, view: { addresses: boolean }): string {
  const { pools, blocks, nodes, asked, looked, faults, allocations } = checked
  const given = Object.values(allocations).flat()
  const addresses = view.addresses
    ? `${renderTable(
        ['ADDRESS', 'NODE', 'IN USE', 'BY', 'HANDLE'],
        given.map(({ ip, node, inUse, owners, handle }) => [
          ip,
          node ?? '',
          inUse ? 'yes' : 'no',
          owners.join(', '),
          handle ?? '',
        ]),
      )}\n`
    : ''
  const of = `${count(pools, 'pool')}, ${count(blocks, 'block')} and ${count(given.length, 'address', 'addresses')}`
  const proven =
    asked.length === 0
      ? `none of ${count(nodes, 'node')} was asked`
      : `${count(asked.length, 'node')} of ${nodes} asked, ${count(looked, 'pod interface')} looked at`
  if (faults.length === 0) return `${addresses}nothing is wrong with ${of}; ${proven}\n`
  return (
    addresses +
    renderTable(
      ['OBJECT', 'FAULT', 'REMEDY'],
      faults.map(({ object, fault, remedy }) => [formatRef(object), fault, remedy]),
    )
  )
}

/** One line per block or address: what was freed, or why it was not. Pure. */
export function renderReleased(released: readonly Released[]): string {
  if (released.length === 0) return 'there is nothing to free\n'
  return released
    .map(({ what, freed, refused, remedy }) =>
      refused === undefined
        ? `${what} freed ${count(freed.length, 'address', 'addresses')}${freed.length === 0 ? '' : `: ${freed.join(', ')}`}\n`
        : `${what} stays: ${refused}. ${remedy}.\n`,
    )
    .join('')
}

function count(number: number | bigint, noun: string, nouns = `${noun}s`): string {
  return `${number} ${Number(number) === 1 ? noun : nouns}`
}
