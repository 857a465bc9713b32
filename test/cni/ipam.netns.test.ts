// margay-ipam under Debian's bridge, ptp and macvlan: they execute it as they are, on nodes of their own. With whole agents: test/lab/plugins.ts.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { checkAddresses } from '../../cni/address-check.ts'
import { collect } from '../../cni/collect.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { LABEL } from '../../felix/policy/model.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { aPool } from '../ipam/world.ts'
import { addressOf, type PluginAnswer, type Result, resultOf, startNode, type TestNode, withNode } from './node.ts'

/** Debian's package containernetworking-plugins. */
const PLUGINS = '/usr/lib/cni'
const isThere = process.getuid?.() === 0 && existsSync(join(PLUGINS, 'bridge'))
const withPlugins = isThere ? test.serial : test.serial.skip

type Conf = Record<string, unknown> & { type: string }

const DEFAULT = { routes: [{ dst: '0.0.0.0/0' }] }
const bridge = (ipam: object = DEFAULT, more: object = {}): Conf => ({
  ...{ cniVersion: '1.0.0', name: 'br', type: 'bridge', bridge: 'br0', isGateway: true, hairpinMode: true },
  ...{ ipam: { type: 'margay-ipam', ...ipam }, ...more },
})
const ptp = (ipam: object = DEFAULT): Conf => ({
  ...{ cniVersion: '1.0.0', name: 'p2p', type: 'ptp' },
  ipam: { type: 'margay-ipam', ...ipam },
})

/** Executes the plugin that a configuration names, on the node, as a runtime does. */
function call(node: TestNode, verb: string, env: Record<string, string>, conf: Conf): Promise<PluginAnswer> {
  const all = {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: 'c1',
    CNI_IFNAME: 'eth0',
    CNI_ARGS: '',
    CNI_PATH: `${dirname(node.plugin)}:${PLUGINS}`,
  }
  const args = [`--net=${node.netns}`, join(PLUGINS, conf.type)]
  return new Promise(resolve => {
    const child = execFile(systemProgram('nsenter'), args, { env: { ...all, ...env } }, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? -1)
      resolve({ code, stdout, stderr, json: stdout === '' ? undefined : JSON.parse(stdout) })
    })
    child.stdin?.end(JSON.stringify({ ...conf, agentSocket: node.socket }))
  })
}

async function added(
  t: ExecutionContext,
  node: TestNode,
  id: string,
  conf: Conf,
): Promise<{ netns: string; result: Result }> {
  const netns = node.pod()
  return { netns, result: resultOf(t, await call(node, 'ADD', { CNI_CONTAINERID: id, CNI_NETNS: netns }, conf)) }
}

async function pings(t: ExecutionContext, node: TestNode, from: string, to: string): Promise<void> {
  const ping = await node.exec(from, 'ping', '-c1', '-W10', to)
  t.is(ping.code, 0, `${from} ${to} ${ping.stdout}`)
}

const handles = (node: TestNode): string[] => [...node.ipam.held().keys()].sort()

withPlugins(
  'containers on a bridge have addresses of one block, whose gateway the bridge is, and reach each other and Margay’s pods',
  t =>
    withNode(async node => {
      const own = node.pod()
      const ours = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'own', CNI_NETNS: own }))
      const a = await added(t, node, 'a', bridge())
      const b = await added(t, node, 'b', bridge())
      for (const { result } of [a, b]) t.regex(result.ips[0]!.address, /^10\.244\.0\.\d+\/26$/)
      t.is(a.result.ips[0]!.gateway, b.result.ips[0]!.gateway)
      const addresses = await node.kernel.addresses((await node.kernel.link('br0'))!.index)
      t.like(
        addresses.find(({ address }) => address.startsWith('10.')),
        { address: a.result.ips[0]!.gateway, length: 26 },
      )
      for (const [from, to] of [
        [a.netns, addressOf(b.result)],
        [b.netns, addressOf(a.result)],
        [a.netns, addressOf(ours)],
        [own, addressOf(a.result)],
        [node.netns, addressOf(a.result)],
        [a.netns, a.result.ips[0]!.gateway],
      ] as const)
        await pings(t, node, from, to)
      t.deepEqual(await checkAddresses(node.deps), { findings: [], looked: 1, unlooked: [] })
      for (const id of ['a', 'b', 'b'])
        t.is((await call(node, 'DEL', { CNI_CONTAINERID: id, CNI_NETNS: '' }, bridge())).code, 0)
      t.is((await node.run('DEL', { CNI_CONTAINERID: 'own', CNI_NETNS: own })).code, 0)
      t.deepEqual(handles(node), [`ipam/br/${node.ipam.blocks().find(({ subnetOf }) => subnetOf === 'br')!.cidr}`])
    }),
)

withPlugins('containers of ptp have addresses with a gateway, and reach each other and Margay’s pods', t =>
  withNode(async node => {
    const own = node.pod()
    const ours = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'own', CNI_NETNS: own }))
    const a = await added(t, node, 'a', ptp())
    const b = await added(t, node, 'b', ptp())
    for (const [from, to] of [
      [a.netns, addressOf(b.result)],
      [a.netns, addressOf(ours)],
      [own, addressOf(a.result)],
      [node.netns, addressOf(a.result)],
      [a.netns, a.result.ips[0]!.gateway],
    ] as const)
      await pings(t, node, from, to)
    for (const id of ['a', 'b'])
      t.is((await call(node, 'DEL', { CNI_CONTAINERID: id, CNI_NETNS: id === 'a' ? a.netns : b.netns }, ptp())).code, 0)
    t.is((await node.run('DEL', { CNI_CONTAINERID: 'own', CNI_NETNS: own })).code, 0)
  }),
)

for (const conf of [ptp(), bridge()])
  withPlugins(`ADD of ${conf.type} for a container that runs is refused, and takes its address from nobody`, t =>
    withNode(async node => {
      const { netns } = await added(t, node, 'a', conf)
      const held = handles(node)
      t.not((await call(node, 'ADD', { CNI_CONTAINERID: 'a', CNI_NETNS: netns }, conf)).code, 0)
      t.deepEqual(handles(node), held)
      t.is((await call(node, 'DEL', { CNI_CONTAINERID: 'a', CNI_NETNS: netns }, conf)).code, 0)
    }),
  )

const BOTH = { assign_ipv6: true, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] }

for (const conf of [bridge(BOTH), ptp(BOTH)])
  withPlugins(`containers of ${conf.type} reach each other, Margay’s pods and the node over IPv6 as well`, t =>
    withNode(async node => {
      const quick = (netns: string) => node.exec(netns, 'sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0')
      await quick(node.netns)
      const own = node.pod()
      const ours = { cniVersion: '1.0.0', name: 'net', type: 'margay', ipam: { assign_ipv6: true } }
      const pod = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'own', CNI_NETNS: own }, ours))
      const theirs = [node.pod(), node.pod()]
      const results: Result[] = []
      for (const [i, netns] of theirs.entries()) {
        await quick(netns)
        results.push(resultOf(t, await call(node, 'ADD', { CNI_CONTAINERID: `c${i}`, CNI_NETNS: netns }, conf)))
      }
      const [first, second] = theirs as [string, string]
      for (const at of [0, 1])
        for (const [from, to] of [
          [first, addressOf(results[1]!, at)],
          [second, addressOf(pod, at)],
          [own, addressOf(results[0]!, at)],
          [node.netns, addressOf(results[0]!, at)],
          [first, results[0]!.ips[at]!.gateway],
        ] as const)
          await pings(t, node, from, to)
      t.deepEqual((await checkAddresses(node.deps)).findings, [])
      for (const [i, netns] of theirs.entries())
        t.is((await call(node, 'DEL', { CNI_CONTAINERID: `c${i}`, CNI_NETNS: netns }, conf)).code, 0)
      t.is((await node.run('DEL', { CNI_CONTAINERID: 'own', CNI_NETNS: own })).code, 0)
    }),
  )

withPlugins('a policy of one of Margay’s pods holds for what containers of a bridge on its node send to it', t =>
  withNode(async node => {
    const own = node.pod()
    const pod = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'own', CNI_NETNS: own }))
    const [a, b] = [await added(t, node, 'a', bridge()), await added(t, node, 'b', bridge())]
    const { felix } = node
    felix.setPolicy('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
    felix.setPolicy('policy', 'some', {
      ...{ ref: { kind: 'NetworkPolicy', namespace: 'default', name: 'some' }, tier: 'default', order: 1000 },
      ...{ sortName: 'some', selector: "app == 'web'", hostStage: 'normal' },
      ingress: [{ action: 'allow', source: { nets: [`${addressOf(a.result)}/32`] }, destination: {} }],
    })
    const labels = { app: 'web', [LABEL.orchestrator]: 'k8s', [LABEL.namespace]: 'default' }
    felix.setPolicy('endpoint', 'web', { kind: 'pod', labels, addresses: [addressOf(pod)], ports: [] })
    felix.setLocalEndpoint('web', { interfaceName: pod.interfaces[0]!.name, profiles: [] })
    felix.complete('policy')
    await felix.applied().catch(() => undefined) // of an uplink that is not there
    await pings(t, node, a.netns, addressOf(pod))
    await pings(t, node, a.netns, addressOf(b.result))
    t.not((await node.exec(b.netns, 'ping', '-c1', '-W1', addressOf(pod))).code, 0)
  }),
)

/** Two nodes on one LAN, 192.0.2.11 and 192.0.2.12, whose bridge is its router, 192.0.2.1. */
async function withLan(body: (first: TestNode, second: TestNode, router: string) => Promise<void>): Promise<void> {
  const store = createFakeStore()
  for (const pool of [
    aPool('v4', '10.244.0.0/24'),
    aPool('lan', '192.0.2.128/26', 29, {
      ...{ disableBGPExport: true, assignmentMode: 'Manual', allowedUses: ['Workload'] },
    }),
  ])
    await store.create('IPPool', pool)
  await using undo = new AsyncDisposableStack()
  const nodes: TestNode[] = []
  for (const name of ['n1', 'n2']) {
    const node = await startNode({ name, store })
    undo.defer(() => node.close())
    nodes.push(node)
  }
  const [first, second] = nodes as [TestNode, TestNode]
  const router = first.pod()
  const ip = async (netns: string, ...args: string[]) => {
    const { code, stdout } = await first.exec(netns, 'ip', ...args)
    if (code !== 0) throw new Error(`ip ${args.join(' ')}: ${stdout}`)
  }
  await ip(router, 'link', 'add', 'lan', 'type', 'bridge')
  await ip(router, 'link', 'set', 'lan', 'up')
  await ip(router, 'address', 'add', '192.0.2.1/24', 'dev', 'lan')
  for (const [i, { netns }] of nodes.entries()) {
    const peer = ['peer', 'name', 'eth0', 'netns', netns.slice(netns.lastIndexOf('/') + 1)]
    await ip(router, 'link', 'add', `n${i + 1}`, 'type', 'veth', ...peer)
    await ip(router, 'link', 'set', `n${i + 1}`, 'master', 'lan', 'up')
    await ip(netns, 'link', 'set', 'eth0', 'up')
    await ip(netns, 'address', 'add', `192.0.2.${11 + i}/24`, 'dev', 'eth0')
  }
  await body(first, second, router)
}

const macvlan = (routes: object[] = []): Conf => ({
  ...{ cniVersion: '1.0.0', name: 'lan', type: 'macvlan', master: 'eth0' },
  ipam: {
    ...{ type: 'margay-ipam', subnet: '192.0.2.0/24', gateway: '192.0.2.1', ipv4_pools: ['lan'] },
    routes: [{ dst: '0.0.0.0/0' }, ...routes],
  },
})

withPlugins(
  'containers of macvlan have addresses of the LAN: on both nodes they reach each other, the router, the other node and its pods',
  t =>
    withLan(async (first, second, router) => {
      const own = second.pod()
      const ours = resultOf(t, await second.run('ADD', { CNI_CONTAINERID: 'own', CNI_NETNS: own }))
      // of the pods of a node the LAN's router knows nothing: a container that wants them has a route there
      const conf = macvlan([{ dst: '10.244.0.0/24', gw: '192.0.2.12' }])
      const a = await added(t, first, 'a', conf)
      const b = await added(t, first, 'b', conf)
      const c = await added(t, second, 'c', macvlan())
      for (const { result } of [a, b, c]) {
        t.regex(result.ips[0]!.address, /^192\.0\.2\.1\d\d\/24$/)
        t.is(result.ips[0]!.gateway, '192.0.2.1')
      }
      for (const [from, to] of [
        [a.netns, addressOf(b.result)],
        [a.netns, addressOf(c.result)],
        [c.netns, addressOf(b.result)],
        [a.netns, '192.0.2.1'],
        [router, addressOf(c.result)],
        [a.netns, '192.0.2.12'],
        [second.netns, addressOf(a.result)],
        [a.netns, addressOf(ours)],
        [own, addressOf(a.result)],
      ] as const)
        await pings(t, first, from, to)
      t.deepEqual(handles(first), ['ipam/lan.a.eth0', 'ipam/lan.b.eth0'])
      t.like(
        first.ipam.blocks().find(({ isOnLan }) => isOnLan),
        { subnetOf: 'lan', used: 2 },
      )
      t.deepEqual((await checkAddresses(first.deps)).findings, [])

      const prevResult = { ...a.result, dns: {} }
      const check = await call(first, 'CHECK', { CNI_CONTAINERID: 'a', CNI_NETNS: a.netns }, { ...conf, prevResult })
      t.is(check.code, 0, check.stdout)
      for (let i = 0; i < 2; i++)
        t.is((await call(first, 'DEL', { CNI_CONTAINERID: 'a', CNI_NETNS: a.netns }, conf)).code, 0)
      t.deepEqual(handles(first), ['ipam/lan.b.eth0'])
      // a start of the agent leaves what runs, and the first one after a boot frees it
      await collect(first.deps)
      t.deepEqual(handles(first), ['ipam/lan.b.eth0'])
      await collect({ ...first.deps, bootId: 'another' })
      t.deepEqual(handles(first), [])
      t.is((await second.run('DEL', { CNI_CONTAINERID: 'own', CNI_NETNS: own })).code, 0)
    }),
)
