import test from 'ava'
import { endpointAnswer, peerAnswer } from '../../../agent/status/answers.ts'
import type { PeerStatus } from '../../../bgp/config.ts'

const peer: PeerStatus = {
  ...{ name: 'Node_192_0_2_1', address: '192.0.2.1', asn: 65001, state: 'Idle', sinceMs: 0, flaps: 2 },
  ...{ reason: { code: 'refused', detail: 'nobody listens', remedy: 'start it' }, families: ['ipv4-unicast'] },
  ...{ prefixes: { received: 1, accepted: 1, announced: 0 }, messages: { in: 0, out: 0, updatesIn: 0, updatesOut: 0 } },
}

test('a peer is told in the words of calicoctl, with why it is not up', t => {
  t.deepEqual(peerAnswer({ ...peer, origin: 'node' }), {
    ...{ name: 'Node_192_0_2_1', address: '192.0.2.1', type: 'node specific', asn: 65001, state: 'Idle' },
    ...{ since: '1970-01-01T00:00:00.000Z', reason: 'refused', detail: 'nobody listens', remedy: 'start it', flaps: 2 },
    prefixes: { received: 1, accepted: 1, announced: 0 },
  })
})

test('a peer that is up has no reason', t => {
  const { type, reason, detail, remedy } = peerAnswer({
    ...peer,
    reason: undefined,
    state: 'Established',
    origin: 'mesh',
  })
  t.deepEqual([type, reason, detail, remedy], ['node-to-node mesh', '', '', ''])
})

test("a pod's interface is told with its addresses and its pod", t => {
  const endpoint = {
    ...{ id: 'c/eth0', network: 'net', containerID: 'c', ifname: 'eth0', interfaceName: 'cali1', netns: '/n' },
    ...{ addresses: ['10.0.0.1'], mac: '02:00:00:00:00:01', mtu: 1500, handle: 'h', createdMs: 0 },
    pod: { name: 'web', namespace: 'shop' },
  }
  const told = { id: 'c/eth0', interface: 'cali1', addresses: ['10.0.0.1'], pod: { name: 'web', namespace: 'shop' } }
  t.deepEqual(endpointAnswer(endpoint, []), told)
  t.deepEqual(endpointAnswer(endpoint, [{ address: '192.0.2.7', to: '10.0.0.1' }]), {
    ...told,
    ipNATs: [{ internalIP: '10.0.0.1', externalIP: '192.0.2.7' }],
  })
})
