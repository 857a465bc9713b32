// `margay-api` as a process of its own, for tests that kill it.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { programUnderTest } from '../program-file.ts'

/** What still runs when the tests end, however they end, is killed. */
const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

const MAIN = programUnderTest('apiserver/main')

export type Program = {
  url: string
  /** The administrator's. */
  token: string
  pid: number
  /** Sends a signal and waits for the end; the exit code, or null when the signal ended it. */
  stop(signal: NodeJS.Signals): Promise<number | null>
}

/** Starts the program and waits for its ready line. Rejects with what it said when it ends before. */
export async function startProgram(args: readonly string[]): Promise<Program> {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'close') as Promise<[number | null]>
  running.add(child)
  child.once('exit', () => running.delete(child))
  let complaint = ''
  child.stderr!.on('data', chunk => {
    complaint += chunk
  })
  const [line] = await Promise.race([
    once(createInterface({ input: child.stdout! }), 'line'),
    ended.then(([code]) => {
      throw new Error(`exit code ${code}: ${complaint}`)
    }),
  ])
  const [, url, tokenFile] = /ready on (\S+),.* token in (\S+),/.exec(String(line)) ?? []
  if (url === undefined || tokenFile === undefined) throw new Error(`unexpected first line: ${line}`)
  return {
    url,
    pid: child.pid!,
    token: readFileSync(tokenFile, 'utf8').trim(),
    stop: signal => stop(child, ended, signal),
  }
}

async function stop(
  child: ChildProcess,
  ended: Promise<[number | null]>,
  signal: NodeJS.Signals,
): Promise<number | null> {
  child.kill(signal)
  const [code] = await ended
  return code
}
