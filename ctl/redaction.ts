// What of a cluster may stand in an archive that people send to others. Removed is whatever a row of the tables below names;
// when unsure it goes: a value that is missing costs a question, a password in a ticket costs a cluster.
import { MOST_DEPTH, withoutTooDeep } from '../api/depth.ts'
import { isObject } from '../api/merge-patch.ts'
import { isSecretName } from '../lib/redaction-names.ts'
import { REMOVED, textWithoutSecrets } from '../lib/redaction-text.ts'

/** Annotations of other owners may hold anything; `last-applied-configuration` holds the whole object again. */
const KNOWN_ANNOTATIONS = /^(projectcalico\.org|cni\.projectcalico\.org|margay|margay\.io|[\w-]+\.margay\.io)\//
/** Environment variables whose values tell how a program runs. */
const KNOWN_VARIABLES = /^(NODE_|POD_|KUBERNETES_|MARGAY_|HTTPS?_PROXY_PORT$)/
/** Fields that are left out as a whole: large, and of no use. */
const LEFT_OUT: readonly string[] = ['managedFields', 'images']

/** A ConfigMap's files: their names are whatever somebody chose. */
const FILES: readonly string[] = ['data', 'binaryData', 'stringData']
/** What stays inside of a field that is called like a secret: the reference to one. */
const REFERENCE: readonly string[] = [
  'name',
  'namespace',
  'key',
  'path',
  'secretName',
  'audience',
  'kind',
  'apiVersion',
]

type Place = {
  /** The name of the field; that of the list for what is in a list. */
  field: string
  /** A field around it is called like a secret. */
  inSecret?: boolean
  /** Its field is the name of a file. */
  isFile?: boolean
}

/** A copy of an object of the cluster, or of a program's answer, without secrets and without what is nested too deep. Pure. */
export function withoutSecrets(value: unknown): unknown {
  return cleaned(withoutTooDeep(value, MOST_DEPTH))
}

function cleaned(value: unknown, place: Place = { field: '' }): unknown {
  const { field, inSecret = false, isFile = false } = place
  const isSecret = isSecretName(field, { strict: isFile })
  if (typeof value === 'string')
    return isSecret || (inSecret && !REFERENCE.includes(field)) ? REMOVED : textWithoutSecrets(value)
  if (Array.isArray(value)) return value.map((each, i) => itemOf(each, value[i - 1], place))
  if (!isObject(value)) return value
  const entries = Object.entries(value).filter(([key]) => !LEFT_OUT.includes(key))
  const kept = entries.map(([key, inner]) => [
    key,
    key === 'annotations' && isObject(inner)
      ? annotationsOf(inner)
      : cleaned(inner, { field: key, inSecret: inSecret || isSecret, isFile: FILES.includes(field) }),
  ])
  return Object.fromEntries(kept)
}

/** One of a list; on a command line the word after `--token` is one. */
function itemOf(item: unknown, before: unknown, place: Place): unknown {
  if (place.field === 'env') return withoutValue(item)
  if (typeof before === 'string' && before.startsWith('-') && !/[=\s]/.test(before) && isSecretName(before))
    return REMOVED
  if (typeof before === 'string' && /^(-u|--user)$/.test(before)) return REMOVED
  return cleaned(item, place)
}

function annotationsOf(annotations: Record<string, unknown>): object {
  const kept = Object.entries(annotations).map(([key, value]) => [
    key,
    KNOWN_ANNOTATIONS.test(key) ? cleaned(value, { field: key }) : REMOVED,
  ])
  return Object.fromEntries(kept)
}

/** One environment variable of a container. */
function withoutValue(variable: unknown): unknown {
  if (!isObject(variable) || typeof variable['value'] !== 'string') return cleaned(variable)
  const name = String(variable['name'])
  const known = KNOWN_VARIABLES.test(name) && !isSecretName(name)
  return { ...variable, value: known ? textWithoutSecrets(variable['value']) : REMOVED }
}
