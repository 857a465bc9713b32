// /livez, /readyz and /metrics of margay-controllers over plain HTTP, for the kubelet and for Prometheus. Nothing can be changed
// here, and what is told is what anybody may read at the API server with the rights to see blocks.
import type { Server } from 'node:http'
import { CONTROLLER_CONDITION_TYPES, type ControllerCondition } from '../api/controller-conditions.ts'
import { checkText } from '../lib/check-text.ts'
import { createServer } from '../lib/http.ts'
import { answerRoute, asJson, type HttpRoute, send, sendText } from '../lib/http-routes.ts'
import { parseSocketAddress } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import { METRICS_TYPE } from '../lib/metrics-text.ts'
import type { Controllers } from './controllers.ts'

const REQUEST_MS = 10_000
const MOST_CONNECTIONS = 100

/** `address` is `ip:port`. Rejects when it cannot be had. */
export async function serveHealth(
  address: string,
  controllers: Pick<Controllers, 'conditions' | 'ready' | 'metrics'>,
  log: Log,
): Promise<Server> {
  const routes: Readonly<Record<string, HttpRoute>> = {
    'GET /livez': asJson(() => ({ ok: true })),
    'GET /readyz': (_request, response, query) => {
      const status = controllers.ready() ? 200 : 503
      if (query.has('verbose')) sendText(response, status, readinessText(controllers.conditions()))
      else send(response, status, controllers.conditions())
    },
    'GET /metrics': (_request, response) => {
      response.writeHead(200, { 'content-type': METRICS_TYPE }).end(controllers.metrics())
    },
  }
  const server = createServer(
    { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS },
    (request, response) => void answerRoute(request, response, routes, log),
  )
  server.maxConnections = MOST_CONNECTIONS
  const { address: host, port } = parseSocketAddress(address, 0)!
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, resolve)
  })
  return server
}

/** Every promise of the table, as Kubernetes' own programs tell their checks. */
function readinessText(wrong: readonly ControllerCondition[]): string {
  const checks = Object.entries(CONTROLLER_CONDITION_TYPES).flatMap(([name, { vital: decides }]) => {
    const ofType = wrong.filter(({ type }) => type === name)
    return ofType.length === 0
      ? [{ name, ok: true, detail: '', decides }]
      : ofType.map(({ reason, message }) => ({ name, ok: false, detail: `${reason}: ${message}`, decides }))
  })
  return checkText('readyz', checks)
}
