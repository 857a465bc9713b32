// How the programs of this folder take their arguments.

/** To be thrown by what reads arguments, with what is wrong with them. */
export class WrongUsage extends Error {
  override readonly name = 'WrongUsage'
}

export const HELP_OPTION = { help: { type: 'boolean', short: 'h', default: false } } as const

/**
 * What `read` makes of the arguments. Asked for help this program ends with 0 and has written `text` to stdout, and given wrong arguments
 * with 2, and has written what is wrong and `text` to stderr.
 */
export function fromArguments<T extends { help: boolean }>(text: string, read: () => T): T {
  try {
    const request = read()
    if (!request.help) return request
  } catch (error) {
    // parseArgs says what is wrong with a TypeError
    if (!(error instanceof WrongUsage || error instanceof TypeError)) throw error
    process.stderr.write(`${error.message}\n${text}`)
    process.exit(2)
  }
  process.stdout.write(text)
  process.exit(0)
}
