// What is put back of a pod's interface, and what is left as it is. Pure.
// A pod's namespace is its own: whoever may change it there may mean something by it. So only what went missing of what `podSide` says is
// put back, or what must be wrong whoever did it; never what has another one in its place, nor what was so when the interface was first
// looked at after its ADD, since a plugin behind ours made it so. Who undoes a repair twice is not fought: it is tried again after a pause.
import type { InterfaceSide } from '../kernel/pod-interface.ts'
import type { PodEvent } from '../kernel/port/kernel.ts'
import { type Family, familyOf } from '../lib/ip.ts'
import type { Mismatch } from './inspect.ts'

/** A repair that was undone so often within so long is not done again before a pause is over. */
const MOST_REPAIRS = 2
export const WITHIN_MS = 10_000
/** The first pause, which doubles as long as it is undone: what did so may have been a script that ran once, and has ended. */
const FIRST_PAUSE_MS = 60_000
const LONGEST_PAUSE_MS = 600_000

/** Programs set a link down to change it, and take a default route away to write another one: that takes them some milliseconds. */
const PATIENCE_MS = 250
/** What happens at once is one thing. */
const QUIET_MS = 50

/** Until when something is left as it is, and how long that is. */
export type Pause = { untilMs: number; lengthMs: number }

type PodFacts = {
  /** What was so when it was first looked at, by `Mismatch.object`. */
  kept: ReadonlySet<string>
  /** What was undone too often. */
  paused: ReadonlyMap<string, Pause>
  /** When what was repaired, in milliseconds of a clock that only goes forward; oldest first. */
  repairs: ReadonlyMap<string, readonly number[]>
  nowMs: number
  /** Families whose default route leads elsewhere. */
  leadsElsewhere: ReadonlySet<Family>
  /** MTU of the host's end: it drops what is larger. */
  hostMtu: number
}

type PodDecision = {
  heal: readonly Mismatch[]
  /** What was undone again and again, also where it is tried again now. */
  undone: readonly Mismatch[]
}

export function decidePod(found: readonly Mismatch[], facts: PodFacts): PodDecision {
  const heal: Mismatch[] = []
  const undone: Mismatch[] = []
  for (const mismatch of found) {
    if (facts.kept.has(mismatch.object) || !isToHeal(mismatch, facts)) continue
    const recent = (facts.repairs.get(mismatch.object) ?? []).filter(atMs => facts.nowMs - atMs < WITHIN_MS)
    const pause = facts.paused.get(mismatch.object)
    const isUndone = pause !== undefined || recent.length >= MOST_REPAIRS
    if (isUndone) undone.push(mismatch)
    if (!isUndone || (pause !== undefined && isOver(pause, facts.nowMs))) heal.push(mismatch)
  }
  return { heal, undone }
}

/** The pause of what was undone: the one it has, or where that is over, and it is tried again, the one after it. */
export function pauseAfter(before: Pause | undefined, nowMs: number): Pause {
  if (before !== undefined && !isOver(before, nowMs)) return before
  const lengthMs = before === undefined ? FIRST_PAUSE_MS : Math.min(2 * before.lengthMs, LONGEST_PAUSE_MS)
  return { untilMs: nowMs + lengthMs, lengthMs }
}

function isOver({ untilMs }: Pause, nowMs: number): boolean {
  return nowMs >= untilMs
}

function isToHeal({ kind, object, is }: Mismatch, { leadsElsewhere, hostMtu }: PodFacts): boolean {
  switch (kind) {
    case 'link':
      if (object.endsWith(' state')) return is === 'down'
      return object.endsWith(' mtu') && Number(is) > hostMtu
    case 'sysctl':
    case 'neighbour':
      return true
    case 'address':
      return is === undefined
    case 'route': {
      // also the way to our gateway serves nothing then
      const [dst = ''] = object.split(' ')
      return is === undefined && !leadsElsewhere.has(familyOf(dst.replace(/\/.*/, '')))
    }
  }
  return false
}

/** What an event may have taken of a pod's interface, and how long to wait until that is what it was to be. */
type Touched = { object: string; waitMs: number }

/** What of a pod's interface is not as `side` says by what was told; undefined: nothing. */
export function touchedBy(
  event: PodEvent,
  side: InterfaceSide,
  facts: { mac: string; hostMtu: number },
): Touched | undefined {
  const { name } = side
  const soon = (object: string): Touched => ({ object, waitMs: QUIET_MS })
  switch (event.type) {
    case 'link': {
      const { up, mtu, mac } = event.link
      if (!up) return { object: `${name} state`, waitMs: PATIENCE_MS }
      if (mac !== undefined && mac.toLowerCase() !== facts.mac) return soon(`${name} mac`)
      return mtu > facts.hostMtu ? soon(`${name} mtu`) : undefined
    }
    case 'address-gone': {
      const { address, length } = event.address
      const isOurs = side.addresses.some(each => each.address === address && each.length === length)
      return isOurs ? soon(`${address}/${length} dev ${name}`) : undefined
    }
    case 'route-gone': {
      const { dst } = event.route
      if (!side.routes.some(route => route.dst === dst)) return undefined
      return { object: `${dst} dev ${name}`, waitMs: PATIENCE_MS }
    }
    case 'neighbour':
    case 'neighbour-gone': {
      const { address, mac, permanent } = event.neighbour
      const ours = side.neighbours.find(each => each.address === address)
      if (ours === undefined) return undefined
      const isRight = event.type === 'neighbour' && permanent && mac?.toLowerCase() === ours.mac.toLowerCase()
      return isRight ? undefined : soon(`${address} dev ${name}`)
    }
  }
  return undefined
}

/** What happened to one thing in a pod, for people. `by`: who did it, where that is known. */
export function changeText({ kind, object, is, should }: Mismatch, by: string | undefined): string {
  if (is === undefined) return `${kind} ${object} was ${by === undefined ? 'gone' : `deleted by ${by}`}`
  return `${kind} ${object} was changed from ${should} to ${is} by ${by ?? 'somebody'}`
}
