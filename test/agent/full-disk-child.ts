// One node whose journal lies on a small disk that is full: what ADD and DEL answer, as JSON on standard output.
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { openDataDirectory } from '../../agent/data-directory.ts'
import { added, aHost, call } from '../cni/host.ts'

const path = process.argv[2]!
const data = openDataDirectory(path, { owner: { node: 'n1' }, lost: message => process.exit(message === '' ? 0 : 3) })
const host = await aHost(data.node)
for (const id of ['a', 'b']) await added(host, id, `/run/netns/${id}`)
const fill = join(path, 'fill')
const file = openSync(fill, 'w')
try {
  for (;;) writeSync(file, Buffer.alloc(4096, 1))
} catch {
  closeSync(file) // ENOSPC
}
const answers: unknown[] = []
const note = async (verb: string, id: string) => {
  host.world.namespaces().includes(`/run/netns/${id}`) || host.world.addNetns(`/run/netns/${id}`)
  const { exitCode, stdout } = await call(host, verb, { id, netns: `/run/netns/${id}` })
  answers.push([verb, id, exitCode === 0 ? 0 : JSON.parse(stdout).code])
}
// SQLite writes into pages that its log has already until there are none left
for (let i = 0; i < 60; i++) await note('ADD', `fill${i}`)
const refused = answers.splice(0).some(answer => (answer as unknown[])[2] === 5)
for (const id of ['a', 'b']) await note('DEL', id)
const reasons = data.conditions().map(({ reason }) => reason)
rmSync(fill)
await note('ADD', 'later')
process.stdout.write(JSON.stringify({ refused, answers, reasons }))
