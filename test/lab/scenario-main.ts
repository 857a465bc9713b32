// The scenario as a program, for the virtual machine: `node test/lab/scenario-main.ts PATIENCE` prints what
// was observed as JSON, and on standard error what began when. Of the plugins of a LAN it has the one that kernels of
// other machines lack.
import { Lab } from '../../lab/lab.ts'
import { observe } from './scenario.ts'
import { testLabOptions } from './temporary.ts'

const patience = Number(process.argv[2])
const say = (text: string) => console.error(`${performance.now().toFixed(0)} ms ${text}`)
await using lab = new Lab({ ...testLabOptions({ patience }), say })
await lab.start()
await lab.routesKnown()
const seen = await observe(lab, { patience, onLan: ['ipvlan'], say })
say('all was seen')
process.stdout.write(`${JSON.stringify(seen)}\n`)
