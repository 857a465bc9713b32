// `npm run bench:bgp`: margay-bgp beside BIRD, FRR and GoBGP, each in a namespace of its own and one after the other,
// under the same load. `--quick` is a look with a tenth of the routes and without GoBGP; `--only NAME` (again and again)
// keeps the named scenarios and daemons; `--json` prints every row as JSON. `--bundled` measures margay-bgp as the container
// image has it. `BENCH_BEFORE=DIR` adds the margay-bgp of another checkout as a column, from its sources; with `--rounds N` everything runs N times in turn and the medians are shown, since one run
// says little about a few per cent. Needs root.
import { mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { writeBundle } from '../scale/programs.ts'
import { fromArguments, HELP_OPTION, WrongUsage } from '../usage.ts'
import { runAlone, runScenario, ScenarioFailed } from './arena.ts'
import { DAEMONS, type DaemonName, isInstalled } from './daemons.ts'
import { type Measured, ROWS, type RowName, SCENARIOS, type ScenarioName, type Sizes } from './scenarios.ts'

const FULL: Sizes = {
  routes: 1_000_000,
  peers: 100,
  each: 10_000,
  shared: 9000,
  idle: 1000,
  idleSeconds: 30,
  quietMs: 2000,
}
const QUICK: Sizes = { routes: 100_000, peers: 20, each: 2000, shared: 1800, idle: 200, idleSeconds: 10, quietMs: 2000 }
/** Of one scenario against one daemon, and of that of kernel routes. */
const LIMIT_MS = { quick: 30_000, full: 300_000 }
const KERNEL_LIMIT_MS = { quick: 60_000, full: 600_000 }

const HELP = `Usage: npm run bench:bgp [-- [--quick] [--json] [--bundled] [--only NAME]... [--rounds N]]

Measures margay-bgp beside BIRD, FRR and GoBGP under the same load. Needs root. BENCH_BEFORE=DIR adds the margay-bgp of
another checkout, from its sources.

  --quick      a tenth of the routes, and without GoBGP
  --only NAME  only the named scenarios and daemons: any of ${[...Object.keys(SCENARIOS), ...Object.keys(DAEMONS)].join(' ')}
  --rounds N   everything N times in turn, of which medians are shown (default 1)
  --bundled    margay-bgp as the container image has it (npm run bench:bgp gives it)
  --json       every row as JSON, instead of a table
  --help       this text

Exit codes: 0 measured, 1 it could not be, 2 wrong usage.
`

async function main(): Promise<void> {
  const { quick, only, json, rounds, bundled } = usage()
  if (process.getuid?.() !== 0) throw new Error('network namespaces need root')
  using bundle = bundled ? mkdtempDisposableSync(join(tmpdir(), 'margay-bundle-')) : undefined
  if (bundle !== undefined) await writeBundle(bundle.path)
  const sizes = quick ? QUICK : FULL
  const wanted = <T extends string>(all: readonly T[]): T[] => {
    const named = all.filter(name => only.includes(name))
    return named.length > 0 ? named : [...all]
  }
  const scenarios = wanted(Object.keys(SCENARIOS) as ScenarioName[])
  const daemons = wanted(Object.keys(DAEMONS) as DaemonName[]).filter(
    name => isInstalled(name) && !(quick && name === 'gobgp' && !only.includes(name)),
  )
  const stopped = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopped.abort())
  const limit = (most = LIMIT_MS) =>
    AbortSignal.any([stopped.signal, AbortSignal.timeout(quick ? most.quick : most.full)])
  const runs: Partial<Record<DaemonName, Measured[]>> = {}
  const notes: string[] = []
  // GoBGP takes minutes and is the last of the daemons, so the others are known by then
  const turns = Array.from({ length: rounds }, () => daemons).flat()
  for (const daemon of turns)
    for (const scenario of scenarios) {
      if (scenario === 'kernel' && !('writesKernel' in DAEMONS[daemon])) continue
      if (process.stderr.isTTY) process.stderr.write(`${daemon}: ${scenario}\n`)
      try {
        const within = limit(scenario === 'kernel' ? KERNEL_LIMIT_MS : LIMIT_MS)
        const { measured, testerCpu } = await runScenario(daemon, scenario, sizes, within, bundle?.path)
        runs[daemon] = [...(runs[daemon] ?? []), measured]
        notes.push(`${daemon}, ${scenario}: the tester used ${testerCpu.toFixed(2)} CPU s, start and encoding included`)
      } catch (error) {
        if (!(error instanceof ScenarioFailed) || stopped.signal.aborted) throw error
        notes.push(`${daemon}, ${scenario}: ${error.message}`)
      }
    }
  const { aloneSeconds = 0 } = await runAlone(sizes, limit())
  notes.push(`the tester alone, feeder to receiver: ${sizes.routes} routes in ${aloneSeconds.toFixed(2)} s`)
  const columns = Object.fromEntries(Object.entries(runs).map(([daemon, all]) => [daemon, medians(all)]))
  if (json) process.stdout.write(`${JSON.stringify({ sizes, columns, notes }, undefined, 2)}\n`)
  else print(daemons, columns, sizes, notes)
}

/** Of each row the median of all runs that have it. */
function medians(runs: readonly Measured[]): Measured {
  const rows = Object.keys(ROWS) as RowName[]
  return Object.fromEntries(
    rows.flatMap(row => {
      const values = runs.map(run => run[row]).filter(value => value !== undefined)
      return values.length === 0 ? [] : [[row, values.toSorted((a, b) => a - b)[values.length >> 1]]]
    }),
  )
}

function usage(): { quick: boolean; only: string[]; json: boolean; bundled: boolean; rounds: number } {
  const names = [...Object.keys(SCENARIOS), ...Object.keys(DAEMONS)]
  return fromArguments(HELP, () => {
    const { values } = parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
        json: { type: 'boolean', default: false },
        bundled: { type: 'boolean', default: false },
        rounds: { type: 'string', default: '1' },
        ...HELP_OPTION,
      },
    })
    const unknown = values.only.find(name => !names.includes(name))
    const rounds = Number(values.rounds)
    if (unknown !== undefined) throw new WrongUsage(`there is no ${unknown}`)
    if (!Number.isInteger(rounds) || rounds < 1)
      throw new WrongUsage(`--rounds ${values.rounds}: a whole number from 1 on`)
    return { ...values, rounds }
  })
}

function print(
  daemons: readonly DaemonName[],
  columns: Partial<Record<DaemonName, Measured>>,
  sizes: Sizes,
  notes: readonly string[],
): void {
  const { routes, peers, each, shared, idle } = sizes
  console.log(
    `${routes} routes of four to an attribute set; ${peers} peers with ${each} routes each, ${shared} shared; ${idle} idle peers`,
  )
  const rows = (Object.keys(ROWS) as RowName[]).filter(row => daemons.some(name => columns[name]?.[row] !== undefined))
  const table = [
    ['', 'unit', ...daemons],
    ...rows.map(row => [row, ROWS[row], ...daemons.map(name => number(columns[name]?.[row]))]),
  ]
  const widths = table[0]!.map((_, column) => Math.max(...table.map(row => row[column]!.length)))
  for (const row of table)
    console.log(row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '))
  for (const note of notes) console.log(note)
}

function number(value: number | undefined): string {
  return value === undefined ? '-' : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)
}

await main()
