// `version`: which margayctl this is.
import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { type Command, outputOption } from './command.ts'
import { EXIT } from './failure.ts'
import { type Format, renderFields, show } from './render.ts'

const PACKAGE = new URL('../package.json', import.meta.url)

export const versionCommand: Command = {
  name: 'version',
  summary: 'Show the version of margayctl',
  arguments: [],
  options: [outputOption],
  async run(_words, options, context) {
    const { version } = z.object({ version: z.string() }).parse(JSON.parse(await readFile(PACKAGE, 'utf8')))
    const versions = { client: version, node: process.versions.node }
    const table = () =>
      renderFields([
        ['Client Version', version],
        ['Node.js Version', versions.node],
      ])
    context.out(show(versions, options['output'] as Format, table))
    return EXIT.fine
  },
}
