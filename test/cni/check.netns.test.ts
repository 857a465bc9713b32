// CHECK, and what changes an interface after ADD, on this machine's kernel in namespaces of the test's own.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { PodMtu } from '../../cni/pod-mtu.ts'
import { addressOf, conf, type Result, resultOf, type TestNode, withNode } from './node.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip

asRoot('CHECK names each mismatch in the pod: route, MTU, MAC, neighbour, address, sysctl', t =>
  withNode(async node => {
    const netns = node.pod()
    const config = conf({ cniVersion: '1.1.0', ipam: { assign_ipv4: 'true', assign_ipv6: 'true' } })
    const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }, config))
    node.stopRepairs()
    const address = addressOf(result)
    const damage = [
      ['ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:99'], // flushes the neighbours
      ['ip', 'route', 'del', 'default'],
      ['ip', 'link', 'set', 'eth0', 'mtu', '1300'],
      ['ip', 'neigh', 'replace', '169.254.1.1', 'dev', 'eth0', 'lladdr', '02:00:00:00:00:01', 'nud', 'permanent'],
      ['ip', 'route', 'replace', '169.254.1.1', 'dev', 'eth0', 'scope', 'link', 'proto', 'static'],
      ['sysctl', '-qw', 'net.ipv6.conf.eth0.accept_dad=1'],
      ['ip', 'addr', 'add', `${address}/24`, 'dev', 'eth0'],
      ['ip', 'addr', 'del', `${address}/32`, 'dev', 'eth0'],
    ] as const
    for (const [command, ...args] of damage) t.is((await node.exec(netns, command, ...args)).code, 0, args.join(' '))
    const check = await node.run('CHECK', { CNI_NETNS: netns }, { ...config, prevResult: result })
    t.is(check.json?.['code'], 102)
    t.deepEqual(String(check.json?.['msg']).split('; '), [
      'link eth0 mtu in the pod is 1300, not 1450',
      `link eth0 mac in the pod is 02:00:00:00:00:99, not ${result.interfaces[1]!.mac}`,
      'sysctl net.ipv6.conf.eth0.accept_dad in the pod is 1, not 0',
      `address ${address}/32 dev eth0 in the pod is missing`,
      'neighbour 169.254.1.1 dev eth0 in the pod is 02:00:00:00:00:01 permanent, not ee:ee:ee:ee:ee:ee permanent',
      'neighbour fe80::ecee:eeff:feee:eeee dev eth0 in the pod is missing (must be ee:ee:ee:ee:ee:ee permanent)',
      'route 169.254.1.1/32 dev eth0 protocol in the pod is 4, not 3',
      'route 0.0.0.0/0 dev eth0 in the pod is missing',
    ])
  }),
)

asRoot(
  'a pod may have the MTU that the result of the chain has, or a smaller one where it has none, and no larger one',
  t =>
    withNode(async node => {
      const netns = node.pod()
      const [newer, older] = [conf({ cniVersion: '1.1.0' }), conf()]
      const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }, newer))
      const [host, pod] = result.interfaces
      const bare = ({ mtu: _mtu, ...each }: Result['interfaces'][number]) => each
      const told = (mtu: number) => ({ ...newer, prevResult: { ...result, interfaces: [host, { ...pod, mtu }] } })
      const untold = { ...older, prevResult: { ...result, interfaces: result.interfaces.map(bare) } }
      const checked = async (mtu: number, config: object) => {
        t.is((await node.exec(netns, 'ip', 'link', 'set', 'eth0', 'mtu', `${mtu}`)).code, 0)
        return String((await node.run('CHECK', { CNI_NETNS: netns }, config)).json?.['msg'] ?? '')
      }
      t.is(await checked(1300, told(1300)), '')
      t.is(await checked(1300, told(1400)), 'link eth0 mtu in the pod is 1300, not 1400')
      t.is(await checked(1300, untold), '')
      t.is(await checked(1500, untold), 'link eth0 mtu in the pod is 1500, not 1450')
      t.is(await checked(1450, told(1300)), '')
    }),
)

asRoot('CHECK names each mismatch on the host: state, MTU, MAC, sysctl, neighbour, route protocol', t =>
  withNode(async node => {
    const netns = node.pod()
    const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
    await node.felix.close() // felix would restore everything at once
    const [address, name] = [addressOf(result), result.interfaces[0]!.name]
    const damage = [
      ['ip', 'link', 'set', name, 'mtu', '1300'],
      ['ip', 'link', 'set', name, 'address', '02:00:00:00:00:98'], // flushes the neighbours
      ['sysctl', '-qw', `net.ipv4.conf.${name}.proxy_arp=0`],
      ['ip', 'route', 'replace', address, 'dev', name, 'scope', 'link', 'proto', 'static'],
    ] as const
    for (const [command, ...args] of damage)
      t.is((await node.exec(node.netns, command, ...args)).code, 0, args.join(' '))
    const checked = async () => {
      const check = await node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: result }))
      return String(check.json?.['msg']).split('; ')
    }
    t.deepEqual(await checked(), [
      `link ${name} mtu on the host is 1300, not 1450`,
      `link ${name} mac on the host is 02:00:00:00:00:98, not ee:ee:ee:ee:ee:ee`,
      `sysctl net.ipv4.conf.${name}.proxy_arp on the host is 0, not 1`,
      `neighbour ${address} dev ${name} on the host is missing (must be ${result.interfaces[1]!.mac} permanent)`,
      `route ${address}/32 dev ${name} protocol on the host is 4, not 3`,
    ])
    await node.exec(node.netns, 'ip', 'link', 'set', name, 'down')
    t.is((await checked())[0], `link ${name} state on the host is down, not up`)
  }),
)

asRoot(
  'CHECK names what the filter of pods’ packets lacks: an element, a rule, a chain, a table, and what is too much',
  t =>
    withNode(async node => {
      const netns = node.pod()
      const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
      const checked = async () => {
        const check = await node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: result }))
        return check.code === 0 ? [] : String(check.json?.['msg']).split('; ')
      }
      t.deepEqual(await checked(), [])
      await node.felix.close() // felix would restore everything within a second
      const [address, name] = [addressOf(result), result.interfaces[0]!.name]
      const after = async (...args: string[]) => {
        t.is((await node.exec(node.netns, 'nft', ...args)).code, 0, args.join(' '))
        return checked()
      }
      const element = (text: string) => `{ "${name}" . ${text} }`
      t.deepEqual(await after('delete', 'element', 'inet', 'margay', 'pod_ipv4', element(address)), [
        `nft element inet margay pod_ipv4 { ${name} . ${address} } on the host is missing`,
      ])
      t.deepEqual(await after('add', 'element', 'inet', 'margay', 'pod_ipv4', element('192.0.2.9')), [
        `nft element inet margay pod_ipv4 { ${name} . ${address} } on the host is missing`,
        `nft element inet margay pod_ipv4 { ${name} . 192.0.2.9 } on the host is there, not absent`,
      ])
      t.is(
        (await after('flush', 'chain', 'inet', 'margay', 'prerouting'))[0],
        'nft rule 1 of inet margay prerouting (jump from_pod) on the host is missing',
      )
      t.is(
        (await after('insert', 'rule', 'inet', 'margay', 'from_pod', 'accept'))[0],
        'nft rule 1 of inet margay from_pod on the host is there, not absent',
      )
      t.is(
        (await after('flush', 'chain', 'inet', 'margay', 'from_pod'))[0],
        'nft rule 1 of inet margay from_pod "loopback destination" on the host is missing',
      )
      t.is(
        (await after('delete', 'chain', 'inet', 'margay', 'forward'))[0],
        'nft chain inet margay forward on the host is missing',
      )
      t.is((await after('delete', 'table', 'arp', 'margay')).at(-2), 'nft table arp margay on the host is missing')
    }),
)

asRoot(
  'a pod with more routes than are read of it is checked, and one with more neighbours is refused with the reason',
  t =>
    withNode(async node => {
      const netns = node.pod()
      const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
      const check = () => node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: result }))
      const batch = join(node.folder, 'batch')
      const many = (line: (address: string) => string) =>
        Array.from({ length: 20_001 }, (_, i) => `${line(`11.1.${i >> 8}.${i & 255}`)}\n`).join('')
      for (const [text, message] of [
        [many(address => `route add ${address} dev eth0 scope link`), undefined],
        [
          many(address => `neigh add ${address} dev eth0 lladdr 02:00:00:00:00:01 nud permanent`),
          /^netns \S+ in the pod is list objects: E2BIG \(there are more than 20000\), not open$/,
        ],
      ] as const) {
        writeFileSync(batch, text)
        t.is((await node.exec(netns, 'ip', '-batch', batch)).code, 0)
        const { code, json, stdout } = await check()
        if (message === undefined) t.is(code, 0, stdout)
        else t.regex(String(json?.['msg']), message)
      }
    }),
)

asRoot('ADD writes the route to a pod with the configured protocol, and CHECK expects it', t =>
  withNode(async node => {
    const netns = node.pod()
    const config = { vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 0, vxlanMtu: 0, workloadRouteProtocol: 80 }
    node.felix.configure({ config })
    const written: number[] = []
    const monitor = node.kernel.monitor(event => {
      if (event.type === 'route' && event.route.dst.startsWith('10.244.')) written.push(event.route.protocol)
    })
    const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
    t.is((await node.kernel.lookupRoute(addressOf(result))).protocol, 80)
    const check = await node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: result }))
    t.is(check.code, 0, check.stdout)
    monitor.close()
    t.deepEqual(written, [80]) // once, and never with another protocol
  }),
)

asRoot(
  'another MTU of the node reaches running pods: a packet of that size passes, a larger one is refused at the source',
  t =>
    withNode(async node => {
      const pods = [node.pod(), node.pod()]
      const results: Result[] = []
      for (const [i, netns] of pods.entries())
        results.push(resultOf(t, await node.run('ADD', { CNI_CONTAINERID: `c${i}`, CNI_NETNS: netns })))
      const ping = async (mtu: number) => {
        const size = String(mtu - 28)
        return (await node.exec(pods[0]!, 'ping', '-c1', '-W1', '-M', 'do', '-s', size, addressOf(results[1]!))).code
      }
      let done = (): void => {}
      const podMtu = new PodMtu({ ...node.deps, report: () => done() })
      for (const mtu of [1300, 1400]) {
        const { promise, resolve } = Promise.withResolvers<void>()
        done = resolve
        podMtu.follow(mtu, 'configuration')
        await promise
        t.is(await ping(mtu), 0)
        t.not(await ping(mtu + 1), 0)
        for (const { interfaces } of results) t.is((await node.kernel.link(interfaces[0]!.name))?.mtu, mtu)
        const check = await node.run(
          'CHECK',
          { CNI_CONTAINERID: 'c0', CNI_NETNS: pods[0] },
          conf({ prevResult: results[0] }),
        )
        t.is(check.code, 0, check.stdout)
      }
      await podMtu.close()
    }),
)

/** Waits until something more was put right in a pod. */
async function healed(node: TestNode, before: number): Promise<readonly string[]> {
  for (let i = 0; i < 300 && node.healed.length === before; i++) await new Promise(resolve => setTimeout(resolve, 10))
  return node.healed.slice(before)
}

asRoot('a link that goes down and up in a pod gets back its routes, and with another MAC the neighbour follows', t =>
  withNode(async node => {
    const [netns, other] = [node.pod(), node.pod()]
    const config = conf({ ipam: { assign_ipv4: 'true', assign_ipv6: 'true' } })
    const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }, config))
    resultOf(t, await node.run('ADD', { CNI_NETNS: other, CNI_CONTAINERID: 'c2' }, config))
    const inPod = async (...args: string[]) => t.is((await node.exec(netns, 'ip', ...args)).code, 0, args.join(' '))
    await inPod('link', 'set', 'eth0', 'down')
    await inPod('link', 'set', 'eth0', 'up')
    t.regex((await healed(node, 0)).join(), /put back after the link was down: .*route 0\.0\.0\.0\/0 dev eth0/)
    t.is((await node.run('CHECK', { CNI_NETNS: netns }, { ...config, prevResult: result })).stdout, '')

    // as the plugin `tuning` does, whose result the runtime hands to CHECK
    const before = node.healed.length
    await inPod('link', 'set', 'eth0', 'down')
    await inPod('link', 'set', 'eth0', 'address', '02:00:00:00:00:77')
    await inPod('link', 'set', 'eth0', 'up')
    t.regex((await healed(node, before)).join(), /another MAC, 02:00:00:00:00:77/)
    const [host, pod] = result.interfaces
    const tuned = { ...result, interfaces: [host, { ...pod, mac: '02:00:00:00:00:77' }] }
    t.is((await node.run('CHECK', { CNI_NETNS: netns }, { ...config, prevResult: tuned })).stdout, '')
    t.is((await node.exec(other, 'ping', '-c1', '-W1', addressOf(result))).code, 0, 'a ping')
  }),
)

asRoot(
  'a MAC that a plugin behind ours gives while the link stays up is followed without a CHECK, and the pod answers',
  t =>
    withNode(async node => {
      const [netns, other] = [node.pod(), node.pod()]
      const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
      resultOf(t, await node.run('ADD', { CNI_NETNS: other, CNI_CONTAINERID: 'c2' }))
      await new Promise(resolve => setTimeout(resolve, 300)) // a look has found nothing
      await node.exec(netns, 'ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:79')
      t.regex((await healed(node, 0)).join(), /another MAC, 02:00:00:00:00:79/)
      t.is((await node.exec(other, 'ping', '-c1', '-W1', addressOf(result))).code, 0)
      const [host, pod] = result.interfaces
      const tuned = { ...result, interfaces: [host, { ...pod, mac: '02:00:00:00:00:79' }] }
      t.is((await node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: tuned }))).stdout, '')
    }),
)

asRoot('CHECK follows the MAC that the result of the chain has, also when nothing else told of it', t =>
  withNode(async node => {
    const netns = node.pod()
    const result = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
    await node.exec(netns, 'ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:78')
    const [host, pod] = result.interfaces
    const tuned = { ...result, interfaces: [host, { ...pod, mac: '02:00:00:00:00:78' }] }
    const check = await node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: tuned }))
    t.is(check.stdout, '')
    t.regex(
      (await node.exec(netns, 'ip', 'neigh')).stdout,
      /169\.254\.1\.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT/,
    )
    t.is(node.deps.endpoints.all()[0]?.mac, '02:00:00:00:00:78')
    // one that the interface does not have is a fault, and what leads to the pod stays
    const untrue = { ...result, interfaces: [host, { ...pod, mac: '02:00:00:00:00:79' }] }
    const refused = await node.run('CHECK', { CNI_NETNS: netns }, conf({ prevResult: untrue }))
    t.regex(refused.stdout, /link eth0 mac in the pod is 02:00:00:00:00:78, not 02:00:00:00:00:79/)
    t.is(node.deps.endpoints.all()[0]?.mac, '02:00:00:00:00:78')
  }),
)

asRoot('a second interface of a pod leaves the routes of the first whole, while it is there and after its DEL', t =>
  withNode(async node => {
    const [netns, other] = [node.pod(), node.pod()]
    const first = resultOf(t, await node.run('ADD', { CNI_NETNS: netns }))
    resultOf(t, await node.run('ADD', { CNI_NETNS: other, CNI_CONTAINERID: 'c2' }))
    const routes = async () => (await node.exec(netns, 'ip', 'route', 'show', 'dev', 'eth0')).stdout
    const before = await routes()
    const newest = conf({ cniVersion: '1.1.0' })
    const second = resultOf(t, await node.run('ADD', { CNI_NETNS: netns, CNI_IFNAME: 'net1' }, newest))
    t.is(await routes(), before)
    t.like(second, { routes: [{ dst: '0.0.0.0/0', priority: 1025 }] })
    t.is((first as unknown as { routes: object[] }).routes.length, 1)
    const check = async (ifname: string, prevResult: Result) =>
      (await node.run('CHECK', { CNI_NETNS: netns, CNI_IFNAME: ifname }, { ...newest, prevResult })).stdout
    t.is(await check('eth0', first), '')
    t.is(await check('net1', second), '')
    t.is((await node.run('DEL', { CNI_NETNS: netns, CNI_IFNAME: 'net1' })).code, 0)
    t.is(await routes(), before)
    t.is(await check('eth0', first), '')
    t.is((await node.exec(other, 'ping', '-c1', '-W1', addressOf(first))).code, 0)
  }),
)
