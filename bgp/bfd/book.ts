// The sessions that a client has set, by name and by path: what is refused is told at once, before the thread of BFD hears of it.
import { type BfdSessionConfig, configFault, pathOf } from './config.ts'

/** Each has a socket, and at 50 ms 40 packets a second. */
const MOST_SESSIONS = 4096

export class SessionBook {
  readonly #configs = new Map<string, BfdSessionConfig>()
  /** Names by path. Clients of one path share its session (RFC 5882 §4.4). */
  readonly #names = new Map<string, string>()

  /** Notes a session, new or changed; or says, for people, why it is refused, and notes nothing. */
  set(name: string, config: BfdSessionConfig): string | undefined {
    const fault = configFault(config)
    if (fault !== undefined) return fault
    const path = pathOf(config)
    const other = this.#names.get(path)
    if (other !== undefined && other !== name) return `session ${other} has the same path`
    if (!this.#configs.has(name) && this.#configs.size >= MOST_SESSIONS)
      return `there are ${MOST_SESSIONS} sessions already`
    this.delete(name)
    this.#configs.set(name, config)
    this.#names.set(path, name)
    return undefined
  }

  /** Whether it was there. */
  delete(name: string): boolean {
    const config = this.#configs.get(name)
    if (config === undefined) return false
    this.#names.delete(pathOf(config))
    return this.#configs.delete(name)
  }
}
