// One line of `GET /events` with `since`, `object` or `follow`: what the recorder of a node tells, in JSON.
import * as z from 'zod'
import { eventsAnswer } from './answers.ts'

/** An event or a change (api/changes.ts); `seq` is its number, the order in which things happened on that node. */
const nodeRecord = z.object({ seq: z.number(), ...eventsAnswer.element.shape })

/** `lost`: so many records are told nowhere. `reached`: what was there when it was asked for is told, and what comes follows. */
export const recordLine = z.union([
  z.object({ record: nodeRecord }),
  z.object({ lost: z.number() }),
  z.object({ reached: z.number() }),
])

export type RecordLine = z.infer<typeof recordLine>
