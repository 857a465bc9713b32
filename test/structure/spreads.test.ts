// A call has about 120,000 arguments at most: `push(...items)` of a large cluster ends the program. The lists here cannot grow
// with a cluster or with what somebody sends.
import test from 'ava'
import { files, textOf } from './source.ts'

/** Files that may spread a list into a call, with what keeps it short. */
const SHORT: Readonly<Record<string, string>> = {
  'agent/cluster/ranks.ts': 'the two ends of a session',
  'agent/status/kubernetes-events.ts': 'the reasons of Events, a closed table',
  'bgp/own-restart.ts': 'the sessions of a speaker',
  'bgp/policy.ts': 'a segment of an AS path, 255 numbers',
  'bgp/wire/open.ts': 'the capabilities of a message',
  'cni/inspect.ts': 'what one pod differs in',
  'controllers/collector.ts': 'the owners of one block',
  'ctl/output/jsonpath.ts': 'the steps between two dots of a path',
  'felix/calc/calculator.ts': 'the tunnel ends of one node',
  'kernel/reconcile/each.ts': 'writes that are under way at a time',
}
const SPREAD = /(?:\.(?:push|unshift|splice)|\bMath\.(?:max|min)|fromCharCode|fromCodePoint)\((?:[^()\n{}]*, )?\.\.\./
const ROOMS = /^(?:agent|api|apiserver|bgp|cni|controllers|ctl|datastore|felix|ipam|kernel|lib)\/.*\.ts$/

test('no call takes a list of any length as its arguments', t => {
  const found = files.filter(file => ROOMS.test(file) && SPREAD.test(textOf(file)))
  t.deepEqual(found.toSorted(), Object.keys(SHORT).toSorted())
})
