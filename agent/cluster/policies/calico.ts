// Calico's NetworkPolicy and GlobalNetworkPolicy, and the staged ones, which are evaluated and never enforced. Pure.
// A policy of which it is not clear whom it selects selects every pod that it could: of its namespace, or of the cluster. Hosts are
// left out then, since a node that is cut off could not hear of the correction.
import type { Kind } from '../../../api/kinds.ts'
import { calicoPolicy, readPart } from '../../../api/policy-parts.ts'
import type { Selector } from '../../../api/selector.ts'
import type { HostStage, Policy, PolicyRule, SelectorText } from '../../../felix/policy/model.ts'
import { calicoRuleOf } from './calico-rules.ts'
import { type Converted, DENY_ALL, Faults, finished, isKnown, type Named, refOf } from './faults.ts'
import { every, inNamespace, ofLabels, ofNamespaces, ofServiceAccounts, PODS, textOf } from './selectors.ts'

type Spec = Readonly<Record<string, unknown>>
type Read = ReturnType<(typeof calicoPolicy)['parse']>
type PolicyKind = Extract<
  Kind,
  'NetworkPolicy' | 'GlobalNetworkPolicy' | 'StagedNetworkPolicy' | 'StagedGlobalNetworkPolicy'
>

/** Hints of performance say nothing of what passes. */
const FIELDS = [...Object.keys(calicoPolicy.shape), 'performanceHints']

/**
 * What a policy of one of these kinds says. Nothing where a staged one stands for a deletion; one that is to be learned or
 * ignored counts as any other, as in Calico, whose other programs read these words.
 */
export function calicoPolicyOf(kind: PolicyKind, object: Named & { spec: Spec }): Converted<Policy> {
  const { name, namespace: given = '' } = object.metadata
  const namespace = given === '' ? undefined : given
  const faults = new Faults()
  const { part, problems = [] } = readPart(calicoPolicy, object.spec, 'spec')
  faults.addAll(problems)
  // each field that can be read counts, that a policy with a bad one stands where it would
  const spec = part ?? readable(object.spec)
  const isStaged = kind.startsWith('Staged')
  if (isStaged && spec.stagedAction === 'Delete') return { refused: [] }
  const subject = subjectOf(spec, namespace, faults)
  const hostStage = stageOf(spec, faults)
  const unclear =
    problems.length > 0 || !isKnown(object.spec, FIELDS, faults) || subject === undefined || hostStage === undefined
  const rules = (direction: 'ingress' | 'egress'): PolicyRule[] =>
    (spec[direction] ?? []).map((rule, i) =>
      calicoRuleOf(rule, { direction, namespace, path: `spec.${direction}[${i}]`, faults }),
    )
  // of a direction that is not asked, too, what makes no sense is told
  const [ingress, egress] = [rules('ingress'), rules('egress')]
  const types = unclear ? ['Ingress', 'Egress'] : typesOf(spec)
  const policy: Policy = {
    ref: refOf(kind, object),
    tier: spec.tier === undefined || spec.tier === '' ? 'default' : spec.tier,
    order: spec.order ?? (isBad(problems, 'spec.order') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY),
    sortName: `${name}/${given}/${kind}`,
    selector: subject ?? everyPod(namespace, faults),
    ...(types.includes('Ingress') && { ingress }),
    ...(types.includes('Egress') && { egress }),
    hostStage: hostStage ?? 'normal',
    ...(isStaged && { staged: true as const }),
  }
  return finished({ policy, faults, unclear, instead: [DENY_ALL] })
}

function isBad(problems: readonly { path: string }[], field: string): boolean {
  return problems.some(({ path }) => path === field)
}

/** The fields that are what they should be. */
function readable(spec: Spec): Read {
  const fields = Object.keys(calicoPolicy.shape).filter(field => spec[field] !== undefined)
  const parts = fields.map(field => readPart(calicoPolicy, { [field]: spec[field] }, 'spec').part ?? {})
  return Object.assign({}, ...parts)
}

/** Without types, Egress where there are egress rules, and Ingress where there are ingress rules or none at all. */
function typesOf({ types = [], ingress = [], egress = [] }: Read): readonly string[] {
  if (types.length > 0) return types
  const isOfIngress = ingress.length > 0 || egress.length === 0
  return [...(isOfIngress ? ['Ingress'] : []), ...(egress.length > 0 ? ['Egress'] : [])]
}

function subjectOf(
  { selector = '', namespaceSelector = '', serviceAccountSelector = '' }: Read,
  namespace: string | undefined,
  faults: Faults,
): SelectorText | undefined {
  const before = faults.count
  const parts = [
    namespace === undefined ? undefined : inNamespace(namespace),
    selector === '' ? undefined : ofLabels(selector, 'spec.selector', faults),
    ...(namespaceSelector === '' || namespace !== undefined ? [] : [namespacesOf(namespaceSelector, faults)]),
    ...(serviceAccountSelector === ''
      ? []
      : [ofServiceAccounts(serviceAccountSelector, 'spec.serviceAccountSelector', faults)]),
  ]
  return faults.count > before ? undefined : textOf(every(...parts), 'spec.selector', faults)
}

function namespacesOf(text: string, faults: Faults): Selector | undefined {
  const path = 'spec.namespaceSelector'
  const selector = ofNamespaces(text, path, faults)
  return text.includes('global(') ? faults.add(path, 'global() can only stand in a rule') : selector
}

function everyPod(namespace: string | undefined, faults: Faults): SelectorText {
  const pods = namespace === undefined ? PODS : every(PODS, inNamespace(namespace))
  return textOf(pods, 'metadata.namespace', faults) ?? 'all()'
}

function stageOf(
  { applyOnForward, preDNAT, doNotTrack, egress = [], types = [] }: Read,
  faults: Faults,
): HostStage | undefined {
  if (preDNAT === true && doNotTrack === true) return faults.add('spec.preDNAT', 'cannot stand beside doNotTrack')
  if (preDNAT === true && (egress.length > 0 || types.includes('Egress')))
    return faults.add('spec.preDNAT', 'cannot stand beside egress')
  if (preDNAT === true) return 'preDNAT'
  if (doNotTrack === true) return 'untracked'
  return applyOnForward === true ? 'forward' : 'normal'
}
