// The flight recorder of a node: what happened here, and every change of what is routed, addressed and judged, on disk, so that "who
// removed my route at 12:03?" has an answer after a crash too. Events have files of their own: no flood of changes pushes them out.
// Recording never fails and never waits for the caller: what the disk has no room for is dropped and counted.
// Hazards: the journal on the same disk is worth more, so the recorder gives way before the disk is full; texts are made of names that
// anybody may choose, so secrets are looked for in all of them; a clock may be set back, so the order is that of the numbers.
import { statfsSync } from 'node:fs'
import type { Change, ChangeCause, ChangeType, Recorded } from '../../api/changes.ts'
import { EVENT_TYPES, type Event, type EventRecord, type EventType, type ObjectKind } from '../../api/status.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import type { Log } from '../../lib/log.ts'
import { textWithoutSecrets } from '../../lib/redaction-text.ts'
import { Floods } from './floods.ts'
import { emitRecord } from './segment.ts'
import { SegmentRing } from './segment-ring.ts'

export type RecorderOptions = {
  nodeName: string
  /** Where its files are. */
  folder: string
  /** How many files of 1 MiB it has; absent: 64. */
  segments?: typeof SEGMENTS
  clock: Clock
  log: Log
  /** Called before every write: it ends the program when the folder is not this program's any more. */
  check?: () => void
}

/** Hears of each record that is kept, before it is on disk. What it throws ends the program. */
type Follower = (record: Recorded) => void

/** 64 MiB in all. */
const SEGMENT_OCTETS = 1 << 20
const SEGMENTS: { events: number; changes: number } = { events: 8, changes: 56 }
/** Where the disk is memory. */
export const FEW_SEGMENTS: typeof SEGMENTS = { events: 2, changes: 2 }
type Lane = keyof typeof SEGMENTS
const LANES: readonly Lane[] = ['events', 'changes']

/** A record is on disk so long after it was made. */
const FLUSH_MS = 200
/** Or when so much waits. */
const FLUSH_OCTETS = 1 << 16
const SUM_MS = 10_000
/** Less than this is left to the journal. */
const LEAST_FREE_OCTETS = 1 << 20
const MOST_FOLLOWERS = 16
/** In characters, of which one may take six octets: a record of the longest ones fits. */
const LONGEST = { message: 2000, name: 500, word: 260 } as const

export class Recorder {
  readonly #options: RecorderOptions
  readonly #rings: Partial<Record<Lane, SegmentRing>> = {}
  readonly #waiting: Record<Lane, Buffer[]> = { events: [], changes: [] }
  readonly #floods = new Floods()
  readonly #followers = new Set<Follower>()
  readonly #counts = new Map<EventType, number>()
  #waitingOctets = 0
  #seq = 0
  #dropped = 0
  /** Of those, what no record tells of yet. */
  #droppedSince = 0
  #failing = false
  #cancelFlush: Cancel | undefined
  #cancelSum: Cancel | undefined

  /** Goes on behind what an earlier run left. A folder that cannot be used costs records, and the log says so. */
  constructor(options: RecorderOptions) {
    this.#options = options
    for (const lane of LANES) this.#open(lane)
    for (const ring of Object.values(this.#rings)) {
      const newest = newestFirst(ring).next().value
      this.#seq = Math.max(this.#seq, newest?.seq ?? 0)
    }
  }

  /** How often something happened since this program began, by type. */
  get counts(): ReadonlyMap<EventType, number> {
    return this.#counts
  }

  /** Records that were not kept since this program began. */
  get dropped(): number {
    return this.#dropped
  }

  /** The number of the last record. */
  get seq(): number {
    return this.#seq
  }

  /** Keeps an event. */
  record({ type, object, reason, message }: EventRecord): void {
    this.#counts.set(type, (this.#counts.get(type) ?? 0) + 1)
    this.#keep('events', { type, object, reason, message })
  }

  /** Keeps a change, or counts it where there are too many of its kind and cause. */
  note(type: ChangeType, kind: ObjectKind, cause: ChangeCause, about: Change['about']): void {
    if (!this.#floods.admits(kind, cause, type, this.#options.clock.monotonicMs())) {
      this.#cancelSum ??= this.#options.clock.after(SUM_MS, () => this.#sum())
      return
    }
    const { name, namespace, text = '' } = about()
    const object = { kind, name, ...(namespace !== undefined && { namespace }) }
    this.#keep('changes', { type, object, reason: cause, message: text })
  }

  /** Takes in events that were kept in another way, with their times, those after the newest one here. Returns whether they are on disk. */
  adopt(events: readonly Omit<Recorded, 'seq'>[]): boolean {
    const [newest] = this.last(1)
    const dropped = this.#dropped
    for (const { at, ...event } of events) if (newest === undefined || at > newest.at) this.#keep('events', event, at)
    this.flush()
    return this.#dropped === dropped
  }

  /** The newest `count` events, the newest first. */
  last(count: number): Event[] {
    this.flush()
    const { events } = this.#rings
    return events === undefined ? [] : newestFirst(events).filter(isEvent).take(count).map(withoutNumber).toArray()
  }

  /** The files, the oldest first: each with its records in the order of their numbers. */
  files(): Record<Lane, string[]> {
    this.flush()
    return { events: this.#rings.events?.paths ?? [], changes: this.#rings.changes?.paths ?? [] }
  }

  /** Tells `follower` of what comes from now on; undefined where there are too many. */
  follow(follower: Follower): { close(): void } | undefined {
    if (this.#followers.size >= MOST_FOLLOWERS) return undefined
    this.#followers.add(follower)
    return { close: () => void this.#followers.delete(follower) }
  }

  /** Writes what waits. */
  flush(): void {
    this.#cancelFlush?.()
    this.#cancelFlush = undefined
    this.#waitingOctets = 0
    for (const lane of LANES) {
      const records = this.#waiting[lane].splice(0)
      if (records.length > 0) this.#write(lane, records)
    }
  }

  close(): void {
    this.#cancelSum?.()
    if (this.#floods.hasSums) this.#sum()
    this.flush()
    for (const ring of Object.values(this.#rings)) ring.close()
    this.#followers.clear()
  }

  #open(lane: Lane): SegmentRing | undefined {
    const { folder, segments = SEGMENTS } = this.#options
    try {
      const limits = { segmentOctets: SEGMENT_OCTETS, mostSegments: segments[lane] }
      this.#rings[lane] = new SegmentRing({ folder, name: lane, ...limits })
    } catch (error) {
      this.#fails(error, 0)
    }
    return this.#rings[lane]
  }

  #sum(): void {
    this.#cancelSum = undefined
    for (const { kind, cause, counts } of this.#floods.take()) {
      const message = [...counts].map(([type, count]) => `${count} ${type}`).join(', ')
      this.#keep('changes', { type: 'Summed', object: { kind, name: '*' }, reason: cause, message })
    }
  }

  #keep(lane: Lane, { object, ...rest }: Omit<Recorded, 'seq' | 'at'>, at = this.#now()): void {
    const { kind, name, namespace } = object
    const record: Recorded = {
      ...{ seq: ++this.#seq, at, type: rest.type },
      object: {
        ...{ kind, name: clean(name, LONGEST.name) },
        ...(namespace !== undefined && { namespace: clean(namespace, LONGEST.word) }),
      },
      ...{ reason: clean(rest.reason, LONGEST.word), message: clean(rest.message, LONGEST.message) },
    }
    const octets = emitRecord(JSON.stringify(record))
    this.#waiting[lane].push(octets)
    this.#waitingOctets += octets.length
    for (const follower of this.#followers) follower(record)
    if (this.#waitingOctets >= FLUSH_OCTETS) this.flush()
    else this.#cancelFlush ??= this.#options.clock.after(FLUSH_MS, () => this.flush())
  }

  #now(): string {
    return new Date(Math.round(this.#options.clock.wallMs())).toISOString()
  }

  #write(lane: Lane, records: readonly Buffer[]): void {
    this.#options.check?.()
    const ring = this.#rings[lane] ?? this.#open(lane)
    try {
      if (ring === undefined || !this.#hasRoom()) this.#fails(undefined, records.length)
      else {
        ring.append(Buffer.concat(records))
        this.#wrote()
      }
    } catch (error) {
      this.#fails(error, records.length)
    }
  }

  #wrote(): void {
    const lost = this.#droppedSince
    this.#failing = false
    this.#droppedSince -= lost
    if (lost > 0) this.#tellDropped(lost)
  }

  /** The oldest of ours goes before the journal has no room. */
  #hasRoom(): boolean {
    for (;;) {
      const { bavail, bsize } = statfsSync(this.#options.folder)
      if (bavail * bsize >= LEAST_FREE_OCTETS) return true
      if (this.#rings.changes?.dropOldest() !== true && this.#rings.events?.dropOldest() !== true) return false
    }
  }

  /** Takes what the file system refused; `error` is undefined where the disk has no room. */
  #fails(error: unknown, records: number): void {
    if (error !== undefined && !(error instanceof Error && 'code' in error)) throw error
    if (!this.#failing) this.#options.log.error({ err: error }, 'events cannot be recorded; is the disk full?')
    this.#failing = true
    this.#dropped += records
    this.#droppedSince += records
  }

  #tellDropped(lost: number): void {
    const object = { kind: 'Node', name: this.#options.nodeName } as const
    const message = `${lost} records were not kept before this: the disk was full or failed`
    this.#keep('changes', { type: 'Lost', object, reason: 'recorder', message })
  }
}

function clean(text: string, longest: number): string {
  return textWithoutSecrets(text.length > longest ? `${text.slice(0, longest)}...` : text)
}

/** One of a later version is none. */
function isEvent(record: Recorded): record is Recorded & Event {
  return Object.hasOwn(EVENT_TYPES, record.type)
}

function withoutNumber({ seq: _, ...event }: Recorded & Event): Event {
  return event
}

function* newestFirst(ring: SegmentRing): Generator<Recorded, undefined> {
  for (const path of ring.paths.toReversed())
    for (const text of SegmentRing.read(path).reverse()) yield JSON.parse(text) as Recorded
}
