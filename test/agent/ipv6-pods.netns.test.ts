// Pods that have IPv6 alone in a cluster with pools of both families, on a whole node: their first packet, their policies, the
// address that others see, and what they must not send. A namespace behind the node's uplink is the world outside.
import { execFile, execFileSync, spawn } from 'node:child_process'
import { basename } from 'node:path'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { HOST_MAC } from '../../kernel/pod-interface.ts'
import { linkLocal } from '../../lib/ip.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { aPool } from '../datastore/objects.ts'
import { ETHERTYPE, ethernet, IP_PROTOCOL, icmp, ipv6, sendFrame } from '../felix/frames.ts'
import { ask, aWholeNode, type RunningAgent, until, type WholeNode } from './whole-node.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip
const run = promisify(execFile)

const NODE = '2001:db8::11'
const OUTSIDE = '2001:db8::1'
const POOL = 'fd00:10:244::/112'
const PODS = ['client', 'server', 'stranger'] as const
/** The namespace that is outside is the one after those of the pods. */
const OUTSIDE_AT = PODS.length

let node: WholeNode
let agent: RunningAgent
const addresses: Partial<Record<(typeof PODS)[number], string>> = {}

test.before(async () => {
  if (process.getuid?.() !== 0) return
  node = await aWholeNode(PODS.length + 1, [
    { kind: 'IPPool', object: aPool('six', { cidr: POOL, natOutgoing: true }) },
    { kind: 'Namespace', object: { metadata: { name: 'default' } } },
    ...PODS.map(name => ({ kind: 'Pod' as const, object: podObject(name) })),
  ])
  const outside = basename(node.pod(OUTSIDE_AT))
  node.run('ip', 'link', 'set', 'lan0', 'netns', outside)
  node.run('ip', 'addr', 'add', `${NODE}/64`, 'dev', 'eth0', 'nodad')
  inside(OUTSIDE_AT, 'ip', 'link', 'set', 'lan0', 'up')
  inside(OUTSIDE_AT, 'ip', 'addr', 'add', `${OUTSIDE}/64`, 'dev', 'lan0', 'nodad')
  inside(OUTSIDE_AT, 'ip', 'route', 'add', POOL, 'via', NODE)
  agent = node.startAgent()
})
test.after.always(async () => {
  await node?.close()
})

asRoot(
  'the first packet of a pod of IPv6 alone to another one is answered at once, and it has nothing of IPv4',
  async t => {
    const ready = async () => (await ask(agent.socket, 'GET', '/readyz')).code
    await until(t, 'ready', ready, code => code === 200, 60_000)
    for (const [i, name] of PODS.entries()) addresses[name] = await add(t, i, name)
    // an address that is being looked for elsewhere answers nothing for a second
    t.notRegex(inside(0, 'ip', '-6', 'addr', 'show', 'dev', 'eth0'), /tentative/)
    t.regex(inside(0, 'ping', '-6', '-c', '1', '-W', '20', addresses.server!), / 0% packet loss/)
    t.is(inside(0, 'ip', '-4', 'addr', 'show', 'dev', 'eth0'), '')
    t.is(inside(0, 'ip', '-4', 'route'), '')
  },
)

asRoot('a NetworkPolicy on a pod of IPv6 alone lets in whom it names and nobody else', async t => {
  await using _ = serve(1, 8080)
  for (const at of [0, 2, OUTSIDE_AT])
    t.is(await callerSeen(at, addresses.server!), 'answered', 'before there is a policy')
  const status = (name: (typeof PODS)[number]) => ({
    ...{ phase: 'Running', podIP: addresses[name], podIPs: [{ ip: addresses[name] }] },
  })
  await node.writer.put([
    ...PODS.map(name => ({ kind: 'Pod' as const, object: { ...podObject(name), status: status(name) } })),
    {
      kind: 'KubernetesNetworkPolicy',
      object: {
        metadata: { name: 'from-client', namespace: 'default' },
        spec: {
          podSelector: { matchLabels: { app: 'server' } },
          policyTypes: ['Ingress'],
          ingress: [
            { from: [{ podSelector: { matchLabels: { app: 'client' } } }], ports: [{ protocol: 'TCP', port: 8080 }] },
          ],
        },
      },
    },
  ])
  const becomes = (what: string, wanted: string, at: number, seconds: number, port?: number) =>
    until(
      t,
      what,
      () => callerSeen(at, addresses.server!, seconds, port),
      seen => seen === wanted,
      60_000,
    )
  await becomes('the stranger is kept out', 'timeout', 2, 0.5)
  await becomes('who is outside is kept out', 'timeout', OUTSIDE_AT, 0.5)
  await becomes('the client is let in', 'answered', 0, 20)
  await becomes('the client is kept from another port', 'timeout', 0, 0.5, 8081)
})

asRoot('what a pod of IPv6 alone sends out of the pools has the address of its node, and to pods its own', async t => {
  await using _ = serve(OUTSIDE_AT, 8080)
  t.is(await callerSeen(0, OUTSIDE, 20, 8080, 'address'), NODE)
  await using __ = serve(2, 8080)
  t.is(await callerSeen(0, addresses.stranger!, 20, 8080, 'address'), addresses.client!)
})

asRoot('router advertisements of a pod of IPv6 alone are dropped', async t => {
  const mac = /link\/ether (\S+)/.exec(inside(0, 'ip', 'link', 'show', 'eth0'))![1]!
  const before = advertisementsDropped()
  const body = Buffer.alloc(8)
  const packet = ipv6({ from: linkLocal(mac), to: 'ff02::1' }, IP_PROTOCOL.icmpv6, icmp(134, body))
  sendFrame({ name: basename(node.pod(0)) }, 'eth0', ethernet({ from: mac, to: HOST_MAC }, ETHERTYPE.ipv6, packet))
  await until(t, 'counted', advertisementsDropped, count => count === before + 1)
  t.notRegex(node.run('ip', '-6', 'route', 'show', 'default'), /cali/)
})

function podObject(name: string) {
  const annotations = { 'cni.projectcalico.org/ipFamilies': '["IPv6"]' }
  return {
    metadata: { name, namespace: 'default', labels: { app: name }, annotations },
    spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'none' }] },
  }
}

/** ADD for a Pod; its only address. */
async function add(t: ExecutionContext, at: number, name: string): Promise<string> {
  const env = {
    ...{ CNI_COMMAND: 'ADD', CNI_CONTAINERID: `c${at}`, CNI_NETNS: node.pod(at), CNI_IFNAME: 'eth0', CNI_PATH: '/x' },
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`,
  }
  const ipam = { assign_ipv4: 'auto', assign_ipv6: 'auto' }
  const stdin = JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'margay', ipam })
  const { body } = await ask(agent.socket, 'POST', '/cni', JSON.stringify({ env, stdin }))
  const { exitCode, stdout } = JSON.parse(body) as { exitCode: number; stdout: string }
  t.is(exitCode, 0, body)
  const ips = (JSON.parse(stdout) as { ips: { address: string }[] }).ips
  t.is(ips.length, 1)
  const address = ips[0]!.address.split('/')[0]!
  t.true(address.startsWith('fd00:10:244::'), address)
  return address
}

/** Runs a program in a pod, or outside; what it says. */
function inside(at: number, command: string, ...args: string[]): string {
  return execFileSync(systemProgram('nsenter'), [`--net=${node.pod(at)}`, '--', systemProgram(command), ...args], {
    encoding: 'utf8',
    timeout: 30_000,
  })
}

/** A server that tells who calls. */
function serve(at: number, port: number): AsyncDisposable {
  const program = `require('net').createServer(c=>c.end(c.remoteAddress)).listen(${port},'::')`
  const child = spawn(systemProgram('nsenter'), [`--net=${node.pod(at)}`, '--', process.execPath, '-e', program])
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()))
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

/**
 * What a caller gets from the server: `answered`, or with `tell` the address under which it was seen; `timeout` where packets are
 * dropped. One that is refused asks again, since the server may not listen yet.
 */
async function callerSeen(at: number, to: string, seconds = 20, port = 8080, tell: 'whether' | 'address' = 'whether') {
  const program = `const end=Date.now()+${seconds * 1000}
const call=()=>{const c=require('net').connect(${port},'${to}');let said='';c.setTimeout(end-Date.now()>0?end-Date.now():1,()=>{console.log('timeout');process.exit()})
c.on('data',d=>said+=d);c.on('end',()=>{console.log(said);process.exit()})
c.on('error',e=>{if(e.code!=='ECONNREFUSED'||Date.now()>end){console.log(e.code);process.exit()};setTimeout(call,50)})}
call()`
  const args = [`--net=${node.pod(at)}`, '--', process.execPath, '-e', program]
  const { stdout } = await run(systemProgram('nsenter'), args)
  const said = stdout.trim()
  return tell === 'whether' && said.includes(':') ? 'answered' : said
}

function advertisementsDropped(): number {
  const table = node.run('nft', 'list', 'table', 'inet', 'margay')
  const counts = [...table.matchAll(/counter packets (\d+) .*comment "router advertisement"/g)].map(([, count]) =>
    Number(count),
  )
  return counts.reduce((sum, count) => sum + count, 0)
}
