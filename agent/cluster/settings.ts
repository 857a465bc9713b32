// The configuration objects named `default`, with Calico's defaults where there is none. Pure.
import type { Resource } from '../../api/kinds.ts'
import { validate } from '../../api/validate.ts'
import type { Settings } from '../../felix/input.ts'

/** The cluster's BGP settings. */
export function bgpSettings(object: Resource<'BGPConfiguration'> | undefined): Resource<'BGPConfiguration'>['spec'] {
  return (object ?? DEFAULT_BGP).spec
}

/** What felix takes of its configuration. */
export function felixSettings(object: Resource<'FelixConfiguration'> | undefined): Settings['config'] {
  const { spec } = object ?? DEFAULT_FELIX
  return {
    vxlanPort: spec.vxlanPort,
    vxlanVni: spec.vxlanVNI,
    ipipMtu: spec.ipipMTU,
    vxlanMtu: spec.vxlanMTU,
    workloadRouteProtocol: spec.deviceRouteProtocol,
  }
}

const DEFAULT_BGP = defaults('BGPConfiguration')
const DEFAULT_FELIX = defaults('FelixConfiguration')

function defaults<K extends 'BGPConfiguration' | 'FelixConfiguration'>(kind: K): Resource<K> {
  const result = validate(kind, { metadata: { name: 'default' }, spec: {} })
  if (Array.isArray(result)) throw new Error(`${kind} has no valid default: ${JSON.stringify(result)}`)
  return result as Resource<K>
}
