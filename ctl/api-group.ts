// Which of Calico's API groups margayctl takes where a server has both. The agents' ConfigMap says theirs, so that CRDs that
// somebody adds change nothing; an object of the other group would be read by no agent.
import { API_GROUPS, type ApiGroup } from '../api/api-group.ts'
import { isObject } from '../api/merge-patch.ts'
import { NotFound, Refused } from '../datastore/port.ts'
import { UsageError } from './failure.ts'

const CONFIG = { namespace: 'kube-system', name: 'margay-config' }
const PATH = `/api/v1/namespaces/${CONFIG.namespace}/configmaps/${CONFIG.name}`

/** The group that the installation names. Rejects with UsageError where none is to be had, and with Unreachable. */
export async function installedGroup(read: (path: string) => Promise<unknown>): Promise<ApiGroup> {
  const refused = (why: string): UsageError =>
    new UsageError(
      `the API server has both projectcalico.org and crd.projectcalico.org, and ${why}. Give the one that the agents use, --api-group v3 or --api-group v1.`,
    )
  let config: unknown
  try {
    config = await read(PATH)
  } catch (error) {
    if (!(error instanceof NotFound || error instanceof Refused)) throw error
    throw refused(`ConfigMap ${CONFIG.name} in ${CONFIG.namespace} cannot be read: ${error.message}`)
  }
  const data = isObject(config) && isObject(config['data']) ? config['data'] : {}
  const group = API_GROUPS.find(each => each === data['apiGroup'])
  if (group !== undefined) return group
  throw refused(`ConfigMap ${CONFIG.name} in ${CONFIG.namespace} has no apiGroup that is v3 or v1`)
}
