// A warning for whoever writes a policy that nobody enforces yet: kubectl prints it at each write. A server with this policy
// refuses nothing. Goes when network policy comes.
import { GROUP_VERSIONS } from '../api/api-group.ts'
import { unenforced } from '../api/unsupported.ts'
import { labelsOf, type ManifestObject, NAMES } from './names.ts'
import { CALICO_COUNTED, COUNTED } from './rights.ts'

const NAME = 'margay-not-enforced'
const GROUP = 'admissionregistration.k8s.io/v1'

const MESSAGE = `no node enforces it: ${unenforced('NetworkPolicy')}, and ${unenforced('HostEndpoint')}; this version of Margay has no network policy (docs/unsupported.md)`

/** The policy and what binds it. A staged policy is never enforced, so nobody is surprised by one. */
export function warningObjects(): ManifestObject[] {
  const calicos = CALICO_COUNTED.filter(resource => !resource.startsWith('staged'))
  const ours = Object.values(GROUP_VERSIONS).map(({ group }) => [group, calicos] as const)
  const resourceRules = [...Object.entries(COUNTED), ...ours].map(([group, names]) => ({
    ...{ apiGroups: [group], apiVersions: ['*'], operations: ['CREATE', 'UPDATE'], resources: [...names] },
  }))
  const metadata = { name: NAME, labels: labelsOf(NAMES.node) }
  return [
    {
      ...{ apiVersion: GROUP, kind: 'ValidatingAdmissionPolicy', metadata },
      spec: {
        failurePolicy: 'Ignore',
        matchConstraints: { resourceRules },
        validations: [{ expression: 'false', message: MESSAGE }],
      },
    },
    {
      ...{ apiVersion: GROUP, kind: 'ValidatingAdmissionPolicyBinding', metadata },
      spec: { policyName: NAME, validationActions: ['Warn'] },
    },
  ]
}
