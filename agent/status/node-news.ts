// What of all that happens on this node is told in Events of its Node object. Pure but for the clock: what is broken for a
// moment is no news, nor is what is said again.
import { NODE_EVENTS, type NodeEventReason, type NodeEventRow } from '../../api/node-events.ts'
import { pageOfEvent } from '../../api/reasons.ts'
import { type Condition, type ConditionType, type EventRecord, formatRef } from '../../api/status.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NetworkCondition } from '../serving.ts'

export type News = { reason: NodeEventReason; message: string }

/** A promise that is broken for less than this is healed before anybody would act on it. */
const LASTS_MS = 10_000

/** Sessions that are kept in mind: of more, those that changed last. Peers come and go for as long as the agent runs. */
const MOST_SESSIONS = 1000

const OF_CONDITIONS = (Object.entries(NODE_EVENTS) as [NodeEventReason, NodeEventRow][]).flatMap(
  ([reason, { condition }]) => (condition === undefined ? [] : [{ reason, condition }]),
)

export class NodeNews {
  readonly #clock: Clock
  readonly #tell: (news: News) => void
  /** Since when promises of the table are broken, and whether that was told. */
  readonly #broken = new Map<ConditionType, { sinceMs: number; told: boolean }>()
  /** Sessions that were up, and are not any more: whether they are down now. */
  readonly #sessions = new Map<string, 'up' | 'down'>()
  /** Why pods were not served when that was told last. */
  #unserved: string | undefined

  constructor({ clock, tell }: { clock: Clock; tell: (news: News) => void }) {
    this.#clock = clock
    this.#tell = tell
  }

  /** Takes every condition of the node, as often as wanted. */
  look(conditions: readonly Condition[]): void {
    const nowMs = this.#clock.monotonicMs()
    for (const { reason, condition: type } of OF_CONDITIONS) {
      const wrong = conditions.filter(each => each.type === type && each.status === 'False')
      const known = this.#broken.get(type)
      if (wrong.length === 0) {
        this.#broken.delete(type)
        if (known?.told === true) this.#tell({ reason: 'ConditionKept', message: `${type} is kept again` })
      } else if (known === undefined) this.#broken.set(type, { sinceMs: nowMs, told: false })
      else if (!known.told && nowMs - known.sinceMs >= LASTS_MS) {
        known.told = true
        const more = wrong.length === 1 ? '' : `; and ${wrong.length - 1} more`
        const { message, remedy, page } = wrong[0]!
        const see = page === undefined ? '' : `; see ${page}`
        this.#tell({ reason, message: `${message}; ${remedy}${more}${see}` })
      }
    }
  }

  /** Takes what the Node object is to say of the network; undefined: what it says may stay. */
  network(condition: NetworkCondition | undefined): void {
    if (condition === undefined) return
    const { status, reason, message } = condition
    const unserved = status === 'True' ? `${reason} ${message.split(':')[0]}` : undefined
    if (unserved === this.#unserved) return
    this.#unserved = unserved
    if (unserved === undefined) this.#tell({ reason: 'PodsServed', message: 'this node serves its pods again' })
    else this.#tell({ reason: 'PodsNotServed', message })
  }

  /** Takes each event of the node. */
  record({ type, object, reason, message }: EventRecord): void {
    if (type === 'Healed' || type === 'Removed' || type === 'LetPass') {
      const repaired = `${formatRef(object)}: ${message}`
      this.#tell({
        reason: 'ForeignChangeRepaired',
        message: `${repaired}; see ${pageOfEvent({ type, reason, message })}`,
      })
    } else if (type === 'SessionChanged' && object.name !== '*') this.#session(object.name, reason, message)
  }

  #session(name: string, reason: string, message: string): void {
    const before = this.#sessions.get(name)
    if (reason === 'Established') {
      this.#keep(name, 'up')
      if (before === 'down') this.#tell({ reason: 'BGPSessionUp', message: `the session with ${name} is up again` })
    } else if (before === 'up') {
      this.#keep(name, 'down')
      this.#tell({
        reason: 'BGPSessionDown',
        message: `the session with ${name} went down: ${message}; see ${pageOfEvent({ type: 'SessionChanged', reason, message })}`,
      })
    }
  }

  #keep(name: string, state: 'up' | 'down'): void {
    this.#sessions.delete(name)
    this.#sessions.set(name, state)
    const [oldest] = this.#sessions.keys()
    if (this.#sessions.size > MOST_SESSIONS) this.#sessions.delete(oldest!)
  }
}
