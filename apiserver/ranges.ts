// Address ranges that must not overlap: those of pools, and those of blocks. A CRD cannot say it, since it sees one object.
import { isLocked } from '../api/datastore-lock.ts'
import { type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { blockName } from '../api/names.ts'
import { addressBits, contains, formatCidr, maskAddress, overlaps, parseCidr } from '../lib/ip.ts'
import { conflict, invalid } from './status.ts'
import type { Storage } from './storage.ts'
import type { Stored } from './stored.ts'

/** Refuses a new pool or block by throwing Invalid or Conflict that names the other object. */
export function checkRange(kind: Kind, object: AnyObject, storage: Storage): void {
  if (kind === 'IPPool') checkPool(object, storage)
  if (kind === 'IPAMBlock') checkBlock(object, storage)
}

function cidrOf(object: AnyObject): string {
  return String((object.spec as { cidr: unknown }).cidr)
}

/** The range of a stored pool, which never changes. */
const ranges = new WeakMap<Stored, string>()

function rangeOf(stored: Stored): string {
  const known = ranges.get(stored) ?? cidrOf(stored.read())
  ranges.set(stored, known)
  return known
}

/** While the datastore is locked a part of a pool may become one: `ipam split` puts the parts in its place. Nobody uses them before. */
function checkPool(pool: AnyObject, storage: Storage): void {
  const cidr = cidrOf(pool)
  const locked = isLocked(storage.get('ClusterInformation', 'default')?.read())
  const mayBePart = (range: string): boolean => locked && range !== cidr && contains(range, cidr)
  const other = storage.list('IPPool').find(each => overlaps(rangeOf(each), cidr) && !mayBePart(rangeOf(each)))
  if (other === undefined) return
  const whose = `${kinds.IPPool.singular} ${other.metadata.name} (${rangeOf(other)})`
  const message = `overlaps with ${whose}: give each pool a range of its own`
  throw invalid('IPPool', pool.metadata.name, [{ path: 'spec.cidr', message }])
}

/** The name is the lock of a block, so it must be that of its CIDR; then names alone say which blocks overlap. */
function checkBlock(block: AnyObject, storage: Storage): void {
  const cidr = cidrOf(block)
  const { name } = block.metadata
  if (name !== blockName(cidr))
    throw invalid('IPAMBlock', name, [{ path: 'metadata.name', message: `must be ${blockName(cidr)}, for ${cidr}` }])
  const parsed = parseCidr(cidr)!
  const around = Array.from({ length: parsed.length }, (_, length) =>
    blockName(formatCidr({ ...parsed, length, address: maskAddress(parsed.address, length) })),
  ).find(each => storage.get('IPAMBlock', each) !== undefined)
  const inside = (): string | undefined =>
    parsed.length === addressBits(parsed.family) ? undefined : blockInside(cidr, parsed.length, storage)
  const other = around ?? inside()
  if (other !== undefined) throw conflict('IPAMBlock', name, `it overlaps with ipamblock ${other}: claim another range`)
}

/** A block with a longer prefix in the range. Most blocks are of one size, which the end of the name tells. */
function blockInside(cidr: string, length: number, storage: Storage): string | undefined {
  for (const name of storage.names('IPAMBlock')) {
    const dash = name.lastIndexOf('-')
    if (Number(name.slice(dash + 1)) <= length) continue
    const address = cidr.includes(':')
      ? name.slice(0, dash).replaceAll('-', ':')
      : name.slice(0, dash).replaceAll('-', '.')
    const other = `${address}${name.slice(dash).replace('-', '/')}`
    if (parseCidr(other) !== undefined && overlaps(other, cidr)) return name
  }
  return undefined
}
