// The configuration that is installed, and chains with Debian's plugins, called as runtimes call them: by libcni, whose own
// program `cnitool` is among Kubernetes' programs (K8S_BIN).
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { installPlugin } from '../../cni/install.ts'
import { binary } from '../../lab/kubernetes/binaries.ts'
import { until } from '../../lab/program.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { addressOf, type Result, type TestNode, withNode } from './node.ts'

/** Beside the programs of a Kubernetes, and not one of them. */
const CNITOOL = join(dirname(binary('kubectl')), 'cnitool')
/** Debian's package containernetworking-plugins. */
const PLUGINS = '/usr/lib/cni'
const isRoot = process.getuid?.() === 0
const missing = [CNITOOL, PLUGINS].find(path => !existsSync(path))
const asRoot = isRoot && missing === undefined ? test.serial : test.serial.skip
if (missing !== undefined)
  test('libcni is called where its program and other plugins are', t => {
    t.log(`skipped: there is no ${missing}`)
    t.pass()
  })

type Ran = { code: number; stdout: string }
type Runtime = {
  node: TestNode
  confDir: string
  /** `cnitool VERB NETWORK NETNS`, in the namespace of the node. */
  run: (verb: string, netns: string, capabilities?: object, of?: { network?: string; ifname?: string }) => Promise<Ran>
}

/** A node with a runtime whose plugins are ours and these of Debian. Results are kept in a folder of the test. */
async function withRuntime(
  t: ExecutionContext,
  others: readonly string[],
  body: (runtime: Runtime) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'margay-libcni-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const [binDir, confDir, results] = ['bin', 'net.d', 'results'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  for (const each of [binDir, results]) mkdirSync(each)
  for (const name of others) symlinkSync(join(PLUGINS, name), join(binDir, name))
  mkdirSync('/var/lib/cni', { recursive: true })
  await withNode(async node => {
    installPlugin({ binDir, confDir, socket: node.socket })
    const inside = [
      ...[systemProgram('nsenter'), `--net=${node.netns}`, systemProgram('unshare'), '--mount'],
      ...[systemProgram('sh'), '-c', `mount --bind ${results} /var/lib/cni && exec "$@"`, 'sh', CNITOOL],
    ]
    const run: Runtime['run'] = (verb, netns, capabilities = {}, { network = 'margay', ifname = 'eth0' } = {}) =>
      new Promise(resolve => {
        const env = {
          ...{ PATH: process.env['PATH'] ?? '', CNI_PATH: binDir, NETCONFPATH: confDir },
          ...{ CAP_ARGS: JSON.stringify(capabilities), CNI_IFNAME: ifname },
        }
        const argv = [...inside.slice(1), verb, network, netns]
        execFile(inside[0]!, argv, { env }, (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : 1, stdout: stdout || stderr }),
        )
      })
    await body({ node, confDir, run })
  })
}

/** What `cnitool` printed of a request that must succeed. */
async function done(t: ExecutionContext, ran: Promise<Ran>): Promise<string> {
  const { code, stdout } = await ran
  t.is(code, 0, stdout)
  return stdout
}

asRoot('libcni adds, checks and deletes with what a runtime asks for by capabilities, and its STATUS and GC work', t =>
  withRuntime(t, [], async ({ node, run }) => {
    const [netns, other] = [node.pod(), node.pod()]
    const asked = {
      ...{ ips: ['10.244.0.77/24', 'fd00:244::77'], mac: '02:00:5e:10:00:01' },
      ...{ dns: { servers: ['10.96.0.10'], searches: ['c.local'] }, portMappings: [{ hostPort: 1, containerPort: 1 }] },
    }
    const result: Result & { dns: object } = JSON.parse(await done(t, run('add', netns, asked)))
    t.is(result.cniVersion, '1.1.0')
    t.deepEqual([addressOf(result), addressOf(result, 1)], ['10.244.0.77', 'fd00:244::77'])
    t.is(result.interfaces[1]?.mac, asked.mac)
    t.deepEqual(result.dns, { nameservers: ['10.96.0.10'], search: ['c.local'] })
    await done(t, run('check', netns, asked))
    await done(t, run('status', netns))
    const second: Result = JSON.parse(await done(t, run('add', other)))
    t.is((await node.exec(netns, 'ping', '-c1', '-W1', addressOf(second, 1))).code, 0)
    await done(t, run('del', netns, asked))
    t.is(node.ipam.held().size, 1)
    // this program gives GC no list: libcni calls DEL for what it has of its own, and ours deletes nothing
    const gc = await run('gc', netns)
    t.regex(gc.stdout, /GC without cni\.dev\/valid-attachments/)
    t.is(node.ipam.held().size, 0)
    t.deepEqual(
      (await node.kernel.links()).filter(({ name }) => name.startsWith('cali')),
      [],
    )
  }),
)

asRoot('libcni hands ipRanges over to us, and the refusal with its remedy is what a person sees', t =>
  withRuntime(t, [], async ({ node, run }) => {
    const { code, stdout } = await run('add', node.pod(), { ipRanges: [[{ subnet: '10.1.2.0/24' }]] })
    t.is(code, 1)
    t.regex(stdout, /runtimeConfig\.ipRanges.*must be absent: addresses come from IPPools/)
    t.is(node.ipam.held().size, 0)
  }),
)

asRoot('behind ours portmap and bandwidth get their capabilities, and DEL goes through the chain', t =>
  withRuntime(t, ['portmap', 'bandwidth'], async ({ node, run }) => {
    const netns = node.pod()
    const asked = {
      portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
      bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 8_000_000, egressBurst: 800_000 },
    }
    const result: Result = JSON.parse(await done(t, run('add', netns, asked)))
    t.is(result.cniVersion, '1.0.0')
    const shaped = await node.exec(node.netns, 'tc', 'qdisc', 'show', 'dev', result.interfaces[0]!.name)
    t.regex(shaped.stdout, /tbf.*rate 8Mbit/)
    // no CHECK: that of portmap looks for rules of IPv6 that it never makes
    await done(t, run('del', netns, asked))
    t.is(node.ipam.held().size, 0)
  }),
)

asRoot('behind ours tuning gives another MAC and sbr moves the routes, and CHECK and DEL go through the chain', t =>
  withRuntime(t, ['tuning', 'sbr'], async ({ node, confDir, run }) => {
    const netns = node.pod()
    const ours = { type: 'margay', agentSocket: node.socket, ipam: { assign_ipv6: true } }
    const plugins = [ours, { type: 'tuning', mac: '02:00:5e:10:00:07' }, { type: 'sbr' }]
    const list = JSON.stringify({ cniVersion: '1.0.0', name: 'margay', plugins })
    writeFileSync(join(confDir, '10-margay.conflist'), list)
    const result: Result = JSON.parse(await done(t, run('add', netns)))
    t.is(result.interfaces[1]?.mac, '02:00:5e:10:00:07')
    t.is((await node.exec(netns, 'ip', 'route', 'show', 'table', 'main')).stdout, '')
    // at once: it does not wait for the next look at the MAC
    await done(t, run('check', netns))
    const other: Result = JSON.parse(await done(t, run('add', node.pod())))
    const ping = () => node.exec(netns, 'ping', '-c1', '-W1', '-I', addressOf(result), addressOf(other))
    t.true(await until(async () => (await ping()).code === 0, 5000))
    await done(t, run('del', netns))
    t.is(node.ipam.held().size, 1)
  }),
)

asRoot(
  'a second network of a pod, as Multus adds it, is reached by its address with sbr behind ours, and goes first',
  t =>
    withRuntime(t, ['sbr'], async ({ node, confDir, run }) => {
      const [netns, other] = [node.pod(), node.pod()]
      const ours = { type: 'margay', agentSocket: node.socket, ipam: { assign_ipv6: true } }
      const list = JSON.stringify({ cniVersion: '0.4.0', name: 'backend', plugins: [ours, { type: 'sbr' }] })
      writeFileSync(join(confDir, '20-backend.conflist'), list)
      const backend = { network: 'backend', ifname: 'net1' }
      const results: Result[] = [
        JSON.parse(await done(t, run('add', netns))),
        JSON.parse(await done(t, run('add', netns, {}, backend))),
      ]
      await done(t, run('add', other))
      for (const [i, result] of results.entries())
        for (const family of result.ips.keys()) {
          const ping = await node.exec(other, 'ping', '-c1', '-W1', addressOf(result, family))
          t.is(ping.code, 0, `${i} ${ping.stdout}`)
        }
      await done(t, run('check', netns))
      await done(t, run('check', netns, {}, backend))
      await done(t, run('del', netns, {}, backend))
      await done(t, run('check', netns))
      t.is((await node.exec(other, 'ping', '-c1', '-W1', addressOf(results[0]!))).code, 0)
      await done(t, run('del', netns))
      t.is(node.ipam.held().size, 1)
    }),
)
