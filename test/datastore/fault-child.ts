// Watches a server with a fault in this program's own code, named by the argument, and says whether it lives on.
import { startWatch } from '../../datastore/watch.ts'
import { ManualClock } from '../../lib/clock.ts'

const [fault = ''] = process.argv.slice(2)
const bug = (): never => {
  throw new TypeError(`a fault in ${fault}`)
}
const clock = new ManualClock()
startWatch<object>(
  {
    fields: true as const,
    list: async () => (fault === 'list' ? bug() : { items: [], resourceVersion: '1' }),
    open: async () => ({
      destroy() {},
      async each(take) {
        take(Buffer.from('{"type":"ADDED","object":{"metadata":{"resourceVersion":"2"}}}\n'))
        await new Promise(setImmediate)
      },
    }),
    read: (_object, type) => (fault === 'read' ? bug() : { type, item: {} }),
  },
  { event: event => (fault === 'event' && event.type === 'set' ? bug() : undefined) },
  { clock, idleMs: 1000 },
)
for (let i = 0; i < 10; i++) {
  await new Promise(setImmediate)
  clock.advance(10_000)
}
console.log('lives on')
process.exit(0)
