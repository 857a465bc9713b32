// One line of a bench's table.

/** `peer` names what did the same work in the same run, and `peerValue` is its figure in the same unit. */
export type Row = { name: string; value: number; unit: string; peer?: string; peerValue?: number }
