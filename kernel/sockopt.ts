// TCP sockets with options that node:net cannot set: MD5 signatures (RFC 2385), TCP-AO (RFC 5925), TTLs and GTSM (RFC 5082), a device.
// A socket is made here, gets its options while it is still unconnected, and is then handed to node:net by its
// descriptor. Constants and layouts: asm-generic/socket.h, linux/tcp.h, linux/in.h, linux/in6.h, netinet/in.h.
import { addressBits, addressBytes, type Family, familyOf } from '../lib/ip.ts'
import type { TcpAoKey } from '../lib/tcp-ao.ts'
import {
  bindSocket,
  closeDescriptor,
  interfaceIndex,
  openSocket,
  SOCKET_FAMILY,
  SOCKET_TYPE,
  setSocketInt,
  setSocketOption,
} from './libc.ts'
import { ERRNO, KernelError } from './port/error.ts'
import { tcpAoAdd, tcpAoAsk, tcpAoDelete } from './tcp-ao.ts'

export { KernelError }

const SOL_SOCKET = 1
const IPPROTO_IP = 0
const IPPROTO_TCP = 6
const IPPROTO_IPV6 = 41
const SO_REUSEADDR = 2
const SO_BINDTODEVICE = 25
const IP_TTL = 2
const IP_FREEBIND = 15
const IP_MINTTL = 21
const IP_BIND_ADDRESS_NO_PORT = 24
const IPV6_UNICAST_HOPS = 16
const IPV6_V6ONLY = 26
const IPV6_MINHOPCOUNT = 73
const IPV6_FREEBIND = 78
const TCP_MD5SIG = 14
const TCP_MD5SIG_EXT = 32
const TCP_MD5SIG_FLAG_PREFIX = 1
const TCP_MD5SIG_MAXKEYLEN = 80
const TCP_AO_ADD_KEY = 38
const TCP_AO_DEL_KEY = 39
const TCP_AO_INFO = 40
const SOCKADDR_STORAGE = 128

/** A new non-blocking, close-on-exec TCP socket; IPv6 ones never take IPv4. Throws `KernelError`. */
export function openTcp(family: Family): number {
  const fd = openSocket(SOCKET_FAMILY[family], SOCKET_TYPE.stream, 0, family)
  if (family === 'ipv6') setSocketInt(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, 'IPV6_V6ONLY')
  return fd
}

/**
 * Binds to `address` and `port` (0: any), with SO_REUSEADDR; a link-local address needs `interfaceName`. A port that may be
 * any is chosen when the socket connects: among thousands of connections the kernel would look for one that no other has.
 */
export function bindTcp(fd: number, address: string, port: number, interfaceName?: string): void {
  setSocketInt(fd, SOL_SOCKET, SO_REUSEADDR, 1, 'SO_REUSEADDR')
  if (port === 0) setSocketInt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, 'IP_BIND_ADDRESS_NO_PORT')
  bindSocket(fd, socketAddress(address, port, interfaceName), `${address} port ${port}`)
}

/** Sends and receives over one interface only (SO_BINDTODEVICE). */
export function bindToDevice(fd: number, interfaceName: string): void {
  setSocketOption(
    fd,
    SOL_SOCKET,
    SO_BINDTODEVICE,
    Buffer.from(`${interfaceName}\0`),
    `SO_BINDTODEVICE ${interfaceName}`,
  )
}

/**
 * Sets or, without a key or with an empty one, removes the MD5 key for one address or every address of a CIDR. The
 * key is 1-80 octets of UTF-8. Removing an absent key is no error. `family` is the socket's.
 */
export function setMd5(fd: number, family: Family, peer: string, key?: string): void {
  const [address, bits] = peer.split('/') as [string, string?]
  if (familyOf(address) !== family)
    throw new KernelError(ERRNO.EAFNOSUPPORT, 'TCP_MD5SIG', `${peer} on an ${family} socket`)
  const octets = Buffer.from(key ?? '')
  if (octets.length > TCP_MD5SIG_MAXKEYLEN)
    throw new KernelError(ERRNO.EINVAL, 'TCP_MD5SIG', peer, 'key above 80 octets')
  // tcp_md5sig: sockaddr_storage | flags u8 | prefixlen u8 | keylen u16 | ifindex i32 | key[80]
  const value = Buffer.alloc(SOCKADDR_STORAGE + 8 + TCP_MD5SIG_MAXKEYLEN)
  // the kernel matches keys by address alone: a scope id in it is not looked at
  value.set(socketAddress(address, 0), 0)
  value.writeUInt16LE(octets.length, SOCKADDR_STORAGE + 2)
  value.set(octets, SOCKADDR_STORAGE + 8)
  const ranged = bits !== undefined && Number(bits) !== addressBits(family)
  if (ranged) {
    value[SOCKADDR_STORAGE] = TCP_MD5SIG_FLAG_PREFIX
    value[SOCKADDR_STORAGE + 1] = Number(bits)
  }
  try {
    setSocketOption(fd, IPPROTO_TCP, ranged ? TCP_MD5SIG_EXT : TCP_MD5SIG, value, `TCP_MD5SIG ${peer}`)
  } catch (error) {
    if (octets.length > 0 || !(error instanceof KernelError) || error.errno !== ERRNO.ENOENT) throw error
  }
}

/**
 * Adds a key of TCP-AO for one address or every address of a CIDR to a socket that listens, is not connected yet, or has keys for that
 * peer already. `first`, of one that does not listen: it signs with this key, and asks the peer to. Throws ENOPROTOOPT where the
 * kernel has no TCP-AO (Linux 6.7, CONFIG_TCP_AO), EEXIST where one of the key's ids is in use.
 */
export function addTcpAoKey(fd: number, peer: string, key: TcpAoKey, first: boolean): void {
  const { address, prefix } = peersOf(peer)
  setSocketOption(fd, IPPROTO_TCP, TCP_AO_ADD_KEY, tcpAoAdd(address, prefix, key, first), `TCP_AO_ADD_KEY ${peer}`)
}

/** Takes a key of TCP-AO from a socket that listens. Removing an absent one is no error, nor is it where the kernel has no TCP-AO. */
export function removeTcpAoKey(fd: number, peer: string, key: TcpAoKey): void {
  const { address, prefix } = peersOf(peer)
  try {
    setSocketOption(fd, IPPROTO_TCP, TCP_AO_DEL_KEY, tcpAoDelete(address, prefix, key), `TCP_AO_DEL_KEY ${peer}`)
  } catch (error) {
    const isAbsent =
      error instanceof KernelError && [ERRNO.ENOENT, ERRNO.ENOPROTOOPT].some(each => each === error.errno)
    if (!isAbsent) throw error
  }
}

/** Asks the peer of a connection to sign with `key`. Throws where the connection has no such key, as one without TCP-AO has none. */
export function askForTcpAoKey(fd: number, key: TcpAoKey): void {
  setSocketOption(fd, IPPROTO_TCP, TCP_AO_INFO, tcpAoAsk(key), 'TCP_AO_INFO')
}

function peersOf(peer: string): { address: Buffer; prefix: number } {
  const [address, bits] = peer.split('/') as [string, string?]
  return {
    address: socketAddress(address, 0),
    prefix: bits === undefined ? addressBits(familyOf(address)) : Number(bits),
  }
}

/** TTL or hop limit of what the socket sends, 1-255. */
export function setTtl(fd: number, family: Family, ttl: number): void {
  if (family === 'ipv4') setSocketInt(fd, IPPROTO_IP, IP_TTL, ttl, 'IP_TTL')
  else setSocketInt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl, 'IPV6_UNICAST_HOPS')
}

/** Drops segments that arrive with less than `ttl` (RFC 5082 §3), 0-255; 0 takes all. */
export function setMinTtl(fd: number, family: Family, ttl: number): void {
  if (family === 'ipv4') setSocketInt(fd, IPPROTO_IP, IP_MINTTL, ttl, 'IP_MINTTL')
  else setSocketInt(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, ttl, 'IPV6_MINHOPCOUNT')
}

/** Lets a socket be bound to an address that no interface of this host has. */
export function setFreeBind(fd: number, family: Family): void {
  if (family === 'ipv4') setSocketInt(fd, IPPROTO_IP, IP_FREEBIND, 1, 'IP_FREEBIND')
  else setSocketInt(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1, 'IPV6_FREEBIND')
}

/** Closes a socket that was not handed to anybody. */
export function closeSocket(fd: number): void {
  closeDescriptor(fd)
}

/** A sockaddr as octets; the interface is looked up, and counts for IPv6 only. */
export function socketAddress(address: string, port: number, interfaceName?: string): Buffer {
  const family = familyOf(address)
  // sockaddr_in:  family u16 | port be16 | address | zero[8]
  // sockaddr_in6: family u16 | port be16 | flowinfo u32 | address[16] | scope u32
  const out = Buffer.alloc(family === 'ipv4' ? 16 : 28)
  out.writeUInt16LE(SOCKET_FAMILY[family], 0)
  out.writeUInt16BE(port, 2)
  out.set(addressBytes(address), family === 'ipv4' ? 4 : 8)
  if (family === 'ipv6' && interfaceName !== undefined) {
    out.writeUInt32LE(interfaceIndex(interfaceName), 24)
  }
  return out
}
