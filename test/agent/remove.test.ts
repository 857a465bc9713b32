// A node is taken off the network: files, kernel and what it wrote at the API server.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { lockFile } from '../../agent/file-lock.ts'
import { removeNode } from '../../agent/remove.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { conflistText } from '../../cni/conflist.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { aBlock, aNode, aPool } from '../datastore/objects.ts'

async function anInstalledNode(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'margay-remove-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const at = (...parts: string[]) => join(folder, ...parts)
  for (const each of ['bin', 'net.d', 'data/compile-cache', 'run']) mkdirSync(at(each), { recursive: true })
  writeFileSync(at('net.d/10-margay.conflist'), conflistText({ network: 'margay', socket: '/s', chained: [] }))
  writeFileSync(at('bin/margay'), 'ELF Margay: a routed network for containers')
  writeFileSync(at('data/node.db'), '')
  writeFileSync(at('data/compile-cache/x'), '')
  const store = createFakeStore()
  await store.create('IPPool', aPool('p', {}, { finalizers: ['margay/blocks', 'other/one'] }))
  await store.create('IPAMBlock', aBlock('10.244.1.0/26'))
  await store.create('IPAMBlock', aBlock('10.244.2.0/26', { affinity: 'host:n2' }))
  const annotations = { [NODE_ANNOTATION.ipv4Address]: '192.0.2.1/24', 'example.com/keep': 'me' }
  const conditions = ['Ready', 'NetworkUnavailable'].map(type => ({ type, status: 'True' }))
  await store.create('Node', { ...aNode('n1', { annotations }), status: { conditions } })
  const kernel = new FakeWorld().kernel()
  await kernel.createLink({ kind: 'veth', name: 'cali1', peer: { name: 'p1' } })
  const flags = {
    ...{ nodeName: 'n1', dataDir: at('data'), runDir: at('run'), routeProtocol: 80 },
    ...{ binDir: at('bin'), confDir: at('net.d'), confName: '10-margay.conflist' },
  }
  return { folder, at, store, kernel, flags }
}

test('nothing of a node is left: no file, no link, no block, no annotation; what others wrote stays', async t => {
  const { at, folder, store, kernel, flags } = await anInstalledNode(t)
  const removed = await removeNode(flags, { kernel, store })
  t.true(
    ['link cali1', 'IPAMBlock 10-244-1-0-26', flags.dataDir, at('bin/margay')].every(what => removed.includes(what)),
  )
  t.deepEqual(readdirSync(folder).sort(), ['bin', 'net.d'])
  t.deepEqual([...readdirSync(at('bin')), ...readdirSync(at('net.d'))], [])
  t.deepEqual(
    (await store.list('IPAMBlock')).map(({ spec }) => spec.affinity),
    ['host:n2'],
  )
  const node = await store.get('Node', 'n1')
  t.deepEqual(node.metadata.annotations, { 'example.com/keep': 'me' })
  t.deepEqual(node.status?.['conditions'], [{ type: 'Ready', status: 'True' }])
  t.deepEqual((await store.get('IPPool', 'p')).metadata.finalizers, ['margay/blocks', 'other/one'])
  t.deepEqual(await removeNode(flags, { kernel, store }), [])
})

test('a Node that has the condition alone, of an agent that found no address, loses it', async t => {
  const { store, kernel, flags } = await anInstalledNode(t)
  await store.patch('Node', 'n1', { metadata: { annotations: null } })
  t.true(
    (await removeNode(flags, { kernel, store })).includes('annotations and condition NetworkUnavailable of Node n1'),
  )
  t.deepEqual((await store.get('Node', 'n1')).status?.['conditions'], [{ type: 'Ready', status: 'True' }])
  t.deepEqual(await removeNode(flags, { kernel, store }), [])
})

test('only the blocks of this node are asked for, and one that another node made since under the same name stays', async t => {
  const { store, kernel, flags } = await anInstalledNode(t)
  const lists: string[][] = []
  const list: typeof store.list = async (kind, options) => {
    const found = await store.list(kind, options)
    if (kind !== 'IPAMBlock') return found
    lists.push(found.map(({ metadata }) => metadata.name))
    await store.delete('IPAMBlock', '10-244-1-0-26')
    await store.create('IPAMBlock', aBlock('10.244.1.0/26', { affinity: 'host:n3' }))
    return found
  }
  const removed = await removeNode(flags, { kernel, store: { ...store, list } })
  t.deepEqual(lists, [['10-244-1-0-26']])
  t.false(removed.includes('IPAMBlock 10-244-1-0-26'))
  t.is((await store.get('IPAMBlock', '10-244-1-0-26')).spec.affinity, 'host:n3')
})

test('with the whole cluster the pools lose our finalizer and keep those of others', async t => {
  const { store, kernel, flags } = await anInstalledNode(t)
  await removeNode({ ...flags, wholeCluster: true }, { kernel, store })
  t.deepEqual((await store.get('IPPool', 'p')).metadata.finalizers, ['other/one'])
})

test('while an agent runs nothing is removed', async t => {
  for (const lock of ['data/lock', 'run/agent.sock.lock']) {
    const { at, store, kernel, flags } = await anInstalledNode(t)
    const held = lockFile(at(lock), '')
    await t.throwsAsync(removeNode(flags, { kernel, store }), { name: 'FileInUse' })
    held.release()
    t.true(existsSync(at('bin/margay')) && existsSync(at('data/node.db')) && existsSync(at('net.d/10-margay.conflist')))
    t.truthy(await kernel.link('cali1'))
  }
})

test('a folder that is no agent’s is left where it is', async t => {
  const { at, store, kernel, flags } = await anInstalledNode(t)
  mkdirSync(at('home'))
  writeFileSync(at('home/letter'), '')
  await removeNode({ ...flags, dataDir: at('home') }, { kernel, store })
  t.true(existsSync(at('home/letter')))
})

test('a node can be cleaned without the API server, and where the kinds are gone', async t => {
  const { kernel, flags, at } = await anInstalledNode(t)
  t.true((await removeNode(flags, { kernel, store: undefined })).includes(at('data')))
})
