// What the agent makes of addresses that another plugin gave.
import test from 'ava'
import { holdAdopted } from '../../cni/adopt.ts'
import type { CniAnswer } from '../../cni/handle.ts'
import { handleCni } from '../../cni/handle.ts'
import { aHost, call, type Host, POD } from './host.ts'

const CONF = { ipam: { type: 'host-local', subnet: '10.0.0.0/24' } }

/** The second request of ADD, with what the other plugin printed. */
function given({ deps }: Host, address: string, id = 'c1', netns = POD): Promise<CniAnswer> {
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: 'eth0' }
  const delegated = JSON.stringify({ ips: [{ address }] })
  return handleCni({ env, stdin: JSON.stringify({ cniVersion: '1.1.0', name: 'net', ...CONF }), delegated }, deps)
}

test('an address that another plugin gave is never one of ours, of blocks that come later too, before its DEL and after a start', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  t.is((await given(host, '10.0.0.200/24')).exitCode, 0)
  const ours = (id: string) =>
    call(host, 'ADD', { id, netns: '/run/netns/x', conf: { runtimeConfig: { ips: ['10.0.0.200'] } } })
  host.world.addNetns('/run/netns/x')
  const refused = await ours('c2')
  t.is(JSON.parse(refused.stdout).code, 100, refused.stdout)
  await host.deps.ipam.release('net.c1.eth0') // as memory is after a start
  holdAdopted(host.deps)
  t.is(JSON.parse((await ours('c2')).stdout).code, 100)
  t.deepEqual((await call(host, 'DEL', { conf: CONF })).delegate, { podCidr: undefined, podCidrIPv6: undefined })
  t.is((await ours('c2')).exitCode, 0)
})

test('ADD asks for an address of the other plugin once: again with its row, and with the interface gone, it has it', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const asked = await call(host, 'ADD', { conf: CONF })
  t.truthy(asked.delegate)
  t.deepEqual([asked.exitCode, asked.stdout, host.deps.endpoints.all()], [0, '', []])
  const { stdout } = await given(host, '10.9.0.5/24')
  t.is((await call(host, 'ADD', { conf: CONF })).stdout, stdout)
  const [row] = host.deps.endpoints.all()
  t.deepEqual(row?.delegate, { type: 'host-local' })
  await host.deps.kernel.deleteLink(row!.interfaceName)
  const again = await call(host, 'ADD', { conf: CONF })
  t.deepEqual([again.delegate, JSON.parse(again.stdout).ips], [undefined, JSON.parse(stdout).ips])
})

test('a GC that fails for one interface has the other plugin free the addresses of those that it deleted', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  host.world.addNetns('/run/netns/x')
  const netns = ['/run/netns/x', POD]
  for (const [i, id] of ['c1', 'c2'].entries()) {
    const answer = await given(host, `10.9.0.${i + 5}/24`, id, netns[i])
    t.is(answer.exitCode, 0, answer.stdout)
  }
  for (const row of host.deps.endpoints.all()) host.deps.endpoints.publish({ ...row, createdMs: 0 })
  const { interfaceName } = host.deps.endpoints.all()[0]!
  const { kernel } = host.deps
  host.deps.kernel = new Proxy(kernel, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== 'function') return method
      return (...args: unknown[]) => {
        if (name === 'deleteLink' && args[0] === interfaceName) throw new Error('refused')
        return method.apply(target, args)
      }
    },
  })
  const gc = await call(host, 'GC', { conf: { ...CONF, 'cni.dev/valid-attachments': [] } })
  t.is(gc.exitCode, 1)
  t.regex(JSON.parse(gc.stdout).msg, /^net\/c1\/eth0: refused$/)
  t.deepEqual(gc.delegate?.gone, [{ containerID: 'c2', ifname: 'eth0' }])
})

test('where a network gets its addresses from Margay from now on, a pod keeps the one that another plugin gave, until its DEL', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  await given(host, '10.9.0.5/24')
  const { stdout } = await call(host, 'ADD', { conf: {} })
  t.is(JSON.parse(stdout).ips[0].address, '10.9.0.5/32')
  await call(host, 'DEL')
  t.deepEqual([host.deps.endpoints.all(), host.allocator.held().size], [[], 0])
})

test('an address that no pod can have is refused: one of no machine, of a link, of loopback, or of this node itself', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const uplink = await host.world.kernel().createLink({ kind: 'bridge', name: 'uplink' })
  await host.world.kernel().addAddress({ ifindex: uplink.index, address: '10.9.0.1', length: 24, scope: 0 })
  for (const address of [
    ...['0.0.0.0/0', '127.0.0.1/8', '169.254.1.1/16', '224.0.0.1/4', '255.255.255.255/32', '10.9.0.1/24'],
    ...['::/0', '::1/128', 'fe80::1/64', 'ff02::1/8', '::ffff:10.9.0.5/120'],
  ]) {
    const { exitCode, stdout } = await given(host, address)
    t.deepEqual([exitCode, host.deps.endpoints.all(), host.allocator.held().size], [1, [], 0], address)
    t.true(JSON.parse(stdout).msg.includes('host-local gave'), stdout)
  }
  const { exitCode, stdout } = await given(host, '10.9.0.2/24')
  t.is(exitCode, 0, stdout)
})

test('a GC that lacks the range of the Node deletes nothing: the other plugin would never be told', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  t.is((await given(host, '10.9.0.5/24')).exitCode, 0)
  for (const row of host.deps.endpoints.all()) host.deps.endpoints.publish({ ...row, createdMs: 0 })
  const ipam = { type: 'host-local', subnet: 'usePodCidr' }
  const gc = () => call(host, 'GC', { conf: { ipam, 'cni.dev/valid-attachments': [] } })
  t.is(JSON.parse((await gc()).stdout).code, 11)
  host.deps.podCidrs = () => ['10.9.0.0/24']
  t.deepEqual((await gc()).delegate, {
    podCidr: '10.9.0.0/24',
    podCidrIPv6: undefined,
    gone: [{ containerID: 'c1', ifname: 'eth0' }],
  })
})

test('an ADD that a DEL overtook while another plugin gave its address makes nothing, and one that begins after it does', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  t.truthy((await call(host, 'ADD', { conf: CONF })).delegate)
  t.is((await call(host, 'DEL', { conf: CONF })).exitCode, 0)
  const late = await given(host, '10.9.0.5/24')
  t.deepEqual([late.exitCode, host.deps.endpoints.all()], [1, []])
  t.is(JSON.parse(late.stdout).code, 11)
  t.truthy((await call(host, 'ADD', { conf: CONF })).delegate)
  t.is((await given(host, '10.9.0.5/24')).exitCode, 0)
})
