// `npm run bench:memory`: what an agent keeps of pods that are gone. 100,000 come and go (`--pods N` for others), and over the last
// half of them neither the objects on its heap nor its files may grow. Ends with 1 when they do.
import { parseArgs } from 'node:util'
import { fromArguments, HELP_OPTION, WrongUsage } from '../usage.ts'
import { type Sample, slopeOf, watchMemory } from './pods.ts'

/** Octets for each pod: the least that a forgotten entry of a map takes is some tens. */
const MOST_SLOPE = 8
const LOOKS = 40

const HELP = `Usage: npm run bench:memory [-- --pods N]

Takes a whole agent through the lives of pods, and prints the objects on its heap and its files meanwhile.

  --pods N  how many pods come and go (default 100000, ${LOOKS} at the least)
  --help    this text

Exit codes: 0 neither grows over the last half, 1 one does, 2 wrong usage.
`

const { pods } = fromArguments(HELP, () => {
  const { values } = parseArgs({ options: { pods: { type: 'string', default: '100000' }, ...HELP_OPTION } })
  const number = Number(values.pods)
  if (!Number.isInteger(number) || number < LOOKS)
    throw new WrongUsage(`--pods ${values.pods}: give a whole number from ${LOOKS} on`)
  return { ...values, pods: number }
})
console.log('| pods that came and went | objects, MiB | files, KiB |\n|--:|--:|--:|')
const every = Math.floor(pods / LOOKS)
const samples = await watchMemory(pods, every, ({ pods, heap, files }: Sample) => {
  console.log(`| ${pods.toLocaleString('en')} | ${(heap / 2 ** 20).toFixed(2)} | ${Math.round(files / 1024)} |`)
})
console.log('\n| for each pod, over the last half | octets | target | |\n|---|--:|---|---|')
for (const what of ['heap', 'files'] as const) {
  const slope = slopeOf(samples, what)
  const met = slope <= MOST_SLOPE
  console.log(`| ${what} | ${slope.toFixed(1)} | at most ${MOST_SLOPE} | ${met ? 'met' : 'not met'} |`)
  if (!met) process.exitCode = 1
}
