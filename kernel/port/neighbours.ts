// Neighbour entries, and the forwarding entries of vxlan devices. Part of the kernel port.

/**
 * How far the kernel is with finding who has an address (NUD_* of linux/neighbour.h). It believes `reachable`, and asks again before
 * it does so of `stale`, `delay` and `probe`; `incomplete` and `failed` have no MAC: nobody answered yet, or at all.
 */
export const NEIGHBOUR_STATES = ['incomplete', 'reachable', 'stale', 'delay', 'probe', 'failed', 'permanent'] as const
export type NeighbourState = (typeof NEIGHBOUR_STATES)[number]

/** A neighbour entry; `proxy` makes the host answer for the address (NTF_PROXY), needs no mac and has no state. */
export type Neighbour = {
  ifindex: number
  address: string
  mac?: string
  permanent: boolean
  proxy?: boolean
  /** Told by the kernel; what is written is permanent or reachable. */
  state?: NeighbourState
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
