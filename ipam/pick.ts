// Which pool, and which block of it. Pure: pools, reservations and taken blocks come in as values, selectors as
// predicates. Ranges are compared as numbers: a /48 of IPv6 has more blocks than anybody can list.
import { type IpPool, inAgeOrder, usesOf } from '../api/pools.ts'
import { addressAt, addressBits, addressBytes, cidr, contains, type Family, familyOf } from '../lib/ip.ts'
import { earlierOverlaps } from '../lib/overlap.ts'
import { blockSize } from './block.ts'
import type { AssignRefusal, AssignRequest } from './port.ts'
import { namespaceUnknown } from './refusals.ts'

/** First and last address as numbers, one range per CIDR. Families never compare equal. */
type Range = { family: Family; first: bigint; last: bigint }

/** What a request asks for of one family. `pools`: names or CIDRs. `address`: one that is asked for by name. */
export type Choice = Pick<AssignRequest, 'tunnel'> & {
  /** Of a Service: no node asks. */
  use: AssignRequest['use'] | 'LoadBalancer'
  family: Family
  pools?: readonly string[]
  namespace?: string
  address?: string
}

export type Selects = {
  node(selector: string): boolean
  /** Undefined: nothing is known of this namespace yet. Absent: a pool with a namespace selector is used only when a request names it. */
  namespace?(selector: string, namespace: string): boolean | undefined
}

/**
 * The pools that may serve a request, in the order in which they will be used. Pools that were asked for beat
 * selectors but not `disabled`, `allowedUses` or a family (Calico's determinePools and filterPoolsByUse); so does the
 * one that holds an address that was asked for (Calico's AssignIP, which does not look at `allowedUses` either). For the
 * address of a tunnel those with its encapsulation are used (determineEnabledPoolCIDRs), and others only where there is none. Of IPv6 no others are: that address is the source of packets, and one of a pool without VXLAN
 * gets no answer from behind a router.
 */
export function poolsFor(all: readonly IpPool[], choice: Choice, selects: Selects): readonly IpPool[] | AssignRefusal {
  const { family, use, pools: asked, address, tunnel } = choice
  const usable = usablePools(all)
  const forUse = (pool: IpPool): boolean => familyOf(pool.spec.cidr) === family && usesOf(pool.spec).includes(use)
  if (asked !== undefined) {
    const found: IpPool[] = []
    for (const word of asked) {
      const pool = usable.find(({ metadata, spec }) => metadata.name === word || spec.cidr === word)
      if (pool === undefined)
        return noPool(`there is no enabled IPPool ${word}`, `create or enable the pool, or stop asking for it by name`)
      if (familyOf(pool.spec.cidr) !== family)
        return noPool(`IPPool ${word} has no ${family} addresses`, `name a pool of ${family}, or none`)
      found.push(pool)
    }
    const allowed = found.filter(forUse)
    if (allowed.length === 0) return noPool(`none of the pools asked for serves ${family} for ${use}`, HOW_TO_SERVE)
    return address === undefined ? allowed : holding(address, allowed, use)
  }
  if (address !== undefined) return holding(address, usable.filter(forUse), use)
  // assignmentMode and namespaceSelector are about pods and Services
  const mayChoose = ({ spec }: IpPool): boolean => use === 'Tunnel' || spec.assignmentMode === 'Automatic'
  const ofNode = usable.filter(pool => forUse(pool) && mayChoose(pool) && selects.node(pool.spec.nodeSelector))
  const isOfNamespace = (pool: IpPool) => use === 'Tunnel' || selectsNamespace(pool, choice.namespace, selects)
  // a pod that began in another pool would keep its address for its life
  const unclear = ofNode.find(pool => isOfNamespace(pool) === undefined)
  if (unclear !== undefined) return namespaceUnknown(choice.namespace!, unclear.metadata.name)
  const picked = ofNode.filter(isOfNamespace)
  if (picked.length === 0)
    return noPool(`no IPPool serves ${family} for ${use}${use === 'LoadBalancer' ? '' : ' on this node'}`, HOW_TO_SERVE)
  // a pool that names the namespace, or has the encapsulation of the tunnel, is meant for it: the others do not stand in for it
  const meant = picked.filter(pool => (use === 'Tunnel' ? carries(pool, tunnel) : namesNamespaces(pool)))
  if (meant.length === 0 && family === 'ipv6' && tunnel !== undefined)
    return noPool(`no IPPool of this node gives ${family} addresses to tunnels, and has ${tunnel}Mode`, HOW_TO_TUNNEL)
  return (meant.length > 0 ? meant : picked).sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
}

/** The pools that give new addresses to anybody. */
export function usablePools(all: readonly IpPool[]): IpPool[] {
  const clashing = new Set(overlappingPools(all).map(({ refused }) => refused))
  const live = all.filter(pool => !pool.spec.disabled && pool.metadata.deletionTimestamp === undefined)
  return live.filter(pool => !clashing.has(pool.metadata.name))
}

/** Whether some pod of this node would get an address: one of a certain namespace, say, or one that asks for its pool by name. */
export function servesSomePod(all: readonly IpPool[], selects: Selects): boolean {
  return usablePools(all).some(({ spec }) => usesOf(spec).includes('Workload') && selects.node(spec.nodeSelector))
}

function holding(address: string, pools: readonly IpPool[], use: string): readonly IpPool[] | AssignRefusal {
  const found = pools.filter(({ spec }) => contains(spec.cidr, address))
  if (found.length > 0) return found
  if (pools.length === 0) return noPool(`no enabled IPPool serves ${familyOf(address)} for ${use}`, HOW_TO_SERVE)
  return {
    refused: 'address-outside',
    message: `${address} is in no enabled pool for ${use}`,
    remedy: `ask for an address of ${pools.map(({ spec }) => spec.cidr).join(', ')}`,
  }
}

const HOW_TO_SERVE =
  'create an IPPool of this family, or check disabled, nodeSelector, namespaceSelector, allowedUses and assignmentMode of those that exist'

const HOW_TO_TUNNEL =
  'let nodeSelector and allowedUses of an IPPool of this family with vxlanMode take this node and Tunnel'

function noPool(message: string, remedy: string): AssignRefusal {
  return { refused: 'no-pool', message, remedy }
}

function selectsNamespace(pool: IpPool, namespace: string | undefined, selects: Selects): boolean | undefined {
  if (!namesNamespaces(pool)) return true
  if (namespace === undefined || selects.namespace === undefined) return false
  return selects.namespace(pool.spec.namespaceSelector ?? '', namespace)
}

/** Whether the tunnels of other nodes lead to the addresses of a pool. */
export function carries({ spec }: IpPool, tunnel: Choice['tunnel']): boolean {
  return (tunnel === 'ipip' && spec.ipipMode !== 'Never') || (tunnel === 'vxlan' && spec.vxlanMode !== 'Never')
}

function namesNamespaces({ spec }: IpPool): boolean {
  return !['', 'all()'].includes(spec.namespaceSelector ?? '')
}

/**
 * Pairs of pools that share addresses. Two pools over one range would cut it into blocks of different names, and the
 * name is the only lock; so the younger one (then the later name) is not used.
 */
export function overlappingPools(pools: readonly IpPool[]): { refused: string; because: string }[] {
  const ordered = inAgeOrder(pools)
  return earlierOverlaps(ordered.map(({ spec }) => spec.cidr)).flatMap(({ overlap }, i) =>
    overlap === undefined ? [] : [{ refused: ordered[i]!.metadata.name, because: ordered[overlap]!.metadata.name }],
  )
}

/** Whether an address lies in any of the reserved CIDRs or addresses. */
export function reservedBy(reserved: readonly string[]): (address: string) => boolean {
  const ranges = rangesOf(reserved)
  if (ranges.length === 0) return () => false
  return address => {
    const { family, first } = rangeOf(address)
    return ranges.some(r => r.family === family && r.first <= first && first <= r.last)
  }
}

/** How many addresses of a CIDR lie in any of the reserved ones, each counted once. */
export function reservedIn(reserved: readonly string[], within: string): bigint {
  return count(partsOf(rangesOf(reserved), rangeOf(within)))
}

/** The same of a block, one by one: it has thousands of addresses, and this is asked at each ADD. Undefined: none is reserved. */
export function reservedOrdinals(
  reserved: readonly string[],
  block: string,
): ((ordinal: number) => boolean) | undefined {
  const whole = rangeOf(block)
  const ranges = partsOf(rangesOf(reserved), whole).map(({ first, last }) => ({
    from: Number(first - whole.first),
    to: Number(last - whole.first),
  }))
  return ranges.length === 0 ? undefined : ordinal => ranges.some(({ from, to }) => from <= ordinal && ordinal <= to)
}

/** The parts of a range that lie in one of `ranges`, merged. */
function partsOf(ranges: readonly Range[], whole: Range): Range[] {
  const overlapping = ranges.filter(
    ({ family, first, last }) => family === whole.family && first <= whole.last && last >= whole.first,
  )
  // of two CIDRs that overlap one holds the other
  return merge(overlapping.map(range => (range.last - range.first > whole.last - whole.first ? whole : range)))
}

/** Reservations as ranges, by the list that they came in. */
const parsed = new WeakMap<readonly string[], readonly Range[]>()

function rangesOf(reserved: readonly string[]): readonly Range[] {
  const ranges = parsed.get(reserved) ?? reserved.map(rangeOf)
  parsed.set(reserved, ranges)
  return ranges
}

/**
 * The first block of a pool that overlaps no taken one, is not wholly reserved, and `suits` (absent: each does). Each node starts at
 * its own place, so that two nodes seldom try for the same block, then walks on and wraps once.
 */
export function pickBlock(
  pool: IpPool,
  taken: Iterable<string>,
  reserved: readonly string[],
  node: string,
  suits: (block: string) => boolean = () => true,
): string | undefined {
  const { cidr: poolCidr, blockSize: length } = pool.spec
  const { family, first, last } = rangeOf(poolCidr)
  const size = BigInt(2 ** (addressBits(family) - length))
  const count = (last - first + 1n) / size
  const claimed = merge([...taken].map(rangeOf).filter(r => r.family === family))
  const kept = merge(rangesOf(reserved).filter(r => r.family === family))
  const start = BigInt(hash(node)) % count
  const found = firstGap(start, count) ?? firstGap(0n, start)
  return found === undefined ? undefined : blockAt(found)

  function blockAt(index: bigint): string {
    return `${addressAt(poolCidr, index * size)}/${length}`
  }

  /** The first useful block with an index in [from, to); a busy range is passed in one step. */
  function firstGap(from: bigint, to: bigint): bigint | undefined {
    for (let at = from; at < to; ) {
      const low = first + at * size
      const high = low + size - 1n
      const hit = claimed.find(r => r.first <= high && r.last >= low)
      // a reservation of a part of a block leaves the rest of it useful
      const shut = hit ?? kept.find(r => r.first <= low && r.last >= high)
      if (shut === undefined) {
        if (suits(blockAt(at))) return at
        at++
        continue
      }
      const past = (shut.last + 1n - first + (hit === undefined ? 0n : size - 1n)) / size
      at = past > at ? past : at + 1n
    }
    return undefined
  }
}

/** What nodes may still claim of a pool: blocks that are not wholly reserved, and the addresses in them that are not. */
export type Unclaimed = { blocks: bigint; addresses: bigint }

/** What `pickBlock` can find in a pool, counted. */
export function unclaimedIn(pool: IpPool, taken: readonly string[], reserved: readonly string[]): Unclaimed {
  const { cidr: poolCidr, blockSize: length } = pool.spec
  const whole = rangeOf(poolCidr)
  const size = BigInt(2 ** (addressBits(whole.family) - length))
  const down = (at: bigint): bigint => at - ((at - whole.first) % size)
  // a block of another size makes those that share addresses with it useless
  const claimed = partsOf(taken.map(rangeOf), whole).map(({ family, first, last }) => ({
    ...{ family, first: down(first), last: down(last) + size - 1n },
  }))
  const kept = partsOf(rangesOf(reserved), whole)
  const shut = kept.flatMap(({ family, first, last }) => {
    const from = down(first + size - 1n)
    const to = down(last + 1n)
    return from < to ? [{ family, first: from, last: to - 1n }] : []
  })
  const all = whole.last - whole.first + 1n
  return {
    blocks: (all - count(merge([...claimed, ...shut]))) / size,
    addresses: all - count(merge([...claimed, ...kept])),
  }
}

function count(ranges: readonly Range[]): bigint {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1n, 0n)
}

/** Sorted ranges without overlaps; neighbours become one. */
function merge(ranges: readonly Range[]): Range[] {
  const sorted = [...ranges].sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))
  const merged: Range[] = []
  for (const range of sorted) {
    const before = merged.at(-1)
    if (before === undefined || range.first > before.last + 1n) merged.push({ ...range })
    else if (range.last > before.last) before.last = range.last
  }
  return merged
}

/** First and last address of a CIDR or of one address. */
function rangeOf(text: string): Range {
  const family = familyOf(text)
  const { address, length } = text.includes('/') ? cidr(text) : { address: text, length: addressBits(family) }
  const first = addressBytes(address).reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n)
  return { family, first, last: first + (1n << BigInt(addressBits(family) - length)) - 1n }
}

/** From 0 to 1, the same for a node every time: spreads what all nodes do. */
export function turnOf(node: string): number {
  return hash(node) / 2 ** 32
}

/** FNV-1a, 32 bits: spreads nodes over a pool and gives a node the same start every time. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (const octet of new TextEncoder().encode(text)) value = Math.imul(value ^ octet, 0x01000193) >>> 0
  return value
}

/** The block of `pool` that holds `address`. */
export function blockOf(pool: IpPool, address: string): string {
  const { family, first } = rangeOf(pool.spec.cidr)
  const size = BigInt(2 ** (addressBits(family) - pool.spec.blockSize))
  const index = (rangeOf(address).first - first) / size
  return `${addressAt(pool.spec.cidr, index * size)}/${pool.spec.blockSize}`
}

/** How many free addresses are few enough that the next block is claimed: a quarter of a block. */
export function lowWater(blockCidr: string): number {
  return Math.floor(blockSize(blockCidr) / 4)
}
