// What the recorder has of what somebody asks for, in the order in which it happened, a file at a time: 64 MiB are neither in memory
// together nor read in one turn of the event loop.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { CHANGE_TYPES, type Recorded } from '../../api/changes.ts'
import { EVENT_TYPES, type ObjectRef } from '../../api/status.ts'
import type { Recorder } from './recorder.ts'
import { SegmentRing } from './segment-ring.ts'

/** Absent: all. A name may be `namespace/name`. Of an object the sums of its kind count too, since it may be in them. */
export type Asked = { sinceMs?: number; object?: { kind: string; name: string } }

/** Records that are looked at in one turn: a millisecond. */
const PER_TURN = 256

/** Every record up to the number `until` that is asked for. */
export async function* recorded(
  recorder: Pick<Recorder, 'files'>,
  asked: Asked,
  until: number,
): AsyncGenerator<Recorded> {
  const { events, changes } = recorder.files()
  const [one, other] = [records(events, asked), records(changes, asked)]
  let [first, second] = [await one.next(), await other.next()]
  for (;;) {
    const isFirst = first.done !== true && (second.done === true || first.value.seq < second.value.seq)
    const next = isFirst ? first : second
    if (next.done === true) return
    if (next.value.seq <= until) yield next.value
    if (isFirst) first = await one.next()
    else second = await other.next()
  }
}

/** Whether a record is asked for. One of a type that a later version has is none. */
export function isAskedFor(record: Recorded, { sinceMs, object }: Asked): boolean {
  if (!Object.hasOwn(EVENT_TYPES, record.type) && !Object.hasOwn(CHANGE_TYPES, record.type)) return false
  if (sinceMs !== undefined && Date.parse(record.at) < sinceMs) return false
  return object === undefined || isAbout(record.object, object)
}

function isAbout(object: ObjectRef, { kind, name }: NonNullable<Asked['object']>): boolean {
  if (object.kind.toLowerCase() !== kind.toLowerCase()) return false
  return object.name === '*' || object.name === name || `${object.namespace}/${object.name}` === name
}

async function* records(paths: readonly string[], asked: Asked): AsyncGenerator<Recorded> {
  for (const path of paths)
    for (const [i, text] of SegmentRing.read(path).entries()) {
      if (i % PER_TURN === 0) await nextTurn()
      const record = JSON.parse(text) as Recorded
      if (isAskedFor(record, asked)) yield record
    }
}
