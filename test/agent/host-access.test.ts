// A process that may not do its work names the capability.
import test from 'ava'
import { AccessMissing, checkSysctlFolder, explainForbidden, podAccessConditions } from '../../agent/host-access.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'

test('an agent that may enter no network namespace names CAP_SYS_ADMIN, and for any other fault each pod speaks itself', t => {
  const failing = (errno: number) => ({
    inside(path: string): never {
      throw new KernelError(errno, 'setns', path)
    },
  })
  const [condition] = podAccessConditions(failing(ERRNO.EPERM))
  t.like(condition, { type: 'PodsEntered', status: 'False', reason: 'Forbidden' })
  t.regex(condition!.remedy, /CAP_SYS_ADMIN/)
  t.deepEqual(podAccessConditions(failing(ERRNO.ENOENT)), [])
  t.deepEqual(podAccessConditions(new FakeWorld().kernel()), [])
})

test('a change that is forbidden names CAP_NET_ADMIN, and any other error stays what it is', t => {
  const forbidden = new KernelError(ERRNO.EPERM, 'create link', 'margay-probe-4')
  const error = t.throws(() => explainForbidden(forbidden), { instanceOf: AccessMissing })
  t.regex(error?.message ?? '', /margay-probe-4.*CAP_NET_ADMIN/)
  const other = new KernelError(ERRNO.EBUSY, 'create link', 'margay-probe-4')
  t.is(
    t.throws(() => explainForbidden(other), { any: true }),
    other,
  )
})

test('a folder without the settings of a network is named, with what belongs there', t => {
  t.notThrows(() => checkSysctlFolder('/proc/sys/net'))
  const error = t.throws(() => checkSysctlFolder('/nonexistent/net'), { instanceOf: AccessMissing })
  t.regex(error?.message ?? '', /\/proc\/sys\/net at \/nonexistent\/net/)
})
