// The questions that the agent's socket answers: one row per method and path, as in api/answers.ts.
import {
  type AddressesAnswer,
  type AgentStatus,
  type ANSWERS,
  type DrainAnswer,
  MOST_EVENTS,
  MOST_FLOWS,
  type RouteAnswer,
} from '../../api/answers.ts'
import type { OpenConnection } from '../../api/connection-answer.ts'
import type { NodeFacts, Question } from '../../api/explain.ts'
import type { KernelLine } from '../../api/kernel-line.ts'
import { LOG_LEVELS, LOG_ROOMS, type LogRoom } from '../../api/log-settings.ts'
import type { OpenconfigAnswer } from '../../api/openconfig-answer.ts'
import type { PathAnswer } from '../../api/paths.ts'
import { CONDITION_TYPES, type Condition, type Event, formatRef } from '../../api/status.ts'
import type { BfdStatus } from '../../bgp/bfd/config.ts'
import { isStoreError } from '../../datastore/port.ts'
import { checkText } from '../../lib/check-text.ts'
import { asJson, type HttpRoute, send, sendText } from '../../lib/http-routes.ts'
import { formatCidr, parseCidr } from '../../lib/ip.ts'
import type { LogLevels } from '../../lib/log-levels.ts'
import { METRICS_TYPE } from '../../lib/metrics-text.ts'
import { readQuestion } from '../facts/question.ts'
import type { Flows } from '../flows/flows.ts'
import { droppedAnswer, ruleCountAnswer } from '../status/answers.ts'
import { type Measured, metricsPage } from '../status/metrics-page.ts'
import type { Tracer } from '../trace/tracer.ts'
import { askedOf, type Recording, streamRecords } from './event-stream.ts'
import { streamFlows } from './flow-stream.ts'
import { kernelRoute } from './kernel-stream.ts'
import { traceRoute } from './trace-route.ts'

/** What answers the questions. */
export type Answering = Measured & {
  ready(): boolean
  conditions(): Condition[]
  status(): AgentStatus
  explain(prefix: string): RouteAnswer
  /** Undefined while as many as may be are answered. */
  facts(question: Question): Promise<NodeFacts | undefined>
  paths(): PathAnswer[]
  openconfig(): OpenconfigAnswer
  drained(): Promise<DrainAnswer>
  bfdStatus(): Promise<BfdStatus>
  /** Rejects with `KernelError`. */
  openConnections(): Promise<OpenConnection[]>
  checkAddresses(): Promise<AddressesAnswer>
  events: Recording & { last(count: number): Event[] }
  flows: Pick<Flows, 'last' | 'follow'>
  tracer: Pick<Tracer, 'answer'>
  kernelState(): AsyncIterable<KernelLine>
  acceptCluster(): Promise<{ doubt: string }>
  levels: Pick<LogLevels<LogRoom>, 'levels' | 'request'>
}

/** How many events are sent when the request gives no number. */
const USUAL_EVENTS = 100

/** All questions in JSON, and the metrics as Prometheus reads them. */
export function agentRoutes(
  agent: Answering,
): Record<keyof (typeof ANSWERS)['margay-node'] | 'GET /metrics' | 'GET /kernel', HttpRoute> {
  return {
    'GET /healthz': asJson(() => ({ ok: true })),
    'GET /livez': asJson(() => ({ ok: true })),
    'GET /readyz': (_request, response, query) => {
      const status = agent.ready() ? 200 : 503
      if (query.has('verbose')) sendText(response, status, readinessText(agent.conditions()))
      else send(response, status, agent.conditions())
    },
    'GET /status': async (_request, response) =>
      send(response, 200, { ...agent.status(), dropped: droppedAnswer(await agent.droppedPackets()) }),
    'GET /events': async (_request, response, query) => {
      if (['since', 'object', 'follow'].some(name => query.has(name))) {
        const asked = askedOf(query)
        if (typeof asked === 'string') send(response, 400, { error: asked })
        else await streamRecords(agent.events, response, { asked, follow: query.has('follow') })
        return
      }
      const count = Number(query.get('count') ?? USUAL_EVENTS)
      if (Number.isInteger(count) && count >= 1 && count <= MOST_EVENTS) send(response, 200, agent.events.last(count))
      else send(response, 400, { error: `count: give a whole number from 1 to ${MOST_EVENTS}` })
    },
    'GET /flows': (_request, response, query) => {
      const count = Number(query.get('count') ?? MOST_FLOWS)
      if (query.has('follow')) streamFlows(agent.flows, response)
      else if (Number.isInteger(count) && count >= 1 && count <= MOST_FLOWS)
        send(response, 200, agent.flows.last(count))
      else send(response, 400, { error: `count: give a whole number from 1 to ${MOST_FLOWS}` })
    },
    'GET /connections': asJson(() => agent.openConnections()),
    'GET /policy-counters': asJson(async () => ruleCountAnswer((await agent.ruleCounts('now')).byText())),
    'GET /bgp/route': (_request, response, query) => {
      const prefix = parseCidr(query.get('prefix') ?? '')
      if (prefix === undefined) send(response, 400, { error: 'prefix: write a CIDR like ?prefix=203.0.113.0/24' })
      else send(response, 200, agent.explain(formatCidr(prefix)))
    },
    'POST /facts': async (request, response) => {
      const asked = await readQuestion(request)
      if (typeof asked === 'string') return send(response, 400, { error: asked })
      const facts = await agent.facts(asked)
      if (facts === undefined) send(response, 503, { error: 'as many questions as may be are answered now' })
      else send(response, 200, facts)
    },
    'GET /bgp/openconfig': asJson(() => agent.openconfig()),
    'GET /bgp/drain': asJson(() => agent.drained()),
    'GET /paths': asJson(() => agent.paths()),
    'GET /bgp/bfd': asJson(() => agent.bfdStatus()),
    'GET /ipam-check': asJson(() => agent.checkAddresses()),
    'POST /trace': traceRoute(order => agent.tracer.answer(order)),
    'POST /accept-cluster': async (_request, response) => {
      try {
        send(response, 200, await agent.acceptCluster())
      } catch (error) {
        if (!isStoreError(error)) throw error
        send(response, 503, { error: error.message })
      }
    },
    'GET /log-level': asJson(() => agent.levels.levels()),
    'POST /log-level': (_request, response, query) => {
      const [room, level] = [query.get('room') ?? '', query.get('level') ?? '']
      if (room !== '' && !Object.hasOwn(LOG_ROOMS, room))
        send(response, 400, {
          error: `room ${room}: write one of ${Object.keys(LOG_ROOMS).join(', ')}, or none for all`,
        })
      else if (level !== '' && !isLevel(level))
        send(response, 400, { error: `level ${level}: write one of ${LOG_LEVELS.join(', ')}, or none to take it back` })
      else {
        agent.levels.request(room === '' ? undefined : (room as LogRoom), level === '' ? undefined : level)
        send(response, 200, agent.levels.levels())
      }
    },
    'GET /kernel': kernelRoute(() => agent.kernelState()),
    'GET /metrics': async (_request, response) => {
      const text = await metricsPage(agent, { ofProcess: true })
      response.writeHead(200, { 'content-type': METRICS_TYPE }).end(text)
    },
  }
}

/** Every condition, as Kubernetes' own programs tell their checks. */
function readinessText(conditions: readonly Condition[]): string {
  const checks = conditions.map(({ type, status, reason, message, object }) => ({
    ...{ name: object === undefined ? type : `${type} ${formatRef(object)}`, ok: status === 'True' },
    ...{ detail: `${reason}: ${message}`, decides: CONDITION_TYPES[type].vital !== false },
  }))
  return checkText('readyz', checks)
}

function isLevel(text: string): text is (typeof LOG_LEVELS)[number] {
  return (LOG_LEVELS as readonly string[]).includes(text)
}
