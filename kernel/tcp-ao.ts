// The kernel's structures for keys of TCP-AO (linux/tcp.h since 6.7), in the byte order of little-endian machines. Pure.
import type { TcpAoAlgorithm, TcpAoKey } from '../lib/tcp-ao.ts'

const SOCKADDR_STORAGE = 128
const ALGORITHM_NAME = 64
const MAXKEYLEN = 80
const SET_CURRENT = 1
const SET_RNEXT = 2
const DEL_ASYNC = 4

/** Names of the kernel's crypto; `cmac(aes128)` is the one that makes its key by RFC 5926 section 3.1.1.2. */
const ALGORITHMS: Readonly<Record<TcpAoAlgorithm, string>> = {
  'hmac-sha1': 'hmac(sha1)',
  'aes-128-cmac': 'cmac(aes128)',
}

/**
 * `struct tcp_ao_add`: a key for the peers in `prefix` bits of `address`, a sockaddr. `first`: what is sent is signed with it, and the
 * peer is asked to sign with it; not for a socket that listens. The secret must have at most 80 octets.
 */
export function tcpAoAdd(address: Buffer, prefix: number, key: TcpAoKey, first: boolean): Buffer {
  // sockaddr_storage | alg_name[64] | ifindex i32 | flags u32 | reserved2 u16 | prefix u8 | sndid u8 | rcvid u8 | maclen u8
  // | keyflags u8 | keylen u8 | key[80] | padding to 8
  const out = Buffer.alloc(SOCKADDR_STORAGE + ALGORITHM_NAME + 96)
  out.set(address, 0)
  out.write(ALGORITHMS[key.algorithm], SOCKADDR_STORAGE)
  const at = SOCKADDR_STORAGE + ALGORITHM_NAME
  out.writeUInt32LE(first ? SET_CURRENT | SET_RNEXT : 0, at + 4)
  const secret = Buffer.from(key.secret)
  if (secret.length > MAXKEYLEN) throw new RangeError(`a key of ${secret.length} octets`)
  // a maclen of 0 is the 96 bits of RFC 5925
  out.set([prefix, key.sendId, key.receiveId, 0, 0, secret.length], at + 10)
  out.set(secret, at + 16)
  return out
}

/** `struct tcp_ao_del` for a socket that listens. */
export function tcpAoDelete(address: Buffer, prefix: number, { sendId, receiveId }: TcpAoKey): Buffer {
  // sockaddr_storage | ifindex i32 | flags u32 | reserved2 u16 | prefix u8 | sndid u8 | rcvid u8 | current u8 | rnext u8 | keyflags u8
  const out = Buffer.alloc(SOCKADDR_STORAGE + 16)
  out.set(address, 0)
  out.writeUInt32LE(DEL_ASYNC, SOCKADDR_STORAGE + 4)
  out.set([prefix, sendId, receiveId], SOCKADDR_STORAGE + 10)
  return out
}

/** `struct tcp_ao_info_opt` that asks the peer of a connection to sign with `key` (RNextKeyID, RFC 5925 section 2.2). */
export function tcpAoAsk({ receiveId }: TcpAoKey): Buffer {
  // flags u32 | reserved2 u16 | current_key u8 | rnext u8 | five counters u64
  const out = Buffer.alloc(48)
  out.writeUInt32LE(SET_RNEXT, 0)
  out[7] = receiveId
  return out
}
