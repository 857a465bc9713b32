// Links of one network namespace: what is read, what can be made and changed. Part of the kernel port.

export type Link = {
  index: number
  name: string
  /** IFLA_INFO_KIND: `veth`, `ipip`, `vxlan`, `bridge`; absent for hardware and loopback. */
  kind?: string
  mac?: string
  mtu: number
  /** Administratively up (IFF_UP). */
  up: boolean
  /** Carrier (IFF_LOWER_UP). */
  running: boolean
  master?: number
  /** Index of the peer (veth) or the lower device (IFLA_LINK); in another namespace when `peerNetnsId` is there. */
  peer?: number
  peerNetnsId?: number
  /** What somebody wrote to it (IFLA_IFALIAS), shown by `ip link`. */
  alias?: string
  vxlan?: { vni: number; port: number; local?: string; learning: boolean; lower?: number }
  ipip?: { local?: string; remote?: string }
  /** The routing table of the links whose master it is. */
  vrf?: { table: number }
}

export type LinkSpec =
  /** A pair; the peer is born inside `peer.netns` (a path) where given, so that it is never visible on the host. */
  | {
      kind: 'veth'
      name: string
      mac?: string
      mtu?: number
      peer: { name: string; netns?: string; mac?: string; mtu?: number }
    }
  | { kind: 'ipip'; name: string; local?: string; remote?: string; mtu?: number }
  | { kind: 'vxlan'; name: string; vni: number; port: number; local?: string; mac?: string; mtu?: number }
  | { kind: 'bridge'; name: string; mtu?: number }
  /** What is sent over it comes in again where it was redirected from. */
  | { kind: 'ifb'; name: string; mtu?: number }
  | { kind: 'dummy'; name: string; mtu?: number }

export type LinkChange = {
  up?: boolean
  mtu?: number
  mac?: string
  name?: string
  /** At most 255 bytes. */
  alias?: string
  /** Index of a bridge; 0 takes the link out of its bridge. */
  master?: number
  /** Path of the network namespace to move the link to. */
  netns?: string
}

export type LinkPort = {
  links(): Promise<Link[]>
  /** By name or index. */
  link(of: string | number): Promise<Link | undefined>
  /** Creates a link, down; EEXIST when the name is taken, EOPNOTSUPP when this kernel lacks the kind. */
  createLink(spec: LinkSpec): Promise<Link>
  setLink(of: string | number, change: LinkChange): Promise<void>
  deleteLink(of: string | number): Promise<void>
}

/** Tunnel kinds that a kernel has. */
export type Capabilities = { ipip: boolean; vxlan: boolean }
