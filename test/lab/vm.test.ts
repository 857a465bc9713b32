// The whole lab on Debian's stock kernel, which has IP-in-IP: what DESIGN section 4 promises, literally.
import test from 'ava'
import { root } from '../../lab/lab.ts'
import { missingForVm, runInVm } from '../../lab/vm.ts'
import { claim } from './claims.ts'
import type { Observations } from './scenario.ts'

/** Software emulation, and two emulated processors. */
const PATIENCE = 15
const LIMIT_SECONDS = 450

const missing = missingForVm()
let seen: Observations | undefined

test.before(async t => {
  if (missing.length > 0) return
  t.timeout((LIMIT_SECONDS + 30) * 1000)
  let stdout = ''
  let stderr = ''
  const code = await runInVm([process.execPath, 'test/lab/scenario-main.ts', String(PATIENCE), '3000'], {
    cwd: root,
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
  healMs: 3000,
})
