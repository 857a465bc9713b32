// The log levels of an agent, as the configuration of the cluster changes.
import test from 'ava'
import { agentLevels, Reporting } from '../../agent/reporting.ts'
import type { LogRoom } from '../../api/log-settings.ts'
import { RuleCounts } from '../../felix/rule-counts.ts'
import { ManualClock } from '../../lib/clock.ts'
import { createLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'
import { someNumbers } from './status/numbers.ts'

test('logSeverityScreen of FelixConfiguration is for all rooms, that of its object for this node before it, and that of BGPConfiguration for bgp, of its object for this node before', t => {
  const levels = agentLevels(createLog('test', 'warn', { write: () => undefined }))
  const objects = new Map<string, object>()
  const listeners = new Map<string, () => void>()
  const reporting = new Reporting({
    ...{ nodeName: 'n1', clock: new ManualClock(), levels, report: () => undefined },
    view: {
      onChange: (kind, listen) => void listeners.set(kind, listen as () => void),
      get: (kind, name) => objects.get(`${kind} ${name}`) as never,
    },
    store: { writeAny: async () => undefined },
    agent: { numbers: someNumbers, droppedPackets: async () => new Map(), ruleCounts: async () => new RuleCounts() },
  })
  t.teardown(() => reporting.close())
  const set = (kind: 'FelixConfiguration' | 'BGPConfiguration', name: string, spec: object | undefined) => {
    if (spec === undefined) objects.delete(`${kind} ${name}`)
    else objects.set(`${kind} ${name}`, aResource(kind, { metadata: { name }, spec }))
    listeners.get(kind)!()
  }
  const levelOf = (room: LogRoom) => levels.levels().find(each => each.room === room)?.level
  reporting.start()
  t.is(levelOf('felix'), 'warn')
  set('FelixConfiguration', 'default', { logSeverityScreen: 'Debug' })
  t.deepEqual([levelOf('felix'), levelOf('bgp')], ['debug', 'debug'])
  set('BGPConfiguration', 'default', { logSeverityScreen: 'Error' })
  t.deepEqual([levelOf('felix'), levelOf('bgp')], ['debug', 'error'])
  set('FelixConfiguration', 'node.n1', { logSeverityScreen: 'Fatal' })
  t.deepEqual([levelOf('felix'), levelOf('bgp')], ['fatal', 'error'])
  set('BGPConfiguration', 'node.n1', { logSeverityScreen: 'Debug' })
  t.is(levelOf('bgp'), 'debug')
  set('BGPConfiguration', 'node.n1', undefined)
  set('BGPConfiguration', 'default', {})
  t.is(levelOf('bgp'), 'fatal', 'its schema says Info, which says nothing')
  set('FelixConfiguration', 'node.n1', undefined)
  set('FelixConfiguration', 'default', {})
  t.deepEqual([levelOf('felix'), levelOf('bgp')], ['warn', 'warn'])
})
