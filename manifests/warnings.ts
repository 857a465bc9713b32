// Warnings for whoever writes a policy, or a part of one, that nobody enforces yet: kubectl prints them at each write. A server with
// these refuses nothing. Each goes when its capability comes.
import { GROUP_VERSIONS } from '../api/api-group.ts'
import { UNSUPPORTED } from '../api/unsupported.ts'
import { labelsOf, type ManifestObject, NAMES } from './names.ts'
import { COUNTED } from './rights.ts'

const GROUP = 'admissionregistration.k8s.io/v1'
const MORE = '(docs/unsupported.md)'
const CALICOS = Object.values(GROUP_VERSIONS).map(({ group }) => group)
/** What hosts alone act on. */
const OF_HOSTS = UNSUPPORTED.filter(({ kind, effect }) => kind === 'GlobalNetworkPolicy' && effect === 'unenforced')

/** `expression` (CEL) is false for what is warned of. */
type Warning = {
  name: string
  resources: Readonly<Record<string, readonly string[]>>
  expression: string
  message: string
}

const WARNINGS: readonly Warning[] = [
  {
    name: 'margay-not-enforced',
    resources: Object.fromEntries(CALICOS.map(group => [group, ['hostendpoints']])),
    expression: 'false',
    message: `no node enforces it: the interfaces of hosts are not protected; this version of Margay has no host endpoints ${MORE}`,
  },
  {
    name: 'margay-replaced',
    resources: COUNTED,
    expression: 'false',
    message: `no node enforces it: write it as ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2, which took its place ${MORE}`,
  },
  {
    name: 'margay-not-on-hosts',
    resources: Object.fromEntries(CALICOS.map(group => [group, ['globalnetworkpolicies']])),
    expression: OF_HOSTS.map(({ field }) => `(!has(object.spec.${field}) || !object.spec.${field})`).join(' && '),
    message: `${OF_HOSTS.map(({ field }) => field).join(', ')}: no node enforces it on the interfaces of hosts, which are not protected; this version of Margay has no host endpoints ${MORE}`,
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
