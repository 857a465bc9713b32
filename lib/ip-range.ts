// Ranges of addresses, and their words as nft has them. Pure.
import { addressBits, addressBytes, cidr, type Family, fromBig, toBig } from './ip.ts'

/** Both ends belong to it. */
export type AddressRange = { first: bigint; last: bigint }

/** All addresses of a CIDR. Throws `AddressError` when `text` is not one. */
export function rangeOf(text: string): AddressRange {
  const { family, address, length } = cidr(text)
  const first = toBig(addressBytes(address))
  return { first, last: first + (1n << BigInt(addressBits(family) - length)) - 1n }
}

/** `192.0.2.1` for one address, `192.0.2.0/24` where a prefix has exactly these, else `192.0.2.1-192.0.2.9`. */
export function formatRange({ first, last }: AddressRange, family: Family): string {
  const from = fromBig(first, family)
  const size = last - first + 1n
  if (size === 1n) return from
  const hostBits = size.toString(2).length - 1
  const isPrefix = size === 1n << BigInt(hostBits) && first % size === 0n
  return isPrefix ? `${from}/${addressBits(family) - hostBits}` : `${from}-${fromBig(last, family)}`
}

/** The addresses of `ranges` that are in none of `holes`: sorted ranges that do not touch. */
export function subtracted(ranges: readonly AddressRange[], holes: readonly AddressRange[]): AddressRange[] {
  const gaps = united(holes)
  return united(ranges).flatMap(({ first, last }) => {
    const left: AddressRange[] = []
    let from = first
    for (const gap of gaps) {
      if (gap.last < from) continue
      if (gap.first > last) break
      if (gap.first > from) left.push({ first: from, last: gap.first - 1n })
      from = gap.last + 1n
    }
    return from > last ? left : [...left, { first: from, last }]
  })
}

function united(ranges: readonly AddressRange[]): AddressRange[] {
  const all: { first: bigint; last: bigint }[] = []
  for (const { first, last } of [...ranges].sort((a, b) => (a.first < b.first ? -1 : 1))) {
    const before = all.at(-1)
    if (before === undefined || before.last + 1n < first) all.push({ first, last })
    else if (before.last < last) before.last = last
  }
  return all
}
