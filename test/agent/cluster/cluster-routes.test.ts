import test from 'ava'
import { clusterRoutesOfNobody } from '../../../agent/cluster/cluster-routes.ts'
import { aResource } from '../../datastore/objects.ts'

const left = (bgp?: string, felix?: string) => {
  const object = (kind: 'BGPConfiguration' | 'FelixConfiguration', programClusterRoutes: string | undefined) =>
    programClusterRoutes === undefined
      ? undefined
      : (aResource(kind, { metadata: { name: 'default' }, spec: { programClusterRoutes } }) as never)
  const condition = clusterRoutesOfNobody(object('BGPConfiguration', bgp), object('FelixConfiguration', felix))
  return condition && /of pools with (.*); they are written all the same$/.exec(condition.message)?.[1]
}

test('however routes are divided between two programs they are written here, and it is told where they are left to nobody', t => {
  t.is(left(), undefined)
  t.is(left('Enabled', 'Disabled'), undefined)
  t.is(left('Disabled', 'Enabled'), undefined)
  t.is(left('Enabled', 'Enabled'), undefined)
  t.is(left('EnabledIPIPOnly', 'EnabledNoEncapOnly'), undefined)
  t.is(left('Disabled'), 'no tunnel')
  t.is(left(undefined, 'Disabled'), 'IP-in-IP')
  t.is(left('Disabled', 'Disabled'), 'IP-in-IP and no tunnel')
  t.is(left('EnabledIPIPOnly', 'EnabledIPIPOnly'), 'no tunnel')
})
