// Kubernetes' Status object: the body of every refusal. One row per reason; the code and the words that kubectl shows
// come from here.
import { type Kind, kinds } from '../api/kinds.ts'
import type { Problem } from '../api/validate.ts'

/** Reasons as Kubernetes spells them, and their HTTP codes (apimachinery, meta/v1 StatusReason). */
const CODES = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  NotAcceptable: 406,
  AlreadyExists: 409,
  Conflict: 409,
  Expired: 410,
  RequestEntityTooLarge: 413,
  UnsupportedMediaType: 415,
  Invalid: 422,
  TooManyRequests: 429,
  InternalError: 500,
  ServiceUnavailable: 503,
} as const

export type Reason = keyof typeof CODES

type Details = {
  name?: string
  group?: string
  kind?: string
  uid?: string
  causes?: { reason: string; message: string; field: string }[]
}

/** A request refused, for a reason the client is told. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly reason: Reason
  readonly details: Details | undefined
  constructor(reason: Reason, message: string, details?: Details) {
    super(message)
    this.reason = reason
    this.details = details
  }

  get code(): number {
    return CODES[this.reason]
  }
}

/** The Status of a failure. What is no ApiError is the server's own fault, and its text stays in the server's log. */
export function failureStatus(error: unknown): { code: number } & Record<string, unknown> {
  const known = error instanceof ApiError ? error : new ApiError('InternalError', 'internal error: see the server log')
  const { code, reason, message, details } = known
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, details, code }
}

/** The Status of a success that has no object to show. */
export function successStatus(details?: Details): Record<string, unknown> {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details }
}

/** `ippools.projectcalico.org`, as kubectl's messages name a kind's resource. */
function resourceOf(kind: Kind): { resource: string; group: string; plural: string } {
  const { plural, group } = kinds[kind]
  return { resource: group === '' ? plural : `${plural}.${group}`, group, plural }
}

export function notFound(kind: Kind, name: string): ApiError {
  const { resource, group, plural } = resourceOf(kind)
  return new ApiError('NotFound', `${resource} "${name}" not found`, { name, group, kind: plural })
}

export function alreadyExists(kind: Kind, name: string): ApiError {
  const { resource, group, plural } = resourceOf(kind)
  return new ApiError('AlreadyExists', `${resource} "${name}" already exists`, { name, group, kind: plural })
}

export function conflict(kind: Kind, name: string, why: string): ApiError {
  const { resource, group, plural } = resourceOf(kind)
  const message = `Operation cannot be fulfilled on ${resource} "${name}": ${why}`
  return new ApiError('Conflict', message, { name, group, kind: plural })
}

export const MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again'

export function expired(): ApiError {
  return new ApiError('Expired', 'The resourceVersion is too old or from another history: list again.')
}

export function invalid(kind: Kind, name: string, problems: readonly Problem[]): ApiError {
  const { group } = kinds[kind]
  const causes = problems.map(({ path, message }) => ({ reason: 'FieldValueInvalid', message, field: path }))
  const text = problems.map(({ path, message }) => `${path}: ${message}`).join(', ')
  const what = group === '' ? kind : `${kind}.${group}`
  return new ApiError('Invalid', `${what} "${name}" is invalid: ${text}`, { name, group, kind, causes })
}
