// The shortest form of `npm run bench:cni`, on the real programs: that it measures every row, and that its exit code says
// whether all targets are met, which no run this short and beside others can promise.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { isMet, type Measured } from '../../bench/cni/scenario.ts'

const MAIN = fileURLToPath(new URL('../../bench/cni/main.ts', import.meta.url))

test.serial(
  'every row of the CNI bench is measured beside ptp, and its exit code says whether all targets are met',
  async t => {
    if (process.getuid?.() !== 0 || !existsSync('/usr/lib/cni/ptp')) {
      t.log('skipped: it needs root and containernetworking-plugins')
      t.pass()
      return
    }
    t.timeout(120_000)
    const { code, stdout, stderr } = await run(['--tiny', '--json'])
    const rows = JSON.parse(stdout === '' ? '[]' : stdout) as Measured[]
    t.is(rows.length, 17, stderr)
    for (const row of rows) {
      t.log(row.name, row.value, row.peerValue)
      t.true(Number.isFinite(row.value) && row.value > 0, row.name)
      if (/VERSION|one at a time|5 at once/.test(row.name)) t.true(row.peerValue! > 0, row.name)
    }
    t.is(code, rows.every(row => isMet(row) !== false) ? 0 : 1)
    const writes = rows.find(({ name }) => name.startsWith('writes'))!
    t.true(writes.value < 1, 'no pod has a write of its own')
  },
)

test('a target is met up to its bound, and nothing is said of a row without one', t => {
  const row = { name: 'r', unit: 'ms', value: 12, peerValue: 10 }
  t.is(isMet(row), undefined)
  t.true(isMet({ ...row, target: { mostOfPeer: 1.2 } }))
  t.false(isMet({ ...row, target: { mostOfPeer: 1.1 } }))
  t.true(isMet({ ...row, target: { most: 12 } }))
  t.false(isMet({ ...row, target: { most: 11 } }))
  t.true(isMet({ ...row, target: { least: 12 } }))
  t.false(isMet({ ...row, target: { least: 13 } }))
})

function run(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise(resolve => {
    execFile(process.execPath, [MAIN, ...args], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    )
  })
}
