// The whole lab on Debian's stock kernel, which has IP-in-IP: what DESIGN section 4 promises, literally.
import test from 'ava'
import { root } from '../../lab/lab.ts'
import { buildForVm, missingForVm, runInVm } from '../../lab/vm.ts'
import { slowness } from '../slowness.ts'
import { claim } from './claims.ts'
import type { Observations } from './scenario.ts'

/** Software emulation, and two emulated processors. */
const PATIENCE = 15
/** Some nine times what it takes on a machine that does nothing else: one with forty programs on two processors took more than four times. */
const LIMIT_SECONDS = 900
const HEAL_MS = 3000
/** The host may be busy with other tests: how busy is measured while the machine runs. */
const MEASURED_EVERY_MS = 5000

const missing = missingForVm()
let seen: Observations | undefined
let slowest = 1

test.before(async t => {
  if (missing.length > 0) return
  t.timeout((LIMIT_SECONDS + 30) * 1000)
  let stdout = ''
  let stderr = ''
  using _ = setInterval(() => {
    slowest = Math.max(slowest, slowness())
  }, MEASURED_EVERY_MS)
  const { program, env } = await buildForVm('test/lab/scenario-main')
  const code = await runInVm([process.execPath, program, String(PATIENCE)], {
    cwd: root,
    env,
    limitSeconds: LIMIT_SECONDS,
    stdout: text => {
      stdout += text
    },
    stderr: text => {
      stderr += text
    },
  })
  if (code !== 0) throw new Error(`the lab in the virtual machine ended with ${code}\n${stderr.slice(-4000)}`)
  seen = JSON.parse(stdout) as Observations
})

claim(test, () => `the virtual machine needs ${missing.join(', ')}`, {
  observed: () => seen,
  tunnel: 'ipip',
  healMs: () => HEAL_MS * slowest,
})
