// Runs a command line, in a process of its own or in this one, and tells how it ended.

import { execFile } from 'node:child_process'
import { run } from '../../ctl/program.ts'
import { programUnderTest } from '../program-file.ts'

const MAIN = programUnderTest('ctl/main')

export type Run = { code: number; out: string; err: string }

export function runCtl(args: readonly string[], stdin = ''): Promise<Run> {
  return new Promise(resolve => {
    const child = execFile(process.execPath, [MAIN, ...args], (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
    )
    child.stdin!.end(stdin)
  })
}

/** The same without a process: a start costs more than the command. */
export async function runHere(args: readonly string[], stdin = ''): Promise<Run> {
  return beginHere(args, stdin).ended
}

export type Running = {
  /** What was printed by the time that it is `text`. */
  printed(text: string): Promise<void>
  /** What was printed until now. */
  said(): string
  /** As Ctrl-C does. */
  interrupt(): void
  /** As when whoever started it is gone. */
  endInput(): void
  ended: Promise<Run>
}

/** A command that goes on, such as a watch. */
export function beginHere(args: readonly string[], stdin = ''): Running {
  const said = { out: '', err: '' }
  const waiting = new Map<string, () => void>()
  const interrupted = Promise.withResolvers<void>()
  const inputEnded = Promise.withResolvers<void>()
  const ended = run(args, {
    name: 'margayctl',
    out: text => {
      said.out += text
      waiting.get(said.out)?.()
    },
    err: text => {
      said.err += text
    },
    unread: () => 0,
    input: async () => stdin,
    interrupted: () => interrupted.promise,
    inputEnded: () => inputEnded.promise,
  })
  return {
    printed: text => (said.out === text ? Promise.resolve() : new Promise(resolve => waiting.set(text, resolve))),
    said: () => said.out,
    interrupt: () => interrupted.resolve(),
    endInput: () => inputEnded.resolve(),
    ended: ended.then(code => ({ code, ...said })),
  }
}
