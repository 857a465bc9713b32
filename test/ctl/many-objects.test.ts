// Commands on more objects than a call of a function may have arguments.
import test from 'ava'
import { kindProblems } from '../../api/shapes/check.ts'
import type { Command, Context, Options } from '../../ctl/command.ts'
import { datastoreCommands } from '../../ctl/datastore.ts'
import { getCommand } from '../../ctl/get.ts'

const MANY = 130_000
const object = { metadata: { name: 'a', labels: { a: 'b' } }, spec: {} }
const objects = Array.from({ length: MANY }, () => object)

/** What a command prints where the server has so many GlobalNetworkSets. */
async function printed(command: Command, words: readonly string[], options: Options): Promise<string> {
  let text = ''
  const list = async (kind: string) => (kind === 'GlobalNetworkSet' ? objects : [])
  const server = { list, listWhole: list }
  const context = {
    ...{ objects: async () => server, namespace: async () => 'default', err: () => {}, note: () => {} },
    out: (more: string) => {
      text += more
    },
  } as unknown as Context
  await command.run(words, options, context)
  return text
}

test(`get prints ${MANY} objects`, async t => {
  const text = await printed(getCommand, ['globalnetworksets'], { output: 'name' })
  t.is(text.split('\n').length, MANY + 1)
})

test(`datastore export prints ${MANY} objects`, async t => {
  const [command] = datastoreCommands
  t.is(JSON.parse(await printed(command!, [], { output: 'json' })).items.length, MANY)
})

test(`an object with ${2 * MANY} faults is refused with all of them`, t => {
  const shape = { properties: { list: { type: 'array', items: { type: 'string' } } }, type: 'object' } as const
  const spec = { list: Array.from({ length: 2 * MANY }, () => 1) }
  t.is(kindProblems({ spec: shape } as unknown as Parameters<typeof kindProblems>[0], { spec }).length, 2 * MANY)
})
