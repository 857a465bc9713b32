// `npm run bench:scale`: one agent and one margay-api in a simulated cluster, measured per event. `--nodes N` (5000),
// `--soak SECONDS` (120), `--quick` for a look with few events, `--tiny` for a run whose figures say little, `--beside DIR` measures the programs of another checkout
// in the same run, `--bundled` measures the programs of this one as the container image has them, `--json`. Needs root.
import { mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { fromArguments, HELP_OPTION, WrongUsage } from '../usage.ts'
import { enterNamespace } from './ground.ts'
import { writeBundle } from './programs.ts'
import { type Figures, ROWS, type RowName, runScenario, type Sizes } from './scenario.ts'

const HERE = fileURLToPath(new URL('../..', import.meta.url))
const FULL = { events: 1000, idleSeconds: 5, meshIdleSeconds: 60, probeSeconds: 60, pods: 50, lists: 20 }
const QUICK = { events: 200, idleSeconds: 1, meshIdleSeconds: 30, probeSeconds: 30, pods: 10, lists: 4 }
const TINY = { events: 20, idleSeconds: 0.2, meshIdleSeconds: 0.2, probeSeconds: 0, pods: 3, lists: 2 }

const HELP = `Usage: npm run bench:scale [-- [--nodes N] [--soak SECONDS] [--quick | --tiny] [--beside DIR]... [--json]]

Measures one agent and one margay-api in a simulated cluster, for each event. Needs root.

  --nodes N       how many nodes, 2 to 60000 (default 5000)
  --soak SECONDS  how long events come for the measure of memory (default 120)
  --quick         few events
  --tiny          a run whose figures say little
  --beside DIR    the programs of another checkout too; may be given again
  --bundled       the programs of this one as the container image has them (npm run bench:scale gives it)
  --json          every row as JSON, instead of a table
  --help          this text

Exit codes: 0 measured, 1 it could not be, 2 wrong usage.
`

async function main(): Promise<void> {
  const { sizes, beside, bundled, json } = usage()
  if (process.getuid?.() !== 0) throw new Error('network namespaces need root')
  enterNamespace()
  const columns: { checkout: string; figures: Figures }[] = []
  using bundle = bundled ? mkdtempDisposableSync(join(tmpdir(), 'margay-bundle-')) : undefined
  if (bundle !== undefined) await writeBundle(bundle.path)
  for (const checkout of [HERE, ...beside]) {
    const measured = { path: checkout, ...(checkout === HERE && bundle && { bundle: bundle.path }) }
    const figures = await runScenario(measured, sizes, text => process.stderr.write(`${checkout}: ${text}\n`))
    columns.push({ checkout, figures })
  }
  if (json) process.stdout.write(`${JSON.stringify({ sizes, columns }, undefined, 2)}\n`)
  else print(columns, sizes)
}

function usage(): { sizes: Sizes; beside: string[]; bundled: boolean; json: boolean } {
  return fromArguments(HELP, () => {
    const { values } = parseArgs({
      options: {
        nodes: { type: 'string', default: '5000' },
        soak: { type: 'string', default: '120' },
        beside: { type: 'string', multiple: true, default: [] },
        quick: { type: 'boolean', default: false },
        tiny: { type: 'boolean', default: false },
        bundled: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        ...HELP_OPTION,
      },
    })
    const [nodes, soakSeconds] = [Number(values.nodes), Number(values.soak)]
    if (!Number.isInteger(nodes) || nodes < 2 || nodes > 60_000)
      throw new WrongUsage(`--nodes ${values.nodes}: give a whole number from 2 to 60000`)
    if (!(soakSeconds > 0)) throw new WrongUsage(`--soak ${values.soak}: give a number of seconds`)
    const { beside, bundled, json, help } = values
    const events = values.tiny ? TINY : values.quick ? QUICK : FULL
    return { sizes: { nodes, soakSeconds, ...events }, beside, bundled, json, help }
  })
}

function print(columns: readonly { checkout: string; figures: Figures }[], sizes: Sizes): void {
  console.log(`${sizes.nodes} nodes, ${sizes.events} events per measure, ${sizes.soakSeconds} s of events for memory`)
  const table = [
    ['', 'unit', 'target', ...columns.map(({ checkout }) => checkout)],
    ...(Object.keys(ROWS) as RowName[]).map(row => [
      row,
      ROWS[row].unit,
      targetOf(row),
      ...columns.map(({ figures }) => number(figures[row])),
    ]),
  ]
  const widths = table[0]!.map((_, column) => Math.max(...table.map(row => row[column]!.length)))
  for (const row of table)
    console.log(row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '))
}

function targetOf(row: RowName): string {
  const { target }: { unit: string; target?: number | string } = ROWS[row]
  return typeof target === 'string' ? target : number(target)
}

function number(value: number | undefined): string {
  return value === undefined ? '-' : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)
}

await main()
