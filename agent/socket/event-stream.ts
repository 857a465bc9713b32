// What the recorder has, and what comes, as lines of JSON: first what it has of what is asked for, then the rest in the same order,
// none twice and none left out between the two.
import type { ServerResponse } from 'node:http'
import type { Recorded, RecordLine } from '../../api/changes.ts'
import { send } from '../../lib/http-routes.ts'
import { type Asked, isAskedFor, recorded } from '../recorder/query.ts'
import type { Recorder } from '../recorder/recorder.ts'
import { LineStream } from './line-stream.ts'

/** Records that wait while the ones before are read. */
const MOST_WAITING = 10_000

/** Reads the options of a question; a text says what is wrong with them. */
export function askedOf(query: URLSearchParams): Asked | string {
  const [since, object] = [query.get('since'), query.get('object')]
  const sinceMs = since === null ? undefined : Date.parse(since)
  if (Number.isNaN(sinceMs)) return 'since: write a time like 2026-11-27T12:03:00Z'
  const [, kind, name] = /^([^/]+)\/(.+)$/s.exec(object ?? '') ?? []
  if (object !== null && (kind === undefined || name === undefined))
    return 'object: write KIND/NAME, like Route/10.244.1.0/26'
  return { ...(sinceMs !== undefined && { sinceMs }), ...(kind && name && { object: { kind, name } }) }
}

export type Recording = Pick<Recorder, 'files' | 'follow' | 'seq'>

/** `last`: what is there; `follow`: only what comes, unless a time is asked for; both at a time. */
export async function streamRecords(
  recorder: Recording,
  response: ServerResponse,
  { asked, follow }: { asked: Asked; follow: boolean },
): Promise<void> {
  let waiting: Recorded[] | undefined = []
  let lost = 0
  const tell = (record: Recorded) => {
    if (!isAskedFor(record, asked)) return
    if (waiting === undefined) lines?.tell({ record })
    else if (waiting.length < MOST_WAITING) waiting.push(record)
    else lost++
  }
  let lines: LineStream<RecordLine> | undefined
  const following = follow ? recorder.follow(tell) : undefined
  if (follow && following === undefined) {
    send(response, 503, { error: 'too many follow the events of this node already: end one of them' })
    return
  }
  response.on('close', () => following?.close())
  lines = new LineStream<RecordLine>(response)
  if (!follow || asked.sinceMs !== undefined)
    for await (const record of recorded(recorder, asked, recorder.seq)) {
      if (lines.isGone) break
      await lines.send({ record })
    }
  for (const record of waiting) await lines.send({ record })
  if (lost > 0) lines.tell({ lost })
  waiting = undefined
  if (!follow) response.end()
}
