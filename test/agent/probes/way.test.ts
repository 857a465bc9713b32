import test from 'ava'
import { wayTo } from '../../../agent/probes/way.ts'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import type { Route } from '../../../kernel/port/routes.ts'

const route: Route = { dst: '10.244.2.0/26', table: 254, type: 'unicast', protocol: 12, scope: 0, ifindex: 7 }
const refused = (errno: number) => Promise.reject(new KernelError(errno, 'look up route', '10.244.2.9'))
const asked = (lookUp: () => Promise<Route>, kind: () => Promise<string | undefined> = async () => 'vxlan') =>
  wayTo('10.244.2.9', { lookupRoute: lookUp }, kind)

test('the way is that of the link that the kernel sends by', async t => {
  t.is(await asked(async () => route), 'vxlan')
  t.is(
    await asked(
      async () => route,
      async () => 'ipip',
    ),
    'ipip',
  )
  t.is(
    await asked(
      async () => route,
      async () => undefined,
    ),
    'direct',
  )
})

test('there is no route only where the kernel says so: a kernel that could not be asked has said nothing', async t => {
  for (const errno of [ERRNO.ENETUNREACH, ERRNO.EHOSTUNREACH, ERRNO.EACCES, ERRNO.EINVAL])
    t.is(await asked(() => refused(errno)), 'no route')
  for (const errno of [ERRNO.EMFILE, ERRNO.ENOBUFS, ERRNO.ETIMEDOUT]) {
    t.is(await asked(() => refused(errno)), undefined)
    t.is(
      await asked(
        async () => route,
        () => refused(errno),
      ),
      undefined,
    )
  }
})
