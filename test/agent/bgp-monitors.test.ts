// Which BMP collectors go on and which are dialled again when the configuration changes.
import test from 'ava'
import { BgpMonitors } from '../../agent/bgp-monitors.ts'
import type { BgpConnection } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

const turns = async () => {
  for (let i = 0; i < 10; i++) await new Promise(setImmediate)
}

test('an entry that changed is dialled anew, one that did not goes on, and one that is gone ends', async t => {
  const clock = new ManualClock()
  const network = new MemoryNetwork()
  const transport = network.host('192.0.2.1')
  const speaker = new Speaker({ asn: 65001, routerId: '192.0.2.1' }, { transport, clock, log: silentLog })
  t.teardown(() => speaker.close())
  const ended: string[] = []
  for (const name of ['11', '12', '13']) {
    const station = network.host(`192.0.2.${name}`)
    const accept = (connection: BgpConnection) => {
      connection.handlers = { data: () => undefined, drain: () => undefined, closed: () => void ended.push(name) }
    }
    await station.listen({ address: `192.0.2.${name}`, port: 5000 }, accept)
  }
  const monitors = new BgpMonitors({ speaker, transport, clock, log: silentLog })
  const entry = (name: string, more: { statsSeconds?: number } = {}) => ({
    collector: `192.0.2.${name}`,
    port: 5000,
    ...more,
  })
  const dialled = () => network.dials.splice(0).map(dial => dial.split('.').at(-1))
  const followed = () =>
    monitors
      .status()
      .map(({ collector }) => collector)
      .sort()

  monitors.want([entry('11'), entry('12')])
  await turns()
  t.deepEqual(dialled(), ['11', '12'])

  monitors.want([entry('13'), entry('12', { statsSeconds: 5 }), entry('11')])
  await turns()
  t.deepEqual(dialled(), ['13', '12'])
  t.deepEqual(ended.splice(0), ['12'])
  t.deepEqual(followed(), ['192.0.2.11 port 5000', '192.0.2.12 port 5000', '192.0.2.13 port 5000'])

  monitors.want([entry('11')])
  await turns()
  t.deepEqual(dialled(), [])
  t.deepEqual(ended.splice(0).sort(), ['12', '13'])

  monitors.close()
  await turns()
  t.deepEqual(ended, ['11'])
  t.deepEqual(followed(), [])
  t.is(clock.pending, 0)
})

test('a collector that does not answer is dialled again and again, and the program goes on', async t => {
  const clock = new ManualClock()
  const network = new MemoryNetwork()
  const transport = network.host('192.0.2.1')
  const speaker = new Speaker({ asn: 65001, routerId: '192.0.2.1' }, { transport, clock, log: silentLog })
  t.teardown(() => speaker.close())
  const monitors = new BgpMonitors({ speaker, transport, clock, log: silentLog })
  monitors.want([{ collector: '192.0.2.11', port: 5000, retrySeconds: 1, maxRetrySeconds: 1 }])
  for (let times = 1; times <= 3; times++) {
    await turns()
    t.is(network.dials.length, times)
    t.like(monitors.status()[0], { state: 'waiting' })
    clock.advance(1000)
  }
  monitors.close()
})
