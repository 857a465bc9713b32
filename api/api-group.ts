// The two API groups in which a cluster has Calico's resources: `projectcalico.org/v3`, which Margay's own CRDs are and whose
// shapes are used inside of the programs, and `crd.projectcalico.org/v1`, the form in which Calico itself stores them.
// Imports nothing: a program reads its flags before it loads anything else.

export const API_GROUPS = ['v3', 'v1'] as const
export type ApiGroup = (typeof API_GROUPS)[number]

/** The option of a program by which a person says where they are; `auto`: the server is asked. */
export const API_GROUP_OPTION = {
  flags: '--api-group <group>',
  description: 'where Calico’s resources are: v3 (projectcalico.org/v3) or v1 (crd.projectcalico.org/v1)',
  choices: ['auto', ...API_GROUPS],
  env: 'MARGAY_API_GROUP',
  default: 'auto',
} as const

export const GROUP_VERSIONS: Readonly<Record<ApiGroup, { group: string; version: string }>> = {
  v3: { group: 'projectcalico.org', version: 'v3' },
  v1: { group: 'crd.projectcalico.org', version: 'v1' },
}

/**
 * Calico's rule (libcalico-go, `UsingV3CRDs`) for the names of all API groups of a server: v3 where only that one is there.
 * With both, v3 is Calico's own API server in front of v1. Undefined where neither is: Calico means v1 then, and an empty cluster.
 */
export function apiGroupAmong(groups: readonly string[]): ApiGroup | undefined {
  if (groups.includes(GROUP_VERSIONS.v1.group)) return 'v1'
  return groups.includes(GROUP_VERSIONS.v3.group) ? 'v3' : undefined
}
