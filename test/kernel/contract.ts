// What every implementation of the kernel port promises. Each test gets a kernel of an empty namespace (`node`) and the
// path of another (`pod`), and finds its own way from there.
// Over 400 lines: every promise of one port, each kept by both kernels.
import type { ExecutionContext, SerialFn } from 'ava'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel, PodNews } from '../../kernel/port/kernel.ts'
import type { LinkSpec } from '../../kernel/port/links.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, type Route, type RouteChange } from '../../kernel/port/routes.ts'
import { add, block, listenTo, ours, refusals, replace, upPair, veth, workload } from './builders.ts'

export type World = {
  node: Kernel
  otherProgram: Kernel
  /** Of the same namespace; its monitors tell no routes of its own. */
  untold: Kernel
  podPath: string
  missingKind?: LinkSpec['kind']
  close(): void
}

const HOST_MAC = 'ee:ee:ee:ee:ee:ee'

/** Registers the suite; `open` is called once per test. */
export function kernelContract(test: SerialFn, open: () => World): void {
  const promise = (title: string, body: (t: ExecutionContext, world: World) => Promise<void>) =>
    test(title, async t => {
      const world = open()
      try {
        await body(t, world)
      } finally {
        world.close()
      }
    })

  promise('a veth has its peer born in the other namespace, and both go together', async (t, { node, podPath }) => {
    using pod = node.inside(podPath)
    const spec: LinkSpec = { kind: 'veth', name: 'cali1', mac: HOST_MAC, mtu: 1400, peer: { name: 'eth0', mtu: 1400 } }
    const link = await node.createLink({ ...spec, peer: { ...spec.peer, netns: podPath } })
    t.like(link, { name: 'cali1', kind: 'veth', mac: HOST_MAC, mtu: 1400, up: false, running: false })
    t.not(link.peerNetnsId, undefined)
    const peer = await pod.link('eth0')
    t.like(peer, { kind: 'veth', mtu: 1400, up: false })
    t.is(link.peer, peer!.index)
    t.deepEqual(await names(node), ['cali1', 'lo'])
    t.is(link.alias, undefined)
    await node.setLink('cali1', { up: true, alias: 'made for c1' })
    t.like(await node.link('cali1'), { up: true, running: false, alias: 'made for c1' })
    await pod.setLink(peer!.index, { up: true })
    t.like(await node.link(link.index), { up: true, running: true })
    await node.deleteLink('cali1')
    t.is(await pod.link('eth0'), undefined)
    await node.deleteLink('cali1')
  })

  promise('a group of copies has one reader in a namespace until that one is closed', async (t, world) => {
    const { node, otherProgram, podPath } = world
    const options = { copyOctets: 64, batch: 1, batchMs: 10, queueOctets: 1 << 18, received() {}, lost() {} }
    const reader = node.nflog({ group: 7, ...options })
    const error = t.throws(() => otherProgram.nflog({ group: 7, ...options }), { instanceOf: KernelError })
    t.is((error as KernelError).errno, ERRNO.EPERM)
    otherProgram.nflog({ group: 8, ...options }).close()
    {
      using pod = node.inside(podPath)
      pod.nflog({ group: 7, ...options })
    }
    reader.close()
    reader.close()
    otherProgram.nflog({ group: 7, ...options })
  })

  promise(
    'rules are told in the words of nft, with the hooks of base chains, as far as they are there',
    async (t, { node }) => {
      const of = { family: 'inet', name: 'other' } as const
      const within = { family: 'inet', table: 'other' } as const
      t.deepEqual(await node.chainTexts(of, ['in']), [])
      const refused = await node.changeNftables([
        { verb: 'add', object: { kind: 'table', ...of } },
        { verb: 'add', object: { kind: 'chain', ...within, name: 'more' } },
        {
          verb: 'add',
          object: { kind: 'chain', ...within, name: 'in', base: { type: 'filter', hook: 'input', priority: -5 } },
        },
        {
          verb: 'add',
          object: {
            ...{ kind: 'rule', ...within, chain: 'in', comment: 'no guests' },
            expressions: [
              { type: 'meta', key: 'l4proto', load: 1 },
              { type: 'cmp', op: 'eq', from: 1, value: '06' },
              { type: 'immediate', load: 0, data: { verdict: 'drop' } },
            ],
          },
        },
      ])
      t.deepEqual(refused, [])
      const [found, ...others] = await node.chainTexts(of, ['in', 'away'])
      t.deepEqual(others, [])
      t.like(found, { chain: 'in', hook: 'input', type: 'filter' })
      t.deepEqual([...found!.rules.values()], [{ text: 'meta l4proto tcp drop', comment: 'no guests' }])
      t.deepEqual(
        (await node.chainTexts(of, ['more'])).map(({ chain, hook }) => ({ chain, hook })),
        [{ chain: 'more', hook: undefined }],
      )
    },
  )

  promise(
    'whoever listens to traced packets hears of none while nobody traces, beside others that listen',
    (t, world) => {
      const { node, otherProgram } = world
      const options = { received: () => t.fail(), lost: () => t.fail() }
      const listeners = [node.traceNftables(options), node.traceNftables(options), otherProgram.traceNftables(options)]
      for (const listener of listeners) listener.close()
      listeners[0]!.close()
      t.pass()
      return Promise.resolve()
    },
  )

  promise('a list longer than the limit that a namespace was entered with is refused', async (t, { node, podPath }) => {
    using pod = node.inside(podPath)
    const { index: ifindex } = (await pod.link('lo'))!
    for (let i = 1; i <= 4; i++) await pod.addAddress({ ifindex, address: `192.0.2.${i}`, length: 32, scope: 0 })
    using enough = node.inside(podPath, { mostObjects: 50 })
    t.true((await enough.addresses(ifindex)).length >= 4)
    using little = node.inside(podPath, { mostObjects: 3 })
    t.is((await little.link('lo'))?.index, ifindex)
    t.is((await refusal(t, little.addresses(ifindex))).errno, ERRNO.E2BIG)
  })

  promise('a refused link leaves nothing behind and says why', async (t, { node, podPath, missingKind }) => {
    await bridge(node, 'br0')
    t.is((await refusal(t, node.createLink({ kind: 'bridge', name: 'br0' }))).errno, ERRNO.EEXIST)
    const taken: LinkSpec = { kind: 'veth', name: 'cali1', peer: { name: 'lo', netns: podPath } }
    t.is((await refusal(t, node.createLink(taken))).errno, ERRNO.EEXIST)
    const nowhere: LinkSpec = { kind: 'veth', name: 'cali1', peer: { name: 'eth0', netns: `${podPath}-absent` } }
    t.is((await refusal(t, node.createLink(nowhere))).errno, ERRNO.ENOENT)
    t.is(await node.link('cali1'), undefined)
    if (missingKind === undefined) return
    const spec = { kind: missingKind, name: 'odd0' } as LinkSpec
    const error = await refusal(t, node.createLink(spec))
    t.is(error.errno, ERRNO.EOPNOTSUPP)
    t.is(error.detail, 'Unknown device type')
  })

  promise('a link is renamed, resized, bridged and moved to another namespace', async (t, { node, podPath }) => {
    using pod = node.inside(podPath)
    const br0 = await bridge(node, 'br0')
    await veth(node, 'a', 'b')
    await node.setLink('a', { name: 'c', mtu: 1300, mac: '02:00:00:00:00:01', master: br0 })
    t.like(await node.link('c'), { mtu: 1300, mac: '02:00:00:00:00:01', master: br0 })
    await node.setLink('c', { master: 0 })
    t.is((await node.link('c'))!.master, undefined)
    await node.setLink('b', { up: true })
    await node.setLink('b', { netns: podPath, name: 'eth0' })
    t.is(await node.link('b'), undefined)
    t.like(await pod.link('eth0'), { kind: 'veth', up: false })
    t.is((await refusal(t, node.setLink('b', { up: true }))).errno, ERRNO.ENODEV)
    t.is((await refusal(t, node.setLink('c', { name: 'br0' }))).errno, ERRNO.EEXIST)
  })

  promise('a vxlan link carries its parameters and its forwarding entries', async (t, { node }) => {
    const spec: LinkSpec = { kind: 'vxlan', name: 'vxlan.calico', vni: 4096, port: 4789, local: '10.0.0.1' }
    const link = await node.createLink({ ...spec, mac: '66:00:00:00:00:01', mtu: 1450 })
    t.like(link, { mac: '66:00:00:00:00:01', mtu: 1450 })
    t.like(link.vxlan, { vni: 4096, port: 4789, local: '10.0.0.1', learning: false })
    t.is((await refusal(t, node.createLink({ ...spec, name: 'other' }))).errno, ERRNO.EEXIST)
    const heard = listenTo(node)
    const entry = { ifindex: link.index, mac: '66:00:00:00:00:02', dst: '10.0.0.2' }
    const zero = { ifindex: link.index, mac: '00:00:00:00:00:00', dst: '10.0.0.2' }
    await node.setFdb(entry)
    await node.setFdb(entry)
    await node.setFdb({ ...entry, dst: '10.0.0.3' })
    t.deepEqual(await node.fdbEntry(link.index, entry.mac), { ...entry, dst: '10.0.0.3' })
    t.is(await node.fdbEntry(link.index, '02:00:00:00:00:99'), undefined)
    for (const dst of ['10.0.0.2', '10.0.0.3', '10.0.0.3']) await node.setFdb({ ...zero, dst })
    const sorted = async () => (await node.fdb(link.index)).map(e => `${e.mac} ${e.dst}`).sort()
    t.deepEqual(await sorted(), [`${zero.mac} 10.0.0.2`, `${zero.mac} 10.0.0.3`, `${entry.mac} 10.0.0.3`])
    await node.deleteFdb({ ...entry, dst: '10.0.0.3' })
    await node.deleteFdb({ ...entry, dst: '10.0.0.3' })
    await node.deleteFdb(zero)
    t.deepEqual(await sorted(), [`${zero.mac} 10.0.0.3`])
    await heard.until(e => e.type === 'fdb-gone' && e.entry.mac === zero.mac && e.entry.dst === zero.dst)
    t.true(heard.events.some(e => e.type === 'fdb' && e.entry.mac === entry.mac && e.entry.dst === '10.0.0.2'))
    heard.close()
  })

  promise('an ipip link carries its ends, and routes go through tunl0 whoever made it', async (t, { node }) => {
    const spec: LinkSpec = { kind: 'ipip', name: 'tun1', local: '10.0.0.1', remote: '10.0.0.2', mtu: 1400 }
    try {
      t.like(await node.createLink(spec), { kind: 'ipip', mtu: 1400, ipip: { local: '10.0.0.1', remote: '10.0.0.2' } })
    } catch (error) {
      if (!(error instanceof KernelError) || error.errno !== ERRNO.EOPNOTSUPP) throw error
      t.log('skipped: this kernel has no ipip')
      t.pass()
      return
    }
    t.is((await refusal(t, node.createLink({ ...spec, name: 'tun2' }))).errno, ERRNO.EEXIST)
    try {
      await node.createLink({ kind: 'ipip', name: 'tunl0' })
    } catch (error) {
      if (!(error instanceof KernelError) || error.errno !== ERRNO.EEXIST) throw error
    }
    const tunl0 = (await node.link('tunl0'))!
    t.deepEqual([tunl0.kind, tunl0.ipip], ['ipip', { local: undefined, remote: undefined }])
    await node.setLink('tunl0', { up: true, mtu: 1480 })
    await node.addAddress({ ifindex: tunl0.index, address: '10.2.0.0', length: 32, scope: 0 })
    const { index: ifindex } = tunl0
    const route = { ...workload('10.3.0.0/26', ifindex), protocol: 12, scope: 0, gateway: '192.0.2.1', onlink: true }
    t.deepEqual(await refusals(node, [add(route)]), [])
    t.deepEqual(await ours(node, route.dst), [route])
  })

  promise('an address brings its routes, is listed, and goes twice', async (t, { node }) => {
    const ifindex = await upPair(node)
    const address = { ifindex, address: '10.1.0.1', length: 24, scope: 0 }
    const address6 = { ifindex, address: 'fd00:1::1', length: 64, scope: 0, noDad: true }
    await node.addAddress(address)
    await node.addAddress(address6)
    t.is((await refusal(t, node.addAddress(address))).errno, ERRNO.EEXIST)
    t.is((await refusal(t, node.addAddress({ ...address, ifindex: 4711 }))).errno, ERRNO.ENODEV)
    const listed = await node.addresses(ifindex)
    t.true(listed.some(a => a.address === '10.1.0.1' && a.length === 24 && a.ifindex === ifindex))
    t.true(listed.some(a => a.address === 'fd00:1::1' && a.tentative === undefined))
    const subnet = (await node.routes({ table: 254, family: 'ipv4' })).find(r => r.dst === '10.1.0.0/24')
    t.like(subnet, { protocol: ROUTE_PROTOCOL.kernel, scope: ROUTE_SCOPE.link, ifindex, source: '10.1.0.1' })
    t.is((await node.lookupRoute('10.1.0.1')).type, 'local')
    for (const gone of [address, address, address6, address6, { ...address, ifindex: 4711 }])
      await node.deleteAddress(gone)
    t.false((await node.addresses(ifindex)).some(a => a.address === '10.1.0.1' || a.address === 'fd00:1::1'))
    t.deepEqual(await ours(node, '10.1.0.0/24'), [])
  })

  promise('routes of both families read back as they were written', async (t, { node }) => {
    const ifindex = await upPair(node)
    // IPv4 takes no gateway in a namespace that never had an address: it has no local table to look it up in
    await node.addAddress({ ifindex, address: '10.1.0.1', length: 24, scope: 0 })
    const routes: Route[] = [
      block('10.2.0.0/26'),
      { ...block('10.3.0.0/26'), mtu: 1300, metric: 7, table: 1000 },
      { ...workload('10.2.0.1/32', ifindex) },
      { ...workload('10.9.0.0/24', ifindex), protocol: 12, scope: 0, gateway: '192.0.2.1', onlink: true },
      block('fd00:2::/122'),
      { ...workload('fd00:2::1/128', ifindex), scope: 0 },
      { ...workload('fd00:3::/122', ifindex), scope: 0, protocol: 12, gateway: 'fe80::1', metric: 33 },
      { ...workload('0.0.0.0/0', ifindex) },
    ]
    t.deepEqual(await refusals(node, routes.map(add)), [])
    for (const route of routes) t.deepEqual(await ours(node, route.dst), [route])
    t.deepEqual(await node.routes({ table: 1000 }), [routes[1]!])
    t.deepEqual(await node.routes({ table: 4242 }), [])
    t.deepEqual(await node.routes({ protocol: 12, family: 'ipv6' }), [routes[6]!])
    t.is((await node.routes({ ifindex, protocol: ROUTE_PROTOCOL.boot })).length, 3)
    t.deepEqual(await node.routes({ ifindex: 4711 }), [])
    t.deepEqual(await node.routes({ table: 254, type: 'blackhole' }), [routes[0]!, routes[4]!])
    t.deepEqual(await node.routes({ type: 'prohibit' }), [])
    for (const route of routes) t.deepEqual(await node.routes({ table: route.table, dst: route.dst }), [route])
    t.deepEqual(await node.routes({ table: 254, dst: '10.2.0.0/24' }), [])
  })

  promise('a refused route does not stop its neighbours, and each refusal has its errno', async (t, { node }) => {
    const ifindex = await upPair(node)
    const down = await veth(node, 'c', 'd')
    await node.addAddress({ ifindex, address: '10.1.0.1', length: 24, scope: 0 })
    const via = (gateway: string): Route => ({ ...workload('10.4.0.0/16', ifindex), scope: 0, gateway })
    const changes = [
      add(block('10.5.0.0/26')),
      add(via('192.0.2.1')),
      add(block('10.5.0.0/26')),
      add({ ...via('10.1.0.2'), ifindex: undefined }),
      add(workload('10.6.0.1/32', down)),
      add(workload('10.6.0.2/32', 4711)),
      add({ ...workload('fd00:6::/64', ifindex), scope: 0, gateway: 'fd00:7::1' }),
      add(block('10.7.0.0/26')),
    ]
    const answers = await node.changeRoutes(changes)
    t.deepEqual(
      answers.map(error => error?.errno),
      [
        undefined,
        ERRNO.ENETUNREACH,
        ERRNO.EEXIST,
        undefined,
        ERRNO.ENETDOWN,
        ERRNO.ENODEV,
        ERRNO.EHOSTUNREACH,
        undefined,
      ],
    )
    t.is((await ours(node, '10.7.0.0/26')).length, 1)
    t.is((await ours(node, '10.4.0.0/16'))[0]!.ifindex, ifindex)
  })

  promise(
    'a gateway is looked up over the interface of its route, whatever route another one has to it',
    async (t, { node }) => {
      const [first, second] = [await upPair(node), await veth(node, 'c', 'd')]
      await node.setLink(second, { up: true })
      await node.addAddress({ ifindex: first, address: '10.1.0.1', length: 24, scope: 0 })
      for (const [dst, near, gateway] of [
        ['10.4.0.0/16', '192.0.2.1/32', '192.0.2.1'],
        ['fd00:6::/64', 'fd00:7::1/128', 'fd00:7::1'],
      ] as const) {
        const to = (ifindex: number, metric: number) => ({ ...workload(near, ifindex), metric })
        const via = (ifindex: number, metric: number) => ({ ...workload(dst, ifindex), scope: 0, gateway, metric })
        t.deepEqual(await refusals(node, [add(to(first, 10)), add(via(first, 10))]), [])
        t.is((await refusals(node, [add(via(second, 20))])).length, 1, 'not over this one')
        t.deepEqual(await refusals(node, [add(to(second, 20)), add(via(second, 20))]), [])
        t.deepEqual((await ours(node, dst)).map(route => route.ifindex).sort(), [first, second].sort())
      }
    },
  )

  promise('replace swaps the route of the same key only, delete takes exactly what it names', async (t, { node }) => {
    const ifindex = await upPair(node)
    for (const dst of ['10.5.0.0/26', 'fd00:5::/122']) {
      const scope = dst.includes(':') ? 0 : 253
      const direct = { ...workload(dst, ifindex), scope }
      t.deepEqual(await refusals(node, [add(block(dst)), replace({ ...block(dst), metric: 50 }), replace(direct)]), [])
      t.deepEqual(await ours(node, dst), [direct, { ...block(dst), metric: 50 }])
      const stranger = { verb: 'delete', route: { ...direct, protocol: 4 } } as const
      t.deepEqual(await refusals(node, [stranger]), [])
      t.is((await ours(node, dst)).length, 2)
      const gone = { verb: 'delete', route: direct } as const
      t.deepEqual(await refusals(node, [gone, gone]), [])
      t.deepEqual(await ours(node, dst), [{ ...block(dst), metric: 50 }])
    }
  })

  promise('a deletion that names no metric means the default one in IPv6 and any in IPv4', async (t, { node }) => {
    for (const [dst, left] of [
      ['10.5.0.0/26', 0],
      ['fd00:5::/122', 1],
    ] as const) {
      const changes: RouteChange[] = [add({ ...block(dst), metric: 50 }), { verb: 'delete', route: block(dst) }]
      t.deepEqual(await refusals(node, changes), [])
      t.is((await ours(node, dst)).length, left, dst)
    }
  })

  promise('routes, neighbours and IPv6 addresses of a link that goes down go with it', async (t, { node }) => {
    const ifindex = await upPair(node)
    await node.addAddress({ ifindex, address: '10.1.0.1', length: 24, scope: 0 })
    await node.addAddress({ ifindex, address: 'fd00:1::1', length: 64, scope: 0, noDad: true })
    const six = { ...workload('fd00:2::1/128', ifindex), scope: 0 }
    t.deepEqual(await refusals(node, [add(workload('10.2.0.1/32', ifindex)), add(six), add(block('10.2.0.0/26'))]), [])
    await node.setNeighbour({ ifindex, address: '10.2.0.1', mac: '02:00:00:00:00:07', permanent: true })
    await node.setLink('a', { up: false })
    t.deepEqual(await node.routes({ table: 254, ifindex }), [])
    t.deepEqual(await node.neighbours(ifindex), [])
    t.deepEqual(
      (await node.addresses(ifindex)).map(a => a.address),
      ['10.1.0.1'],
    )
    t.is((await ours(node, '10.2.0.0/26')).length, 1)
    await node.setLink('a', { up: true })
    t.is((await ours(node, '10.1.0.0/24')).length, 1)
    t.deepEqual(await ours(node, '10.2.0.1/32'), [])
  })

  promise('a lookup follows the longest prefix and names the reason where there is no way', async (t, { node }) => {
    const ifindex = await upPair(node)
    const routes = [workload('10.2.0.1/32', ifindex), block('10.2.0.0/26'), block('fd00:2::/122')]
    const unreachable = { ...block('10.3.0.0/26'), type: 'unreachable' as const }
    t.deepEqual(await refusals(node, [...routes, unreachable].map(add)), [])
    t.like(await node.lookupRoute('10.2.0.1'), { dst: '10.2.0.1/32', ifindex, table: 254 })
    await node.addAddress({ ifindex, address: '10.4.0.1', length: 32, scope: ROUTE_SCOPE.universe })
    t.like(await node.lookupRoute('10.2.0.1', { source: '10.4.0.1' }), { dst: '10.2.0.1/32', ifindex, table: 254 })
    for (const [dst, errno] of [
      ['10.2.0.2', ERRNO.EINVAL],
      ['fd00:2::1', ERRNO.EINVAL],
      ['10.3.0.1', ERRNO.EHOSTUNREACH],
      ['192.0.2.1', ERRNO.ENETUNREACH],
      ['2001:db8::1', ERRNO.ENETUNREACH],
    ] as const)
      t.is((await refusal(t, node.lookupRoute(dst))).errno, errno, dst)
  })

  promise(
    'a packet that comes in is judged by its source and by the settings of its interface',
    async (t, { node }) => {
      const [a, c] = [await upPair(node), await veth(node, 'c', 'd')]
      for (const name of ['c', 'd']) await node.setLink(name, { up: true })
      await node.addAddress({ ifindex: a, address: '10.1.0.1', length: 24, scope: ROUTE_SCOPE.universe })
      t.deepEqual(await refusals(node, [add(workload('10.2.0.0/24', c)), add(workload('10.3.0.0/24', c))]), [])
      const set = (of: string, name: string, value: string) => node.writeSysctl('ipv4', ['conf', of, name], value)
      for (const name of ['all', 'a']) set(name, 'rp_filter', '0')
      set('a', 'forwarding', '1')
      const from = (source: string, dst = '10.3.0.1') => node.lookupRoute(dst, { source, ifindex: a })
      const by = async (source: string) => (await from(source)).ifindex
      const dropped = async (source: string) => (await refusal(t, from(source))).errno
      // before Linux 6.13 the filter of the reverse path has an errno of its own
      const filtered = [ERRNO.EINVAL, ERRNO.EXDEV] as number[]
      t.deepEqual([await by('10.1.0.9'), await by('10.2.0.9')], [c, c])
      t.is(await dropped('10.1.0.1'), ERRNO.EINVAL, 'an address of this host')
      set('a', 'rp_filter', '1')
      t.is(await by('10.1.0.9'), c)
      t.true(filtered.includes(await dropped('10.2.0.9')), 'strict, and the way back leads elsewhere')
      set('a', 'rp_filter', '2')
      t.is(await by('10.2.0.9'), c)
      t.true(filtered.includes(await dropped('10.99.0.9')), 'loose, and no way back')
      set('all', 'rp_filter', '1')
      t.is(await by('10.2.0.9'), c, 'the larger one counts')
      set('a', 'forwarding', '0')
      t.is(await dropped('10.1.0.9'), ERRNO.EHOSTUNREACH)
      t.is((await from('10.1.0.9', '10.1.0.1')).type, 'local', 'what is for this host is not forwarded')
      t.is((await node.lookupRoute('10.3.0.1')).ifindex, c, 'nor is what this host sends')
    },
  )

  promise(
    'the rules that choose tables begin as those of the local, the main and the default table',
    async (t, { node }) => {
      const told = (await node.rules()).map(({ family, priority, action, table }) => ({
        family,
        priority,
        action,
        table,
      }))
      t.deepEqual(
        told,
        [
          ['ipv4', 0, 255],
          ['ipv4', 32766, 254],
          ['ipv4', 32767, 253],
          ['ipv6', 0, 255],
          ['ipv6', 32766, 254],
        ].map(([family, priority, table]) => ({ family, priority, action: 'lookup', table }) as (typeof told)[number]),
      )
    },
  )

  promise('a permanent neighbour and a proxied address are set, set again, listed and removed', async (t, { node }) => {
    const ifindex = await upPair(node)
    const neighbour = { ifindex, address: '10.2.0.1', mac: '02:00:00:00:00:07', permanent: true }
    const proxied = { ifindex, address: 'fd00:2::1', permanent: true, proxy: true }
    for (const one of [neighbour, { ...neighbour, mac: '02:00:00:00:00:08' }, proxied, proxied])
      await node.setNeighbour(one)
    const told = { ...neighbour, mac: '02:00:00:00:00:08', state: 'permanent' } as const
    t.deepEqual(await node.neighbour(ifindex, '10.2.0.1'), told)
    t.is(await node.neighbour(ifindex, '10.2.0.99'), undefined)
    t.is(await node.neighbour(4711, '10.2.0.1'), undefined)
    const listed = await node.neighbours(ifindex)
    t.deepEqual(
      listed.filter(n => n.proxy !== true && n.permanent),
      [told],
    )
    t.deepEqual(
      listed.filter(n => n.proxy).map(({ address, state }) => [address, state]),
      [['fd00:2::1', undefined]],
    )
    t.is((await refusal(t, node.setNeighbour({ ...neighbour, ifindex: 4711 }))).errno, ERRNO.ENODEV)
    for (const one of [neighbour, neighbour, proxied, proxied, { ...neighbour, ifindex: 4711 }])
      await node.deleteNeighbour(one)
    t.deepEqual(
      (await node.neighbours(ifindex)).filter(n => n.permanent || n.proxy),
      [],
    )
  })

  promise('a sysctl is of one link of one namespace and follows its name', async (t, { node, podPath }) => {
    using pod = node.inside(podPath)
    await node.createLink({ kind: 'veth', name: 'a.b', peer: { name: 'eth0', netns: podPath } })
    const path = (name: string) => ['conf', name, 'proxy_arp']
    node.writeSysctl('ipv4', path('a.b'), '1')
    t.is(node.readSysctl('ipv4', path('a.b')), '1')
    t.is(pod.readSysctl('ipv4', path('eth0')), '0')
    pod.writeSysctl('ipv6', ['conf', 'eth0', 'accept_ra'], '0')
    t.is(pod.readSysctl('ipv6', ['conf', 'eth0', 'accept_ra']), '0')
    const absent = t.throws(() => node.readSysctl('ipv4', path('eth0')), { instanceOf: KernelError })
    t.is(absent?.errno, ERRNO.ENOENT)
    await node.setLink('a.b', { name: 'c' })
    t.is(node.readSysctl('ipv4', path('c')), '1')
  })

  promise('a monitor hears of links, addresses, routes and neighbours, in order', async (t, { node }) => {
    const heard = listenTo(node)
    const ifindex = await upPair(node)
    await node.addAddress({ ifindex, address: '10.1.0.1', length: 24, scope: 0 })
    await node.setNeighbour({ ifindex, address: '10.2.0.1', mac: '02:00:00:00:00:07', permanent: true })
    const route = workload('10.2.0.1/32', ifindex)
    await node.changeRoutes([add(route), replace({ ...route, mtu: 1400 }), { verb: 'delete', route }])
    await node.deleteLink('a')
    await heard.until(e => e.type === 'link-gone' && e.link.name === 'a')
    t.true(heard.events.some(e => e.type === 'link' && e.link.name === 'a' && e.link.running))
    const ofA = heard.events.filter(e => e.type === 'link' && e.link.name === 'a')
    t.deepEqual(
      ofA.map(e => e.type === 'link' && e.isNew),
      [true, ...ofA.slice(1).map(() => undefined)],
    )
    t.true(heard.events.some(e => e.type === 'address' && e.address.address === '10.1.0.1'))
    t.true(heard.events.some(e => e.type === 'neighbour' && e.neighbour.address === '10.2.0.1'))
    t.true(heard.events.some(e => e.type === 'neighbour-gone' && e.neighbour.address === '10.2.0.1'))
    const told = heard.events.filter(e => 'route' in e && e.route.dst === route.dst)
    t.deepEqual(told, [
      { type: 'route', route },
      { type: 'route', route: { ...route, mtu: 1400 } },
      { type: 'route-gone', route: { ...route, mtu: 1400 } },
    ])
    heard.close()
  })

  promise(
    'what a pod loses, and what comes to it, is heard on the host with the number of its namespace',
    async (t, world) => {
      const { node, podPath } = world
      using pod = node.inside(podPath)
      const spec = { kind: 'veth', name: 'cali1', mac: HOST_MAC, peer: { name: 'eth0', netns: podPath } } as const
      const host = await node.createLink(spec)
      await node.setLink('cali1', { up: true })
      await pod.setLink('eth0', { up: true })
      const { index: ifindex } = (await pod.link('eth0'))!
      const heard: PodNews[] = []
      const { promise: isOver, resolve } = Promise.withResolvers<void>()
      const monitor = node.monitorPods(news => {
        if (news === undefined) return
        heard.push(news)
        const { event } = news
        if (event.type === 'link' && event.link.name === 'eth0' && !event.link.up) resolve()
      })
      const address = { ifindex, address: '10.1.0.1', length: 32, scope: 0 }
      const gateway = { ifindex, address: '169.254.1.1', mac: HOST_MAC, permanent: true }
      const route = workload('169.254.1.1/32', ifindex)
      const far = workload('10.9.0.0/24', ifindex)
      await pod.addAddress(address)
      await pod.setNeighbour(gateway)
      await pod.changeRoutes([add(route), add(far), { verb: 'delete', route: far }, { verb: 'delete', route }])
      await pod.deleteNeighbour(gateway)
      await pod.deleteAddress(address)
      await pod.setLink('eth0', { mtu: 1400 })
      // one's own namespace is heard elsewhere
      await node.addAddress({ ...address, ifindex: host.index })
      await pod.setLink('eth0', { up: false })
      await isOver
      const of = (type: PodNews['event']['type']) =>
        heard.map(({ event }) => event).filter(event => event.type === type)
      t.deepEqual([...new Set(heard.map(({ namespace }) => namespace))], [host.peerNetnsId])
      const gone = of('address-gone').filter(event => 'address' in event && event.address.address === address.address)
      t.like(gone, [{ address }])
      t.like(of('address')[0], { address })
      t.true(of('neighbour-gone').some(event => 'neighbour' in event && event.neighbour.address === gateway.address))
      t.true(of('neighbour').some(event => 'neighbour' in event && event.neighbour.mac === HOST_MAC))
      t.deepEqual(
        of('route-gone').flatMap(event =>
          'route' in event && event.route.table === route.table ? [event.route.dst] : [],
        ),
        [route.dst],
      )
      t.true(of('link').some(event => 'link' in event && event.link.mtu === 1400 && event.link.index === ifindex))
      monitor.close()
      const count = heard.length
      await pod.setLink('eth0', { mtu: 1300 })
      await node.deleteLink('cali1')
      t.is(heard.length, count)
    },
  )

  promise('where own routes are not told, a monitor hears of those of others and of all else', async (t, world) => {
    const { node, untold } = world
    const heard = listenTo(untold)
    const ifindex = await upPair(untold)
    await untold.addAddress({ ifindex, address: '10.1.0.1', length: 24, scope: 0 })
    const routes = Array.from({ length: 300 }, (_, n) => workload(`10.2.${n >> 8}.${n & 255}/32`, ifindex))
    await untold.changeRoutes(routes.map(route => add(route)))
    const [theirs] = routes
    await node.changeRoutes([replace({ ...theirs!, mtu: 1400 })])
    await untold.changeRoutes(routes.map(route => ({ verb: 'delete', route })))
    // while nexthop_compat_mode is 1, each route of a group is told with a change of that
    const protocol = ROUTE_PROTOCOL.margayBgp
    const [one, two] = [7001, 7002].map(id => ({ id, protocol, hop: { gateway: `10.1.0.${id % 7000}1`, ifindex } }))
    const group = { id: 7003, protocol, group: [{ id: 7001 }, { id: 7002 }] }
    await untold.changeNextHopObjects([one!, two!, group].map(object => ({ verb: 'add', object })))
    const { ifindex: _, ...by } = { ...workload('10.4.0.0/24', ifindex), scope: ROUTE_SCOPE.universe, nextHopId: 7003 }
    t.deepEqual(await refusals(untold, [add(by)]), [])
    await untold.changeNextHopObjects([{ verb: 'replace', object: { ...group, group: [{ id: 7001 }] } }])
    const last = workload('10.3.0.1/32', ifindex)
    await node.changeRoutes([add(last)])
    await heard.until(e => e.type === 'route' && e.route.dst === last.dst)
    t.true(heard.events.some(e => e.type === 'link' && e.link.name === 'a'))
    t.true(heard.events.some(e => e.type === 'address' && e.address.address === '10.1.0.1'))
    const told = heard.events.flatMap(e => ('route' in e && e.route.protocol === last.protocol ? [e.route] : []))
    t.deepEqual(told, [{ ...theirs!, mtu: 1400 }, last])
    heard.close()
  })

  promise('a monitor hears of forwarding and proxy settings that change, and of no others', async (t, { node }) => {
    const heard = listenTo(node)
    const ifindex = await upPair(node)
    const settings = () => heard.events.filter(e => e.type === 'sysctl' && (e.of === ifindex || e.of === 'all'))
    node.writeSysctl('ipv4', ['conf', 'a', 'route_localnet'], '1')
    node.writeSysctl('ipv4', ['conf', 'a', 'proxy_arp'], '1')
    node.writeSysctl('ipv4', ['conf', 'a', 'rp_filter'], '1')
    node.writeSysctl('ipv6', ['conf', 'a', 'proxy_ndp'], '1')
    node.writeSysctl('ipv4', ['ip_forward'], '1')
    t.is(node.readSysctl('ipv4', ['conf', 'a', 'forwarding']), '1')
    await heard.until(e => e.type === 'sysctl' && e.of === ifindex && e.name === 'forwarding' && e.value === '1')
    const [type, of] = ['sysctl' as const, ifindex]
    const told = settings().filter(e => 'value' in e && e.value === '1')
    t.deepEqual(told, [
      { type, family: 'ipv4', of, name: 'proxy_arp', value: '1' },
      { type, family: 'ipv4', of, name: 'rp_filter', value: '1' },
      { type, family: 'ipv6', of, name: 'proxy_ndp', value: '1' },
      { type, family: 'ipv4', of: 'all', name: 'forwarding', value: '1' },
      { type, family: 'ipv4', of, name: 'forwarding', value: '1' },
    ])
    heard.close()
  })

  promise('a monitor that was closed hears nothing more', async (t, { node }) => {
    const early = listenTo(node)
    early.close()
    const late = listenTo(node)
    await bridge(node, 'br0')
    await late.until(e => e.type === 'link' && e.link.name === 'br0')
    t.deepEqual(early.events, [])
    late.close()
  })

  promise(
    'a namespace that is not there is ENOENT, and a closed kernel answers nothing',
    async (t, { node, podPath }) => {
      const absent = t.throws(() => node.inside(`${podPath}-absent`), { instanceOf: KernelError })
      t.is(absent?.errno, ERRNO.ENOENT)
      const pod = node.inside(podPath)
      pod.close()
      pod.close()
      t.is((await refusal(t, pod.links())).errno, ERRNO.ECANCELED)
      t.deepEqual(await names(node), ['lo'])
    },
  )
}

/** Names of all links but the one that the ipip module puts into every namespace. */
async function names(kernel: Kernel): Promise<string[]> {
  const links = await kernel.links()
  return links.flatMap(link => (link.name === 'tunl0' ? [] : [link.name])).sort()
}

async function bridge(kernel: Kernel, name: string): Promise<number> {
  return (await kernel.createLink({ kind: 'bridge', name })).index
}

async function refusal(t: ExecutionContext, refused: Promise<unknown>): Promise<KernelError> {
  const error = await t.throwsAsync(refused, { instanceOf: KernelError })
  return error as KernelError
}
