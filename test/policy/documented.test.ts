// The examples of docs/policy.md are objects that are taken; the table below each says what passes with them, and both the
// rules and the reference evaluator say the same.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Kind } from '../../api/kinds.ts'
import { admit } from '../../api/validate.ts'
import { parseYaml } from '../../ctl/yaml.ts'
import { aNamespace, aNode, aPod } from './objects.ts'
import type { World, WorldObject } from './reference/objects.ts'
import { judge, type Packet, type Party } from './reference.ts'
import { passes } from './rendered.ts'

const text = readFileSync(join(import.meta.dirname, '../../docs/policy.md'), 'utf8')
const PROTOCOLS: Readonly<Record<string, number>> = { TCP: 6, UDP: 17 }
const NODES: Readonly<Record<string, readonly [string, string]>> = {
  n1: ['10.1.0.1', 'fd01::1'],
  n2: ['10.1.0.2', 'fd01::2'],
}

/** The rows of the first table in a text, without its head. */
function tableOf(part: string): string[][] {
  const lines = part.split('\n').filter(line => line.startsWith('|'))
  const cells = lines.map(line =>
    line
      .split('|')
      .slice(1, -1)
      .map(cell => cell.trim().replaceAll('`', '')),
  )
  return cells.slice(2)
}

const [, inner] = /^## Examples$(.*?)^## /ms.exec(text)!
const [cluster, ...examples] = inner!.split(/^### /m)

const labelsOf = (words: string) =>
  Object.fromEntries(
    words
      .split(' ')
      .filter(Boolean)
      .map(word => word.split('=') as [string, string]),
  )

/** The cluster that the examples are about: pods with labels, node and number in the networks of pods. */
function base(): WorldObject[] {
  const pods = tableOf(cluster!)
  const namespaces = new Set(pods.map(([name]) => name!.split('/')[0]!))
  return [
    ...Object.entries(NODES).map(([name, addresses]) => aNode(name, addresses, {})),
    ...[...namespaces].map(name => aNamespace(name, { 'kubernetes.io/metadata.name': name })),
    ...pods.map(([name, labels, node, number]) =>
      aPod(name!, {
        labels: labelsOf(labels!),
        addresses: [`10.0.0.${number}`, `fd00::${number}`],
        ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }],
        node: node!,
      }),
    ),
  ]
}

function partyOf(word: string): Party {
  if (word in NODES) return { node: word }
  return word.includes('/') ? { pod: word } : { address: word }
}

for (const example of examples) {
  const [title] = example.split('\n')
  const yaml = /^```yaml\n(.*?)^```$/ms.exec(example)?.[1] ?? ''
  const objects = parseYaml(yaml) as WorldObject[]
  const world: World = { objects: [...base(), ...objects] }
  const rows = tableOf(example)
  test(`in docs/policy.md, the example “${title}” does what its table says`, t => {
    t.true(objects.length > 0 && rows.length > 1)
    for (const [from, to, what, answer] of rows) {
      const [transport, port] = what!.split(' ')
      for (const family of [4, 6] as const) {
        if ([from, to].some(end => /^[\d.]+$/.test(end!)) && family === 6) continue
        const packet: Packet = {
          ...{ from: partyOf(from!), to: partyOf(to!) as Packet['to'], family },
          ...{ protocol: PROTOCOLS[transport!]!, sourcePort: 40_000, destinationPort: Number(port) },
        }
        const row = `${from} -> ${to} ${what}, IPv${family}`
        t.is(judge(world, packet).allowed ? 'passes' : 'dropped', answer!, row)
        t.is(passes(world, packet) ? 'passes' : 'dropped', answer!, row)
      }
    }
  })
}

test('docs/policy.md has examples of every kind of policy', t => {
  for (const kind of ['NetworkPolicy', 'GlobalNetworkPolicy', 'ClusterNetworkPolicy', 'Tier', 'NetworkSet'])
    t.regex(inner!, new RegExp(`^kind: ${kind}$`, 'm'))
})

const all = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].flatMap(([, yaml]) => parseYaml(yaml!) as WorldObject[])

test('every object of docs/policy.md is one that is taken', t => {
  for (const object of all) {
    const kind = object.apiVersion.startsWith('networking.k8s.io/') ? 'KubernetesNetworkPolicy' : object.kind
    const admitted = admit(kind as Kind, object)
    t.false(Array.isArray(admitted), JSON.stringify(admitted))
  }
})

test('in docs/policy.md, a pod reaches its resolver, and what it was told of the names of the example, and nothing else', t => {
  const policy = all.find(({ metadata }) => metadata.name === 'only-example')!
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
