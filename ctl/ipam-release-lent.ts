// `ipam release` of addresses that the owner of a block lent to another node: the owner, which lives, frees them when it is asked in the
// name of that node. As margay-controllers it does so only where that node has no Node object and does not answer, unless it is forced.
import { setTimeout as sleep } from 'node:timers/promises'
import { askBorrowers, borrowerAsked } from '../api/borrower-questions.ts'
import { isLocked } from '../api/datastore-lock.ts'
import type { Resource } from '../api/kinds.ts'
import type { Store } from '../datastore/port.ts'
import { ownerOf, returnLent } from '../ipam/block-owners.ts'
import { contains, indexOf } from '../lib/ip.ts'
import { inTurns } from './each.ts'
import {
  asker,
  changeBlock,
  found,
  hasNode,
  LOOK_MS,
  type Refusal,
  type Released,
  type ReleaseOptions,
} from './ipam-asking.ts'

type BlockObject = Resource<'IPAMBlock'>

/** Addresses of a block that are lent to one node. `block`: its name. */
export type Lent = { block: string; node: string; addresses: readonly string[] }

/** The node other than the owner that a block of a node gives an address to; undefined: none. */
export function borrowerOf(block: BlockObject, address: string): string | undefined {
  const { cidr, allocations, attributes } = block.spec
  const ordinal = contains(cidr, address) ? indexOf(cidr, address) : undefined
  const index = ordinal === undefined ? null : (allocations[ordinal] ?? null)
  const node = index === null ? undefined : attributes[index]?.secondary?.['node']
  const owner = ownerOf(block)
  return owner === undefined || node === owner ? undefined : node
}

/** Frees addresses of blocks whose owners live. Rejects as the store. */
export async function releaseLent(store: Store, lent: readonly Lent[], options: ReleaseOptions): Promise<Released[]> {
  if (lent.length === 0) return []
  const by = asker()
  const refusals = new Map<Lent, Refusal>()
  if (!options.force) {
    await inTurns(lent, async each => {
      const { node, block } = each
      if (await hasNode(store, node)) refusals.set(each, livesStill(node))
      else if (!(await changeBlock(store, block, now => askBorrowers(now, [node], by)))) refusals.set(each, BUSY)
    })
    if (refusals.size < lent.length) await sleep(options.borrowerWaitMs)
  }
  await inTurns(
    lent.filter(each => !refusals.has(each)),
    async each => {
      const { node, block, addresses } = each
      const returning = async (now: BlockObject) => {
        const lives = !options.force && (borrowerAsked(now, node) !== by || (await hasNode(store, node)))
        if (lives) refusals.set(each, livesStill(node))
        return lives ? undefined : returnLent(now, node, by, addresses)
      }
      if (!(await changeBlock(store, block, returning)) && !refusals.has(each)) refusals.set(each, BUSY)
    },
  )
  const locked = isLocked(await found(store.get('ClusterInformation', 'default')))
  const until = performance.now() + options.waitMs
  const done = [...refusals].flatMap(([{ addresses }, refusal]) => stays(addresses, refusal))
  let left = lent.filter(each => !refusals.has(each))
  for (;;) {
    const waiting: Lent[] = []
    for (const each of left) {
      const { block, node, addresses } = each
      const now = await found(store.get('IPAMBlock', block))
      const kept = addresses.filter(address => now !== undefined && borrowerOf(now, address) === node)
      const freed = addresses.filter(address => !kept.includes(address))
      if (freed.length > 0) done.push({ what: `IPAMBlock ${block}`, freed })
      if (kept.length === 0) continue
      if (performance.now() < until) waiting.push({ ...each, addresses: kept })
      else for (const told of stays(kept, locked ? LOCKED : silent(ownerOf(now!)))) done.push(told)
    }
    if (waiting.length === 0) return done
    left = waiting
    await sleep(LOOK_MS)
  }
}

function stays(addresses: readonly string[], refusal: Refusal): Released[] {
  return addresses.map(address => ({ what: `IP ${address}`, freed: [], ...refusal }))
}

const BUSY: Refusal = { refused: 'its block is written all the time, or is gone', remedy: 'do it again' }

const LOCKED: Refusal = {
  refused: 'the datastore is locked, so no agent writes a block',
  remedy: "'margayctl datastore unlock': the owner of its block frees it then",
}

function livesStill(node: string): Refusal {
  return {
    refused: `it is lent to node ${node}, which has a Node object or answers that it lives, and gives it back when its pod is gone`,
    remedy: `delete the Node and stop its agent if the machine is gone for good; --ip with --force takes it all the same`,
  }
}

function silent(owner: string | undefined): Refusal {
  return {
    refused: `the agent of ${owner}, which lent it, did not answer yet`,
    remedy: 'look whether it runs and reaches the API server; it frees the address as soon as it reads the block',
  }
}
