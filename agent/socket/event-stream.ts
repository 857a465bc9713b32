// What the recorder has, and what comes, as lines of JSON: first what it has of what is asked for, then the rest in the same order,
// none twice and none left out between the two.
import type { ServerResponse } from 'node:http'
import type { Recorded } from '../../api/changes.ts'
import type { RecordLine } from '../../api/record-line.ts'
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

/** Sends what is there; with `follow` what comes until the reader leaves, and before that what was there since a time that is asked for. */
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
  const until = recorder.seq
  if (!follow || asked.sinceMs !== undefined)
    for await (const record of recorded(recorder, asked, until)) {
      if (lines.isGone) break
      await lines.send({ record })
    }
  if (follow) await lines.send({ reached: until })
  for (const record of waiting) await lines.send({ record })
  if (lost > 0) lines.tell({ lost })
  waiting = undefined
  if (!follow) response.end()
}
