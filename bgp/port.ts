// What the speaker needs from outside: a transport for TCP and a sink for the routes it selects. Both are ports, so
// that the FSM and RIB tests need no socket and the library needs no kernel.
import type { Family } from '../lib/ip.ts'
import type { TcpAoKey } from '../lib/tcp-ao.ts'
import type { BfdChange, BfdSessionConfig } from './bfd/config.ts'

/** Socket options of one BGP connection or listener. A transport that cannot set one throws, naming it. */
export type SocketOptions = {
  /** TCP MD5 signature key (RFC 2385), 1-80 octets, for this peer only. */
  password?: string
  /** Keys of TCP-AO (RFC 5925) for this peer only, the one first that it is asked to sign with. Excludes `password`. */
  tcpAo?: readonly TcpAoKey[]
  /** GTSM (RFC 5082): send with TTL 255, drop what arrives with less than `256 - ttlSecurity`. 1-254 hops. */
  ttlSecurity?: number
  /** TTL to send with: 1 for a directly connected eBGP peer, more for multihop. */
  ttl?: number
}

/** One TCP connection. After `close` or `destroy` no callback is called any more. */
export type BgpConnection = {
  /** Canonical text without a zone; `interface` names the link of a link-local address. */
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  readonly interface?: string
  /** The owner sets it once, before the event loop runs again. Chunks are not reused by the transport. */
  handlers: ConnectionHandlers
  /** Queues `bytes`, which must not change afterwards. False: the buffer is full, wait for `drain`. */
  write(bytes: Uint8Array): boolean
  /** Octets queued and not yet taken by the kernel. */
  readonly buffered: number
  pause(): void
  resume(): void
  /**
   * Changes keys and TTLs of the open connection. Throws what a dial with them would throw. A key of TCP-AO that is not named any more
   * stays until the connection ends (RFC 5925 section 3.3); one in its place needs ids of its own.
   */
  configure(options: SocketOptions): void
  /** Sends what is queued, then FIN. Input is discarded; after two seconds the socket is destroyed. */
  close(): void
  /** Sends RST at once. */
  destroy(): void
}

export type ConnectionHandlers = {
  data(chunk: Uint8Array): void
  drain(): void
  /** The connection ended; `error` says why when it was not a plain FIN. `code` is Node's (ECONNRESET, …). */
  closed(error?: Error & { code?: string }): void
}

export type DialOptions = SocketOptions & {
  address: string
  port: number
  /** Local address to bind to. */
  source?: string
  /** Interface name for a link-local address. */
  interface?: string
  timeoutMs: number
}

export type Listener = {
  /** The real port, where 0 was asked for. */
  readonly port: number
  /** Sets or (without options) clears what a connection from `address` (or any of a prefix) must carry. */
  setPeerOptions(address: string, options?: SocketOptions): void
  /** Resolves when nothing listens any more. Connections stay. */
  close(): Promise<void>
}

/** `notOurs`: the address may be that of no interface (`IP_FREEBIND` of ip(7)), as one that only a route leads here. */
export type ListenOptions = { address: string; port: number; interface?: string; notOurs?: true }

export type Transport = {
  /** Rejects with Node's error code (ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT, …). `signal` cancels the attempt. */
  dial(options: DialOptions, signal: AbortSignal): Promise<BgpConnection>
  listen(
    options: ListenOptions & { ttlSecurity?: number },
    accept: (connection: BgpConnection) => void,
  ): Promise<Listener>
  /**
   * Resolves when all connections that we closed have ended, after `limitMs` at the latest: those that are left are then
   * destroyed. Absent: there is nothing to wait for.
   */
  finish?(limitMs: number): Promise<void>
  /** This host's addresses, for next hops other than a session's own address. */
  addresses?(): readonly LocalAddress[]
}

/** An address of an interface; `cidr` is its network, canonical. */
export type LocalAddress = { interface: string; address: string; cidr: string }

/** Finds the address of the neighbour on a link when only the interface is configured (unnumbered peering). */
export type Discover = (
  interfaceName: string,
  /** Called with a link-local address whenever it is seen for the first time or changes. */
  found: (address: string) => void,
  /** Called with what keeps neighbours from being seen, for people, such as that there is no such interface; undefined: nothing any more. */
  hindered?: (why: string | undefined) => void,
) => () => void

/** BFD as a speaker uses it; `BfdThread` of `margay/bgp/bfd` is one. Sessions are known by names. */
export type BfdPort = {
  /**
   * Begins a session, or changes the one of this name, which goes on where its path stays. Throws `BfdError` for what is wrong with
   * the session.
   */
  setSession(name: string, config: BfdSessionConfig): void
  /** Ends a session; its neighbour is told that it ends on purpose. */
  removeSession(name: string): void
  /** Calls `listener` with every change of a session's state, in their order, until the returned function is called. */
  onChange(listener: (change: BfdChange) => void): () => void
}

/** TCP sockets with the options that node:net lacks; every function throws an error with the kernel's `errno`. */
export type Sockets = {
  /** A new non-blocking socket that never takes IPv4 over IPv6. */
  openTcp(family: Family): number
  bindTcp(fd: number, address: string, port: number, interfaceName?: string): void
  bindToDevice(fd: number, interfaceName: string): void
  /** Lets it be bound to an address that no interface has. */
  setFreeBind(fd: number, family: Family): void
  /** Sets the key for an address or a CIDR; without `key` removes it. */
  setMd5(fd: number, family: Family, peer: string, key?: string): void
  /** Adds a key of TCP-AO for an address or a CIDR. `first`, not for a socket that listens: it signs with it, and asks the peer to. */
  addTcpAoKey(fd: number, peer: string, key: TcpAoKey, first: boolean): void
  /** Takes a key from a socket that listens; none is there where the kernel has no TCP-AO. */
  removeTcpAoKey(fd: number, peer: string, key: TcpAoKey): void
  /** Asks the peer of a connection to sign with a key that the connection has; throws where it has not. */
  askForTcpAoKey(fd: number, key: TcpAoKey): void
  setTtl(fd: number, family: Family, ttl: number): void
  /** 0 accepts every TTL. */
  setMinTtl(fd: number, family: Family, ttl: number): void
  closeSocket(fd: number): void
  /** The program that listens on a port of this host, for people; undefined: not known. */
  portHolder?(port: number): Promise<string | undefined>
}

/** The best route of a prefix. `encapsulations`: tunnel types of RFC 9012 that the route carries (7 = IP-in-IP, 8 = VXLAN). */
export type SelectedRoute = {
  /** Canonical CIDR. */
  prefix: string
  family: Family
  nextHop: string
  /** For a link-local next hop: the interface it was learned on. */
  interface?: string
  encapsulations: readonly number[]
  /** Key of the peer it was learned from. */
  peer: string
  med?: number
  localPref?: number
  /** Where two or more are used: all of them, this route's own first. No next hop is there twice. */
  paths?: readonly SelectedPath[]
}

/** One of the paths that share the packets to a prefix. */
export type SelectedPath = Pick<SelectedRoute, 'nextHop' | 'interface' | 'encapsulations' | 'peer'> & {
  /** Its share, 1-255, in relation to the others; absent: all have the same. */
  weight?: number
}

/** Gets the selected routes: one call per changed prefix. It must not call the speaker. */
export type RouteSink = {
  selected(route: SelectedRoute): void
  withdrawn(prefix: string): void
}

/** Whether packets can be sent to a next hop. */
export type NextHopState =
  | {
      reachable: false
      /** For people. */
      why: string
    }
  | {
      reachable: true
      /** Interior cost: of two paths that are equal before, the one with less is preferred (RFC 4271 §9.1.2.2 e). 0 on a link of this host. */
      cost: number
      /** For people: what leads there, such as the prefix of a route. */
      over: string
    }

/** Knows how next hops can be reached. A speaker without it takes all for reachable, at no cost. */
export type NextHops = {
  /**
   * A path has this next hop from now on; `interfaceName` is the link of a link-local one. Answers what is known already; undefined: that
   * is told later, and until then no such path is used. Called once for each, until `release`.
   */
  want(nextHop: string, interfaceName: string | undefined): NextHopState | undefined
  release(nextHop: string, interfaceName: string | undefined): void
  /** Sets who is told of each change of a next hop that is wanted; never from within `want` or `release`. */
  onChange(listen: (nextHop: string, interfaceName: string | undefined, state: NextHopState) => void): void
}
