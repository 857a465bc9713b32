// A node that answers one verb, and is killed before one of the changes that it makes, or ends by itself. Arguments: the node's
// namespace, its journal, after how many changes, the verb and what it is called with, as JSON.
import { call } from './host.ts'
import { aRealHost } from './real-world.ts'
import { settled } from './sound.ts'

const [netns = '', path = '', changes = '', verb = '', asked = ''] = process.argv.slice(2)
const { host, mortal } = await aRealHost(netns, path, () => process.kill(process.pid, 'SIGKILL'))
host.clock.advance(120_000) // GC takes what is older
mortal.killAfter(Number(changes))
const { exitCode, stdout } = await call(host, verb, JSON.parse(asked))
await settled(host)
console.log(JSON.stringify({ exitCode, stdout, changes: mortal.operations.length }))
process.exit()
