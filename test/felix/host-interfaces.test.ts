// Host endpoints follow the links and addresses of the kernel, and ask it no more than that needs.
import test from 'ava'
import { HostInterfaces } from '../../felix/host-interfaces.ts'
import type { LocalHost } from '../../felix/policy/model.ts'
import type { Address } from '../../kernel/port/addresses.ts'
import type { KernelEvent } from '../../kernel/port/kernel.ts'
import type { Link } from '../../kernel/port/links.ts'

const link = (name: string, index: number) => ({ name, index }) as Link
const address = (ifindex: number, text: string): Address => ({ ifindex, address: text, length: 24, scope: 0 })

function aKernel() {
  const it = {
    there: [link('lo', 1), link('eth0', 2)],
    has: [address(2, '192.0.2.1')],
    reads: 0,
    links: async () => {
      it.reads++
      return it.there
    },
    addresses: async () => it.has,
  }
  return it
}

test('a host endpoint by address moves with its address, and its object is named while nothing has it', async t => {
  const kernel = aKernel()
  const hosts = new HostInterfaces(kernel, 'cali')
  const look = async () => Object.fromEntries(await hosts.look()) as Record<string, LocalHost | undefined>
  hosts.set('n1', { addresses: ['192.0.2.1'], profiles: ['open'] })
  t.deepEqual(await look(), { n1: { interfaces: ['eth0'], profiles: ['open'] } })
  t.deepEqual(await look(), {})

  t.deepEqual(
    [1, 2, 3].map(index => hosts.ownerOf(index)),
    [undefined, 'n1', undefined],
  )

  kernel.has = []
  t.true(hosts.observe({ type: 'address-gone', address: address(2, '192.0.2.1') }))
  t.deepEqual(await look(), { n1: { interfaces: [], profiles: ['open'] } })
  t.like(hosts.conditions()[0], {
    ...{ type: 'PoliciesEnforced', reason: 'NoInterface', object: { kind: 'HostEndpoint', name: 'n1' } },
    remedy: 'correct spec.expectedIPs, or name the interface in spec.interfaceName',
  })

  kernel.there.push(link('eth1', 3))
  kernel.has = [address(3, '192.0.2.1')]
  t.true(hosts.observe({ type: 'address', address: address(3, '192.0.2.1') }))
  t.deepEqual(await look(), { n1: { interfaces: ['eth1'], profiles: ['open'] } })
  t.deepEqual(hosts.conditions(), [])
  hosts.set('n1', undefined)
  t.deepEqual(await look(), { n1: undefined })
})

test('pods that come and go make no reads, and without host endpoints there are none at all', async t => {
  const kernel = aKernel()
  const hosts = new HostInterfaces(kernel, 'cali')
  const events: KernelEvent[] = [
    { type: 'link', link: link('cali1', 4) },
    { type: 'link-gone', link: link('cali1', 4) },
    { type: 'address', address: address(4, 'fe80::1') },
  ]
  hosts.invalidate()
  await hosts.look()
  t.is(kernel.reads, 0)
  hosts.set('n1', { interfaceName: 'eth0', addresses: [], profiles: [] })
  await hosts.look()
  t.is(kernel.reads, 1)
  for (const event of events) t.false(hosts.observe(event))
  await hosts.look()
  t.is(kernel.reads, 1)
  t.true(hosts.observe({ type: 'link-gone', link: link('eth0', 2) }))
  await hosts.look()
  t.is(kernel.reads, 2)
})

test('a kernel that cannot be read is asked again', async t => {
  const kernel = aKernel()
  const hosts = new HostInterfaces(kernel, 'cali')
  hosts.set('n1', { interfaceName: 'eth0', addresses: [], profiles: [] })
  const { links } = kernel
  kernel.links = () => Promise.reject(new Error('busy'))
  await t.throwsAsync(hosts.look(), { message: 'busy' })
  kernel.links = links
  t.is((await hosts.look()).size, 1)
})
