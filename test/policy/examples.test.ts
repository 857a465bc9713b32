// The examples of docs/policy.md are objects that are taken, and mean what is said there.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { parseAllDocuments } from 'yaml'
import { admit } from '../../api/validate.ts'
import { aNamespace, aPod } from './objects.ts'
import type { WorldObject } from './reference/objects.ts'
import { judge } from './reference.ts'

const text = readFileSync(new URL('../../docs/policy.md', import.meta.url), 'utf8')
const examples = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].flatMap(([, yaml]) =>
  parseAllDocuments(yaml!).map(document => document.toJS() as WorldObject),
)
const example = (name: string) => examples.find(({ metadata }) => metadata.name === name)!

test('a pod reaches its resolver, and what it was told of the names of the example, and nothing else', t => {
  const policy = example('only-example')
  const admitted = admit('ClusterNetworkPolicy', policy)
  t.false(Array.isArray(admitted), JSON.stringify(admitted))
  const objects = [
    policy,
    aNamespace('shop', { team: 'web' }),
    aNamespace('kube-system', { 'kubernetes.io/metadata.name': 'kube-system' }),
    aPod('shop/a', { node: 'n1', addresses: ['10.1.0.1'] }),
    aPod('shop/b', { node: 'n1', addresses: ['10.1.0.2'] }),
    aPod('kube-system/dns', { node: 'n1', labels: { 'k8s-app': 'kube-dns' }, addresses: ['10.1.0.9'] }),
  ]
  const told = ['www.example.com', 'x.y.example.org', 'example.org', 'example.com'].map((name, i) => {
    return { pod: 'shop/a', name, addresses: [`203.0.113.${i + 1}`] }
  })
  const allows = (pod: string, to: { address: string } | { pod: string }, protocol: number, port: number) =>
    judge(
      { objects, answers: told },
      { from: { pod }, to, protocol, destinationPort: port, sourcePort: 4000, family: 4 },
    ).allowed
  t.true(allows('shop/a', { pod: 'kube-system/dns' }, 17, 53))
  t.false(allows('shop/a', { pod: 'kube-system/dns' }, 6, 80))
  const reached = (pod: string) => told.filter((_, i) => allows(pod, { address: `203.0.113.${i + 1}` }, 6, 443))
  t.deepEqual(
    reached('shop/a').map(({ name }) => name),
    ['www.example.com', 'x.y.example.org'],
  )
  t.deepEqual(reached('shop/b'), [])
})
