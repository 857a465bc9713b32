// How ranges and their neighbours are called where sessions are known by keys. Pure. The speaker puts an address behind the name of its range.

/** The key of the range of a BGPPeer. */
export function rangeKey(bgpPeer: string): string {
  return `range ${bgpPeer}`
}

/** The BGPPeer whose range has this key; undefined where it is of no range. */
export function bgpPeerOf(key: string): string | undefined {
  return /^range ([^:]+)$/.exec(key)?.[1]
}

/** The range that a neighbour came from, and its address; undefined where the key is of none. */
export function neighbourOf(key: string): { range: string; address: string } | undefined {
  const [, range, address] = /^(range [^:]+):(.+)$/.exec(key) ?? []
  return range === undefined ? undefined : { range, address: address! }
}
