// How soon a changed block must be published: who else depends on what its object says. Pure. The owner needs its object only
// after its journal was lost, and then the kernel says which addresses its pods have. Others read it for two things: which node
// owns the block, which is written when that changes, and whether pods have addresses of it, since a pool that is being
// deleted goes when they have none (`pool-release.ts`).
import type { Resource } from '../api/kinds.ts'
import { type Block, isPublished, type Owner, type Slot } from './block.ts'
import type { OwnedBlock } from './journal.ts'
import { isPods } from './subnet.ts'

type BlockObject = Resource<'IPAMBlock'>

/**
 * `now`: nobody may see the object any longer as it is. `in use`: the block still has pods, as its object says. `emptied`:
 * the object says that pods have addresses, and none has, which may stay so for a while. `published`: nothing is to be done.
 */
export type Urgency = 'now' | 'in use' | 'emptied' | 'published'

/** Of a block of this node, by its object as the API server has it; `now` where one of them is missing. */
export function urgencyOf(owned: OwnedBlock | undefined, item: BlockObject | undefined, owner: Owner): Urgency {
  if (owned === undefined || owned.lostTo !== undefined || item === undefined) return 'now'
  const { block } = owned
  const { spec } = item
  if (isPublished(block, item, owner)) return 'published'
  const publishedPods = spec.attributes.some(({ secondary }) => isPods(secondary))
  if (!publishedPods || !sameUnseen(block, spec)) return 'now'
  return hasPods(block) ? 'in use' : 'emptied'
}

/** Whether a pod has an address of the block; the address of a tunnel is none of a pod. */
export function hasPods({ slots }: Block): boolean {
  return slots.some(slot => slot !== null && isPods(slot.secondary))
}

/** The kernel does not say which addresses tunnels and pods of other plugins had. */
function sameUnseen({ slots }: Block, { allocations, attributes }: BlockObject['spec']): boolean {
  return slots.every((slot, ordinal) => {
    const held = attributes[allocations[ordinal] ?? -1]
    const published = held?.secondary?.['type'] === undefined ? undefined : held.handle_id
    return published === (slot === null ? undefined : unseenOf(slot))
  })
}

/** The handle of an address that no interface of a pod of ours shows. */
function unseenOf({ handle, secondary }: Slot): string | undefined {
  return secondary['type'] === undefined ? undefined : handle
}
