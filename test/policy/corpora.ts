// Tables of cases that other projects hold implementations of policy to. They are not part of this one: the folder that
// has them is named by MARGAY_CORPORA, and what needs them is skipped without it.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { aNamespace, aPod } from './objects.ts'
import type { ClusterNetworkPolicy, ClusterRule, NetworkPolicy, World, WorldObject } from './reference/objects.ts'

const root = new URL('../..', import.meta.url).pathname
const folder = process.env['MARGAY_CORPORA'] ?? join(root, '../shared/corpora')

/** A test over all rows of a file; skipped, with the reason in its log, where the file is not. */
export function testRows<T>(
  title: string,
  file: string,
  run: (t: ExecutionContext, rows: readonly T[]) => void | Promise<void>,
): void {
  const path = join(folder, file)
  test(title, async t => {
    if (!existsSync(path)) {
      t.log(`skipped: no ${path}; set MARGAY_CORPORA to the folder that has it`)
      t.pass()
      return
    }
    const lines = readFileSync(path, 'utf8').split('\n')
    await run(
      t,
      lines.filter(line => line !== '').map(line => JSON.parse(line) as T),
    )
  })
}

/** One step of a case of reachability: row = source, column = destination, `.` allowed and `X` not, by `TCP/80`. */
export type ReachStep = {
  policies: readonly NetworkPolicy[] | null
  namespaces: Readonly<Record<string, Record<string, string>>>
  pods: readonly { ns: string; name: string; labels: Record<string, string>; ip: string }[]
  order: readonly string[]
  expect: Readonly<Record<string, readonly string[]>>
}
export type ReachCase = { id: number; description: string; steps: readonly ReachStep[] }

/** Every pod serves 80 and 81 by all three protocols, as `serve-80-tcp` and so on, each on a node of its own. */
export function reachWorld({ policies, namespaces, pods }: ReachStep): World {
  const served = [80, 81].flatMap(port =>
    ['TCP', 'UDP', 'SCTP'].map(protocol => ({
      name: `serve-${port}-${protocol.toLowerCase()}`,
      containerPort: port,
      protocol,
    })),
  )
  const objects: WorldObject[] = [...(policies ?? [])]
  for (const [name, labels] of Object.entries(namespaces)) objects.push(aNamespace(name, labels))
  for (const { ns, name, labels, ip } of pods)
    objects.push(aPod(`${ns}/${name}`, { labels, addresses: [ip], ports: served, node: `node-of-${ns}-${name}` }))
  return { objects }
}

type Poke = { fromNs: string; fromPod: string; proto: string; to: [string, string]; port: string; allow: boolean }
export type ClusterRow = {
  file: string
  subtest: string
  manifests: readonly (ClusterNetworkPolicy | NetworkPolicy)[]
  mutations: readonly string[]
  pokes: readonly Poke[]
}

const HOUSES: Readonly<Record<string, string>> = {
  gryffindor: 'harry-potter',
  slytherin: 'draco-malfoy',
  hufflepuff: 'cedric-diggory',
  ravenclaw: 'luna-lovegood',
}
const namespaceOf = (house: string) => `network-policy-conformance-${house}`

const addressOfPod = (house: string, index: number) => `10.99.${Object.keys(HOUSES).indexOf(house)}.${index + 1}`

/** The pokes of a row, each with the world that it is to be done in: what its file changed until then is done. */
export function clusterPokes({ subtest, manifests, mutations, pokes }: ClusterRow): { poke: Poke; world: World }[] {
  const objects = structuredClone(manifests) as (ClusterNetworkPolicy | NetworkPolicy)[]
  const [first] = objects
  if (first?.kind === 'ClusterNetworkPolicy') for (const line of mutations) mutate(first, line)
  const isLast = subtest.endsWith('respect the match for baseline cluster network policy')
  // the subtest before let Egress[0] pass, and this one begins by removing the NetworkPolicy
  if (isLast && first?.kind === 'ClusterNetworkPolicy')
    mutate(first, 'mutate.Spec.Egress[0].Action = api.ClusterNetworkPolicyRuleActionPass')
  const left = isLast ? objects.filter(({ kind }) => kind !== 'NetworkPolicy') : objects
  // between its pokes one file gives the namespace of slytherin another label, and later its own again
  const relabels = mutations.some(line => line.includes('denied-namespace-label'))
  return pokes.map((poke, i) => {
    const label = relabels && i >= 9 && i < 12 ? 'denied-namespace-label' : 'slytherin'
    return { poke, world: { objects: [...left, ...houses(label)] } }
  })
}

function houses(slytherin: string): WorldObject[] {
  const ports = [
    { name: 'web', containerPort: 80, protocol: 'TCP' },
    { name: 'web-8080', containerPort: 8080, protocol: 'TCP' },
    { name: 'dns', containerPort: 53, protocol: 'UDP' },
    { name: 'dns-5353', containerPort: 5353, protocol: 'UDP' },
    { name: 'sctp-9003', containerPort: 9003, protocol: 'SCTP' },
    { name: 'sctp-9005', containerPort: 9005, protocol: 'SCTP' },
  ]
  return Object.entries(HOUSES).flatMap(([house, pod]): WorldObject[] => [
    aNamespace(namespaceOf(house), {
      'kubernetes.io/metadata.name': namespaceOf(house),
      'conformance-house': house === 'slytherin' ? slytherin : house,
    }),
    ...[0, 1].map(index =>
      aPod(`${namespaceOf(house)}/${pod}-${index}`, {
        labels: { 'conformance-house': house },
        addresses: [addressOfPod(house, index)],
        ports,
        node: `node-${index}`,
      }),
    ),
  ])
}

type Lists = { -readonly [K in 'ingress' | 'egress']?: ClusterRule[] }

/** Does what a line of the tests in Go does to the policy. Lines that only name things are read where they are used. */
function mutate(policy: ClusterNetworkPolicy, line: string): void {
  const spec = policy.spec as Lists
  const swap = /^mutate\.Spec\.(\w+)\[(\d)\] = mutate\.Spec\.\1\[(\d)\]$/.exec(line)
  if (swap !== null) {
    // the other half is a line that puts back what was kept
    const rules = spec[swap[1]!.toLowerCase() as keyof Lists]!
    const [a, b] = [Number(swap[2]), Number(swap[3])]
    ;[rules[a], rules[b]] = [rules[b]!, rules[a]!]
  }
  const action = /^mutate\.Spec\.(\w+)\[(\d)\]\.Action = api\.ClusterNetworkPolicyRuleAction(\w+)$/.exec(line)
  if (action !== null) spec[action[1]!.toLowerCase() as keyof Lists]![Number(action[2])]!.action = action[3]!
  const named = /^mutate\.Spec\.(\w+)\[(\d)\] = (namedPortRule|dnsPortRule)$/.exec(line)
  if (named !== null) {
    const destinationNamedPort = named[3] === 'dnsPortRule' ? 'dns' : 'web'
    spec[named[1]!.toLowerCase() as keyof Lists]![Number(named[2])]!.protocols = [{ destinationNamedPort }]
  }
  if (line.startsWith('mutate.Spec.Egress = append(newRule'))
    spec.egress!.unshift({
      name: 'allow-egress-to-specific-podIPs',
      action: 'Accept',
      to: [{ networks: [`${addressOfPod('ravenclaw', 0)}/32`, `${addressOfPod('hufflepuff', 0)}/32`] }],
    })
}
