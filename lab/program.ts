// Programs of the lab: each runs in a network namespace, in a session of its own (so that Ctrl-C reaches the lab
// first, which stops them in order), with its output in a log file. A program is known by its pid and its start time,
// since the pid may belong to another process by the time an earlier lab is cleaned up.
import { execFile } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { netnsPath, spawnInNetns } from '../kernel/netns.ts'
import { systemProgram } from '../lib/system-program.ts'

/** `startTicks`: field 22 of /proc/PID/stat, clock ticks since boot. */
export type ProcessId = { name: string; pid: number; startTicks: number }

export type Program = ProcessId & {
  logFile: string
  /** What it came to, once it has ended by itself or by us. */
  readonly ended: string | undefined
}

/** A program that an earlier run of the lab started, as it was written down. */
export type KeptProgram = ProcessId & { logFile: string }

export type ProgramOptions = { netns: string; logFile: string; env?: Readonly<Record<string, string>> }

/** Node's compile cache, unless the environment names one: the next start of the same program is faster. */
export const COMPILE_CACHE = new URL('../node_modules/.cache/margay', import.meta.url).pathname

/** Starts `argv` in the namespace. The lab's own Node runs its programs, whatever the machine has. */
export function startProgram(name: string, argv: readonly string[], options: ProgramOptions): Program {
  const log = openSync(options.logFile, 'a')
  const [command, ...args] = argv
  const child = spawnInNetns(netnsPath(options.netns), command!, args, {
    detached: true,
    stdio: ['ignore', log, log],
    env: { NODE_COMPILE_CACHE: COMPILE_CACHE, ...process.env, ...options.env },
  })
  closeSync(log)
  child.unref()
  if (child.pid === undefined) throw new Error(`${name}: could not be started`)
  const startTicks = readStartTicks(child.pid)
  if (startTicks === undefined) throw new Error(`${name}: ended at once; see ${options.logFile}`)
  let ended: string | undefined
  child.on('exit', (code, signal) => {
    ended = signal ?? `exit code ${code}`
  })
  return {
    ...{ name, pid: child.pid, startTicks, logFile: options.logFile },
    get ended() {
      return ended
    },
  }
}

/** A program of an earlier run, to be asked and ended as one of this run. */
export function keptProgram(kept: KeptProgram): Program {
  return {
    ...kept,
    get ended() {
      return isAlive(kept) ? undefined : 'nobody saw how'
    },
  }
}

/** What `keptProgram` needs, as a value for a file. */
export function writtenDown({ name, pid, startTicks, logFile }: Program): KeptProgram {
  return { name, pid, startTicks, logFile }
}

/** The last lines of a program's log, for an error message. */
export function lastLines(logFile: string, count = 12): string {
  try {
    return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-count).join('\n')
  } catch (error) {
    if (isMissing(error)) return ''
    throw error
  }
}

/** Undefined when there is no such process, or it is a zombie. */
export function readStartTicks(pid: number): number | undefined {
  try {
    // The program's name, in parentheses, may itself hold spaces and parentheses.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    return fields[0] === 'Z' ? undefined : Number(fields[19])
  } catch {
    return undefined
  }
}

export function isAlive({ pid, startTicks }: ProcessId): boolean {
  return readStartTicks(pid) === startTicks
}

/** Asks all to end, and kills those that have not after `graceMs`. Resolves when all are gone. */
export async function stopAll(processes: readonly ProcessId[], graceMs: number): Promise<void> {
  const alive = () => processes.filter(isAlive)
  for (const { pid } of alive()) signal(pid, 'SIGTERM')
  if (await until(() => alive().length === 0, graceMs)) return
  for (const { pid } of alive()) signal(pid, 'SIGKILL')
  await until(() => alive().length === 0, 5000)
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended in between.
  }
}

/** Polls until the condition holds; false when the deadline passed first. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  deadlineMs: number,
  everyMs = 20,
): Promise<boolean> {
  const end = performance.now() + deadlineMs
  for (;;) {
    if (await condition()) return true
    if (performance.now() > end) return false
    await new Promise(resolve => setTimeout(resolve, everyMs))
  }
}

export type Finished = { code: number; stdout: string; stderr: string }

/** Runs a short program to its end in a namespace (or where we are, without one) and returns all it said. */
export function runProgram(
  argv: readonly string[],
  options: { netns?: string; env?: Readonly<Record<string, string>>; stdin?: string; limitMs?: number } = {},
): Promise<Finished> {
  const { netns, env, stdin, limitMs = 60_000 } = options
  const [program, ...args] = argv
  return new Promise((resolve, reject) => {
    const path = systemProgram(program!)
    const [file, words] =
      netns === undefined
        ? [path, args]
        : [systemProgram('nsenter'), [`--net=${netnsPath(netns)}`, '--', path, ...args]]
    const child = execFile(
      file,
      words,
      {
        env: env === undefined ? process.env : { ...env },
        timeout: limitMs,
        killSignal: 'SIGKILL',
        maxBuffer: 1 << 24,
      },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code === 'string') reject(error)
        else resolve({ code: error === null ? 0 : Number(error.code ?? 124), stdout, stderr })
      },
    )
    child.stdin?.on('error', () => {}) // it need not read what we say
    child.stdin?.end(stdin ?? '')
  })
}

/** Whether an error says that a file is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
