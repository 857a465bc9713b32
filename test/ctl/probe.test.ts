// `explain --probe` from its words to what it prints, by sockets of two agents.
import test from 'ava'
import { type TraceAnswer, type TraceFacts, type TraceOrder, traceOrder } from '../../api/trace.ts'
import { probedService } from '../../ctl/probe.ts'
import { type HttpRoute, send } from '../../lib/http-routes.ts'
import { aQuestion, aTrace, POD } from '../explain/worlds.ts'
import { agents, body } from './explain-agents.ts'

/** Routes of an agent that follows probes; `orders` are those that it got. */
function tracing(node: string, orders: string[], met: Partial<TraceFacts> = {}): Readonly<Record<string, HttpRoute>> {
  // that it is this node is known by whom was asked
  const facts = (direction: 'there' | 'back', change: object): TraceFacts => ({ ...aTrace('n1'), direction, ...change })
  return {
    'POST /trace': async (request, response) => {
      const order = traceOrder.parse(await body(request))
      orders.push(`${node} ${order.do}`)
      if (order.do === 'arm') send(response, 200, { armed: true })
      else if (order.do === 'send') send(response, 200, { sent: 3, outcome: 'silent' })
      else send(response, 200, { facts: [facts('there', met), facts('back', { sent: 0, cameIn: 0, left: 0 })] })
    },
  }
}

test('--probe orders both nodes before it sends, and says which rule dropped the packets', async t => {
  const orders: string[] = []
  const dropped = {
    ...{ family: 'inet', table: 'firewall', chain: 'forward', hook: 'forward', rule: 'tcp dport 8080 drop' },
    ...{ ours: false, count: 3, outer: false },
  }
  const { run } = await agents(t, {
    n1: { routes: tracing('n1', orders, { outcome: 'silent' }) },
    n2: { routes: tracing('n2', orders, { sent: 0, left: 0, dropped }) },
  })
  const { code, out, err } = await run('n1-p1', 'n2-p1', 'tcp/8080', '--probe')
  t.is(err, '')
  t.is(code, 1)
  t.deepEqual(
    [orders.slice(0, 2).toSorted(), orders[2], orders.slice(3).toSorted()],
    [['n1 arm', 'n2 arm'], 'n1 send', ['n1 collect', 'n2 collect']],
  )
  t.regex(
    out,
    /^STOPPED: [^\n]+\n {2}cause: +n2 drops the packets in table inet firewall, chain forward \(forward\), by the rule: tcp dport 8080 drop \(ForeignDrops\)/,
  )
  t.regex(out, /\n {2}probe: +3 packets sent from n1, silent\n/)
  const { out: json } = await run('n1-p1', 'n2-p1', 'tcp/8080', '--probe', '-o', 'json')
  t.like(JSON.parse(json), { first: { code: 'ForeignDrops', node: 'n2' }, probe: { node: 'n1', sent: 3 } })
})

test('a probe that a node refuses, or that cannot be sent, is told, and proves nothing', async t => {
  const orders: string[] = []
  const busy: HttpRoute = (_request, response) => send(response, 503, { error: 'another probe is followed' })
  const { run } = await agents(t, {
    n1: { routes: tracing('n1', orders, { outcome: 'silent' }) },
    n2: { routes: { 'POST /trace': busy } },
  })
  const { code, out } = await run('n1-p1', 'n2-p1', '--probe')
  t.is(code, 1)
  t.deepEqual(orders, ['n1 arm', 'n1 send', 'n1 collect'])
  t.regex(out, /^UNKNOWN/)
  t.regex(out, /note: +n1: the probe is not known whole: n2: [^\n]+another probe is followed/)
  for (const [words, why] of [
    [['n1-p1', 'n2-p1', '89'], /packets of protocol 89 are not sent: ask for icmp, tcp\/PORT or udp\/PORT/],
    [['203.0.113.9', 'n1-p1'], /nobody of the cluster can send from 203\.0\.113\.9/],
  ] as const)
    t.regex((await run(...words, '--probe')).out, why)
  t.is(orders.length, 3)
})

test('of a Service its own address is asked for, on the node where the packet begins alone', async t => {
  const orders: [string, TraceOrder][] = []
  const facts = { ...aTrace('n1'), left: 1 }
  const ends = {
    trace: async (node: string, order: TraceOrder): Promise<TraceAnswer> => {
      orders.push([node, order])
      if (order.do === 'arm') return { armed: true }
      return order.do === 'send' ? { sent: 1, outcome: 'silent' } : { facts: [{ ...facts, direction: 'back' }, facts] }
    },
  }
  const question = aQuestion(POD['n1-p1']!, POD['n2-p1']!, { protocol: 'tcp', destinationPort: 8080 })
  const service = {
    namespace: 'shop',
    name: 'web',
    address: '10.96.0.10',
    port: 80,
    protocol: 'udp' as const,
    backends: [],
  }
  t.deepEqual(await probedService({ ...question, service }, ends), facts)
  t.deepEqual(new Set(orders.map(([node]) => node)), new Set(['n1']))
  t.like(orders[0]![1], {
    packet: { source: '10.244.1.1', destination: '10.96.0.10', protocol: 'udp', destinationPort: 80 },
  })
  t.is(await probedService({ ...question, service: { ...service, address: '' } }, ends), undefined)
  t.is(await probedService(question, ends), undefined)
  t.is(orders.length, 3)
})
