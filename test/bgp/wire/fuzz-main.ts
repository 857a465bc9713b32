// The fuzzers for as long as one likes: `npm run fuzz -- --seconds 600`. Takes turns, prints how many inputs each
// decoder took, and on a failure the octets that make it and a seed to repeat it with; then the exit code is 1.
import { parseArgs } from 'node:util'
import fc from 'fast-check'
import { toHex } from '../../../lib/bytes.ts'
import { fuzzers, property } from './fuzz.ts'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } })
const seconds = Number(values.seconds)
if (!(seconds > 0)) {
  console.error('--seconds takes a number above 0')
  process.exit(2)
}

const TURN_MS = 2000
const end = performance.now() + seconds * 1000
const counts = new Map(fuzzers.map(f => [f.name, 0]))
let failed = false
while (performance.now() < end && !failed)
  for (const fuzzer of fuzzers) {
    const turn = Math.min(TURN_MS, end - performance.now())
    if (turn <= 0) break
    const seed = Math.floor(Math.random() * 0x7fffffff)
    const limits = { numRuns: 1_000_000_000, seed, interruptAfterTimeLimit: turn, markInterruptAsFailure: false }
    const result = fc.check(property(fuzzer), limits)
    counts.set(fuzzer.name, counts.get(fuzzer.name)! + result.numRuns)
    if (!result.failed || result.counterexample === null) continue
    failed = true
    console.error(`${fuzzer.name} fails for ${toHex(result.counterexample[0])} (seed ${seed})`)
    console.error(result.errorInstance)
  }
for (const [name, count] of counts) console.log(`${name}: ${count} inputs`)
process.exitCode = failed ? 1 : 0
