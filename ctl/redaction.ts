// What of a cluster may stand in an archive that people send to others. Removed is whatever a row of the tables below names;
// when unsure it goes: a value that is missing costs a question, a password in a ticket costs a cluster.
import { isObject } from '../api/merge-patch.ts'

const REMOVED = '<removed>'

/** Fields by their own name, wherever they stand, when they hold text. `secretName` and the like are names, and stay. */
const SECRET_FIELD =
  /(pass(word|wd|phrase)?|token|secret|credentials?|authorization|api-?key|private-?key|kubeconfig|-data)$/i
/** Annotations of other owners may hold anything; `last-applied-configuration` holds the whole object again. */
const KNOWN_ANNOTATIONS = /^(projectcalico\.org|cni\.projectcalico\.org|margay|margay\.io|[\w-]+\.margay\.io)\//
/** Environment variables whose values tell how a program runs. */
const KNOWN_VARIABLES = /^(NODE_|POD_|KUBERNETES_|MARGAY_|HTTPS?_PROXY_PORT$)/
/** Fields that are left out as a whole: large, and of no use. */
const LEFT_OUT: readonly string[] = ['managedFields', 'images']

/** Secrets inside of text: what is matched by the last group goes, what stands before it stays. */
const SECRET_TEXT: readonly RegExp[] = [
  /()(-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$))/g,
  /()(\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*)/g,
  /(\b(?:bearer|basic)\s+)([\w+/=.~-]{8,})/gi,
  /(\b[a-z][a-z0-9+.-]*:\/\/[^\s/:@"']*:)([^\s/@"']+)(?=@)/gi,
  /(["']?\b[\w-]*(?:password|passwd|passphrase|token|secret|api-?key|(?:client-key|client-certificate|certificate-authority)-data)\\?["']?\s*[:=]\s*\\?)("(?:\\.|[^"\\])*\\?"|'[^']*'|[^\s,;}"']+)/gi,
  /(--[\w-]*(?:password|token|secret)\s+)(?!-)(\S+)/gi,
]

/** A copy of an object of the cluster, or of a program's answer, without secrets. Pure. */
export function withoutSecrets(value: unknown, field = ''): unknown {
  if (typeof value === 'string') return SECRET_FIELD.test(field) ? REMOVED : textWithoutSecrets(value)
  if (Array.isArray(value)) return value.map((each, i) => itemOf(each, value[i - 1], field))
  if (!isObject(value)) return value
  const entries = Object.entries(value).filter(([key]) => !LEFT_OUT.includes(key))
  const kept = entries.map(([key, inner]) => [
    key,
    key === 'annotations' && isObject(inner) ? annotationsOf(inner) : withoutSecrets(inner, key),
  ])
  return Object.fromEntries(kept)
}

/** One of a list; on a command line the word after `--token` is one. */
function itemOf(item: unknown, before: unknown, field: string): unknown {
  if (field === 'env') return withoutValue(item)
  if (typeof before === 'string' && before.startsWith('-') && SECRET_FIELD.test(before)) return REMOVED
  return withoutSecrets(item, field)
}

function annotationsOf(annotations: Record<string, unknown>): object {
  const kept = Object.entries(annotations).map(([key, value]) => [
    key,
    KNOWN_ANNOTATIONS.test(key) ? withoutSecrets(value, key) : REMOVED,
  ])
  return Object.fromEntries(kept)
}

/** One environment variable of a container. */
function withoutValue(variable: unknown): unknown {
  if (!isObject(variable) || typeof variable['value'] !== 'string') return withoutSecrets(variable)
  const name = String(variable['name'])
  const known = KNOWN_VARIABLES.test(name) && !SECRET_FIELD.test(name)
  return { ...variable, value: known ? textWithoutSecrets(variable['value']) : REMOVED }
}

/** A log or another text without what looks like a secret. Pure. */
export function textWithoutSecrets(text: string): string {
  return SECRET_TEXT.reduce((left, pattern) => left.replace(pattern, (_all, before: string) => before + REMOVED), text)
}
