// The programs of one lab, by name: each is in the lab's state file before anything waits for it, so that `removeLab` finds it after
// a crash as well. One that ended by itself stays, so that whoever waits for it can say so.
import {
  isAlive,
  keptProgram,
  lastLines,
  type ProcessId,
  type Program,
  startProgram,
  stopAll,
  until,
} from './program.ts'
import { type LabState, writeState } from './state.ts'

/** How often it is asked whether a step is done, times the patience: on an emulated machine asking is work itself. */
const ASK_MS = 20

/** A step failed or took too long. The message names the step, what was seen, and the log to read. */
export class LabFailure extends Error {
  override readonly name = 'LabFailure'
}

export const NO_LAB = 'no lab was kept: make one with npm run lab -- --keep'

export class LabPrograms {
  /** Those that were not stopped. */
  readonly #running = new Map<string, Program>()
  readonly #dir: string
  readonly #state: LabState
  readonly #patience: number
  #closing = false

  constructor(dir: string, state: LabState, patience: number) {
    this.#dir = dir
    this.#state = state
    this.#patience = patience
  }

  /** Nothing is started any more, and that programs end is no failure. */
  close(): void {
    this.#closing = true
  }

  start(name: string, argv: readonly string[], options: { netns: string; logFile: string }): Program {
    if (this.#closing) throw new LabFailure('the lab is being removed')
    const program = startProgram(name, argv, options)
    this.#running.set(name, program)
    const others = this.#state.processes.filter(isAlive)
    this.#state.processes = [...others, { name, pid: program.pid, startTicks: program.startTicks }]
    writeState(this.#dir, this.#state)
    return program
  }

  /** Goes on with a program that an earlier process of the lab started, or a person did by hand. */
  resume(process: ProcessId, logFile: string): void {
    this.#running.set(process.name, keptProgram({ ...process, logFile }))
  }

  runs(name: string): boolean {
    const program = this.#running.get(name)
    return program !== undefined && isAlive(program)
  }

  get(name: string): Program {
    const program = this.#running.get(name)
    if (program === undefined) throw new Error(`${name} does not run`)
    return program
  }

  /** Those of the names that were started and not stopped. */
  of(names: readonly string[]): Program[] {
    return names.flatMap(name => this.#running.get(name) ?? [])
  }

  /** Kills it with SIGKILL. Resolves when the process is gone. */
  async kill(name: string): Promise<void> {
    const program = this.get(name)
    this.#running.delete(name)
    if (!isAlive(program)) throw new LabFailure(`${name} has ended by itself:\n${lastLines(program.logFile)}`)
    process.kill(program.pid, 'SIGKILL')
    await until(() => !isAlive(program), this.ms(5), 2)
  }

  /** Asks it to end, and kills it after ten seconds. Nothing is done where it does not run. */
  async end(name: string): Promise<void> {
    const program = this.#running.get(name)
    this.#running.delete(name)
    if (program !== undefined) await stopAll([program], this.ms(10))
  }

  /** Waits for a condition; fails at once when one of the programs it depends on ends. */
  async reached(
    what: string,
    seconds: number,
    programs: readonly Program[],
    condition: () => Promise<boolean>,
  ): Promise<void> {
    const dead = () => programs.find(each => each.ended !== undefined && !this.#closing)
    const done = await until(
      async () => dead() !== undefined || (await condition()),
      this.ms(seconds),
      ASK_MS * this.#patience,
    )
    const gone = dead()
    if (gone !== undefined) throw new LabFailure(`${gone.name} ended (${gone.ended}):\n${logsOf([gone])}`)
    if (!done) throw new LabFailure(`waited ${this.ms(seconds) / 1000} s for ${what}\n${logsOf(programs)}`)
  }

  ms(seconds: number): number {
    return seconds * 1000 * this.#patience
  }
}

/** The last lines of the logs of programs, for an error message. */
export function logsOf(programs: readonly Program[]): string {
  return programs.map(({ name, logFile }) => `--- ${name}: ${logFile}\n${lastLines(logFile)}`).join('\n')
}
