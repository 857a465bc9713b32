// The short form of `npm run bench:scale`: not how fast it is on this machine, but that the work follows the change and
// not the size of the cluster.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { type Figures, ROWS, type RowName } from '../../bench/scale/scenario.ts'

const MAIN = fileURLToPath(new URL('../../bench/scale/main.ts', import.meta.url))
const [FEW, MANY] = [60, 240]
/** Below this the machine's noise is larger than the work. */
const NOISE_MS = 1.5
const FLAT: readonly RowName[] = [
  'Node heartbeat, no peers: agent CPU',
  'one of 1,000 learned routes changes: agent CPU',
  'Node heartbeat, peers and VTEPs: agent CPU',
  'VTEP of one node changes: agent CPU',
]
/** An ADD is a time by the clock, on a machine that does other things too. */
const ADD_NOISE_MS = 100
const ADD: readonly RowName[] = [
  'ADD, VTEPs on every node, idle: median',
  'ADD, VTEPs on every node, in heartbeats: median',
]

async function measure(nodes: number): Promise<Figures> {
  const args = [MAIN, '--quick', '--json', '--soak', '3', '--nodes', String(nodes)]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  const { columns } = JSON.parse(stdout) as { columns: [{ figures: Figures }] }
  return columns[0].figures
}

test.serial('four times the nodes do not make an event dearer, nor a restart larger', async t => {
  if (process.getuid?.() !== 0) {
    t.log('skipped: network namespaces need root')
    t.pass()
    return
  }
  t.timeout(240_000)
  // side by side, each in namespaces of its own: most of the time is spent waiting, and only processor time is compared
  const [few, many] = await Promise.all([measure(FEW), measure(MANY)])
  for (const row of Object.keys(ROWS) as RowName[]) {
    t.log(row, few[row], many[row])
    t.true(Number.isFinite(few[row]) && Number.isFinite(many[row]), row)
  }
  for (const row of FLAT) t.true(many[row]! < 2 * few[row]! + NOISE_MS, `${row}: ${few[row]} then ${many[row]}`)
  for (const row of ADD) t.true(many[row]! < 2 * few[row]! + ADD_NOISE_MS, `${row}: ${few[row]} then ${many[row]}`)
  t.true(many['foreign IPAMBlock changes: agent CPU']! < NOISE_MS)
  t.true(many['restart: received']! < 0.05, `${many['restart: received']} MB`)
  t.true(many['start, cold: memory']! < few['start, cold: memory']! + 60)
})
