// One object's failure does not stop the others; the exit code is that of the worst.
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
