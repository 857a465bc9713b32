// Dispatches one CNI request; maps every error to a CNI error.
import { KernelError } from '../kernel/port/error.ts'
import { DatabaseError } from '../lib/database.ts'
import { DelegateNeeded, type DelegateWork, workFor } from './delegate-work.ts'
import type { CniDeps } from './deps.ts'
import { endpointId } from './endpoints.ts'
import { CNI_CODE, CniError, emitError } from './error.ts'
import { answerAnother } from './ipam/verbs.ts'
import type { Unpin } from './pins.ts'
import {
  type CheckRequest,
  type CniRequest,
  type DelRequest,
  type GcRequest,
  parseRequest,
  type RawRequest,
  versionOf,
  type Whose,
} from './request.ts'
import { CNI_VERSIONS, emitResult } from './result.ts'
import type { Caller } from './turn.ts'
import { addInTurn } from './verbs/add.ts'
import { check } from './verbs/check.ts'
import { del } from './verbs/del.ts'
import { type Collected, gc } from './verbs/gc.ts'
import { status } from './verbs/status.ts'
import { version } from './verbs/version.ts'

/** The plugin does what `delegate` says, unmounts what `unpin` says, prints `stdout` and exits with `exitCode`. */
export type CniAnswer = { exitCode: 0 | 1; stdout: string; delegate?: DelegateWork; unpin?: readonly Unpin[] }

/** Never rejects. `gone` resolves when nobody waits for the answer any more: an ADD that has not begun does not begin then. */
export async function handleCni(
  raw: RawRequest,
  deps: CniDeps,
  gone: Promise<unknown> = new Promise(() => undefined),
  whose: Whose = 'our',
): Promise<CniAnswer> {
  const answer = await heldAnswer(raw, deps, { octets: raw.stdin.length, gone }, whose)
  if (raw.netns !== undefined && answer.delegate !== undefined) deps.pins.expect(raw.netns)
  const unpin = MOUNTED_FOR.includes(raw.env['CNI_COMMAND'] ?? '') ? deps.pins.toRelease() : []
  return unpin.length === 0 ? answer : { ...answer, unpin }
}

/** Verbs after which a namespace may have no user any more. */
const MOUNTED_FOR = ['ADD', 'DEL', 'GC']

async function heldAnswer(raw: RawRequest, deps: CniDeps, caller: Caller, whose: Whose): Promise<CniAnswer> {
  using _ = raw.netns === undefined ? undefined : deps.pins.hold(raw.netns)
  try {
    const request = parseRequest(raw, whose)
    const done = await (whose === 'our' ? perform : answerAnother)(request, deps, caller)
    return typeof done === 'string' ? { exitCode: 0, stdout: done } : { exitCode: 0, stdout: '', delegate: done }
  } catch (error) {
    const told = asCniError(error)
    if (told.code === CNI_CODE.internal || error instanceof SuppressedError)
      deps.log.error({ err: error }, 'a CNI request failed unexpectedly')
    else if (told.code !== CNI_CODE.notReady && told.code !== CNI_CODE.limited)
      deps.log.info({ code: told.code, verb: raw.env['CNI_COMMAND'], reason: told.message }, 'a CNI request is refused')
    const asked = versionOf(raw.stdin)
    const answered = CNI_VERSIONS.includes(asked) ? asked : CNI_VERSIONS.at(-1)!
    const answer = { exitCode: 1, stdout: emitError(told, answered) } as const
    return error instanceof Incomplete ? { ...answer, delegate: error.work } : answer
  }
}

/** What is to be printed, or what the plugin has to do first. */
async function perform(request: CniRequest, deps: CniDeps, caller: Caller): Promise<string | DelegateWork> {
  switch (request.verb) {
    case 'ADD':
      try {
        return emitResult(await addInTurn(request, deps, caller), request.conf.cniVersion, request.conf.prevResult)
      } catch (error) {
        if (error instanceof DelegateNeeded) return workFor(request, deps) ?? ''
        throw error
      }
    case 'DEL':
      deps.endpoints.abandon(endpointId(request.conf.name, request))
      await underLock(request, deps, () => del(request, deps))
      return workFor(request, deps) ?? ''
    case 'CHECK':
      await underLock(request, deps, () => check(request, deps))
      return workFor(request, deps) ?? ''
    case 'GC':
      workFor(request, deps) // throws before anything is deleted that the other plugin would have to hear of
      return afterGc(request, deps, await gc(request, deps))
    case 'STATUS':
      await status(deps)
      return workFor(request, deps) ?? ''
    case 'VERSION':
      return version(request)
  }
}

/** GC failed in part: another plugin is to be told of what is deleted all the same, since the next GC does not see it. */
class Incomplete extends CniError {
  readonly work: DelegateWork
  constructor({ code, message, details }: CniError, work: DelegateWork) {
    super(code, message, details)
    this.work = work
  }
}

function afterGc(request: GcRequest, deps: CniDeps, { deleted, failure }: Collected): string | DelegateWork {
  const work = workFor(request, deps, deleted)
  if (failure === undefined) return work ?? ''
  throw work === undefined ? failure : new Incomplete(failure, work)
}

function underLock<T>(
  request: DelRequest | CheckRequest,
  { endpoints, limiter }: CniDeps,
  body: () => Promise<T>,
): Promise<T> {
  return limiter.run(endpoints.whomOf(request.conf.name, request), body)
}

function asCniError(error: unknown): CniError {
  // the clean-up failed too: the runtime is told the first error
  if (error instanceof SuppressedError) return asCniError(error.suppressed)
  if (error instanceof CniError) return error
  const { message } = error as Error
  if (error instanceof KernelError)
    return new CniError(CNI_CODE.kernel, message, "nothing was left behind; the agent's log and dmesg may say more")
  if (error instanceof DatabaseError)
    return new CniError(
      CNI_CODE.io,
      `the journal cannot be written: ${message}`,
      'check that the disk of the agent’s data directory (by default /var/lib/margay) has space and can be written',
    )
  return new CniError(
    CNI_CODE.internal,
    String(message),
    "this is a bug in Margay: please report it with the agent's log",
  )
}
