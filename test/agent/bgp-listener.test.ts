// A BGP port that cannot be had: it is told with who has it, tried again, and works when it is free.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import test from 'ava'
import { Routing } from '../../agent/routing.ts'
import { SessionLog } from '../../agent/status/session-log.ts'
import type { Transport } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { portHolder } from '../../kernel/port-holder.ts'
import * as sockets from '../../kernel/sockopt.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { settle } from '../bgp/settle.ts'

const IPV4 = '192.0.2.11'
const IPV6 = '2001:db8::11'

/** A node's routing on a host where `taken` names the addresses that the system refuses, and with which code. */
function aRouting(taken: Map<string, string>) {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const host = network.host(IPV4)
  const transport: Transport = {
    dial: (options, signal) => host.dial(options, signal),
    listen: async (options, accept) => {
      const code = taken.get(options.address)
      if (code !== undefined) throw Object.assign(new Error(`${code}: bird (process 812) listens there`), { code })
      return host.listen(options, accept)
    },
  }
  const routing = new Routing({
    ...{ transport, clock, log: silentLog, nodeName: 'n1', sessions: new SessionLog({ clock, log: silentLog }) },
    ...{ capabilities: { ipip: false, vxlan: true }, restarting: false },
    ...{ learned: () => undefined, settled: async () => {}, converged: () => undefined },
  })
  const identify = (port = 179) =>
    routing.identify({ asn: 64512, port, routerId: IPV4, address: IPV4, ipv6Address: IPV6 })
  const pass = async (ms: number) => {
    clock.advance(ms)
    await settle(4)
  }
  return { network, clock, routing, identify, pass, listening: () => [...network.listeners.keys()] }
}

test('a BGP port that another program has is told with its name, and taken by itself within seconds after it is free', async t => {
  const taken = new Map([[IPV4, 'EADDRINUSE']])
  const { routing, identify, pass, listening } = aRouting(taken)
  t.teardown(() => routing.close())
  await identify()
  t.deepEqual(listening(), [`${IPV6} 179`], 'the other family listens')
  const [condition, ...more] = routing.refused()
  t.deepEqual(more, [])
  t.like(condition, {
    ...{ type: 'SessionsAccepted', status: 'False', reason: 'PortInUse' },
    object: { kind: 'Address', name: `${IPV4}:179` },
  })
  t.regex(condition?.message ?? '', /bird \(process 812\) listens there/)
  t.regex(condition?.remedy ?? '', /stop the program .* or set another listenPort/)
  for (let i = 0; i < 20; i++) await pass(5_000)
  t.is(routing.refused().length, 1)
  taken.clear()
  await pass(5_000)
  t.deepEqual(listening().sort(), [`${IPV4} 179`, `${IPV6} 179`])
  t.deepEqual(routing.refused(), [])
})

test('another listenPort cures a port that is in use at once, and an old port is not tried again', async t => {
  const taken = new Map([[IPV4, 'EADDRINUSE']])
  const { routing, identify, pass, listening } = aRouting(taken)
  t.teardown(() => routing.close())
  await identify()
  taken.clear()
  await identify(1179)
  t.deepEqual(routing.refused(), [])
  for (let i = 0; i < 4; i++) await pass(5_000)
  t.deepEqual(listening().sort(), [`${IPV4} 1179`, `${IPV6} 1179`])
})

test('each cause has its own remedy, and nothing is tried again after the end', async t => {
  const taken = new Map([
    [IPV4, 'EACCES'],
    [IPV6, 'EADDRNOTAVAIL'],
  ])
  const { routing, identify, pass, clock, listening } = aRouting(taken)
  await identify()
  t.deepEqual(
    routing.refused().map(({ reason }) => reason),
    ['Forbidden', 'NoSuchAddress'],
  )
  t.is(new Set(routing.refused().map(({ remedy }) => remedy)).size, 2)
  await routing.close()
  taken.clear()
  await pass(10_000)
  t.deepEqual(listening(), [])
  t.is(clock.pending, 0)
})

test('another port, and the end, wait for no connection that came over the old port', async t => {
  const clock = new ManualClock()
  const routing = new Routing({
    ...{ transport: new TcpTransport(), clock, log: silentLog, nodeName: 'n1' },
    ...{ sessions: new SessionLog({ clock, log: silentLog }), capabilities: { ipip: false, vxlan: true } },
    ...{ restarting: false, learned: () => undefined, settled: async () => {}, converged: () => undefined },
  })
  const [first, second] = [await freePort(), await freePort()]
  const identify = (port: number) => routing.identify({ asn: 64512, port, routerId: '127.0.0.1', address: '127.0.0.1' })
  for (const port of [first, second]) {
    await identify(port)
    const peer = { name: 'p', address: '127.0.0.1', port: 179, asn: 64512, passive: true }
    routing.change([{ key: '127.0.0.1', peer, origin: 'mesh' }])
    const socket = connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    await once(socket, 'data')
  }
  await routing.close()
  t.pass()
})

test('a node listens at its own address alone, or everywhere where it is told so, and a change of that ends no session', async t => {
  const clock = new ManualClock()
  const routing = new Routing({
    ...{ transport: new TcpTransport({ ...sockets, portHolder }), clock, log: silentLog, nodeName: 'n1' },
    ...{ sessions: new SessionLog({ clock, log: silentLog }), capabilities: { ipip: false, vxlan: true } },
    ...{ restarting: false, learned: () => undefined, settled: async () => {}, converged: () => undefined },
  })
  t.teardown(() => routing.close())
  const port = await freePort()
  const identity = { asn: 64512, port, routerId: '127.0.0.1', address: '127.0.0.1' }
  const answers = async (address: string) => {
    const socket = connect(port, address)
    t.teardown(() => socket.destroy())
    const code = await new Promise<string>(resolve => {
      socket.once('connect', () => resolve('connects'))
      socket.once('error', error => resolve(String(Reflect.get(error, 'code'))))
    })
    return { socket, code }
  }
  await routing.identify(identity)
  const peer = { name: 'p', address: '127.0.0.1', port: 179, asn: 64512, passive: true }
  routing.change([{ key: '127.0.0.1', peer, origin: 'mesh' }])
  const { socket } = await answers('127.0.0.1')
  await once(socket, 'data')
  let ended = false
  socket.once('close', () => {
    ended = true
  })
  t.is((await answers('127.0.0.2')).code, 'ECONNREFUSED')
  for (const listensEverywhere of [true, false]) {
    await routing.identify({ ...identity, listensEverywhere })
    t.deepEqual(routing.refused(), [], 'the port is free for its next place')
    t.is((await answers('127.0.0.2')).code, listensEverywhere ? 'connects' : 'ECONNREFUSED')
  }
  t.false(ended)
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}

test('the system’s refusal of a port names the program that listens there, also on every address', async t => {
  for (const address of ['127.0.0.1', '0.0.0.0']) {
    const server = createServer().listen(0, address)
    await new Promise(resolve => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    const transport = new TcpTransport({ ...sockets, portHolder })
    const error = await t.throwsAsync(transport.listen({ address: '127.0.0.1', port }, () => undefined))
    t.is(Reflect.get(error, 'code'), 'EADDRINUSE')
    t.regex(error.message, new RegExp(`: .+ \\(process ${process.pid}\\) listens there$`))
    await new Promise(resolve => server.close(resolve))
    t.is(await portHolder(port), undefined)
  }
})
