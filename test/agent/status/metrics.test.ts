import test from 'ava'
import { metricsText } from '../../../agent/status/metrics.ts'
import type { AgentStatus } from '../../../api/answers.ts'

const prefixes = { received: 4, accepted: 3, announced: 2 }

function aPeer(name: string, type: string, state: string): AgentStatus['peers'][number] {
  const since = '2026-07-30T12:03:04.567Z'
  return { name, address: '192.0.2.2', type, asn: 64512, state, since, reason: '', detail: '', flaps: 1, prefixes }
}

const wrong = (name: string): AgentStatus['conditions'][number] => ({
  type: 'BlocksReachable',
  status: 'False',
  ...{ reason: 'VtepUnknown', message: 'no way', remedy: 'wait', object: { kind: 'Route', name } },
})

const status: AgentStatus = {
  node: 'n1',
  ready: true,
  conditions: [wrong('10.0.0.0/26'), wrong('10.0.0.64/26')],
  peers: [
    ...Array.from({ length: 500 }, (_, i) => aPeer(`Mesh_${i}`, 'node-to-node mesh', i < 499 ? 'Established' : 'Idle')),
    aPeer('Global_192_0_2_1', 'global', 'Idle'),
  ],
}

test('a condition is one series for its type, however many objects break it', async t => {
  const text = await metricsText(status, new Map())
  t.regex(text, /^margay_condition\{type="BlocksReachable"\} 0$/m)
  t.regex(text, /^margay_condition_objects\{type="BlocksReachable"\} 2$/m)
  t.regex(text, /^margay_condition\{type="KernelProgrammed"\} 1$/m)
})

test('sessions of the mesh are counted by state, and only a BGPPeer has series of its own', async t => {
  const text = await metricsText(status, new Map())
  t.regex(text, /^margay_bgp_peers\{type="node-to-node mesh",state="Established"\} 499$/m)
  t.regex(text, /^margay_bgp_peers\{type="node-to-node mesh",state="Idle"\} 1$/m)
  t.regex(text, /^margay_bgp_peer_flaps\{peer="Global_192_0_2_1",address="192\.0\.2\.2"\} 1$/m)
  t.notRegex(text, /Mesh_/)
})

test('packets that were dropped are counted by the reason', async t => {
  const text = await metricsText(status, new Map([['foreign IPv4 source', 7]]))
  t.regex(text, /^margay_dropped_packets_total\{reason="foreign IPv4 source"\} 7$/m)
})
