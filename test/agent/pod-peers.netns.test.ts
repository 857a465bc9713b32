// A pod that is a BGP peer of its node (localWorkloadSelector): a BIRD in the pod of a whole node, and another BIRD as a second node
// of its mesh. What the pod announces arrives there, packets to it go through the pod and back, and what is not the pod's to announce
// does not; an agent that is killed loses none of them, and the routes go with the pod.
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { bird } from '../bgp/daemons.ts'
import { runnable } from '../bgp/interop.ts'
import { aNode, aResource } from '../datastore/objects.ts'
import { ask, aWholeNode, until, type WholeNode } from './whole-node.ts'

const NODE = '192.0.2.11'
const FAR = '192.0.2.1'
const PEERING = '169.254.0.179'
/** Behind the pod: a prefix inside the IPPool, one that a filter lets in, and one that nothing lets in. */
const [INSIDE, LET_IN, OTHER] = ['10.244.200.0/26', '198.51.100.0/24', '203.0.113.0/24']
const BEHIND = '198.51.100.7'
const [FAR_NODE, ROUTER, PLAIN] = [0, 1, 2]

const aPod = (name: string, app: string) =>
  ({
    kind: 'Pod',
    object: aResource('Pod', {
      metadata: { namespace: 'ns', name, labels: { app } },
      spec: { nodeName: 'n1' },
    }),
  }) as const

const OBJECTS = [
  { kind: 'Node', object: aNode('n2', { annotations: { 'projectcalico.org/IPv4Address': `${FAR}/24` } }) },
  { kind: 'Namespace', object: aResource('Namespace', { metadata: { name: 'ns' } }) },
  aPod('router', 'router'),
  aPod('plain', 'plain'),
  {
    kind: 'BGPConfiguration',
    object: aResource('BGPConfiguration', {
      metadata: { name: 'default' },
      spec: { localWorkloadPeeringIPV4: PEERING },
    }),
  },
  {
    kind: 'BGPFilter',
    object: aResource('BGPFilter', {
      metadata: { name: 'routers' },
      spec: {
        importV4: [
          { action: 'Accept', matchOperator: 'In', cidr: LET_IN },
          { action: 'Accept', matchOperator: 'In', cidr: '192.0.2.0/24' },
        ],
        exportV4: [{ action: 'Reject' }],
      },
    }),
  },
  {
    kind: 'BGPPeer',
    object: aResource('BGPPeer', {
      metadata: { name: 'routers' },
      spec: { localWorkloadSelector: "app == 'router'", asNumber: 65010, filters: ['routers'] },
    }),
  },
] as const

const asRoot = runnable(bird) ? test : test.skip

/** A BIRD in one of the namespaces for pods. */
function startBird(t: ExecutionContext, node: WholeNode, at: number, config: string) {
  const file = join(node.dir, `bird-${at}`)
  writeFileSync(`${file}.conf`, config)
  const out = openSync(`${file}.log`, 'a')
  const files = ['-c', `${file}.conf`, '-s', `${file}.ctl`, '-P', `${file}.pid`]
  const argv = [`--net=${node.pod(at)}`, systemProgram(bird.program), '-f', ...files]
  const child = spawn(systemProgram('nsenter'), argv, { stdio: ['ignore', out, out] })
  closeSync(out)
  t.teardown(() => child.kill('SIGKILL'))
  return {
    routes: () =>
      node.run('nsenter', `--net=${node.pod(at)}`, systemProgram('birdc'), '-s', `${file}.ctl`, 'show', 'route'),
    log: () => readFileSync(`${file}.log`, 'utf8'),
  }
}

function add(node: WholeNode, socket: string, command: 'ADD' | 'DEL', at: number, name: string) {
  const env = {
    ...{ CNI_COMMAND: command, CNI_CONTAINERID: name, CNI_NETNS: node.pod(at), CNI_IFNAME: 'eth0', CNI_PATH: '/' },
    CNI_ARGS: `K8S_POD_NAMESPACE=ns;K8S_POD_NAME=${name};K8S_POD_INFRA_CONTAINER_ID=${name}`,
  }
  const stdin = JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'margay' })
  return ask(socket, 'POST', '/cni', JSON.stringify({ env, stdin }))
}

/** Runs a program in one of the namespaces for pods; whether it ended well, and what it said. */
function inside(node: WholeNode, at: number, ...command: string[]): { ok: boolean; said: string } {
  const [program, ...args] = command
  try {
    return { ok: true, said: node.run('nsenter', `--net=${node.pod(at)}`, systemProgram(program!), ...args) }
  } catch (error) {
    return { ok: false, said: String((error as { stdout?: string }).stdout ?? error) }
  }
}

asRoot(
  'what a pod announces arrives at another node and packets go through the pod, also while the agent is killed; what is not its own is refused and told, and all goes with the pod',
  async t => {
    t.timeout(180_000)
    const node = await aWholeNode(3, OBJECTS)
    t.teardown(() => node.close())
    node.run('ip', 'link', 'set', 'lan0', 'netns', basename(node.pod(FAR_NODE)))
    for (const words of ['link set lan0 name e0', 'link set lo up', 'link set e0 up', `addr add ${FAR}/24 dev e0`])
      t.true(inside(node, FAR_NODE, 'ip', ...words.split(' ')).ok, words)
    const far = startBird(
      t,
      node,
      FAR_NODE,
      `log stderr all; router id ${FAR};
protocol device {}
protocol direct { ipv4; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol bgp n1 { debug { states, events }; local ${FAR} as 64512; neighbor ${NODE} as 64512;
  connect delay time 1; error wait time 1,2; ipv4 { import all; export none; gateway recursive; }; }
`,
    )
    let agent = node.startAgent()
    const ready = async () => (await ask(agent.socket, 'GET', '/readyz')).code
    const status = async () => (await ask(agent.socket, 'GET', '/status')).body
    await until(t, 'ready', ready, code => code === 200, 60_000)
    const addressOf = async (at: number, name: string) => {
      const { body } = await add(node, agent.socket, 'ADD', at, name)
      const [, address] = /(10\.244\.[\d.]+)\/32/.exec(body) ?? []
      t.truthy(address, body)
      return address!
    }
    const own = await addressOf(ROUTER, 'router')
    const other = await addressOf(PLAIN, 'plain')
    for (const words of ['link set lo up', `addr add ${BEHIND}/32 dev lo`])
      inside(node, ROUTER, 'ip', ...words.split(' '))
    const hostile = [`${other}/32`, `${FAR}/32`, '192.0.2.128/25', OTHER]
    const inPod = startBird(
      t,
      node,
      ROUTER,
      `log stderr all; router id ${own};
protocol device {}
protocol static { ipv4; ${[INSIDE, LET_IN, `${own}/32`, ...hostile].map(each => `route ${each} blackhole;`).join(' ')} }
protocol bgp node { debug { states, events }; local ${own} as 65010; neighbor ${PEERING} as 64512; multihop;
  connect delay time 1; error wait time 1,2; ipv4 { import all; export all; }; }
`,
    )
    const atFar = () => far.routes()
    const has =
      (...prefixes: string[]) =>
      (seen: string) =>
        prefixes.every(each => seen.includes(each))
    const there = await until(t, 'the other node has what the pod announces', atFar, has(INSIDE, LET_IN))
    t.regex(there, new RegExp(`${LET_IN}[^]*?via ${NODE} on e0`))
    for (const each of hostile.slice(0, 3)) t.false(there.includes(`${each} `), `${each} of ${there}`)
    t.false(there.includes(OTHER), there)
    const heard = await until(t, 'the session and what it may not announce are told', status, seen =>
      seen.includes('a pod of this node announces'),
    )
    t.true(heard.includes(`announces ${[`${other}/32`].join()}`) || heard.includes(`${other}/32`), heard)
    const peer = JSON.parse(heard).peers.find(({ name }: { name: string }) => name.startsWith('Local_Workload_'))
    t.like(peer, { address: own, asn: 65010, state: 'Established', type: 'local workload' })
    t.like(peer.prefixes, { received: 7, accepted: 2 })

    const answers = () => inside(node, FAR_NODE, 'ping', '-c', '3', '-i', '0.1', '-W', '2', BEHIND)
    await until(t, 'packets go through the pod and back', answers, ({ ok }) => ok)
    const stranger = inside(node, ROUTER, 'ping', '-c', '1', '-W', '1', '-I', BEHIND, FAR)
    t.true(stranger.ok, stranger.said)
    inside(node, ROUTER, 'ip', 'addr', 'add', '203.0.113.7/32', 'dev', 'lo')
    t.false(inside(node, ROUTER, 'ping', '-c', '1', '-W', '1', '-I', '203.0.113.7', FAR).ok, 'no route leads back')
    t.false(inside(node, ROUTER, 'ping', '-c', '1', '-W', '1', PEERING).ok, 'nothing but BGP')
    // timeout(1) ends with 124 where there is no answer at all
    const dials = (at: number, port: number) =>
      inside(node, at, 'bash', '-c', `timeout 1 bash -c ': </dev/tcp/${PEERING}/${port}' 2>&1; echo $?`).said.trim()
    t.is(dials(PLAIN, 179), '124', 'from a pod that is no peer')
    t.is(dials(ROUTER, 22), '124', 'to another port')
    t.is(dials(ROUTER, 179), '0')
    const link = /"interface":"(cali[0-9a-f]+)"/.exec(await status())![1]!
    t.false(node.run('ip', 'addr', 'show').includes(PEERING), `no interface has it, ${link} neither`)

    const pings = join(node.dir, 'pings')
    const out = openSync(pings, 'a')
    const argv = [`--net=${node.pod(FAR_NODE)}`, systemProgram('ping'), '-i', '0.05', '-D', BEHIND]
    const pinging = spawn(systemProgram('nsenter'), argv, { stdio: ['ignore', out, out] })
    closeSync(out)
    t.teardown(() => pinging.kill('SIGKILL'))
    agent.child.kill('SIGKILL')
    await agent.ended
    const sessions = () => inPod.log().match(/State changed to up/g)?.length ?? 0
    const before = sessions()
    agent = node.startAgent('b')
    await until(t, 'ready again', ready, code => code === 200, 60_000)
    await until(t, 'the pod has its session again', sessions, count => count > before, 60_000)
    await until(t, 'its routes are judged', status, seen => /"accepted":2/.test(seen), 60_000)
    // what nobody announced again by then would go now: the restart is over two seconds later
    await new Promise(resolve => setTimeout(resolve, 4000))
    pinging.kill('SIGINT')
    const summary = await until(
      t,
      'ping sums up',
      () => readFileSync(pings, 'utf8'),
      seen => seen.includes('packet loss'),
    )
    t.regex(summary, / 0% packet loss/, summary.slice(-400))

    t.is((await add(node, agent.socket, 'DEL', ROUTER, 'router')).code, 200)
    await until(t, 'they go with the pod', atFar, seen => !seen.includes(LET_IN) && !seen.includes(INSIDE))
    await until(
      t,
      'nothing of it is left here',
      () => node.run('ip', 'route', 'show', 'table', 'all'),
      seen => !seen.includes(LET_IN) && !seen.includes(PEERING),
    )
  },
)
