import test from 'ava'
import { isLabNamespace, MAX_NODES, namespacesOf, planLab } from '../../lab/plan.ts'

const usual = planLab({ prefix: 'margay-', nodes: [2, 1] })

test('by default n1 and n2 are on LAN A and n3 is on LAN B', t => {
  t.deepEqual(
    usual.nodes.map(({ name, netns, lan, address }) => [name, netns, lan.name, address]),
    [
      ['n1', 'margay-n1', 'A', '192.168.10.11'],
      ['n2', 'margay-n2', 'A', '192.168.10.12'],
      ['n3', 'margay-n3', 'B', '192.168.20.11'],
    ],
  )
})

test('every node has two pods, each in a namespace named after both', t => {
  t.deepEqual(
    usual.nodes[2]!.pods.map(({ name, netns, node }) => [name, netns, node]),
    [
      ['n3-p1', 'margay-n3-p1', 'n3'],
      ['n3-p2', 'margay-n3-p2', 'n3'],
    ],
  )
})

test('container ids differ within a lab and between labs with other prefixes', t => {
  const other = planLab({ prefix: 'x-', nodes: [2, 1] })
  const ids = [...usual.nodes, ...other.nodes].flatMap(node => node.pods.map(pod => pod.containerId))
  t.is(new Set(ids).size, ids.length)
})

test('no two nodes of the largest lab share a name or an address', t => {
  for (const a of [0, 1, MAX_NODES / 2, MAX_NODES]) {
    const { nodes } = planLab({ prefix: 'p-', nodes: [a, MAX_NODES - a] })
    t.is(new Set(nodes.map(({ name }) => name)).size, MAX_NODES)
    t.is(new Set(nodes.map(({ address }) => address)).size, MAX_NODES)
  }
})

test('a namespace belongs to a lab by its prefix and its form', t => {
  for (const name of namespacesOf(usual)) t.true(isLabNamespace('margay-', name), name)
  for (const name of ['margay-', 'margay-db', 'margay-n1-web', 'n1', 'xmargay-n1', 'margay-n1x'])
    t.false(isLabNamespace('margay-', name), name)
})
