// Plays faults on a lab: all pairs answer, the fault is put in, what the agents say is listened to until it is clear whether they
// name it and whether they heal it, the fault is taken out, all pairs answer again.
import { setTimeout as delay } from 'node:timers/promises'
import { explained } from '../ctl.ts'
import type { Lab } from '../lab.ts'
import { LabFailure } from '../lab-programs.ts'
import { until } from '../program.ts'
import { factsOf, putIn, takeOut } from './deeds.ts'
import { type Fault, question, type Word } from './fault.ts'
import { passes, prepare, tidyUp } from './traffic.ts'
import { isExplained, isWord, type Said, saidNow } from './words.ts'

type Judged = { right: boolean; verdict: string; code?: string; node?: string; text: string; remedy?: string }
/** `plain`: what was said before a packet was sent. */
type Explained = Judged & { by: 'facts' | 'probe'; plain?: Judged }

export type Played = {
  fault: string
  /** Why it was not played: the lab was not well before it. */
  skipped?: string
  /** From putting it in to the first failure, to the first of three passes after one, and to the word that names it. */
  brokeMs?: number
  healedMs?: number
  namedMs?: number
  named?: Said
  /** What `explain` said at the end, before it was taken out, and whether that is right. */
  explanation?: Explained
  /** All that was said, with the time. */
  said: (Said & { ms: number })[]
  /** From taking it out to all pairs answering; absent when they do not. */
  backMs?: number
  /** What is still said of it afterwards. */
  left: Said[]
}

const LOOK_MS = 200
const BREAKS_SECONDS = 5
const WATCH_SECONDS = 10
/** Words come after the traffic: so long it is listened to when the product has healed the fault. */
const HEALED_MS = 4000
const PASSES_HEALED = 3
const WELL_MS = 40_000
const PASSES_MS = 5000
/** A condition goes when what it is about is gone, not at once. */
const LEFT_MS = 10_000

export async function play(lab: Lab, fault: Fault): Promise<Played> {
  const { breaks } = fault
  const row: Played = { fault: `${fault.number}-${fault.name}`, said: [], left: [] }
  await prepare(lab, breaks)
  try {
    if (!(await until(() => allAnswer(lab), WELL_MS, LOOK_MS)))
      return { ...row, skipped: 'pairs did not answer before it' }
    if (!(await until(() => passes(lab, breaks), PASSES_MS, LOOK_MS)))
      return { ...row, skipped: 'what it breaks did not work before it' }
    const since = new Date().toISOString()
    const begin = { since, before: await saidNow(lab, since), startMs: performance.now() }
    const facts = await factsOf(lab)
    await putIn(lab, fault, facts)
    const ended = new AbortController()
    const listening = listen(lab, fault.named(facts), row, begin, ended.signal)
    await watch(lab, fault, row, begin.startMs)
    row.explanation = await explain(lab, fault, fault.named(facts), since)
    ended.abort()
    await listening
    await takeOut(lab, fault.name)
    await recover(lab, fault, row, begin.before)
    return row
  } finally {
    await takeOut(lab, fault.name)
    await tidyUp(lab, breaks)
  }
}

type Begin = { before: readonly Said[]; since: string; startMs: number }

/** Writes into the row what is said that was not said before, until the signal. */
async function listen(
  lab: Lab,
  words: readonly Word[],
  row: Played,
  { before, since, startMs }: Begin,
  ended: AbortSignal,
): Promise<void> {
  const seen = new Set(before.map(keyOf))
  while (!ended.aborted) {
    const now = await saidNow(lab, since)
    const ms = Math.round(performance.now() - startMs)
    for (const said of now.filter(each => !seen.has(keyOf(each)))) {
      seen.add(keyOf(said))
      row.said.push({ ...said, ms })
      if (row.named === undefined && words.some(word => isWord(word, said)))
        Object.assign(row, { named: said, namedMs: ms })
    }
    await delay(LOOK_MS)
  }
}

/** Tries what the fault breaks, and writes into the row when it broke and when the product healed it. */
async function watch(lab: Lab, fault: Fault, row: Played, startMs: number): Promise<void> {
  const { breaksWithinSeconds = BREAKS_SECONDS, watchSeconds = WATCH_SECONDS } = fault
  const passed = () => Math.round(performance.now() - startMs)
  for (let inRow = 0; ; await delay(LOOK_MS)) {
    const triedMs = passed()
    if (await passes(lab, fault.breaks)) {
      inRow++
      if (row.brokeMs !== undefined && inRow === 1) row.healedMs = passed()
    } else {
      inRow = 0
      row.brokeMs ??= triedMs
      row.healedMs = undefined
    }
    const { brokeMs, healedMs } = row
    if (healedMs !== undefined && inRow >= PASSES_HEALED && passed() > healedMs + HEALED_MS) return
    if (passed() > (brokeMs === undefined ? breaksWithinSeconds * 1000 : brokeMs + watchSeconds * 1000)) return
  }
}

/** Without a packet first, since that is what people ask; with one where that does not name it. */
async function explain(lab: Lab, fault: Fault, words: readonly Word[], since: string): Promise<Explained> {
  const asked = question(fault.breaks)
  const plain = await judged(lab, fault, words, since, asked)
  if (plain.right || asked.length === 1) return { ...plain, by: 'facts' }
  return { ...(await judged(lab, fault, words, since, [...asked, '--probe'])), by: 'probe', plain }
}

async function judged(
  lab: Lab,
  fault: Fault,
  words: readonly Word[],
  since: string,
  asked: readonly string[],
): Promise<Judged> {
  try {
    const found = await explained(lab, asked)
    const { verdict, first, notes } = found
    const told = notes.filter(({ at = since }) => at >= since).map(({ node, text }) => `${node}: ${text}`)
    const text = first?.message ?? told.join('; ')
    const { code, node, remedy } = first ?? {}
    return { right: isExplained(fault, words, found, since), verdict, code, node, text, remedy }
  } catch (error) {
    if (!(error instanceof LabFailure)) throw error
    return { right: false, verdict: 'failed', text: error.message }
  }
}

async function recover(lab: Lab, fault: Fault, row: Played, before: readonly Said[]): Promise<void> {
  const startMs = performance.now()
  const isWell = async () => (await allAnswer(lab)) && (await passes(lab, fault.breaks))
  if (await until(isWell, WELL_MS, LOOK_MS)) row.backMs = Math.round(performance.now() - startMs)
  const old = new Set(before.map(keyOf))
  // an agent that was started again needs its time to say what it said before
  await until(
    async () => {
      const now = await saidNow(lab, new Date().toISOString())
      row.left = now.filter(said => !old.has(keyOf(said)))
      const again = new Set(now.map(keyOf))
      return row.left.length === 0 && before.every(said => again.has(keyOf(said)))
    },
    LEFT_MS,
    LOOK_MS,
  )
}

async function allAnswer(lab: Lab): Promise<boolean> {
  return (await lab.pingPairs()).every(({ ms }) => ms !== undefined)
}

const keyOf = ({ at, of, type, reason, object, message }: Said): string =>
  [at, of, type, reason, object?.kind, object?.name, of === 'event' ? message : ''].join('\0')
