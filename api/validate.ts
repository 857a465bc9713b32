// From a value of unknown shape to a resource, or to everything that is wrong with it. Used by the API server before it
// stores, by the client after it reads, by the command line before it sends.
import type * as z from 'zod'
import { anyPolicy, anySpec } from './calico.ts'
import { calicoProblems } from './calico-rules.ts'
import { MOST_DEPTH, MOST_WRITTEN_DEPTH, placeTooDeep } from './depth.ts'
import { fieldAt } from './field-path.ts'
import { sameJson } from './json.ts'
import { apiVersion, type Kind, type KindRow, kindName, kinds, type Resource } from './kinds.ts'
import type { AnyObject } from './lifecycle.ts'
import { isObject } from './merge-patch.ts'
import { objectMeta } from './meta.ts'
import { isLabelValue, isObjectName, isQualifiedName } from './names.ts'
import { kindProblems, withDefaults } from './shapes/check.ts'
import type { KindShape } from './shapes/shape.ts'

/** One fault: `path` as kubectl prints it (`spec.cidr`, `spec.filters[0]`), and what is wrong in words. */
export type Problem = { path: string; message: string }

/** An object that a server holds and that is not valid. */
export type RefusedObject = { name: string; namespace?: string; problems: readonly Problem[] }

/**
 * As `validate`, for an object that somebody writes: it is refused too where a Kubernetes API server with our CRDs would.
 * What is there already may be older than such a rule, so readers ask `validate`.
 */
export function admit<K extends Kind>(kind: K, value: unknown): Resource<K> | Problem[] {
  const result = judged(kind, value)
  return Array.isArray(result) ? result.map(({ path, message }) => ({ path, message })) : result
}

/**
 * As `admit`, for an object that is there and that somebody changes: what was wrong before in a part that stays as it is may stay
 * wrong (as Kubernetes' "ratcheting" has it), or a rule that is newer than an object would let nobody change or delete it.
 */
export function admitChange<K extends Kind>(kind: K, before: object, after: object): Resource<K> | Problem[] {
  const result = judged(kind, after)
  if (!Array.isArray(result)) return result
  const old = judged(kind, before)
  const wasWrong = new Set(Array.isArray(old) ? old.map(keyOf) : [])
  const fresh = result.filter(fault => !wasWrong.has(keyOf(fault)) || !isSamePart(fault, before, after))
  if (fresh.length > 0) return fresh.map(({ path, message }) => ({ path, message }))
  const valid = validate(kind, after)
  return Array.isArray(valid) ? (withoutNulls(after) as Resource<K>) : valid
}

/** `of` is the part of the object that a rule is about; absent, it is the part at `path`. */
type Fault = Problem & { of?: string }

function keyOf({ path, message }: Fault): string {
  return `${path}\0${message}`
}

/** Where the part cannot be found by its path, the field of the object, or of its metadata, that it is in counts. */
function isSamePart({ path, of = path }: Fault, before: object, after: object): boolean {
  // a rule of the whole object is about its name, which stays, and its spec
  const part = of === '' ? 'spec' : of
  const whole = wholeOf(part)
  const [old, next] = [partAt(before, part), partAt(after, part)]
  return old !== undefined && next !== undefined
    ? sameJson(old, next)
    : sameJson(partAt(before, whole), partAt(after, whole))
}

function partAt(object: object, path: string): unknown {
  return fieldAt(object, path.replaceAll('[', '.').replaceAll(']', '').split('.'))
}

/** The rules that tie fields together are asked of what has its types: they may rely on them. */
function judged<K extends Kind>(kind: K, value: unknown): Resource<K> | Fault[] {
  const tooDeep = depthProblem(value, MOST_WRITTEN_DEPTH)
  if (tooDeep !== undefined) return [tooDeep]
  const given = withoutNulls(value)
  const { shape }: KindRow = kinds[kind]
  const filled = shape === undefined ? given : withShapeDefaults(shape(), given)
  const faults: Fault[] = shape === undefined ? [] : kindProblems(shape(), filled)
  const result = validated(kind, given)
  if (shape !== undefined && faults.every(({ of }) => of !== undefined) && hasMetadata(filled))
    for (const fault of calicoProblems(kind, filled)) faults.push({ ...fault, of: wholeOf(fault.path) })
  if (!Array.isArray(result)) return faults.length === 0 ? result : faults
  const told = new Set(faults.map(({ path }) => path))
  for (const problem of result) if (!told.has(problem.path)) faults.push({ ...problem, of: wholeOf(problem.path) })
  return faults
}

function hasMetadata(value: unknown): value is AnyObject {
  return isObject(value) && objectMeta.safeParse(value['metadata']).success
}

/** `spec`, `metadata.labels`: what a rule may look at that is not told by its path alone. */
function wholeOf(path: string): string {
  return /^(?:metadata\.\w+|\w*)/.exec(path)?.[0] ?? ''
}

function withShapeDefaults({ spec }: KindShape, value: unknown): unknown {
  return isObject(value) ? { ...value, spec: withDefaults(spec, value['spec']) } : value
}

/** The resource with its defaults filled in and unknown fields kept, or all its problems (never an empty list). */
export function validate<K extends Kind>(kind: K, value: unknown): Resource<K> | Problem[] {
  const tooDeep = depthProblem(value)
  return tooDeep === undefined ? validated(kind, withoutNulls(value)) : [tooDeep]
}

/** The same of what is not too deep and has no nulls. */
function validated<K extends Kind>(kind: K, given: unknown): Resource<K> | Problem[] {
  const row: KindRow = kinds[kind]
  const shape = row.schema === anySpec || row.schema === anyPolicy ? row.shape?.() : undefined
  const whole = row.shape === undefined ? given : withSpec(given)
  const result = row.schema.safeParse(shape === undefined ? whole : withShapeDefaults(shape, whole))
  if (!result.success) return result.error.issues.flatMap(issue => problemsOf(issue))
  const problems = identityProblems(kind, result.data as Identity)
  return problems.length === 0 ? (result.data as Resource<K>) : problems
}

/** Calico's CRDs of crd.projectcalico.org/v1 ask for no spec, and calicoctl shows one that is absent as an empty one. */
function withSpec(given: unknown): unknown {
  return isObject(given) && given['spec'] === undefined ? { ...given, spec: {} } : given
}

/** What is wrong with a value that is nested deeper than so many levels; undefined for any other. */
export function depthProblem(value: unknown, most = MOST_DEPTH): Problem | undefined {
  const path = placeTooDeep(value, most)
  return path === undefined ? undefined : { path, message: `is nested deeper than ${most} levels: take it out` }
}

/** Every problem in one line, for an error's message. */
export function formatProblems(problems: readonly Problem[]): string {
  return problems.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ')
}

type Identity = {
  apiVersion?: unknown
  kind?: unknown
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string> }
}

function identityProblems(kind: Kind, object: Identity): Problem[] {
  const row: KindRow = kinds[kind]
  const { name, namespace, labels, annotations } = object.metadata
  const problems: Problem[] = []
  const wrong = (path: string, message: string): void => {
    problems.push({ path, message })
  }
  if (object.kind !== undefined && object.kind !== kindName(kind)) wrong('kind', `must be ${kindName(kind)}`)
  if (object.apiVersion !== undefined && object.apiVersion !== apiVersion(row))
    wrong('apiVersion', `must be ${apiVersion(row)}`)
  if (!isObjectName(name))
    wrong('metadata.name', 'must be lower-case letters, digits, - and ., and begin and end with a letter or digit')
  if (row.namespaced && namespace === undefined) wrong('metadata.namespace', `${kind} lives in a namespace: name one`)
  if (!row.namespaced && namespace !== undefined && namespace !== '')
    wrong('metadata.namespace', `${kind} does not live in a namespace`)
  if (row.namespaced && namespace !== undefined && !isObjectName(namespace))
    wrong('metadata.namespace', 'must be lower-case letters, digits and -')
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!isQualifiedName(key)) wrong(`metadata.labels[${key}]`, 'is not a label name')
    if (!isLabelValue(value)) wrong(`metadata.labels[${key}]`, 'must be at most 63 letters, digits, -, _ and .')
  }
  for (const key of Object.keys(annotations ?? {}))
    if (!isQualifiedName(key)) wrong(`metadata.annotations[${key}]`, 'is not an annotation name')
  return problems
}

/** The problems of a fault that zod found. Of a union that of the branch that came closest: the one whose fault lies deepest. */
export function problemsOf(issue: z.core.$ZodIssue, parents: readonly PropertyKey[] = []): Problem[] {
  const path = [...parents, ...issue.path]
  if (issue.code === 'invalid_union') {
    const depth = (issues: readonly z.core.$ZodIssue[]): number =>
      issues.reduce((most, { path }) => Math.max(most, path.length), 0)
    const closest = [...issue.errors].sort((a, b) => depth(b) - depth(a))[0]
    if (closest !== undefined) return closest.flatMap(inner => problemsOf(inner, path))
  }
  return [{ path: formatPath(path), message: issue.message }]
}

function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`
    return text === '' ? String(key) : `${text}.${String(key)}`
  }, '')
}

/** Kubernetes reads a field that is null as one that is absent; nulls in lists (free addresses of a block) stay. */
function withoutNulls(value: unknown): unknown {
  return hasNullField(value) ? cutNulls(value) : value
}

/** Asked of every object that is read, and few have one: nothing is allocated. */
function hasNullField(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (hasNullField(value[i])) return true
    return false
  }
  for (const key in value) {
    const field = (value as Record<string, unknown>)[key]
    if (field === null || hasNullField(field)) return true
  }
  return false
}

function cutNulls(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(cutNulls)
  const kept = Object.entries(value).filter(([, field]) => field !== null)
  return Object.fromEntries(kept.map(([name, field]) => [name, cutNulls(field)]))
}
