import test from 'ava'
import { Refused } from '../../datastore/port.ts'
import {
  ADDRESSES,
  aCluster,
  aService,
  aServicePool,
  Giver,
  given,
  ipOf,
  pass,
  refusalOf,
  shown,
} from './load-balancer-world.ts'

test('a Service gets an address of a pool for load balancers, which its block and its status say', async t => {
  const { store, giver, add } = await aCluster()
  await add('web')
  t.deepEqual(Object.values(await shown(store)), Object.keys(await given(store)))
  t.deepEqual(Object.values(await given(store)), ['web'])
  const [block] = await store.list('IPAMBlock')
  t.is(block!.spec.affinity, 'virtual:load-balancer')
  const [attributes] = block!.spec.attributes
  t.regex(attributes!.handle_id ?? '', /^lb-[A-Za-z0-9]{35,43}$/)
  t.like(attributes!.secondary, { namespace: 'default', service: 'web', type: 'LoadBalancer' })
  t.deepEqual((await store.get('IPPool', 'lb')).metadata.finalizers, ['margay/blocks'])
  await giver.close()
})

test('only Services of the classes margay and calico get addresses, and those without a class as assignIPs says', async t => {
  const { store, giver, add } = await aCluster()
  const classless = { loadBalancerClass: undefined }
  giver.assignIPs = 'RequestedServicesOnly'
  await add('margay')
  await add('calico', { spec: { loadBalancerClass: 'calico' } })
  await add('metallb', { spec: { loadBalancerClass: 'metallb.io/metallb' }, ...ipOf('198.51.100.9') })
  await add('none', { spec: classless })
  await add('asking', { spec: classless, annotations: { 'projectcalico.org/ipv4pools': '["lb"]' } })
  await add('cluster-ip', { spec: { type: 'ClusterIP', loadBalancerClass: undefined } })
  const has = async () =>
    Object.entries(await shown(store))
      .filter(([, address]) => address !== '')
      .map(([name]) => name)
  t.deepEqual((await has()).sort(), ['asking', 'calico', 'margay'])
  giver.assignIPs = 'AllServices'
  giver.hurry()
  await pass(2, giver)
  t.deepEqual((await has()).sort(), ['asking', 'calico', 'margay', 'none'])
  giver.assignIPs = 'RequestedServicesOnly'
  giver.hurry()
  await pass(3, giver)
  t.deepEqual((await has()).sort(), ['asking', 'calico', 'margay'])
  t.is(Object.keys(await given(store)).length, 3)
  giver.assignIPs = undefined
  await add('later')
  t.is((await shown(store))['later'], '', 'while nobody knows the settings nothing is given')
  await giver.close()
})

test('a Service without a class that another program serves stays as it is, also where there is no pool for Services', async t => {
  const spec = { loadBalancerClass: undefined }
  const shows = (entry: object) => ({ spec, status: { loadBalancer: { ingress: [entry] } } })
  const { store, giver, add } = await aCluster(undefined, undefined, [
    aService('metallb', shows({ ip: '203.0.113.7' })),
    aService('cloud', shows({ hostname: 'a.example.com' })),
  ])
  await pass(2, giver)
  await store.delete('IPPool', 'lb')
  await pass(2, giver)
  await add('waits', { spec })
  const services = await store.list('Service')
  t.deepEqual(
    services.map(({ status }) => JSON.stringify(status?.loadBalancer?.ingress)),
    ['[{"ip":"203.0.113.7"}]', '[{"hostname":"a.example.com"}]', undefined],
  )
  t.true(services.every(({ status }) => status?.conditions === undefined))
  await giver.close()
})

test('a program that takes a Service over by writing its status gets it, and our address is free', async t => {
  const { store, giver, add } = await aCluster()
  await add('web', { spec: { loadBalancerClass: undefined } })
  t.is(Object.keys(await given(store)).length, 1)
  const patch = { status: { loadBalancer: { ingress: [{ ip: '203.0.113.7' }] } } }
  await store.patch('Service', 'web', patch, { namespace: 'default', subresource: 'status' })
  await pass(3, giver)
  t.deepEqual(await given(store), {})
  t.deepEqual(await shown(store), { web: '203.0.113.7' })
  await giver.close()
})

test('an address that is asked for is given, by the annotation before spec.loadBalancerIP', async t => {
  const { store, giver, add } = await aCluster()
  await add('one', ipOf('198.51.100.9'))
  await add('two', { spec: { loadBalancerIP: '198.51.100.5' } })
  await add('both', { ...ipOf('198.51.100.6'), spec: { loadBalancerIP: '198.51.100.7' } })
  t.deepEqual(await shown(store), { one: '198.51.100.9', two: '198.51.100.5', both: '198.51.100.6' })
  await giver.close()
})

test('what a Service asks for and does not get is said in its status once, with an Event, and taken back when it gets it', async t => {
  const events: { reason: string; message: string }[] = []
  const { store, giver, add, edit } = await aCluster(undefined, store => ({
    ...store,
    writeAny: async (_kind, object) => void events.push(object as never),
  }))
  await add('owner', ipOf('198.51.100.9'))
  await add('taken', ipOf('198.51.100.9'))
  await add('outside', ipOf('203.0.113.1'))
  await add('bad', { annotations: { [ADDRESSES]: '198.51.100.1' } })
  await add('words', ipOf('web.example.com'))
  await add('family', ipOf('2001:db8::1'))
  await add('pool', { annotations: { 'projectcalico.org/ipv4pools': '["nope"]' } })
  await add('six', { spec: { ipFamilies: ['IPv6'] } })
  t.deepEqual(
    await Promise.all(
      ['taken', 'outside', 'bad', 'words', 'family', 'pool', 'six'].map(name => refusalOf(store, name)),
    ),
    [
      'AddressTaken: 198.51.100.9 is not free: Service owner has it (they have not the same annotation margay.io/AllowSharedIP)',
      'AddressOutside: 203.0.113.1 is in no enabled pool for LoadBalancer',
      `BadRequest: ${ADDRESSES} is no list in JSON`,
      `BadRequest: ${ADDRESSES} has web.example.com, which is no IP address`,
      `BadRequest: ${ADDRESSES} has 2001:db8::1, and the Service has no ipv6`,
      'NoPool: there is no enabled IPPool nope',
      'NoPool: no IPPool serves ipv6 for LoadBalancer',
    ],
  )
  t.is(giver.chore.unassigned.length, 7)
  const count = events.length
  await pass(1_000, giver)
  t.is(events.length, count, 'nothing is told again')
  await store.delete('Service', 'owner', { namespace: 'default' })
  await pass(3, giver)
  t.is((await shown(store))['taken'], '198.51.100.9')
  t.is(await refusalOf(store, 'taken'), undefined)
  t.like(events.at(-1), { reason: 'AddressAssigned', message: '198.51.100.9' })
  await edit('six', { spec: { ipFamilies: ['IPv4'] } })
  t.not((await shown(store))['six'], '')
  await edit('six', { spec: { type: 'ClusterIP', loadBalancerClass: null } })
  t.like(events.at(-1), { reason: 'AddressReleased' })
  await giver.close()
})

test('the Service of another namespace that has an address is not named', async t => {
  const { store, giver, add } = await aCluster()
  await add('secret', { ...ipOf('198.51.100.9'), namespace: 'other' })
  await add('curious', ipOf('198.51.100.9'))
  t.is(
    await refusalOf(store, 'curious'),
    'AddressTaken: 198.51.100.9 is not free: a Service of another namespace has it (they are of two namespaces)',
  )
  await giver.close()
})

test('a Service that asks for something that it does not get keeps what it has', async t => {
  const { store, giver, add, edit } = await aCluster()
  await add('owner', ipOf('198.51.100.9'))
  await add('web', ipOf('198.51.100.5'))
  await edit('web', { metadata: ipOf('198.51.100.9') })
  t.is((await shown(store))['web'], '198.51.100.5')
  t.regex((await refusalOf(store, 'web'))!, /^AddressTaken/)
  await edit('web', { metadata: { annotations: { [ADDRESSES]: 'nonsense' } } })
  t.is((await shown(store))['web'], '198.51.100.5')
  await edit('web', { metadata: ipOf('198.51.100.6') })
  t.deepEqual(await shown(store), { owner: '198.51.100.9', web: '198.51.100.6' })
  t.deepEqual(Object.keys(await given(store)).sort(), ['198.51.100.6', '198.51.100.9'])
  await giver.close()
})

test('a Service of two families gets an address of each, and one where no pool has the other and it only prefers both', async t => {
  const six = aServicePool('six', { cidr: '2001:db8:1::/124', blockSize: 126 })
  const { store, giver, add, edit } = await aCluster()
  const both = (ipFamilyPolicy: string) => ({ spec: { ipFamilies: ['IPv6', 'IPv4'], ipFamilyPolicy } })
  await add('prefers', both('PreferDualStack'))
  await add('requires', both('RequireDualStack'))
  t.is(await refusalOf(store, 'prefers'), undefined)
  t.is(await refusalOf(store, 'requires'), 'NoPool: no IPPool serves ipv6 for LoadBalancer')
  t.regex((await shown(store))['requires']!, /^198\.51\.100\.\d+$/)
  await store.create('IPPool', six)
  await pass(3, giver)
  for (const name of ['prefers', 'requires'])
    t.regex((await shown(store))[name]!, /^2001:db8:1::\S* 198\.51\.100\.\d+$/)
  await edit('requires', { spec: { ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' } })
  t.regex((await shown(store))['requires']!, /^198\.51\.100\.\d+$/)
  t.is(Object.keys(await given(store)).length, 3)
  await giver.close()
})

test('an address is free again when its Service goes, or is of another type or class', async t => {
  const { store, giver, add, edit } = await aCluster()
  for (const name of ['gone', 'typed', 'again']) await add(name, { spec: { loadBalancerClass: undefined } })
  await store.delete('Service', 'gone', { namespace: 'default' })
  await edit('typed', { spec: { type: 'ClusterIP' } })
  await edit('again', { spec: { loadBalancerClass: 'metallb.io/metallb' } })
  t.deepEqual(await given(store), {})
  t.deepEqual(await shown(store), { typed: '', again: (await shown(store))['again'] })
  await giver.close()
})

test('a Service that is made again under its name is another one', async t => {
  const { store, giver, add } = await aCluster()
  await add('web')
  const before = await given(store)
  await store.delete('Service', 'web', { namespace: 'default' })
  await store.create('Service', aService('web'))
  await pass(3, giver)
  const [address, ...more] = Object.keys(await given(store))
  t.deepEqual(more, [])
  t.false(address! in before, 'a free address rests behind the others')
  t.deepEqual(await shown(store), { web: address })
  await giver.close()
})

test('a Service that another program gave an address of our pool keeps it when that program is gone', async t => {
  const spec = { loadBalancerClass: undefined }
  const shows = (ip: string) => ({ spec, status: { loadBalancer: { ingress: [{ ip, ipMode: 'VIP' }] } } })
  const before = [aService('a', shows('198.51.100.9')), aService('b', shows('198.51.100.3'))]
  const { store, giver, add } = await aCluster(undefined, undefined, before)
  await add('c', { created: '2020-01-01T00:00:00Z' })
  const { c, ...kept } = await shown(store)
  t.deepEqual(kept, { a: '198.51.100.9', b: '198.51.100.3' })
  t.deepEqual(await given(store), { '198.51.100.9': 'a', '198.51.100.3': 'b', [c!]: 'c' })
  const { status } = await store.get('Service', 'a', 'default')
  t.deepEqual(status?.loadBalancer?.ingress, [{ ip: '198.51.100.9', ipMode: 'VIP' }])
  await giver.close()
})

test('a status whose block was lost gets its address back, and a block whose status was not written is finished', async t => {
  const { store, giver, add } = await aCluster()
  await add('lost', ipOf('198.51.100.9'))
  await store.patch('Service', 'lost', { metadata: { annotations: null } }, { namespace: 'default' })
  await giver.close()
  for (const { metadata } of await store.list('IPAMBlock')) await store.delete('IPAMBlock', metadata.name)
  const next = new Giver(store)
  await store.create('Service', aService('new'))
  await pass(3, next)
  t.is((await shown(store))['lost'], '198.51.100.9')
  t.is((await given(store))['198.51.100.9'], 'lost')
  const patch = { status: { loadBalancer: null } }
  await store.patch('Service', 'lost', patch, { namespace: 'default', subresource: 'status' })
  await pass(3, next)
  t.is((await shown(store))['lost'], '198.51.100.9')
  await next.close()
})

test('the order of addresses in a status stays as it is while it asks for what makes no sense', async t => {
  let events = 0
  const pools = [aServicePool('lb'), aServicePool('lb6', { cidr: '2001:db8::/120', blockSize: 122 })]
  const { giver, add, edit } = await aCluster(pools, store => ({
    ...store,
    writeAny: (...args) => {
      events++
      return store.writeAny(...args)
    },
  }))
  await add('b', { spec: { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'RequireDualStack' } })
  await edit('b', { metadata: { annotations: { [ADDRESSES]: 'rubbish' } } })
  events = 0
  for (const name of ['a0', 'a1']) await add(name, { created: '2020-01-01T00:00:00Z' })
  await pass(5, giver)
  t.is(events, 2, 'those of the new ones')
  await giver.close()
})

test('an annotation of any length and any characters is told in few words, once', async t => {
  let writes = 0
  const { store, giver, add } = await aCluster(undefined, store => ({
    ...store,
    patch: (kind, name, patch, options) => {
      writes++
      // as a server reads JSON: half a character is another one then
      const text = JSON.stringify(patch).replace(/\\ud[89a-f][0-9a-f]{2}/g, '\uFFFD')
      return store.patch(kind, name, JSON.parse(text), options)
    },
  }))
  await add('half', { annotations: { [ADDRESSES]: '["\\ud800"]' } })
  await add('long', { annotations: { [ADDRESSES]: JSON.stringify(['🙂'.repeat(60_000)]) } })
  await pass(20, giver)
  t.is(writes, 2)
  for (const name of ['half', 'long']) t.true((await refusalOf(store, name))!.length < 1_100)
  await giver.close()
})

test('a status that the API server refuses keeps no other Service waiting, and is tried again more and more rarely', async t => {
  let tries = 0
  const { store, giver, add } = await aCluster(undefined, store => ({
    ...store,
    patch: async (kind, name, patch, options) => {
      if (name !== 'cursed') return store.patch(kind, name, patch, options)
      tries++
      throw new Refused(403, 'a webhook says no')
    },
  }))
  await add('cursed', { created: '2026-01-01T00:00:00Z' })
  await add('web')
  t.not((await shown(store))['web'], '')
  t.deepEqual(giver.failures(), [])
  t.like(giver.chore.unassigned, [{ service: 'default/cursed' }])
  tries = 0
  await pass(600, giver)
  t.true(tries >= 8 && tries <= 40, `${tries}`)
  await giver.close()
})

test('a Service that changes without pause keeps the program at no more than its steps a run', async t => {
  let writes = 0
  const { store, giver } = await aCluster(undefined, store => ({
    ...store,
    patch: async (kind, name, patch, options) => {
      writes++
      if (kind === 'Service')
        await store.patch(kind, name, { metadata: { labels: { n: `${writes}` } } }, { namespace: 'default' })
      return store.patch(kind, name, patch, options)
    },
  }))
  await store.create('Service', aService('restless'))
  await pass(1, giver)
  t.true(writes > 10 && writes <= 40, `${writes} in two runs`)
  await giver.close()
})

test('a Service that was refused is tried at once when it changes', async t => {
  let refuses = true
  const { store, giver, add, edit } = await aCluster(undefined, store => ({
    ...store,
    patch: async (kind, name, patch, options) => {
      if (name === 'web' && refuses) throw new Refused(403, 'a webhook says no')
      return store.patch(kind, name, patch, options)
    },
  }))
  await add('web')
  await pass(300, giver)
  refuses = false
  await edit('web', { metadata: { annotations: { owner: 'me' } } })
  t.not((await shown(store))['web'], '')
  t.deepEqual(giver.chore.unassigned, [])
  await giver.close()
})

test('a thousand Services that are made at once get their addresses in one run, with two writes each and one for each block', async t => {
  const writes = { update: 0, patch: 0, create: 0 }
  const pool = aServicePool('lb', { cidr: '198.18.0.0/16', blockSize: 26 })
  const services = Array.from({ length: 1_000 }, (_, i) => aService(`s${i}`))
  const { store, giver } = await aCluster(
    [pool],
    store => ({
      ...store,
      create: (kind, object) => {
        writes.create++
        return store.create(kind, object)
      },
      update: (kind, object) => {
        writes.update++
        return store.update(kind, object)
      },
      patch: (...args) => {
        writes.patch++
        return store.patch(...args)
      },
    }),
    services,
  )
  for (let i = 0; i < 600 && Object.keys(await given(store)).length < 1_000; i++) await pass(1, giver)
  await pass(5, giver)
  t.is(new Set(Object.values(await shown(store))).size, 1_000)
  t.deepEqual(writes, { create: 16, update: 1_000, patch: 1_001 }, 'blocks, addresses, and statuses with the finalizer')
  await giver.close()
})
