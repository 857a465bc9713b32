// The labels by which policies know an endpoint or a set: its own, those that only the cluster says, and those of its namespace
// and service account. Pure. Hazard: whoever writes a pod or a set writes its own labels, so of those the names of the others are
// left out: a pod must not claim another namespace, nor a set of CIDRs to be pods of Kubernetes.
import { isLabelValue } from '../../../api/names.ts'
import { INHERITED, LABEL } from '../../../felix/policy/model.ts'

export type Labels = Readonly<Record<string, string>>

/** The name of a namespace or service account among its inherited labels. */
const NAME = 'projectcalico.org/name'
/** Kubernetes gives it to each namespace; a server that does not must not make its policies choose nothing. */
const KUBERNETES_NAME = 'kubernetes.io/metadata.name'

const OF_THE_CLUSTER: readonly string[] = Object.values(LABEL)
const PREFIXES: readonly string[] = Object.values(INHERITED)

/** What a namespace gives to all that is in it. */
export function namespaceLabels(name: string, labels: Labels = {}): Labels {
  return prefixed(INHERITED.namespace, { [KUBERNETES_NAME]: name, ...labels, [NAME]: name })
}

/** What a service account gives to its pods. */
export function accountLabels(name: string, labels: Labels = {}): Labels {
  return prefixed(INHERITED.serviceAccount, { ...labels, [NAME]: name })
}

function prefixed(prefix: string, labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).map(([key, value]) => [prefix + key, value]))
}

/**
 * All labels of an endpoint or set. `account` is the name of a service account; one that is no value of a label is none, as in
 * Calico. `inherited` are results of `namespaceLabels` and `accountLabels`.
 */
export function allLabels({
  own = {},
  namespace,
  account,
  isPod,
  inherited,
}: {
  own?: Labels | undefined
  namespace?: string | undefined
  account?: string | undefined
  isPod: boolean
  inherited: readonly (Labels | undefined)[]
}): Labels {
  const labels: Record<string, string> = {}
  for (const [key, value] of Object.entries(own)) if (!isReserved(key)) labels[key] = value
  Object.assign(labels, ...inherited)
  if (namespace !== undefined) labels[LABEL.namespace] = namespace
  if (account !== undefined && account !== '' && isLabelValue(account)) labels[LABEL.serviceAccount] = account
  if (isPod) labels[LABEL.orchestrator] = 'k8s'
  return labels
}

function isReserved(key: string): boolean {
  return OF_THE_CLUSTER.includes(key) || PREFIXES.some(prefix => key.startsWith(prefix))
}
