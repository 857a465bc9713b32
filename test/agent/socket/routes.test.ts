// What the agent's socket says, read with the schemas that margayctl reads it with.
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { openconfigNeighbors } from '../../../agent/openconfig.ts'
import { agentLevels } from '../../../agent/reporting.ts'
import { type Answering, agentRoutes } from '../../../agent/socket/routes.ts'
import { serveSocket } from '../../../agent/socket/server.ts'
import { type AgentStatus, ANSWERS, type Flow } from '../../../api/answers.ts'
import type { NodeFacts, Question } from '../../../api/explain.ts'
import { broken, type Event, kept } from '../../../api/status.ts'
import { RuleCounts } from '../../../felix/rule-counts.ts'
import { createLog, silentLog } from '../../../lib/log.ts'
import { someNumbers } from '../status/numbers.ts'

const event: Event = {
  at: '2026-07-30T12:03:04.567Z',
  type: 'Healed',
  object: { kind: 'Route', name: '10.0.0.0/26' },
  reason: 'ChangedByOther',
  message: 'put back',
}

const conditions = [
  { ...kept('PoolsKnown'), sinceMs: 1 },
  broken('BlocksReachable', { reason: 'VtepUnknown', message: 'no way', remedy: 'wait', object: event.object }),
]

const status: AgentStatus = {
  ...{ node: 'n1', address: '192.0.2.11', uplink: 'eth0', capabilities: { ipip: true, vxlan: true } },
  ...{ tunnels: { vxlan: '10.244.0.1' }, ready: true, conditions, peers: [], blocks: [], endpoints: [], learned: [] },
}

const flow: Flow = {
  ...{ first: '2026-10-01T00:00:00.000Z', last: '2026-10-01T00:00:09.000Z', packets: 3, verdict: 'deny' },
  ...{ direction: 'ingress', family: 'ipv4', protocol: 'tcp', sourcePort: 40000, destinationPort: 80 },
  source: { address: '10.244.0.7', kind: 'Pod', namespace: 'shop', name: 'web' },
  ...{ destination: { address: '192.0.2.1' }, tier: 'default', because: 'tier default ingress deny' },
}

const link = { name: 'eth0', up: true, running: true, mtu: 1500 }
const asked = { family: 'ipv4', source: '10.244.0.7', destination: '10.244.1.7', protocol: 'tcp' } as const
const QUESTION = JSON.stringify({
  packet: { ...asked, destinationPort: 80 },
  back: { ...asked, source: '10.244.1.7', destination: '10.244.0.7' },
  from: { address: '10.244.0.7', role: 'pod', node: 'n1', pod: { namespace: 'shop', name: 'web' } },
  to: { address: '10.244.1.7', role: 'pod', node: 'n2' },
})

const facts: NodeFacts = {
  ...{ node: 'n1', version: '1', atMs: 2, startedMs: 1, modelAgeMs: 0, policies: [], conditions, recent: [event] },
  endpoints: [
    {
      ...{ endpoint: 'net/c/eth0', interface: 'cali1', addresses: ['10.244.0.7'], state: 'live' },
      mismatches: { of: 'kernel', ageMs: 1, value: [] },
      mtu: { of: 'kernel', ageMs: 1, absent: 'inside /run/netns/c: ENOENT' },
    },
  ],
  ways: [
    {
      ...{ direction: 'there', from: 'pod', entersBy: { of: 'kernel', ageMs: 1, value: link } },
      lookup: { of: 'kernel', ageMs: 1, value: { errno: 'EHOSTUNREACH', message: 'look up route' } },
      plain: { of: 'kernel', ageMs: 1, absent: 'it took longer than 2 s' },
      rules: { of: 'kernel', ageMs: 1, value: [] },
      settings: { of: 'kernel', ageMs: 1, value: [{ name: 'net.ipv4.ip_forward', is: '0', wanted: '1' }] },
    },
  ],
  masqueraded: { of: 'model', ageMs: 1, value: false },
  connections: { of: 'kernel', ageMs: 1, value: [] },
  connectionTable: { of: 'kernel', ageMs: 1, value: { count: 1, most: 2 } },
  sessions: { of: 'model', ageMs: 1, value: [] },
  blocks: { of: 'model', ageMs: 1, value: [{ address: '10.244.0.7' }] },
  path: { of: 'probe', ageMs: 1, absent: 'no probes' },
  hooks: { of: 'kernel', ageMs: 1, value: [] },
}

const agent: Answering = {
  ready: () => true,
  conditions: () => conditions,
  status: () => status,
  numbers: someNumbers,
  levels: { levels: () => [{ room: 'bgp', level: 'info', from: 'option' }], request: () => undefined },
  droppedPackets: async () => new Map([['redirect', 2]]),
  ruleCounts: async () => {
    const counts = new RuleCounts()
    const comment = 'staged StagedNetworkPolicy shop/new ingress 1 deny'
    counts.takeAll([{ chain: 'to-a', handle: 1, comment, packets: 3n, bytes: 180n }])
    return counts
  },
  bfdStatus: async () => ({ scheduling: 'usual', sessions: [], dropped: { 'no-session': 1 } }),
  explain: prefix => ({ prefix, candidates: [], withheld: [] }),
  facts: async () => facts,
  paths: () => [
    {
      ...{
        node: 'n2',
        family: 'ipv4',
        address: '10.244.1.3',
        encapsulation: 'vxlan',
        state: 'lost',
        loss: 'VxlanSilent',
      },
      ...{ sinceMs: 1_700_000_000_000, lossPermille: 63, hostAnswers: true, tunnelAnswers: false, sampled: false },
    },
  ],
  openconfig: () => openconfigNeighbors(undefined),
  drained: async () => ({
    drains: true,
    peers: [{ name: 'Node_192_0_2_1', address: '192.0.2.1', told: 'sent' }],
    alone: ['10.244.0.0/26'],
  }),
  openConnections: async () => [],
  checkAddresses: async () => ({
    ...{ node: 'n1', blocks: [{ cidr: '10.244.0.0/26', sequence: '1800000000000000001' }], looked: 1, unlooked: [] },
    addresses: [{ address: '10.244.0.1', block: '10.244.0.0/26', handle: 'h', use: 'pod' as const, owner: 'shop/web' }],
    findings: [{ object: { kind: 'Link', name: 'cali1' }, fault: 'f', remedy: 'r', addresses: [] }],
  }),
  events: {
    last: count => Array(Math.min(count, 3)).fill(event),
    ...{ seq: 0, files: () => ({ events: [], changes: [] }), follow: () => undefined },
  },
  flows: { last: count => Array(Math.min(count, 3)).fill(flow), follow: () => undefined },
  tracer: { answer: async order => (order.do === 'arm' ? { armed: true } : { status: 410, error: 'no such probe' }) },
  kernelState: async function* () {
    yield { of: 'links', is: { name: 'eth0' } }
  },
  acceptCluster: async () => ({ doubt: 'its list of nodes lacks this node, n1' }),
}

async function served(t: ExecutionContext, answering: Answering = agent) {
  const dir = mkdtempSync(join(tmpdir(), 'margay-routes-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const socketPath = join(dir, 'agent.sock')
  const socket = await serveSocket(socketPath, agentRoutes(answering), silentLog)
  t.teardown(() => socket.close())
  return (path: string, method = 'GET', body?: string) =>
    new Promise<{ code: number; body: string }>((resolve, reject) => {
      request({ socketPath, path, method }, response =>
        text(response).then(body => resolve({ code: response.statusCode!, body }), reject),
      )
        .on('error', reject)
        .end(body)
    })
}

const ARM = {
  ...{ do: 'arm', marker: '00112233aabbccdd' },
  packet: { source: '10.244.0.1', destination: '10.244.1.1', protocol: 'tcp', destinationPort: 80 },
}

test('an order to follow a probe is checked before anything is done, and refused with what is wrong', async t => {
  const ask = await served(t)
  const refused = async (body: string) => {
    const { code, body: answer } = await ask('/trace', 'POST', body)
    return `${code} ${JSON.parse(answer).error}`
  }
  const packet = (change: object) => JSON.stringify({ ...ARM, packet: { ...ARM.packet, ...change } })
  t.is(await refused('{'), '400 the order is no JSON')
  t.is(await refused(' '.repeat(5000)), '400 an order has at most 4096 octets')
  t.regex(await refused('{"do":"fire"}'), /^400 do: /)
  t.regex(await refused(JSON.stringify({ ...ARM, marker: '00112233AABBCCDD' })), /^400 marker: /)
  t.is(await refused(packet({ source: '10.244.0.01' })), '400 packet.source: no address in its shortest form')
  t.is(await refused(packet({ source: 'fd00::1' })), '400 packet: addresses of two families')
  t.is(await refused(packet({ protocol: 'icmpv6' })), '400 packet: the protocol is of the other family')
  t.is(
    await refused(packet({ destinationPort: undefined })),
    '400 packet: TCP and UDP have a destination port, and nothing else has',
  )
  t.regex(await refused(packet({ length: 100_000 })), /^400 packet.length: /)
  t.is(await refused(JSON.stringify({ do: 'send', marker: ARM.marker })), '410 no such probe')
})

test('every answer is one that margayctl understands, with nothing lost', async t => {
  const ask = await served(t)
  const query: Record<string, string> = { 'GET /bgp/route': '?prefix=10.0.0.0/26' }
  const bodies: Record<string, string> = { 'POST /trace': JSON.stringify(ARM), 'POST /facts': QUESTION }
  for (const [question, schema] of Object.entries(ANSWERS['margay-node'])) {
    const [method, path] = question.split(' ') as [string, string]
    const { code, body } = await ask(`${path}${query[question] ?? ''}`, method, bodies[question])
    t.is(code, 200, question)
    t.deepEqual(schema.parse(JSON.parse(body)), JSON.parse(body), question)
  }
})

test('a question about a packet that is none, or that has no addresses, or is too long, is refused with why', async t => {
  const given: Question[] = []
  const ask = await served(t, {
    ...agent,
    facts: async question => {
      given.push(question)
      return facts
    },
  })
  const of = (change: object) => JSON.stringify({ ...JSON.parse(QUESTION), ...change })
  for (const [sent, why] of [
    ['', /no question/],
    ['{"packet"', /no question/],
    [of({ packet: { ...asked, destinationPort: 70_000 } }), /packet.destinationPort/],
    [of({ packet: { ...asked, protocol: 'sctp' } }), /packet.protocol/],
    [of({ back: { ...asked, source: '../../etc/passwd' } }), /two addresses of the family/],
    [of({ packet: { ...asked, family: 'ipv6' } }), /two addresses of the family/],
    [QUESTION.replace('shop', 'x'.repeat(300)), /from.pod.namespace/],
    [`${QUESTION}${' '.repeat(16 << 10)}`, /at most 16384 octets/],
  ] as const) {
    const { code, body } = await ask('/facts', 'POST', sent)
    t.is(code, 400, sent.slice(0, 80))
    t.regex(JSON.parse(body).error, why)
  }
  t.deepEqual(given, [])
  t.is((await ask('/facts', 'POST', QUESTION)).code, 200)
  t.deepEqual(given, [JSON.parse(QUESTION)])
  const six = { ...asked, family: 'ipv6', source: 'FD00::0001', destination: 'fd00:0::2' }
  t.is((await ask('/facts', 'POST', of({ packet: six, back: six }))).code, 200)
  t.is(given[1]?.packet.source, 'fd00::1')
  t.is(given[1]?.back.destination, 'fd00::2')
  const busy = await served(t, { ...agent, facts: async () => undefined })
  t.is((await busy('/facts', 'POST', QUESTION)).code, 503)
})

test('the status has a row for each reason for which packets are dropped', async t => {
  const { body } = await (await served(t))('/status')
  t.deepEqual(JSON.parse(body).dropped, [{ reason: 'redirect', packets: 2 }])
})

test('a rule of a policy tells whose it is, what it does and what it counted', async t => {
  const { body } = await (await served(t))('/policy-counters')
  t.deepEqual(JSON.parse(body), [
    {
      ...{ rule: 'staged StagedNetworkPolicy shop/new ingress 1 deny', policy: 'StagedNetworkPolicy shop/new' },
      ...{ direction: 'ingress', outcome: 'staged-deny', packets: 3, octets: 180 },
    },
  ])
})

test('what the recorder is asked for in other words than it knows is refused, and so is one follower too many', async t => {
  const ask = await served(t)
  for (const [query, error] of [
    ['since=yesterday', 'since: write a time like 2026-11-27T12:03:00Z'],
    ['object=Route', 'object: write KIND/NAME, like Route/10.244.1.0/26'],
    ['object=/x&follow', 'object: write KIND/NAME, like Route/10.244.1.0/26'],
  ] as const)
    t.deepEqual(await ask(`/events?${query}`), { code: 400, body: `${JSON.stringify({ error })}\n` })
  t.is((await ask('/events?follow')).code, 503)
  t.deepEqual(await ask('/events?since=2026-01-01T00:00:00Z'), { code: 200, body: '' })
})

test('a node that is not ready says so with its conditions', async t => {
  const ask = await served(t, { ...agent, ready: () => false })
  const { code, body } = await ask('/readyz')
  t.is(code, 503)
  t.is(ANSWERS['margay-node']['GET /readyz'].parse(JSON.parse(body)).length, 2)
})

test('readyz with verbose has a line for each condition, and says which of those that are not kept decide', async t => {
  const vital = broken('PoolsUsable', { reason: 'AllDisabled', message: 'all are\ndisabled', remedy: 'enable one' })
  const wrong = await served(t, { ...agent, ready: () => false, conditions: () => [...conditions, vital] })
  const { code, body } = await wrong('/readyz?verbose')
  t.is(code, 503)
  t.is(
    body,
    `[+]PoolsKnown ok
[!]BlocksReachable Route 10.0.0.0/26 failed: VtepUnknown: no way
[-]PoolsUsable failed: AllDisabled: all are disabled
readyz check failed
`,
  )
  const fine = await (await served(t))('/readyz?verbose')
  t.deepEqual([fine.code, fine.body.split('\n').at(-2)], [200, 'readyz check passed'])
})

test('a count or a prefix that is none is refused with what to write', async t => {
  const ask = await served(t)
  for (const path of [
    '/events?count=0',
    '/events?count=10001',
    '/events?count=many',
    '/flows?count=0',
    '/flows?count=10001',
    '/bgp/route',
    '/bgp/route?prefix=x',
  ]) {
    const { code, body } = await ask(path)
    t.is(code, 400, path)
    t.regex(JSON.parse(body).error, /^(count: give|prefix: write) a/)
  }
  t.is((await ask('/events?count=2')).code, 200)
})

test('metrics are text for Prometheus', async t => {
  const ask = await served(t)
  const { body } = await ask('/metrics')
  t.regex(body, /^margay_ready 1$/m)
  t.regex(body, /^margay_dropped_packets_total\{reason="redirect"\} 2$/m)
  t.regex(body, /^process_resident_memory_bytes \d+$/m)
})

test('the level of a room is set, taken back and shown, and what is no room or level is refused with what to write', async t => {
  const log = createLog('test', 'info', { write: () => undefined })
  const levels = agentLevels(log)
  const ask = await served(t, { ...agent, levels })
  const of = (body: string, room: string) =>
    (JSON.parse(body) as { room: string; level: string }[]).find(each => each.room === room)?.level
  const debug = await ask('/log-level?room=bgp&level=debug', 'POST')
  t.deepEqual([debug.code, of(debug.body, 'bgp'), of(debug.body, 'felix')], [200, 'debug', 'info'])
  t.is(levels.room('bgp').level, 'debug')
  t.is(of((await ask('/log-level?level=error', 'POST')).body, 'felix'), 'error')
  t.is(of((await ask('/log-level?room=&level=', 'POST')).body, 'bgp'), 'info')
  for (const [query, says] of [
    ['room=bird', /^room bird: write one of agent, bgp, cni/],
    ['room=bgp&level=loud', /^level loud: write one of trace, debug/],
    ['room=toString&level=debug', /^room toString/],
  ] as const) {
    const { code, body } = await ask(`/log-level?${query}`, 'POST')
    t.is(code, 400, query)
    t.regex((JSON.parse(body) as { error: string }).error, says)
  }
})
