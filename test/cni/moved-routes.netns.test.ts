// Routes of a pod that are in tables of their own: Debian's plugin sbr moved them behind ours, or a program of the pod copied them.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { until } from '../../lab/program.ts'
import { ANSWER_MS } from '../slowness.ts'
import { addressOf, conf, type Result, resultOf, type TestNode, withNode } from './node.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip

const SBR = '/usr/lib/cni/sbr'

asRoot('CHECK and repairs leave routes where the plugin sbr moved them, and CHECK misses one that is nowhere', t =>
  withNode(async node => {
    if (!existsSync(SBR)) {
      t.pass(`skipped: there is no ${SBR}`)
      return
    }
    const [netns, other] = [node.pod(), node.pod()]
    const config = conf({ ipam: { assign_ipv4: 'true', assign_ipv6: 'true' } })
    const first = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }, config))
    const second = resultOf(t, await node.run('ADD', { CNI_NETNS: other, CNI_CONTAINERID: 'c2' }, config))
    const result = sbr(t, netns, 'eth0', first)
    const routes = async (family: '-4' | '-6', table: string) =>
      (await node.exec(netns, 'ip', family, 'route', 'show', 'table', table, 'dev', 'eth0')).stdout
    t.is(await routes('-4', 'main'), '')
    t.regex(await routes('-4', '100'), /default via 169\.254\.1\.1/)
    const check = async () => node.run('CHECK', { CNI_NETNS: netns }, { ...config, prevResult: result })
    t.is((await check()).stdout, '')
    t.is((await node.exec(netns, 'ping', '-c1', '-W1', '-I', addressOf(first), addressOf(second))).code, 0)

    // what makes the agent look into the pod
    await node.exec(node.netns, 'ip', 'link', 'set', first.interfaces[0]!.name, 'txqueuelen', '500')
    await new Promise(resolve => setTimeout(resolve, 300))
    t.deepEqual([await routes('-4', 'main'), node.healed], ['', []])
    // also where it has something to put back
    await node.exec(netns, 'ip', 'neigh', 'del', '169.254.1.1', 'dev', 'eth0')
    await node.exec(node.netns, 'ip', 'link', 'set', first.interfaces[0]!.name, 'txqueuelen', '400')
    await putBack(t, node, 0)
    t.regex(node.healed.join(), /neighbour 169\.254\.1\.1 dev eth0/)
    t.is(await routes('-4', 'main'), '')

    await node.exec(netns, 'ip', 'route', 'del', 'default', 'table', '100')
    t.is((await check()).json?.['msg'], 'route 0.0.0.0/0 dev eth0 in the pod is missing')
    // a plugin behind ours took it out of the result
    for (const gateway of [{ gw: 'fe80::ecee:eeff:feee:eeee' }, {}]) {
      const fewer = { ...result, routes: [{ dst: '::/0', ...gateway }] }
      t.is((await node.run('CHECK', { CNI_NETNS: netns }, { ...config, prevResult: fewer })).stdout, '')
    }
    t.is((await node.run('DEL', { CNI_NETNS: netns }, config)).code, 0)
  }),
)

asRoot('a second interface whose routes sbr moved gets them back in its tables after its link went down and up', t =>
  withNode(async node => {
    if (!existsSync(SBR)) {
      t.pass(`skipped: there is no ${SBR}`)
      return
    }
    const [netns, other] = [node.pod(), node.pod()]
    const config = conf({ ipam: { assign_ipv4: 'true', assign_ipv6: 'true' } })
    const first = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }, config))
    const second = resultOf(t, await node.run('ADD', { CNI_NETNS: netns, CNI_IFNAME: 'net1' }, config))
    const far = resultOf(t, await node.run('ADD', { CNI_NETNS: other, CNI_CONTAINERID: 'c2' }, config))
    const result = sbr(t, netns, 'net1', second)
    const inPod = async (...args: string[]) => {
      const { code, stdout } = await node.exec(netns, 'ip', ...args)
      t.is(code, 0, args.join(' '))
      return stdout
    }
    const main = async () => [
      await inPod('-4', 'route', 'show', 'table', 'main'),
      // the kernel makes one for each address of a link that comes up
      (await inPod('-6', 'route', 'show', 'table', 'main')).replaceAll(/^.* proto kernel .*\n/gm, ''),
    ]
    const before = await main()
    t.false(before.join().includes('net1'), before.join())

    // as the plugin tuning does behind sbr
    await inPod('link', 'set', 'net1', 'down')
    await inPod('link', 'set', 'net1', 'address', '02:00:00:00:00:77')
    await inPod('link', 'set', 'net1', 'up')
    await putBack(t, node, 0)
    t.deepEqual(await main(), before)
    for (const [family, table, gateway] of [
      ['-4', '100', '169.254.1.1'],
      ['-6', '101', 'fe80::ecee:eeff:feee:eeee'],
    ] as const)
      t.regex(await inPod(family, 'route', 'show', 'table', table), new RegExp(`^default via ${gateway} dev net1`, 'm'))
    for (const family of [0, 1])
      for (const source of [first, second]) {
        const argv = ['-c1', '-W', `${ANSWER_MS / 1000}`, '-I', addressOf(source, family), addressOf(far, family)]
        t.is((await node.exec(netns, 'ping', ...argv)).code, 0, argv.join(' '))
      }
    const [host, pod] = result.interfaces
    const prevResult = { ...result, interfaces: [host, { ...pod, mac: '02:00:00:00:00:77' }] }
    t.is((await node.run('CHECK', { CNI_NETNS: netns, CNI_IFNAME: 'net1' }, { ...config, prevResult })).stdout, '')
    for (const ifname of ['net1', 'eth0'])
      t.is((await node.run('DEL', { CNI_NETNS: netns, CNI_IFNAME: ifname }, config)).code, 0)
  }),
)

asRoot('a pod that has a table of its own for its address gets the routes back there and in the main table', t =>
  withNode(async node => {
    const netns = node.pod()
    const address = addressOf(resultOf(t, await node.run('ADD', { CNI_NETNS: netns })))
    const inPod = async (...args: string[]) => {
      const { code, stdout } = await node.exec(netns, 'ip', ...args)
      t.is(code, 0, args.join(' '))
      return stdout
    }
    const flap = async () => {
      const before = node.healed.length
      await inPod('link', 'set', 'eth0', 'down')
      await inPod('link', 'set', 'eth0', 'up')
      await putBack(t, node, before)
    }
    // as programs do that send all but answers through a VPN
    await inPod('rule', 'add', 'from', address, 'lookup', '200')
    await inPod('route', 'add', 'default', 'via', '169.254.1.1', 'dev', 'eth0', 'table', '200')
    await flap()
    for (const table of ['200', 'main'])
      t.regex(await inPod('route', 'show', 'table', table), /^default via 169\.254\.1\.1 dev eth0/m, table)
    // what another interface leads out by stays
    await inPod('link', 'add', 'vpn', 'type', 'veth', 'peer', 'name', 'far')
    await inPod('link', 'set', 'vpn', 'up')
    await inPod('route', 'replace', 'default', 'dev', 'vpn', 'table', '200')
    await flap()
    t.regex(await inPod('route', 'show', 'table', '200'), /^default dev vpn/)
    t.regex(await inPod('route', 'show', 'table', 'main'), /^default via 169\.254\.1\.1 dev eth0/m)
  }),
)

/** The result that sbr makes behind ours. */
function sbr(t: ExecutionContext, netns: string, ifname: string, prevResult: Result): Result {
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: netns, CNI_IFNAME: ifname, CNI_PATH: '/' }
  const input = JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'sbr', prevResult })
  const run = spawnSync(SBR, [], { env, input, encoding: 'utf8' })
  t.is(run.status, 0, run.stdout + run.stderr)
  return JSON.parse(run.stdout)
}

/** Waits until something is put back that was lost with a link, after so many repairs. */
async function putBack(t: ExecutionContext, node: TestNode, before: number): Promise<void> {
  const isBack = () => node.healed.slice(before).some(each => each.startsWith('put back'))
  t.true(await until(isBack, 30_000), node.healed.join())
}
