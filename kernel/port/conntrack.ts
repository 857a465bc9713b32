// The connections that the kernel tracks, as values. Only those of zone 0 are told: other zones are other programs', and may
// have the addresses of pods for something else.
import type { Family } from '../../lib/ip.ts'
import type { KernelError } from './error.ts'

/** How packets of one direction look. `ports`: of protocols that have some, and the keys of GRE. */
export type FlowTuple = {
  source: string
  destination: string
  /** 1 to 255. */
  protocol: number
  ports?: { source: number; destination: number }
  icmp?: { type: number; code: number; id: number }
}

export type Flow = {
  /** The kernel's own, which an entry for the same packets that is made later does not have. */
  id: number
  family: Family
  /** Of the packets that opened it, as their sender sent them. */
  original: FlowTuple
  /** Of the answers, as their sender sends them: where an address was translated this has the other one. */
  reply: FlowTuple
  /** It was opened because another connection announced it (FTP and the like), not by rules. */
  isExpected: boolean
  /** Packets of both directions were seen. */
  isAnswered: boolean
}

export type ConntrackPort = {
  /**
   * Calls `each` for every connection that one of these addresses (in canonical text) opened, or that one of them answers, behind
   * a translated address too; or for all connections. None is kept, and other work goes on in between. One that lives throughout
   * is told, unless the kernel's table is made larger meanwhile, and may be told twice. Rejects with `KernelError`, and with what `each` throws.
   */
  flowsOf(addresses: ReadonlySet<string> | 'all', each: (flow: Flow) => void): Promise<void>

  /** Deletes these very entries. At `i` is why entry `i` was refused; one that is not there any more is none. */
  deleteFlows(flows: readonly Flow[]): Promise<(KernelError | undefined)[]>
}
