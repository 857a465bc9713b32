// What the IPAMBlocks say against what the nodes say of themselves. Blocks are published up to two minutes late, so both are
// compared only in the version that both have: every change of a block has a sequence number of its own. Blocks must be read
// before the nodes are asked: then a node never has an older version than the server, unless somebody else wrote. Pure.
import type { AddressFindingAnswer, HeldAddress } from '../api/answers.ts'
import type { Resource } from '../api/kinds.ts'
import { blockName } from '../api/names.ts'
import type { Holder } from '../ipam/block.ts'
import { ownerOf } from '../ipam/block-owners.ts'
import { isLoadBalancerBlock, serviceHolders } from '../ipam/load-balancer.ts'
import { addressAt } from '../lib/ip.ts'
import type { Fault } from './ipam-faults.ts'

type BlockObject = Resource<'IPAMBlock'>

/** What one node answered, whole. */
export type NodeAnswer = {
  /** Its blocks with the version of each. */
  blocks: ReadonlyMap<string, bigint>
  addresses: readonly HeldAddress[]
  findings: readonly AddressFindingAnswer[]
  looked: number
  unlooked: readonly string[]
}

/** An address that a block says is given, under calicoctl's names. */
export type Allocation = {
  ip: string
  handle?: string
  sequenceNumber?: number | bigint
  pod?: string
  namespace?: string
  node?: string
  type?: string
  creationTimestamp?: string
  /** False where it is proven that nothing uses it: its node says so, or there is no such node. */
  inUse: boolean
  borrowed?: true
  /** What uses it, or why nobody can tell. */
  owners: string[]
}

/**
 * Every address that the blocks give away. `answers`: of the nodes that were asked. `services`: all that there are, by the handles of
 * their addresses.
 */
export function allocationsOf(
  blocks: readonly BlockObject[],
  nodes: ReadonlySet<string>,
  answers: ReadonlyMap<string, NodeAnswer>,
  services: ReadonlyMap<string, unknown>,
): Allocation[] {
  const held = new Map(
    [...answers].map(([node, { addresses }]) => [node, new Map(addresses.map(each => [each.address, each]))]),
  )
  return blocks.flatMap(block => {
    const owner = ownerOf(block)
    return block.spec.allocations.flatMap((index, ordinal): Allocation[] => {
      if (index === null) return []
      const { handle_id: handle, secondary = {} } = block.spec.attributes[index] ?? {}
      const { pod, namespace, type, timestamp, node = owner } = secondary
      const ip = addressAt(block.spec.cidr, ordinal)
      return [
        {
          ip,
          ...defined({ handle, pod, namespace, node, type, creationTimestamp: timestamp }),
          ...defined({ sequenceNumber: block.spec.sequenceNumberForAllocation?.[ordinal] }),
          ...(isLoadBalancerBlock(block)
            ? useByServices({ handle: handle ?? '', secondary }, services)
            : use({
                node,
                owner,
                handle,
                held: held.get(owner ?? '')?.get(ip),
                nodes,
                answer: answers.get(owner ?? ''),
                block,
              })),
          ...(node !== owner && { borrowed: true as const }),
        },
      ]
    })
  })
}

type Asked = {
  node: string | undefined
  owner: string | undefined
  handle: string | undefined
  held: HeldAddress | undefined
  nodes: ReadonlySet<string>
  answer: NodeAnswer | undefined
  block: BlockObject
}

function use({ node, owner, handle, held, nodes, answer, block }: Asked): Pick<Allocation, 'inUse' | 'owners'> {
  if (node === undefined || owner === undefined) return { inUse: true, owners: ['unknown: it names no node'] }
  if (!nodes.has(node)) return { inUse: false, owners: [] }
  if (answer === undefined) return { inUse: true, owners: [`unknown: Node(${owner}) was not asked`] }
  if (held !== undefined && held.use !== 'nobody')
    return { inUse: true, owners: [held.use === 'tunnel' ? `Node(${owner})` : `Workload(${held.owner})`] }
  // Calico gives addresses of a block to pods of other nodes: what runs there its owner cannot tell
  if (node !== owner) return { inUse: true, owners: [`unknown: Node(${node}) may have it, in a block of ${owner}`] }
  if (held !== undefined) return { inUse: held.handle !== handle, owners: [] }
  const isPublished = answer.blocks.get(block.spec.cidr) === sequenceOf(block)
  return isPublished ? { inUse: false, owners: [] } : { inUse: true, owners: [`Node(${owner}): not published yet`] }
}

function useByServices(holder: Holder, services: ReadonlyMap<string, unknown>): Pick<Allocation, 'inUse' | 'owners'> {
  const holders = serviceHolders(holder)
  if (holders.length === 0) return { inUse: true, owners: ['unknown: it names no Service'] }
  const owners = holders
    .filter(({ handle }) => services.has(handle))
    .map(({ namespace, name }) => `Service(${namespace}/${name})`)
  return { inUse: owners.length > 0, owners }
}

function defined<T extends Record<string, unknown>>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never
}

export type Difference = Fault & { block: string }

/** Where the block of a node and the node itself say other things of one version. */
export function differences(blocks: readonly BlockObject[], answers: ReadonlyMap<string, NodeAnswer>): Difference[] {
  return blocks.flatMap(block => {
    const node = ownerOf(block)
    const answer = node === undefined ? undefined : answers.get(node)
    return answer === undefined ? [] : ofBlock(block, node!, answer)
  })
}

function ofBlock(block: BlockObject, node: string, { blocks, addresses }: NodeAnswer): Difference[] {
  const { cidr, allocations, attributes } = block.spec
  const name = blockName(cidr)
  const told = (fault: string, remedy: string): Difference => ({
    ...{ object: { kind: 'IPAMBlock', name }, block: name, fault, remedy },
  })
  const own = blocks.get(cidr)
  if (own === undefined)
    return [
      told(`belongs to node ${node}, whose agent does not have it`, `restart the agent of ${node}: it takes it over`),
    ]
  const published = sequenceOf(block)
  if (own < published)
    return [
      told(
        `was written by somebody else after node ${node} wrote it`,
        `find the program that writes IPAMBlocks: a second agent named ${node}, or calico-node`,
      ),
    ]
  // what the node changed since comes within two minutes, or is told by its condition BlocksPublished
  if (own > published) return []
  const held = new Map(addresses.filter(each => each.block === cidr).map(each => [each.address, each.handle]))
  const remedy = `somebody changed the IPAMBlock by hand; restart the agent of ${node}: it writes what is true`
  return allocations.flatMap((index, ordinal) => {
    const address = addressAt(cidr, ordinal)
    const has = held.get(address)
    const says = index === null ? undefined : (attributes[index]?.handle_id ?? '')
    if (has === says) return []
    const [there, here] = [says === undefined ? 'free' : `of ${says}`, has === undefined ? 'free' : `of ${has}`]
    return [told(`says that ${address} is ${there}, and node ${node} that it is ${here}`, remedy)]
  })
}

function sequenceOf({ spec }: BlockObject): bigint {
  return BigInt(spec.sequenceNumber ?? 0)
}
