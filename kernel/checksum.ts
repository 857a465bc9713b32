// The checksum of IP's headers (RFC 1071).

/** The ones' complement of the ones' complement sum, and of `more`, a number that is covered too. An odd last octet counts as if a zero followed. */
export function checksum(message: Uint8Array, more = 0): number {
  let sum = more
  for (let i = 0; i < message.length; i += 2) sum += (message[i]! << 8) | (message[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}
