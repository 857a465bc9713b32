import test from 'ava'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { kernelContract, type World } from './contract.ts'
import { multipathSuite } from './multipath-suite.ts'
import { nextHopGroupsSuite } from './next-hop-groups-suite.ts'
import { nextHopsContract } from './next-hops-contract.ts'
import { nftablesContract } from './nftables-contract.ts'
import { routeTableSuite } from './route-table-suite.ts'
import { shapingContract } from './shaping-contract.ts'

kernelContract(test, open)
nextHopsContract(test, open)
nftablesContract(test, open)
routeTableSuite(test, open)
multipathSuite(test, open)
nextHopGroupsSuite(test, open)
shapingContract(test, open)

function open(): World {
  const world = new FakeWorld({ kinds: ['veth', 'ipip', 'vxlan', 'bridge', 'ifb'] })
  world.addNetns('/run/netns/pod')
  const node = world.kernel()
  const otherProgram = world.kernel()
  return { node, otherProgram, podPath: '/run/netns/pod', missingKind: 'dummy', close: () => node.close() }
}

test('a namespace that is removed takes its veths along at both ends', async t => {
  const world = new FakeWorld()
  world.addNetns('/run/netns/pod')
  using node = world.kernel()
  await node.createLink({ kind: 'veth', name: 'cali1', peer: { name: 'eth0', netns: '/run/netns/pod' } })
  world.removeNetns('/run/netns/pod')
  t.is(await node.link('cali1'), undefined)
})
