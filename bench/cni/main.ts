// `npm run bench:cni`: ADD and DEL as a runtime sees them, from the start of the plugin to its end, beside Debian's ptp with
// host-local in the same run, with what they should be. Ends with 1 where a target is not met. `--tiny` for a run whose
// figures say little, `--json`. Needs root. Absolute times are noise on a shared machine; read the two columns together.
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { systemProgram } from '../../lib/system-program.ts'
import { enterNamespace } from '../scale/ground.ts'
import { fromArguments, HELP_OPTION } from '../usage.ts'
import { isMet, type Measured, measureCni, type Sizes, type Target } from './scenario.ts'

const FULL: Sizes = { alone: 100, atOnce: 50, rounds: 5, pods: [110, 500], settleSeconds: 12 }
const TINY: Sizes = { alone: 3, atOnce: 5, rounds: 1, pods: [3, 6], settleSeconds: 0 }

const HELP = `Usage: npm run bench:cni [-- [--tiny] [--json]]

Measures ADD and DEL from the start of the plugin to its end, beside ptp with host-local of Debian. Needs root.

  --tiny  a run whose figures say little
  --json  every row as JSON, instead of a table
  --help  this text

Exit codes: 0 every target is met, 1 one is not, or it could not be measured, 2 wrong usage.
`

async function main(): Promise<void> {
  const { tiny, json } = fromArguments(
    HELP,
    () =>
      parseArgs({
        options: {
          tiny: { type: 'boolean', default: false },
          json: { type: 'boolean', default: false },
          ...HELP_OPTION,
        },
      }).values,
  )
  if (process.getuid?.() !== 0) throw new Error('network namespaces need root')
  enterNamespace()
  hideNamedNamespaces()
  const rows = await measureCni(tiny ? TINY : FULL, text => process.stderr.write(`${text}\n`))
  if (json) process.stdout.write(`${JSON.stringify(rows, undefined, 2)}\n`)
  else print(rows)
  process.exitCode = rows.some(row => isMet(row) === false) ? 1 : 0
}

/** Named namespaces of this mount namespace alone, which end with it. */
function hideNamedNamespaces(): void {
  mkdirSync('/run/netns', { recursive: true })
  execFileSync(systemProgram('mount'), ['-t', 'tmpfs', 'netns', '/run/netns'])
}

/** As Markdown. */
function print(rows: readonly Measured[]): void {
  console.log('| measure | unit | margay | ptp + host-local | target | |\n|---|---|--:|--:|---|---|')
  for (const row of rows) {
    const { name, unit, value, peerValue, target } = row
    const met = isMet(row)
    const cells = [name, unit, digits(value), peerValue === undefined ? '-' : digits(peerValue), words(target)]
    console.log(`| ${[...cells, met === undefined ? '' : met ? 'met' : 'not met'].join(' | ')} |`)
  }
}

function words(target: Target | undefined): string {
  if (target === undefined) return '-'
  const { most, least, mostOfPeer } = target
  if (most !== undefined) return `at most ${digits(most)}`
  return least !== undefined ? `${digits(least)} or more` : `at most ${mostOfPeer} of the peer`
}

/** Rounds to three significant digits. */
function digits(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3)
}

await main()
