// The configuration that is installed, called as runtimes call it: by libcni. Chains with other plugins: chains.netns.test.ts.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../../lab/program.ts'
import { addressOf, type Result } from './node.ts'
import { done, withPlugins, withRuntime } from './runtime.ts'

withPlugins(
  'libcni adds, checks and deletes with what a runtime asks for by capabilities, and its STATUS and GC work',
  t =>
    withRuntime(t, [], async ({ node, run }) => {
      const [netns, other] = [node.pod(), node.pod()]
      const asked = {
        ...{ ips: ['10.244.0.77/24', 'fd00:244::77'], mac: '02:00:5e:10:00:01' },
        ...{
          dns: { servers: ['10.96.0.10'], searches: ['c.local'] },
          portMappings: [{ hostPort: 1, containerPort: 1 }],
        },
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

withPlugins('libcni hands ipRanges over to us, and the refusal with its remedy is what a person sees', t =>
  withRuntime(t, [], async ({ node, run }) => {
    const { code, stdout } = await run('add', node.pod(), { ipRanges: [[{ subnet: '10.1.2.0/24' }]] })
    t.is(code, 1)
    t.regex(stdout, /runtimeConfig\.ipRanges.*must be absent: addresses come from IPPools/)
    t.is(node.ipam.held().size, 0)
  }),
)

withPlugins('behind ours portmap and bandwidth get their capabilities, and DEL goes through the chain', t =>
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

withPlugins(
  'behind ours tuning gives another MAC and sbr moves the routes, and CHECK and DEL go through the chain',
  t =>
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

withPlugins(
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
