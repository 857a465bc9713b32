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
