// A recorder on a small disk that others fill: what it kept, dropped and told, as JSON on standard output.
import { closeSync, openSync, readdirSync, readlinkSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { recorded } from '../../../agent/recorder/query.ts'
import { Recorder } from '../../../agent/recorder/recorder.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { createLog } from '../../../lib/log.ts'

const path = process.argv[2]!
const folder = join(path, 'recorder')
let lines = 0
const log = createLog('test', 'error', { write: () => void lines++ })
const recorder = new Recorder({ nodeName: 'n1', folder, clock: new ManualClock(), log })
const some = (count: number, name: string) => {
  for (let i = 0; i < count; i++)
    recorder.record({ type: 'Healed', object: { kind: 'Link', name }, reason: 'Tested', message: 'x'.repeat(1500) })
  recorder.flush()
}
const openFiles = () =>
  readdirSync('/proc/self/fd').filter(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).endsWith('.seg')
    } catch {
      return false
    }
  })
some(3000, 'early')
// a file that is full is closed once it is on the disk: its room is free after that
while (openFiles().length > 1) await nextTurn()
const octets = () => readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).size, 0)
const early = octets()
const fill = join(path, 'fill')
const file = openSync(fill, 'w')
try {
  for (;;) writeSync(file, Buffer.alloc(4096, 1))
} catch {
  closeSync(file) // ENOSPC
}
// the oldest of ours gives way, and the newest file is kept
some(100, 'while it is full')
const names = new Set(recorder.last(10_000).map(({ object }) => object.name))
const [kept, gaveWay] = [names.has('early') && names.has('while it is full'), octets() < early]
// the rest of the room is taken too, until nothing of ours can go
let dropped = 0
const files: string[] = [fill]
for (; dropped === 0 && files.length < 10; dropped = recorder.dropped) {
  files.push(join(path, `fill${files.length}`))
  const more = openSync(files.at(-1)!, 'w')
  try {
    for (;;) writeSync(more, Buffer.alloc(4096, 1))
  } catch {
    closeSync(more)
  }
  some(50, `round ${files.length}`)
}
const lost = `round ${files.length}`
for (const each of files) rmSync(each)
some(1, 'later')
recorder.flush()
const all = await Array.fromAsync(recorded(recorder, {}, recorder.seq))
const told = all
  .filter(({ type }) => type === 'Lost')
  .map(({ object, message }) => `${object.kind} ${object.name}: ${message}`)
const isLost = !all.some(({ object }) => object.name === lost)
process.stdout.write(
  JSON.stringify({ kept, gaveWay, dropped, isLost, told, last: recorder.last(1)[0]?.object.name, lines }),
)
