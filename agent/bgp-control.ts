// The control socket of `margay-bgp`: HTTP and JSON over a unix socket, one row per question.
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import type { BfdStatus } from '../bgp/bfd/config.ts'
import { ConfigError } from '../bgp/file/faults.ts'
import { dumpMrt } from '../bgp/mrt/dump.ts'
import type { Speaker } from '../bgp/speaker.ts'
import { systemClock } from '../lib/clock.ts'
import { bodyText, type HttpRoute, send } from '../lib/http-routes.ts'
import { parseCidr } from '../lib/ip.ts'
import type { BgpMonitors } from './bgp-monitors.ts'
import type { Reloaded } from './bgp-reload.ts'
import type { NextHopStatus } from './next-hop-tracker.ts'
import { openconfigNeighbors } from './openconfig.ts'
import { routeAnswer } from './socket/route-answer.ts'

/** A question that cannot be answered as it was put: 400 with what to write instead. */
export class BadRequest extends Error {
  override readonly name = 'BadRequest'
}

/** What answers the questions. */
export type Controlled = {
  speaker: Speaker
  reload(options: { dryRun: boolean }): Promise<Reloaded>
  bfdStatus?(): Promise<BfdStatus>
  nextHops?(): NextHopStatus[]
  monitors?: BgpMonitors
  /** Ends answers that are under way, so that a slow asker does not keep the program. */
  stopping?: AbortSignal
}

const NO_BFD: BfdStatus = { scheduling: 'usual', sessions: [], dropped: {} }
const MAX_BODY = 64 * 1024

/**
 * `GET /healthz`, `GET /peers`, `GET /openconfig` (the same as openconfig-bgp has it), `GET /route?prefix=`, `GET /bfd` (its sessions), `GET /next-hops` (those that are tracked), `GET /bmp` (collectors), `GET /dump` (the RIB as MRT), `POST /clear {peer, kind}`, `POST
 * /reload {dryRun}`. Requests never name a file, so a client cannot make this process open one.
 */
export function controlRoutes(daemon: Controlled): Readonly<Record<string, HttpRoute>> {
  const { speaker } = daemon
  return {
    'GET /healthz': json(() => ({ restarting: speaker.restarting, listener: speaker.listenerCounts })),
    'GET /peers': json(() => speaker.peers()),
    'GET /openconfig': json(() => openconfigNeighbors(speaker)),
    'GET /route': json(({ query }) => {
      const prefix = parseCidr(query.get('prefix') ?? '')
      if (prefix === undefined) throw new BadRequest('prefix: write a CIDR like ?prefix=203.0.113.0/24')
      const text = `${prefix.address}/${prefix.length}`
      return routeAnswer(text, speaker.explain(text))
    }),
    'GET /bfd': json(() => daemon.bfdStatus?.() ?? NO_BFD),
    'GET /next-hops': json(() => daemon.nextHops?.() ?? []),
    'GET /bmp': json(() => daemon.monitors?.status() ?? []),
    'GET /dump': (_request, response) => dump(daemon, response),
    'POST /clear': json(({ body: { peer, kind = 'hard' } }) => {
      if (kind !== 'hard' && kind !== 'soft-in' && kind !== 'soft-out')
        throw new BadRequest('kind: write hard, soft-in or soft-out')
      if (typeof peer !== 'string' || !speaker.peers().some(({ name }) => name === peer))
        throw new BadRequest(`peer: there is none called ${String(peer)}; GET /peers lists them`)
      speaker.clear(peer, kind)
      return { peer, kind }
    }),
    'POST /reload': json(({ body }) => daemon.reload({ dryRun: body['dryRun'] === true })),
  }
}

/** Streams the dump as fast as the asker reads it, with turns for everybody else in between. */
async function dump({ speaker, stopping }: Controlled, response: ServerResponse): Promise<void> {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  stopping?.addEventListener('abort', () => response.destroy(), { signal: gone.signal })
  response.writeHead(200, { 'content-type': 'application/octet-stream' })
  try {
    for (const block of dumpMrt(speaker.rib, speaker.config, { seconds: Math.floor(systemClock.wallMs() / 1000) })) {
      if (!response.write(block)) await once(response, 'drain', { signal: gone.signal })
      await turn(undefined, { signal: gone.signal })
    }
    response.end()
  } catch (error) {
    // an asker who left wants no answer; a cut-off body shows any other one that this is not all
    response.destroy()
    if (!gone.signal.aborted) throw error
  }
}

type ControlRequest = { query: URLSearchParams; body: Record<string, unknown> }

function json(answer: (question: ControlRequest) => unknown): HttpRoute {
  return async (request, response, query) => {
    try {
      send(response, 200, await answer({ query, body: await readBody(request) }))
    } catch (error) {
      if (!(error instanceof BadRequest || error instanceof ConfigError)) throw error
      send(response, 400, { error: error.message })
    }
  }
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const text = await bodyText(request, MAX_BODY)
  if (text === undefined) throw new BadRequest(`the body is larger than ${MAX_BODY} octets`)
  if (text === '') return {}
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new BadRequest('the body is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new BadRequest('the body must be a JSON object')
  return value as Record<string, unknown>
}
