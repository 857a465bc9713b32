// What this node's kernel has, an object at a time, for who looks for a fault from afar: links, addresses, routes, rules, next hop
// objects, neighbours and forwarding entries of everybody, and our own tables of nftables. It changes nothing. Hazards: others may have a
// million of each, so of each kind some are told and the others are counted; rules of other programs may say more than their
// owner wants to tell, so their tables are left out.
import type { KernelLine, KernelPart } from '../api/kernel-line.ts'
import { ownTables } from '../felix/marks.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { NftTableName } from '../kernel/port/nftables.ts'
import { ROUTE_TABLE } from '../kernel/port/routes.ts'
import type { Marks } from '../kernel/reconcile/ownership.ts'

type StateKernel = Pick<
  Kernel,
  'links' | 'addresses' | 'routes' | 'rules' | 'nextHopObjects' | 'neighbours' | 'fdb' | 'nftables' | 'chainTexts'
>

/** Of each kind. */
const MOST = 20_000
/** Elements of a set on one line. */
const ELEMENTS_PER_LINE = 1000

export async function* kernelState(kernel: StateKernel, marks: Marks): AsyncGenerator<KernelLine> {
  const links = async () => await kernel.links()
  yield* part('links', links)
  yield* part('addresses', () => kernel.addresses())
  yield* part('routes', () => kernel.routes({ table: ROUTE_TABLE.main }))
  yield* part('rules', () => kernel.rules())
  yield* part('next-hops', async () => (await kernel.nextHopObjects()) ?? [])
  yield* part('neighbours', () => kernel.neighbours())
  yield* part('fdb', async () => {
    const devices = (await links()).filter(({ kind }) => kind === 'vxlan')
    return (await Promise.all(devices.map(({ index }) => kernel.fdb(index)))).flat()
  })
  for (const table of ownTables(marks)) yield* part('nftables', () => tableState(kernel, table))
}

async function* part(of: KernelPart, read: () => Promise<readonly unknown[]>): AsyncGenerator<KernelLine> {
  try {
    const all = await read()
    for (const is of all.slice(0, MOST)) yield { of, is }
    if (all.length > MOST) yield { of, left: all.length - MOST }
  } catch (error) {
    if (!(error instanceof KernelError)) throw error
    yield { of, fault: error.message }
  }
}

/** Chains with their rules in the words of nft(8), and what is in the sets. Empty where there is no such table. */
async function tableState(kernel: StateKernel, of: NftTableName): Promise<object[]> {
  const table = `${of.family} ${of.name}`
  const found = await kernel.nftables(of)
  if (found === undefined) return []
  const names = found.chains.map(({ name }) => name)
  const chains = (await kernel.chainTexts(of, names)).map(({ rules, ...chain }) => ({
    ...{ table, ...chain },
    rules: [...rules.values()],
  }))
  const sets = found.sets.map(({ name }) => ({ table, set: name }))
  const elements = found.elements.flatMap(({ set, elements }) =>
    Array.from({ length: Math.ceil(elements.length / ELEMENTS_PER_LINE) }, (_, i) => ({
      ...{ table, set },
      elements: elements.slice(i * ELEMENTS_PER_LINE, (i + 1) * ELEMENTS_PER_LINE).map(({ key }) => key),
    })),
  )
  return [...chains, ...sets, ...elements]
}
