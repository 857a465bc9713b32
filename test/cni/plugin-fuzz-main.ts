// The plugin's own code under random input for longer than the tests do it: `npm run fuzz:cni -- --seconds 600`. On a fault
// it prints what the sanitizers say, or the seed of the case (`--seconds 0 --seed N` runs that one), and the exit code is 1.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { compileFuzzer, runFuzzer } from './plugin-fuzz.ts'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: `${Date.now() % 1e9}` } },
})
const folder = mkdtempSync(join(tmpdir(), 'margay-fuzz-'))
const made = compileFuzzer(folder)
if ('missing' in made) {
  console.error(`cannot run: ${made.missing}`)
  process.exitCode = 2
} else {
  console.log(`${values.seconds} s from seed ${values.seed}`)
  const said = await runFuzzer(made.program, Number(values.seconds), Number(values.seed))
  console.log(said)
  process.exitCode = /^\d+ cases$/.test(said) ? 0 : 1
}
rmSync(folder, { recursive: true, force: true })
