// Events and changes of nodes as people and programs read them. Names and texts are others': they are shown escaped. Pure.
import type { NodeEvent } from '../api/answers.ts'
import { pageOfEvent } from '../api/reasons.ts'
import { formatRef } from '../api/status.ts'
import { type Format, renderTable, show } from './render.ts'
import { visible } from './visible.ts'

/** `node` where there are several; `seq` where the recorder told it. */
export type ShownEvent = NodeEvent & { node?: string; seq?: number }

const HEADS = ['TIME', 'TYPE', 'OBJECT', 'REASON', 'MESSAGE']

function cellsOf({ node, at, type, object, reason, message }: ShownEvent): string[] {
  return [...(node === undefined ? [] : [node]), at, type, formatRef(object), reason, message].map(visible)
}

/** As programs get it: with the page that explains it. */
function withPage(event: ShownEvent): ShownEvent & { page: string } {
  return { ...event, page: pageOfEvent(event) }
}

/** A table, with a column for nodes where they are known, or a value with all of them. */
export function showEvents(events: readonly ShownEvent[], format: Format): string {
  const heads = events[0]?.node === undefined ? HEADS : ['NODE', ...HEADS]
  return show({ events: events.map(withPage) }, format, shown =>
    shown === 'wide'
      ? renderTable(
          [...heads, 'SEE'],
          events.map(event => [...cellsOf(event), visible(pageOfEvent(event))]),
        )
      : renderTable(heads, events.map(cellsOf)),
  )
}

/** One line of text, or of JSON; of YAML a document. */
export function eventLine(event: ShownEvent, format: Format): string {
  if (format === 'json') return `${JSON.stringify(withPage(event))}\n`
  if (format !== 'table' && format !== 'wide') return show(withPage(event), format, () => '')
  return `${cellsOf(event).join('  ')}\n`
}

/** By their times; those of one node in the order in which it told them, also where its clock was set back. */
export function merged(events: readonly ShownEvent[]): ShownEvent[] {
  const latest = new Map<string | undefined, number>()
  const timed = events.map(event => {
    const atMs = Math.max(Date.parse(event.at) || 0, latest.get(event.node) ?? 0)
    latest.set(event.node, atMs)
    return { atMs, event }
  })
  return timed.toSorted((a, b) => a.atMs - b.atMs).map(({ event }) => event)
}
