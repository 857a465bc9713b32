// Warnings for whoever writes a policy, or a part of one, that nobody enforces yet: kubectl prints them at each write. A server with
// these refuses nothing. Each goes when its capability comes.
import { labelsOf, type ManifestObject, NAMES } from './names.ts'
import { COUNTED } from './rights.ts'

const GROUP = 'admissionregistration.k8s.io/v1'
const MORE = '(docs/unsupported.md)'

/** `expression` (CEL) is false for what is warned of. */
type Warning = {
  name: string
  resources: Readonly<Record<string, readonly string[]>>
  expression: string
  message: string
}

const WARNINGS: readonly Warning[] = [
  {
    name: 'margay-replaced',
    resources: COUNTED,
    expression: 'false',
    message: `no node enforces it: write it as ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2, which took its place ${MORE}`,
  },
]

/** The policies and what binds them. A staged policy is never enforced, so nobody is surprised by one. */
export function warningObjects(): ManifestObject[] {
  return WARNINGS.flatMap(({ name, resources, expression, message }) => {
    const resourceRules = Object.entries(resources).map(([group, names]) => ({
      ...{ apiGroups: [group], apiVersions: ['*'], operations: ['CREATE', 'UPDATE'], resources: [...names] },
    }))
    const metadata = { name, labels: labelsOf(NAMES.node) }
    return [
      {
        ...{ apiVersion: GROUP, kind: 'ValidatingAdmissionPolicy', metadata },
        spec: {
          failurePolicy: 'Ignore',
          matchConstraints: { resourceRules },
          validations: [{ expression, message }],
        },
      },
      {
        ...{ apiVersion: GROUP, kind: 'ValidatingAdmissionPolicyBinding', metadata },
        spec: { policyName: name, validationActions: ['Warn'] },
      },
    ]
  })
}
