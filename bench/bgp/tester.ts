// The tester process: `node tester.ts SCENARIO PID SIZES DIARY` runs one scenario against the daemon PID and prints one line
// of JSON: what was measured, and the processor seconds that the tester itself used for it. SCENARIO `alone` measures
// the tester itself: its feeder sends straight to its receiver.
import { once } from 'node:events'
import { createServer } from 'node:net'
import { emitKeepalive } from '../../bgp/wire/message.ts'
import { emitOpen } from '../../bgp/wire/open.ts'
import { Writer } from '../../lib/bytes.ts'
import { place } from './places.ts'
import { type Measured, SCENARIOS, type ScenarioName, type Sizes } from './scenarios.ts'
import { announcements } from './streams.ts'
import { TestPeer } from './test-peer.ts'

/** What one run prints. */
export type TesterReport = { measured: Measured; testerCpu: number; aloneSeconds?: number }

/** Seconds from the feeder's first octet until the receiver has all, over one connection. */
async function alone(routes: number): Promise<number> {
  const input = announcements(place(0), { first: 0, count: routes })
  const { address, asn } = place(0)
  using server = disposable(createServer({ noDelay: true }))
  server.it.listen(179, address)
  await once(server.it, 'listening')
  const receiver = new TestPeer({
    place: place(1),
    daemon: { address, asn, port: 179 },
    holdSeconds: 90,
    prefixes: routes,
  })
  const up = receiver.establish()
  const [socket] = await once(server.it, 'connection')
  const hello = new Writer(200)
  emitOpen(hello, { asn, holdTime: 90, routerId: 1, capabilities: [] })
  emitKeepalive(hello)
  socket.write(hello.done())
  await up
  const fromMs = performance.now()
  const { promise, resolve } = Promise.withResolvers<void>()
  receiver.onUpdates = () => {
    if (receiver.held.count === routes) resolve()
  }
  for (const chunk of input) if (!socket.write(chunk)) await once(socket, 'drain')
  await promise
  const seconds = (performance.now() - fromMs) / 1000
  receiver.close()
  return seconds
}

function disposable<T extends { close(): unknown }>(it: T): { it: T; [Symbol.dispose](): void } {
  return { it, [Symbol.dispose]: () => void it.close() }
}

const [name = '', pid = '', sizesText = '{}', diary = ''] = process.argv.slice(2)
const sizes = JSON.parse(sizesText) as Sizes
const report: TesterReport = { measured: {}, testerCpu: 0 }
if (name === 'alone') report.aloneSeconds = await alone(sizes.routes)
else report.measured = await SCENARIOS[name as ScenarioName].run(Number(pid), sizes, diary)
const { user, system } = process.cpuUsage()
report.testerCpu = (user + system) / 1e6
process.stdout.write(`${JSON.stringify(report)}\n`)
process.exit(0)
