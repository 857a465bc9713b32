// The map as it was.
import test from 'ava'
import { mapAt, type ToldEvent } from '../../ui/history.ts'
import { type MapModel, mapOf, type NodeSnapshot } from '../../ui/model.ts'

const START = Date.parse('2026-01-02T00:00:00Z')
const at = (seconds: number) => new Date(START + seconds * 1000).toISOString()

function snapshot(node: string, wrong: string[] = []): NodeSnapshot {
  return {
    ...{ node, atMs: START, ready: true, pods: [], podCount: 0, blocks: [], paths: [] },
    wrong: wrong.map(type => ({ type, status: 'False', reason: 'R', message: '', remedy: '' })),
    sessions: { up: 0, down: [], downCount: 0 },
  }
}

const now = (wrong: string[] = []): MapModel =>
  mapOf(
    [
      { node: 'n1', last: snapshot('n1', wrong) },
      { node: 'n2', last: snapshot('n2') },
      { node: 'n3', silent: 'away' },
    ],
    START,
    ['PodTrafficPasses'],
  )

function changed(
  seconds: number,
  type: string,
  reason: string,
  object: ToldEvent['object'] = { kind: 'Link', name: 'eth0' },
): ToldEvent {
  return { node: 'n1', at: at(seconds), type: 'ConditionChanged', object, reason, message: `${type}: ${reason}` }
}

const stateAt = (events: ToldEvent[], seconds: number, wrong: string[] = []) => {
  const [n1] = mapAt(now(wrong), events, START + seconds * 1000).nodes
  return [n1!.state, ...n1!.wrong]
}

test('a node has the promises broken that it had then; a vital one makes it not ready', t => {
  const events = [
    changed(10, 'PodTrafficPasses', 'LinkDown'),
    changed(20, 'PodTrafficPasses', 'Ok'),
    changed(15, 'UplinksUp', 'LinkDown'),
  ]
  t.deepEqual(stateAt(events, 5), ['ready'])
  t.deepEqual(stateAt(events, 10), ['not ready', 'PodTrafficPasses'])
  t.deepEqual(stateAt(events, 16), ['not ready', 'PodTrafficPasses', 'UplinksUp'])
  t.deepEqual(stateAt(events, 25), ['ready', 'UplinksUp'])
})

test('before its first change a promise was what that change ended, and one that never changed is as it is now', t => {
  t.deepEqual(stateAt([changed(20, 'KernelInSync', 'Ok')], 5), ['ready', 'KernelInSync'])
  t.deepEqual(stateAt([], 5, ['ApiServerConnected']), ['ready', 'ApiServerConnected'])
  t.deepEqual(stateAt([changed(20, 'ApiServerConnected', 'NoAnswer')], 5, ['ApiServerConnected']), ['ready'])
})

test('one promise about two objects is broken until both are right', t => {
  const other = { kind: 'Link', name: 'eth1' }
  const events = [
    changed(1, 'UplinksUp', 'LinkDown'),
    changed(2, 'UplinksUp', 'LinkDown', other),
    changed(3, 'UplinksUp', 'Ok'),
  ]
  t.deepEqual(stateAt(events, 4), ['ready', 'UplinksUp'])
})

test('a path that was lost is drawn, once for both ends; a silent node stays silent; summed and other events say nothing', t => {
  const lost = (node: string, far: string): ToldEvent => ({
    ...changed(5, 'PathsPass', 'VxlanSilent', { kind: 'Node', name: far }),
    node,
  })
  const events = [
    ...[lost('n1', 'n2'), lost('n2', 'n1'), lost('n1', 'n9')],
    { ...changed(5, 'BlocksReachable', 'VtepUnknown'), message: 'BlocksReachable: 1000 changes: 600 VtepUnknown' },
    { ...changed(5, 'KernelInSync', 'Refused'), type: 'Healed' },
  ]
  const then = mapAt(now(), events, START + 6_000)
  t.deepEqual(then.links, [{ from: 'n1', to: 'n2', state: 'lost' }])
  t.deepEqual(
    then.nodes.map(({ state, wrong }) => [state, ...wrong]),
    [['ready', 'PathsPass'], ['ready', 'PathsPass'], ['silent']],
  )
  t.deepEqual(mapAt(now(), events, START + 4_000).links, [])
})
