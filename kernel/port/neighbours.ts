// Neighbour entries, and the forwarding entries of vxlan devices. Part of the kernel port.

/** A permanent neighbour entry; `proxy` makes the host answer for the address (NTF_PROXY) and needs no mac. */
export type Neighbour = {
  ifindex: number
  address: string
  mac?: string
  permanent: boolean
  proxy?: boolean
}

/** Where a vxlan device sends frames for a mac (bridge FDB, AF_BRIDGE, NTF_SELF). */
export type FdbEntry = { ifindex: number; mac: string; dst: string }

export type NeighbourPort = {
  neighbours(ifindex?: number): Promise<Neighbour[]>
  /** The entry of one address, not a proxied one. */
  neighbour(ifindex: number, address: string): Promise<Neighbour | undefined>
  setNeighbour(neighbour: Neighbour): Promise<void>
  deleteNeighbour(neighbour: Neighbour): Promise<void>

  fdb(ifindex: number): Promise<FdbEntry[]>
  /** The entry of one MAC that is not flooded. */
  fdbEntry(ifindex: number, mac: string): Promise<FdbEntry | undefined>
  setFdb(entry: FdbEntry): Promise<void>
  deleteFdb(entry: FdbEntry): Promise<void>
}
