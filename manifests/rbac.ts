// ServiceAccounts and their rights, from the table of rights. What is asked in one namespace is a Role there.
import { labelsOf, type ManifestObject, type Settings } from './names.ts'
import type { Right } from './rights.ts'

const GROUP = 'rbac.authorization.k8s.io'

/** The account of a part, and what it may do. */
export function accountObjects(name: string, rights: readonly Right[], { namespace }: Settings): ManifestObject[] {
  const labels = labelsOf(name)
  const subjects = [{ kind: 'ServiceAccount', name, namespace }]
  const bound = (kind: 'ClusterRole' | 'Role', own: readonly Right[], where: object): ManifestObject[] =>
    own.length === 0
      ? []
      : [
          { apiVersion: `${GROUP}/v1`, kind, metadata: { name, ...where, labels }, rules: rulesOf(own) },
          {
            apiVersion: `${GROUP}/v1`,
            kind: `${kind}Binding`,
            metadata: { name, ...where, labels },
            roleRef: { apiGroup: GROUP, kind, name },
            subjects,
          },
        ]
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace, labels } },
    ...bound('ClusterRole', inCluster(rights), {}),
    ...([true, 'default'] as const).flatMap(where =>
      bound(
        'Role',
        rights.filter(({ inNamespace }) => inNamespace === where),
        { namespace: where === true ? namespace : where },
      ),
    ),
  ]
}

/** The rules of a part's ClusterRole. */
export function clusterRules(rights: readonly Right[]): object[] {
  return rulesOf(inCluster(rights))
}

function inCluster(rights: readonly Right[]): Right[] {
  return rights.filter(right => right.inNamespace === undefined)
}

/** One rule for all resources of a group with the same verbs. */
function rulesOf(rights: readonly Right[]): object[] {
  const rules = new Map<string, { apiGroups: string[]; resources: string[]; verbs: readonly string[] }>()
  for (const { group, resource, verbs } of rights) {
    const key = `${group} ${verbs.join(' ')}`
    const rule = rules.get(key) ?? { apiGroups: [group], resources: [], verbs: [...verbs] }
    rule.resources.push(resource)
    rules.set(key, rule)
  }
  return [...rules.values()]
}
