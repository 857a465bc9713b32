// `version`: which margayctl this is.
import { packageVersion } from '../lib/package-files.ts'
import { type Command, outputOption } from './command.ts'
import { EXIT } from './failure.ts'
import { type Format, renderFields, show } from './render.ts'

export const versionCommand: Command = {
  name: 'version',
  summary: 'Show the version of margayctl',
  arguments: [],
  options: [outputOption],
  async run(_words, options, context) {
    const versions = { client: packageVersion(), node: process.versions.node }
    const table = () =>
      renderFields([
        ['Client Version', versions.client],
        ['Node.js Version', versions.node],
      ])
    context.out(show(versions, options['output'] as Format, table))
    return EXIT.fine
  },
}
