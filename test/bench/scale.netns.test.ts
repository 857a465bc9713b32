// The shortest form of `npm run bench:scale`, on the real programs: that it measures every row, and that a restart receives
// nothing that it has. That the work of an event does not grow with the cluster is counted in test/agent/work.test.ts.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { type Figures, ROWS, type RowName } from '../../bench/scale/scenario.ts'

const MAIN = fileURLToPath(new URL('../../bench/scale/main.ts', import.meta.url))
const NODES = 60

test.serial('every row of the scale bench is measured, and a restart receives none of the nodes again', async t => {
  if (process.getuid?.() !== 0) {
    t.log('skipped: network namespaces need root')
    t.pass()
    return
  }
  t.timeout(240_000)
  const args = [MAIN, '--tiny', '--json', '--soak', '1', '--nodes', String(NODES)]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  const { columns } = JSON.parse(stdout) as { columns: [{ figures: Figures }] }
  const { figures } = columns[0]
  for (const row of Object.keys(ROWS) as RowName[]) {
    // rounds of five seconds, which a tiny run does not wait for
    if (row === 'path probes, of a core: agent CPU') continue
    t.log(row, figures[row])
    t.true(Number.isFinite(figures[row]), row)
  }
  t.true(figures['restart: received']! < 0.05, `${figures['restart: received']} MB`)
  t.true(figures['start, cold: received']! > 0.1, 'the nodes were received once')
})
