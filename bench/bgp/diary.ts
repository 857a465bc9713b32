// `node --import diary.ts PROGRAM` with the file in BENCH_DIARY: the program writes down how late its event loop is, ten times a
// second. Whoever measures reads it.
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'

const EVERY_MS = 100
/** How often the event loop is looked at; what is told holds it. */
const RESOLUTION_MS = 5

type Line = { atMs: number; turnMs: number }

const file = process.env['BENCH_DIARY']
if (file !== undefined) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  const write = () => {
    const line: Line = { atMs: Date.now(), turnMs: Math.max(0, delay.max / 1e6 - RESOLUTION_MS) }
    appendFileSync(file, `${JSON.stringify(line)}\n`)
    delay.reset()
  }
  setInterval(write, EVERY_MS).unref()
}

/** The longest turn of the event loop from a time on (`Date.now()`), in ms; undefined where the program keeps no diary. */
export function longestTurnMs(diary: string, fromMs: number): number | undefined {
  if (!existsSync(diary)) return undefined
  const lines = readFileSync(diary, 'utf8').trim().split('\n')
  const turns = lines.map(line => JSON.parse(line) as Line).filter(({ atMs }) => atMs >= fromMs)
  return turns.reduce((most, { turnMs }) => Math.max(most, turnMs), 0)
}
