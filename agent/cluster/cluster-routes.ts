// Who writes the routes to other nodes (programClusterRoutes of BGPConfiguration and FelixConfiguration): in Calico two programs, that
// must divide them. Here one does, so that every division gives the same routes and no two fight; what is said is that two objects
// which leave some routes to nobody do not get what they say. Pure.
import type { Resource } from '../../api/kinds.ts'
import { broken, type Condition } from '../../api/status.ts'

type Division = NonNullable<Resource<'BGPConfiguration'>['spec']['programClusterRoutes']>

/** Calico's defaults since 3.33. */
const DEFAULT = { bgp: 'EnabledNoEncapOnly', felix: 'EnabledIPIPOnly' } as const satisfies Record<string, Division>
const KINDS = [
  { pools: 'IP-in-IP', words: ['Enabled', 'EnabledIPIPOnly'] },
  { pools: 'no tunnel', words: ['Enabled', 'EnabledNoEncapOnly'] },
] as const satisfies readonly { pools: string; words: readonly Division[] }[]

/** Told where the objects `default` leave routes to nobody, which are written all the same. */
export function clusterRoutesOfNobody(
  bgp: Resource<'BGPConfiguration'> | undefined,
  felix: Resource<'FelixConfiguration'> | undefined,
): Condition | undefined {
  const said = {
    bgp: bgp?.spec.programClusterRoutes ?? DEFAULT.bgp,
    felix: felix?.spec.programClusterRoutes ?? DEFAULT.felix,
  }
  const left = KINDS.filter(
    ({ words }) => ![said.bgp, said.felix].some(each => (words as readonly string[]).includes(each)),
  )
  if (left.length === 0) return undefined
  return broken('FieldsSupported', {
    object: { kind: 'BGPConfiguration', name: 'default' },
    reason: 'NoEffect',
    message: `programClusterRoutes is ${said.bgp} here and ${said.felix} in FelixConfiguration, so that nobody should write the routes to other nodes of pools with ${left.map(({ pools }) => pools).join(' and ')}; they are written all the same`,
    remedy:
      'remove programClusterRoutes from both objects: one program writes all routes here, and nothing has to be divided',
  })
}
