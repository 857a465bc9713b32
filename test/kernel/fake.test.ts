import { setImmediate as nextTurn } from 'node:timers/promises'
import test from 'ava'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Route } from '../../kernel/port/routes.ts'
import { veth } from './builders.ts'
import { kernelContract, type World } from './contract.ts'
import { multipathSuite, shown } from './multipath-suite.ts'
import { nextHopGroupsSuite } from './next-hop-groups-suite.ts'
import { nextHopsContract } from './next-hops-contract.ts'
import { nftablesContract } from './nftables-contract.ts'
import { resilientGroupsSuite } from './resilient-groups-suite.ts'
import { routeTableSuite, setting } from './route-table-suite.ts'
import { shapingContract } from './shaping-contract.ts'

kernelContract(test, open)
nextHopsContract(test, open)
nftablesContract(test, open)
routeTableSuite(test, open)
multipathSuite(test, open)
nextHopGroupsSuite(test, open)
resilientGroupsSuite(test, open)
shapingContract(test, open)

function open(): World {
  const world = new FakeWorld({ kinds: ['veth', 'ipip', 'vxlan', 'bridge', 'ifb'] })
  world.addNetns('/run/netns/pod')
  const node = world.kernel()
  const otherProgram = world.kernel()
  const untold = world.kernel({ ownRoutes: 'untold' })
  return { node, otherProgram, untold, podPath: '/run/netns/pod', missingKind: 'dummy', close: () => node.close() }
}

test('a namespace that is removed takes its veths along at both ends', async t => {
  const world = new FakeWorld()
  world.addNetns('/run/netns/pod')
  using node = world.kernel()
  await node.createLink({ kind: 'veth', name: 'cali1', peer: { name: 'eth0', netns: '/run/netns/pod' } })
  world.removeNetns('/run/netns/pod')
  t.is(await node.link('cali1'), undefined)
})

// older kernels rename no link that is up
test('next hop groups: next hops behind a link that has another name now are not those of the one that has it', async t => {
  using kernel = new FakeWorld().kernel()
  const { cali, links, table, want, apply } = await setting(kernel)
  const monitor = kernel.monitor(event => {
    for (const name of links.observe(event)) table.invalidateInterface(name)
    table.observe(event)
  })
  const common = { dst: '10.4.0.0/26', table: 254, type: 'unicast', protocol: 80, scope: 0 } as const
  const over = (ifindex: number): Route => ({
    ...common,
    nextHops: [7, 8].map(n => ({ gateway: `192.0.2.${n}`, ifindex, onlink: true })),
  })
  want(over(cali))
  await apply()
  const other = await veth(kernel, 'other0', 'far0')
  for (const name of ['other0', 'far0']) await kernel.setLink(name, { up: true })
  await kernel.setLink('cali0', { name: 'old0' })
  await kernel.setLink('other0', { name: 'cali0' })
  await nextTurn()
  t.deepEqual((await apply()).refused, [])
  t.deepEqual(await shown(kernel, common.dst), [over(other)])
  monitor.close()
})
