// `npm run bench`: every measure of this folder in one table, each beside its peer from Debian where there is one, in
// the same run on the same machine. Absolute times are noise on a shared machine; read the two columns together.
import { parseArgs } from 'node:util'
import { benchAgent } from './agent.ts'
import { benchBgpRib } from './bgp-rib.ts'
import { benchBgpWire } from './bgp-wire.ts'
import { benchFelix } from './felix.ts'
import { benchFelixKernel } from './felix-kernel.ts'
import { benchPolicy } from './policy.ts'
import { benchProbes } from './probes.ts'
import { benchReceipts } from './receipts.ts'
import { benchRoutes } from './routes.ts'
import type { Row } from './row.ts'
import { benchScrape } from './scrape.ts'
import { fromArguments, HELP_OPTION } from './usage.ts'

const HELP = `Usage: npm run bench

Prints every measure of this folder in one table, each beside its peer from Debian where there is one. Without root those of
routes and of path probes are left out.

  --help  this text

Exit codes: 0 measured, 1 it could not be, 2 wrong usage.
`

const ROOT_ONLY = [benchRoutes, benchFelixKernel, benchProbes]
const ANYBODY = [benchBgpWire, benchBgpRib, benchFelix, benchPolicy, benchReceipts, benchAgent, benchScrape]

fromArguments(HELP, () => parseArgs({ options: HELP_OPTION }).values)
const asRoot = process.getuid?.() === 0
const rows: Row[] = []
for (const bench of asRoot ? [...ROOT_ONLY, ...ANYBODY] : ANYBODY) {
  process.stderr.write(`measuring: ${bench.name}\n`)
  rows.push(...(await bench()))
}
print(rows)
if (!asRoot) process.stderr.write('not root: routes and path probes were left out, which need network namespaces\n')
process.exit(0) // the programs that a bench started are gone; nothing else may hold the table back

function print(all: readonly Row[]): void {
  const cells = [
    ['MEASURE', 'MARGAY', 'UNIT', 'PEER', 'PEER HAS'],
    ...all.map(({ name, value, unit, peer, peerValue }) => [
      name,
      digits(value),
      unit,
      peer ?? '-',
      peerValue === undefined ? '-' : digits(peerValue),
    ]),
  ]
  const widths = cells[0]!.map((_, i) => Math.max(...cells.map(row => row[i]!.length)))
  for (const row of cells)
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
}

/** Rounds to three significant digits. */
function digits(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3)
}
