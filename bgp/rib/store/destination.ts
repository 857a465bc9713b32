// Prefixes that are no destination of a packet that a router may forward (RFC 6890 §2.2, RFC 1112 §4, RFC 4291 §2.4 and
// §2.5.5.2): this network, loopback, multicast and limited broadcast; in IPv6 unspecified, loopback, IPv4-mapped, link-local
// and multicast. A route to one must not be used or passed on. A shorter prefix that only covers one is a destination.

/** `address`: an unsigned number with its host bits cleared. */
export function isIpv4Destination(address: number, length: number): boolean {
  const first = address >>> 24
  if (first !== 0 && first !== 127 && first < 224) return true
  if (first === 0) return length < 8
  if (first === 127) return false
  if (first < 240) return length < 4
  return address !== 0xffffffff
}

/** The prefix stands at `bytes[at..at+16)` with its host bits cleared. */
export function isIpv6Destination(bytes: Uint8Array, at: number, length: number): boolean {
  const first = bytes[at]!
  if (first === 0xfe) return (bytes[at + 1]! & 0xc0) !== 0x80 || length < 10
  if (first === 0xff) return length < 8
  if (first !== 0 || length < 96) return true
  for (let i = at + 1; i < at + 10; i++) if (bytes[i] !== 0) return true
  const mapped = bytes[at + 10] === 0xff && bytes[at + 11] === 0xff
  if (mapped) return false
  for (let i = at + 10; i < at + 15; i++) if (bytes[i] !== 0) return true
  return length < 128 || bytes[at + 15]! > 1
}
