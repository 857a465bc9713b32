// The log level of each room of a program, changed while it runs. What a person asks for goes before what configuration says, and
// that before the program's option; nothing of it outlives the program. A level is a number in a logger: changing it costs
// nothing where lines are written.
import type { Log, LogLevel } from './log.ts'

export type LevelSource = 'option' | 'configuration' | 'request'
export type RoomLevel<R extends string> = { room: R; level: LogLevel; from: LevelSource }

/** What somebody wants: for all rooms, and for single ones before that. */
export type WantedLevels<R extends string> = {
  readonly all?: LogLevel | undefined
  readonly rooms?: { readonly [K in R]?: LogLevel }
}

export class LogLevels<R extends string> {
  readonly #rooms: ReadonlyMap<R, Log>
  readonly #option: LogLevel
  #configured: WantedLevels<R> = {}
  readonly #requested = new Map<R, LogLevel>()
  readonly #root: Log
  readonly #rootRoom: R

  /** `root` is the program's logger, whose lines without a room are of `rootRoom`. */
  constructor(root: Log, rooms: readonly R[], rootRoom: R) {
    this.#root = root
    this.#rootRoom = rootRoom
    this.#option = root.level as LogLevel
    this.#rooms = new Map(rooms.map(room => [room, root.child({ room })]))
  }

  /** The logger of a room: always the same one. A child that was made of it keeps the level that it had then. */
  room(name: R): Log {
    return this.#rooms.get(name)!
  }

  /** Sets what configuration says, in the place of what it said before. */
  configure(wanted: WantedLevels<R>): void {
    this.#configured = wanted
    this.#apply()
  }

  /** A person asks for a level of a room, or of all; undefined: whatever else says it again. */
  request(room: R | undefined, level: LogLevel | undefined): void {
    for (const name of room === undefined ? this.#rooms.keys() : [room])
      if (level === undefined) this.#requested.delete(name)
      else this.#requested.set(name, level)
    this.#apply()
  }

  /** Every room with its level, and who said it. */
  levels(): RoomLevel<R>[] {
    return [...this.#rooms.keys()].map(room => ({ room, ...this.#levelOf(room) }))
  }

  #levelOf(room: R): Omit<RoomLevel<R>, 'room'> {
    const requested = this.#requested.get(room)
    if (requested !== undefined) return { level: requested, from: 'request' }
    const configured = this.#configured.rooms?.[room] ?? this.#configured.all
    if (configured !== undefined) return { level: configured, from: 'configuration' }
    return { level: this.#option, from: 'option' }
  }

  #apply(): void {
    for (const [room, log] of this.#rooms) {
      const { level } = this.#levelOf(room)
      log.level = level
      if (room === this.#rootRoom) this.#root.level = level
    }
  }
}
