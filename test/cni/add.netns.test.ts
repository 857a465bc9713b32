// The installed plugin, executed as runtimes do, against this machine's kernel in namespaces of the test's own.
// Over 400 lines: one node with the plugin, and a test for each promise of its verbs.
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { adopt } from '../../cni/adopt.ts'
import { EndpointStore } from '../../cni/endpoints.ts'
import { CNI_VERSIONS } from '../../cni/result.ts'
import { GATEWAY_DST } from '../../felix/calc/gateway.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { openDatabase } from '../../lib/database.ts'
import { aPool } from '../ipam/world.ts'
import { addressOf, conf, type Result, resultOf, type TestNode, withNode } from './node.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip

/** What is on the node beyond its loopback: links, pod routes, endpoints, addresses held. */
async function leftovers(node: TestNode): Promise<Record<string, unknown>> {
  const links = (await node.kernel.links()).map(({ name }) => name).filter(name => name.startsWith('cali'))
  const routes = (await node.kernel.routes({ table: 254 })).filter(
    ({ dst }) => dst.endsWith('/32') && dst !== GATEWAY_DST,
  )
  return { links, routes, endpoints: node.deps.endpoints.all(), held: [...node.ipam.held().keys()] }
}

const NOTHING = { links: [], routes: [], endpoints: [], held: [] }

asRoot('two pods have different addresses, and the first ping between them is answered', t =>
  withNode(async node => {
    const pods = [node.pod(), node.pod()]
    const results: Result[] = []
    for (const [i, netns] of pods.entries())
      results.push(resultOf(t, await node.run('ADD', { CNI_CONTAINERID: `c${i}`, CNI_NETNS: netns })))
    const [a, b] = results.map(result => addressOf(result))
    t.not(a, b)
    const ping = await node.exec(pods[0]!, 'ping', '-c1', '-W1', b!)
    t.is(ping.code, 0, ping.stdout)
  }),
)

asRoot('`ip` shows in the pod and on the host what DESIGN section 4 says', t =>
  withNode(async node => {
    const netns = node.pod()
    const args = { CNI_NETNS: netns, CNI_ARGS: 'K8S_POD_NAME=web;IgnoreUnknown=1;K8S_POD_NAMESPACE=default' }
    const result = resultOf(t, await node.run('ADD', args))
    const [host, pod] = result.interfaces
    t.regex(host!.name, /^cali[0-9a-f]{11}$/)
    t.is(pod?.sandbox, netns)
    t.is(result.ips[0]?.interface, 1)
    const inPod = (await node.exec(netns, 'ip', 'route')).stdout.trim().split(/ *\n/)
    t.deepEqual(inPod, ['default via 169.254.1.1 dev eth0', '169.254.1.1 dev eth0 scope link'])
    t.regex((await node.exec(netns, 'ip', 'addr', 'show', 'eth0')).stdout, /inet 10\.244\.0\.\d+\/32 scope global eth0/)
    t.regex(
      (await node.exec(netns, 'ip', 'neigh')).stdout,
      /169\.254\.1\.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT/,
    )
    const onHost = (await node.exec(node.netns, 'ip', 'route')).stdout.trim().split(/ *\n/)
    t.deepEqual(onHost, [
      `${addressOf(result)} dev ${host!.name} scope link`,
      '169.254.1.1 dev lo proto 80 scope link metric 1024',
    ])
    const link = (await node.exec(node.netns, 'ip', 'addr', 'show', host!.name)).stdout
    t.regex(link, /link\/ether ee:ee:ee:ee:ee:ee/)
    t.regex(link, /mtu 1450/)
    t.notRegex(link, /inet /)
    t.regex(
      (await node.exec(node.netns, 'ip', 'neigh')).stdout,
      new RegExp(`${addressOf(result)} .* ${pod!.mac} PERMANENT`),
    )
    const sysctl = (name: string): string => node.kernel.readSysctl('ipv4', ['conf', host!.name, name])
    t.deepEqual(['proxy_arp', 'forwarding', 'route_localnet'].map(sysctl), ['1', '1', '1'])
    t.is(node.kernel.readSysctl('ipv4', ['neigh', host!.name, 'proxy_delay']), '0')
  }),
)

asRoot('the first IPv6 ping between two dual-stack pods is answered, and their gateway is the link-local address', t =>
  withNode(async node => {
    const pods = [node.pod(), node.pod()]
    const results: Result[] = []
    for (const [i, netns] of pods.entries()) {
      const config = conf({ ipam: { assign_ipv4: 'true', assign_ipv6: 'true' } })
      results.push(resultOf(t, await node.run('ADD', { CNI_CONTAINERID: `c${i}`, CNI_NETNS: netns }, config)))
    }
    t.is(results[0]?.ips[1]?.gateway, 'fe80::ecee:eeff:feee:eeee')
    const ping = await node.exec(pods[0]!, 'ping', '-6', '-c1', '-W1', addressOf(results[1]!, 1))
    t.is(ping.code, 0, ping.stdout)
    t.regex((await node.exec(pods[0]!, 'ip', '-6', 'route')).stdout, /default via fe80::ecee:eeff:feee:eeee dev eth0/)
    t.is((await node.run('DEL', { CNI_CONTAINERID: 'c0', CNI_NETNS: pods[0] })).code, 0)
  }),
)

asRoot('a pod of IPv6 alone: ADD, CHECK, the first ping, DEL, and nothing of IPv4 in it or for it', t =>
  withNode(async node => {
    const pods = [node.pod(), node.pod()]
    const config = conf({ ipam: { assign_ipv4: 'false', assign_ipv6: 'true' } })
    const results: Result[] = []
    for (const [i, netns] of pods.entries())
      results.push(resultOf(t, await node.run('ADD', { CNI_CONTAINERID: `c${i}`, CNI_NETNS: netns }, config)))
    const [a, b] = results.map(result => addressOf(result)) as [string, string]
    t.deepEqual(
      results.map(({ ips }) => [ips.length, ips[0]?.gateway]),
      results.map(() => [1, 'fe80::ecee:eeff:feee:eeee']),
    )
    const ping = await node.exec(pods[0]!, 'ping', '-6', '-c1', '-W1', b)
    t.is(ping.code, 0, ping.stdout)
    t.is((await node.exec(pods[0]!, 'ip', '-4', 'route')).stdout, '')
    t.is((await node.exec(pods[0]!, 'ip', '-4', 'addr', 'show', 'eth0')).stdout, '')
    const check = await node.run(
      'CHECK',
      { CNI_CONTAINERID: 'c0', CNI_NETNS: pods[0] },
      { ...config, prevResult: results[0] },
    )
    t.is(check.code, 0, check.stdout)
    const host = results[0]!.interfaces[0]!.name
    const elements = (await node.kernel.nftables({ family: 'inet', name: 'margay' }))!.elements
    const keys = elements.flatMap(each => each.elements.map(({ key }) => key)).filter(([name]) => name === host)
    t.true(keys.some(([, address]) => address === a))
    t.deepEqual(
      keys.filter(words => words.some(word => /^\d+\.\d+\./.test(word))),
      [],
    )
    for (const [i, netns] of pods.entries())
      t.is((await node.run('DEL', { CNI_CONTAINERID: `c${i}`, CNI_NETNS: netns }, config)).code, 0)
    t.deepEqual(await leftovers(node), NOTHING)
    const left = (await node.kernel.routes({ table: 254, family: 'ipv6' })).filter(({ dst }) => dst.endsWith('/128'))
    t.deepEqual(left, [])
  }),
)

for (const version of CNI_VERSIONS)
  asRoot(`cniVersion ${version}: ADD, CHECK where it exists, and DEL answer in the format of that version`, t =>
    withNode(async node => {
      const netns = node.pod()
      const config = conf({ cniVersion: version })
      const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }, config))
      t.is(result.cniVersion, version)
      if (version < '0.3.0') t.regex(result.ip4?.ip ?? '', /^10\.244\.0\.\d+\/32$/)
      else {
        t.is(result.interfaces.length, 2)
        t.is(result.ips[0]?.version, version < '1.0.0' ? '4' : undefined)
        t.is(result.interfaces[1]?.mtu, version === '1.1.0' ? 1450 : undefined)
      }
      const check = await node.run('CHECK', { CNI_NETNS: netns }, { ...config, prevResult: result })
      if (version < '0.4.0') t.like(check.json, { code: 1 })
      else t.deepEqual([check.code, check.stdout], [0, ''])
      const del = await node.run('DEL', { CNI_NETNS: netns }, { ...config, prevResult: result })
      t.deepEqual([del.code, del.stdout], [0, ''])
      t.deepEqual(await leftovers(node), NOTHING)
      t.is((await node.run('DEL', { CNI_NETNS: netns }, config)).code, 0)
    }),
  )

asRoot('ADD again for the same container and interface gives the same result', t =>
  withNode(async node => {
    const netns = node.pod()
    const first = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
    t.deepEqual(resultOf(t, await node.run('ADD', { CNI_NETNS: netns })), first)
    await node.kernel.deleteLink(first.interfaces[0]!.name)
    const mended = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
    t.is(addressOf(mended), addressOf(first))
    t.is((await node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: mended }))).code, 0)
  }),
)

asRoot('an interface that is already there is an error, and DEL of that attempt leaves it alone', t =>
  withNode(async node => {
    const netns = node.pod()
    const first = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
    const second = await node.run('ADD', { CNI_CONTAINERID: 'other', CNI_NETNS: netns })
    t.like(second.json, { code: 4 })
    t.is((await node.run('DEL', { CNI_CONTAINERID: 'other', CNI_NETNS: netns })).code, 0)
    t.is((await node.run('DEL', { CNI_CONTAINERID: 'other', CNI_NETNS: '' })).code, 0)
    const check = await node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: first }))
    t.is(check.code, 0, check.stdout)
  }),
)

asRoot('DEL with the namespace gone, empty or reused by another pod releases the address and changes no other pod', t =>
  withNode(async node => {
    const [gone, reused] = [node.pod(), node.pod()]
    resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'gone', CNI_NETNS: gone }))
    node.dropPod(gone)
    t.is((await node.run('DEL', { CNI_CONTAINERID: 'gone', CNI_NETNS: gone })).code, 0)

    resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'old', CNI_IFNAME: 'old0', CNI_NETNS: reused }))
    const fresh = resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'new', CNI_NETNS: reused }))
    t.is((await node.run('DEL', { CNI_CONTAINERID: 'old', CNI_IFNAME: 'old0', CNI_NETNS: '' })).code, 0)
    const { links, endpoints, held } = await leftovers(node)
    t.deepEqual(links, [fresh.interfaces[0]?.name])
    t.deepEqual([(endpoints as unknown[]).length, (held as unknown[]).length], [1, 1])
  }),
)

asRoot(
  'a new sandbox of a pod gets the interface name of the older one, and a late DEL of the older one changes nothing',
  t =>
    withNode(async node => {
      const [older, newer] = [node.pod(), node.pod()]
      const args = { CNI_ARGS: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=db-0' }
      const before = resultOf(t, await node.run('ADD', { ...args, CNI_CONTAINERID: 'a', CNI_NETNS: older }))
      const after = resultOf(t, await node.run('ADD', { ...args, CNI_CONTAINERID: 'b', CNI_NETNS: newer }))
      t.is(after.interfaces[0]?.name, before.interfaces[0]?.name)
      t.is((await node.run('DEL', { ...args, CNI_CONTAINERID: 'a', CNI_NETNS: '' })).code, 0)
      t.is(
        (await node.run('CHECK', { ...args, CNI_CONTAINERID: 'b', CNI_NETNS: newer }, conf({ prevResult: after })))
          .code,
        0,
      )
    }),
)

asRoot('the addresses of both families and the MAC that a runtime asks for by capabilities are those of the pod', t =>
  withNode(async node => {
    const netns = node.pod()
    const runtimeConfig = { ips: ['10.244.0.77/24', 'fd00:244::77'], mac: '02:00:5E:10:00:01' }
    const config = conf({ ipam: { assign_ipv4: 'auto', assign_ipv6: 'auto' }, runtimeConfig })
    const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }, config))
    t.deepEqual([addressOf(result), addressOf(result, 1)], ['10.244.0.77', 'fd00:244::77'])
    t.is(result.interfaces[1]?.mac, '02:00:5e:10:00:01')
    t.regex((await node.exec(netns, 'ip', 'link', 'show', 'eth0')).stdout, /link\/ether 02:00:5e:10:00:01/)
    const second = await node.run('ADD', { CNI_NETNS: node.pod(), CNI_CONTAINERID: 'c2' }, config)
    t.like(second.json, { code: 100 })
    const check = await node.run('CHECK', { CNI_NETNS: netns }, { ...config, prevResult: result })
    t.is(check.code, 0, check.stdout)
    t.is((await node.run('DEL', { CNI_NETNS: netns }, config)).code, 0)
    t.deepEqual(await leftovers(node), NOTHING)
  }),
)

asRoot('two interfaces of one pod have two names on the host', t =>
  withNode(async node => {
    const netns = node.pod()
    const args = { CNI_ARGS: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=db-0', CNI_NETNS: netns }
    const first = resultOf(t, await node.run('ADD', args))
    const second = await node.run('ADD', { ...args, CNI_IFNAME: 'net1' })
    t.not(resultOf(t, second).interfaces[0]?.name, first.interfaces[0]?.name)
  }),
)

asRoot('GC keeps what is listed and deletes the rest; without a list it deletes nothing', t =>
  withNode(async node => {
    const config = conf({ cniVersion: '1.1.0' })
    for (const id of ['a', 'b', 'c'])
      resultOf(t, await node.run('ADD', { CNI_CONTAINERID: id, CNI_NETNS: node.pod() }, config))
    t.like((await node.run('GC', {}, config)).json, { code: 7 })
    t.is(node.deps.endpoints.all().length, 3)
    // GC takes what is older than a minute
    for (const row of node.deps.endpoints.all()) node.deps.endpoints.publish({ ...row, createdMs: 0 })
    const valid = [{ containerID: 'b', ifname: 'eth0' }]
    t.deepEqual((await node.run('GC', {}, { ...config, 'cni.dev/valid-attachments': valid })).stdout, '')
    t.deepEqual([...node.ipam.held().keys()], ['net.b.eth0'])
    t.is((await node.run('GC', {}, { ...config, 'cni.dev/valid-attachments': [] })).code, 0)
    t.deepEqual(await leftovers(node), NOTHING)
  }),
)

asRoot('STATUS gives 0, or 50 with a remedy, and ADD fails while the agent cannot serve it', t =>
  withNode(async node => {
    const config = conf({ cniVersion: '1.1.0' })
    t.deepEqual(await node.run('STATUS', {}, config).then(({ code, stdout }) => [code, stdout]), [0, ''])
    const notReady = () => ({ code: 50, msg: 'no IPPool', details: 'create one' })
    Object.assign(node.deps, { ready: notReady, status: notReady })
    t.like((await node.run('STATUS', {}, config)).json, {
      code: 50,
      msg: 'no IPPool',
      details: 'create one; see docs/cni.md#code-50',
    })
    t.like((await node.run('ADD', { CNI_NETNS: node.pod() }, config)).json, { code: 11 })
    t.deepEqual(await leftovers(node), NOTHING)
  }),
)

asRoot('every refused ADD leaves nothing behind and names a remedy', t =>
  withNode(
    async node => {
      const netns = node.pod()
      const refused = async (
        code: number,
        env: Record<string, string | undefined>,
        config?: unknown,
      ): Promise<void> => {
        const answer = await node.run('ADD', { CNI_NETNS: netns, ...env }, config)
        t.is(answer.code, 1, answer.stdout)
        t.is(answer.json?.['code'], code, answer.stdout)
        t.true(String(answer.json?.['msg']).length > 5 && String(answer.json?.['details']).length > 5, answer.stdout)
        t.is(typeof answer.json?.['cniVersion'], 'string')
        t.deepEqual(await leftovers(node), NOTHING)
        t.is((await node.exec(netns, 'ip', 'link', 'show', 'eth0')).code, 1)
      }
      await refused(6, {}, '{"cniVersion": "1.0.0"')
      await refused(6, {}, '')
      await refused(6, {}, '[]')
      await refused(2, {}, conf({ mtu: 'large' }))
      await refused(2, {}, conf({ ipam: [] }))
      await refused(2, {}, conf({ ipam: { assign_ipv4: 4 } }))
      await refused(2, {}, conf({ ipam: { ipv4_pools: 'p' } }))
      await refused(2, {}, conf({ cniVersion: 1 }))
      await refused(1, {}, conf({ cniVersion: '9.9.9' }))
      await refused(7, {}, conf({ name: 'a b' }))
      await refused(4, { CNI_CONTAINERID: '../x' })
      await refused(4, { CNI_IFNAME: 'a/b' })
      await refused(4, { CNI_NETNS: undefined, CNI_IFNAME: undefined })
      await refused(8, { CNI_NETNS: '/run/netns/there-is-none' })
      await refused(8, { CNI_NETNS: '/etc/hostname' })
      await refused(8, { CNI_NETNS: '/proc/self/ns/net' })
      const link = join(node.folder, 'link')
      symlinkSync(`/proc/${process.pid}/ns/net`, link)
      await refused(8, { CNI_NETNS: link })
      // an agent that opened it as other files would wait for a writer, and nothing else would be answered
      const pipe = join(node.folder, 'pipe')
      t.is((await node.exec(node.netns, 'mkfifo', pipe)).code, 0)
      await refused(8, { CNI_NETNS: pipe })
      await refused(4, { CNI_NETNS: 'netns/x' })
      await refused(100, {}, conf({ ipam: { ipv4_pools: ['none-such'] } }))
      await refused(100, {}, conf({ runtimeConfig: { ips: ['1.1.1.1'] } }))
      await refused(100, {}, conf({ ipam: { assign_ipv6: 'true' } }))
      // the pool has one address
      resultOf(t, await node.run('ADD', { CNI_CONTAINERID: 'first', CNI_NETNS: node.pod() }))
      const exhausted = await node.run('ADD', { CNI_NETNS: netns })
      t.like(exhausted.json, { code: 100 })
      t.regex(String(exhausted.json?.['msg']), /no free block is left in p \(10\.9\.9\.9\/32\)/)
      t.is(node.deps.endpoints.all().length, 1)
    },
    { pools: [aPool('p', '10.9.9.9/32', 32)] },
  ),
)

asRoot('an ADD that fails at any step leaves nothing on the host and in the pod', t =>
  withNode(async node => {
    const netns = node.pod()
    const { kernel } = node
    const steps = ['createLink', 'writeSysctl', 'addAddress', 'setLink', 'setNeighbour', 'changeRoutes'] as const
    const failing = (real: Kernel, step: string): Kernel =>
      new Proxy(real, {
        get(target, name) {
          const method: unknown = Reflect.get(target, name)
          if (name === 'inside') return (path: string) => failing(target.inside(path), step)
          if (name === step)
            return () => {
              throw new Error(`${step} fails`)
            }
          // not a bound function: V8 does not take one as a disposer
          return typeof method === 'function' ? (...args: unknown[]) => method.apply(target, args) : method
        },
      })
    const config = conf({ ipam: { assign_ipv4: 'true', assign_ipv6: 'true' } })
    for (const step of [...steps, 'addresses', 'neighbours']) {
      node.deps.kernel = failing(kernel, step)
      t.like((await node.run('ADD', { CNI_NETNS: netns }, config)).json, { code: 999, msg: `${step} fails` })
      t.deepEqual(await leftovers(node), NOTHING, step)
      t.is((await node.exec(netns, 'ip', 'link', 'show', 'eth0')).code, 1)
    }
    node.deps.kernel = kernel
    resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
  }),
)

asRoot('while the agent is away ADD and DEL fail with code 11, STATUS with 50, and DEL succeeds when it is back', t =>
  withNode(async node => {
    const netns = node.pod()
    resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
    await node.stopAgent()
    for (const [verb, code] of [
      ['ADD', 11],
      ['DEL', 11],
      ['STATUS', 50],
    ] as const) {
      const answer = await node.run(verb, { CNI_CONTAINERID: 'c1', CNI_NETNS: netns }, conf({ cniVersion: '1.1.0' }))
      t.is(answer.code, 1)
      t.like(answer.json, { code, cniVersion: '1.1.0' })
      t.regex(String(answer.json?.['details']), /margay-node/)
    }
    t.is((await node.run('VERSION', {}, '')).code, 0)
    await node.startAgent()
    t.is((await node.run('DEL', { CNI_NETNS: netns })).code, 0)
    t.deepEqual(await leftovers(node), NOTHING)
  }),
)

asRoot('thirty ADDs at once give thirty addresses, and two DELs at once for each leave nothing', t =>
  withNode(async node => {
    const pods = Array.from({ length: 30 }, () => node.pod())
    const verb = (command: string) =>
      Promise.all(pods.map((netns, i) => node.run(command, { CNI_CONTAINERID: `c${i}`, CNI_NETNS: netns })))
    const results = (await verb('ADD')).map(answer => resultOf(t, answer))
    t.is(new Set(results.map(result => addressOf(result))).size, 30)
    const dels = await Promise.all([verb('DEL'), verb('DEL')])
    t.true(dels.flat().every(({ code }) => code === 0))
    t.deepEqual(await leftovers(node), NOTHING)
  }),
)

asRoot(
  'the journal has the rows and addresses of the pods that run, and without it they are adopted from the kernel',
  t =>
    withNode(async node => {
      const result = resultOf(t, await node.run('ADD', { CNI_NETNS: node.pod() }))
      const db = openDatabase(join(node.folder, 'node.db'))
      const [row] = new EndpointStore(db).live()
      t.deepEqual(row?.addresses, [addressOf(result)])
      db.close()
      // and without a journal the kernel says the same
      const endpoints = new EndpointStore(openDatabase(':memory:'))
      const [adopted] = await adopt({ ...node.deps, endpoints })
      const { addresses, mac, mtu, netns, interfaceName } = row!
      t.like(adopted, { addresses, mac, mtu, netns, interfaceName, adopted: true })
    }),
)
