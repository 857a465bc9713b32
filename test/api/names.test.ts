import test from 'ava'
import { blockName, isLabelValue, isObjectName, isQualifiedName, nodeName } from '../../api/names.ts'

test('a block is named after its CIDR', t => {
  t.is(blockName('10.244.1.0/26'), '10-244-1-0-26')
  t.is(blockName('fd00:10::/122'), 'fd00-10---122')
})

test('names of objects, labels and annotations follow Kubernetes', t => {
  for (const good of ['a', 'a-b.c', '10-0-0-0-26']) t.true(isObjectName(good), good)
  for (const bad of ['', 'A', '-a', 'a-', 'a..b', 'a/b', 'a'.repeat(254)]) t.false(isObjectName(bad), bad)
  for (const good of ['a', 'a.b/C_d', 'projectcalico.org/IPv4Address']) t.true(isQualifiedName(good), good)
  for (const bad of ['', '/a', 'A/b', 'a/', 'a b', 'a'.repeat(64)]) t.false(isQualifiedName(bad), bad)
  for (const good of ['', 'a', 'A_b.c']) t.true(isLabelValue(good), good)
  for (const bad of ['-', 'a b', 'a'.repeat(64)]) t.false(isLabelValue(bad), bad)
})

test('a host called Worker-1 is the node worker-1, as for the kubelet', t => {
  t.is(nodeName('Worker-1'), 'worker-1')
  t.is(nodeName(' n1.Example.ORG '), 'n1.example.org')
})
