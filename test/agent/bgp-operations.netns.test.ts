// docs/bgp-operations.md as it stands: its manifests are applied to a whole node, its routers are started beside it.
// Over 400 lines: a few for each recipe, on one machine.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { parse, parseAllDocuments } from 'yaml'
import { type ClusterObjects, nodeBgp, nodesOf, previewOf } from '../../agent/cluster/preview.ts'
import type { AgentStatus } from '../../api/answers.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { formatReflectors, REFLECTORS_ANNOTATION } from '../../api/reflectors.ts'
import { askedReflectors } from '../../controllers/reflector-wish.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { bird, frr, frrDaemon, vtysh } from '../bgp/daemons.ts'
import { makeLink, Program, runnable } from '../bgp/interop.ts'
import { aNode, aResource } from '../datastore/objects.ts'
import { type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'
import { ask, aWholeNode, cniCall, type RunningAgent, until, type WholeNode } from './whole-node.ts'

const DOCUMENT = readFileSync(new URL('../../docs/bgp-operations.md', import.meta.url), 'utf8')
const ROUTERS = ['192.0.2.1', '192.0.2.2'] as const
const asRoot = runnable(bird) ? test.serial : test.serial.skip

/** The blocks of one language below a heading. */
function recipe(heading: string): string {
  const section = DOCUMENT.split(/^## /m).find(each => each.startsWith(`${heading}\n`))
  if (section === undefined) throw new Error(`docs/bgp-operations.md has no recipe ${heading}`)
  return section
}

function blocks(heading: string, language: string): string[] {
  return [...recipe(heading).matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(([, text]) => text!)
}

/** The manifest of a recipe, without what is for Kubernetes alone. */
function manifest(heading: string): string {
  const documents = blocks(heading, 'yaml').flatMap(text => text.split(/^---$/m))
  return documents.filter(text => !/^kind: Role(Binding)?$/m.test(text)).join('---\n')
}

let node: WholeNode
let link: ScratchNetns
let folder: string
let agent: RunningAgent

test.before(async () => {
  if (!runnable(bird)) return
  node = await aWholeNode(1, [
    { kind: 'Namespace', object: aResource('Namespace', { metadata: { name: 'kube-system' } }) },
  ])
  link = scratchNetns()
  folder = mkdtempSync(join(tmpdir(), 'margay-operations-'))
  node.run('ip', 'link', 'set', 'lan0', 'netns', link.name)
  const addresses = ROUTERS.map(address => `addr add ${address}/24 dev lan0`)
  for (const command of ['link set lo up', 'link set lan0 up', ...addresses])
    execFileSync(systemProgram('ip'), ['-n', link.name, ...command.split(' ')])
  node.ctl('label', 'node', 'n1', 'rack=a')
  agent = node.startAgent()
})
test.after.always(async () => {
  await node?.close()
  link?.[Symbol.dispose]()
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
})

/** Undefined while the agent does not answer yet. */
async function stateOf(address: string): Promise<string | undefined> {
  const { code, body } = await ask(agent.socket, 'GET', '/status')
  if (code !== 200) return undefined
  return (JSON.parse(body) as AgentStatus).peers.find(peer => peer.address === address)?.state
}

/** Runs the router of a recipe at an address until the end of the test; asks it. */
function router(t: ExecutionContext, heading: string, address: (typeof ROUTERS)[number] = ROUTERS[0]) {
  const [config] = blocks(heading, 'bird')
  const file = join(folder, `${address}.conf`)
  const control = join(folder, `${address}.ctl`)
  // both routers share one namespace here, so that each takes the connections to its address; and shorter pauses
  const text = config!
    // not in the address of the node, which begins like that
    .replaceAll(/192\.0\.2\.1(?!\d)/g, address)
    .replaceAll(
      'graceful restart yes;',
      'graceful restart yes; strict bind yes; connect delay time 1; error wait time 1,2;',
    )
  writeFileSync(file, `log stderr all;\n${text}`)
  const args = ['-f', '-c', file, '-s', control, '-P', join(folder, `${address}.pid`)]
  const program = new Program(link, folder, { name: `bird-${address}`, command: bird.program, args })
  t.teardown(() => program.stop('SIGKILL'))
  const words = [`--net=${link.path}`, systemProgram('birdc'), '-s', control]
  return (...question: string[]) =>
    execFileSync(systemProgram('nsenter'), [...words, ...question], { encoding: 'utf8', stdio: 'pipe' })
}

/** Applies the manifest of a recipe, and takes it away at the end of the test. */
function apply(t: ExecutionContext, heading: string): void {
  const file = join(folder, 'manifest.yaml')
  const text = manifest(heading)
  writeFileSync(file, text)
  node.ctl('apply', '-f', file)
  t.teardown(() => node.ctl('delete', '-f', file))
}

async function established(t: ExecutionContext, ...addresses: string[]): Promise<void> {
  for (const address of addresses)
    await until(
      t,
      `session with ${address}`,
      () => stateOf(address),
      state => state === 'Established',
      60_000,
    )
}

/** The next hops of the node's route to a prefix. */
async function nextHops(prefix: string): Promise<string[]> {
  const routes = JSON.parse(node.run('ip', '-json', 'route', 'show', prefix) || '[]') as {
    gateway?: string
    nexthops?: { gateway: string }[]
  }[]
  return routes.flatMap(({ gateway, nexthops }) => nexthops?.map(each => each.gateway) ?? gateway ?? []).sort()
}

const BLOCK = /10\.244\.\d+\.\d+\/26/

async function hasBlock(t: ExecutionContext, ask: (...words: string[]) => string): Promise<string> {
  const text = await until(
    t,
    'the router has the block',
    () => ask('show', 'route', 'all', 'protocol', nodesIn(ask)),
    seen => BLOCK.test(seen),
  )
  return text
}

/** The protocol of BIRD that is the session with the node: of a range it is made when the node comes. */
function nodesIn(ask: (...words: string[]) => string): string {
  const line = ask('show', 'protocols')
    .split('\n')
    .find(each => /^\S+ +BGP .*Established/.test(each))
  return line?.split(' ')[0] ?? 'nodes'
}

test('every recipe of the document is run here', t => {
  const headings = [...DOCUMENT.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading)
  t.deepEqual(headings, [
    ...[
      'A top-of-rack router',
      'Two top-of-rack routers',
      'Two top-of-rack routers without addresses',
      'Routers that dial in from a prefix',
      'An AS number for each rack',
      'Passwords',
      'BFD',
      'Services',
      'Route reflectors',
      'Automatic route reflectors',
    ],
    'Maintenance of a node',
  ])
  for (const heading of headings)
    for (const text of blocks(heading!, 'yaml'))
      for (const document of parseAllDocuments(text)) t.deepEqual(document.errors, [])
})

asRoot('a top-of-rack router', async t => {
  await until(
    t,
    'ready',
    async () => (await ask(agent.socket, 'GET', '/readyz')).code,
    code => code === 200,
    60_000,
  )
  t.is((await cniCall(agent.socket, 'ADD', 'c1', node.pod(0))).code, 200)
  const heading = 'A top-of-rack router'
  const say = router(t, heading)
  apply(t, heading)
  await established(t, ROUTERS[0])
  await hasBlock(t, say)
  await until(
    t,
    'what lies in the pool',
    () => nextHops('10.244.128.0/26'),
    hops => hops.join() === ROUTERS[0],
  )
  t.false((await nextHops('default')).some(hop => hop !== ROUTERS[0]))
  t.notRegex(node.run('ip', 'route', 'show', 'default'), /proto 80/, 'no default route is taken')
})

asRoot('two top-of-rack routers', async t => {
  const heading = 'Two top-of-rack routers'
  router(t, heading)
  router(t, heading, ROUTERS[1])
  apply(t, heading)
  await established(t, ...ROUTERS)
  await until(
    t,
    'both next hops',
    () => nextHops('198.51.100.0/24'),
    hops => hops.join() === ROUTERS.join(),
  )
  t.is(node.ctl('bgp', 'route', '198.51.100.0/24', '--socket', agent.socket).match(/^[*=>]/gm)?.length, 2)
})

/** Runs a router of a recipe that is joined to an interface of the node by `swp1`; asks it. */
function unnumberedRouter(t: ExecutionContext, heading: string, { number, uplink }: { number: 1 | 2; uplink: string }) {
  const router = makeLink()
  t.teardown(() => router[Symbol.asyncDispose]())
  node.run('ip', 'link', 'add', uplink, 'type', 'veth', 'peer', 'name', 'swp1', 'netns', router.theirs.name)
  node.run('ip', 'link', 'set', uplink, 'up')
  execFileSync(systemProgram('ip'), ['-n', router.theirs.name, 'link', 'set', 'swp1', 'up'])
  router.run('theirs', { name: 'zebra', ...frr.beside!(router)! })
  const [config] = blocks(heading, 'frr')
  router.run('theirs', {
    name: 'bgpd',
    ...frrDaemon(router, 'bgpd', config!.replace(ROUTERS[0], ROUTERS[number - 1]!)),
  })
  return (command: string) => vtysh(router, command)
}

;(runnable(bird) && runnable(frr) ? test.serial : test.serial.skip)(
  'two top-of-rack routers without addresses, which keep the node’s blocks while its agent restarts',
  async t => {
    const heading = 'Two top-of-rack routers without addresses'
    const uplinks = ['eth1', 'eth2'] as const
    apply(t, heading)
    const conditions = async () => (await ask(agent.socket, 'GET', '/status')).body
    await until(t, 'no such interface', conditions, text => /this machine has no interface eth2/.test(text), 60_000)
    const say = uplinks.map((uplink, i) => unnumberedRouter(t, heading, { number: i === 0 ? 1 : 2, uplink }))
    const states = async () => {
      const { code, body } = await ask(agent.socket, 'GET', '/status')
      const { peers = [] } = code === 200 ? (JSON.parse(body) as AgentStatus) : {}
      return uplinks.map(uplink => peers.find(({ name }) => name === `Node_${uplink}`)?.state).join()
    }
    const bothUp = () => until(t, 'both sessions', states, text => text === 'Established,Established', 60_000)
    await bothUp()
    const ways = () => node.run('ip', 'route', 'show', '198.51.100.0/24').match(/via inet6 fe80::\S+ dev eth\d/g) ?? []
    await until(
      t,
      'both next hops',
      async () => ways(),
      found => found.length === 2,
      60_000,
    )
    t.deepEqual(
      ways()
        .map(way => way.slice(-4))
        .sort(),
      [...uplinks],
    )
    for (const each of say)
      await until(
        t,
        'the block',
        async () => each('show bgp ipv4 unicast'),
        text => BLOCK.test(text),
        60_000,
      )
    agent.child.kill('SIGKILL')
    await agent.ended
    agent = node.startAgent()
    for (const each of say) t.regex(each('show bgp ipv4 unicast'), BLOCK)
    t.is(ways().length, 2)
    await bothUp()
    await until(
      t,
      'both next hops again',
      async () => ways(),
      found => found.length === 2,
      60_000,
    )
    for (const each of say) t.regex(each('show bgp ipv4 unicast'), BLOCK)
  },
)

asRoot(
  'routers that dial in from a prefix, which keep the node’s blocks while its agent restarts, and one gets a BGPPeer of its own',
  async t => {
    const heading = 'Routers that dial in from a prefix'
    const say = [router(t, heading), router(t, heading, ROUTERS[1])]
    apply(t, heading)
    await established(t, ...ROUTERS)
    const bothWays = () =>
      until(
        t,
        'both next hops',
        () => nextHops('10.244.128.0/26'),
        hops => hops.join() === ROUTERS.join(),
        60_000,
      )
    await bothWays()
    for (const each of say) await hasBlock(t, each)
    agent.child.kill('SIGKILL')
    await agent.ended
    agent = node.startAgent()
    const kept = async () => {
      t.deepEqual(await nextHops('10.244.128.0/26'), [...ROUTERS])
      for (const each of say) t.regex(each('show', 'route', 'all', 'protocol', 'node1'), BLOCK)
    }
    await kept()
    await established(t, ...ROUTERS)
    await kept()
    const file = join(folder, 'own.yaml')
    const own = { metadata: { name: 'own' }, spec: { node: 'n1', peerIP: ROUTERS[0], asNumber: 65010 } }
    writeFileSync(file, JSON.stringify({ apiVersion: 'projectcalico.org/v3', kind: 'BGPPeer', ...own }))
    node.ctl('apply', '-f', file)
    t.teardown(() => node.ctl('delete', '-f', file))
    const sessions = async () => {
      const { peers } = JSON.parse((await ask(agent.socket, 'GET', '/status')).body) as AgentStatus
      return peers.map(({ name, state, flaps }) => `${name} ${state} ${flaps}`).sort()
    }
    await until(
      t,
      'the one by its own BGPPeer, and the other one as before',
      sessions,
      found => found.join() === 'Node_192_0_2_1 Established 0,Node_192_0_2_2 Established 0',
      60_000,
    )
    await bothWays()
  },
)

asRoot('passwords', async t => {
  const say = router(t, 'Passwords')
  apply(t, 'Passwords')
  await established(t, ROUTERS[0])
  await hasBlock(t, say)
})

asRoot('BFD', async t => {
  const say = router(t, 'BFD')
  apply(t, 'BFD')
  await established(t, ROUTERS[0])
  await until(
    t,
    'BFD is up at the router',
    () => say('show', 'bfd', 'sessions'),
    seen => /192\.0\.2\.11 .*Up/.test(seen),
  )
  const [command] = blocks('BFD', 'sh')
  const words = command!.trim().split(' ').slice(1)
  await until(
    t,
    'and here',
    () => node.ctl(...words, '--socket', agent.socket),
    seen => /Up/i.test(seen),
  )
})

asRoot('Services', async t => {
  const say = router(t, 'Services')
  apply(t, 'Services')
  await established(t, ROUTERS[0])
  const routes = () => say('show', 'route', 'all', 'protocol', nodesIn(say))
  const seen = await until(
    t,
    'the ranges',
    routes,
    text => text.includes('10.96.0.0/16') && text.includes('203.0.113.0/24'),
  )
  t.regex(seen, /BGP\.community: \(65001,100\)/)
})

function viewOf(all: Record<string, readonly unknown[]>): ClusterObjects {
  return { all: kind => (all[kind] ?? []) as never }
}

/** What a node of these asks for with some objects. */
function asked(node: string, nodes: readonly Resource<'Node'>[], objects: Record<string, readonly unknown[]>) {
  const view = viewOf({ Node: nodes, ...objects })
  const { asn, sessions } = nodeBgp(node, nodesOf(view), view, { blocks: [], pods: [] })!
  return { asn, sessions: [...sessions.values()].map(each => each.name).sort() }
}

test('an AS number for each rack: every node has that of its rack, and a session with the router of its rack alone', t => {
  const heading = 'An AS number for each rack'
  const labels = [
    ...blocks(heading, 'sh')
      .join('')
      .matchAll(/^kubectl label node (.*) (\S+)=(\S+)$/gm),
  ]
  const nodes = labels.flatMap(([, names, key, value]) =>
    names!.split(' ').map((name, i) =>
      aNode(name, {
        annotations: { [NODE_ANNOTATION.ipv4Address]: `192.0.2.${value!.slice(-1)}${i}/24` },
        labels: { [key!]: value! },
      }),
    ),
  )
  t.is(nodes.length, 4)
  const [configuration, ...peers] = parseAllDocuments(manifest(heading)).map(document => document.toJS())
  const objects = {
    BGPConfiguration: [aResource('BGPConfiguration', configuration)],
    BGPPeer: peers.map(peer => aResource('BGPPeer', peer)),
  }
  t.deepEqual(asked('n1', nodes, objects), { asn: 65101, sessions: ['Node_192_0_2_1'] })
  t.deepEqual(asked('n4', nodes, objects), { asn: 65102, sessions: ['Node_192_0_2_129'] })
})

test('route reflectors: no session ends before the mesh does, and then those alone that no reflector has', t => {
  const steps = [...recipe('Route reflectors').matchAll(/^```(sh|yaml)\n(.*?)^```/gms)].map(([, , text]) => text!)
  const [label, peer, annotation, configuration] = steps
  t.is(steps.length, 4)
  t.is(label, 'kubectl label node n1 n2 reflector=true\n')
  t.is(annotation, 'kubectl annotate node n1 n2 projectcalico.org/RouteReflectorClusterID=224.0.0.1\n')
  const names = ['n1', 'n2', 'n3', 'n4'] as const
  const nodes = (labels: object, extra: object) =>
    names.map((name, i) => {
      const annotations = { [NODE_ANNOTATION.ipv4Address]: `192.0.2.${i + 1}/24`, ...(i < 2 && extra) }
      return aNode(name, { annotations, ...(i < 2 && { labels }) })
    })
  const labels = { reflector: 'true' }
  const objects: Record<string, readonly unknown[]> = { Node: nodes({}, {}) }
  const now = () => {
    const view = viewOf(objects)
    return new Map(names.map(name => [name, nodeBgp(name, nodesOf(view), view, { blocks: [], pods: [] })]))
  }
  const ended = (change: Record<string, readonly unknown[]>) => {
    const before = now()
    Object.assign(objects, change)
    const after = now()
    return names.flatMap(name =>
      previewOf(before.get(name), after.get(name))
        .sessions.filter(session => session.change !== 'changes')
        .map(session => `${name} ${session.name} ${session.change}`),
    )
  }
  t.deepEqual(ended({ Node: nodes(labels, {}) }), [])
  t.deepEqual(ended({ BGPPeer: [aResource('BGPPeer', parse(peer!))] }), [])
  t.deepEqual(ended({ Node: nodes(labels, { [NODE_ANNOTATION.routeReflectorClusterId]: '224.0.0.1' }) }), [])
  t.deepEqual(ended({ BGPConfiguration: [aResource('BGPConfiguration', parse(configuration!))] }), [
    'n3 Mesh_192_0_2_4 ends',
    'n4 Mesh_192_0_2_3 ends',
  ])
})

test('automatic route reflectors: the annotation is understood, and only sessions end that no reflector has', t => {
  const [text] = blocks('Automatic route reflectors', 'yaml')
  const object = aResource('BGPConfiguration', parse(text!))
  t.deepEqual(askedReflectors(object.metadata).wish, { above: 100, perRack: 2, label: 'topology.kubernetes.io/rack' })
  t.deepEqual(object.spec.nodeToNodeMeshEnabled, true)
  const names = ['n1', 'n2', 'n3', 'n4'] as const
  const nodes = names.map((name, i) =>
    aNode(name, { annotations: { [NODE_ANNOTATION.ipv4Address]: `192.0.2.${i + 1}/24` } }),
  )
  const now = (mesh: 'whole' | 'thin', reflecting: string[]) => {
    const annotations = { [REFLECTORS_ANNOTATION]: formatReflectors({ step: 1, mesh, nodes: reflecting }) }
    const cluster = aResource('ClusterInformation', { metadata: { name: 'default', annotations }, spec: {} })
    const view = viewOf({ Node: nodes, BGPConfiguration: [object], ClusterInformation: [cluster] })
    return new Map(names.map(name => [name, nodeBgp(name, nodesOf(view), view, { blocks: [], pods: [] })]))
  }
  const ended = (before: ReturnType<typeof now>, after: ReturnType<typeof now>) =>
    names.flatMap(name =>
      previewOf(before.get(name), after.get(name))
        .sessions.filter(session => session.change !== 'changes')
        .map(session => `${name} ${session.name} ${session.change}`),
    )
  t.deepEqual(ended(now('whole', []), now('whole', ['n1', 'n2'])), [])
  t.deepEqual(ended(now('whole', ['n1', 'n2']), now('thin', ['n1', 'n2'])), [
    'n3 Mesh_192_0_2_4 ends',
    'n4 Mesh_192_0_2_3 ends',
  ])
})

asRoot('maintenance of a node', async t => {
  const heading = 'Maintenance of a node'
  const say = router(t, heading)
  apply(t, 'A top-of-rack router')
  await established(t, ROUTERS[0])
  t.notRegex(await hasBlock(t, say), /65535,0/)
  node.ctl('patch', 'node', 'n1', '-p', JSON.stringify({ metadata: { annotations: { 'margay.io/DrainBGP': 'true' } } }))
  const drained = () => say('show', 'route', 'all', 'protocol', nodesIn(say))
  const text = await until(t, 'the router prefers others', drained, seen => seen.includes('(65535,0)'))
  t.regex(text, /BGP\.local_pref: 0\b/)
  t.regex(node.ctl('bgp', 'drain', '--socket', agent.socket), /this node drains/)
  node.ctl('patch', 'node', 'n1', '-p', JSON.stringify({ metadata: { annotations: { 'margay.io/DrainBGP': null } } }))
  await until(t, 'and no more', drained, seen => BLOCK.test(seen) && !seen.includes('65535,0'))
})
