import test from 'ava'
import { type Candidate, type PeerAnswer, statusAnswer } from '../../api/answers.ts'
import { renderBfd, renderReload, renderRoute } from '../../ctl/bgp-view.ts'
import { renderPeers, renderStatus } from '../../ctl/node-view.ts'

const prefixes = { received: 4, accepted: 3, announced: 2 }

function aPeer(change: Partial<PeerAnswer> = {}): PeerAnswer {
  const since = '2026-07-30T12:03:04.567Z'
  const base = { name: 'Mesh_192_0_2_2', address: '192.0.2.2', type: 'node-to-node mesh', asn: 64512, since, prefixes }
  return { ...base, state: 'Established', reason: '', detail: '', remedy: '', flaps: 0, ...change }
}

const down = aPeer({
  address: '192.0.2.10',
  state: 'Idle',
  reason: 'wrong-as',
  detail: 'it says 1, wanted 2',
  remedy: 'compare them',
  flaps: 3,
})

test('peers are in the order of their addresses, and one that is down says why', t => {
  t.is(
    renderPeers([down, aPeer()], 'table'),
    `PEER ADDRESS  PEER TYPE          STATE        SINCE                 REASON                         REMEDY
192.0.2.2     node-to-node mesh  Established  2026-07-30T12:03:04Z
192.0.2.10    node-to-node mesh  Idle         2026-07-30T12:03:04Z  wrong-as: it says 1, wanted 2  compare them
`,
  )
  t.is(renderPeers([], 'table'), 'No BGP peers.\n')
})

test('wide peers show names, AS numbers and counts', t => {
  const [head, row] = renderPeers([aPeer({ flaps: 7 })], 'wide').split('\n')
  t.regex(head!, /SINCE +NAME +AS +RECEIVED +ACCEPTED +ANNOUNCED +FLAPS +REASON$/)
  t.regex(row!, /Mesh_192_0_2_2 +64512 +4 +3 +2 +7$/)
})

test('a status says first whether the node is ready, then only what is not fine, and what was dropped for which reason', t => {
  const kept = { status: 'True' as const, reason: 'Ok', message: '', remedy: '' }
  const conditions = [
    { type: 'KernelProgrammed', ...kept },
    {
      type: 'PoolsUsable',
      status: 'False' as const,
      ...{
        reason: 'Overlap',
        message: 'b overlaps a',
        remedy: 'delete one of them',
        object: { kind: 'IPPool', name: 'b' },
        page: 'docs/conditions.md#poolsusable',
      },
    },
  ]
  const text = renderStatus({ node: 'n1', ready: false, conditions, peers: [] }, 'table')
  t.is(
    text,
    `node n1 is not ready

No BGP peers.

CONDITION    OBJECT    REASON   MESSAGE       REMEDY              SEE
PoolsUsable  IPPool b  Overlap  b overlaps a  delete one of them  docs/conditions.md#poolsusable
`,
  )
  const dropped = [
    { reason: 'redirect', packets: 0 },
    { reason: 'foreign IPv4 source', packets: 7 },
  ]
  t.is(
    renderStatus({ node: 'n1', ready: true, conditions: [], peers: [], dropped }, 'table'),
    'node n1 is ready\n\nNo BGP peers.\n\nDROPPED PACKETS      COUNT\nforeign IPv4 source  7\n',
  )
  const fine = { node: 'n1', address: '192.0.2.1', uplink: 'eth0', ready: true, conditions: [], peers: [] }
  t.is(renderStatus(fine, 'table'), 'node n1 is ready: 192.0.2.1 on eth0\n\nNo BGP peers.\n')
})

test("margay-bgp's list of peers reads as a status of the same shape", t => {
  const peer = { name: 'b', address: '192.0.2.2', asn: 65002, state: 'Idle', sinceMs: 0, flaps: 1, prefixes }
  const status = statusAnswer.parse([
    { ...peer, reason: { code: 'refused', detail: 'nobody listens', remedy: 'start it' }, families: [] },
  ])
  t.like(status, { ready: true, conditions: [] })
  t.deepEqual(status.peers, [
    {
      name: 'b',
      address: '192.0.2.2',
      type: 'configured',
      asn: 65002,
      state: 'Idle',
      since: '1970-01-01T00:00:00.000Z',
      reason: 'refused',
      detail: 'nobody listens',
      remedy: 'start it',
      flaps: 1,
      prefixes,
    },
  ])
})

const accepted = { accepted: true, reason: 'accepted', detail: '' }
const aCandidate = (change: Partial<Candidate>): Candidate => ({
  peer: 'a',
  pathId: 0,
  best: false,
  import: accepted,
  attributes: { nextHop: '192.0.2.2', asPath: '65001 65002', origin: 'igp', communities: ['65001:7'] },
  ...change,
})

test('a route shows every candidate with the step that decided, and who is not told', t => {
  const text = renderRoute(
    {
      prefix: '203.0.113.0/24',
      candidates: [
        aCandidate({ best: true, step: 'as-path-length', attributes: { nextHop: '192.0.2.3', asPath: '65003' } }),
        aCandidate({ step: 'as-path-length', stale: 'restart' }),
        aCandidate({ peer: '', import: { accepted: false, reason: 'policy', detail: 'rule 2 rejects' } }),
      ],
      withheld: [{ peers: ['a', 'b'], reason: 'not-reflected' }],
    },
    'table',
  )
  t.is(
    text,
    `203.0.113.0/24
   PEER          NEXT HOP   AS PATH      LOCAL PREF  MED  DECISION
>  a             192.0.2.3  65003                         best by as-path-length
   a             192.0.2.2  65001 65002                   lost by as-path-length, stale (restart)
   this speaker  192.0.2.2  65001 65002                   not accepted: policy, rule 2 rejects
not announced to a, b: not-reflected
`,
  )
})

test('a route shows which paths are used with the best one, and why another is not', t => {
  const text = renderRoute(
    {
      prefix: '203.0.113.0/24',
      candidates: [
        aCandidate({ best: true, used: true, weight: 255, step: 'router-id' }),
        aCandidate({ peer: 'b', used: true, weight: 26, step: 'router-id' }),
        aCandidate({ peer: 'c', used: false, unused: 'next-hop', step: 'peer-address' }),
        aCandidate({ peer: 'd', step: 'reachable', reached: { reachable: false, why: 'no route to it' } }),
      ],
      withheld: [],
    },
    'table',
  )
  t.is(
    text,
    `203.0.113.0/24
   PEER  NEXT HOP   AS PATH      LOCAL PREF  MED  DECISION
>  a     192.0.2.2  65001 65002                   best by router-id, share 255
=  b     192.0.2.2  65001 65002                   used too, lost by router-id, share 26
   c     192.0.2.2  65001 65002                   lost by peer-address, with a next hop that is used
   d     192.0.2.2  65001 65002                   not used: its next hop cannot be reached, no route to it
`,
  )
})

test('wide candidates show path id, origin and communities; no candidate is said', t => {
  const wide = renderRoute(
    { prefix: '::/0', candidates: [aCandidate({ pathId: 9, best: true, step: 'only' })], withheld: [] },
    'wide',
  )
  t.regex(wide, /9 +igp +65001:7 +best: the only one$/m)
  t.is(renderRoute({ prefix: '::/0', candidates: [], withheld: [] }, 'table'), '::/0: nobody announces it\n')
})

test('a reload tells what is reset and why, and what merely changes', t => {
  const nothing = { resets: [], added: [], removed: [], changed: [], networks: { announced: [], withdrawn: [] } }
  t.is(renderReload(nothing), 'nothing changes\n')
  t.is(
    renderReload({
      resets: [{ peer: 'a', because: ['asn changed'] }],
      added: ['c'],
      removed: ['d'],
      changed: ['a', 'b'],
      networks: { announced: ['203.0.113.0/24'], withdrawn: ['198.51.100.0/24'] },
    }),
    `peer a is reset: asn changed
peer c is new
peer d is removed
peer b changes and stays up
203.0.113.0/24 is announced
198.51.100.0/24 is withdrawn
`,
  )
})

test('where a peer has BFD its state has a column', t => {
  const bfd = { hops: 'single', state: 'Down', diagnostic: 'none', losses: 0, sinceMs: 0 }
  const [head, row, other] = renderPeers([aPeer({ bfd }), aPeer({ address: '192.0.2.99' })], 'table').split('\n')
  t.regex(head!, /SINCE +BFD +REASON/)
  t.regex(row!, /Z +Down/)
  t.regex(other!, /Z$/)
})

test('BFD sessions are shown with both ends, their times, losses and what was dropped', t => {
  const session = {
    ...{ name: 'single 192.0.2.1 192.0.2.2', state: 'Up', diagnostic: 'detection-time-expired', ups: 2, losses: 1 },
    ...{ remote: { state: 'Up', diagnostic: 'none' }, transmitIntervalMs: 300, detectionTimeMs: 900 },
    ...{ sent: 70, received: 71, dropped: { 'low-ttl': 4 } },
  }
  const answer = { scheduling: 'usual', sessions: [session], dropped: { 'no-session': 3 } }
  t.is(
    renderBfd(answer, 'table'),
    `PATH                        STATE  THERE  SENDS EVERY  LOST AFTER  UPS  LOSSES  REASON
single 192.0.2.1 192.0.2.2  Up     Up     300 ms       900 ms      2    1       last lost: detection-time-expired; 4 dropped: low-ttl
of no session: 3 no-session
its thread has no priority: packets may be late on a busy machine
`,
  )
  t.regex(renderBfd({ ...answer, scheduling: 'real-time' }, 'wide'), /LOSSES {2}SENT {2}RECEIVED {2}REASON\n.* 70 +71 /)
  t.is(renderBfd({ ...answer, sessions: [] }, 'table'), 'No BFD sessions.\n')
})
