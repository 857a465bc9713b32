// Addresses of Services in the commands `ipam`: never called leaked while the Service is there, found when it is gone.
import test from 'ava'
import type { Context } from '../../ctl/command.ts'
import { ipamCheck } from '../../ctl/ipam-check.ts'
import { allocationsOf } from '../../ctl/ipam-compare.ts'
import { releaseAddress, releaseLeaks } from '../../ctl/ipam-release.ts'
import { serviceFaults, servicesByHandle } from '../../ctl/ipam-services.ts'
import { borrowedAddresses, usage } from '../../ctl/ipam-usage.ts'
import { renderReleased, renderUsage } from '../../ctl/ipam-view.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { emptyBlock } from '../../ipam/block.ts'
import { emitLoadBalancerBlock, giveTo, serviceHolder } from '../../ipam/load-balancer.ts'
import { aService, aServicePool } from '../controllers/load-balancer-world.ts'

const NOW = { force: false, waitMs: 0, borrowerWaitMs: 0 }
const shows = (...addresses: string[]) => ({ status: { loadBalancer: { ingress: addresses.map(ip => ({ ip })) } } })

/** `web` and `dns` share the first address, the second is of `gone`, which is not there, and the third of nobody. */
async function cluster() {
  const store = createFakeStore()
  await store.create('IPPool', aServicePool('lb'))
  for (const name of ['web', 'dns']) {
    await store.create('Service', aService(name))
    await store.patch('Service', name, shows('198.51.100.0'), { namespace: 'default', subresource: 'status' })
  }
  const services = await store.list('Service')
  const holders = services.map(({ metadata }) => serviceHolder(metadata))
  const gone = serviceHolder({ name: 'gone', namespace: 'default', uid: 'u' })
  const first = giveTo(emptyBlock('198.51.100.0/30', 1n), 0, holders, '')
  const block = giveTo(first, 1, [gone], '')
  await store.create('IPAMBlock', emitLoadBalancerBlock(block))
  return store
}

async function faultsOf(store: ReturnType<typeof createFakeStore>) {
  const found = serviceFaults(await store.list('IPAMBlock'), await store.list('Service'), await store.list('IPPool'))
  return found.map(({ object, fault }) => `${object.name} ${fault}`)
}

test('ipam check finds the address of a Service that is gone, and no fault in others', async t => {
  const store = await cluster()
  t.deepEqual(await faultsOf(store), ['198-51-100-0-30 gives 198.51.100.1 to Service default/gone, which is not there'])
  const services = servicesByHandle(await store.list('Service'))
  const found = allocationsOf(await store.list('IPAMBlock'), new Set(), new Map(), services)
  t.deepEqual(
    found.map(({ ip, inUse, owners }) => [ip, inUse, owners.join(' ')]),
    [
      ['198.51.100.0', true, 'Service(default/web) Service(default/dns)'],
      ['198.51.100.1', false, ''],
    ],
  )
})

test('ipam check finds a status and a block that say other things', async t => {
  const store = await cluster()
  await store.patch('Service', 'web', shows('198.51.100.3'), { namespace: 'default', subresource: 'status' })
  t.deepEqual((await faultsOf(store)).sort(), [
    '198-51-100-0-30 gives 198.51.100.0 to Service default/web, whose status does not have it',
    '198-51-100-0-30 gives 198.51.100.1 to Service default/gone, which is not there',
    'web has 198.51.100.3 by its status, and no block gives it that',
  ])
})

test('ipam check reads the Services where a block has addresses of them', async t => {
  const store = await cluster()
  const out: string[] = []
  const context = { store: async () => store, out: (text: string) => out.push(text), err: () => undefined }
  t.is(await ipamCheck([], { output: 'table', showAllIps: true }, context as unknown as Context), 1)
  t.regex(out.join(''), /198\.51\.100\.0 .* yes +Service\(default\/web\), Service\(default\/dns\)/)
  t.regex(out.join(''), /gives 198\.51\.100\.1 to Service default\/gone/)
})

test('ipam release frees what Services left that are gone, and nothing of others but by force', async t => {
  const store = await cluster()
  const [refused] = await releaseAddress(store, '198.51.100.0', NOW)
  t.regex(refused!.refused!, /^Service default\/(web|dns), default\/(web|dns) has it$/)
  t.is(
    renderReleased(await releaseAddress(store, '198.51.100.1', NOW)),
    'IP 198.51.100.1 freed 1 address: 198.51.100.1\n',
  )
  t.deepEqual(await faultsOf(store), [])
  await store.delete('Service', 'web', { namespace: 'default' })
  const [stays] = await releaseAddress(store, '198.51.100.0', NOW)
  t.is(stays!.refused, 'Service default/dns has it')
  t.deepEqual(await faultsOf(store), [], 'what is gone shares it no more')
  t.deepEqual((await releaseAddress(store, '198.51.100.0', { ...NOW, force: true }))[0]!.freed, ['198.51.100.0'])
})

test('ipam release takes the leaked addresses of Services from reports', async t => {
  const store = await cluster()
  const [block] = await store.list('IPAMBlock')
  const leaks = block!.spec.attributes.map(({ handle_id: handle }, i) => ({
    ...{ ip: `198.51.100.${i}`, handle, sequenceNumber: undefined },
  }))
  const released = await releaseLeaks(store, leaks, NOW)
  t.deepEqual(
    released.map(({ what, freed }) => [what, freed.length]),
    [
      ['IP 198.51.100.0', 0],
      ['IP 198.51.100.1', 1],
    ],
  )
})

test('ipam show names whose the blocks of Services are, and calls none of their addresses borrowed', async t => {
  const store = await cluster()
  const blocks = await store.list('IPAMBlock')
  const shown = renderUsage(usage(await store.list('IPPool'), blocks, []), { blocks: true, wide: true })
  t.regex(shown, /Block +198\.51\.100\.0\/30 +load-balancer +4 +2 \(50%\)/)
  t.deepEqual(borrowedAddresses(blocks), { borrowed: [], unclassified: 0 })
})
