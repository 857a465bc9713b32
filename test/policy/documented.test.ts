// The examples of docs/policy.md: the table below each says what passes with its objects, and both the rules and the reference
// evaluator say the same.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
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
