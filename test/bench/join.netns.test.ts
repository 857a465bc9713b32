// The shortest form of `npm run bench:join`, on the real programs: nodes that join an agent at once all come up, and none is
// lost. That the agent takes them in slices is test/bgp/arrivals.test.ts, that they wake nobody test/bgp/rib/groups.test.ts.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const MAIN = fileURLToPath(new URL('../../bench/join/main.ts', import.meta.url))

test.serial(
  'simulated nodes that dial an agent at once all have its prefix and a route in the kernel, and none is lost',
  async t => {
    if (process.getuid?.() !== 0) {
      t.log('skipped: network namespaces need root')
      t.pass()
      return
    }
    t.timeout(240_000)
    const child = spawn(process.execPath, [MAIN, '--speakers', '40', '--seconds', '1'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const [said, wrong, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    t.log(said)
    // 1: on a machine that stands still an own prefix may come later than promised
    t.true(code === 0 || code === 1, wrong)
    t.regex(said, /^all Established: [\d.]+ s \(40\)$/m)
    t.regex(said, /^from Established to the agent's own prefix: median [\d.]+ ms/m)
    t.regex(said, /^all 40 routes in the kernel/m)
    t.regex(said, /sessions lost: 0$/m)
  },
)
