import test from 'ava'
import type { AnyObject } from '../../api/lifecycle.ts'
import type { Context } from '../../ctl/command.ts'
import type { Ends } from '../../ctl/ends/ends.ts'
import { execEnds } from '../../ctl/ends/exec.ts'
import { objectDirectory } from '../../ctl/ends/objects.ts'
import { explanationsOf } from '../../ctl/explain.ts'
import { parseProtocol, questionsOf, resolve, resolveTarget } from '../../ctl/explain-words.ts'
import type { Objects } from '../../datastore/objects.ts'
import { NotFound } from '../../datastore/port.ts'
import { asJson, type HttpRoute, send } from '../../lib/http-routes.ts'
import { aNode, aQuestion, kernel, POD } from '../explain/worlds.ts'
import { agents } from './explain-agents.ts'

test('a pair that passes is told so with 0, by pods of the agents themselves', async t => {
  const { asked, run } = await agents(t)
  const { code, out, err } = await run('n1-p1', 'default/n2-p1', 'tcp/80')
  t.is(err, '')
  t.is(code, 0)
  t.true(out.startsWith('PASSES: default/n1-p1 (10.244.1.1) to default/n2-p1 (10.244.2.1), tcp/80\n'), out)
  t.is(asked.length, 2)
  t.deepEqual(asked[0], asked[1])
  t.like(asked[0], { packet: { destinationPort: 80 }, back: { sourcePort: 80 } })
})

test('what stops it is told with its remedy and its page, and 1', async t => {
  const { run } = await agents(t, {
    n1: {},
    n2: {
      facts: facts => {
        facts.endpoints[0]!.mismatches = kernel([{ side: 'pod', kind: 'address', object: '10.244.2.1/32 dev eth0' }])
      },
    },
  })
  const { code, out } = await run('n1-p1', 'n2-p1')
  t.is(code, 1)
  t.true(out.startsWith('STOPPED: default/n1-p1'), out)
  t.regex(out, /cause: +default\/n2-p1 does not have its address 10\.244\.2\.1 any more \(PodAddressMissing\)/)
  t.regex(out, /remedy: +ip address add 10\.244\.2\.1\/32 dev eth0 in the pod/)
  t.regex(out, /see: +docs\/explain\.md#podaddressmissing/)
  const { out: json } = await run('n1-p1', 'n2-p1', '-o', 'json')
  t.like(JSON.parse(json), { verdict: 'stopped', first: { code: 'PodAddressMissing', node: 'n2' }, alternatives: [] })
})

test('an agent that does not know the question, or answers something else, leaves its steps open', async t => {
  for (const answer of [undefined, { node: 'n2', ways: 'many' }]) {
    const n2 =
      answer === undefined
        ? { routes: { 'POST /facts': notThere } }
        : { routes: { 'POST /facts': asJson(() => answer) } }
    const { run } = await agents(t, { n1: {}, n2 })
    const { code, out } = await run('n1-p1', 'n2-p1', '-o', 'json')
    t.is(code, 1)
    const found = JSON.parse(out)
    t.is(found.verdict, 'unknown')
    t.is(found.first, undefined)
    t.truthy(found.asked[1].silent)
  }
})

const notThere: HttpRoute = (_request, response) => send(response, 404, { error: 'no such question' })

test('one word is a node: an agent that is away is the cause, and one that says nothing against itself passes', async t => {
  const { run } = await agents(t, { n1: {} })
  t.like(await run('n1'), { code: 0, err: '' })
  const { code, out } = await run('node/n2')
  t.is(code, 1)
  t.true(out.startsWith('STOPPED: pods of n2 get no network\n'), out)
  t.regex(out, /AgentSilent/)
})

test('what nobody knows is wrong usage; with a silent agent it is told that this one may know', async t => {
  const both = await agents(t)
  t.like(await both.run('n1-p1', 'nothing'), { code: 2 })
  const one = await agents(t, { n1: {} })
  const { code, err } = await one.run('n1-p1', 'n2-p1')
  t.is(code, 1)
  t.regex(err, /n2 is silent/)
})

test('protocols are words with a port where they have one, or numbers', t => {
  t.deepEqual(parseProtocol('TCP/443'), { protocol: 'tcp', port: 443 })
  t.deepEqual(parseProtocol('icmp'), { protocol: 'icmp' })
  t.deepEqual(parseProtocol('132'), { protocol: 132 })
  t.is(parseProtocol(undefined), undefined)
  for (const wrong of ['tcp', 'tcp/0', 'tcp/65536', 'udp/x', 'icmp/8', '256', 'http', 'tcp/80/90', ''])
    t.throws(() => parseProtocol(wrong), { name: 'UsageError' }, wrong)
})

const meta = (name: string, namespace?: string) => ({
  metadata: { name, ...(namespace !== undefined && { namespace }) },
})
const OBJECTS: Record<string, object[]> = {
  Node: [
    {
      ...meta('n1'),
      status: {
        addresses: [
          { type: 'InternalIP', address: '192.0.2.11' },
          { type: 'Hostname', address: 'n1' },
        ],
      },
    },
    {
      metadata: { name: 'web', annotations: { 'projectcalico.org/IPv4Address': '192.0.2.12/24' } },
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.12' }] },
    },
  ],
  Pod: [
    {
      ...meta('a', 'default'),
      spec: { nodeName: 'n1' },
      status: { podIPs: [{ ip: '10.244.1.1' }, { ip: 'fd00:0:0::1' }] },
    },
    { ...meta('b', 'shop'), spec: { nodeName: 'web' }, status: { podIP: '10.244.2.1' } },
    { ...meta('host', 'default'), spec: { nodeName: 'n1', hostNetwork: true }, status: { podIP: '192.0.2.11' } },
    { ...meta('new', 'default'), spec: {}, status: { phase: 'Pending' } },
    { ...meta('web', 'default'), spec: { nodeName: 'n1' }, status: { podIP: '10.244.1.9' } },
  ],
  Service: [
    {
      ...meta('web', 'shop'),
      spec: {
        clusterIPs: ['10.96.0.10'],
        ports: [
          { name: 'http', port: 80, protocol: 'TCP' },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
      },
    },
    { ...meta('empty', 'shop'), spec: { clusterIPs: ['10.96.0.11'], ports: [{ port: 80 }] } },
    { ...meta('headless', 'shop'), spec: { clusterIP: 'None', ports: [{ name: 'http', port: 8080 }] } },
    { ...meta('nobody', 'shop'), spec: { clusterIP: 'None', ports: [{ port: 8080 }] } },
    { ...meta('alias', 'shop'), spec: { type: 'ExternalName', externalName: 'db.example.net' } },
    {
      ...meta('open', 'shop'),
      spec: {
        ...{ clusterIPs: ['10.96.0.12'], externalIPs: ['198.51.100.7'] },
        ports: [
          { name: 'http', port: 80, nodePort: 30080 },
          { name: 'dns', port: 53, protocol: 'UDP', nodePort: 30053 },
        ],
      },
      status: { loadBalancer: { ingress: [{ ip: '198.51.100.8' }, { ip: '198.51.100.9', ipMode: 'Proxy' }] } },
    },
  ],
  EndpointSlice: ['web', 'headless', 'open'].map(service => ({
    ...meta(`${service}-1`, 'shop'),
    of: service,
    ports: [{ name: 'http', port: 8080 }],
    endpoints: [
      {
        addresses: ['10.244.2.1'],
        conditions: { ready: true },
        nodeName: 'web',
        targetRef: { kind: 'Pod', name: 'b', namespace: 'shop' },
      },
      { addresses: ['10.244.2.2'], conditions: { ready: false }, nodeName: 'web' },
      { addresses: ['192.0.2.11'], nodeName: 'n1', targetRef: { kind: 'Pod', name: 'host', namespace: 'default' } },
    ],
  })),
}

type Known = { metadata: { name: string; namespace?: string }; of?: string; status?: { podIP?: string } }

const objects = {
  get: async (kind: string, name: string, namespace?: string) => {
    const found = (OBJECTS[kind] as Known[]).find(
      each => each.metadata.name === name && each.metadata.namespace === namespace,
    )
    if (found === undefined) throw new NotFound(`${kind} ${name}`)
    return found as unknown as AnyObject
  },
  list: async (
    kind: string,
    { labelSelector, fieldSelector }: { labelSelector?: string; fieldSelector?: string } = {},
  ) =>
    (OBJECTS[kind] as Known[]).filter(
      ({ of, status }) =>
        (labelSelector === undefined || labelSelector === `kubernetes.io/service-name=${of}`) &&
        (fieldSelector === undefined || fieldSelector === `status.podIP=${status?.podIP}`),
    ),
} as unknown as Objects

const named = (word: string, namespace = 'default') => resolve(word, namespace, objectDirectory(objects))

test('words name pods, nodes and addresses; what could be two things is not guessed', async t => {
  const a = {
    ends: [
      { address: '10.244.1.1', role: 'pod', node: 'n1', pod: { namespace: 'default', name: 'a' } },
      { address: 'fd00::1', role: 'pod', node: 'n1', pod: { namespace: 'default', name: 'a' } },
    ],
  }
  for (const word of ['a', 'default/a', 'pod/a', 'pod/default/a']) t.deepEqual(await named(word), a as never, word)
  t.deepEqual(await named('node/n1'), { ends: [{ address: '192.0.2.11', role: 'node', node: 'n1' }] })
  const web = { ends: [{ address: '192.0.2.12', role: 'node', node: 'web' }] }
  t.deepEqual(await named('node/web'), web as never, 'the annotation has the length of its subnet')
  t.like(await named('10.244.2.1'), { ends: [{ role: 'pod', node: 'web', pod: { name: 'b' } }] })
  t.like(await named('fd00::1'), { ends: [{ role: 'pod', node: 'n1', pod: { name: 'a' } }] }, 'its second address')
  t.deepEqual(await named('203.0.113.9'), { ends: [{ address: '203.0.113.9', role: 'outside' }] })
  t.like(await named('host'), { ends: [{ role: 'node', node: 'n1' }] }, 'a pod of the host has its network')
  await t.throwsAsync(named('web'), { message: /a pod of namespace default and a node: write pod\/web or node\/web/ })
  await t.throwsAsync(named('new'), { name: 'Denied', message: /no address yet/ })
  for (const word of ['nothing', 'shop/a', 'node/n9', 'a/b/c', 'svc/', 'svc/nothing'])
    await t.throwsAsync(named(word), { name: 'UsageError' }, word)
})

test('a Service is asked about by each ready pod behind the port, also by its name in DNS and by its address', async t => {
  const from = await named('a')
  for (const word of ['svc/shop/web:80', 'web.shop.svc:80', 'web.shop.svc.cluster.local:80']) {
    const found = questionsOf(from, await named(word), undefined)
    t.deepEqual(
      found.map(({ packet, to }) => [packet.destination, packet.destinationPort, packet.protocol, to.role, to.node]),
      [
        ['10.244.2.1', 8080, 'tcp', 'pod', 'web'],
        ['192.0.2.11', 8080, 'tcp', 'node', 'n1'],
      ],
    )
    t.like(found[0]!.service, { namespace: 'shop', name: 'web', address: '10.96.0.10', port: 80 })
  }
  t.is(questionsOf(from, await named('10.96.0.10'), parseProtocol('tcp/80')).length, 2)
  const empty = { namespace: 's', name: 'x', addresses: [], outside: [], ports: [] }
  t.throws(() => questionsOf(from, { service: empty }, undefined), {
    name: 'UsageError',
  })
  const web = await named('svc/shop/web')
  t.throws(() => questionsOf(from, web, undefined), { message: /several ports: add one of tcp\/80, udp\/53/ })
  t.throws(() => questionsOf(web, from, undefined), { message: /a Service sends no packets/ })
})

test('of a Service without a ready pod one question is left, with its own address; a headless one has its pods', async t => {
  const from = await named('a')
  const [empty, ...more] = questionsOf(from, await named('svc/shop/empty'), undefined)
  t.deepEqual(more, [])
  t.like(empty, { packet: { destination: '10.96.0.11', destinationPort: 80 }, service: { backends: [] } })
  const headless = questionsOf(from, await named('svc/shop/headless'), undefined)
  t.deepEqual(
    headless.map(({ packet }) => packet.destination),
    ['10.244.2.1', '192.0.2.11'],
  )
})

test('pods that end and still serve are asked about while a Service has no ready one, as kube-proxy takes them', async t => {
  const ending = { ready: false, serving: true, terminating: true }
  const targets = async (...conditions: object[]) => {
    const endpoints = conditions.map((each, i) => ({ addresses: [`10.244.2.${i}`], conditions: each }))
    const slice = { ...meta('empty-1', 'shop'), ports: [{ port: 80 }], endpoints }
    const list = async (kind: string) => (kind === 'EndpointSlice' ? [slice] : [])
    const found = await objectDirectory({ ...objects, list } as unknown as Objects).service('shop', 'empty')
    return found!.ports.flatMap(({ backends }) => backends.map(({ end }) => end.address))
  }
  t.deepEqual(await targets(ending, { ...ending, serving: false }), ['10.244.2.0'])
  t.deepEqual(await targets(ending, { ready: true }), ['10.244.2.1'])
})

test('a headless Service without a ready pod is a name that leads to nobody, and nobody is asked about it', async t => {
  const [nobody, ...more] = questionsOf(await named('a'), await named('svc/shop/nobody'), undefined)
  t.deepEqual(more, [])
  t.like(nobody, { to: { address: '' }, service: { name: 'nobody', backends: [] } })
  const ends = { directory: objectDirectory(objects) } as Ends
  for (const isProbed of [false, true]) {
    const [said] = await explanationsOf({ from: 'b', to: 'svc/nobody', isProbed }, 'shop', ends)
    t.like(said.first, { code: 'ServiceNoEndpoints', node: 'web', object: { kind: 'Service', name: 'nobody' } })
  }
  await t.throwsAsync(named('svc/shop/alias'), { message: /another name for db\.example\.net/ })
})

test('a Service is known by its addresses outside and by its port of a node', async t => {
  const from = await named('a')
  for (const address of ['198.51.100.7', '198.51.100.8']) {
    const [found] = questionsOf(from, await named(address), parseProtocol('tcp/80'))
    t.like(found, { packet: { destination: '10.244.2.1' }, service: { name: 'open', address, port: 80 } })
  }
  t.like(await named('198.51.100.9'), { ends: [{ role: 'outside' }] }, 'a load balancer that nodes do not stand in for')
  const asked = async (protocol: string) => {
    const read = parseProtocol(protocol)
    return questionsOf(from, await resolveTarget('node/n1', read, 'default', objectDirectory(objects)), read)
  }
  const [http, ...more] = await asked('tcp/30080')
  t.deepEqual(more, [])
  t.like(http, {
    packet: { destination: '192.0.2.11', destinationPort: 30_080 },
    service: { name: 'open', address: '192.0.2.11', port: 30_080 },
  })
  t.is(http!.service!.backends.length, 2)
  t.is((await asked('udp/30053'))[0]!.service!.backends.length, 0)
  t.is((await asked('udp/30080'))[0]!.service, undefined)
})

test('two ends with addresses of both families are asked about in both; ends outside alone are wrong usage', async t => {
  const both = await named('a')
  t.deepEqual(
    questionsOf(both, both, undefined).map(({ packet }) => packet.protocol),
    ['icmp', 'icmpv6'],
  )
  const outside = await named('203.0.113.9')
  t.throws(() => questionsOf(outside, outside, undefined), { message: /neither of the two is in this cluster/ })
})

/** Agents' pods of a cluster in which the hidden command of each writes `said`. */
function inPods(said: Record<string, { line?: unknown; why?: string; ready?: boolean }>) {
  const ran: string[][] = []
  const pods = Object.entries(said).map(([node, { ready = true }]) => ({
    metadata: {
      name: `agent-${node}`,
      ownerReferences: [{ kind: 'DaemonSet', name: 'margay-node', controller: true }],
    },
    spec: { nodeName: node },
    status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
  }))
  const context = {
    objects: async () => ({ read: async () => ({ items: pods }) }),
    exec: async () => async (call: { pod: string; command: string[] }, take: (from: 'out', piece: Buffer) => void) => {
      ran.push(call.command.slice(2))
      const { line, why } = said[call.pod.replace('agent-', '')]!
      if (line !== undefined) take('out', Buffer.from(`${JSON.stringify(line)}\n`))
      return { ended: Promise.resolve(why), close: () => undefined }
    },
  } as unknown as Context
  const options = { timeout: '10', margayNamespace: 'kube-system' }
  return { ran, ends: execEnds(objectDirectory(objects), options, context) }
}

test('in a cluster each agent is asked by a program in its pod, also one that is not ready', async t => {
  const question = aQuestion(POD['n1-p1']!, POD['n2-p1']!)
  const facts = aNode('n1', question)
  const { ends, ran } = inPods({ n1: { line: facts, ready: false } })
  t.like(await ends.ask('n1', question), { node: 'n1', facts: { node: 'n1', ways: facts.ways } })
  t.deepEqual(ran, [['__facts', JSON.stringify(question)]])
})

test('in a cluster a node is away where no agent runs or its pod is not ready and cannot be asked, and silent else', async t => {
  const question = aQuestion(POD['n1-p1']!, POD['n2-p1']!)
  const { ends } = inPods({
    n1: { why: 'container not found', ready: false },
    n2: { why: 'no such command' },
    n3: { line: { odd: true } },
  })
  t.like(await ends.ask('n1', question), { node: 'n1', silent: 'container not found', away: true })
  t.like(await ends.ask('n2', question), { silent: 'no such command', away: false })
  t.like(await ends.ask('n3', question), { away: false })
  t.like(await ends.ask('n4', question), { silent: 'no agent runs on it', away: true })
})

test('in a cluster conditions are asked in the same way, and the Node object is looked for', async t => {
  const { ends, ran } = inPods({ n1: { line: { conditions: [] } }, n7: { line: { conditions: [] } } })
  t.like(await ends.askNode('n1'), { node: 'n1', conditions: [], isKnown: true })
  t.like(await ends.askNode('n7'), { node: 'n7', isKnown: false })
  t.deepEqual(ran, [['__facts'], ['__facts']])
})

test("in a cluster an order about a probe is carried out by a program in the agent's pod", async t => {
  const { ends, ran } = inPods({ n1: { line: { armed: true } }, n2: { why: 'no such command' } })
  const order = { do: 'collect', marker: '0011223344556677' } as const
  t.deepEqual(await ends.trace('n1', order), { armed: true })
  t.deepEqual(await ends.trace('n2', order), { silent: 'no such command' })
  t.deepEqual(ran[0], ['__trace', JSON.stringify(order)])
})
