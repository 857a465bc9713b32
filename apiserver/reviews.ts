// What `kubectl auth whoami` and `auth can-i` ask: who am I, and may I. Answered at once and never stored
// (authentication.k8s.io/v1 SelfSubjectReview; authorization.k8s.io/v1 SelfSubjectAccessReview, SelfSubjectRulesReview).
import { type Kind, type KindRow, kinds } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { refusalOf } from './authorizer.ts'
import { MASTERS, type User } from './identity.ts'
import type { ApiVerb } from './routes.ts'
import { ApiError } from './status.ts'

type Review = (spec: Record<string, unknown>, user: User) => object

const REVIEWS: Readonly<Record<string, { kind: string; apiVersion: string; review: Review }>> = {
  '/apis/authentication.k8s.io/v1/selfsubjectreviews': {
    ...{ kind: 'SelfSubjectReview', apiVersion: 'authentication.k8s.io/v1' },
    review: (_spec, { name, uid, groups }) => ({ userInfo: { username: name, uid, groups } }),
  },
  '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews': {
    ...{ kind: 'SelfSubjectAccessReview', apiVersion: 'authorization.k8s.io/v1' },
    review: accessOf,
  },
  '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews': {
    ...{ kind: 'SelfSubjectRulesReview', apiVersion: 'authorization.k8s.io/v1' },
    review: rulesOf,
  },
}

const VERBS: readonly ApiVerb[] = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection']
/** What everybody who shows a token may read. */
const OPEN_PATHS = /^\/(healthz|livez|readyz|version|api|apis|openapi)(\/|$)/

/** Whether a path is that of a review. */
export function isReview(path: string): boolean {
  return Object.hasOwn(REVIEWS, path)
}

/** The review with its answer. Throws BadRequest. */
export function answerReview(path: string, body: unknown, user: User): object {
  const { kind, apiVersion, review } = REVIEWS[path]!
  if (!isObject(body)) throw new ApiError('BadRequest', `the body is not a ${kind}`)
  const spec = isObject(body['spec']) ? body['spec'] : {}
  return { kind, apiVersion, metadata: { creationTimestamp: null }, spec, status: review(spec, user) }
}

function accessOf(spec: Record<string, unknown>, user: User): object {
  const reason = refusalOfReview(spec, user)
  return reason === undefined ? { allowed: true } : { allowed: false, reason }
}

function refusalOfReview({ resourceAttributes, nonResourceAttributes }: Record<string, unknown>, user: User) {
  if (user.groups.includes(MASTERS)) return undefined
  if (isObject(nonResourceAttributes)) {
    const { path, verb } = nonResourceAttributes
    return verb === 'get' && OPEN_PATHS.test(String(path)) ? undefined : 'no rule lets this user do it'
  }
  if (!isObject(resourceAttributes)) throw new ApiError('BadRequest', 'a review names resource or path attributes')
  const { verb, group = '', resource, namespace, name } = resourceAttributes
  const kind = (Object.keys(kinds) as Kind[]).find(
    each => kinds[each].plural === resource && kinds[each].group === group,
  )
  const known = VERBS.find(each => each === verb)
  if (kind === undefined || known === undefined) return 'no rule lets this user do it'
  return refusalOf(user, { verb: known, kind, namespace: given(namespace), name: given(name) })
}

function given(text: unknown): string | undefined {
  return typeof text === 'string' && text !== '' ? text : undefined
}

function rulesOf(_spec: Record<string, unknown>, user: User): object {
  const nonResourceRules = [
    { verbs: ['get'], nonResourceURLs: ['/api', '/api/*', '/apis', '/apis/*', '/healthz', '/version'] },
  ]
  if (user.groups.includes(MASTERS))
    return {
      resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
      nonResourceRules,
      incomplete: false,
    }
  const resourceRules = (Object.entries(kinds) as [Kind, KindRow][]).flatMap(([kind, { plural, group }]) => {
    const verbs = VERBS.filter(verb => refusalOf(user, { verb, kind }) === undefined)
    return verbs.length === 0 ? [] : [{ verbs, apiGroups: [group], resources: [plural] }]
  })
  return { resourceRules, nonResourceRules, incomplete: false }
}
