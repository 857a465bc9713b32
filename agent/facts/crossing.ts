// One crossing of this node by a packet of a question, as it is worked out once and asked about by several.
import type { AskedPacket, WayFacts } from '../../api/explain.ts'
import type { Link } from '../../kernel/port/links.ts'

/** `entersBy` absent: this host sends it itself. `packet`: as it comes here. */
export type Crossing = Pick<WayFacts, 'direction' | 'from'> & {
  packet: AskedPacket
  entersBy: Link | undefined
  /** The device that it leaves by as the kernel says; undefined: it ends here, or is dropped. */
  leavesBy: string | undefined
  /** It is for this host itself. */
  endsHere: boolean
}
