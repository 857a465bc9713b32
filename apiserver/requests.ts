// From an HTTP request to its answer: discovery and health by path, objects by verb. Every refusal is a Status.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { emitJson } from '../api/json.ts'
import { type Kind, kinds } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { type Accepted, acceptedOf, aggregatedVersion, formOf } from './accept.ts'
import { authenticated } from './access.ts'
import { authorize, guardOf, type WriteGuard } from './authorizer.ts'
import { discover } from './discovery.ts'
import { emptyList } from './empty-kinds.ts'
import { checkFields, effectWarnings, warningHeader } from './field-check.ts'
import type { Identities, User } from './identity.ts'
import { bodyLimit } from './limits.ts'
import { managerName } from './managed-fields.ts'
import { OPENAPI_V2_PROTOBUF, openApiV2, openApiV2Protobuf, openApiV3 } from './openapi.ts'
import { type BodyDeps, patchFormatOf, readBody } from './request-body.ts'
import type { DeleteOptions, Page, Resources, WriteOptions } from './resources.ts'
import { answerReview, isReview } from './reviews.ts'
import { NO_SUCH_VERB, type ResourceRequest, routeOf, UNKNOWN } from './routes.ts'
import { selectionFrom } from './selection.ts'
import { PIECE_CHARACTERS, sendPieces } from './send-pieces.ts'
import { itemText, listHead, objectText, type Shown } from './shown.ts'
import { ApiError, failureStatus, successStatus } from './status.ts'
import type { Stored } from './stored.ts'
import type { Asker, Turns } from './turns.ts'
import type { WatchHub } from './watch-hub.ts'
import type { WatchRequest } from './watch-stream.ts'

export type RequestDeps = {
  resources: Resources
  clock: Clock
  log: Log
  identities: Identities
  /** Told who speaks on the connection; false when this user has too many of them. */
  isKnown(user: User): boolean
  turns: Turns
  body: BodyDeps
  watches: WatchHub
}

type Exchange = {
  request: IncomingMessage
  response: ServerResponse
  url: URL
  accepted: Accepted[]
  user: User
  asker: Asker
}

/** Answers one request; never rejects. */
export async function answer(request: IncomingMessage, response: ServerResponse, deps: RequestDeps): Promise<void> {
  try {
    const url = new URL(request.url ?? '/', 'http://server')
    const user = authenticated(request, url.pathname, deps.identities)
    // health has no turn to wait for
    if (user === undefined) return sendHealth(request, response)
    if (!deps.isKnown(user)) throw new ApiError('TooManyRequests', `${user.name} has too many connections: close some`)
    const { remoteAddress, remotePort } = request.socket
    const asker = { user: user.name, connection: `${remoteAddress} ${remotePort}` }
    await respond({ request, response, url, user, asker, accepted: acceptedOf(request.headers.accept) }, deps)
  } catch (error) {
    refuse(request, response, error, deps.log)
  }
}

function sendHealth(request: IncomingMessage, response: ServerResponse): void {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    throw new ApiError('MethodNotAllowed', 'health is asked for with GET')
  send(response, 200, 'ok', 'text/plain; charset=utf-8')
}

const REVIEW_LIMIT = { octets: 64 * 1024, values: 1000 }

async function respond(exchange: Exchange, deps: RequestDeps): Promise<void> {
  const { request, response, url, user, asker } = exchange
  if (request.method === 'POST' && isReview(url.pathname)) {
    const parse = await readBody(request, REVIEW_LIMIT, asker, deps.body)
    return deps.turns.run(asker, () => send(response, 201, emitJson(answerReview(url.pathname, parse(), user))))
  }
  const isFixed = await deps.turns.run(exchange.asker, () => answerFixed(exchange))
  if (!isFixed) await answerResource(exchange, deps)
}

function refuse(request: IncomingMessage, response: ServerResponse, error: unknown, log: Log): void {
  if (!(error instanceof ApiError) && !request.destroyed) log.error({ err: error, url: request.url }, 'request failed')
  const status = failureStatus(error)
  if (response.headersSent) {
    response.destroy()
    return
  }
  if (status.code === 401) response.setHeader('www-authenticate', 'Bearer')
  // a body that was not read to its end leaves the connection in an unknown place
  if (!request.complete) response.setHeader('connection', 'close')
  send(response, status.code, emitJson(status))
}

function send(response: ServerResponse, code: number, text: string, contentType = 'application/json'): void {
  response.writeHead(code, { 'content-type': contentType, 'content-length': Buffer.byteLength(text) })
  response.end(text)
}

/** Answers what does not depend on any object; false when the path is none of these. */
function answerFixed({ request, response, url, accepted }: Exchange): boolean {
  if (request.method !== 'GET') return false
  const path = url.pathname.replace(/(?<=.)\/$/, '')
  if (path === '/openapi/v2' && (request.headers.accept ?? '').includes(OPENAPI_V2_PROTOBUF.asked)) {
    response.writeHead(200, { 'content-type': OPENAPI_V2_PROTOBUF.answered }).end(openApiV2Protobuf())
    return true
  }
  const aggregated = path === '/api' || path === '/apis' ? aggregatedVersion(accepted) : undefined
  const body = fixedBody(path) ?? discover(path, aggregated) ?? emptyList(path)
  if (body === undefined) return false
  const type =
    aggregated === undefined
      ? undefined
      : `application/json;g=apidiscovery.k8s.io;v=${aggregated};as=APIGroupDiscoveryList`
  send(response, 200, emitJson(body), type)
  return true
}

function fixedBody(path: string): object | undefined {
  if (path === '/version') return VERSION
  if (path === '/openapi/v2') return openApiV2()
  return path.startsWith('/openapi/v3') ? openApiV3(path) : undefined
}

/** The Kubernetes release whose API conventions this server follows, as kubectl compares it with its own. */
const VERSION = {
  major: '1',
  minor: '32',
  gitVersion: 'v1.32.0+margay',
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: '',
  compiler: 'node',
  platform: 'linux/amd64',
}

async function answerResource(exchange: Exchange, deps: RequestDeps): Promise<void> {
  const { request, url, accepted, user } = exchange
  const query = url.searchParams
  const watching = ['true', '1', ''].includes(query.get('watch') ?? 'no')
  const route = routeOf(request.method ?? '', url.pathname, watching)
  if (route === UNKNOWN) throw unknownPath(url.pathname)
  if (route === NO_SUCH_VERB)
    throw new ApiError('MethodNotAllowed', `the server does not allow ${request.method} on ${url.pathname}`)
  if (formOf(accepted) === undefined) throw new ApiError('NotAcceptable', 'only application/json is produced here')
  authorize(user, { ...route, ...namedBy(route, query) })
  await perform(route, exchange, guardOf(user, route), deps)
}

/** The one object that a list or watch selects by `metadata.name`: whoever may read that object may list and watch it (KEP-4601, and resourceNames of RBAC). */
function namedBy({ verb }: ResourceRequest, query: URLSearchParams): { name?: string } {
  const [, name] = /^metadata\.name==?([^,=!]+)$/.exec(query.get('fieldSelector') ?? '') ?? []
  return name !== undefined && (verb === 'list' || verb === 'watch') ? { name } : {}
}

function unknownPath(path: string): ApiError {
  const isStoredForm = path.startsWith('/apis/crd.projectcalico.org/')
  const remedy = isStoredForm ? ': write apiVersion projectcalico.org/v3, the spec is the same' : ''
  return new ApiError('NotFound', `the server could not find the requested resource${remedy}`)
}

async function perform(
  route: ResourceRequest,
  exchange: Exchange,
  guard: WriteGuard,
  deps: RequestDeps,
): Promise<void> {
  const { request, asker } = exchange
  const { turns, body } = deps
  const hasBody = ['POST', 'PUT', 'PATCH', 'DELETE'].includes(request.method ?? '')
  const parse = hasBody ? await readBody(request, bodyLimit(route.kind), asker, body) : () => undefined
  // read in one turn and answered as the client reads it: what is sent in pieces takes a turn for the first one alone
  if (hasBody) await turns.run(asker, () => write(route, parse(), exchange, guard, deps))
  else await turns.read(asker, () => read(route, exchange, deps))
}

async function read(route: ResourceRequest, exchange: Exchange, deps: RequestDeps): Promise<void> {
  const query = exchange.url.searchParams
  if (route.verb === 'watch') return openWatch(route, exchange, deps)
  if (route.verb === 'get') return sendStored(200, await deps.resources.get(route), route, exchange, deps)
  const paging = { limit: count(query, 'limit'), from: query.get('continue') || undefined }
  const page = await deps.resources.list(route, selectionFrom(query), paging)
  await sendList(exchange, route, page, deps)
}

async function write(
  route: ResourceRequest,
  body: unknown,
  exchange: Exchange,
  guard: WriteGuard,
  deps: RequestDeps,
): Promise<void> {
  const { request, response, url } = exchange
  const { resources } = deps
  const query = url.searchParams
  const named = { ...route, name: route.name ?? '' }
  const unknown = ['create', 'update', 'patch'].includes(route.verb)
    ? checkFields(route.kind, named.name, body, query.get('fieldValidation') ?? 'Warn')
    : []
  const show = (code: number, stored: Stored): Promise<void> => {
    const warnings = route.verb === 'delete' ? [] : warningHeader([...unknown, ...effectWarnings(route.kind, stored)])
    if (warnings.length > 0) response.setHeader('warning', warnings)
    return sendStored(code, stored, route, exchange, deps)
  }
  switch (route.verb) {
    case 'create':
      return show(201, await resources.create(route, body, writeOptions(exchange, guard)))
    case 'update':
      return show(200, await resources.update(named, body, writeOptions(exchange, guard)))
    case 'patch': {
      const result = await resources.patch(named, patchFormatOf(request), body, writeOptions(exchange, guard))
      return show(result.created ? 201 : 200, result.stored)
    }
    case 'delete': {
      const { stored, gone } = await resources.delete(named, deleteOptions(query, body, guard))
      if (!gone) return show(200, stored)
      const { plural, group } = kinds[route.kind]
      const details = { name: named.name, group, kind: plural, uid: stored.metadata.uid }
      return send(response, 200, emitJson(successStatus(details)))
    }
    case 'deletecollection':
      await resources.deleteCollection(route, selectionFrom(query), deleteOptions(query, body, guard))
      return send(response, 200, emitJson(successStatus()))
  }
}

async function sendStored(
  code: number,
  stored: Stored,
  route: ResourceRequest,
  exchange: Exchange,
  deps: RequestDeps,
): Promise<void> {
  const text = objectText(route.kind, stored, shownTo(exchange, deps.clock))
  const { response } = exchange
  if (text.length <= PIECE_CHARACTERS) return send(response, code, text)
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
  response.writeHead(code, headers)
  if (await sendPieces([text].values(), { ...exchange, ...deps })) response.end()
}

/**
 * Sends a list as fast as the client reads it: the items' texts are those of the storage, so that twenty lists of 50 MB at
 * once cost a few pieces each and not twenty copies.
 */
async function sendList(exchange: Exchange, { kind }: ResourceRequest, page: Page, deps: RequestDeps): Promise<void> {
  const { response } = exchange
  const texts = listTexts(kind, page, shownTo(exchange, deps.clock))
  response.writeHead(200, { 'content-type': 'application/json' })
  if (await sendPieces(texts, { ...exchange, ...deps })) response.end()
}

function* listTexts(kind: Kind, page: Page, shown: Shown): Generator<string> {
  const metadata = {
    resourceVersion: String(page.version),
    ...(page.next === undefined ? {} : { continue: page.next, remainingItemCount: page.remaining }),
  }
  const { head, items } = listHead(kind, metadata, shown)
  yield `${emitJson(head).slice(0, -1)},"${items}":[`
  for (const [index, stored] of page.items.entries()) {
    const item = itemText(kind, stored, shown)
    yield index === 0 ? item : `,${item}`
  }
  yield ']}'
}

async function openWatch(route: ResourceRequest, exchange: Exchange, deps: RequestDeps): Promise<void> {
  const query = exchange.url.searchParams
  const selection = selectionFrom(query)
  const byName = route.name
  const seconds = count(query, 'timeoutSeconds') ?? 1800 + Math.floor(Math.random() * 1800)
  const request: WatchRequest = {
    kind: route.kind,
    namespace: route.namespace,
    selection: byName === undefined ? selection : o => o.metadata.name === byName && selection(o),
    since: count(query, 'resourceVersion'),
    initialEvents: query.get('sendInitialEvents') === 'true',
    bookmarks: query.get('allowWatchBookmarks') === 'true',
    timeoutMs: seconds * 1000,
    shown: shownTo(exchange, deps.clock),
  }
  await deps.watches.open(request, { ...exchange, ...deps })
}

function shownTo({ accepted, url }: Exchange, clock: Clock): Shown {
  const form = formOf(accepted)
  if (form === undefined || 'whole' in form) return { as: 'object' }
  if ('metadata' in form) return { as: 'metadata', version: form.metadata }
  const wanted = url.searchParams.get('includeObject')
  const includeObject = wanted === 'None' || wanted === 'Object' ? wanted : 'Metadata'
  return { as: 'table', version: form.table, includeObject, withColumns: true, nowMs: clock.wallMs() }
}

function count(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name) ?? ''
  if (text === '' || (name === 'limit' && text === '0')) return undefined
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new ApiError('BadRequest', `${name}=${text} is not a number`)
}

function isDryRun(values: readonly unknown[]): boolean {
  const wrong = values.find(value => value !== 'All')
  if (wrong !== undefined) throw new ApiError('BadRequest', `dryRun=${String(wrong)}: only All is known`)
  return values.length > 0
}

function writeOptions({ request, url: { searchParams: query } }: Exchange, guard: WriteGuard): WriteOptions {
  const isApply = request.method === 'PATCH' && patchFormatOf(request) === 'apply'
  const fieldManager = query.get('fieldManager') ?? undefined
  if (isApply && (fieldManager ?? '') === '')
    throw new ApiError('BadRequest', 'an apply needs the query parameter fieldManager')
  return {
    guard,
    manager: managerName(fieldManager, request.headers['user-agent']),
    dryRun: isDryRun(query.getAll('dryRun')),
    force: query.get('force') === 'true',
  }
}

function deleteOptions(query: URLSearchParams, body: unknown, guard: WriteGuard): DeleteOptions {
  const { preconditions, dryRun } = isObject(body) ? body : {}
  const { uid, resourceVersion } = isObject(preconditions) ? preconditions : {}
  return {
    guard,
    dryRun: isDryRun([...query.getAll('dryRun'), ...(Array.isArray(dryRun) ? dryRun : [])]),
    ...(typeof uid === 'string' ? { uid } : {}),
    ...(typeof resourceVersion === 'string' ? { resourceVersion } : {}),
  }
}
