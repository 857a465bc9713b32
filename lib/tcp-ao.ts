// Keys of the TCP Authentication Option (RFC 5925), as peers agree on them.

/** By their names in RFC 5926 section 3.1, in small letters: the two that every implementation has. MACs have 96 bits. */
export const TCP_AO_ALGORITHMS: readonly TcpAoAlgorithm[] = ['hmac-sha1', 'aes-128-cmac']

export type TcpAoAlgorithm = 'hmac-sha1' | 'aes-128-cmac'

/** One key (a "master key tuple", RFC 5925 section 3.1). Among the keys for a peer no id is there twice in a direction. */
export type TcpAoKey = {
  /** 0-255: stands in what is sent with the key; the peer's `receiveId`. */
  sendId: number
  /** 0-255: stands in what the peer sends with it; the peer's `sendId`. */
  receiveId: number
  algorithm: TcpAoAlgorithm
  /** 1-80 octets of UTF-8. */
  secret: string
}

export function sameKey(a: TcpAoKey, b: TcpAoKey): boolean {
  const sameIds = a.sendId === b.sendId && a.receiveId === b.receiveId
  return sameIds && a.algorithm === b.algorithm && a.secret === b.secret
}
