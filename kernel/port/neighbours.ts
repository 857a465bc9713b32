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
  setNeighbour(neighbour: Neighbour): Promise<void>
  deleteNeighbour(neighbour: Neighbour): Promise<void>

  fdb(ifindex: number): Promise<FdbEntry[]>
  setFdb(entry: FdbEntry): Promise<void>
  deleteFdb(entry: FdbEntry): Promise<void>
}
