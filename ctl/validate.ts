// `validate`: manifests by the rules of the server, without one.
import type { Command, Context, Options } from './command.ts'
import { EXIT, type ExitCode, UsageError, worst } from './failure.ts'
import { parseManifest } from './manifest.ts'
import { refOf } from './output/columns.ts'
import { sourcesOf, targetOptions } from './targets.ts'
import { warnOfFields } from './writes.ts'

export const validateCommand: Command = {
  name: 'validate',
  summary: 'Check manifests by the rules of the server, without one; exit code 1 when something is wrong',
  arguments: [],
  options: [
    ...targetOptions,
    { flags: '-q, --quiet', summary: 'say only what is wrong, and which fields have no effect' },
  ],
  run: validate,
}

async function validate(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const namespace = typeof options['namespace'] === 'string' ? options['namespace'] : 'default'
  const codes = (await sourcesOf(options, context)).map(({ name, text }): ExitCode => {
    try {
      for (const item of parseManifest(text, name, namespace)) {
        warnOfFields(item, context)
        if (options['quiet'] !== true) context.out(`${refOf(item.kind, item.object.metadata.name)} valid\n`)
      }
      return EXIT.fine
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      context.err(`${error.message}\n`)
      return EXIT.no
    }
  })
  return worst(codes)
}
