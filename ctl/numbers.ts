// Options whose value is a number.
import type { Options } from './command.ts'
import { UsageError } from './failure.ts'

/** The value of `--name`. Throws UsageError unless it is a whole number from `least` to `most`, in digits. */
export function wholeNumberOf(options: Options, name: string, least: number, most: number): number {
  const text = String(options[name])
  if (/^\d{1,9}$/.test(text) && Number(text) >= least && Number(text) <= most) return Number(text)
  throw new UsageError(`--${name} ${text}: give a whole number from ${least} to ${most}`)
}
