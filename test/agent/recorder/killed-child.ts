// Records without a pause until it is killed, and says what it recorded when, a line each: number and milliseconds.
import { writeSync } from 'node:fs'
import { Recorder } from '../../../agent/recorder/recorder.ts'
import { systemClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'

const recorder = new Recorder({ nodeName: 'n1', folder: process.argv[2]!, clock: systemClock, log: silentLog })
const message = 'x'.repeat(Number(process.argv[3]))
const keep = setInterval(() => {
  for (let i = 0; i < 4; i++) {
    const object = { kind: 'Link', name: `${recorder.seq + 1}` } as const
    if (i % 2 === 0) recorder.record({ type: 'Healed', object, reason: 'Tested', message })
    else recorder.note('Came', 'Link', 'kernel', () => ({ name: object.name, text: message }))
  }
  writeSync(1, `${recorder.seq} ${Math.round(performance.now())}\n`)
}, 2)
keep.ref()
