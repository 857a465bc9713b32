// The recorder's program is killed (SIGKILL) again and again. RECORDER_KILLS=100 makes it long.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'ava'
import { recorded } from '../../../agent/recorder/query.ts'
import { Recorder } from '../../../agent/recorder/recorder.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'

const KILLS = Number(process.env['RECORDER_KILLS'] ?? 4)

test('of a program that is killed again and again nothing that is older than 300 ms is lost, and no record is there twice', async t => {
  t.timeout(60_000 + KILLS * 10_000)
  const root = mkdtempSync(join(tmpdir(), 'margay-killed-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  let before = 0
  for (let kill = 0; kill < KILLS; kill++) {
    // the oldest of very many records go
    const folder = join(root, `${Math.floor(kill / 8)}`)
    if (kill % 8 === 0) before = 0
    // texts of many lengths: what is written at once is cut elsewhere
    const words = [new URL('killed-child.ts', import.meta.url).pathname, folder, `${1 + ((kill * 331) % 1500)}`]
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    const said = text(child.stdout)
    await once(child.stdout, 'readable')
    setTimeout(() => child.kill('SIGKILL'), 400 + ((kill * 97) % 300))
    const lines = (await said)
      .split('\n')
      .slice(0, -1)
      .map(line => line.split(' ').map(Number) as [number, number])
    const [lastSeq, lastMs] = lines.at(-1)!
    // a program that did not run could not write
    const stoodMs = Math.max(0, ...lines.map(([, ms], i) => ms - (lines[i - 1]?.[1] ?? ms)))
    const promised = lines.findLast(([, ms]) => ms <= lastMs - 300 - stoodMs)?.[0] ?? before
    const recorder = new Recorder({ nodeName: 'n1', folder, clock: new ManualClock(), log: silentLog })
    const found = await Array.fromAsync(recorded(recorder, {}, recorder.seq))
    recorder.close()
    const numbers = found.map(({ seq }) => seq)
    t.true(
      numbers.every((seq, n) => n === 0 || seq > numbers[n - 1]!),
      'none twice, and in their order',
    )
    t.true(found.every(({ seq, object }) => object.name === `${seq}`))
    const kept = new Set(numbers)
    const all = Array.from({ length: promised - before }, (_, n) => before + n + 1)
    t.deepEqual(
      all.filter(seq => !kept.has(seq)),
      [],
      `kill ${kill}: of ${lastSeq}, ${promised} promised`,
    )
    before = Math.max(promised, numbers.at(-1) ?? 0)
  }
  t.true(before > 0)
})
