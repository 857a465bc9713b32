// The short form of `npm run soak`, on the lab with the real programs.
import test from 'ava'
import { LabWorld } from '../../bench/soak/lab.ts'
import { soak } from '../../bench/soak/soak.ts'
import { outcomeTable } from '../../bench/soak/table.ts'
import { VICTIMS } from '../../bench/soak/world.ts'
import { randomFrom } from '../ipam/flaky-store.ts'
import { sweepTestLabs, testLabOptions } from '../lab/temporary.ts'

const STARTS = 30
const SEED = 11

test.serial(
  'pods whose first instruction sends lose nothing and leave nothing while what they need is killed',
  async t => {
    if (process.getuid?.() !== 0) {
      t.log('skipped: network namespaces need root')
      t.pass()
      return
    }
    t.timeout(300_000)
    await sweepTestLabs()
    const said: string[] = []
    const say = (text: string) => void said.push(text)
    await using world = await LabWorld.make({ ...testLabOptions({ patience: 2 }), nodes: [2, 2], say, blockSize: 26 })
    const outcome = await soak(world, {
      ...{ starts: STARTS, mostSeconds: 100, kill: VICTIMS, random: randomFrom(SEED), say },
      ...{ atOnce: 4, live: 12, killSeconds: 1.5, restartAtEnd: true },
    })
    t.log(`\n${outcomeTable(outcome, { about: world.about, seed: SEED })}`)
    t.true(outcome.starts > 0)
    const { lost, doubles, leaks, failed } = outcome
    t.deepEqual({ lost, doubles, leaks, failed }, { lost: [], doubles: [], leaks: [], failed: [] }, said.join('\n'))
    t.true([...outcome.kills.values()].some(count => count > 0))
  },
)
