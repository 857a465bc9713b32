// Many things in order, where one object's failure does not stop the others and the exit code is that of the worst, or some at a time.
import type { Context } from './command.ts'
import { type ExitCode, failureOf, worst } from './failure.ts'

/** Acts on each item in order and tells each failure by its title. */
export async function forEach<T>(
  items: readonly T[],
  context: Context,
  title: (item: T) => string,
  act: (item: T) => Promise<void>,
): Promise<ExitCode> {
  const codes: ExitCode[] = []
  for (const item of items)
    try {
      await act(item)
    } catch (error) {
      const { code, message } = failureOf(error, title(item))
      context.err(`${message}\n`)
      codes.push(code)
    }
  return worst(codes)
}

/** Requests that are under way at a time. */
const AT_ONCE = 16

/** Acts on the items in order, 16 at a time. Rejects as the first that does. */
export async function inTurns<T>(items: readonly T[], act: (item: T, i: number) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += AT_ONCE)
    await Promise.all(items.slice(at, at + AT_ONCE).map((item, i) => act(item, at + i)))
}
