// When an agent last served pods, for the plugin, which the runtime asks while no agent runs, and for the next agent. One
// line, `BOOT_ID MILLISECONDS`: the time is the kernel's monotonic clock, which nobody sets; the id of the boot is there
// because the folder may lie on a disk, and that clock begins anew with each boot. plugin.c reads it.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'

/** The boot's id (random(4)) and the kernel's CLOCK_MONOTONIC in milliseconds. */
export type BootClock = { bootId: string; nowMs(): number }

/** Where the line for the agent of a socket is. */
export function servedPath(socket: string): string {
  return `${socket}.served`
}

/** Of this machine. Throws what the file system throws. */
export function bootClock(): BootClock {
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return { bootId, nowMs: () => Number(process.hrtime.bigint() / 1_000_000n) }
}

export class ServedFile {
  readonly #path: string
  readonly #clock: BootClock
  #writtenMs: number | undefined

  constructor(path: string, clock: BootClock) {
    this.#path = path
    this.#clock = clock
  }

  /** How long ago an agent last served pods, in milliseconds; undefined: none since the boot, as far as is known. */
  agoMs(): number | undefined {
    const [, bootId, ms] = /^(\S+) (\d{1,15})\n$/.exec(this.#read()) ?? []
    const agoMs = this.#clock.nowMs() - Number(ms)
    return bootId === this.#clock.bootId && agoMs >= 0 ? agoMs : undefined
  }

  /** Pods are served now. Written once in `everyMs`; what the disk refuses is tried again the next time. */
  touch(everyMs: number): void {
    const nowMs = this.#clock.nowMs()
    if (this.#writtenMs !== undefined && nowMs - this.#writtenMs < everyMs) return
    try {
      // whole or not at all: the plugin may read at any time
      writeFileSync(`${this.#path}.new`, `${this.#clock.bootId} ${nowMs}\n`, { mode: 0o600 })
      renameSync(`${this.#path}.new`, this.#path)
      this.#writtenMs = nowMs
    } catch {
      // without it a restart makes the node NotReady, which is no reason to serve nothing now
    }
  }

  #read(): string {
    try {
      return readFileSync(this.#path, 'utf8')
    } catch {
      return '' // none yet
    }
  }
}
