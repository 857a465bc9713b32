// The connections that pods of a node have open, as policies see them.
import test from 'ava'
import { openConnections } from '../../agent/open-connections.ts'
import { FakeConntrack } from '../../kernel/fake/conntrack.ts'
import type { Flow } from '../../kernel/port/conntrack.ts'

function aFlow(id: number, more: Partial<Flow> = {}, port = 443): Flow {
  return {
    ...{ id, family: 'ipv4', isExpected: false, isAnswered: true },
    original: {
      source: '10.244.0.5',
      destination: '10.96.0.1',
      protocol: 6,
      ports: { source: 40_000 + id, destination: 80 },
    },
    reply: {
      source: '10.244.1.7',
      destination: '10.244.0.5',
      protocol: 6,
      ports: { source: port, destination: 40_000 + id },
    },
    ...more,
  }
}

async function told(flows: Flow[], addresses = ['10.244.0.5']) {
  const kernel = new FakeConntrack()
  kernel.flows = flows
  return openConnections(kernel, new Set(addresses))
}

test('a connection through a Service is one to its backend, and those of one client to one port are counted together', async t => {
  t.deepEqual(await told([aFlow(1), aFlow(2), aFlow(3, {}, 444)]), [
    { source: '10.244.0.5', destination: '10.244.1.7', protocol: 6, destinationPort: 443, count: 2 },
    { source: '10.244.0.5', destination: '10.244.1.7', protocol: 6, destinationPort: 444, count: 1 },
  ])
})

test('an echo has its type, a protocol without ports none, and a node without pods tells none', async t => {
  const echo = { type: 8, code: 0, id: 77 }
  const one = aFlow(1, {
    original: { source: '10.244.0.5', destination: '10.244.1.7', protocol: 1, icmp: echo },
    reply: { source: '10.244.1.7', destination: '10.244.0.5', protocol: 1, icmp: { ...echo, type: 0 } },
  })
  t.deepEqual(await told([one]), [
    { source: '10.244.0.5', destination: '10.244.1.7', protocol: 1, icmp: { type: 8, code: 0 }, count: 1 },
  ])
  t.deepEqual(await told([one], []), [])
})

test('of more different ones than the bound the first are told', async t => {
  const flows = Array.from({ length: 10_010 }, (_, i) => aFlow(i, {}, i + 1))
  t.is((await told(flows)).length, 10_000)
})
