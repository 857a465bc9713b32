// Pods that are BGP peers of their node: what felix makes of them in the local table, in the pod filter and in the main table.
import test from 'ava'
import type { LearnedRoute } from '../../felix/input.ts'
import { calculated, FULL, IPIP_POOL, PODS, type World } from './worlds.ts'

const PEERING = { ipv4: '169.254.0.179', ipv6: 'fd12::1', port: 1790 }
const [, both] = PODS

function node(world: Partial<World>, ...peers: readonly string[]) {
  const calculator = calculated({ ...FULL, ...world })
  for (const id of peers) calculator.set('peer', id, true)
  calculator.step()
  const { localRoute, nftElement, nftTable, route, condition } = calculator.wanted()
  const rules = [...nftTable.values()].flatMap(({ table, rules: all = [] }) =>
    table.name === 'margay' ? all.map(({ comment }) => comment) : [],
  )
  return {
    calculator,
    local: [...localRoute.values()].map(
      ({ dst, type, table, interfaceName }) => `${type} ${dst} ${interfaceName} ${table}`,
    ),
    peers: [...nftElement.values()].filter(({ set }) => set === 'peers').map(({ words }) => words.join()),
    guards: rules.filter(comment => comment?.includes('BGP for pods')),
    routes: route,
    conditions: condition,
  }
}

test('the address that pods peer with is led here in the families of the pods that are peers, and to no interface', t => {
  const [first] = PODS
  t.deepEqual(node({ peering: PEERING }).local, [])
  t.deepEqual(node({}, both!.id).local, [])
  t.deepEqual(node({ peering: PEERING }, first!.id).local, ['local 169.254.0.179/32 lo 255'])
  const { calculator, local } = node({ peering: PEERING }, both!.id)
  t.deepEqual(local, ['local 169.254.0.179/32 lo 255', 'local fd12::1/128 lo 255'])
  calculator.set('peer', both!.id, undefined)
  calculator.step()
  t.is(calculator.wanted().localRoute.size, 0)
  t.false([...calculator.wanted().address.values()].some(({ address }) => address === PEERING.ipv4))
})

test('only pods that are peers reach that address, and there the port of BGP alone; without one the filter is as ever', t => {
  t.deepEqual(node({}, both!.id).peers, [])
  t.deepEqual(node({}, both!.id).guards, [])
  const { calculator, peers, guards } = node({ peering: PEERING }, both!.id)
  t.deepEqual(peers, [both!.interfaceName])
  t.is(guards.length, 6)
  t.is(node({ peering: { ipv4: PEERING.ipv4, port: 179 } }, both!.id).guards.length, 3)
  calculator.configure({ peering: undefined })
  calculator.step()
  t.false([...calculator.wanted().nftElement.values()].some(({ set }) => set === 'peers'))
})

test('what a pod announces leads to it by its own interface, whatever its pool asks for between nodes, and asks for no tunnel', t => {
  const pod = { nextHop: '10.244.1.6', pod: both!.interfaceName, encapsulations: [] }
  const learned: LearnedRoute[] = [
    { prefix: '10.244.64.0/26', ...pod },
    { prefix: '198.51.100.0/24', ...pod },
    { prefix: 'fd00:5::/64', ...pod, nextHop: 'fd00:1::6' },
  ]
  const { routes, conditions } = node({ learned, pools: [{ ...IPIP_POOL, ipip: 'Always' }] }, both!.id)
  const over = { interfaceName: both!.interfaceName, onlink: true, type: 'unicast', protocol: 80, table: 254 }
  t.like(routes.get('10.244.64.0/26'), { ...over, gateway: '10.244.1.6' })
  t.like(routes.get('198.51.100.0/24'), { ...over, gateway: '10.244.1.6' })
  t.like(routes.get('fd00:5::/64'), { ...over, gateway: 'fd00:1::6' })
  t.is(conditions.size, 0)
})

test('what a pod announces of this node is not used, should it come through', t => {
  const pod = { nextHop: '10.244.1.6', pod: both!.interfaceName, encapsulations: [] }
  const { routes, conditions } = node({
    learned: [
      { prefix: '10.244.1.5/32', ...pod },
      { prefix: '192.168.10.11/32', ...pod },
    ],
  })
  t.is(routes.get('10.244.1.5/32')?.interfaceName, PODS[0]!.interfaceName)
  t.is(routes.get('192.168.10.11/32'), undefined)
  t.true([...conditions.values()].some(({ reason }) => reason === 'OwnPrefix'))
})
