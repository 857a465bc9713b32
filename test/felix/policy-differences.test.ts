// What CHECK is told of the policies of an interface while passes write others, on the kernel in memory.
import test from 'ava'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { LABEL, type PolicyRule } from '../../felix/policy/model.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { NftChange } from '../../kernel/port/nftables.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

const ALLOW: PolicyRule = { action: 'allow', source: {}, destination: {} }
const WEB = 'caliweb'

/** `meanwhile`: called before the parts of a table are read, and waited for. `wholeReads`: how often all of the policies was read. */
type Started = {
  felix: Felix
  /** Changes of which nobody tells felix: it believes that they are its own. */
  untold: (change: NftChange) => Promise<unknown>
  world: FakeWorld
  meanwhile: (act: () => Promise<void>) => void
  wholeReads: () => number
}

/** A felix with one pod. */
async function started(): Promise<Started> {
  const world = new FakeWorld()
  let act = async () => {}
  let wholeReads = 0
  const own = world.kernel()
  const kernel = new Proxy(own, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== 'function') return method
      if (name !== 'nftables') return method.bind(target)
      return async (...args: Parameters<typeof target.nftables>) => {
        if (args[1] !== undefined && 'only' in args[1]) await act()
        if (args[0].name === 'margay-policy' && args[1] === undefined) wholeReads++
        return target.nftables(...args)
      }
    },
  })
  await kernel.createLink({ kind: 'veth', name: WEB, peer: { name: 'web0' } })
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const felix = new Felix(kernel, { clock: new ManualClock(), log: silentLog, marks, onConditions: () => {} })
  felix.configure({ node: { name: 'n1', ipv4: '192.168.10.11/24', uplink: 'eth0' } })
  felix.setPolicy('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
  felix.setPolicy('profile', 'kns.default', { ingress: [ALLOW], egress: [ALLOW] })
  const labels = { [LABEL.orchestrator]: 'k8s', [LABEL.namespace]: 'default' }
  felix.setPolicy('endpoint', 'web', { kind: 'pod', labels, addresses: ['10.0.0.1'], ports: [] })
  felix.setLocalEndpoint('web', { interfaceName: WEB, profiles: ['kns.default'] })
  for (const source of ['endpoints', 'datastore', 'policy'] as const) felix.complete(source)
  felix.start()
  await passed(felix)
  const meanwhile = (other: () => Promise<void>) => {
    act = other
  }
  const untold = (change: NftChange) => own.changeNftables([change])
  return { felix, untold, world, meanwhile, wholeReads: () => wholeReads }
}

/** Waits for a pass; what it is refused elsewhere does not matter here. */
const passed = (felix: Felix): Promise<void> => felix.applied().catch(() => undefined)

test('a change of policies that is written while they are compared is no difference, and has nothing read again', async t => {
  const { felix, meanwhile, wholeReads } = await started()
  t.deepEqual(await felix.filterDifferences(WEB), [])
  let changes = 0
  meanwhile(async () => {
    if (changes++ > 0) return
    felix.setPolicy('profile', 'kns.default', { ingress: [], egress: [ALLOW] })
    await passed(felix)
  })
  t.deepEqual(await felix.filterDifferences(WEB), [])
  t.is(changes, 2)
  const before = wholeReads()
  await passed(felix)
  t.is(wholeReads(), before)
  await felix.close()
})

test('of policies that never stand still what differs each time is told, and nothing else', async t => {
  const { felix, world, meanwhile } = await started()
  let changes = 0
  meanwhile(async () => {
    const isOpen = changes++ % 2 === 1
    felix.setPolicy('profile', 'kns.default', { ingress: isOpen ? [ALLOW] : [], egress: [ALLOW] })
    await passed(felix)
  })
  t.deepEqual(await felix.filterDifferences(WEB), [])
  t.true(changes > 1)
  await felix.close()
  const table = { family: 'inet', table: 'margay-policy' } as const
  const from = { kind: 'elements', ...table, set: 'from_pod', type: 'ifname', data: 'verdict' } as const
  meanwhile(async () => {})
  await world.kernel().changeNftables([{ verb: 'delete', object: { ...from, elements: [{ key: [WEB] }] } }])
  t.deepEqual(await felix.filterDifferences(WEB), [
    { object: `element inet margay-policy from_pod { ${WEB} }`, is: 'missing' },
  ])
})

test('what CHECK finds in the kernel and nobody told of is put back by the next pass, of policies and of limits', async t => {
  const { felix, untold } = await started()
  felix.setLocalEndpoint('web', { interfaceName: WEB, profiles: ['kns.default'], qos: { dscp: 10 } })
  await passed(felix)
  for (const [table, set] of [
    ['margay-policy', 'from_pod'],
    ['margay-qos', 'dscp_from'],
  ] as const) {
    const of = { family: 'inet', table, set, type: 'ifname', data: 'verdict' } as const
    t.deepEqual(await untold({ verb: 'delete', object: { kind: 'elements', ...of, elements: [{ key: [WEB] }] } }), [])
    t.deepEqual(await felix.filterDifferences(WEB), [
      { object: `element inet ${table} ${set} { ${WEB} }`, is: 'missing' },
    ])
    await passed(felix)
    t.deepEqual(await felix.filterDifferences(WEB), [])
  }
  await felix.close()
})
