// Whether the kernel's table of tracked connections has room. When it is full, the first packet of every new connection is
// dropped, of pods and of this node itself, and nothing else says why. The kernel tells of it in its log only, so it is asked; and
// that it will soon be so is told before, which is no reason yet to give the node no pods.
import { broken, type Condition } from '../api/status.ts'
import { KernelError } from '../kernel/port/error.ts'
import type { SysctlPort } from '../kernel/port/sysctls.ts'
import type { Cancel, Clock } from '../lib/clock.ts'

export type ConntrackDeps = {
  kernel: Pick<SysctlPort, 'readSysctl'>
  clock: Clock
  /** What is wrong now; called when that changed. */
  report: (conditions: readonly Condition[]) => void
}

const LOOK_MS = 5000
/** A table that was full has room again below this part of it: it must not come and go with every connection. */
const ROOM = 0.95
/** So much of it in use is told, until less than that is. */
const NEARLY = { from: 0.9, until: 0.85 } as const

export class Conntrack {
  readonly #deps: ConntrackDeps
  #full = false
  #nearly = false
  #cancel: Cancel = () => undefined

  constructor(deps: ConntrackDeps) {
    this.#deps = deps
  }

  /** Looks now, and every five seconds from then on. */
  start(): void {
    this.#look()
    this.#cancel = this.#deps.clock.after(LOOK_MS, () => this.start())
  }

  close(): void {
    this.#cancel()
  }

  #look(): void {
    const most = this.#read('nf_conntrack_max')
    const held = this.#read('nf_conntrack_count')
    // without the module nothing is tracked
    if (most === undefined || held === undefined || most === 0) return
    const full = held >= most || (this.#full && held >= most * ROOM)
    const nearly = held >= most * (this.#nearly ? NEARLY.until : NEARLY.from)
    if (full === this.#full && nearly === this.#nearly) return
    this.#full = full
    this.#nearly = nearly
    this.#deps.report([...(full ? [tableFull(held, most)] : []), ...(nearly ? [nearlyFull(held, most)] : [])])
  }

  #read(name: string): number | undefined {
    try {
      const value = Number(this.#deps.kernel.readSysctl('netfilter', [name]))
      return Number.isSafeInteger(value) ? value : undefined
    } catch (error) {
      if (error instanceof KernelError) return undefined
      throw error
    }
  }
}

function tableFull(held: number, most: number): Condition {
  return broken('ConnectionsTracked', {
    reason: 'TableFull',
    message: `the connection tracking table is full (${held} of ${most}): new connections of pods and of this node are dropped`,
    remedy: remedyFor(most),
  })
}

function nearlyFull(held: number, most: number): Condition {
  return broken('ConnectionsRoom', {
    reason: 'NearlyFull',
    message: `${held} of ${most} entries of the connection tracking table are in use: when it is full, new connections of pods and of this node are dropped`,
    remedy: remedyFor(most),
  })
}

function remedyFor(most: number): string {
  return `make it larger: sysctl -w net.netfilter.nf_conntrack_max=${2 * most}; then look who fills it: conntrack -L`
}
