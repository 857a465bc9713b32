// The scenario as a program, for the virtual machine: `node test/lab/scenario-main.ts PATIENCE` prints what
// was observed as JSON.
import { Lab } from '../../lab/lab.ts'
import { observe } from './scenario.ts'
import { testLabOptions } from './temporary.ts'

const patience = Number(process.argv[2])
await using lab = new Lab({
  ...testLabOptions({ patience }),
  say: text => console.error(`${performance.now().toFixed(0)} ms ${text}`),
})
await lab.start()
await lab.routesKnown()
console.error(`${performance.now().toFixed(0)} ms routes are known`)
process.stdout.write(`${JSON.stringify(await observe(lab, { patience, onLan: [] }))}\n`)
