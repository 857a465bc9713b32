// margay-node as a whole, when the machine around it fails: no descriptor is left, its disk becomes read-only, it is stopped
// and goes on when another agent has its node. One API server and one network namespace serve all tests.
// Over 400 lines: the tests share them, and starting them costs more than any test.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { gunzipSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import type { AgentStatus } from '../../api/answers.ts'
import type { Condition, Event } from '../../api/status.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { CAPABILITIES } from '../../manifests/node.ts'
import { aResource } from '../datastore/objects.ts'
import { ask, aWholeNode, cniCall, type RunningAgent, until, type WholeNode } from './whole-node.ts'

/** Put where a whole node reads: none may be found where it writes. */
const PLANTED = {
  annotation: 'planted-in-an-annotation',
  network: 'planted-in-a-network',
  header: 'planted-in-a-header',
  password: 'planted-in-a-secret',
  long: 'planted-too-long'.repeat(6),
  hidden: 'planted-under-another-key',
}

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip
let node: WholeNode

const aPeer = {
  metadata: { name: 'away', annotations: { 'example.com/credential': PLANTED.annotation } },
  spec: { peerIP: '192.0.2.99', asNumber: 64999 },
}

test.before(async () => {
  if (process.getuid?.() === 0) node = await aWholeNode(6, [{ kind: 'BGPPeer', object: aPeer }])
})
test.afterEach.always(() => node?.reset())
test.after.always(async () => {
  await node?.close()
})

async function ready(t: ExecutionContext, agent: RunningAgent): Promise<void> {
  const look = async () => (await ask(agent.socket, 'GET', '/readyz')).code
  await until(t, 'ready', look, code => code === 200)
}

const events = async ({ socket }: RunningAgent): Promise<Event[]> =>
  JSON.parse((await ask(socket, 'GET', '/events?count=500')).body) as Event[]
/** As Calico's configurations have it. */
const secretly = { policy: { type: 'k8s', k8s_auth_token: PLANTED.network } }
const exitCode = (answer: { body: string }): number => (JSON.parse(answer.body) as { exitCode: number }).exitCode

/** An ADD as octets of HTTP. */
function rawAdd(container: string, netns: string): string {
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: container, CNI_NETNS: netns, CNI_IFNAME: 'eth0', CNI_PATH: '/x' }
  const stdin = JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'margay' })
  const body = JSON.stringify({ env, stdin })
  return `POST /cni HTTP/1.1\r\nhost: agent\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

/** Sets how many descriptors a process may have. */
function limitFiles(pid: number, soft: number): void {
  execFileSync(systemProgram('prlimit'), ['--pid', String(pid), `--nofile=${soft}:`])
}

const ticks = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  return Number(fields[11]) + Number(fields[12])
}

asRoot(
  'an agent without a free descriptor goes on, says so, and serves everything again when there are some',
  async t => {
    const agent = node.startAgent('a', { flags: ['--log-level', 'trace'] })
    await ready(t, agent)
    t.is(exitCode(await cniCall(agent.socket, 'ADD', 'c0', node.pod(0), secretly)), 0)
    const usual = Number(/Max open files +(\d+)/.exec(readFileSync(`/proc/${agent.pid}/limits`, 'utf8'))![1])
    const early = connect(agent.socket)
    await once(early, 'connect')
    // connections are taken in their order: this answer says that the one before is taken too
    t.is((await ask(agent.socket, 'GET', '/healthz')).code, 200)
    // what is open stays open; idle connections take the numbers that are free below
    const open = readdirSync(`/proc/${agent.pid}/fd`).map(Number)
    const most = Math.max(...open) + 1
    limitFiles(agent.pid, most)
    const idle = Array.from({ length: most - open.length + 40 }, () =>
      connect(agent.socket).on('error', () => undefined),
    )
    t.teardown(() => {
      for (const socket of idle) socket.destroy()
    })
    // what was open for a moment, as for a look into a pod or a question to the link, leaves its number to the next connection
    let code = 200
    for (let times = 0; times < 20 && code !== 0; times++) {
      await new Promise(resolve => setTimeout(resolve, 500))
      ;({ code } = await ask(agent.socket, 'GET', '/healthz'))
      if (code !== 0) for (let i = 0; i < 10; i++) idle.push(connect(agent.socket).on('error', () => undefined))
    }
    t.is(code, 0, 'no connection is taken')
    const before = ticks(agent.pid)
    for (let i = 0; i < 3; i++)
      try {
        node.run('bash', '-c', 'exec 3<>/dev/tcp/192.0.2.11/179; read -t 0.2 <&3')
      } catch {
        // closed or silent
      }
    await new Promise(resolve => setTimeout(resolve, 3000))
    t.true(ticks(agent.pid) - before < 100, 'a second of processor time: it spins')
    // no half-close: to an HTTP server it says that nobody waits for an answer
    early.write(rawAdd('c1', node.pod(1)))
    t.regex(await text(early), /this node has no file descriptor or memory left/)
    t.is(agent.child.exitCode, null, agent.log().slice(-3000))
    limitFiles(agent.pid, usual)
    for (const socket of idle) socket.destroy()
    await ready(t, agent)
    t.is(exitCode(await cniCall(agent.socket, 'ADD', 'c1', node.pod(1))), 0)
    const told = (await events(agent)).filter(({ message }) => message.startsWith('DescriptorsLeft'))
    t.deepEqual(
      told.map(({ reason }) => reason),
      ['Ok', 'NoDescriptor'],
    )
    for (const [id, index] of [
      ['c0', 0],
      ['c1', 1],
    ] as const)
      t.is(exitCode(await cniCall(agent.socket, 'DEL', id, node.pod(index))), 0)
    agent.child.kill('SIGTERM')
    await agent.ended
  },
)

asRoot('an agent has enough with the capabilities of its container, and with /proc/sys read-only', async t => {
  const agent = node.startAgent('a', { capabilities: Object.keys(CAPABILITIES) })
  await ready(t, agent)
  const status = readFileSync(`/proc/${agent.pid}/status`, 'utf8')
  t.is(
    BigInt(`0x${/CapEff:\s+(\w+)/.exec(status)![1]}`)
      .toString(2)
      .replaceAll('0', '').length,
    Object.keys(CAPABILITIES).length,
  )
  t.is(exitCode(await cniCall(agent.socket, 'ADD', 'c0', node.pod(0))), 0, agent.log().slice(-2000))
  const { conditions } = JSON.parse((await ask(agent.socket, 'GET', '/status')).body) as AgentStatus
  const broken = conditions.filter(({ status }) => status === 'False').map(({ type, message }) => `${type}: ${message}`)
  t.log(broken)
  t.deepEqual(
    broken.filter(text => /permitted|EPERM|EACCES|EROFS/.test(text)),
    [],
  )
  t.is(exitCode(await cniCall(agent.socket, 'DEL', 'c0', node.pod(0))), 0)
  t.notRegex(agent.log(), /EPERM|EACCES|EROFS|not permitted/)
})

/** Looks for a condition until it has this status. */
function condition(
  t: ExecutionContext,
  { socket }: RunningAgent,
  type: Condition['type'],
  status: Condition['status'],
) {
  const look = async () => {
    const all = JSON.parse((await ask(socket, 'GET', '/readyz')).body) as Condition[]
    return all.find(found => found.type === type)
  }
  return until(t, type, look, found => found?.status === status)
}

const hasDisk = existsSync('/dev/loop-control') && isInstalled('mkfs.ext4')
function isInstalled(program: string): boolean {
  try {
    return existsSync(systemProgram(program))
  } catch {
    return false
  }
}

;(hasDisk ? asRoot : test.serial.skip)(
  'when its file system becomes read-only under it the agent says so, refuses ADD, serves DEL, and starts again beside it',
  async t => {
    const image = join(node.dir, 'disk')
    writeFileSync(image, '')
    truncateSync(image, 16 << 20)
    execFileSync(systemProgram('mkfs.ext4'), ['-q', image])
    const onDisk = ['-o', 'loop', image]
    const agent = node.startAgent('ro', { mount: onDisk })
    await ready(t, agent)
    t.is(exitCode(await cniCall(agent.socket, 'ADD', 'c2', node.pod(2))), 0)
    // what the kernel does when the disk fails: everything is read-only at once, open files too
    const inside = ['-t', String(agent.pid), '-m', systemProgram('mount')]
    execFileSync(systemProgram('nsenter'), [...inside, '-o', 'remount,abort', node.dataDir])
    const added = JSON.parse((await cniCall(agent.socket, 'ADD', 'c3', node.pod(3))).body) as { stdout: string }
    t.regex(added.stdout, /"code":5,.*the journal cannot be written/)
    const said = await condition(t, agent, 'JournalWritable', 'False')
    t.is(said?.reason, 'NotWritable')
    t.is(exitCode(await cniCall(agent.socket, 'DEL', 'c2', node.pod(2))), 0)
    t.is(agent.child.exitCode, null, agent.log().slice(-3000))
    agent.child.kill('SIGTERM')
    await agent.ended
    const beside = node.startAgent('ro', { mount: ['-o', 'loop,ro,noload', image] })
    await ready(t, beside)
    t.is((await condition(t, beside, 'JournalKept', 'False'))?.reason, 'NotWritable')
    t.is(exitCode(await cniCall(beside.socket, 'ADD', 'c3', node.pod(3))), 0)
    beside.child.kill('SIGTERM')
    await beside.ended
    const back = node.startAgent('ro', { mount: onDisk })
    await ready(t, back)
    for (const type of ['JournalKept', 'JournalWritable', 'JournalComplete'] as const)
      await condition(t, back, type, 'True')
    const { endpoints } = JSON.parse((await ask(back.socket, 'GET', '/status')).body) as AgentStatus
    t.deepEqual(
      endpoints?.map(({ id }) => id),
      ['net/c3/eth0'],
      'what was added meanwhile is known',
    )
    t.is(exitCode(await cniCall(back.socket, 'DEL', 'c3', node.pod(3))), 0)
    back.child.kill('SIGTERM')
    await back.ended
  },
)

const states = (): string[] => [
  // the kernel itself changes other neighbours, and ends the check of new addresses
  ...['route', 'link', 'address', 'neigh show nud permanent'].map(what =>
    node.run('ip', '-d', ...what.split(' ')).replaceAll(' tentative', ''),
  ),
  node.run('nft', 'list', 'ruleset').replaceAll(/packets \d+ bytes \d+/g, ''),
  ...['nodes', 'ipamblocks'].map(kind => node.ctl('get', kind, '-o', 'json')),
]

asRoot(
  'an agent that was stopped ends without any write when it goes on and another one had its directory',
  async t => {
    const first = node.startAgent('first', { flags: ['--log-level', 'debug'] })
    await ready(t, first)
    t.is(exitCode(await cniCall(first.socket, 'ADD', 'c4', node.pod(4))), 0)
    first.child.kill('SIGSTOP')
    // its lock cannot be taken from it, but its directory can
    const old = `${node.dataDir}.old`
    node.moveData(old)
    const second = node.startAgent('second')
    await ready(t, second)
    t.is(exitCode(await cniCall(second.socket, 'ADD', 'c5', node.pod(5))), 0)
    second.child.kill('SIGTERM')
    await second.ended
    // now everything that an agent would put right, in kernel and API, and a request that waits for it
    node.run('ip', 'route', 'flush', 'proto', '80')
    node.run('ip', 'route', 'flush', 'proto', 'boot')
    node.run('nft', 'flush', 'table', 'inet', 'margay')
    node.run('sysctl', '-qw', 'net.ipv4.ip_forward=0')
    node.ctl('patch', 'node', 'n1', '-p', '{"metadata":{"annotations":{"projectcalico.org/IPv4Address":null}}}')
    const waiting = cniCall(first.socket, 'DEL', 'c4', node.pod(4))
    const journal = () =>
      ['node.db', 'node.db-wal', 'events.db', 'events.db-wal'].map(name => readFileSync(join(old, name)))
    const [before, files] = [states(), journal()]
    const goesOnMs = performance.now()
    first.child.kill('SIGCONT')
    t.is((await first.ended)[0], 3)
    t.true(performance.now() - goesOnMs < 20_000)
    t.is((await waiting).code, 0)
    t.regex(first.log(), /was removed or replaced while this agent had it.*ends without another write/)
    t.deepEqual(states(), before)
    t.deepEqual(journal(), files)
  },
)

asRoot(
  'of the secrets that a whole node reads none is in a log, database, answer or metric of margay-node or margay-api',
  async t => {
    const agent = node.startAgent('secrets', { flags: ['--log-level', 'trace'] })
    await ready(t, agent)
    const token = readFileSync(join(node.dir, 'api', 'token'), 'utf8').trim()
    t.true(token.length > 20)
    t.is(exitCode(await cniCall(agent.socket, 'ADD', 'c0', node.pod(0), secretly)), 0)
    // what is refused is told with its reason
    t.not(exitCode(await cniCall(agent.socket, 'ADD', 'c1', '/run/netns/none', secretly)), 0)
    const env = JSON.stringify({ env: { CNI_COMMAND: 'ADD' }, stdin: `{"k8s_auth_token": ${PLANTED.network}}` })
    await ask(agent.socket, 'POST', '/cni', env)
    const wrong = `fetch('http://127.0.0.1:6443/api/v1/nodes', { headers: { authorization: 'Bearer ${PLANTED.header}' } })`
    t.is(node.run(process.execPath, '-e', `${wrong}.then(r => console.log(r.status))`).trim(), '401')
    const { hidden, long, password } = PLANTED
    await node.writer.put([
      { kind: 'Namespace', object: aResource('Namespace', { metadata: { name: 'kube-system' } }) },
      {
        kind: 'Secret',
        object: aResource('Secret', {
          metadata: { namespace: 'kube-system', name: 'bgp' },
          stringData: { k: password, long, hidden },
        }),
      },
    ])
    const guarded = (key: string) =>
      node.ctl('patch', 'bgppeer', 'away', '-p', `{"spec":{"password":{"secretKeyRef":{"name":"bgp","key":"${key}"}}}}`)
    guarded('long')
    const refused = await condition(t, agent, 'PeersConfigured', 'False')
    t.regex(refused!.message, /key long of Secret kube-system\/bgp has 96 octets/)
    guarded('k')
    await condition(t, agent, 'PeersConfigured', 'True')
    const secretFile = join(node.dataDir, 'bgp-secrets')
    await until(
      t,
      'the password is kept',
      () => existsSync(secretFile),
      isThere => isThere,
    )
    t.is(statSync(secretFile).mode & 0o777, 0o600)
    t.true(readFileSync(secretFile, 'utf8').includes(password))
    const archive = join(node.dir, 'diags.tar.gz')
    node.ctl('cluster', 'diags', '--file', archive, '--socket', agent.socket)
    const told = new Map<string, string>()
    for (const path of [
      '/status',
      '/metrics',
      '/events?count=500',
      '/readyz',
      '/bgp/route?prefix=10.244.0.0/16',
      '/healthz',
    ])
      told.set(path, (await ask(agent.socket, 'GET', path)).body)
    t.is(exitCode(await cniCall(agent.socket, 'DEL', 'c0', node.pod(0), secretly)), 0)
    agent.child.kill('SIGTERM')
    await agent.ended
    t.true([...told.values()].every(text => text !== ''))
    t.true(agent.log().includes('"level":20'), 'it logs at its finest')
    const files = readdirSync(node.dir, { recursive: true, withFileTypes: true }).filter(file => file.isFile())
    told.set('diags', gunzipSync(readFileSync(archive)).toString('latin1'))
    for (const { name, parentPath } of files)
      told.set(join(parentPath, name), readFileSync(join(parentPath, name), 'latin1'))
    const names = [...told.keys()].map(path => path.slice(path.lastIndexOf('/') + 1))
    for (const name of ['node.db', 'events.db', 'secrets.log', 'api.log']) t.true(names.includes(name), name)
    const isOwnFile = (path: string) => /\/api\/(token|kubeconfig)$/.test(path)
    const ofSecret = [password, long, hidden].flatMap(each => [each, Buffer.from(each).toString('base64')])
    const isOfObjects = (path: string) => path.includes('/api/')
    for (const [path, text] of told) {
      t.false(text.includes(token) && !isOwnFile(path), `the token is in ${path}`)
      t.false(text.includes(PLANTED.network) || text.includes(PLANTED.header), path)
      // the object itself is at its server, and what the sessions need in one file
      const found = ofSecret.filter(each => text.includes(each))
      t.deepEqual(isOfObjects(path) ? [] : found, path === secretFile ? [password] : [], path)
      t.false(text.includes(PLANTED.annotation) && !isOfObjects(path), `the annotation is in ${path}`)
    }
  },
)

asRoot(
  'a default route that goes while the API server still answers is told, takes no readiness, and is well when it is back',
  async t => {
    const agent = node.startAgent('routes')
    await ready(t, agent)
    await condition(t, agent, 'DefaultRouteKept', 'True')
    node.run('ip', 'route', 'del', 'default')
    const told = await condition(t, agent, 'DefaultRouteKept', 'False')
    t.is(told?.reason, 'DefaultRouteLost')
    t.regex(told!.remedy, /ip route add default via 192\.0\.2\.1 dev eth0/)
    t.is((await ask(agent.socket, 'GET', '/readyz')).code, 200)
    await condition(t, agent, 'ApiServerConnected', 'True')
    node.run('ip', 'route', 'add', 'default', 'via', '192.0.2.1', 'dev', 'eth0')
    await condition(t, agent, 'DefaultRouteKept', 'True')
  },
)

asRoot(
  'with the capabilities of its container an agent gives a pod the address, the MAC and the bandwidth of its annotations, and takes all of it away',
  async t => {
    const annotations = {
      'cni.projectcalico.org/ipAddrs': '["10.244.7.7"]',
      'cni.projectcalico.org/hwAddr': '02:00:5e:10:00:07',
      'qos.projectcalico.org/ingressBandwidth': '8M',
      'qos.projectcalico.org/egressBandwidth': '16M',
    }
    await node.writer.put([
      { kind: 'Namespace', object: aResource('Namespace', { metadata: { name: 'shop' } }) },
      {
        kind: 'Pod',
        object: aResource('Pod', {
          metadata: { namespace: 'shop', name: 'db-0', annotations },
          spec: { nodeName: 'n1' },
        }),
      },
    ])
    const agent = node.startAgent('annotated', { capabilities: Object.keys(CAPABILITIES) })
    await ready(t, agent)
    const call = async (command: 'ADD' | 'DEL') => {
      const env = {
        ...{ CNI_COMMAND: command, CNI_CONTAINERID: 'c0', CNI_NETNS: node.pod(0), CNI_IFNAME: 'eth0' },
        ...{ CNI_PATH: '/x', CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=db-0' },
      }
      const stdin = JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'margay' })
      return JSON.parse((await ask(agent.socket, 'POST', '/cni', JSON.stringify({ env, stdin }))).body) as {
        exitCode: number
        stdout: string
      }
    }
    const { exitCode: code, stdout } = await call('ADD')
    t.is(code, 0, stdout)
    const { ips, interfaces } = JSON.parse(stdout)
    t.deepEqual([ips[0].address, interfaces[1].mac], ['10.244.7.7/32', '02:00:5e:10:00:07'])
    const rates = async () => (await node.kernel.qdiscs()).flatMap(({ bucket }) => bucket?.rate ?? []).toSorted()
    t.deepEqual(await rates(), [1_000_000, 2_000_000])
    t.is((await call('DEL')).exitCode, 0)
    const links = async () => (await node.kernel.links()).filter(({ kind }) => kind === 'ifb').length
    await until(t, 'its link is gone', links, left => left === 0)
    t.deepEqual(await rates(), [])
  },
)
