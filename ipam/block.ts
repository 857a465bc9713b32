// One block of addresses as a value: 2^n numbered slots of a CIDR, who holds each, and the queue of free ones. Pure.
// On the wire it is an IPAMBlock whose `attributes` are de-duplicated and hold nothing that no slot points to (that is
// what `calicoctl ipam check` asserts), and whose sequence numbers lie above 2^53, so they are bigints here.
import { keepBorrowersAsked } from '../api/borrower-questions.ts'
import type { Resource } from '../api/kinds.ts'
import { BLOCK_WANTED_ANNOTATION, blockName } from '../api/names.ts'
import { addressAt, addressBits, cidr, indexOf } from '../lib/ip.ts'

/** Who holds a slot: `handle_id` and `secondary` of the IPAMBlock resource. */
export type Holder = { readonly handle: string; readonly secondary: Readonly<Record<string, string>> }

/** `since` is the block's sequence number at the time of the assignment. */
export type Slot = Holder & { readonly since: bigint }

/** `free` is a queue, so a released address rests before it is used again. `sequence` grows with every change. */
export type Block = {
  readonly cidr: string
  readonly slots: readonly (Slot | null)[]
  readonly free: readonly number[]
  readonly sequence: bigint
}

/** A block with every slot free. `sequence` is by custom the time of its making in nanoseconds. */
export function emptyBlock(blockCidr: string, sequence: bigint): Block {
  const size = blockSize(blockCidr)
  return { cidr: blockCidr, slots: Array(size).fill(null), free: Array.from({ length: size }, (_, i) => i), sequence }
}

/** How many addresses a block CIDR has. Throws beyond 2^16, which no pool allows. */
export function blockSize(blockCidr: string): number {
  const { family, length } = cidr(blockCidr)
  const bits = addressBits(family) - length
  if (bits > 16) throw new RangeError(`${blockCidr} is too large for a block`)
  return 2 ** bits
}

/** The first free slot whose address `usable` allows; undefined when the block has none. */
export function nextFree(block: Block, usable: (address: string) => boolean = () => true): number | undefined {
  return block.free.find(ordinal => usable(addressAt(block.cidr, ordinal)))
}

/** Gives one free slot to `holder`. Throws when the slot is taken: the caller asked `nextFree` or `freeSlot` first. */
export function assign(block: Block, holder: Holder, ordinal: number): Block {
  if (block.slots[ordinal] !== null) throw new Error(`slot ${ordinal} of ${block.cidr} is not free`)
  const sequence = block.sequence + 1n
  return {
    cidr: block.cidr,
    slots: block.slots.with(ordinal, { handle: holder.handle, secondary: holder.secondary, since: sequence }),
    free: block.free.filter(free => free !== ordinal),
    sequence,
  }
}

/**
 * Frees every slot of a handle, but for those that are lent to another node than `owner`: a container there may have the same handle.
 * The same object comes back when it holds none: the caller then skips the write.
 */
export function release(block: Block, handle: string, owner?: string): { block: Block; freed: readonly number[] } {
  const freed = slotsOf(block, handle).filter(ordinal => owner === undefined || !isLent(block.slots[ordinal]!, owner))
  if (freed.length === 0) return { block, freed }
  const slots = [...block.slots]
  for (const ordinal of freed) slots[ordinal] = null
  return { block: { ...block, slots, free: [...block.free, ...freed], sequence: block.sequence + 1n }, freed }
}

/** Frees one slot that somebody has. */
export function freeAt(block: Block, ordinal: number): Block {
  const slots = block.slots.with(ordinal, null)
  return { ...block, slots, free: [...block.free, ordinal], sequence: block.sequence + 1n }
}

/** A slot that somebody has is `holder`'s from now on. */
export function handOver(block: Block, ordinal: number, { handle, secondary }: Holder): Block {
  const sequence = block.sequence + 1n
  return { ...block, slots: block.slots.with(ordinal, { handle, secondary, since: sequence }), sequence }
}

/** Slots of these handles are of other ones. */
export function rename(block: Block, handles: ReadonlyMap<string, string>): Block {
  const slots = block.slots.map(slot => slot && { ...slot, handle: handles.get(slot.handle) ?? slot.handle })
  return { ...block, slots, sequence: block.sequence + 1n }
}

/** Whether a slot of a block of `owner` is another node's. */
export function isLent({ secondary }: Holder, owner: string): boolean {
  const node = secondary['node']
  return node !== undefined && node !== owner
}

/** The slots that a handle holds. */
function slotsOf(block: Block, handle: string): number[] {
  return [...block.slots.keys()].filter(ordinal => block.slots[ordinal]?.handle === handle)
}

/** The slot of an address, when it is free. */
export function freeSlot(block: Block, address: string): number | undefined {
  const ordinal = indexOf(block.cidr, address)
  return ordinal !== undefined && block.slots[ordinal] === null ? ordinal : undefined
}

export function isEmpty(block: Block): boolean {
  return block.free.length === block.slots.length
}

/** Who writes a block: the journal `epoch` of an agent of this node. */
export type Owner = { node: string; epoch: string }

const EPOCH_ANNOTATION = 'margay/journal'

/** The journal that wrote a block last; undefined when it was written by Calico or by an earlier version. */
export function epochOf({ metadata }: Resource<'IPAMBlock'>): string | undefined {
  return metadata.annotations?.[EPOCH_ANNOTATION]
}

const ASKED_ANNOTATION = 'margay/owner-asked'

/** Who wants to know whether the owner of a block still lives: its agent answers by taking the question out. Undefined: nobody. */
export function ownerAsked({ metadata }: Resource<'IPAMBlock'>): string | undefined {
  return metadata.annotations?.[ASKED_ANNOTATION]
}

/** The block with that question in it; `by` says who asks, and when, for people. */
export function askOwner(item: Resource<'IPAMBlock'>, by: string): Resource<'IPAMBlock'> {
  const annotations = { ...item.metadata.annotations, [ASKED_ANNOTATION]: by }
  return { ...item, metadata: { ...item.metadata, annotations } }
}

const COLLECT_ANNOTATION = 'margay/collect-asked'

/** Whether somebody wants the owner of a block to free what no pod of it has. */
export function isCollectAsked({ metadata }: Resource<'IPAMBlock'>): boolean {
  return metadata.annotations?.[COLLECT_ANNOTATION] !== undefined
}

/** The block with that request in it; `by` as for `askOwner`. */
export function askCollect(item: Resource<'IPAMBlock'>, by: string): Resource<'IPAMBlock'> {
  const annotations = { ...item.metadata.annotations, [COLLECT_ANNOTATION]: by }
  return { ...item, metadata: { ...item.metadata, annotations } }
}

/** Whether a node without a free address wants this block, which its owner had no pod in. */
export function isBlockWanted({ metadata }: Resource<'IPAMBlock'>): boolean {
  return metadata.annotations?.[BLOCK_WANTED_ANNOTATION] !== undefined
}

/** The block with that wish in it; `by` as for `askOwner`. */
export function askBlock(item: Resource<'IPAMBlock'>, by: string): Resource<'IPAMBlock'> {
  const annotations = { ...item.metadata.annotations, [BLOCK_WANTED_ANNOTATION]: by }
  return { ...item, metadata: { ...item.metadata, annotations } }
}

/** The block without questions and requests. */
export function answerAsked(item: Resource<'IPAMBlock'>): Resource<'IPAMBlock'> {
  const annotations = { ...item.metadata.annotations }
  for (const name of [ASKED_ANNOTATION, COLLECT_ANNOTATION, BLOCK_WANTED_ANNOTATION]) delete annotations[name]
  return { ...item, metadata: { ...item.metadata, annotations } }
}

/** The affinity text of a node's blocks. */
export function affinityOf(node: string): string {
  return `host:${node}`
}

/**
 * Reads an IPAMBlock. Total: a resource that breaks the rules (see `blockFaults`) is mended towards safety, so an
 * address that anything calls allocated stays allocated, and one that nothing mentions is free, last in the queue.
 */
export function parseBlock({ spec }: Resource<'IPAMBlock'>): Block {
  const size = blockSize(spec.cidr)
  const since = (ordinal: number): bigint =>
    BigInt(spec.sequenceNumberForAllocation?.[ordinal] ?? spec.sequenceNumber ?? 0)
  const slots = Array.from({ length: size }, (_, ordinal): Slot | null => {
    const index = spec.allocations[ordinal]
    if (index === null || index === undefined) return null
    const held = spec.attributes[index]
    return { handle: held?.handle_id ?? '', secondary: held?.secondary ?? {}, since: since(ordinal) }
  })
  const queued = spec.unallocated.filter(ordinal => slots[ordinal] === null)
  const free = new Set([...queued, ...[...slots.keys()].filter(ordinal => slots[ordinal] === null)])
  return { cidr: spec.cidr, slots, free: [...free], sequence: BigInt(spec.sequenceNumber ?? 0) }
}

/** Writes a block as the IPAMBlock of its owner, keeping what `base` (the object as read) has beyond our own fields. */
export function emitBlock(block: Block, owner: Owner, base?: Resource<'IPAMBlock'>): Resource<'IPAMBlock'> {
  const nodes = new Set(block.slots.map(slot => slot?.secondary['node']))
  const kept = base && keepBorrowersAsked(answerAsked(base), node => nodes.has(node)).metadata
  return {
    ...base,
    metadata: {
      ...kept,
      name: blockName(block.cidr),
      annotations: { ...kept?.annotations, [EPOCH_ANNOTATION]: owner.epoch },
    },
    spec: blockSpec(block, affinityOf(owner.node), base?.spec),
  }
}

/** The spec of the IPAMBlock of a block with this affinity, or none; keeps what `base` has beyond our own fields. */
export function blockSpec(
  block: Block,
  affinity: string | undefined,
  base?: Resource<'IPAMBlock'>['spec'],
): Resource<'IPAMBlock'>['spec'] {
  const attributes: { handle_id: string; secondary: Record<string, string> }[] = []
  const seen = new Map<string, number>()
  const allocations = block.slots.map(slot => {
    if (slot === null) return null
    const key = holderKey(slot)
    const known = seen.get(key)
    if (known !== undefined) return known
    seen.set(key, attributes.length)
    return attributes.push({ handle_id: slot.handle, secondary: { ...slot.secondary } }) - 1
  })
  const since = block.slots.flatMap((slot, ordinal) => (slot === null ? [] : [[String(ordinal), slot.since] as const]))
  return {
    ...base,
    cidr: block.cidr,
    affinity,
    strictAffinity: base?.strictAffinity ?? false,
    allocations,
    unallocated: [...block.free],
    attributes,
    sequenceNumber: block.sequence,
    sequenceNumberForAllocation: Object.fromEntries(since),
    deleted: false,
  }
}

function holderKey({ handle, secondary }: Holder): string {
  return JSON.stringify([handle, Object.entries(secondary).sort(([a], [b]) => (a < b ? -1 : 1))])
}

/** Whether two blocks say the same of every address and of the queue; sequence numbers apart. */
function sameAllocations(a: Block, b: Block): boolean {
  if (a.cidr !== b.cidr || a.free.length !== b.free.length) return false
  if (a.free.some((ordinal, i) => ordinal !== b.free[i])) return false
  return a.slots.every((slot, ordinal) => {
    const other = b.slots[ordinal] ?? null
    return slot === null || other === null ? slot === other : holderKey(slot) === holderKey(other)
  })
}

/** Whether the API server has a block as it is, written by this owner. */
export function isPublished(block: Block, item: Resource<'IPAMBlock'>, { epoch }: Pick<Owner, 'epoch'>): boolean {
  return sequenceOf(item) === block.sequence && epochOf(item) === epoch && sameAllocations(parseBlock(item), block)
}

export function sequenceOf({ spec }: Resource<'IPAMBlock'>): bigint {
  return BigInt(spec.sequenceNumber ?? 0)
}

/** What `calicoctl ipam check` would call wrong in the structure of a block; empty when it is sound. `nowMs`: since 1970. */
export function blockFaults({ spec }: Resource<'IPAMBlock'>, nowMs: number): string[] {
  const faults: string[] = []
  const size = blockSize(spec.cidr)
  const used = new Set<number>()
  if (spec.allocations.length !== size) faults.push(`has ${spec.allocations.length} allocations for ${size} addresses`)
  for (const [ordinal, index] of spec.allocations.entries()) {
    if (index === null) continue
    used.add(index)
    if (spec.attributes[index] === undefined) faults.push(`allocation ${ordinal} points to no attribute`)
  }
  for (const [index, { releasedAt }] of spec.attributes.entries()) {
    if (!used.has(index)) faults.push(`no allocation points to attribute ${index}`)
    // Calico's cool-down; nothing here writes it
    if (typeof releasedAt === 'string' && Date.parse(releasedAt) > nowMs)
      faults.push(`attribute ${index} was released in the future, at ${releasedAt}`)
  }
  const queued = new Set<number>()
  for (const ordinal of spec.unallocated) {
    if (ordinal >= size) faults.push(`unallocated ${ordinal} is out of range`)
    if (queued.has(ordinal)) faults.push(`unallocated ${ordinal} is there twice`)
    if (typeof spec.allocations[ordinal] === 'number') faults.push(`unallocated ${ordinal} is allocated`)
    queued.add(ordinal)
  }
  const allocated = spec.allocations.filter(index => index !== null).length
  if (spec.unallocated.length + allocated !== size)
    faults.push(`${spec.unallocated.length} unallocated and ${allocated} allocated do not make ${size}`)
  return faults
}
