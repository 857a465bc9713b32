// Copies of packets become flows: named, put together, bounded, and told over the agent's socket to margayctl.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { FlowEnds } from '../../../agent/flows/ends.ts'
import { Flows } from '../../../agent/flows/flows.ts'
import { agentRoutes } from '../../../agent/socket/routes.ts'
import { serveSocket } from '../../../agent/socket/server.ts'
import { type FlowLine, flow } from '../../../api/answers.ts'
import type { Condition } from '../../../api/status.ts'
import { FakeWorld } from '../../../kernel/fake/world.ts'
import type { NflogPacket } from '../../../kernel/port/nflog.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'
import { beginHere, runHere } from '../../ctl/run.ts'
import { programUnderTest } from '../../program-file.ts'
import { tcp4 } from './packets.ts'

const GROUP = 80
const WEB = '10.244.0.7'
const DB = '10.244.1.9'
const SECRET = '203.0.113.9'

function aPacket(prefix: string, payload: Buffer): NflogPacket {
  return { family: 'ipv4', prefix, hook: 'forward', payload }
}
const denied = (port = 5432, by = 'NetworkPolicy shop/db ingress 2 deny') =>
  aPacket(by, tcp4({ source: WEB, destination: DB }, [40000, port]))

function started(world = new FakeWorld()) {
  const clock = new ManualClock()
  const ends = new FlowEnds()
  ends.set('endpoint', 'shop/web', { kind: 'pod', labels: {}, addresses: [WEB], ports: [] })
  ends.set('endpoint', 'data/db', { kind: 'pod', labels: {}, addresses: [DB], ports: [] })
  const reported: (readonly Condition[])[] = []
  const flows = new Flows({
    ...{ kernel: world.kernel(), clock, ends, nodeName: 'n1', hostEndpointAt: () => undefined },
    policyNamed: policy => (policy.includes('shop/db') ? { policy, tier: 'security' } : undefined),
    report: conditions => reported.push(conditions),
  })
  flows.start()
  return { world, clock, flows, reported }
}

/** What a follower hears until it has heard `count` lines. */
function heard(flows: Flows, count: number): Promise<FlowLine[]> {
  const lines: FlowLine[] = []
  return new Promise(resolve => {
    const following = flows.follow(line => {
      if (lines.push(line) < count) return
      following?.close()
      resolve(lines)
    })
  })
}

test('a packet that was denied names both pods, the policy, its tier and rule', async t => {
  const { world, flows } = started()
  const told = heard(flows, 1)
  world.log(GROUP, [denied()])
  const [line] = await told
  t.like(line, {
    flow: {
      ...{ verdict: 'deny', direction: 'ingress', protocol: 'tcp', destinationPort: 5432, packets: 1 },
      source: { address: WEB, kind: 'Pod', namespace: 'shop', name: 'web' },
      destination: { address: DB, kind: 'Pod', namespace: 'data', name: 'db' },
      ...{ policy: 'NetworkPolicy shop/db', tier: 'security', rule: 2 },
    },
  })
})

test('what tiers, profiles, staged policies and rules of a later version do has a verdict of its own', async t => {
  const { world, flows } = started()
  const texts = {
    'tier default egress deny': { verdict: 'deny', tier: 'default' },
    'no profile ingress deny': { verdict: 'deny', direction: 'ingress' },
    'GlobalNetworkPolicy audit egress 0 log': { verdict: 'log', policy: 'GlobalNetworkPolicy audit', rule: 0 },
    'staged StagedNetworkPolicy shop/new ingress 1 deny': { verdict: 'staged-deny', rule: 1 },
    'staged StagedNetworkPolicy shop/new ingress unmatched': { verdict: 'staged-unmatched', rule: undefined },
    'Profile kns.shop ingress 0 deny': { verdict: 'deny', profile: 'kns.shop', rule: 0 },
    'of a later version': { verdict: 'log', direction: undefined },
  }
  const told = heard(flows, Object.keys(texts).length)
  world.log(
    GROUP,
    Object.keys(texts).map(text => denied(80, text)),
  )
  for (const line of await told) {
    t.true('flow' in line)
    if ('flow' in line) t.like(line.flow, texts[line.flow.because as keyof typeof texts])
  }
})

test('packets of one flow are one record, which is told again after ten seconds and is another one after a minute of rest', async t => {
  const { world, clock, flows } = started()
  const step = async (seconds: number, packets: readonly NflogPacket[]) => {
    const told: FlowLine[] = []
    const following = flows.follow(line => void told.push(line))
    clock.advance(seconds * 1000)
    world.log(GROUP, packets)
    await new Promise(resolve => setImmediate(() => setImmediate(resolve)))
    following!.close()
    return told.map(line => ('flow' in line ? line.flow.packets : line.lost))
  }
  t.deepEqual(await step(0, [denied(), denied()]), [1])
  t.deepEqual(await step(9, [denied()]), [])
  t.deepEqual(await step(1, [denied(), denied(80)]), [4, 1])
  t.deepEqual(await step(60, [denied()]), [1])
  t.deepEqual(
    flows.last(10).map(({ packets, destinationPort }) => [packets, destinationPort]),
    [
      [4, 5432],
      [1, 80],
      [1, 5432],
    ],
  )
})

test.serial(
  'a flood is bounded: 10,000 flows are kept, the newest, and what was dropped before is counted',
  async t => {
    const { world, flows } = started()
    const told = heard(flows, 12_001)
    world.log(
      GROUP,
      Array.from({ length: 12_000 }, (_, port) => denied(port)),
      { lost: 500 },
    )
    t.deepEqual((await told)[0], { lost: 500 })
    t.is(flows.lost, 500)
    const kept = flows.last(10_000)
    t.is(flows.last(20_000).length, 10_000)
    t.deepEqual([kept[0]!.destinationPort, kept.at(-1)!.destinationPort], [2000, 11_999])
    for (let i = 0; i < 16; i++) t.truthy(flows.follow(() => {}))
    t.is(
      flows.follow(() => {}),
      undefined,
    )
  },
)

test('a group that another program reads is told with the remedy, and asking tries again', t => {
  const world = new FakeWorld()
  const options = { group: GROUP, copyOctets: 1, batch: 1, batchMs: 10, queueOctets: 1, received() {}, lost() {} }
  const other = world.kernel().nflog(options)
  const { flows, reported } = started(world)
  t.like(reported.at(-1)![0], { type: 'FlowsTold', reason: 'GroupTaken' })
  other.close()
  t.deepEqual(flows.last(1), [])
  t.deepEqual(reported.at(-1), [])
  flows.close()
  t.notThrows(() => world.kernel().nflog(options).close())
})

async function served(t: ExecutionContext) {
  const it = started()
  const dir = mkdtempSync(join(tmpdir(), 'margay-flows-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'agent.sock')
  const routes = agentRoutes({ flows: it.flows } as unknown as Parameters<typeof agentRoutes>[0])
  const socket = await serveSocket(path, routes, silentLog)
  t.teardown(() => socket.close(0))
  return { ...it, socket: ['--socket', path] }
}

test('margayctl flows shows them in a table, of one namespace or one verdict where asked', async t => {
  const { world, flows, socket } = await served(t)
  const told = heard(flows, 2)
  const outside = tcp4({ source: WEB, destination: SECRET }, [1, 443])
  world.log(GROUP, [denied(), aPacket('GlobalNetworkPolicy audit egress 0 log', outside)])
  await told
  const { code, out } = await runHere(['flows', ...socket])
  t.is(code, 0)
  t.regex(
    out,
    /deny +ingress +shop\/web \(10.244.0.7\) +data\/db \(10.244.1.9\) +tcp 5432 +1 +NetworkPolicy shop\/db, rule 2, tier security/,
  )
  t.regex(out, /log +egress +shop\/web \(10.244.0.7\) +203.0.113.9 +tcp 443 +1 +GlobalNetworkPolicy audit, rule 0/)
  const counted = async (...words: string[]) => {
    const { out } = await runHere(['flows', ...words, ...socket, '-o', 'json'])
    return (JSON.parse(out) as { flows: unknown[] }).flows.length
  }
  t.is(await counted(), 2)
  t.is(await counted('-n', 'shop'), 2)
  t.is(await counted('-n', 'data'), 1)
  t.is(await counted('--verdict', 'log'), 1)
  t.is(await counted('--verdict', 'staged'), 0)
  t.is(await counted('--count', '1'), 1)
})

test('margayctl flows --follow prints each flow when it comes and what was lost, until it is interrupted', async t => {
  const { world, flows, socket } = await served(t)
  const running = beginHere(['flows', '--follow', '--verdict', 'deny', '-o', 'json', ...socket])
  await new Promise<void>(resolve => {
    const look = () => (flows.followed > 0 ? resolve() : void setImmediate(look))
    look()
  })
  const told = heard(flows, 3)
  world.log(GROUP, [denied(1, 'GlobalNetworkPolicy audit egress 0 log'), denied()], { lost: 3 })
  const [, , last] = await told
  t.true(last !== undefined && 'flow' in last)
  if (last !== undefined && 'flow' in last) await running.printed(`${JSON.stringify(flow.parse(last.flow))}\n`)
  running.interrupt()
  t.like(await running.ended, { code: 0, err: '3 packets are told nowhere: there were too many.\n' })
})

/** As many flows, each of another port and source, that policies deny. */
function flood(world: FakeWorld, count: number, first = 0): void {
  for (let from = first; from < first + count; from += 1000) {
    const packets = Array.from({ length: 1000 }, (_, i) => {
      const source = `10.${100 + ((from + i) >> 16)}.${((from + i) >> 8) & 255}.${(from + i) & 255}`
      return aPacket('NetworkPolicy shop/db ingress 2 deny', tcp4({ source, destination: DB }, [40000, 5432]))
    })
    world.log(GROUP, packets)
  }
}

test.serial(
  'a follower that does not read keeps no more than some hundred flows waiting in the agent, and is told of the others',
  async t => {
    const { world, flows, socket } = await served(t)
    const response = await new Promise<IncomingMessage>(resolve =>
      get({ socketPath: socket[1]!, path: '/flows?follow' }, resolve),
    )
    response.pause()
    flood(world, 100_000)
    await new Promise(resolve => setImmediate(resolve))

    // who reads again gets what waited, then how many were not kept, then what comes
    response.setEncoding('utf8')
    let text = ''
    response.on('data', (piece: string) => {
      text += piece
    })
    response.resume()
    let after = 0
    while (!text.includes('"last one"')) {
      world.log(GROUP, [denied(++after, 'last one')])
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    const lines = text
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as FlowLine)
    const lost = lines.reduce((sum, line) => sum + ('lost' in line ? line.lost : 0), 0)
    const told = lines.filter(line => 'flow' in line).length
    t.true(told < 20_000 && lost > 80_000, `${told} told, ${lost} not`)
    t.true(told + lost > 100_000 && told + lost <= 100_000 + after)
    t.true(text.length < 3 * 1024 * 1024, `${text.length} octets had waited`)
    response.destroy()
    await new Promise<void>(resolve => {
      const look = () => (flows.followed === 0 ? resolve() : void setImmediate(look))
      look()
    })
  },
)

test.serial(
  'margayctl flows --follow whose output nobody reads does not grow, and says how many flows it left out',
  async t => {
    const { world, flows, socket } = await served(t)
    const child = spawn(process.execPath, [programUnderTest('ctl/main'), 'flows', '--follow', '-o', 'json', ...socket])
    t.teardown(() => child.kill('SIGKILL'))
    child.stdout.pause()
    await new Promise<void>(resolve => {
      const look = () => (flows.followed > 0 ? resolve() : void setTimeout(look, 20))
      look()
    })
    const memoryKiB = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))![1])
    // the agent hands on what the program takes
    const some = async (round: number) => {
      flood(world, 1000, 1000 * round)
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    for (let i = 0; i < 40; i++) await some(i)
    const before = memoryKiB()
    for (let i = 40; i < 300; i++) await some(i)
    const grownMiB = (memoryKiB() - before) / 1024
    t.log(`${grownMiB.toFixed(1)} MiB more after 260,000 more flows`)
    t.true(grownMiB < 40, `${grownMiB} MiB`)
    let said = ''
    child.stderr.on('data', piece => {
      said += piece
    })
    child.stdout.resume()
    child.kill('SIGINT')
    const [code] = (await once(child, 'close')) as [number]
    t.is(code, 0)
    t.regex(said, /^\d+ flows are not shown: whoever reads this does not keep up\.$/m)
  },
)

test('what another machine starts to follow prints lines of JSON, losses too, and ends with its standard input', async t => {
  const { world, flows, socket } = await served(t)
  const running = beginHere(['__flows', '--follow', '--verdict', 'log', ...socket])
  await new Promise<void>(resolve => {
    const look = () => (flows.followed > 0 ? resolve() : void setImmediate(look))
    look()
  })
  world.log(GROUP, [denied()], { lost: 3 })
  await running.printed(`${JSON.stringify({ lost: 3 })}\n`)
  running.endInput()
  t.like(await running.ended, { code: 0, err: '' })
})
