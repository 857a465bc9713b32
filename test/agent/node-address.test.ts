import test from 'ava'
import { OwnAddress } from '../../agent/node-address.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aResource } from '../datastore/objects.ts'

/** A machine whose eth0 has these addresses and, if so, the default route. */
async function aMachine(addresses: readonly string[], { gateway = true } = {}) {
  const kernel = new FakeWorld().kernel()
  const { index: ifindex } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  for (const address of addresses)
    await kernel.addAddress({ ifindex, address, length: 24, scope: ROUTE_SCOPE.universe })
  const route = { dst: '0.0.0.0/0', table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.static } as const
  if (gateway)
    await kernel.changeRoutes([{ verb: 'add', route: { ...route, scope: 0, gateway: '192.0.2.1', ifindex } }])
  const clock = new ManualClock()
  const look = async (wanted: string, node?: ReturnType<typeof aNode>) => {
    const own = new OwnAddress({ kernel, clock, log: silentLog, wanted })
    const found = await own.look(node, () => undefined)
    return found?.address ?? own.refused()[0]?.message
  }
  return { kernel, clock, look, ifindex }
}

test('the address is what was asked for, else what the Node says, else that of the default route', async t => {
  const { look } = await aMachine(['192.0.2.11', '192.0.2.12', '192.0.2.13'])
  const annotated = aNode('n1', { annotations: { [NODE_ANNOTATION.ipv4Address]: '192.0.2.12/24' } })
  const status = { addresses: [{ type: 'InternalIP', address: '192.0.2.13' }] }
  const internal = aResource('Node', { metadata: { name: 'n1' }, spec: {}, status })
  t.is(await look('192.0.2.11', annotated), '192.0.2.11')
  t.is(await look('auto', annotated), '192.0.2.12')
  t.is(await look('auto', internal), '192.0.2.13')
  t.is(await (await aMachine(['192.0.2.11'])).look('auto'), '192.0.2.11')
})

test('a choice between two addresses is refused with both, and one that no interface has by name', async t => {
  const { look } = await aMachine(['192.0.2.11', '192.0.2.12'])
  t.regex((await look('auto'))!, /leaves the choice between 192\.0\.2\.11 on eth0, 192\.0\.2\.12 on eth0/)
  t.regex((await look('198.51.100.1'))!, /--node-ip is 198\.51\.100\.1, which no interface of this machine has/)
})

test('without a default route nothing is guessed', async t => {
  t.regex((await (await aMachine(['192.0.2.11'], { gateway: false })).look('auto'))!, /no IPv4 default route/)
})

test('it is looked for again after a while, and kept once it is found', async t => {
  const { kernel, clock, ifindex } = await aMachine([])
  const own = new OwnAddress({ kernel, clock, log: silentLog, wanted: '192.0.2.11' })
  let asked = 0
  t.like(own.refused()[0], { type: 'NodeAddressKnown', status: 'Unknown' })
  t.is(await own.look(undefined, () => asked++), undefined)
  clock.advance(500)
  t.is(asked, 1)
  await kernel.addAddress({ ifindex, address: '192.0.2.11', length: 24, scope: ROUTE_SCOPE.universe })
  t.like(await own.look(undefined, () => asked++), { address: '192.0.2.11', length: 24, uplink: 'eth0' })
  t.deepEqual(own.refused(), [])
  t.is(clock.pending, 0)
})

test('closed, it asks no more', async t => {
  const { kernel, clock } = await aMachine([])
  const own = new OwnAddress({ kernel, clock, log: silentLog, wanted: '192.0.2.11' })
  await own.look(undefined, () => t.fail())
  own.close()
  t.is(clock.pending, 0)
})
