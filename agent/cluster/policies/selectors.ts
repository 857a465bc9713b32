// Who is meant, as one canonical selector: texts of Calico's language and label selectors of Kubernetes, about labels of an
// endpoint, of its namespace or of its service account. Pure. What cannot be read is told, and undefined.
// Hazard: `!=` and `not in` are true of what has no such label, so also of host endpoints and sets, which have no namespace.
import { canonicalSelector, prefixLabels } from '../../../api/canonical-selector.ts'
import { isLabelValue, isQualifiedName } from '../../../api/names.ts'
import type { LabelSelector } from '../../../api/policy-parts.ts'
import { parseSelector, type Selector, SelectorError } from '../../../api/selector.ts'
import { INHERITED, LABEL, type SelectorText } from '../../../felix/policy/model.ts'
import type { Faults } from './faults.ts'

const has = (label: string): Selector => ({ op: 'has', label })
export const not = (of: Selector): Selector => ({ op: 'not', of })

/** Pods: what policies of Kubernetes are about, at both ends. */
export const PODS: Selector = { op: '==', label: LABEL.orchestrator, value: 'k8s' }

/** What is in a namespace: pods and NetworkSets. */
export function inNamespace(name: string): Selector {
  return { op: '==', label: LABEL.namespace, value: name }
}

/** What satisfies all of them; those that are undefined ask nothing. */
export function every(...parts: readonly (Selector | undefined)[]): Selector {
  return { op: 'and', of: parts.filter(part => part !== undefined) }
}

/** The canonical text. A selector that is nested too deep with what is joined to it is told at `path`. */
export function textOf(selector: Selector, path: string, faults: Faults): SelectorText | undefined {
  const text = canonicalSelector(selector)
  return parsed(text, path, faults) === undefined ? undefined : text
}

/** A text about the labels of endpoints and sets. */
export function ofLabels(text: string, path: string, faults: Faults): Selector | undefined {
  if (/\bglobal\(/.test(text)) return faults.add(path, 'global() can only stand in a namespaceSelector of a rule')
  return parsed(text, path, faults)
}

/** A text about the labels of namespaces: `all()` is what is in one, `global()` what is in none. */
export function ofNamespaces(text: string, path: string, faults: Faults): Selector | undefined {
  const selector = parsed(text, path, faults)
  if (/\bglobal\(/.test(text) && selector?.op !== 'global') return faults.add(path, 'global() must stand alone')
  const isInOne = has(LABEL.namespace)
  return selector && prefixLabels(selector, INHERITED.namespace, { all: isInOne, global: not(isInOne) })
}

/** A text about the labels of service accounts: `all()` is what has one. */
export function ofServiceAccounts(text: string, path: string, faults: Faults): Selector | undefined {
  const selector = ofLabels(text, path, faults)
  return selector && prefixLabels(selector, INHERITED.serviceAccount, { all: has(LABEL.serviceAccount) })
}

/** What has one of these service accounts. */
export function withServiceAccount(names: readonly string[]): Selector {
  return { op: 'in', label: LABEL.serviceAccount, values: names }
}

function parsed(text: string, path: string, faults: Faults): Selector | undefined {
  try {
    return parseSelector(text)
  } catch (error) {
    if (!(error instanceof SelectorError)) throw error
    return faults.add(path, error.message)
  }
}

/** A label selector of Kubernetes: an empty one selects everything. `prefix` is that of inherited labels. */
export function ofLabelSelector(
  { matchLabels = {}, matchExpressions = [] }: LabelSelector,
  { path, faults, prefix = '' }: { path: string; faults: Faults; prefix?: string },
): Selector | undefined {
  const before = faults.count
  const asked = (key: string, values: readonly string[], at: string): string => {
    if (!isQualifiedName(key)) faults.add(at, `${JSON.stringify(key)} is not the name of a label`)
    for (const value of values)
      if (!isLabelValue(value)) faults.add(at, `${JSON.stringify(value)} is not the value of a label`)
    return prefix + key
  }
  const of: Selector[] = Object.entries(matchLabels).map(([key, value]) => ({
    op: '==',
    label: asked(key, [value], `${path}.matchLabels`),
    value,
  }))
  for (const [i, { key, operator, values = [] }] of matchExpressions.entries()) {
    const at = `${path}.matchExpressions[${i}]`
    const label = asked(key, values, at)
    const isOfValues = operator === 'In' || operator === 'NotIn'
    if (!isOfValues && operator !== 'Exists' && operator !== 'DoesNotExist')
      faults.add(`${at}.operator`, `${JSON.stringify(operator)} is not known: In, NotIn, Exists or DoesNotExist`)
    else if (isOfValues !== values.length > 0)
      faults.add(`${at}.values`, isOfValues ? 'must name a value' : `must be absent with ${operator}`)
    else if (operator === 'In') of.push(oneOf(label, values))
    else if (operator === 'NotIn') of.push(noneOf(label, values))
    else of.push(operator === 'Exists' ? has(label) : not(has(label)))
  }
  return faults.count > before ? undefined : { op: 'and', of }
}

/** In the shortest words, which are those of `matchLabels`. */
function oneOf(label: string, values: readonly string[]): Selector {
  return new Set(values).size === 1 ? { op: '==', label, value: values[0]! } : { op: 'in', label, values }
}

function noneOf(label: string, values: readonly string[]): Selector {
  return new Set(values).size === 1 ? { op: '!=', label, value: values[0]! } : { op: 'not in', label, values }
}
