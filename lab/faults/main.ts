// `npm run faults -- [all|short|NN...] [--json]`: plays faults on the lab that `npm run lab -- --keep` left running, and prints how
// each was named and healed. Progress goes to stderr. Exit code 0 when every fault was played and all pairs answer after each.
import { parseArgs } from 'node:util'
import { labDir } from '../isolate.ts'
import { Lab } from '../lab.ts'
import { LabFailure } from '../lab-programs.ts'
import { enterKept } from '../remains.ts'
import { parsed, WrongUsage } from '../request.ts'
import { table } from '../show.ts'
import { FAULTS, faultOf } from './catalogue.ts'
import { takeOut } from './deeds.ts'
import type { Fault } from './fault.ts'
import { type Played, play } from './play.ts'
import { saidText } from './words.ts'

const HELP = `Usage: npm run faults [-- [all | short | NUMBER | NAME ...] [--json]]

Plays faults on the lab that \`npm run lab -- --keep\` left running: each is put in, what the agents say is listened to, and it
is taken out again. \`short\` leaves out those that wait for a timer of BGP. Takes a quarter of an hour, \`short\` seven minutes.

Exit codes: 0 all were played and every pair answered after each, 1 not so, 2 wrong usage, 3 there is no lab to play on.
`
const LONG_SECONDS = 60

function chosen(words: readonly string[]): Fault[] {
  const asked = words.length === 0 ? ['all'] : words
  return asked.flatMap(word => {
    if (word === 'all') return FAULTS
    if (word === 'short') return FAULTS.filter(({ breaksWithinSeconds = 0 }) => breaksWithinSeconds < LONG_SECONDS)
    const fault = faultOf(word)
    if (fault === undefined) throw new WrongUsage(`there is no fault ${word}: npm run lab -- fault lists them`)
    return fault
  })
}

const seconds = (ms: number | undefined): string => (ms === undefined ? '-' : (ms / 1000).toFixed(1))

function cells({
  fault,
  skipped,
  brokeMs,
  healedMs,
  namedMs,
  named,
  explanation,
  said,
  backMs,
  left,
}: Played): string[] {
  if (skipped !== undefined) return [fault, '-', '-', '-', '-', '-', '-', skipped]
  const still = left[0] === undefined ? '' : `, still said: ${left[0].at} ${left[0].type}`
  const back = `${backMs === undefined ? 'NOT BACK' : seconds(backMs)}${still}`
  const other = said.find(({ of, type }) => of === 'condition' || type !== 'ConditionChanged')
  const words = named === undefined ? (other === undefined ? 'nothing said' : saidText(other)) : saidText(named)
  const { right = false, verdict, code, by } = explanation ?? {}
  const byExplain = right ? `${code ?? 'healed'}${by === 'probe' ? ' --probe' : ''}` : `no (${code ?? verdict})`
  const byWord = named === undefined ? 'no' : named.of
  return [fault, seconds(brokeMs), seconds(healedMs), byExplain, byWord, seconds(namedMs), back, words]
}

async function main(): Promise<number> {
  const { values, positionals } = parsed(() =>
    parseArgs({
      allowPositionals: true,
      options: { json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
    }),
  )
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const faults = chosen(positionals)
  const entered = await enterKept()
  if (entered !== undefined) return entered
  await using lab = Lab.kept({ dir: labDir(), patience: 1, say: () => {} })
  const left = await takeOut(lab)
  if (left.length > 0) process.stderr.write(`taken out first: ${left.join(', ')}\n`)
  const rows: Played[] = []
  for (const fault of faults) {
    const row = await play(lab, fault)
    rows.push(row)
    process.stderr.write(`${cells(row).join('  ')}\n`)
  }
  const named = rows.filter(row => row.named !== undefined)
  if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`)
  else {
    const header = ['FAULT', 'BROKE', 'HEALED', 'EXPLAINED', 'NAMED BY', 'AFTER', 'BACK', 'WORDS']
    process.stdout.write(`\n${table(header, rows.map(cells))}\n\n`)
  }
  const right = rows.filter(row => row.explanation?.right)
  process.stderr.write(
    `of ${rows.length} faults ${right.length} are explained, ${named.length} named by a condition or an event\n`,
  )
  return rows.every(({ skipped, backMs }) => skipped === undefined && backMs !== undefined) ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  if (error instanceof WrongUsage) process.stderr.write(`${error.message}\n\n${HELP}`)
  else if (error instanceof LabFailure) process.stderr.write(`${error.message}\n`)
  else throw error
  process.exitCode = error instanceof WrongUsage ? 2 : 3
}
