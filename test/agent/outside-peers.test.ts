// When a peer outside the cluster that has no session is told.
import test from 'ava'
import { meshSession, namedSession } from '../../agent/cluster/sessions.ts'
import { peerDown } from '../../agent/outside-peers.ts'
import { Routing } from '../../agent/routing.ts'
import { SessionLog } from '../../agent/status/session-log.ts'
import { DOWN_REASONS, type DownCode } from '../../bgp/down-reasons.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { settle } from '../bgp/settle.ts'
import { aResource } from '../datastore/objects.ts'

const [NODE, OTHER_NODE, ROUTER] = ['192.0.2.11', '192.0.2.12', '192.0.2.101'] as const

test('an outside peer that has no session for five minutes is told with why and what helps, until it is back; a node is not', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const routing = new Routing({
    ...{ transport: network.host(NODE), clock, log: silentLog, nodeName: 'n1', restarting: false },
    ...{ capabilities: { ipip: false, vxlan: true }, settled: async () => {}, converged: () => undefined },
    ...{ sessions: new SessionLog({ clock, log: silentLog }), learned: () => undefined },
  })
  await routing.identify({ asn: 64512, port: 179, routerId: NODE, address: NODE })
  const own = { asn: 64512, ipv4: NODE }
  const far = { address: ROUTER, port: 179, asn: 65001, isNode: false, comesBack: false }
  const named = aResource('BGPPeer', { metadata: { name: 'p' }, spec: { peerIP: ROUTER, asNumber: 65001 } })
  const router = namedSession('global', own, far, named)
  const node = { ...meshSession(own, { address: OTHER_NODE, asn: 64512, port: 179 }), passive: false }
  routing.change([router, node].map(peer => ({ key: peer.address, peer, origin: 'global' })))
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      clock.advance(1000)
      await settle(8)
    }
  }
  await pass(290)
  t.deepEqual(routing.refused(), [])
  await pass(15)
  const [told, ...others] = routing.refused()
  t.deepEqual(others, [])
  t.like(told, { type: 'PeersUp', reason: 'SessionDown', object: { kind: 'BGPSession', name: 'Global_192_0_2_101' } })
  t.regex(told!.message, /^no session with 192\.0\.2\.101 since \S+Z: refused: /)
  t.is(told!.remedy, DOWN_REASONS.refused.remedy)
  const speaker = new Speaker({ asn: 65001, routerId: ROUTER }, { transport: network.host(ROUTER), clock })
  await speaker.listen({ address: ROUTER, port: 179 })
  speaker.setPeer({ address: NODE, asn: 64512, passive: true })
  await pass(10)
  t.deepEqual(routing.refused(), [])
  await Promise.all([routing.close(), speaker.close()])
})

test('what is told of an outside peer: not when it is up or short of a session, at once when it is damped', t => {
  const down = (code: DownCode) => ({
    ...{ address: '192.0.2.1', sinceMs: 1_000_000 },
    reason: { code, detail: 'd', remedy: DOWN_REASONS[code].remedy },
  })
  t.is(peerDown({ ...down('refused'), reason: undefined }, 'p', 9e6), undefined)
  t.is(peerDown(down('refused'), 'p', 1_299_999), undefined)
  t.is(peerDown(down('refused'), 'p', 1_300_000)?.reason, 'SessionDown')
  t.is(peerDown(down('damped'), 'p', 1_000_001)?.reason, 'SessionDamped')
  t.is(peerDown(down('prefix-limit'), 'p', 9e6), undefined)
})
