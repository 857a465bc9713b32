// Chains of our plugin and Debian's: each does its part beside ours, CHECK finds no fault with what it changed, and DEL leaves
// nothing. vrf is in test/lab/vrf.ts, for a kernel that has it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { ExecutionContext } from 'ava'
import { until } from '../../lab/program.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { addressOf, type Result, resultOf, type TestNode } from './node.ts'
import { done, type Runtime, withPlugins, withRuntime } from './runtime.ts'

const CHILD = new URL('./tcp-child.ts', import.meta.url).pathname
/** That of felix in `host-side.ts`. */
const NODE = '192.168.10.11'

type Lines = AsyncIterator<string, undefined>

/** Starts `tcp-child.ts` in a namespace until the test ends; the lines that it prints. */
function tcp(t: ExecutionContext, netns: string, ...args: readonly string[]): Lines {
  const child = spawn(systemProgram('nsenter'), [`--net=${netns}`, process.execPath, CHILD, ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]()
}

/** A server in a pod that says to each client under which address it sees it. */
async function serve(t: ExecutionContext, netns: string, port: number): Promise<void> {
  t.is((await tcp(t, netns, 'serve', `${port}`).next()).value, 'listening')
}

/** As whom the server sees a client of this namespace; undefined: it is not reached. */
async function seenAs(t: ExecutionContext, netns: string, host: string, port: number): Promise<string | undefined> {
  const line: string | undefined = (await tcp(t, netns, 'ask', host, `${port}`).next()).value
  return line?.replace('::ffff:', '')
}

/** Writes the network `margay` with these plugins behind ours. */
function chain(
  { node, confDir }: Runtime,
  plugins: readonly object[],
  { ipam = { assign_ipv6: true }, cniVersion = '1.0.0' }: { ipam?: object; cniVersion?: string } = {},
): void {
  const ours = { type: 'margay', agentSocket: node.socket, ipam }
  writeList(confDir, cniVersion, [ours, ...plugins])
}

function writeList(confDir: string, cniVersion: string, plugins: readonly object[]): void {
  writeFileSync(join(confDir, '10-margay.conflist'), JSON.stringify({ cniVersion, name: 'margay', plugins }))
}

async function added(t: ExecutionContext, { run }: Runtime, netns: string, asked?: object): Promise<Result> {
  return JSON.parse(await done(t, run('add', netns, asked)))
}

/** Another node, on a LAN with this one; the path of its namespace. */
async function aNeighbour(t: ExecutionContext, node: TestNode): Promise<string> {
  const path = node.pod()
  const name = path.slice(path.lastIndexOf('/') + 1)
  const ip = async (netns: string, ...args: string[]) =>
    t.is((await node.exec(netns, 'ip', ...args)).code, 0, args.join(' '))
  await ip(node.netns, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
  await ip(node.netns, 'address', 'add', `${NODE}/24`, 'dev', 'eth0')
  await ip(path, 'address', 'add', '192.168.10.12/24', 'dev', 'eth0')
  for (const netns of [node.netns, path]) await ip(netns, 'link', 'set', 'eth0', 'up')
  return path
}

async function nothingLeft(t: ExecutionContext, { node }: Runtime): Promise<void> {
  t.is(node.ipam.held().size, 0)
  const links = await node.kernel.links()
  t.deepEqual(
    links.filter(({ name }) => name.startsWith('cali')),
    [],
  )
}

const PORTMAP = { type: 'portmap', snat: true, capabilities: { portMappings: true } }

withPlugins(
  'with portmap a port of the node leads to the pod: from another node, from the host, from pods and from itself',
  t =>
    withRuntime(t, ['portmap'], async runtime => {
      const { node, run } = runtime
      chain(runtime, [PORTMAP], { ipam: {} })
      const neighbour = await aNeighbour(t, node)
      const [netns, other] = [node.pod(), node.pod()]
      const asked = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] }
      await added(t, runtime, netns, asked)
      const second = await added(t, runtime, other)
      await serve(t, netns, 80)
      const seen = (from: string, host = NODE) => seenAs(t, from, host, 8080)
      t.is(await seen(neighbour), '192.168.10.12')
      t.is(await seen(node.netns), NODE)
      t.is(await seen(node.netns, '127.0.0.1'), NODE)
      t.is(await seen(other), addressOf(second))
      t.is(await seen(netns), NODE)
      // libcni calls plugins in their order, and portmap 1.1.1 looks for rules of IPv6 that it never makes
      t.regex((await run('check', netns, asked)).stdout, /^Error: could not check ipv6 dnat/)
      await done(t, run('del', netns, asked))
      t.is(await seen(neighbour), undefined)
      await done(t, run('del', other))
      await nothingLeft(t, runtime)
    }),
)

const THEIRS = [{ type: 'bridge', bridge: 'br0', isGateway: true, hairpinMode: true }, { type: 'ptp' }]

for (const theirs of THEIRS)
  withPlugins(
    `with portmap behind ${theirs.type}, whose addresses are of margay-ipam, a port of the node leads to the container: from another node, from the host, from another container, from one of Margay’s pods and from itself`,
    t =>
      withRuntime(t, ['portmap', theirs.type], async runtime => {
        const { node, run, confDir } = runtime
        const ipam = { type: 'margay-ipam', routes: [{ dst: '0.0.0.0/0' }] }
        writeList(confDir, '1.0.0', [{ ...theirs, agentSocket: node.socket, ipam }, PORTMAP])
        const neighbour = await aNeighbour(t, node)
        const [netns, other, own] = [node.pod(), node.pod(), node.pod()]
        const asked = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] }
        const { gateway } = (await added(t, runtime, netns, asked)).ips[0]!
        await added(t, runtime, other)
        const pod = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'own', CNI_NETNS: own }))
        await serve(t, netns, 80)
        const seen = (from: string, host = NODE) => seenAs(t, from, host, 8080)
        t.is(await seen(neighbour), '192.168.10.12')
        t.is(await seen(node.netns), NODE)
        t.is(await seen(own), addressOf(pod))
        t.is(await seen(other), gateway)
        t.is(await seen(netns), gateway)
        await done(t, run('del', netns, asked))
        t.is(await seen(neighbour), undefined)
        await done(t, run('del', other))
        t.is((await node.run('DEL', { CNI_CONTAINERID: 'own', CNI_NETNS: own })).code, 0)
      }),
  )

withPlugins('with bandwidth a pod receives and sends at its rates, within 15 %', t =>
  withRuntime(t, ['bandwidth'], async runtime => {
    const { node, run } = runtime
    chain(runtime, [{ type: 'bandwidth', capabilities: { bandwidth: true } }])
    const [netns, other] = [node.pod(), node.pod()]
    const rates = { ingressRate: 8_000_000, egressRate: 16_000_000 }
    const asked = { bandwidth: { ...rates, ingressBurst: 400_000, egressBurst: 400_000 } }
    const result = await added(t, runtime, netns, asked)
    const second = await added(t, runtime, other)
    for (const pod of [netns, other]) await serve(t, pod, 80)
    const ways = [
      { from: second, to: netns, rate: rates.ingressRate },
      { from: result, to: other, rate: rates.egressRate },
    ]
    for (const { from, to, rate } of ways) {
      const lines = tcp(t, to, 'rate', addressOf(from), '80')
      const seen: number[] = []
      // a machine that is busy for a second shows less than the limit lets through
      const isNear = async (): Promise<boolean> => {
        seen.push(Number((await lines.next()).value))
        return Math.abs(seen.at(-1)! / rate - 1) < 0.15
      }
      let near = false
      while (!near && seen.length < 40) near = await isNear()
      t.true(near, `${rate}: ${seen}`)
    }
    await done(t, run('check', netns, asked))
    await done(t, run('del', netns, asked))
    await done(t, run('del', other))
    await nothingLeft(t, runtime)
  }),
)

const OTHERS: readonly {
  name: string
  plugin: object
  shows: (t: ExecutionContext, node: TestNode, netns: string, result: Result) => Promise<void>
}[] = [
  {
    name: 'tuning',
    plugin: { type: 'tuning', sysctl: { 'net.ipv4.conf.all.log_martians': '1' }, mtu: 1300, promisc: true },
    shows: async (t, node, netns) => {
      t.is((await node.exec(netns, 'cat', '/proc/sys/net/ipv4/conf/all/log_martians')).stdout, '1\n')
      t.regex((await node.exec(netns, 'ip', 'link', 'show', 'eth0')).stdout, /PROMISC.* mtu 1300 /)
    },
  },
  {
    name: 'firewall',
    plugin: { type: 'firewall', backend: 'iptables' },
    shows: async (t, node, _netns, result) => {
      const rules = await node.exec(node.netns, 'iptables', '-S', 'CNI-FORWARD')
      t.true(rules.stdout.includes(addressOf(result)), rules.stdout)
    },
  },
  {
    name: 'sbr',
    plugin: { type: 'sbr' },
    shows: async (t, node, netns, result) => {
      const rules = await node.exec(netns, 'ip', 'rule')
      t.true(rules.stdout.includes(`from ${addressOf(result)} lookup`), rules.stdout)
    },
  },
  {
    name: 'loopback',
    plugin: { type: 'loopback' },
    shows: async (t, node, netns) => {
      t.is((await node.exec(netns, 'ping', '-c1', '-W1', '127.0.0.1')).code, 0)
    },
  },
]

for (const { name, plugin, shows } of OTHERS)
  withPlugins(`with ${name} behind ours a pod has its network and what ${name} does, and CHECK and DEL go through`, t =>
    withRuntime(t, [name], async runtime => {
      const { node, run } = runtime
      chain(runtime, [plugin])
      const [netns, other] = [node.pod(), node.pod()]
      const result = await added(t, runtime, netns)
      const second = await added(t, runtime, other)
      await shows(t, node, netns, result)
      for (const family of [0, 1]) {
        const ping = () =>
          node.exec(netns, 'ping', '-c1', '-W1', '-I', addressOf(result, family), addressOf(second, family))
        t.true(await until(async () => (await ping()).code === 0, 10_000))
      }
      await done(t, run('check', netns))
      await done(t, run('check', other))
      await done(t, run('del', netns))
      await done(t, run('del', other))
      await nothingLeft(t, runtime)
    }),
  )
