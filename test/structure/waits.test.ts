// A pause after an old fault must not delay the cure of a new one. So every file that waits longer from attempt to attempt
// is in a table: what ends its pause at once, and the test that shows it, or why nothing can.
import test from 'ava'
import { files, textOf } from './source.ts'

const ROOMS = ['agent', 'bgp', 'cni', 'controllers', 'datastore', 'felix', 'ipam', 'kernel', 'lib']
const GROWS = /new Backoff\(|mostIdleHoldSeconds \?\?|2 \*\* Math\.min|2 \*\* over|2 \* before\.lengthMs/

/** `test` is a file and a title; without one the text says why no event can end the pause. */
const ENDED_BY: Readonly<Record<string, { by: string; test?: readonly [file: string, title: string] }>> = {
  'agent/bgp-listener.ts': {
    by: 'another port or address; whoever has the port goes without a word, so it is 5 s at the most',
    test: [
      'test/agent/bgp-listener.test.ts',
      'another listenPort cures a port that is in use at once, and an old port is not tried again',
    ],
  },
  'agent/node-address.ts': {
    by: 'addresses, default routes and links of the kernel, and the Node object',
    test: [
      'test/agent/node-address.test.ts',
      'the second default route that left the choice open goes, and the address is chosen at once',
    ],
  },
  'agent/node-publisher.ts': {
    by: 'each change of the Node object, a server that is there again or believed again; never more than six writes a minute',
    test: [
      'test/agent/node-publisher.test.ts',
      'a Node that is missing is tried again until it is there, with the latest facts',
    ],
  },
  'agent/node-statuses.ts': {
    by: 'another spec of the object, a server that is believed again, the Node object of this node; a right that is given tells nothing',
    test: [
      'test/agent/node-statuses.test.ts',
      'objects that were refused wait no longer once the API server may be written again',
    ],
  },
  'agent/policy-receipts.ts': {
    by: 'a server that is believed again, the Node object of this node; a right or a CRD that comes tells nothing',
    test: [
      'test/agent/policy-receipts.test.ts',
      'nothing is said while a pass is under way, and a write that was refused is tried again, at once when it may work',
    ],
  },
  'agent/tunnel-addresses.ts': {
    by: 'pools, reservations, blocks and the Node object',
    test: [
      'test/agent/node-network.test.ts',
      'a pool that changes, and blocks that come, let a tunnel without an address ask again at once',
    ],
  },
  'bgp/bmp/collector.ts': {
    by: 'nothing tells that a collector is there; another entry in the file is another collector',
  },
  'bgp/fsm/step.ts': {
    by: 'another configuration of the peer; a cure at the other end tells nothing, so agents wait 5 s at the most',
    test: [
      'test/bgp/cures.test.ts',
      'a wrong AS that is corrected is tried at once, however long the pause after the old fault was to be',
    ],
  },
  'bgp/session-damping.ts': {
    by: 'every other configuration of the peer but its policies, and an operator who clears it; a cure at the other end tells nothing, so the first four falls have no pause of this kind',
    test: ['test/bgp/session-damping.test.ts', 'a damped session is tried at once after '],
  },
  'controllers/chores.ts': {
    by: 'a Node or a pool that goes, a Node or HostEndpoint that changes, another configuration, and the leadership',
    test: ['test/controllers/chores.test.ts', 'a chore that failed is run at once when what it waits for changes'],
  },
  'controllers/load-balancer.ts': {
    by: 'the Service, blocks of Services, pools and the configuration; of a webhook that refuses a status no more nobody tells',
    test: ['test/controllers/load-balancer.test.ts', 'a Service that was refused is tried at once when it changes'],
  },
  'datastore/cache.ts': {
    by: 'a default route that comes, another address of the node',
    test: [
      'test/datastore/trust.test.ts',
      'when one watch is connected again the others try at once, no more often than once a second',
    ],
  },
  'datastore/watch.ts': {
    by: 'another watch that is connected, a default route that comes, another address of the node; of a kind that the server does not serve one that it serves at last',
    test: [
      'test/datastore/watch.test.ts',
      'a watch that waits for its next attempt makes it at once when it is told to hurry',
    ],
  },
  'felix/loop.ts': {
    by: 'each change that felix is told, each event of the kernel about what it wants, and each new refusal',
    test: ['test/felix/suite.ts', 'a refusal that lasts does not delay the next try after a new one'],
  },
  'felix/repair-pace.ts': {
    by: 'each event of another object, and a second in which nobody undoes the last repair',
    test: ['test/felix/suite.ts', 'a route that another program fights over delays the repair of no other'],
  },
  'ipam/owner-answers.ts': {
    by: 'each change of the block that the watch tells',
    test: ['test/ipam/owner-answers.test.ts', 'an answer that waits is tried at once when the block changes again'],
  },
  'ipam/publish-queue.ts': {
    by: 'the connection of the watch, the Node object of this node, a server that is believed again',
    test: ['test/agent/node-identity.test.ts', 'blocks wait no longer once the Node of this node is there'],
  },
  'ipam/spare-refusals.ts': {
    by: 'pools, reservations, settings and blocks of this node, a server that is there again, each ADD',
    test: ['test/ipam/spare-refusals.test.ts', 'a pool that is added gives a node without addresses a block at once'],
  },
  'cni/pod-decision.ts': {
    by: 'that it is right again, and another pod; that who undid it has ended is told by nobody',
    test: [
      'test/cni/pod-watch.test.ts',
      'a repair that is undone twice is left for its pod to undo, and is told until it is right again',
    ],
  },
  'lib/backoff.ts': { by: 'it counts the delays' },
}

test('every pause that grows has an entry in the table, and the test of the entry is there', t => {
  const found = files.filter(file => ROOMS.includes(file.split('/')[0]!) && GROWS.test(textOf(file)))
  t.deepEqual(found.sort(), Object.keys(ENDED_BY).sort())
  for (const [file, { test: shown }] of Object.entries(ENDED_BY))
    if (shown !== undefined) t.true(textOf(shown[0]).includes(shown[1]), `${file}: ${shown[1]}`)
})

/** Pauses of one length, of ten seconds and more, between attempts. */
const LONG = /(?:RETRY|AGAIN|REREAD|REFRESH)_MS = \d{2,}_\d{3}/
const LONG_ENDED_BY: Readonly<Record<string, string>> = {
  'agent/bgp-secrets.ts':
    'a disk that takes the file, which is tried again at every change of what is in it, else after ten seconds',
  'agent/domain-answers-file.ts': 'nothing: that a disk has room is told by nobody',
  'agent/domain-names.ts': 'nothing: that a group of NFLOG is free, or its module loaded, is told by nobody',
  'agent/node-statuses.ts': 'see above',
  'agent/policy-receipts.ts': 'see above',
  'agent/tunnel-addresses.ts': 'see above; that another node gives a block back is told by nobody',
  'agent/watch/duplicates.ts': 'the end of the pod; that a machine gets another address is told by nobody',
  'agent/watch/node-sessions.ts':
    'a session that comes up, or another reason of the speaker (test/agent/watch/node-sessions.test.ts); that a machine answers pings again is told by nobody',
  'controllers/chores.ts': 'see above',
  'controllers/collector.ts': 'the Node object; of an agent without one that ends nobody tells anything',
  'controllers/host-endpoints.ts':
    'the Node, the HostEndpoint in the way and the configuration (test/controllers/host-endpoints.test.ts); of a rule of the API server that goes nobody tells anything',
  'controllers/load-balancer.ts': 'see above',
  'cni/pod-mtu.ts': 'another MTU of the node; of a pod’s own end nobody tells anything',
  'cni/pod-watch.ts':
    'nothing: who undoes each repair would have the pod looked at all the time, so what else the pod loses waits for it too; that somebody put a route or an entry back himself is told by nobody',
  'datastore/cache.ts': 'the next change that is written; that a disk has room is told by nobody',
  'datastore/credentials.ts': 'a request that fails (test/datastore/credentials.test.ts)',
  'datastore/trust.ts':
    'every event of every watch, and each watch that is connected again (test/datastore/trust.test.ts)',
  'datastore/watch.ts': 'see above',
  'ipam/allocator.ts': 'the claim of a block, which lists all blocks itself (test/ipam/lending.test.ts)',
  'ipam/owner-round.ts': 'nothing: what an owner has in its blocks is told by nobody',
  'ipam/claims.ts':
    'a server that is reached again, an unlock, and each pod that comes or goes (test/ipam/give-back.test.ts)',
  'ipam/owner-answers.ts': 'see above',
  'ipam/pool-hold.ts':
    'a look that failed is made again after 5 s (test/ipam/pool-hold.test.ts), and the node with the last block looks when it is given back',
  'felix/loop.ts': 'it is no retry: each event of the kernel is followed at once',
}

test('every long pause of one length has an entry too, with what ends it, or why nothing does', t => {
  const found = files.filter(file => ROOMS.includes(file.split('/')[0]!) && LONG.test(textOf(file)))
  t.deepEqual(found.sort(), Object.keys(LONG_ENDED_BY).sort())
})
