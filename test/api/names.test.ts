import test from 'ava'
import {
  blockAffinityName,
  blockName,
  isLabelValue,
  isObjectName,
  isQualifiedName,
  workloadEndpointName,
} from '../../api/names.ts'

test('a block is named after its CIDR', t => {
  t.is(blockName('10.244.1.0/26'), '10-244-1-0-26')
  t.is(blockName('fd00:10::/122'), 'fd00-10---122')
})

test('a block affinity is named after node and block, with a hash when that is too long', t => {
  t.is(blockAffinityName('node1', '10.244.1.0/26'), 'node1-10-244-1-0-26')
  const long = blockAffinityName('n'.repeat(250), '10.244.1.0/26')
  t.true(long.length <= 252)
  t.regex(long, /^n+-10-244-1-0-26-[0-9a-f]{11}$/)
  t.not(long, blockAffinityName('n'.repeat(251), '10.244.1.0/26'))
})

test('a workload endpoint is named after its parts, each dash in them doubled', t => {
  const name = workloadEndpointName({ node: 'node-1', orchestrator: 'k8s', workload: 'web-0', endpoint: 'eth0' })
  t.is(name, 'node--1-k8s-web--0-eth0')
})

test('names of objects, labels and annotations follow Kubernetes', t => {
  for (const good of ['a', 'a-b.c', '10-0-0-0-26']) t.true(isObjectName(good), good)
  for (const bad of ['', 'A', '-a', 'a-', 'a..b', 'a/b', 'a'.repeat(254)]) t.false(isObjectName(bad), bad)
  for (const good of ['a', 'a.b/C_d', 'projectcalico.org/IPv4Address']) t.true(isQualifiedName(good), good)
  for (const bad of ['', '/a', 'A/b', 'a/', 'a b', 'a'.repeat(64)]) t.false(isQualifiedName(bad), bad)
  for (const good of ['', 'a', 'A_b.c']) t.true(isLabelValue(good), good)
  for (const bad of ['-', 'a b', 'a'.repeat(64)]) t.false(isLabelValue(bad), bad)
})
