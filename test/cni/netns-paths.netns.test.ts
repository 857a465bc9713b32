// Namespaces without a name below /run/netns: the plugin gives them one for the agent, which may not see the processes of the
// host, and takes it away when nobody needs it.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readlinkSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { until } from '../../lab/program.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { mountAt } from './mounts.ts'
import { addressOf, conf, resultOf, type TestNode, withNode } from './node.ts'
import { anAgent, ENV, installedPlugin, runPlugin } from './run-plugin.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip

type Container = { path: string; child: ChildProcess; end(): Promise<void> }

/** A process in a network namespace of its own, as `runc` starts one: nothing else leads to the namespace. */
async function aContainer(t: ExecutionContext): Promise<Container> {
  const child = spawn(systemProgram('unshare'), ['--net', systemProgram('sleep'), '600'], { stdio: 'ignore' })
  const exit = once(child, 'exit')
  const end = async (): Promise<void> => {
    child.kill('SIGKILL')
    await exit
  }
  t.teardown(end)
  const path = `/proc/${child.pid}/ns/net`
  const own = readlinkSync('/proc/self/ns/net')
  t.true(await until(() => readlinkSync(path) !== own, 10_000))
  return { path, child, end }
}

/** Where the plugin mounts the namespace of a container. */
const pinOf = ({ path }: Container): string => `/run/netns/margay-${/\d+/.exec(readlinkSync(path))}`

const isMounted = (path: string): boolean => mountAt(path) !== undefined

/** One echo request from another pod of the node. */
async function pingFrom(t: ExecutionContext, node: TestNode, address: string): Promise<{ code: number }> {
  const netns = node.pod()
  resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'pinger', CNI_NETNS: netns }))
  return node.exec(netns, 'ping', '-c1', '-W2', address)
}

asRoot('a path of a process is served by a name that goes with DEL, and the result has the path that was given', t =>
  withNode(async node => {
    const pod = await aContainer(t)
    const name = pinOf(pod)
    const result = resultOf(t, await node.run('ADD', { CNI_NETNS: pod.path }))
    t.is(result.interfaces[1]?.sandbox, pod.path)
    t.is(node.deps.endpoints.all()[0]?.netns, name)
    t.deepEqual(resultOf(t, await node.run('ADD', { CNI_NETNS: pod.path })), result)
    const check = await node.run('CHECK', { CNI_NETNS: pod.path }, conf({ prevResult: result }))
    t.is(check.code, 0, check.stdout)
    t.is((await pingFrom(t, node, addressOf(result))).code, 0)
    t.truthy(mountAt(name))
    t.is((await node.run('DEL', { CNI_NETNS: '' })).code, 0)
    t.false(existsSync(name))
  }),
)

asRoot(
  'a path that leads to another namespace by now is another container: CHECK says so, DEL and ADD take the first',
  t =>
    withNode(async node => {
      const [first, second] = [await aContainer(t), await aContainer(t)]
      const path = join(node.folder, 'reused')
      symlinkSync(first.path, path)
      const names = [pinOf(first), pinOf(second)]
      const result = resultOf(t, await node.run('ADD', { CNI_NETNS: path }))
      rmSync(path)
      symlinkSync(second.path, path)
      const check = await node.run('CHECK', { CNI_NETNS: path }, conf({ prevResult: result }))
      t.regex(String(check.json?.['msg']), /reused is not that namespace/)
      const again = resultOf(t, await node.run('ADD', { CNI_NETNS: path }))
      t.is((await node.exec(second.path, 'ip', 'link', 'show', 'eth0')).code, 0)
      t.is((await node.exec(first.path, 'ip', 'link', 'show', 'eth0')).code, 1)
      t.deepEqual(names.map(isMounted), [false, true])
      // another container of that path: DEL of the first one must not touch it
      const other = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'c2', CNI_IFNAME: 'net1', CNI_NETNS: path }))
      t.is((await node.run('DEL', { CNI_NETNS: path })).code, 0)
      t.true(isMounted(names[1]!))
      t.is((await pingFrom(t, node, addressOf(other))).code, 0)
      t.not(addressOf(other), addressOf(again))
      t.is((await node.run('DEL', { CNI_CONTAINERID: 'c2', CNI_IFNAME: 'net1', CNI_NETNS: '' })).code, 0)
      t.false(isMounted(names[1]!))
    }),
)

asRoot('a link below /run/netns is followed for the agent, and a name there is used as it is', t =>
  withNode(async node => {
    const pod = await aContainer(t)
    const link = `/run/netns/mgcni-link-${process.pid}`
    symlinkSync(pod.path, link)
    t.teardown(() => rmSync(link))
    resultOf(t, await node.run('ADD', { CNI_NETNS: link }))
    t.true(isMounted(pinOf(pod)))
    const named = node.pod()
    resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'c2', CNI_NETNS: named }))
    t.false(existsSync(`/run/netns/margay-${statSync(named).ino}`))
    t.is((await node.run('DEL', { CNI_NETNS: '' })).code, 0)
    t.false(isMounted(pinOf(pod)))
  }),
)

asRoot('a namespace that is gone, or is none, is code 8; no refused ADD, and none without an agent, leaves a name', t =>
  withNode(async node => {
    const [gone, pod] = [await aContainer(t), await aContainer(t)]
    await gone.end()
    for (const CNI_NETNS of [gone.path, '/etc/hostname', '/dev/null', node.folder]) {
      const { json } = await node.run('ADD', { CNI_NETNS })
      t.like(json, { code: 8 }, CNI_NETNS)
      t.true(String(json?.['msg']).includes(CNI_NETNS), CNI_NETNS)
    }
    const malformed = await node.run('ADD', { CNI_NETNS: pod.path, CNI_IFNAME: 'a/b' })
    t.like(malformed.json, { code: 4 })
    t.like((await node.run('ADD', { CNI_NETNS: pod.path }, conf({ mtu: 'x' }))).json, { code: 2 })
    t.like((await node.run('ADD', { CNI_NETNS: pod.path, CNI_IFNAME: 'lo' })).json, { code: 4 })
    await node.stopAgent()
    t.like((await node.run('ADD', { CNI_NETNS: pod.path })).json, { code: 11 })
    await node.startAgent()
    t.false(existsSync(pinOf(pod)))
  }),
)

asRoot(
  'a container that ended without DEL is not kept by its name: the next request of any other one takes that away',
  t =>
    withNode(async node => {
      const [ended, lives] = [await aContainer(t), await aContainer(t)]
      const names = [pinOf(ended), pinOf(lives)]
      const result = resultOf(t, await node.run('ADD', { CNI_NETNS: ended.path }))
      resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'c2', CNI_NETNS: lives.path }))
      const mount = mountAt(names[0]!)
      t.truthy(mount)
      await ended.end()
      t.truthy(await node.kernel.link(result.interfaces[0]!.name))
      resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'c3', CNI_NETNS: node.pod() }))
      t.true(mountAt(names[0]!) !== mount && isMounted(names[1]!))
      // the kernel takes the interface away with the namespace, and DEL what is left
      t.true(await until(async () => (await node.kernel.link(result.interfaces[0]!.name)) === undefined, 10_000))
      // GC takes what is older than a minute
      for (const row of node.deps.endpoints.all()) node.deps.endpoints.publish({ ...row, createdMs: 0 })
      const valid = [{ containerID: 'c3', ifname: 'eth0' }]
      const gc = await node.run('GC', {}, conf({ cniVersion: '1.1.0', 'cni.dev/valid-attachments': valid }))
      t.is(gc.code, 0, gc.stdout)
      t.false(isMounted(names[1]!))
      t.is(node.ipam.held().size, 1)
    }),
)

asRoot('what somebody else mounted under such a name stays, whatever an agent says', async t => {
  const { plugin, socket } = installedPlugin(t)
  execFileSync(systemProgram('ip'), ['netns', 'add', 'margay-7'])
  t.teardown(() => execFileSync(systemProgram('ip'), ['netns', 'delete', 'margay-7']))
  const said = JSON.stringify({ exitCode: 0, stdout: '', unpin: [{ netns: 7 }] })
  await anAgent(t, socket, connection => connection.end(`HTTP/1.1 200 OK\r\n\r\n${said}`))
  const input = JSON.stringify({ agentSocket: socket, name: 'net' })
  t.is((await runPlugin(plugin, { env: { ...ENV, CNI_COMMAND: 'DEL' }, input })).code, 0)
  t.true(isMounted('/run/netns/margay-7'))
})

asRoot(
  'a pod whose row an earlier version wrote, by the path of its process, passes CHECK and an ADD that is repeated',
  t =>
    withNode(async node => {
      const pod = await aContainer(t)
      const result = resultOf(t, await node.run('ADD', { CNI_NETNS: pod.path }))
      const { sandbox, ...row } = node.deps.endpoints.all()[0]!
      node.deps.endpoints.publish({ ...row, netns: sandbox! })
      execFileSync(systemProgram('umount'), [pinOf(pod)])
      const check = await node.run('CHECK', { CNI_NETNS: pod.path }, conf({ prevResult: result }))
      t.is(check.code, 0, check.stdout)
      t.deepEqual(resultOf(t, await node.run('ADD', { CNI_NETNS: pod.path })), result)
      t.false(isMounted(pinOf(pod)))
      t.is((await node.run('DEL', { CNI_NETNS: '' })).code, 0)
    }),
)
